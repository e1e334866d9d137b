//! A suite file as a person wrote it.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use toml::Spanned;

use super::{Probe, Range, ScenarioWritten, Target};
use crate::outcome::Level;

/// A suite file. Unknown keys are errors.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuiteWritten {
    /// The suite's name; every case id begins with it and a dot.
    #[schemars(with = "String")]
    pub suite: Spanned<String>,
    /// What it judges, in one line.
    pub title: String,
    /// Cases that must not have failed before any case of this suite is judged.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub requires: Vec<Spanned<String>>,
    /// The verbs that judge the cases of this suite which are probes: `run`, `check`; both when absent.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub verbs: Option<Vec<Spanned<String>>>,
    /// What every scenario of this suite has, unless it says otherwise.
    #[serde(default)]
    pub defaults: ScenarioWritten,
    /// Scenarios that several cases of this suite judge.
    #[serde(default)]
    pub scenario: BTreeMap<String, ScenarioWritten>,
    /// The cases.
    #[serde(default)]
    pub case: Vec<CaseWritten>,
}

/// One case as written.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseWritten {
    /// `<suite>.<words-with-dashes>`, unique among all suites.
    #[schemars(with = "String")]
    pub id: Spanned<String>,
    /// The requirement in one line.
    pub title: String,
    /// How binding it is (RFC 2119).
    pub level: Level,
    /// What breaks when it is not met.
    pub why: String,
    /// How to mend it.
    pub remedy: String,
    /// Where the requirement comes from.
    pub source: String,
    /// Cases that must not have failed before this one is judged.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub requires: Vec<Spanned<String>>,
    /// Capabilities of the stack that the case cannot do without, such as `write`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub needs: Vec<Spanned<String>>,
    /// Whether the probe writes: it then runs only where the stack may be written to.
    #[serde(default)]
    pub writes: bool,
    /// The verbs that judge this case, instead of the suite's.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub verbs: Option<Vec<Spanned<String>>>,
    /// Whether the probe costs money, such as a call of the embeddings API: `check --no-spend` leaves it out.
    #[serde(default)]
    pub spends: bool,
    /// Free words for choosing cases.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What to observe. Either this or `scenario`.
    #[serde(default)]
    #[schemars(with = "Option<Probe>")]
    pub probe: Option<Spanned<Probe>>,
    /// The scenario to judge: the name of one of the suite's scenarios, or a table with a scenario of this case's own.
    /// Either this or `probe`.
    #[serde(default)]
    #[schemars(with = "Option<ScenarioSource>")]
    pub scenario: Option<Spanned<ScenarioSource>>,
    /// Globs over document names: judge these only.
    #[serde(default)]
    pub documents_matching: Option<Vec<String>>,
    /// What must hold.
    #[schemars(with = "ExpectWritten")]
    pub expect: Spanned<ExpectWritten>,
}

/// Every expectation there is; a case gives at least one. The first group is for probes, the second for scenarios.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectWritten {
    /// The probe got an answer at all.
    pub answers: Option<bool>,
    /// The service refuses for want of the right credentials.
    pub refused: Option<bool>,
    /// Permission may be denied instead.
    pub or_denied: Option<bool>,
    /// The value is this one.
    pub equals: Option<Value>,
    /// The value is another one.
    pub not_equals: Option<Value>,
    /// The value is one of these.
    pub one_of: Option<Vec<Value>>,
    /// The value's text matches this regular expression.
    pub matches: Option<String>,
    /// The value's text does not match this regular expression.
    pub not_matches: Option<String>,
    /// The value's text contains this text, or the list contains this item.
    pub contains: Option<String>,
    /// The value is a number, and not a smaller one.
    pub at_least: Option<f64>,
    /// The value is a number, and not a greater one.
    pub at_most: Option<f64>,
    /// The value is a version, and not an older one.
    pub version_at_least: Option<String>,
    /// The value is empty, or is not.
    pub empty: Option<bool>,
    /// There is a value, or there is none.
    pub exists: Option<bool>,

    /// `all`: every document with text is delivered.
    pub delivered: Option<All>,
    /// `all`: every job ended as completed.
    pub jobs_completed: Option<All>,
    /// No more than so many seconds after the last fault is over, every job has ended.
    pub max_recovery_s: Option<f64>,
    /// The queue holds nothing that still has to be done.
    pub queue_drained: Option<bool>,
    /// No job needed more attempts.
    pub max_attempts: Option<f64>,
    /// No more points than this are doubles.
    pub max_duplicates: Option<f64>,
    /// Every vector is the mock's for its text.
    pub vectors_match_texts: Option<bool>,
    /// Tokens of each chunk.
    pub chunk_tokens: Option<Range>,
    /// Tokens that neighbouring chunks share.
    pub overlap_tokens: Option<Range>,
    /// Chunks give the document back.
    pub reassembled: Option<bool>,
    /// Chunk indices have no gap.
    pub chunks_numbered: Option<bool>,
    /// Most texts in a request.
    pub max_texts_per_request: Option<f64>,
    /// Batches of this size are filled across a document.
    pub batches_filled: Option<f64>,
    /// Most requests at once.
    pub max_requests_in_flight: Option<f64>,
    /// Task, model and dimensions of each request.
    pub requests_well_formed: Option<bool>,
    /// No request lets the embeddings API cut what is too long.
    pub requests_untruncated: Option<bool>,
    /// Requests with late chunking carry texts of a single document each.
    pub late_chunking_apart: Option<bool>,
    /// Each request was answered with 200.
    pub requests_accepted: Option<bool>,
    /// Tokens embedded more than once for the same document.
    pub max_tokens_wasted: Option<f64>,
    /// Documents without text are an explicit skip.
    pub empty_skipped: Option<bool>,
    /// Every change of points is answered only when it is applied.
    pub writes_awaited: Option<bool>,
    /// Rows and points agree.
    pub rows_agree: Option<bool>,
    /// Point ids and payload keys are complete.
    pub payload_complete: Option<bool>,
    /// The last step changed nothing.
    pub unchanged: Option<bool>,
    /// No point of an older version is left.
    pub no_stale_chunks: Option<bool>,
    /// No character was altered.
    pub unicode_intact: Option<bool>,
    /// Exit code 0 on SIGTERM, within the grace.
    pub exits_cleanly: Option<bool>,
    /// No secret in the worker's log.
    pub log_holds_no_secret: Option<bool>,
    /// The worker's log is JSON, line by line.
    pub log_is_json: Option<bool>,
    /// The worker registered under BullMQ's connection name.
    pub worker_registered: Option<bool>,
    /// Peak resident memory in MiB.
    pub max_memory_mib: Option<f64>,
    /// Poison documents, and only they, failed, without retries.
    pub only_rejected_fail: Option<bool>,
    /// Every document whose job failed for good has a row that says so, and why.
    pub failed_rows_marked: Option<bool>,
    /// Every document whose job ended has a row that says how; it may have failed, or have been done after all.
    pub row_status_matches_job: Option<bool>,
    /// Most bytes that a job returns, as JSON.
    pub max_return_bytes: Option<f64>,
    /// Most bytes that a worker notes on a job: its progress, its log, and what its data has grown by.
    pub max_notes_bytes: Option<f64>,
    /// No text of a document in the worker's log.
    pub log_holds_no_text: Option<bool>,
    /// No secret in failed reasons and return values of jobs, or in errors of rows.
    pub reasons_hold_no_secret: Option<bool>,
    /// No row says at any moment that a document is stored whose points are not there.
    pub row_after_points: Option<bool>,
    /// `intact`: every document is stored whole and once, as in the baseline, and nothing else is stored.
    pub documents: Option<Intact>,
    /// No job was begun more often.
    pub max_executions: Option<f64>,
    /// How often jobs stalled, all together.
    pub stalls: Option<Range>,
    /// Every document is stored whole, or failed with nothing of it stored.
    pub all_or_nothing: Option<bool>,
    /// While the same documents are ingested again, no point is missing at any moment.
    pub points_never_drop: Option<bool>,
    /// No job completed, no row says `ready`, no point is stored.
    pub nothing_completed: Option<bool>,
    /// Waits before retries of requests to the embeddings API grow.
    pub backoff_grows: Option<bool>,
    /// Waits before retries differ.
    pub backoff_jitters: Option<bool>,
    /// No request comes again before its `Retry-After` has passed.
    pub retry_after_honoured: Option<bool>,
    /// Most calls of a struck service within a second, during its outage and two seconds after.
    pub max_calls_per_s: Option<f64>,
    /// Most calls of a struck service a second, on average over the second half of its outage.
    pub max_probes_per_s: Option<f64>,
    /// Most connections at once, by service; a proxy must stand before it (`watch`, or a fault).
    pub max_connections: Option<BTreeMap<Target, f64>>,
    /// Most connections in all, by service; a proxy must stand before it (`watch`, or a fault).
    pub max_connections_made: Option<BTreeMap<Target, f64>>,
    /// When the workers have ended, no connection of theirs is open any more; proxies must stand before the services
    /// (`watch`, or a fault).
    pub connections_closed: Option<bool>,
    /// A worker that was told to end takes no job any more.
    pub no_job_after_sigterm: Option<bool>,
    /// A worker that was told to end leaves no job in `active`.
    pub none_left_active: Option<bool>,
    /// After the last step, which removed the documents, nothing of them is stored.
    pub deleted: Option<bool>,
    /// Nothing has changed of the documents that the last step was not about.
    pub other_documents_unchanged: Option<bool>,
    /// Of a document whose last version was refused, what was stored before is still there, and nothing of the new one.
    pub previous_version_kept: Option<bool>,
    /// Longest time, in milliseconds, for which a transaction is left open in Postgres while nothing is asked; a proxy
    /// must stand before it (`watch`, or a fault).
    pub max_idle_transaction_ms: Option<f64>,
}

/// The scenario that a case judges.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum ScenarioSource {
    /// A scenario of a suite, by its name.
    Named(String),
    /// A scenario that only this case judges.
    Own(Box<ScenarioWritten>),
}

impl<'de> Deserialize<'de> for ScenarioSource {
    // Not `untagged`: its errors do not say which key of the table is wrong.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Source;
        impl<'de> Visitor<'de> for Source {
            type Value = ScenarioSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a scenario, or a table that describes one")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<ScenarioSource, E> {
                Ok(ScenarioSource::Named(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ScenarioSource, A::Error> {
                ScenarioWritten::deserialize(MapAccessDeserializer::new(map))
                    .map(|own| ScenarioSource::Own(Box::new(own)))
            }
        }
        deserializer.deserialize_any(Source)
    }
}

/// The word `intact`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Intact {
    /// Every document is where it belongs.
    Intact,
}

/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum All {
    /// Every one.
    All,
}
