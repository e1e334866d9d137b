//! The Rust peer of the interop suite: BullMQ's official Rust port, controlled by lines of JSON on standard input.
//! `fixtures/peers/README.md` describes the protocol, which the Node and Python peers speak too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bullmq::options::{JobOptions, QueueOptions, RedisConnectionOptions, WorkerOptions};
use bullmq::types::JobProgress;
use bullmq::worker::CancellationToken;
use bullmq::{BulkJob, Error, Job, Queue, QueueEvent, QueueEvents, QueueEventsOptions, Worker};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// A command: one line of standard input.
#[derive(Debug, Clone, Deserialize)]
struct Command {
    number: u64,
    #[serde(rename = "do")]
    verb: String,
    queue: String,
    prefix: String,
    #[serde(default)]
    jobs: Vec<NewJob>,
    #[serde(default)]
    options: Value,
    #[serde(default)]
    id: String,
    #[serde(default)]
    count: usize,
}

#[derive(Debug, Clone, Deserialize)]
struct NewJob {
    name: String,
    data: Value,
    #[serde(default)]
    opts: Value,
}

#[derive(Default)]
struct Shared {
    queues: tokio::sync::Mutex<HashMap<String, Arc<Queue>>>,
    workers: Mutex<HashMap<String, Arc<Worker>>>,
    taken: Mutex<HashMap<String, Vec<Value>>>,
    redis_url: String,
    /// Planted defect: loses every option that the suite checks, to prove that the suite notices.
    planted: bool,
}

/// Executes commands from standard input until it ends.
///
/// # Errors
/// Standard input or output fails.
pub async fn run(redis_url: String, planted: bool) -> std::io::Result<()> {
    let shared = Arc::new(Shared { redis_url, planted, ..Shared::default() });
    let (answers, mut outgoing) = tokio::sync::mpsc::unbounded_channel::<Value>();
    tokio::spawn(async move {
        let mut out = tokio::io::stdout();
        while let Some(answer) = outgoing.recv().await {
            // A reader that is gone also closes standard input, which ends the process.
            let _ = out.write_all(format!("{answer}\n").as_bytes()).await;
            let _ = out.flush().await;
        }
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let command: Command = serde_json::from_str(&line)?;
        let (shared, answers) = (Arc::clone(&shared), answers.clone());
        tokio::spawn(async move {
            let answer = match execute(&shared, &command).await {
                Ok(done) => json!({ "number": command.number, "ok": done }),
                Err(error) => json!({ "number": command.number, "error": error.to_string() }),
            };
            // The writer lives as long as the process.
            let _ = answers.send(answer);
        });
    }
    Ok(())
}

async fn execute(shared: &Arc<Shared>, command: &Command) -> Result<Value, Error> {
    let queue = shared.queue(command).await?;
    Ok(match command.verb.as_str() {
        "add" => {
            let mut ids = Vec::new();
            for job in &command.jobs {
                let job = if shared.planted { job.corrupted() } else { job.clone() };
                let options: JobOptions = serde_json::from_value(job.opts)?;
                let added = queue.add_bulk(vec![BulkJob::with_options(job.name, job.data, options)]).await?;
                ids.extend(added.iter().map(|job| job.id().to_owned()));
            }
            json!(ids)
        }
        "work" => {
            work(shared, command).await?;
            Value::Null
        }
        "taken" => {
            let taken = shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
            json!(taken.get(&command.queue).cloned().unwrap_or_default())
        }
        "stop" => {
            let worker = shared.workers.lock().unwrap_or_else(PoisonError::into_inner).remove(&command.queue);
            if let Some(worker) = worker {
                worker.close(1).await?;
            }
            Value::Null
        }
        "pause" if shared.planted => Value::Null,
        "pause" => {
            queue.pause().await?;
            Value::Null
        }
        "resume" => {
            queue.resume().await?;
            Value::Null
        }
        "paused" => json!(queue.is_paused().await?),
        "job" => match queue.get_job(&command.id).await? {
            None => Value::Null,
            Some(job) => {
                let text = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
                json!({
                    "name": job.name(),
                    "data": job.data(),
                    "opts": serde_json::to_value(job.opts())?,
                    "attemptsMade": job.attempts_made(),
                    "progress": serde_json::to_value(job.progress())?,
                    "returnvalue": serde_json::from_str::<Value>(job.returnvalue()).unwrap_or(Value::Null),
                    "failedReason": text(job.failed_reason()),
                    "state": queue.get_job_state(&command.id).await?.to_string(),
                })
            }
        },
        "events" => events(shared, command).await?,
        other => return Err(Error::ProcessingError(format!("unknown command: {other}"))),
    })
}

impl NewJob {
    /// The job with a part of every checked option lost.
    fn corrupted(&self) -> Self {
        let mut job = self.clone();
        let text = job.data.to_string().replace(|letter: char| !letter.is_ascii(), "?");
        job.data = serde_json::from_str(&text).unwrap_or_default();
        if let Some(opts) = job.opts.as_object_mut() {
            for option in ["delay", "priority", "lifo", "deduplication", "backoff", "removeOnComplete"] {
                opts.remove(option);
            }
            if let Some(id) = opts.get("jobId").and_then(Value::as_str) {
                let other = format!("other-{id}");
                opts.insert("jobId".to_owned(), other.into());
            }
            if let Some(attempts) = opts.get("attempts").and_then(Value::as_u64) {
                opts.insert("attempts".to_owned(), (attempts + 1).into());
            }
        }
        job
    }
}

impl Shared {
    fn connection(&self) -> RedisConnectionOptions {
        RedisConnectionOptions::new().url(&self.redis_url)
    }

    async fn queue(&self, command: &Command) -> Result<Arc<Queue>, Error> {
        let mut queues = self.queues.lock().await;
        if let Some(queue) = queues.get(&command.queue) {
            return Ok(Arc::clone(queue));
        }
        let options =
            QueueOptions { connection: self.connection(), prefix: command.prefix.clone(), ..QueueOptions::default() };
        let queue = Arc::new(Queue::with_options(&command.queue, options).await?);
        queues.insert(command.queue.clone(), Arc::clone(&queue));
        Ok(queue)
    }
}

async fn work(shared: &Arc<Shared>, command: &Command) -> Result<(), Error> {
    let number = |name: &str, default: u64| command.options[name].as_u64().unwrap_or(default);
    let mut options = WorkerOptions::new()
        .connection(shared.connection())
        .prefix(&command.prefix)
        .concurrency(usize::try_from(number("concurrency", 1)).unwrap_or(1))
        .lock_duration(Duration::from_millis(number("lockDuration", 30_000)))
        .stalled_interval(Duration::from_millis(number("stalledInterval", 30_000)))
        .max_stalled_count(u32::try_from(number("maxStalledCount", 1)).unwrap_or(1));
    options.skip_stalled_check = shared.planted;
    shared.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(command.queue.clone(), Vec::new());
    let (state, queue) = (Arc::clone(shared), command.queue.clone());
    let worker = Worker::with_options(
        &command.queue,
        move |job: Job, _: CancellationToken| {
            let (shared, queue) = (Arc::clone(&state), queue.clone());
            async move { perform(&shared, &queue, job).await }
        },
        options,
    )
    .await?;
    shared.workers.lock().unwrap_or_else(PoisonError::into_inner).insert(command.queue.clone(), Arc::new(worker));
    Ok(())
}

/// Does what the job's name asks for.
async fn perform(shared: &Shared, queue: &str, mut job: Job) -> Result<Value, Error> {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let seen = json!({
        "id": job.id(), "name": job.name(), "data": job.data(), "attemptsMade": job.attempts_made(),
        "at": u64::try_from(at).unwrap_or_default(),
    });
    shared.taken.lock().unwrap_or_else(PoisonError::into_inner).entry(queue.to_owned()).or_default().push(seen);
    let name = job.name().to_owned();
    if name == "hang" || (name == "hang-once" && job.attempts_started() < 2) {
        std::future::pending::<()>().await;
    }
    if name == "unrecoverable" {
        let why = "for good".to_owned();
        return Err(if shared.planted { Error::ProcessingError(why) } else { Error::Unrecoverable(why) });
    }
    if let Some(fails) = name.strip_prefix("fail-").and_then(|count| count.parse::<u32>().ok())
        && job.attempts_made() < fails
    {
        return Err(Error::ProcessingError(format!("on purpose: {}", job.attempts_made())));
    }
    if name == "progress" && !shared.planted {
        job.update_progress(JobProgress::Number(40.0)).await?;
        job.update_progress(JobProgress::Object(json!({ "stage": "half", "share": 0.5 }))).await?;
    }
    Ok(if shared.planted { Value::Null } else { json!({ "echo": job.data() }) })
}

/// The event stream from its beginning, as this library reads it.
async fn events(shared: &Shared, command: &Command) -> Result<Value, Error> {
    let options = QueueEventsOptions {
        connection: shared.connection(),
        prefix: command.prefix.clone(),
        blocking_timeout: 500,
        last_event_id: Some("0".to_owned()),
        autorun: true,
    };
    let listener = QueueEvents::with_options(&command.queue, options).await?;
    let mut seen = Vec::new();
    for _ in 0..command.count {
        let Some(entry) = tokio::time::timeout(Duration::from_secs(5), listener.next_event()).await.ok().flatten()
        else {
            break;
        };
        let event = &entry.event;
        let Some(job) = event.job_id() else { continue };
        let mut entry_json = json!({ "event": event.name(), "jobId": job });
        match event {
            QueueEvent::Completed { return_value, .. } => {
                entry_json["returnvalue"] = serde_json::from_str(return_value).unwrap_or(Value::Null);
            }
            QueueEvent::Failed { failed_reason, .. } => entry_json["failedReason"] = json!(failed_reason),
            QueueEvent::Progress { data, .. } => entry_json["data"] = json!(data),
            _ => {}
        }
        seen.push(entry_json);
    }
    listener.close().await;
    seen.retain(|event| !shared.planted || event["event"] != "completed");
    Ok(json!(seen))
}
