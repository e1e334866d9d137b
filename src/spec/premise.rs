//! Premises: what must have been seen in a scenario run for a pass to mean something.
//!
//! # Adding a premise
//!
//! 1. Add a variant to [`Premise`] with its sentence in `Display`. Its doc comment becomes the description in the schema.
//! 2. Add its arm to the `match` in `scenario/premises/mod.rs`, and its function with a test to the file of its family.
//! 3. Regenerate the schema and the guide: `scripts/check/schema --write`.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// What must have been seen in a scenario run, from outside the worker, for a pass to mean something. If a premise is not
/// met, a pass becomes `unknown`, or `skip` if no run with this worker can meet it; a failure stays a failure.
///
/// A premise without data is written as its name, such as `"retried"`; others as a table, such as `{ jobs_in_work = 2 }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Premise {
    /// Any run in which documents were ingested. The value says why nothing else must have been seen.
    AnyRun(String),

    // Documents and versions.
    /// A document has at least this many chunks.
    Chunks(u64),
    /// The chunks of a document fill its requests to the embeddings API exactly, the last one included. How many texts fill a
    /// request is learned from a document that takes several.
    FullBatches,
    /// A document takes at least this many requests to the embeddings API.
    Batches(u64),
    /// A document of the last step had points before that step.
    FormerPoints,
    /// A document has fewer chunks than before the last step.
    FewerChunks,

    // Jobs.
    /// At least this many jobs are active at the same time.
    JobsInWork(u64),
    /// The worker has as many jobs active as it takes, while more wait; or this many, if it takes more.
    Saturated(u64),
    /// A job takes at least this many attempts.
    Attempts(u64),
    /// At least this many jobs fail for good.
    FailedJobs(u64),
    /// A job fails because it stalled too often.
    StalledOut,
    /// A job is active for longer than its lock lasts without renewal.
    LongerThanLock,

    // Jobs of one document.
    /// Two jobs of a document are active at the same time.
    VersionsOverlap,
    /// A job of a document ends after one of that document that was added later.
    OlderEndsLast,

    // Requests to the embeddings API.
    /// At least this many requests get an abnormal answer.
    AbnormalAnswers(u64),
    /// At least this many requests in a row are refused with 429 or 5xx.
    RefusedInARow(u64),
    /// A text whose request got an abnormal answer is sent again, and then accepted.
    Retried,
    /// Of a document that takes several requests, one is refused and an earlier one was accepted.
    RefusedMidway,

    // Faults.
    /// The pipeline is in this state at some time while a fault of a service lasts.
    FaultMet(Work),
    /// The pipeline is in this state when a worker is killed.
    KilledWith(Work),
    /// The pipeline is in this state when a worker gets SIGTERM.
    TerminatedWith(Work),
    /// The pipeline is in this state when a worker is paused.
    PausedWith(Work),
    /// The pipeline is in this state when another worker joins.
    JoinedWith(Work),
    /// A job stalls after a fault began: its lock expired.
    LockExpired,
    /// The worker calls the broken service at least this often while the fault lasts.
    CallsInFault(u64),
}

/// A state of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A job is active, in the worker's queue or in one of child jobs, or goes on later: when its backoff is over, or when
    /// its children have ended.
    ActiveJob,
    /// No job is active.
    NoActiveJob,
    /// A job waits to be taken.
    WaitingJob,
    /// The embeddings API has a request and has not answered it yet.
    OpenRequest,
    /// A request is open whose answer comes after the grace period has ended.
    OpenBeyondGrace,
    /// A refused text has not been sent again yet.
    PendingRetry,
    /// Some points of a document are stored, and others are not.
    PartOfPoints,
    /// All points of a document are stored, and its row does not say so.
    PointsWithoutRow,
    /// The row says that a document is stored, and its job is active.
    RowBeforeEnd,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ActiveJob => "a job is active",
            Self::NoActiveJob => "no job is active",
            Self::WaitingJob => "a job waits to be taken",
            Self::OpenRequest => "a request to the embeddings API is open",
            Self::OpenBeyondGrace => "a request to the embeddings API is open that ends after the grace period",
            Self::PendingRetry => "a refused text has not been sent again",
            Self::PartOfPoints => "a part of a document's points is stored",
            Self::PointsWithoutRow => "all points of a document are stored and its row does not say so",
            Self::RowBeforeEnd => "the row of an active job says that its document is stored",
        })
    }
}

/// The sentence that `shakedown explain` shows after `premise`.
impl fmt::Display for Premise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyRun(reason) => write!(f, "documents are ingested, and that is enough: {reason}"),
            Self::Chunks(least) => write!(f, "a document has at least {}", counted(*least, "chunk")),
            Self::FullBatches => f.write_str("the chunks of a document exactly fill its embeddings requests"),
            Self::Batches(least) => write!(f, "a document takes at least {}", counted(*least, "embeddings request")),
            Self::FormerPoints => f.write_str("a document of the last step had points before that step"),
            Self::FewerChunks => f.write_str("a document has fewer chunks than before the last step"),
            Self::JobsInWork(least) => write!(f, "at least {} active at the same time", are(*least, "job")),
            Self::Saturated(most) => {
                write!(f, "the worker takes no more jobs while some wait, or takes {most} at once")
            }
            Self::Attempts(least) => write!(f, "a job takes at least {}", counted(*least, "attempt")),
            Self::FailedJobs(least) => write!(f, "at least {} for good", counted_verb(*least, "job", "fail")),
            Self::StalledOut => f.write_str("a job fails because it stalled too often"),
            Self::LongerThanLock => f.write_str("a job is active for longer than its lock lasts"),
            Self::VersionsOverlap => f.write_str("two jobs of a document are active at the same time"),
            Self::OlderEndsLast => f.write_str("a job of a document ends after one that was added later"),
            Self::AbnormalAnswers(least) => {
                write!(f, "the embeddings API answers at least {} abnormally", counted(*least, "request"))
            }
            Self::RefusedInARow(least) => {
                write!(f, "the embeddings API refuses at least {} in a row", counted(*least, "request"))
            }
            Self::Retried => f.write_str("a text with an abnormal answer is sent again and accepted"),
            Self::RefusedMidway => f.write_str("a request of a document is refused after an earlier one was accepted"),
            Self::FaultMet(work) => write!(f, "while a fault of a service lasts, {work}"),
            Self::KilledWith(work) => write!(f, "when a worker is killed, {work}"),
            Self::TerminatedWith(work) => write!(f, "when a worker gets SIGTERM, {work}"),
            Self::PausedWith(work) => write!(f, "when a worker is paused, {work}"),
            Self::JoinedWith(work) => write!(f, "when another worker joins, {work}"),
            Self::LockExpired => f.write_str("a job stalls after a fault began, because its lock expired"),
            Self::CallsInFault(least) => {
                write!(f, "the worker calls the broken service at least {} during a fault", counted(*least, "time"))
            }
        }
    }
}

/// `1 chunk`, `3 chunks`.
fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// `1 job is`, `3 jobs are`.
fn are(number: u64, noun: &str) -> String {
    format!("{} {}", counted(number, noun), if number == 1 { "is" } else { "are" })
}

/// `1 job fails`, `3 jobs fail`.
fn counted_verb(number: u64, noun: &str, verb: &str) -> String {
    format!("{} {verb}{}", counted(number, noun), if number == 1 { "s" } else { "" })
}

/// Documents that suit the worker under test, computed from how it chunks and batches. A scenario has them if its own
/// documents do not meet its premise, because the worker does not read the variables that make batches small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SizedDocuments {
    /// Documents of n - 1, n, n + 1 and 2n chunks, where n is the number of texts in a full embeddings request.
    BatchBoundaries,
    /// A document that takes this many embeddings requests.
    Batches(u64),
    /// A document of this many chunks.
    Chunks(u64),
}

impl fmt::Display for SizedDocuments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BatchBoundaries => f.write_str("of n - 1, n, n + 1 and 2n chunks, n being a full embeddings request"),
            Self::Batches(count) => write!(f, "of {}", counted(*count, "embeddings request")),
            Self::Chunks(count) => write!(f, "of {}", counted(*count, "chunk")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::spec::{Check, Suites};

    #[derive(Debug, Deserialize)]
    struct Written {
        premise: Vec<Premise>,
    }

    #[test]
    fn premises_are_names_or_tables_with_one_key() {
        let written: Written = toml::from_str(
            "premise = [\"retried\", { jobs_in_work = 2 }, { killed_with = \"active_job\" }, { any_run = \"a reason\" }]",
        )
        .unwrap();
        let wanted = [
            Premise::Retried,
            Premise::JobsInWork(2),
            Premise::KilledWith(Work::ActiveJob),
            Premise::AnyRun("a reason".to_owned()),
        ];
        assert_eq!(written.premise, wanted);
        let sentences: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        assert_eq!(sentences[1], "at least 2 jobs are active at the same time");
        assert_eq!(sentences[2], "when a worker is killed, a job is active");
        let text = "premise = [{ killed_with = \"nothing\" }]";
        let error = toml::from_str::<Written>(text).unwrap_err();
        assert_eq!(error.span().map(|span| &text[span]), Some("\"nothing\""), "{error}");
    }

    #[test]
    fn every_built_in_case_that_judges_a_worker_names_its_premise() {
        let suites = Suites::builtin().unwrap();
        let judges = suites.cases.iter().filter(|case| matches!(case.check, Check::Scenario(..)));
        let without: Vec<&str> =
            judges.filter(|case| suites.premises(case).next().is_none()).map(|case| case.id.as_str()).collect();
        assert_eq!(
            without,
            Vec::<&str>::new(),
            "add `premise = […]`, or `{{ any_run = \"REASON\" }}` if any run is enough"
        );
    }
}
