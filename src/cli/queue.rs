//! `shakedown queue`: look at the queue, pause it, resume it, empty it, retry what failed.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::Common;
use super::consent::asked;
use super::failure::Failure;
use super::shown::{Format, print};
use crate::operations::queue::{self, JobState, Operation, OperationError, OperationResult, QueueState};
use crate::outcome::Exit;
use crate::services::ServiceError;
use crate::settings::{Names, RedisEndpoint, Settings};
use crate::spec::duration;

/// Look at the BullMQ queue of `QUEUE_NAME`, pause it, resume it, empty it, retry what failed
///
/// The counts are those of BullMQ's `getJobCounts`, for BullMQ 5 and 6. Exit codes: 0 done, or nothing to do; 2 bad usage,
/// no such queue, or nobody to ask; 3 no answer, or a permission is missing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Count the jobs in each state, and say what the queue is limited to; writes nothing
    Status {
        /// How to write it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Let workers begin no more jobs; those in work are finished
    Pause(Flags),
    /// Let workers begin jobs again
    Resume(Flags),
    /// Remove every job that waits; those in work, and the finished ones, stay
    Drain {
        /// Delayed jobs too
        #[arg(long)]
        delayed: bool,
        #[command(flatten)]
        flags: Destroying,
    },
    /// Let every failed job wait again, with all of its attempts
    RetryFailed(Flags),
    /// Remove jobs of one state
    Clean {
        /// Which state
        #[arg(long, value_enum)]
        state: StateWord,
        /// Only what is older, such as 36h, 30m or 10s
        #[arg(long, value_name = "AGE", value_parser = age, default_value = "0s")]
        older_than: Duration,
        /// At most so many
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
        #[command(flatten)]
        flags: Destroying,
    },
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Say what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// How to write what was done
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Destroying {
    #[command(flatten)]
    flags: Flags,
    /// Do not ask: for pipelines
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum StateWord {
    /// Completed jobs
    Completed,
    /// Failed jobs
    Failed,
    /// Jobs that wait, in a paused queue too
    Waiting,
    /// Delayed jobs
    Delayed,
    /// Jobs that wait with a priority
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
    duration(text).ok_or_else(|| "a number with ms, s, m or h is wanted, such as 36h".to_owned())
}

pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let settings = Settings::load(common.source())?;
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
        let question = format!("{}: {}?", title(&planned.before), planned_words(verb, &planned));
        if planned.needed && !asked(&question, yes, "--dry-run")? {
            print("nothing was done\n");
            return Ok(Exit::Ok);
        }
    }
    let done = operate(flags.dry_run).await.map_err(failed)?;
    print(&match flags.format {
        Format::Json => as_json(verb, &done, flags.dry_run),
        Format::Text => told(verb, &done),
    });
    Ok(Exit::Ok)
}

async fn status(redis: &RedisEndpoint, names: &Names, format: Format) -> Result<Exit, Failure> {
    let (sight, others) =
        queue::inspect(redis, &names.queue, &names.prefix).await.map_err(|error| failed(error.into()))?;
    if !sight.exists && format == Format::Text {
        let (name, prefix) = (names.queue.clone(), names.prefix.clone());
        return Err(failed(OperationError::NoQueue { name, prefix, others }));
    }
    print(&match format {
        Format::Json => format!("{:#}\n", sight.json()),
        Format::Text => shown(&sight),
    });
    Ok(Exit::Ok)
}

fn failed(error: OperationError) -> Failure {
    match error {
        OperationError::NoQueue { .. } | OperationError::Service(ServiceError::Unauthorised { .. }) => {
            Failure::usage(error)
        }
        OperationError::Service(ServiceError::Denied { detail, .. }) => Failure::harness(format!(
            "redis denied permission: {detail}\n  remedy: let an administrator grant what BullMQ needs: ACL SETUSER USER \
             +@all -@admin ~PREFIX:* for the user of REDIS_URL and the prefix of the queue"
        )),
        OperationError::Service(_) => Failure::harness(error),
    }
}

fn title(sight: &QueueState) -> String {
    format!("{}:{}", sight.prefix, sight.name)
}

fn shown(sight: &QueueState) -> String {
    let state = if sight.paused { "paused" } else { "running" };
    let workers = sight.workers.map_or_else(
        || "workers not known, for CLIENT LIST is not permitted".to_owned(),
        |attached| counted(attached.all() as u64, "worker"),
    );
    let mut text = format!("{}: {state}, {workers}\n", title(sight));
    // Writing to a string cannot fail.
    for (state, count) in sight.counts.by_state() {
        let _ = writeln!(text, "  {state:<17} {count:>9}");
    }
    let mut beside = Vec::new();
    if sight.schedulers > 0 {
        beside.push(counted(sight.schedulers, "job scheduler"));
    }
    if let Some(concurrency) = sight.concurrency {
        beside.push(format!("at most {concurrency} in work at once"));
    }
    if let Some((max, duration)) = sight.rate_limit {
        beside.push(format!("at most {max} begun in {duration} ms"));
    }
    if let Some(events) = sight.events {
        beside.push(format!("about {events} events kept"));
    }
    beside.extend(sight.version.clone());
    if !beside.is_empty() {
        let _ = writeln!(text, "  {}", beside.join(", "));
    }
    text
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// What is done, as in `remove 12 jobs that wait`.
fn planned_words(verb: Operation, done: &OperationResult) -> String {
    let jobs = counted(done.jobs, "job");
    match verb {
        Operation::Pause => format!("pause, with {jobs} waiting"),
        Operation::Resume => format!("resume, with {jobs} waiting"),
        Operation::Drain { delayed: true } => format!("remove {jobs} that wait or are delayed"),
        Operation::Drain { delayed: false } => format!("remove {jobs} that wait"),
        Operation::RetryFailed => format!("let {jobs} that failed wait again"),
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

fn told(verb: Operation, done: &OperationResult) -> String {
    let title = title(&done.before);
    let words = planned_words(verb, done);
    let mut text = match (&done.after, done.needed) {
        (None, true) => format!("{title}: would {words}; nothing was written\n"),
        (_, false) => format!("{title}: nothing to do\n"),
        (Some(_), true) => format!("{title}: done: {words}\n"),
    };
    if let Operation::Drain { delayed } = verb {
        let counts = &done.before.counts;
        if counts.active > 0 {
            let _ = writeln!(text, "  {} in work stay", counted(counts.active, "job"));
        }
        if !delayed && counts.delayed > 0 {
            let _ = writeln!(text, "  {} that are delayed stay; --delayed removes them too", counts.delayed);
        }
    }
    if matches!(verb, Operation::RetryFailed) && done.before.paused && done.needed {
        text.push_str("  the queue is paused: they begin when it is resumed\n");
    }
    if let Some(after) = &done.after {
        text.push_str(&shown(after));
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
    let told = json!({
        "verb": word,
        "dry_run": dry_run,
        "needed": done.needed,
        "jobs": done.jobs,
        "before": done.before.json(),
        "after": done.after.as_ref().map(QueueState::json),
    });
    format!("{told:#}\n")
}
