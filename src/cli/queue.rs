//! `shakedown queue`: inspect, pause, resume and drain the queue, and retry failed jobs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::Common;
use super::confirm::confirm;
use super::failure::Failure;
use super::print::{Format, print};
use crate::operations::queue::{self, JobState, Operation, OperationError, OperationResult, QueueState};
use crate::outcome::Exit;
use crate::services::ServiceError;
use crate::settings::{Names, RedisEndpoint};
use crate::spec::parse_duration;

/// Inspect, pause, resume, drain and clean the BullMQ queue of `QUEUE_NAME`, and retry failed jobs
///
/// The counts are those of BullMQ's `getJobCounts`, for BullMQ 5 and 6. Exit codes: 0 done, or nothing to do; 2 bad usage,
/// no such queue, or refused without --yes; 3 no answer, or a permission is missing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the number of jobs in each state and the limits of the queue; reads only
    Status {
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Pause the queue: workers finish their active jobs and start no others
    Pause(Flags),
    /// Resume a paused queue
    Resume(Flags),
    /// Remove all waiting jobs; active and finished jobs stay
    Drain {
        /// Also remove delayed jobs
        #[arg(long)]
        delayed: bool,
        #[command(flatten)]
        flags: Destroying,
    },
    /// Move every failed job back to waiting, with all of its attempts
    RetryFailed(Flags),
    /// Remove the jobs of one state
    Clean {
        /// State of the jobs to remove
        #[arg(long, value_enum)]
        state: StateWord,
        /// Only jobs older than this, such as 36h, 30m or 10s
        #[arg(long, value_name = "AGE", value_parser = age, default_value = "0s")]
        older_than: Duration,
        /// Remove at most N jobs
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
        #[command(flatten)]
        flags: Destroying,
    },
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Print what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Destroying {
    #[command(flatten)]
    flags: Flags,
    /// Do not ask for confirmation; for pipelines
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum StateWord {
    /// Completed jobs
    Completed,
    /// Failed jobs
    Failed,
    /// Waiting jobs, also in a paused queue
    Waiting,
    /// Delayed jobs
    Delayed,
    /// Waiting jobs with a priority
    Prioritized,
}

impl From<StateWord> for JobState {
    fn from(word: StateWord) -> Self {
        match word {
            StateWord::Completed => Self::Completed,
            StateWord::Failed => Self::Failed,
            StateWord::Waiting => Self::Waiting,
            StateWord::Delayed => Self::Delayed,
            StateWord::Prioritized => Self::Prioritized,
        }
    }
}

fn age(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("invalid duration `{text}`: expected e.g. 36h, 30m or 10s"))
}

pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let settings = super::load(common.source())?;
    let (redis, names) = (settings.redis()?, settings.names()?);
    let (verb, flags, yes) = match args.what {
        What::Status { format } => return status(&redis, &names, format).await,
        What::Pause(flags) => (Operation::Pause, flags, true),
        What::Resume(flags) => (Operation::Resume, flags, true),
        What::RetryFailed(flags) => (Operation::RetryFailed, flags, true),
        What::Drain { delayed, flags } => (Operation::Drain { delayed }, flags.flags, flags.yes),
        What::Clean { state, older_than, limit, flags } => {
            (Operation::Clean { state: state.into(), older_than, limit }, flags.flags, flags.yes)
        }
    };
    let operate = |rehearsal| queue::operate(&redis, &names.queue, &names.prefix, verb, rehearsal);
    if verb.is_destructive() && !flags.dry_run && !yes {
        let planned = operate(true).await.map_err(failed)?;
        let question = format!("{}: {}?", title(&planned.before), describe_action(verb, &planned));
        if planned.needed && !confirm(&question, yes, "--dry-run")? {
            print("nothing was changed\n");
            return Ok(Exit::Ok);
        }
    }
    let done = operate(flags.dry_run).await.map_err(failed)?;
    print(&match flags.format {
        Format::Json => as_json(verb, &done, flags.dry_run),
        Format::Text => format_done(verb, &done),
    });
    Ok(Exit::Ok)
}

async fn status(redis: &RedisEndpoint, names: &Names, format: Format) -> Result<Exit, Failure> {
    let (inspected, others) =
        queue::inspect(redis, &names.queue, &names.prefix).await.map_err(|error| failed(error.into()))?;
    if !inspected.exists && format == Format::Text {
        let (name, prefix) = (names.queue.clone(), names.prefix.clone());
        return Err(failed(OperationError::NoQueue { name, prefix, others }));
    }
    print(&match format {
        Format::Json => format!("{:#}\n", inspected.json()),
        Format::Text => format_queue(&inspected),
    });
    Ok(Exit::Ok)
}

fn failed(error: OperationError) -> Failure {
    match error {
        OperationError::NoQueue { .. } | OperationError::Service(ServiceError::Unauthorised { .. }) => {
            Failure::usage(error)
        }
        OperationError::Service(ServiceError::Denied { detail, .. }) => Failure::harness(format!(
            "redis denied permission: {detail}\n  remedy: ask an administrator to grant what BullMQ needs: ACL SETUSER USER \
             +@all -@admin ~PREFIX:* for the user of REDIS_URL and the prefix of the queue"
        )),
        OperationError::Service(_) => Failure::harness(error),
    }
}

fn title(inspected: &QueueState) -> String {
    format!("{}:{}", inspected.prefix, inspected.name)
}

fn format_queue(inspected: &QueueState) -> String {
    let state = if inspected.paused { "paused" } else { "running" };
    let workers = inspected.workers.map_or_else(
        || "workers unknown, because CLIENT LIST is not permitted".to_owned(),
        |attached| counted(attached.all() as u64, "worker"),
    );
    let mut text = format!("{}: {state}, {workers}\n", title(inspected));
    // Writing to a string cannot fail.
    for (state, count) in inspected.counts.by_state() {
        let _ = writeln!(text, "  {state:<17} {count:>9}");
    }
    let mut beside = Vec::new();
    if inspected.schedulers > 0 {
        beside.push(counted(inspected.schedulers, "job scheduler"));
    }
    if let Some(concurrency) = inspected.concurrency {
        beside.push(format!("at most {concurrency} active at once"));
    }
    if let Some((max, duration)) = inspected.rate_limit {
        beside.push(format!("at most {max} started in {duration} ms"));
    }
    if let Some(events) = inspected.events {
        beside.push(format!("about {events} events stored"));
    }
    beside.extend(inspected.version.clone());
    if !beside.is_empty() {
        let _ = writeln!(text, "  {}", beside.join(", "));
    }
    text
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The action in words, such as `remove 12 waiting jobs`.
fn describe_action(verb: Operation, done: &OperationResult) -> String {
    let jobs = counted(done.jobs, "job");
    match verb {
        Operation::Pause => format!("pause, with {jobs} waiting"),
        Operation::Resume => format!("resume, with {jobs} waiting"),
        Operation::Drain { delayed: true } => format!("remove {jobs} that are waiting or delayed"),
        Operation::Drain { delayed: false } => format!("remove {jobs} that are waiting"),
        Operation::RetryFailed => format!("move {jobs} from failed to waiting"),
        Operation::Clean { state, .. } => {
            let most = if done.after.is_none() && !matches!(state, JobState::Completed | JobState::Failed) {
                "up to "
            } else {
                ""
            };
            format!("remove {most}{jobs} that are {}", state.word())
        }
    }
}

fn format_done(verb: Operation, done: &OperationResult) -> String {
    let title = title(&done.before);
    let words = describe_action(verb, done);
    let mut text = match (&done.after, done.needed) {
        (None, true) => format!("{title}: would {words}; nothing was written\n"),
        (_, false) => format!("{title}: nothing to do\n"),
        (Some(_), true) => format!("{title}: done: {words}\n"),
    };
    if let Operation::Drain { delayed } = verb {
        let counts = &done.before.counts;
        if counts.active > 0 {
            let _ = writeln!(text, "  {} stay active", counted(counts.active, "job"));
        }
        if !delayed && counts.delayed > 0 {
            let _ = writeln!(text, "  {} delayed jobs stay; --delayed removes them too", counts.delayed);
        }
    }
    if matches!(verb, Operation::RetryFailed) && done.before.paused && done.needed {
        text.push_str("  the queue is paused: the jobs start when you resume it\n");
    }
    if let Some(after) = &done.after {
        text.push_str(&format_queue(after));
    }
    text
}

fn as_json(verb: Operation, done: &OperationResult, dry_run: bool) -> String {
    let word = match verb {
        Operation::Pause => "pause",
        Operation::Resume => "resume",
        Operation::Drain { .. } => "drain",
        Operation::RetryFailed => "retry-failed",
        Operation::Clean { .. } => "clean",
    };
    let result = json!({
        "verb": word,
        "dry_run": dry_run,
        "needed": done.needed,
        "jobs": done.jobs,
        "before": done.before.json(),
        "after": done.after.as_ref().map(QueueState::json),
    });
    format!("{result:#}\n")
}
