//! `shakedown ingest`: add files to the queue, and with `--wait` follow them to the end.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::failure::Failure;
use super::print::{Format, note, try_print};
use crate::operations::ingest::{
    End, Enqueued, Followed, Gathered, IngestError, JobShape, LARGE, Queued, Unreadable, enqueue, follow, gather,
};
use crate::outcome::Exit;
use crate::services::ServiceError;
use crate::services::queue::QueueClient;
use crate::settings::Source;
use crate::spec::parse_duration;

/// Add files to the queue; with --wait, follow them until each is completed or failed
///
/// Exit codes: 0 all done; 1 a document failed; 2 a file could not be read, the others were added; 3 Redis failed or did
/// not answer, or --timeout was reached.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files, and directories with all files below them; hidden files are skipped
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Prefix of every document's id; the id is the path below PATH
    #[arg(long, default_value = "", value_name = "TEXT")]
    id_prefix: String,
    /// Follow the documents until each is completed or failed
    #[arg(long)]
    wait: bool,
    /// How long to wait, such as 90s or 10m
    #[arg(long, default_value = "10m", value_parser = time, value_name = "TIME")]
    timeout: Duration,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("invalid duration `{text}`: expected e.g. 90s or 10m"))
}

/// The result that is printed at the end.
struct Ingested {
    queue: String,
    enqueued: Vec<Enqueued>,
    unreadable: Vec<Unreadable>,
    followed: Option<Followed>,
    notes: Vec<String>,
}

/// Adds the files to the queue, follows them with `--wait`, and prints the result.
pub(super) async fn run(args: Args, source: Source) -> Result<Exit, Failure> {
    let settings = super::load(source)?;
    let endpoint = settings.redis()?;
    let names = settings.names()?;
    let contract = settings.config().queue.as_ref();
    let name = contract.and_then(|queue| queue.name.clone()).unwrap_or(names.queue);
    let prefix = contract.and_then(|queue| queue.prefix.clone()).unwrap_or(names.prefix);
    let described = settings.desired().and_then(|desired| desired.queue.as_ref());
    // A description of another queue does not apply to this one.
    let same = |described: &Option<String>, used: &str| described.as_deref().is_none_or(|name| name == used);
    let described = described.filter(|queue| same(&queue.name, &name) && same(&queue.prefix, &prefix));
    let shape = JobShape::new(contract.map(|queue| queue.job.clone()), described.map(|queue| &queue.job))
        .with_ids(contract.map(|queue| queue.document.id).unwrap_or_default());

    let Gathered { files, unreadable } = gather(&args.paths, &args.id_prefix);
    if files.is_empty() && unreadable.is_empty() {
        return Err(Failure::usage("no files at or below these paths; hidden files are skipped"));
    }
    let queue =
        QueueClient::open(&endpoint, &name, &prefix).await.map_err(|error| failure(IngestError::Service(error)))?;
    let mut result = Ingested {
        queue: format!("{prefix}:{name}"),
        enqueued: Vec::new(),
        unreadable,
        followed: None,
        notes: Vec::new(),
    };
    let work = async {
        let bar = bar(files.len(), "queued");
        let done = enqueue(&queue, &shape, &files, |batch| bar.inc(batch.len() as u64)).await;
        let acknowledged = bar.position();
        bar.finish_and_clear();
        let (enqueued, unreadable) = done.map_err(|error| {
            let Failure { exit, report } = failure(error);
            let report =
                report.wrap_err(format!("{acknowledged} of {} documents were added to the queue", files.len()));
            Failure { exit, report }
        })?;
        result.enqueued = enqueued;
        result.unreadable.extend(unreadable);
        if args.wait {
            let bar = self::bar(result.enqueued.len(), "done");
            let followed = follow(&queue, &result.enqueued, args.timeout, |document, end| {
                if let End::Failed { reason } = end {
                    bar.println(format!("failed: {}: {reason}", document.document));
                }
                bar.inc(1);
            });
            let followed = followed.await.map_err(failure);
            bar.finish_and_clear();
            result.followed = Some(followed?);
        }
        Ok::<(), Failure>(())
    };
    let finished = tokio::select! {
        done = work => Some(done),
        _ = tokio::signal::ctrl_c() => None,
    };
    queue.close().await;
    let Some(done) = finished else {
        // The queue keeps the acknowledged jobs, and a worker will process them.
        note(&format!("interrupted; the documents that were added stay in the queue {}", result.queue));
        return Ok(Exit::Interrupted);
    };
    done?;
    result.note();
    let text = match args.format {
        Format::Text => result.text(),
        Format::Json => format!("{:#}\n", result.json()),
    };
    try_print(&text).map_err(Failure::harness)?;
    Ok(result.exit())
}

fn failure(error: IngestError) -> Failure {
    match error {
        IngestError::Placeholder { .. } | IngestError::Service(ServiceError::Unauthorised { .. }) => {
            Failure::usage(error)
        }
        IngestError::Service(_) => Failure::harness(error),
    }
}

/// A progress bar on standard error; hidden if that is not a terminal.
fn bar(length: usize, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(length as u64).with_message(what);
    match ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}  {elapsed_precise}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl Ingested {
    fn ends(&self, word: &str) -> usize {
        self.followed.as_ref().map_or(0, |followed| followed.ends.iter().filter(|end| end.word() == word).count())
    }

    fn note(&mut self) {
        let large = self.enqueued.iter().filter(|document| document.bytes > LARGE);
        let large: Vec<String> = large
            .map(|one| {
                format!(
                    "{} has {} KiB of text: a job of more than 1 MiB puts load on Redis",
                    one.document,
                    one.bytes / 1024
                )
            })
            .collect();
        self.notes.extend(large);
        let open = self.ends("open");
        if open > 0 && self.followed.as_ref().is_some_and(|followed| followed.workers == 0) {
            self.notes.push(format!(
                "no worker is registered on the queue {}: start one with the same QUEUE_NAME and QUEUE_PREFIX",
                self.queue
            ));
        }
        let removed = self.ends("removed");
        if removed > 0 {
            self.notes.push(format!(
                "{removed} jobs were removed when they ended, so their result is unknown: \
                 let the worker keep finished jobs (removeOnComplete, removeOnFail)"
            ));
        }
    }

    fn exit(&self) -> Exit {
        if !self.unreadable.is_empty() {
            Exit::Usage
        } else if self.ends("failed") > 0 {
            Exit::NotConformant
        } else if self.ends("open") + self.ends("removed") > 0 {
            Exit::Inconclusive
        } else {
            Exit::Ok
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let how = |queued| self.enqueued.iter().filter(|document| document.queued == queued).count();
        let _ = writeln!(
            text,
            "queue {}: {} documents added ({} new, {} again, {} already waiting)",
            self.queue,
            self.enqueued.len(),
            how(Queued::New),
            how(Queued::Again),
            how(Queued::Already)
        );
        if let Some(followed) = &self.followed {
            let counts = [("completed", ""), ("failed", ""), ("removed", ""), ("open", " at the timeout")];
            let counts = counts.iter().filter(|(word, _)| *word == "completed" || self.ends(word) > 0);
            let counts: Vec<String> = counts.map(|(word, more)| format!("{} {word}{more}", self.ends(word))).collect();
            let _ = writeln!(text, "{}", counts.join(", "));
            for (document, end) in self.enqueued.iter().zip(&followed.ends) {
                if let End::Failed { reason } = end {
                    let _ = writeln!(text, "  failed: {}: {reason}", document.document);
                }
            }
        }
        for one in &self.unreadable {
            let _ = writeln!(text, "  not read: {} {}\n    remedy: {}", one.path.display(), one.problem, one.remedy);
        }
        for note in &self.notes {
            let _ = writeln!(text, "  note: {note}");
        }
        text
    }

    fn json(&self) -> Value {
        let documents = self.enqueued.iter().enumerate().map(|(at, one)| {
            let end = self.followed.as_ref().and_then(|followed| followed.ends.get(at));
            let reason = match end {
                Some(End::Failed { reason }) => Some(reason),
                _ => None,
            };
            json!({
                "id": one.document,
                "version": one.version,
                "job": one.job,
                "bytes": one.bytes,
                "queued": one.queued.word(),
                "end": end.map(End::word),
                "reason": reason,
            })
        });
        let unreadable = self
            .unreadable
            .iter()
            .map(|one| json!({ "path": one.path.to_string_lossy(), "problem": one.problem, "remedy": one.remedy }));
        json!({
            "queue": self.queue,
            "documents": documents.collect::<Vec<_>>(),
            "unreadable": unreadable.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}
