//! Scenarios as data: workload and steps, run once and judged by as many cases as name them.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::jina::{Behaviour, Limits};
use super::{Direction, Fault, FaultKind, NetworkFault, Target, When};

/// Which documents a scenario ingests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// Globs over the names of the built-in documents; absent means all of them, unless others are asked for.
    #[serde(default)]
    pub named: Option<Vec<String>>,
    /// How many generated documents to add, each of a few paragraphs drawn from the seed.
    #[serde(default)]
    pub generated: usize,
    /// How many huge documents to add, each of about 130 chunks: more than fit into one request.
    #[serde(default)]
    pub huge: usize,
    /// How many tiny documents to add, each of a sentence or two.
    #[serde(default)]
    pub tiny: usize,
    /// How many documents to add that are as long as `sized_mb` says.
    #[serde(default)]
    pub sized: usize,
    /// Megabytes of a sized document.
    #[serde(default)]
    pub sized_mb: usize,
    /// How many rejected documents to add: their text holds the word `POISON`, which the scenario's mock rejects.
    #[serde(default)]
    pub rejected: usize,
    /// How many huge rejected documents to add: the word stands at their end, so that they are rejected when the first
    /// requests for them have been answered.
    #[serde(default)]
    pub rejected_late: usize,
    /// How many documents to add whose ids are nearly the same (up to seventeen): in another case, beginning with each
    /// other, with other punctuation, with a blank at the end, written as in a URL, like a pattern of SQL's, in another
    /// directory, alike for 130 characters, with an accent that is written in one character or two; two with the same
    /// text, and two with texts that differ by their case. All are tiny but `log 1`, which has more than ten chunks.
    #[serde(default)]
    pub similar_ids: usize,
}

impl Documents {
    /// Workloads larger than this keep a machine busy for minutes.
    const BULK: usize = 100;

    /// The least workload that has all documents of both; none where that would not be known, or would keep whoever wants
    /// a few waiting for many.
    #[must_use]
    pub fn with(&self, other: &Self) -> Option<Self> {
        let is_plain = |one: &Self| {
            one.named.is_none()
                && *one != Self::default()
                && one.sized == 0
                && one.tiny.max(one.generated) <= Self::BULK
        };
        let (Self { named: _, generated, huge, tiny, sized, sized_mb, rejected, rejected_late, similar_ids }, more) =
            (self, other);
        (is_plain(self) && is_plain(other)).then(|| Self {
            named: None,
            generated: more.generated.max(*generated),
            huge: more.huge.max(*huge),
            tiny: more.tiny.max(*tiny),
            sized: more.sized.max(*sized),
            sized_mb: more.sized_mb.max(*sized_mb),
            rejected: more.rejected.max(*rejected),
            rejected_late: more.rejected_late.max(*rejected_late),
            similar_ids: more.similar_ids.max(*similar_ids),
        })
    }
}

/// One step of a scenario; the next begins when the queue has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Enqueue every document and wait until each job has ended.
    Ingest,
    /// Enqueue a version of each document that ends after its first third, and wait.
    Truncate,
    /// Enqueue a version of each document that is as long as it was, and in which two letters have changed places, and
    /// wait.
    Edit,
    /// Enqueue a version of each document that has no text, and wait.
    Empty,
    /// Enqueue the removal of every other document, and wait.
    Delete,
    /// Enqueue nothing; it ends when its faults are over and, if one of them ended a worker, another is there.
    Idle,
}

impl Step {
    /// The word by which suites call it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Truncate => "truncate",
            Self::Edit => "edit",
            Self::Empty => "empty",
            Self::Delete => "delete",
            Self::Idle => "idle",
        }
    }
}

/// A scenario as a person wrote it; what is left out is the suite's `[defaults]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScenarioWritten {
    /// What it is about, in one line. A scenario inside a case has the case's title.
    pub title: Option<String>,
    /// Which documents.
    pub documents: Option<Documents>,
    /// What to do with them; `["ingest"]` when nothing is said.
    pub steps: Option<Vec<Step>>,
    /// Variables for the worker beside the contract's; added to the defaults ones.
    pub env: BTreeMap<String, String>,
    /// Behaviours of the Jina mock.
    pub jina: Option<Vec<Behaviour>>,
    /// Rate limits of the Jina mock's key.
    pub limits: Option<Limits>,
    /// What is broken on purpose, and put back. A scenario run on which one of them never took effect proves nothing.
    pub faults: Vec<Fault>,
    /// Services whose connections are watched by a proxy, beside those that a fault strikes.
    pub watch: Option<Vec<Target>>,
    /// Workers at once; as many as the worker's contract says when nothing is said here.
    pub workers: Option<usize>,
    /// Seconds that the worker is given to end after SIGTERM, instead of its own grace.
    pub grace_s: Option<f64>,
    /// Seconds that the clock of whoever hands the jobs over is ahead of the worker's; negative when it is behind.
    pub producer_clock_s: Option<i64>,
    /// Seconds until the scenario is given up; 60 when absent.
    pub within_s: Option<u64>,
}

/// A workload with steps, run against the worker under test.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// See [`ScenarioWritten::title`].
    pub title: String,
    /// See [`ScenarioWritten::documents`].
    pub documents: Documents,
    /// See [`ScenarioWritten::steps`].
    pub steps: Vec<Step>,
    /// See [`ScenarioWritten::env`].
    pub env: BTreeMap<String, String>,
    /// See [`ScenarioWritten::jina`].
    pub jina: Vec<Behaviour>,
    /// See [`ScenarioWritten::limits`].
    pub limits: Limits,
    /// See [`ScenarioWritten::faults`].
    pub faults: Vec<Fault>,
    /// See [`ScenarioWritten::watch`].
    pub watch: Vec<Target>,
    /// See [`ScenarioWritten::workers`].
    pub workers: Option<usize>,
    /// See [`ScenarioWritten::grace_s`].
    pub grace: Option<Duration>,
    /// See [`ScenarioWritten::producer_clock_s`].
    pub producer_clock_s: i64,
    /// See [`ScenarioWritten::within_s`].
    pub within_s: Option<u64>,
    /// The scenario over the same documents in which nothing goes wrong: what is stored then must be stored now.
    pub baseline: Option<String>,
}

impl Scenario {
    /// `written` over `defaults`; or what is wrong with it.
    pub(super) fn resolve(written: &ScenarioWritten, defaults: &ScenarioWritten, title: &str) -> Result<Self, String> {
        let mut env = defaults.env.clone();
        env.extend(written.env.clone());
        let steps = written.steps.clone().or_else(|| defaults.steps.clone()).unwrap_or_else(|| vec![Step::Ingest]);
        let scenario = Self {
            title: written.title.clone().unwrap_or_else(|| title.to_owned()),
            documents: written.documents.clone().or_else(|| defaults.documents.clone()).unwrap_or_default(),
            env,
            jina: written.jina.clone().or_else(|| defaults.jina.clone()).unwrap_or_default(),
            limits: written.limits.clone().or_else(|| defaults.limits.clone()).unwrap_or_default(),
            faults: defaults.faults.iter().chain(&written.faults).cloned().collect(),
            watch: written.watch.clone().or_else(|| defaults.watch.clone()).unwrap_or_default(),
            workers: written.workers.or(defaults.workers),
            grace: written.grace_s.or(defaults.grace_s).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            producer_clock_s: written.producer_clock_s.or(defaults.producer_clock_s).unwrap_or_default(),
            within_s: written.within_s.or(defaults.within_s),
            baseline: None,
            steps,
        };
        if scenario.steps.is_empty() {
            return Err("`steps` is empty; write for instance [\"ingest\"]".to_owned());
        }
        if scenario.workers == Some(0) {
            return Err("`workers` is 0, and somebody has to do the work".to_owned());
        }
        for (place, fault) in scenario.faults.iter().enumerate() {
            if let FaultKind::Service { on, fault } = &fault.kind
                && !fault.suits(*on)
            {
                return Err(format!("`{}` cannot happen to {}", fault.word(), on.word()));
            }
            if let FaultKind::Network { fault: NetworkFault::HalfOpen, direction: Some(Direction::Both), .. } =
                &fault.kind
            {
                return Err(
                    "`half_open` breaks one direction; write `up` or `down`, or the fault `blackhole`".to_owned()
                );
            }
            if let When::Into(_, other) = fault.at
                && (other == 0 || other > place)
            {
                return Err(format!("{fault} is to strike in fault {other}, and {place} stand before it"));
            }
            let step = fault.step.unwrap_or(1);
            if step == 0 || step > scenario.steps.len() {
                return Err(format!("{fault} is to strike in step {step} of {}", scenario.steps.len()));
            }
        }
        Ok(scenario)
    }

    /// Whether a fault is felt by everybody who uses a service, so that the stack must be its own.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        let alone = |fault: &Fault| matches!(&fault.kind, FaultKind::Service { fault, .. } if fault.is_felt_by_all());
        self.faults.iter().any(alone)
    }

    /// The scenario over the same documents in which nothing goes wrong, under a name of its own; `None` for one in
    /// which nothing does.
    pub(super) fn without_faults(&self) -> Option<(String, Self)> {
        let is_fault_free = self.faults.is_empty() && self.jina.is_empty() && self.limits == Limits::default();
        if is_fault_free {
            return None;
        }
        // Idles change nothing, and the same thing done twice is as good as once.
        let mut steps: Vec<Step> = self.steps.iter().copied().filter(|step| *step != Step::Idle).collect();
        steps.dedup();
        let baseline = Self {
            title: "The same documents, and nothing goes wrong".to_owned(),
            documents: self.documents.clone(),
            steps,
            env: BTreeMap::new(),
            jina: Vec::new(),
            limits: Limits::default(),
            faults: Vec::new(),
            watch: Vec::new(),
            workers: None,
            grace: None,
            producer_clock_s: 0,
            within_s: None,
            baseline: None,
        };
        let name: String = Sha256::digest(format!("{:?}{:?}", baseline.documents, baseline.steps).as_bytes())
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Some((format!("baseline-{name}"), baseline))
    }
}
