//! Scenarios as data: documents, steps and faults. A scenario runs once and is evaluated by every case that names it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::jina::{self, Behaviour, Limits};
use super::{Direction, Fault, FaultKind, Lasts, NetworkFault, Premise, SizedDocuments, Target, When};

/// Which documents a scenario ingests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// Globs over the names of the built-in documents; absent means all of them, unless other kinds are given.
    #[serde(default)]
    pub named: Option<Vec<String>>,
    /// Number of generated documents, each of a few paragraphs derived from the seed.
    #[serde(default)]
    pub generated: usize,
    /// Number of huge documents, each of about 130 chunks: more than fit into one request.
    #[serde(default)]
    pub huge: usize,
    /// Number of tiny documents, each of a sentence or two.
    #[serde(default)]
    pub tiny: usize,
    /// Number of documents of `sized_mb` megabytes.
    #[serde(default)]
    pub sized: usize,
    /// The size of each `sized` document in megabytes.
    #[serde(default)]
    pub sized_mb: usize,
    /// Number of rejected documents: their text contains the word `POISON`, which the scenario's mock rejects.
    #[serde(default)]
    pub rejected: usize,
    /// Number of huge rejected documents: the word is at their end, so that they are rejected after the first requests for
    /// them have been answered.
    #[serde(default)]
    pub rejected_late: usize,
    /// Number of documents with similar ids (up to seventeen): they differ in upper and lower case, punctuation, a blank at
    /// the end, URL encoding, a wildcard of SQL, the directory, the end after 130 equal characters, or an accent that is one
    /// character or two, and one id is the beginning of another. Two have the same text, and two have texts that differ in
    /// upper and lower case. All are tiny except `log 1`, which has more than ten chunks.
    #[serde(default)]
    pub similar_ids: usize,
    /// Lengths in bytes of documents that are beginnings of one long generated text.
    #[serde(default)]
    pub beginnings: Vec<usize>,
    /// Lengths in bytes of rejected documents that are beginnings of one long generated text: the word is at their end.
    #[serde(default)]
    pub rejected_beginnings: Vec<usize>,
}

impl Documents {
    /// Workloads with more documents than this take minutes.
    const BULK: usize = 100;

    /// The smallest workload that has all documents of both. `None` if that is not known, or if it would make a case with a
    /// few documents wait for many.
    #[must_use]
    pub fn union(&self, other: &Self) -> Option<Self> {
        let is_plain = |one: &Self| {
            one.named.is_none()
                && *one != Self::default()
                && one.sized == 0
                && one.beginnings.is_empty()
                && one.rejected_beginnings.is_empty()
                && one.tiny.max(one.generated) <= Self::BULK
        };
        let Self {
            named: _,
            generated,
            huge,
            tiny,
            sized,
            sized_mb,
            rejected,
            rejected_late,
            similar_ids,
            beginnings: _,
            rejected_beginnings: _,
        } = self;
        let more = other;
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
            beginnings: Vec::new(),
            rejected_beginnings: Vec::new(),
        })
    }
}

/// One step of a scenario; the next begins when every job has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Enqueue every document and wait until each job has ended.
    Ingest,
    /// Enqueue a version of each document that ends after its first third, and wait.
    Truncate,
    /// Enqueue a version of each document of the same length, in which two letters are swapped, and wait.
    Edit,
    /// Enqueue a version of each document whose every few words name its revision, and wait: `revision-2` the first time that
    /// it is a step of the scenario, `revision-3` the second time. No chunk of it is a chunk of another version.
    Revise,
    /// Enqueue a version of each document that has no text, and wait.
    Empty,
    /// Enqueue the removal of every other document, and wait.
    Delete,
    /// Enqueue nothing. The step ends when its faults are over and every worker that they ended is running again.
    Idle,
}

impl Step {
    /// Its name in suites.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Truncate => "truncate",
            Self::Edit => "edit",
            Self::Revise => "revise",
            Self::Empty => "empty",
            Self::Delete => "delete",
            Self::Idle => "idle",
        }
    }
}

/// A step that begins before the jobs of the steps before it have ended.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overlap {
    /// The step, counted from 1.
    pub step: usize,
    /// When it begins, counted from the beginning of the first of the steps that overlap. It begins without this when all
    /// jobs before it have ended.
    pub at: When,
}

/// A scenario; missing keys are taken from the suite's `[defaults]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScenarioWritten {
    /// What it is about, in one line; the case's title when the scenario is inside a case.
    pub title: Option<String>,
    /// Which documents.
    pub documents: Option<Documents>,
    /// What to do with them; `["ingest"]` when absent.
    pub steps: Option<Vec<Step>>,
    /// Steps that begin before the jobs of the steps before them have ended; none when absent.
    pub overlaps: Option<Vec<Overlap>>,
    /// Variables for the worker in addition to the contract's; added to those of the defaults.
    pub env: BTreeMap<String, String>,
    /// Behaviours of the Jina mock from the first job on, so that requests of a worker that starts do not use them up.
    pub jina: Option<Vec<Behaviour>>,
    /// Behaviours of the Jina mock while the worker starts; none when absent.
    pub jina_at_start: Option<Vec<Behaviour>>,
    /// Rate limits of the Jina mock's key, from the first job on.
    pub limits: Option<Limits>,
    /// What is broken and restored during the run. If a fault never takes effect, the verdict is `unknown`.
    pub faults: Vec<Fault>,
    /// Services whose connections go through a proxy, in addition to the targets of faults.
    pub watch: Option<Vec<Target>>,
    /// Number of workers; the contract's when absent.
    pub workers: Option<usize>,
    /// Seconds by which the clock of the producer of jobs is ahead of the worker's; negative if it is behind.
    pub producer_clock_s: Option<i64>,
    /// Timeout of the scenario in seconds; 60 when absent.
    pub within_s: Option<u64>,
    /// What must have been seen for a pass of any of its cases to mean something.
    pub premise: Option<Vec<Premise>>,
    /// The documents that it has instead of `documents` if the worker does not meet the premise with these.
    pub otherwise: Option<SizedDocuments>,
}

/// Documents, steps and faults, run with the worker under test.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scenario {
    /// See [`ScenarioWritten::title`].
    pub title: String,
    /// See [`ScenarioWritten::documents`].
    pub documents: Documents,
    /// See [`ScenarioWritten::steps`].
    pub steps: Vec<Step>,
    /// See [`ScenarioWritten::overlaps`].
    pub overlaps: Vec<Overlap>,
    /// See [`ScenarioWritten::env`].
    pub env: BTreeMap<String, String>,
    /// See [`ScenarioWritten::jina`].
    pub jina: Vec<Behaviour>,
    /// See [`ScenarioWritten::jina_at_start`].
    pub jina_at_start: Vec<Behaviour>,
    /// See [`ScenarioWritten::limits`].
    pub limits: Limits,
    /// See [`ScenarioWritten::faults`].
    pub faults: Vec<Fault>,
    /// See [`ScenarioWritten::watch`].
    pub watch: Vec<Target>,
    /// See [`ScenarioWritten::workers`].
    pub workers: Option<usize>,
    /// See [`ScenarioWritten::producer_clock_s`].
    pub producer_clock_s: i64,
    /// See [`ScenarioWritten::within_s`].
    pub within_s: Option<u64>,
    /// See [`ScenarioWritten::premise`].
    pub premises: Vec<Premise>,
    /// See [`ScenarioWritten::otherwise`].
    pub otherwise: Option<SizedDocuments>,
    /// The name of the baseline: the scenario with the same documents and no fault. What it stores must be stored here too.
    pub baseline: Option<String>,
}

impl Scenario {
    /// `written` with the missing keys of `defaults`, or what is wrong with it.
    pub(super) fn resolve(written: &ScenarioWritten, defaults: &ScenarioWritten, title: &str) -> Result<Self, String> {
        let mut env = defaults.env.clone();
        env.extend(written.env.clone());
        let steps = written.steps.clone().or_else(|| defaults.steps.clone()).unwrap_or_else(|| vec![Step::Ingest]);
        let scenario = Self {
            title: written.title.clone().unwrap_or_else(|| title.to_owned()),
            documents: written.documents.clone().or_else(|| defaults.documents.clone()).unwrap_or_default(),
            env,
            jina: written.jina.clone().or_else(|| defaults.jina.clone()).unwrap_or_default(),
            jina_at_start: written.jina_at_start.clone().or_else(|| defaults.jina_at_start.clone()).unwrap_or_default(),
            limits: written.limits.clone().or_else(|| defaults.limits.clone()).unwrap_or_default(),
            faults: defaults.faults.iter().chain(&written.faults).cloned().collect(),
            watch: written.watch.clone().or_else(|| defaults.watch.clone()).unwrap_or_default(),
            workers: written.workers.or(defaults.workers),
            producer_clock_s: written.producer_clock_s.or(defaults.producer_clock_s).unwrap_or_default(),
            within_s: written.within_s.or(defaults.within_s),
            premises: written.premise.clone().or_else(|| defaults.premise.clone()).unwrap_or_default(),
            otherwise: written.otherwise.or(defaults.otherwise),
            overlaps: written.overlaps.clone().or_else(|| defaults.overlaps.clone()).unwrap_or_default(),
            baseline: None,
            steps,
        };
        scenario.check()?;
        Ok(scenario)
    }

    /// What is wrong with it, if anything.
    fn check(&self) -> Result<(), String> {
        if self.steps.is_empty() {
            return Err("`steps` is empty: expected e.g. [\"ingest\"]".to_owned());
        }
        if self.workers == Some(0) {
            return Err("`workers` is 0: expected at least 1".to_owned());
        }
        if self.otherwise.is_some() && self.premises.is_empty() {
            return Err("`otherwise` is used if the premise is not met: add `premise` to the scenario".to_owned());
        }
        if self.jina.iter().chain(&self.jina_at_start).any(|behaviour| behaviour.when == jina::When::DocumentEnds) {
            return Err("`document_ends` is about the documents of a step: use it in the `jina` of a fault".to_owned());
        }
        for (place, fault) in self.faults.iter().enumerate() {
            self.check_fault(place, fault)?;
        }
        self.overlaps.iter().try_for_each(|overlap| self.check_overlap(*overlap))
    }

    /// What is wrong with the fault at this place of the list, if anything.
    fn check_fault(&self, place: usize, fault: &Fault) -> Result<(), String> {
        if let FaultKind::Service { on, fault } = &fault.kind
            && !fault.applies_to(*on)
        {
            return Err(format!("fault `{}` is not available for {}", fault.word(), on.word()));
        }
        if let FaultKind::Network { on, fault, .. } = &fault.kind
            && let Some(target) = on.iter().find(|target| !fault.applies_to(**target))
        {
            return Err(format!("fault `{}` is not available for {}", fault.word(), target.word()));
        }
        if let FaultKind::Network { fault: NetworkFault::HalfOpen, direction: Some(Direction::Both), .. } = &fault.kind
        {
            return Err(
                "`half_open` breaks one direction: write `up` or `down`, or use the fault `blackhole`".to_owned()
            );
        }
        if let When::Into(_, other) = fault.at
            && (other == 0 || other > place)
        {
            return Err(format!("{fault} begins in fault {other}, which is not one of the {place} faults before it"));
        }
        let step = fault.step.unwrap_or(1);
        if step == 0 || step > self.steps.len() {
            return Err(format!("{fault} begins in step {step} of {}", self.steps.len()));
        }
        if self.overlap(step).is_some() {
            return Err(format!("{fault} begins in step {step}, which overlaps the one before: count from that step"));
        }
        if fault.lasts.is_some_and(|lasts| lasts.time().is_none()) && self.steps[step - 1] == Step::Idle {
            return Err(format!("{fault} lasts until jobs end, and step {step} has none: write a duration"));
        }
        let Some(until) = fault.until_step else { return Ok(()) };
        if fault.lasts.and_then(Lasts::time).is_none() {
            return Err(format!("{fault} ends with step {until}: add `for`, the longest time that it lasts"));
        }
        if until < step || until > self.steps.len() {
            return Err(format!("{fault} begins in step {step} and ends with step {until} of {}", self.steps.len()));
        }
        Ok(())
    }

    /// What is wrong with the beginning of a step that overlaps, if anything.
    fn check_overlap(&self, Overlap { step, at }: Overlap) -> Result<(), String> {
        if step < 2 || step > self.steps.len() {
            return Err(format!("step {step} of {} overlaps no step before it", self.steps.len()));
        }
        if self.overlaps.iter().filter(|other| other.step == step).count() > 1 {
            return Err(format!("`overlaps` names step {step} twice"));
        }
        if self.steps[step - 2..step].contains(&Step::Idle) {
            return Err(format!("step {step} overlaps an idle step, which has no jobs"));
        }
        match at {
            When::Into(_, fault) if fault == 0 || fault > self.faults.len() => {
                Err(format!("step {step} begins in fault {fault} of {}", self.faults.len()))
            }
            _ => Ok(()),
        }
    }

    /// When a step begins that overlaps the one before it, counted from 1; `None` if it begins after that.
    #[must_use]
    pub fn overlap(&self, step: usize) -> Option<When> {
        self.overlaps.iter().find(|overlap| overlap.step == step).map(|overlap| overlap.at)
    }

    /// The revision of the documents that a step enqueues, counted from 1: the original is the first one.
    #[must_use]
    pub fn revision(&self, step: usize) -> usize {
        1 + self.steps.iter().take(step).filter(|step| **step == Step::Revise).count()
    }

    /// Whether a fault affects every client of a service, so that the scenario needs a stack of its own.
    #[must_use]
    pub fn needs_own_stack(&self) -> bool {
        let affects_every_client =
            |fault: &Fault| matches!(&fault.kind, FaultKind::Service { fault, .. } if fault.affects_every_client());
        self.faults.iter().any(affects_every_client)
    }

    /// The baseline, with its name: the scenario with the same documents and steps and no fault. `None` if this scenario has
    /// no fault itself.
    #[must_use]
    pub fn baseline_scenario(&self) -> Option<(String, Self)> {
        let is_fault_free = self.faults.is_empty()
            && self.jina.is_empty()
            && self.overlaps.is_empty()
            && self.limits == Limits::default();
        if is_fault_free {
            return None;
        }
        // Idle steps change nothing, and a repeated step stores the same as one, unless it makes another version.
        let mut steps: Vec<Step> = self.steps.iter().copied().filter(|step| *step != Step::Idle).collect();
        steps.dedup_by(|left, right| left == right && *left != Step::Revise);
        let baseline = Self {
            title: "The same documents without a fault".to_owned(),
            documents: self.documents.clone(),
            steps,
            overlaps: Vec::new(),
            env: BTreeMap::new(),
            jina: Vec::new(),
            jina_at_start: Vec::new(),
            limits: Limits::default(),
            faults: Vec::new(),
            watch: Vec::new(),
            workers: None,
            producer_clock_s: 0,
            within_s: None,
            premises: Vec::new(),
            otherwise: None,
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rstest::rstest;

    use super::Step;
    use crate::spec::Suites;

    fn read(rest: &str) -> Result<Suites, String> {
        let head = "suite = \"mine\"\ntitle = \"Mine\"\n";
        let text = format!("{head}{rest}");
        Suites::from_texts(&[(PathBuf::from("mine.toml"), text)]).map_err(|error| error.to_string())
    }

    fn case(scenario: &str) -> String {
        format!(
            "[[case]]\nid = \"mine.one\"\ntitle = \"One\"\nlevel = \"must\"\nscenario = {scenario}\n\
             expect = {{ documents = \"intact\" }}\nwhy = \"w\"\nremedy = \"r\"\nsource = \"s\"\n"
        )
    }

    #[test]
    fn a_scenario_takes_missing_keys_from_the_defaults() {
        let defaults = "[defaults]\ndocuments = { generated = 3 }\nenv = { A = \"1\", B = \"2\" }\nwithin_s = 15\n";
        let suites = read(&format!("{defaults}{}", case("{ env = { B = \"3\" }, workers = 2 }"))).unwrap();
        let scenario = &suites.scenarios["mine.one"];
        assert_eq!((scenario.documents.generated, scenario.workers), (3, Some(2)));
        assert_eq!((&*scenario.env["A"], &*scenario.env["B"]), ("1", "3"));
        assert_eq!((scenario.within_s, scenario.steps.as_slice()), (Some(15), &[Step::Ingest][..]));
        assert_eq!(
            (scenario.title.as_str(), &scenario.baseline),
            ("One", &None),
            "a scenario without a fault needs no baseline"
        );
    }

    #[test]
    fn a_scenario_with_faults_has_a_baseline_without_them() {
        let fault = "faults = [{ at = \"25%\", worker = \"kill\" }]";
        let suites = read(&case(&format!("{{ documents = {{ generated = 3 }}, workers = 2, {fault} }}"))).unwrap();
        let baseline = suites.scenarios["mine.one"].baseline.clone().unwrap();
        let baseline = &suites.scenarios[&baseline];
        assert_eq!((baseline.documents.generated, baseline.faults.len(), baseline.workers), (3, 0, None));
    }

    #[test]
    fn each_revision_has_a_number_and_the_baseline_makes_the_same_ones() {
        let steps = "steps = [\"ingest\", \"ingest\", \"revise\", \"idle\", \"revise\"], overlaps = [{ step = 3, at = \"1 request\" }]";
        let suites = read(&case(&format!("{{ documents = {{ generated = 3 }}, {steps} }}"))).unwrap();
        let scenario = &suites.scenarios["mine.one"];
        let revisions = |scenario: &super::Scenario| -> Vec<usize> {
            (1..=scenario.steps.len()).map(|step| scenario.revision(step)).collect()
        };
        assert_eq!(revisions(scenario), [1, 1, 2, 2, 3]);
        assert!(scenario.overlap(3).is_some() && scenario.overlap(5).is_none());
        let baseline = &suites.scenarios[scenario.baseline.as_deref().unwrap()];
        assert_eq!(baseline.steps, [Step::Ingest, Step::Revise, Step::Revise], "jobs that overlap need a baseline");
        assert_eq!((revisions(baseline), baseline.overlaps.len()), (vec![1, 2, 3], 0));
    }

    #[rstest]
    #[case("{ steps = [] }", "`steps` is empty")]
    #[case("{ workers = 0 }", "`workers` is 0")]
    #[case("{ otherwise = \"batch_boundaries\" }", "`otherwise` is used if the premise is not met")]
    #[case("{ premise = [\"luck\"] }", "unknown variant `luck`")]
    #[case(
        "{ faults = [{ at = \"1s\", service = { on = \"qdrant\", fault = \"misconf\" } }] }",
        "not available for qdrant"
    )]
    #[case("{ faults = [{ at = \"1s\", step = 2, worker = \"kill\" }] }", "step 2 of 1")]
    #[case("{ faults = [{ at = \"1s\", until_step = 1, worker = \"pause\" }] }", "ends with step 1: add `for`")]
    #[case("{ faults = [{ at = \"1s\", for = \"1s\", until_step = 2, worker = \"pause\" }] }", "ends with step 2 of 1")]
    #[case("{ overlaps = [{ step = 2, at = \"0ms\" }] }", "step 2 of 1 overlaps no step before it")]
    #[case("{ steps = [\"ingest\", \"idle\"], overlaps = [{ step = 2, at = \"0ms\" }] }", "overlaps an idle step")]
    #[case(
        "{ steps = [\"ingest\", \"edit\"], overlaps = [{ step = 2, at = \"0ms into fault 1\" }] }",
        "in fault 1 of 0"
    )]
    #[case("{ fault = [] }", "unknown field `fault`")]
    #[case("{ jina = [{ answer = \"odd\" }] }", "unknown variant")]
    fn an_invalid_scenario_is_refused_with_its_place(#[case] scenario: &str, #[case] message: &str) {
        let error = read(&case(scenario)).unwrap_err();
        assert!(error.contains(message) && error.contains("mine.toml:"), "{error}");
    }
}
