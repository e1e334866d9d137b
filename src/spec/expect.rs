//! What a case expects: matchers over one observed value, expectations over a whole scenario.

use std::fmt;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Target;

/// Bounds on a number; both ends are included, either may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The least value that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// The greatest value that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

impl Range {
    /// Whether `number` lies within the bounds; NaN never does.
    #[must_use]
    pub fn holds(&self, number: f64) -> bool {
        !number.is_nan()
            && self.at_least.is_none_or(|least| number >= least)
            && self.at_most.is_none_or(|most| number <= most)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.at_least, self.at_most) {
            (Some(least), Some(most)) => write!(f, "{least} to {most}"),
            (Some(least), None) => write!(f, "at least {least}"),
            (None, Some(most)) => write!(f, "at most {most}"),
            (None, None) => f.write_str("any number"),
        }
    }
}

/// One demand on the value that a probe observed.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// The probe got an answer at all: an error, a refusal or silence does not meet it.
    Answers,
    /// The service refuses: the credentials are missing or wrong, or the user may not do it. An answer does not meet it.
    Refused,
    /// A denial of permission (such as 403) meets the demands as well as an answer that does; credentials that are not
    /// known say nothing.
    OrDenied,
    /// The value is this one; numbers and their text are the same, as Redis answers in text.
    Equals(Value),
    /// The value is another one.
    NotEquals(Value),
    /// The value is one of these.
    OneOf(Vec<Value>),
    /// The value's text matches the regular expression.
    Matches(Box<Regex>),
    /// The value's text does not match the regular expression.
    NotMatches(Box<Regex>),
    /// The value's text contains this text, or the list contains this item.
    Contains(String),
    /// The value is a number within bounds.
    Within(Range),
    /// The value is a version, and not an older one.
    VersionAtLeast(String),
    /// The value is null, an empty text, an empty list or an empty table, or it is not.
    Empty(bool),
    /// There is a value at all, or there is none (null).
    Exists(bool),
}

impl Matcher {
    /// Whether `value` meets the demand.
    #[must_use]
    pub fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Answers | Self::OrDenied => true,
            Self::Refused => false,
            Self::Equals(wanted) => alike(value, wanted),
            Self::NotEquals(unwanted) => !alike(value, unwanted),
            Self::OneOf(wanted) => wanted.iter().any(|wanted| alike(value, wanted)),
            Self::Matches(regex) => regex.is_match(&text_of(value)),
            Self::NotMatches(regex) => !regex.is_match(&text_of(value)),
            Self::Contains(part) => match value {
                Value::Array(items) => items.iter().any(|item| text_of(item) == *part),
                other => text_of(other).contains(part.as_str()),
            },
            Self::Within(range) => number_of(value).is_some_and(|number| range.holds(number)),
            Self::VersionAtLeast(least) => version_at_least(&text_of(value), least),
            Self::Empty(wanted) => is_empty(value) == *wanted,
            Self::Exists(wanted) => value.is_null() != *wanted,
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answers => f.write_str("an answer"),
            Self::Refused => f.write_str("a refusal"),
            Self::OrDenied => f.write_str("or a denial of permission"),
            Self::Equals(value) => f.write_str(&text_of(value)),
            Self::NotEquals(value) => write!(f, "anything but {}", text_of(value)),
            Self::OneOf(values) => {
                write!(f, "one of {}", values.iter().map(text_of).collect::<Vec<_>>().join(", "))
            }
            Self::Matches(regex) => write!(f, "a match of /{regex}/"),
            Self::NotMatches(regex) => write!(f, "no match of /{regex}/"),
            Self::Contains(part) => write!(f, "something that contains {part:?}"),
            Self::Within(range) => range.fmt(f),
            Self::VersionAtLeast(least) => write!(f, "version {least} or newer"),
            Self::Empty(true) => f.write_str("nothing"),
            Self::Empty(false) => f.write_str("something"),
            Self::Exists(true) => f.write_str("a value"),
            Self::Exists(false) => f.write_str("no value"),
        }
    }
}

/// One demand on what a worker left behind, judged over the scenario's ledger of documents.
///
/// Where a demand names a number of tokens, they are `cl100k_base` tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Expectation {
    /// Every document that has text is delivered: job completed, row `ready`, points stored, as many as the row says.
    Delivered,
    /// Every job ended as `completed`.
    JobsCompleted,
    /// No more than so many seconds after the last fault is over, every job has ended.
    MaxRecoveryS(f64),
    /// The queue holds nothing that waits, is active, delayed or paused.
    QueueDrained,
    /// Every job needed one attempt.
    MaxAttempts(f64),
    /// At most so many points share document, version and chunk index, or are of another version than the row's.
    MaxDuplicates(f64),
    /// Every stored vector is the one that the mock gave for exactly that text.
    VectorsMatchTexts,
    /// Every chunk has a number of tokens within bounds.
    ChunkTokens(Range),
    /// Neighbouring chunks share a number of tokens within bounds.
    OverlapTokens(Range),
    /// Laid over each other, the chunks give the document back, byte by byte.
    Reassembled,
    /// Chunk indices of a document are 0, 1, 2 … without a gap.
    ChunksNumbered,
    /// No request carries more texts than this.
    MaxTextsPerRequest(f64),
    /// Batches are filled: a document of n chunks takes no more requests than ceil(n / size).
    BatchesFilled(f64),
    /// Never more requests than this at once.
    MaxRequestsInFlight(f64),
    /// Every request asks for the passage task, the configured model and dimensions.
    RequestsWellFormed,
    /// No request lets the embeddings API cut what is too long for the model.
    RequestsUntruncated,
    /// Every request with late chunking carries texts of a single document.
    LateChunkingApart,
    /// Every request was answered with 200.
    RequestsAccepted,
    /// No text was embedded more than once for the same document.
    MaxTokensWasted(f64),
    /// Documents without text are an explicit skip: row `skipped`, no point, no request.
    EmptySkipped,
    /// Every change of points is answered only when it is applied (`wait=true`).
    WritesAwaited,
    /// Every row's count of chunks is the count of points.
    RowsAgree,
    /// Every point id is a UUID or an unsigned integer, and payload keys name document, index and text.
    PayloadComplete,
    /// The last step changed nothing: the same point ids, the same number of points, the same rows.
    Unchanged,
    /// After the last step no point of an older version is left.
    NoStaleChunks,
    /// No piece of text was altered: no U+FFFD that the document does not have, and reassembly is exact.
    UnicodeIntact,
    /// The worker ended on SIGTERM with exit code 0 within its grace.
    ExitsCleanly,
    /// The worker's log holds no secret.
    LogHoldsNoSecret,
    /// Every line of the worker's log is a JSON object.
    LogIsJson,
    /// The worker registered itself on the queue under BullMQ's connection name.
    WorkerRegistered,
    /// The worker's peak resident memory, in MiB.
    MaxMemoryMib(f64),
    /// Poison documents, and only they, ended as `failed` with a reason, and were not retried.
    OnlyRejectedFail,
    /// Every document whose job failed for good has a row that says so, and why.
    FailedRowsMarked,
    /// Every document whose job ended has a row that says how; it may have failed, or have been done after all.
    RowStatusMatchesJob,
    /// What a job returns has no more bytes than this, as JSON.
    MaxReturnBytes(f64),
    /// What a worker notes on a job has no more bytes than this: its progress, its log, and what its data has grown by.
    MaxNotesBytes(f64),
    /// The worker's log repeats no text of a document.
    LogHoldsNoText,
    /// Failed reasons, return values of jobs and errors in rows hold no secret.
    ReasonsHoldNoSecret,
    /// No row ever said that a document is stored whose points were not there.
    RowAfterPoints,
    /// The ledger of documents is clean: every document is stored whole and once, as when nothing goes wrong, with its own
    /// vectors and row; or was rejected or skipped, and told so. Nothing else is stored.
    DocumentsIntact,
    /// No job was begun more often than this.
    MaxExecutions(f64),
    /// Jobs stalled so often, all together.
    Stalls(Range),
    /// Every document is stored whole, or its job failed, its row says so and nothing of it is stored.
    AllOrNothing,
    /// While the same documents are ingested again, the collection never holds fewer points than before.
    PointsNeverDrop,
    /// Nothing is called done: no job completed, no row says `ready`, no point is stored.
    NothingCompleted,
    /// The wait before a retry of a request to the embeddings API grows from one to the next.
    BackoffGrows,
    /// Waits before retries differ from request to request.
    BackoffJitters,
    /// No request comes again before its `Retry-After` has passed.
    RetryAfterHonoured,
    /// No service that is struck gets more calls than this within any second of its outage and of the two after it:
    /// requests to the embeddings API, connections to the others.
    MaxCallsPerS(f64),
    /// In the second half of its outage a service gets no more calls a second than this, on average.
    MaxProbesPerS(f64),
    /// Never more connections to a service at once.
    MaxConnections(Target, f64),
    /// No more connections to a service were made in all.
    MaxConnectionsMade(Target, f64),
    /// When the workers have ended, no connection of theirs to a service is open any more.
    ConnectionsClosed,
    /// A worker that was told to end takes no job any more.
    NoJobAfterSigterm,
    /// A worker that was told to end leaves no job in `active`.
    NoneLeftActive,
    /// After the last step, which removed some documents, nothing of them is stored and no row says so.
    Deleted,
    /// Points and rows of the documents that the last step was not about are what they were before it.
    OtherDocumentsUnchanged,
    /// Of documents whose last version was refused, every point of the version before is what it was, and there is none
    /// of the new one.
    PreviousVersionKept,
    /// No transaction was left open in Postgres for longer than so many milliseconds while nothing was asked.
    MaxIdleTransactionMs(f64),
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn alike(seen: &Value, wanted: &Value) -> bool {
    if seen == wanted {
        return true;
    }
    match (seen, wanted) {
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => false,
        _ => match (number_of(seen), number_of(wanted)) {
            (Some(seen), Some(wanted)) => (seen - wanted).abs() < f64::EPSILON,
            _ => text_of(seen) == text_of(wanted),
        },
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(table) => table.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Compares dotted versions number by number; what is not a number ends the comparison.
fn version_at_least(seen: &str, least: &str) -> bool {
    let numbers = |text: &str| -> Vec<u64> {
        text.trim_start_matches(|c: char| !c.is_ascii_digit())
            .split(|c: char| !c.is_ascii_digit())
            .map_while(|part| part.parse().ok())
            .collect()
    };
    let (seen, least) = (numbers(seen), numbers(least));
    !seen.is_empty() && seen >= least
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(Matcher::Equals(json!(1)), json!("1"), true)]
    #[case(Matcher::Equals(json!("noeviction")), json!("allkeys-lru"), false)]
    #[case(Matcher::Equals(json!(true)), json!(true), true)]
    #[case(Matcher::Equals(json!([])), json!("[]"), false)]
    #[case(Matcher::OneOf(vec![json!("a"), json!("b")]), json!("b"), true)]
    #[case(Matcher::Contains("x".into()), json!(["x", "y"]), true)]
    #[case(Matcher::Contains("x".into()), json!("xyz"), true)]
    #[case(Matcher::Within(Range { at_least: Some(1.0), at_most: None }), json!("0"), false)]
    #[case(Matcher::Within(Range { at_least: None, at_most: Some(2.0) }), json!("many"), false)]
    #[case(Matcher::VersionAtLeast("6.2.0".into()), json!("7.0.15"), true)]
    #[case(Matcher::VersionAtLeast("6.2.0".into()), json!("6.0.16"), false)]
    #[case(Matcher::VersionAtLeast("1.10".into()), json!("v1.9.9"), false)]
    #[case(Matcher::VersionAtLeast("1.10".into()), json!("unknown"), false)]
    #[case(Matcher::Empty(true), json!(0), false)]
    #[case(Matcher::Empty(true), json!([]), true)]
    #[case(Matcher::Exists(true), json!([]), true)]
    #[case(Matcher::Exists(true), json!(null), false)]
    #[case(Matcher::Exists(false), json!(null), true)]
    #[case(Matcher::Exists(false), json!(0), false)]
    fn a_matcher_holds_or_not(#[case] matcher: Matcher, #[case] value: Value, #[case] holds: bool) {
        assert_eq!(matcher.holds(&value), holds, "{matcher} over {value}");
    }
}
