//! What a case expects of a whole scenario run.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{All, Intact, Range};
use crate::spec::Target;

/// One expectation over a scenario run: an entry of `expect`, such as `max_attempts = 1`. A variant without data is
/// written `key = true`.
///
/// **The order of the variants is the order of evaluation.** Of several unmet expectations the first one gives the
/// verdict's reason: lost documents are reported before anything else, then facts that hold or do not, then bounds.
///
/// Numbers of tokens are `cl100k_base` tokens.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    // Lost documents first.
    /// `intact`: every document is stored whole and once, as in the baseline, with its own vectors and row; or it was
    /// rejected or skipped and its row says so. Nothing else is stored.
    #[serde(rename = "documents")]
    DocumentsIntact(Intact),
    /// `all`: every document with text is delivered: its job completed, its row is `ready`, and as many points are stored
    /// as the row says.
    Delivered(All),
    /// `all`: every job ended as `completed`.
    JobsCompleted(All),

    // Facts that hold or do not.
    /// The queue holds no job that is waiting, prioritized, active, delayed or paused.
    QueueDrained,
    /// Every stored vector is the one that the mock returned for that text, or for the text with the differences that
    /// `[chunks] embedded` permits.
    VectorsMatchTexts,
    /// The chunks of a document, laid over each other, give the document back: byte by byte, except for what `[chunks]`
    /// permits to be missing.
    Reassembled,
    /// The chunk indices of a document are 0, 1, 2 … without a gap, or every chunk has its offset.
    ChunksNumbered,
    /// No chunk has more tokens than the model reads of a text.
    ChunksFitModel,
    /// Every request to the embeddings API asks for the task of the contract, the passage task by default, and for the
    /// configured model and dimensions.
    RequestsWellFormed,
    /// No request permits the embeddings API to truncate a text that is too long for the model.
    RequestsUntruncated,
    /// Every request with late chunking carries texts of a single document.
    LateChunkingApart,
    /// Every request to the embeddings API was answered with 200.
    RequestsAccepted,
    /// Documents without text are skipped explicitly: row `skipped`, no point, no request.
    EmptySkipped,
    /// Every change of points waits until it is applied (`wait=true`).
    WritesAwaited,
    /// The number of chunks in every row is the number of points.
    RowsAgree,
    /// The payload of every point names document, chunk index and text.
    PayloadComplete,
    /// The last step changed nothing: the same contents of points, the same rows, and where `[chunks] ids` is `stable` the
    /// same point ids.
    Unchanged,
    /// The last step changed no point id.
    PointIdsKept,
    /// After the last step no point of an older version is left.
    NoStaleChunks,
    /// No text was altered: no U+FFFD that the document does not have, and no character is missing, except for those that
    /// `[chunks]` permits to be missing.
    UnicodeIntact,
    /// After SIGTERM the worker ends within its grace period, with a code of `[worker] exit_codes`. With another code than 0
    /// it leaves no job active.
    ExitsCleanly,
    /// Every worker that a fault sends SIGTERM ends within its grace period, with whatever code.
    ExitsInTime,
    /// The worker's log holds no secret.
    LogHoldsNoSecret,
    /// Every line of the worker's log is a JSON object.
    LogIsJson,
    /// The worker registered itself on the queue under BullMQ's connection name.
    WorkerRegistered,
    /// The jobs of rejected documents failed with a reason.
    OnlyRejectedFail,
    /// Every document whose job failed for good has a row that says so, and why.
    FailedRowsMarked,
    /// Every document whose job ended has a row with the matching status, whether the job failed or completed.
    RowStatusMatchesJob,
    /// The worker's log repeats no text of a document.
    LogHoldsNoText,
    /// Failed reasons and return values of jobs, and errors in rows, hold no secret.
    ReasonsHoldNoSecret,
    /// At no time does a row say that a document is stored while its points are missing.
    RowAfterPoints,
    /// Every document is stored whole; or its job failed, its row says so, and nothing of it is stored.
    AllOrNothing,
    /// While the same documents are ingested again, the collection never holds fewer points than before.
    PointsNeverDrop,
    /// Nothing is reported as done: no job completed, no row is `ready`, no point is stored.
    NothingCompleted,
    /// The wait before a retry of a request to the embeddings API grows from one retry to the next.
    BackoffGrows,
    /// The waits before retries differ from request to request.
    BackoffJitters,
    /// No request is repeated before its `Retry-After` has passed.
    RetryAfterHonoured,
    /// After the workers have ended, none of their connections to a service is open. Needs a proxy before the services
    /// (`watch`, or a fault).
    ConnectionsClosed,
    /// A worker that received SIGTERM takes no further job.
    NoJobAfterSigterm,
    /// A worker that ended after SIGTERM leaves no job in `active`.
    NoneLeftActive,
    /// After the last step, which removed documents, nothing of them is stored and no row says otherwise.
    Deleted,
    /// Points and rows of the documents that the last step did not touch are the same as before it.
    OtherDocumentsUnchanged,
    /// Of every document, exactly what its newest job makes of it is stored, points and row, in whatever order its jobs ran:
    /// the newest version, or nothing after a removal. Without `order` in `[queue.document]` the level is at most SHOULD.
    NewestStored,
    /// Of a document whose newest job failed, no point of that version is stored; its row does not say that it is stored, or
    /// it counts the points of the version before.
    FailedVersionAbsent,
    /// For documents whose last version was refused, every point of the previous version is unchanged and no point of the
    /// new version is stored.
    PreviousVersionKept,

    // Bounds.
    /// Every job has ended at most this many seconds after the end of the last fault.
    MaxRecoveryS(f64),
    /// The most attempts that a job may take.
    MaxAttempts(f64),
    /// The most points that may share document, version and chunk index with another point, or have another version than
    /// the row's.
    MaxDuplicates(f64),
    /// Bounds on the number of tokens of each chunk, if `[chunks]` declares none. The level is then at most SHOULD.
    ChunkTokens(Range),
    /// Bounds on the number of tokens that neighbouring chunks share, if `[chunks]` declares none. The level is then at most
    /// SHOULD.
    OverlapTokens(Range),
    /// The most texts in one request.
    MaxTextsPerRequest(f64),
    /// Batches are filled: a document of n chunks takes at most ceil(n / size) requests, where `size` is the number of texts
    /// in its largest request, and at least this value.
    BatchesFilled(f64),
    /// The most requests to the embeddings API at the same time.
    MaxRequestsInFlight(f64),
    /// The most tokens that may be embedded although no stored chunk needs them.
    MaxTokensWasted(f64),
    /// The most resident memory of a worker process, in MiB.
    MaxMemoryMib(f64),
    /// The most bytes that a job may return, as JSON.
    MaxReturnBytes(f64),
    /// The most bytes that a worker may write to a job: its progress, its log, and the growth of its data.
    MaxNotesBytes(f64),
    /// The longest time, in milliseconds, that a Postgres transaction may be open without a query. Needs a proxy before
    /// Postgres (`watch`, or a fault).
    MaxIdleTransactionMs(f64),
    /// The most times that a job may be started.
    MaxExecutions(f64),
    /// Bounds on how often jobs stalled, all together.
    Stalls(Range),
    /// The most calls of a faulted service within any second of its outage and of the two seconds after it: requests to
    /// the embeddings API, connections to the others.
    MaxCallsPerS(f64),
    /// The most calls of a faulted service per second, on average over the second half of its outage.
    MaxProbesPerS(f64),
    /// The most connections at the same time, by service. Needs a proxy before the service (`watch`, or a fault).
    MaxConnections(BTreeMap<Target, f64>),
    /// The most connections in total, by service. Needs a proxy before the service (`watch`, or a fault).
    MaxConnectionsMade(BTreeMap<Target, f64>),
}

/// The sentence that `shakedown explain` shows after `wants`.
impl fmt::Display for Expectation {
    #[expect(clippy::too_many_lines, reason = "a table: one sentence for each expectation")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DocumentsIntact(_) => {
                f.write_str("every document is stored whole and once, as in the baseline, and nothing else is stored")
            }
            Self::Delivered(_) => f.write_str("every document with text is delivered"),
            Self::JobsCompleted(_) => f.write_str("every job completes"),
            Self::QueueDrained => f.write_str("the queue holds no unfinished job"),
            Self::VectorsMatchTexts => f.write_str("every stored vector belongs to its text"),
            Self::Reassembled => f.write_str("the chunks of a document give the whole document back"),
            Self::ChunksNumbered => f.write_str("chunk indices count from 0 without a gap"),
            Self::ChunksFitModel => f.write_str("the model reads every chunk to its end"),
            Self::RequestsWellFormed => f.write_str("every request has the passage task, the model and the dimensions"),
            Self::RequestsUntruncated => f.write_str("no request permits the embeddings API to truncate a text"),
            Self::LateChunkingApart => f.write_str("a request with late chunking carries texts of a single document"),
            Self::RequestsAccepted => f.write_str("the embeddings API answers every request with 200"),
            Self::EmptySkipped => {
                f.write_str("a document without text is skipped: no request, no point, row `skipped`")
            }
            Self::WritesAwaited => f.write_str("every change of points waits until it is applied"),
            Self::RowsAgree => f.write_str("every row has the number of chunks that are stored"),
            Self::PayloadComplete => f.write_str("every point's payload names document, chunk index and text"),
            Self::Unchanged => f.write_str("the last step changes no point and no row"),
            Self::PointIdsKept => f.write_str("the last step changes no point id"),
            Self::NoStaleChunks => f.write_str("no point of an older version is left"),
            Self::UnicodeIntact => f.write_str("no character is altered or lost"),
            Self::ExitsCleanly => f.write_str("the worker ends cleanly within its grace period after SIGTERM"),
            Self::ExitsInTime => f.write_str("a worker that a fault sends SIGTERM ends within its grace period"),
            Self::LogHoldsNoSecret => f.write_str("the worker's log holds no secret"),
            Self::LogIsJson => f.write_str("every line of the worker's log is a JSON object"),
            Self::WorkerRegistered => f.write_str("the worker is registered under BullMQ's connection name"),
            Self::OnlyRejectedFail => f.write_str("jobs of rejected documents fail with a reason"),
            Self::FailedRowsMarked => f.write_str("every document whose job failed has a row that says so, and why"),
            Self::RowStatusMatchesJob => f.write_str("every row's status matches the end of its job"),
            Self::LogHoldsNoText => f.write_str("the worker's log repeats no text of a document"),
            Self::ReasonsHoldNoSecret => f.write_str("no failed reason, return value or row error holds a secret"),
            Self::RowAfterPoints => f.write_str("no row is `ready` before the points of its document are stored"),
            Self::AllOrNothing => f.write_str("every document is stored whole, or failed with nothing of it stored"),
            Self::PointsNeverDrop => f.write_str("re-ingestion never reduces the number of points"),
            Self::NothingCompleted => f.write_str("no job completes, no row is `ready` and no point is stored"),
            Self::BackoffGrows => f.write_str("the wait before a retry grows from one retry to the next"),
            Self::BackoffJitters => f.write_str("the waits before retries differ"),
            Self::RetryAfterHonoured => f.write_str("no request is repeated before its `Retry-After` has passed"),
            Self::ConnectionsClosed => f.write_str("no connection is open after the workers have ended"),
            Self::NoJobAfterSigterm => f.write_str("a worker takes no job after SIGTERM"),
            Self::NoneLeftActive => f.write_str("a worker that ended after SIGTERM leaves no job active"),
            Self::Deleted => f.write_str("nothing of a removed document is left"),
            Self::OtherDocumentsUnchanged => f.write_str("the last step changes no other document"),
            Self::NewestStored => f.write_str("exactly what the newest job of each document makes of it is stored"),
            Self::FailedVersionAbsent => {
                f.write_str("no point of a version that failed is stored, and no row says otherwise")
            }
            Self::PreviousVersionKept => {
                f.write_str("when a new version is refused, the previous version stays as it was")
            }
            Self::MaxRecoveryS(most) => write!(f, "every job has ended within {most} s of the end of the last fault"),
            Self::MaxAttempts(most) => write!(f, "{} for any job", at_most(*most, "attempt")),
            Self::MaxDuplicates(most) => f.write_str(&at_most(*most, "duplicate point")),
            Self::ChunkTokens(range) => write!(f, "every chunk has {range} tokens"),
            Self::OverlapTokens(range) => write!(f, "neighbouring chunks share {range} tokens"),
            Self::MaxTextsPerRequest(most) => write!(f, "{} in a request", at_most(*most, "text")),
            Self::BatchesFilled(size) => {
                write!(f, "requests are as large as the largest, or have {}", counted(*size, "text"))
            }
            Self::MaxRequestsInFlight(most) => {
                write!(f, "at most {} to the embeddings API at once", counted(*most, "request"))
            }
            Self::MaxTokensWasted(most) => {
                write!(f, "{} embedded without need", at_most(*most, "token"))
            }
            Self::MaxMemoryMib(most) => write!(f, "no more than {most} MiB of memory in a worker process"),
            Self::MaxReturnBytes(most) => write!(f, "no job returns more than {}", counted(*most, "byte")),
            Self::MaxNotesBytes(most) => {
                write!(f, "{} of progress, log and added data on a job", at_most(*most, "byte"))
            }
            Self::MaxIdleTransactionMs(most) => {
                write!(f, "no Postgres transaction is open for more than {most} ms without a query")
            }
            Self::MaxExecutions(1.0) => f.write_str("no job is started more than once"),
            Self::MaxExecutions(most) => write!(f, "no job is started more than {}", counted(*most, "time")),
            Self::Stalls(Range { at_most: Some(0.0), .. }) => f.write_str("no job stalls"),
            Self::Stalls(range) => write!(f, "jobs stall {range} times, all together"),
            Self::MaxCallsPerS(most) => {
                write!(f, "{} of a faulted service within a second", at_most(*most, "call"))
            }
            Self::MaxProbesPerS(most) => {
                write!(f, "{} a second in the second half of an outage", at_most(*most, "call"))
            }
            Self::MaxConnections(limits) => limits_by_service(f, limits, " at once"),
            Self::MaxConnectionsMade(limits) => limits_by_service(f, limits, " in total"),
        }
    }
}

/// `1 attempt`, `3 attempts`.
fn counted(number: f64, noun: &str) -> String {
    let is_one = (number - 1.0).abs() < f64::EPSILON;
    format!("{number} {noun}{}", if is_one { "" } else { "s" })
}

/// `no duplicates`, `no more than 3 attempts`.
fn at_most(most: f64, noun: &str) -> String {
    if most == 0.0 { format!("no {noun}s") } else { format!("no more than {}", counted(most, noun)) }
}

/// `at most 20 connections to redis and at most 5 connections to qdrant at once`.
fn limits_by_service(f: &mut fmt::Formatter<'_>, limits: &BTreeMap<Target, f64>, when: &str) -> fmt::Result {
    for (at, (target, most)) in limits.iter().enumerate() {
        let and = if at > 0 { " and " } else { "" };
        write!(f, "{and}at most {} to {}", counted(*most, "connection"), target.word())?;
    }
    f.write_str(when)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Check, Suites};

    #[test]
    fn an_expectation_has_a_sentence_with_its_bound() {
        let range = Range { at_least: Some(1.0), at_most: Some(512.0) };
        for (expectation, sentence) in [
            (Expectation::Delivered(All::All), "every document with text is delivered"),
            (Expectation::MaxRecoveryS(30.0), "every job has ended within 30 s of the end of the last fault"),
            (Expectation::MaxAttempts(1.0), "no more than 1 attempt for any job"),
            (Expectation::MaxAttempts(3.0), "no more than 3 attempts for any job"),
            (Expectation::MaxDuplicates(0.0), "no duplicate points"),
            (Expectation::MaxExecutions(1.0), "no job is started more than once"),
            (Expectation::ChunkTokens(range), "every chunk has 1 to 512 tokens"),
            (
                Expectation::MaxConnections(BTreeMap::from([(Target::Redis, 20.0)])),
                "at most 20 connections to redis at once",
            ),
            (
                Expectation::MaxConnectionsMade(BTreeMap::from([(Target::Redis, 1.0), (Target::Jina, 2.0)])),
                "at most 1 connection to redis and at most 2 connections to jina in total",
            ),
        ] {
            assert_eq!(expectation.to_string(), sentence);
        }
    }

    #[test]
    fn no_built_in_case_is_explained_with_names_from_the_code() {
        for case in &Suites::builtin().unwrap().cases {
            let sentences: Vec<String> = match &case.check {
                Check::Scenario(_, expectations) => expectations.iter().map(ToString::to_string).collect(),
                // A query or a regular expression may hold anything; the matchers' own words are tested beside them.
                Check::Probe(..) => continue,
            };
            for sentence in sentences {
                for code in ["Some(", "None", "{", "}", "::", "_s "] {
                    assert!(!sentence.contains(code), "{}: {sentence}", case.id);
                }
                let camel_case = sentence.split_whitespace().find(|word| {
                    let inner = word.get(1..).unwrap_or_default();
                    !["SIGTERM", "JSON", "BullMQ's", "MiB", "API"].contains(word)
                        && !word.contains("Retry-After")
                        && inner.chars().any(char::is_uppercase)
                });
                assert_eq!(camel_case, None, "{}: {sentence}", case.id);
            }
        }
    }
}
