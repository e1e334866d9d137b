//! The record of a case and the report of a run, which every renderer reads.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cause::Cause;
use super::gate::Gate;
use super::timeline::Timeline;
use super::verdict::{Evidence, Level, RunVerdict, Verdict, Word};
use super::worker_profile::WorkerProfile;

/// Version of the report's JSON format. It increases when a field is removed, renamed or changes its meaning.
pub const REPORT_VERSION: u32 = 3;

/// A case with its verdict and everything that renderers show, so that they need no suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaseRecord {
    /// The case's id, such as `redis.eviction-policy`.
    pub id: String,
    /// The suite it belongs to.
    pub suite: String,
    /// The requirement in one line.
    pub title: String,
    /// How binding it is.
    pub level: Level,
    /// The verdict.
    #[serde(with = "verdict_as_word")]
    #[schemars(with = "Word")]
    pub verdict: Verdict,
    /// The reason for the verdict; absent for `pass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last day on which the waiver is valid; only for `waived`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived_until: Option<String>,
    /// The observations that the verdict is based on.
    pub evidence: Vec<Evidence>,
    /// What breaks when the requirement is not met.
    pub why: String,
    /// How to fix it.
    pub remedy: String,
    /// The source of the requirement: a URL or a document.
    pub source: String,
    /// Duration of all attempts together, in milliseconds.
    pub duration_ms: u64,
    /// The verdict of each attempt, if there were several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Word>,
    /// Whether the attempts have different verdicts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
    /// The scenario of the case; the report contains its [`Timeline`] if a case of it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// The ids of the causes that explain why it did not pass, all of it; empty if a part is not explained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
}

impl CaseRecord {
    /// Sets the verdict and the fields that mirror it in the JSON.
    pub fn set_verdict(&mut self, verdict: Verdict) {
        self.reason = verdict.reason().map(ToOwned::to_owned);
        self.waived_until = match &verdict {
            Verdict::Waived { expires, .. } => Some(expires.clone()),
            _ => None,
        };
        self.verdict = verdict;
    }
}

/// In JSON a verdict is one of six words; its reason is in the field `reason`.
mod verdict_as_word {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Verdict, Word};

    pub(super) fn serialize<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
        verdict.word().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Verdict, D::Error> {
        let reason = String::new();
        Ok(match Word::deserialize(deserializer)? {
            Word::Pass => Verdict::Pass,
            Word::Fail => Verdict::Fail { reason },
            Word::Warn => Verdict::Warn { reason },
            Word::Skip => Verdict::Skip { reason },
            Word::Unknown => Verdict::Unknown { reason },
            Word::Waived => Verdict::Waived { reason, expires: String::new() },
        })
    }
}

/// Whether a service could be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceStatus {
    /// It responded in its own protocol.
    Ready,
    /// It is configured but did not respond.
    Unreachable,
    /// It is not configured.
    Absent,
}

/// A service of the stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceRecord {
    /// `redis`, `postgres`, `qdrant`, `jina`; `postgrest` if the worker uses Supabase's API.
    pub name: String,
    /// Whether it could be used.
    pub status: ServiceStatus,
    /// The version that the service reports; empty if it reports none.
    pub version: String,
    /// Its address, without credentials.
    pub endpoint: String,
    /// Its implementation: `redis-server`, `embedded qdrant`, `mock`, `stand-in for PostgREST`, …
    pub kind: String,
    /// Milliseconds from start to ready; absent for a service that was already running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_after_ms: Option<u64>,
    /// Parameters that are relevant to ingestion, such as `maxmemory_policy`.
    pub parameters: BTreeMap<String, String>,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentRow {
    /// The variable's name.
    pub name: String,
    /// Its value; secrets are masked.
    pub value: String,
    /// The origin of the value: `flag`, `environment`, `.env`, `profile`, `default`, `stack`.
    pub origin: String,
    /// Whether the value is a secret.
    pub secret: bool,
}

/// A file or other resource that the run created or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileNote {
    /// Its path or name.
    pub path: String,
    /// `created`, `changed` or `removed`.
    pub action: String,
    /// Its purpose.
    pub purpose: String,
}

/// Number of cases with each verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// All cases.
    pub cases: usize,
    /// `pass`.
    pub pass: usize,
    /// `fail`.
    pub fail: usize,
    /// `warn`.
    pub warn: usize,
    /// `skip`.
    pub skip: usize,
    /// `unknown`.
    pub unknown: usize,
    /// `waived`.
    pub waived: usize,
}

impl Totals {
    /// Counts the verdicts of `cases`.
    #[must_use]
    pub fn from_cases<'a>(cases: impl IntoIterator<Item = &'a CaseRecord>) -> Self {
        let mut totals = Self::default();
        for case in cases {
            totals.cases += 1;
            *match case.verdict.word() {
                Word::Pass => &mut totals.pass,
                Word::Fail => &mut totals.fail,
                Word::Warn => &mut totals.warn,
                Word::Skip => &mut totals.skip,
                Word::Unknown => &mut totals.unknown,
                Word::Waived => &mut totals.waived,
            } += 1;
        }
        totals
    }

    /// The number of cases with the verdict `word`.
    #[must_use]
    pub const fn count(&self, word: Word) -> usize {
        match word {
            Word::Pass => self.pass,
            Word::Fail => self.fail,
            Word::Warn => self.warn,
            Word::Skip => self.skip,
            Word::Unknown => self.unknown,
            Word::Waived => self.waived,
        }
    }
}

/// How many of the MUST cases were evaluated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// MUST cases in the selection.
    pub must_total: usize,
    /// MUST cases that passed, failed or are waived.
    pub must_judged: usize,
    /// MUST cases that were skipped: the run is then *partial*.
    pub must_skipped: usize,
    /// MUST cases that could not be decided: the run is then *inconclusive*.
    pub must_unknown: usize,
    /// Cases that `--suite`, `--case` or `--level` excluded.
    pub filtered_out: usize,
}

impl Coverage {
    /// Counts the MUST cases of `cases`.
    #[must_use]
    pub fn from_cases(cases: &[CaseRecord], filtered_out: usize) -> Self {
        let mut coverage = Self { filtered_out, ..Self::default() };
        for case in cases.iter().filter(|case| case.level == Level::Must) {
            coverage.must_total += 1;
            match case.verdict.word() {
                Word::Pass | Word::Fail | Word::Warn | Word::Waived => coverage.must_judged += 1,
                Word::Skip => coverage.must_skipped += 1,
                Word::Unknown => coverage.must_unknown += 1,
            }
        }
        coverage
    }

    /// Whether a MUST was skipped.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.must_skipped > 0
    }

    /// The coverage in words, such as `31 of 31 MUST cases judged`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = format!("{} of {} MUST cases judged", self.must_judged, self.must_total);
        if self.is_partial() {
            text += &format!(", partial: {} skipped", self.must_skipped);
        }
        if self.must_unknown > 0 {
            text += &format!(", {} unknown", self.must_unknown);
        }
        text
    }
}

/// The result of a run. JSON is the source format; all other formats are rendered from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of the report format.
    pub report_version: u32,
    /// Version of shakedown.
    pub shakedown: String,
    /// Fingerprint of the suites: reports with different fingerprints cannot be compared.
    pub suite_version: String,
    /// Id of the run; every name that the run creates contains it.
    pub run: String,
    /// Seed of all random choices of the run.
    pub seed: u64,
    /// The selected profile, such as `development`.
    pub profile: String,
    /// Provider of the stack.
    pub provider: String,
    /// Why this provider was selected.
    pub provider_reason: String,
    /// The worker under test, as a command line without secrets.
    pub worker: String,
    /// Start of the run, in RFC 3339 format.
    pub started_at: String,
    /// Duration of the run, in milliseconds.
    pub duration_ms: u64,
    /// The verdict of the run.
    pub verdict: RunVerdict,
    /// How many of the MUST cases were evaluated.
    pub coverage: Coverage,
    /// Number of cases with each verdict.
    pub totals: Totals,
    /// Options and comparison of a CI gate.
    #[serde(default)]
    pub gate: Gate,
    /// The configured services.
    pub services: Vec<ServiceRecord>,
    /// The environment of the worker and the probes.
    pub environment: Vec<EnvironmentRow>,
    /// Resources that the run created or changed and did not remove.
    pub files: Vec<FileNote>,
    /// Notes, such as expired waivers or failed clean-up.
    pub notes: Vec<String>,
    /// The root causes of cases that did not pass, the one that explains most failures first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// What was learned about the worker before the cases; absent without a preflight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_profile: Option<WorkerProfile>,
    /// All cases, in suite order.
    pub cases: Vec<CaseRecord>,
    /// Timelines of the scenarios with a case that did not pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timelines: Vec<Timeline>,
}

impl Report {
    /// The verdict of a run over `cases`.
    ///
    /// A failed MUST makes it *not conformant*. Otherwise an unknown MUST, or no evaluated MUST at all, makes it
    /// *inconclusive*. A `strict` run counts a warning as a failure and a skipped MUST as unknown.
    #[must_use]
    pub fn verdict_of(cases: &[CaseRecord], strict: bool) -> RunVerdict {
        let coverage = Coverage::from_cases(cases, 0);
        let fails = |word| word == Word::Fail || (strict && word == Word::Warn);
        if cases.iter().any(|case| fails(case.verdict.word())) {
            RunVerdict::NotConformant
        } else if coverage.must_unknown > 0
            || (strict && coverage.must_skipped > 0)
            || (coverage.must_judged == 0 && coverage.must_total > 0)
            || cases.is_empty()
        {
            RunVerdict::Inconclusive
        } else {
            RunVerdict::Conformant
        }
    }

    /// Recomputes verdict, coverage, totals and the order of the causes from the cases.
    pub fn settle(&mut self, filtered_out: usize) {
        self.verdict = Self::verdict_of(&self.cases, self.gate.strict);
        self.coverage = Coverage::from_cases(&self.cases, filtered_out);
        self.totals = Totals::from_cases(&self.cases);
        self.settle_causes();
    }
}
