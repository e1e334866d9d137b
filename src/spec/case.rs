//! Cases: requirements that can be run.

use globset::GlobSet;

use super::{Expectation, Matcher, Premise, Probe};
use crate::outcome::{CaseRecord, Level, Verdict};

/// A capability of the stack that a case needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The stack may be written to.
    Write,
    /// Services can be restarted.
    Restart,
    /// The embeddings API is the mock, which records requests and returns known vectors.
    Mock,
    /// There is a worker to test.
    Worker,
}

impl Need {
    pub(super) const ALL: [(&'static str, Self); 4] =
        [("write", Self::Write), ("restart", Self::Restart), ("mock", Self::Mock), ("worker", Self::Worker)];

    /// The word used in suites.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, need)| *need == self).map_or("", |(word, _)| word)
    }
}

/// The command that runs a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// `shakedown run`: needs a stack that may be written to and broken, and a worker.
    Run,
    /// `shakedown check`: examines an environment that is in use.
    Check,
}

impl Verb {
    pub(super) const ALL: [(&'static str, Self); 2] = [("run", Self::Run), ("check", Self::Check)];

    /// The word used in suites.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, verb)| *verb == self).map_or("", |(word, _)| word)
    }
}

/// What a case does, and what must then hold.
#[derive(Debug, Clone)]
pub enum Check {
    /// Observe one value and match it.
    Probe(Box<Probe>, Vec<Matcher>),
    /// Run the scenario that [`Suites::scenarios`](super::Suites::scenarios) has under this name, and evaluate it.
    Scenario(String, Vec<Expectation>),
}

/// One requirement, ready to run.
#[derive(Debug, Clone)]
pub struct Case {
    /// `<suite>.<words-with-dashes>`.
    pub id: String,
    /// The suite's name.
    pub suite: String,
    /// The requirement in one line.
    pub title: String,
    /// How binding it is.
    pub level: Level,
    /// What breaks when it is not met.
    pub why: String,
    /// How to fix it.
    pub remedy: String,
    /// Where the requirement comes from.
    pub source: String,
    /// Ids of the cases that must not have failed before.
    pub requires: Vec<String>,
    /// Capabilities that it needs.
    pub needs: Vec<Need>,
    /// The commands that run it.
    pub verbs: Vec<Verb>,
    /// Whether running it costs money.
    pub spends: bool,
    /// Free words for selecting it.
    pub tags: Vec<String>,
    /// Evaluate only documents whose names match; `None` means all.
    pub documents_matching: Option<GlobSet>,
    /// What must have been seen for a pass to mean something, in addition to the premises of its scenario.
    pub premises: Vec<Premise>,
    /// What to do.
    pub check: Check,
}

impl Case {
    /// Whether it takes minutes; such a case runs only with `--slow` or when its id is given.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.has_tag("slow")
    }

    /// Whether it runs only when its id or its suite is given, because it needs packages that are installed first.
    #[must_use]
    pub fn is_by_name(&self) -> bool {
        self.has_tag("by-name")
    }

    /// Whether running it changes something on the stack.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.needs.contains(&Need::Write)
    }

    /// Whether it has this tag.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|other| other == tag)
    }

    /// A record of this case that has not been run yet.
    #[must_use]
    pub fn record(&self) -> CaseRecord {
        let mut record = CaseRecord {
            id: self.id.clone(),
            suite: self.suite.clone(),
            title: self.title.clone(),
            level: self.level,
            verdict: Verdict::Pass,
            reason: None,
            waived_until: None,
            evidence: Vec::new(),
            why: self.why.clone(),
            remedy: self.remedy.clone(),
            source: self.source.clone(),
            duration_ms: 0,
            attempts: Vec::new(),
            flaky: false,
            scenario: match &self.check {
                Check::Scenario(name, _) => Some(name.clone()),
                Check::Probe(..) => None,
            },
            causes: Vec::new(),
        };
        record.set_verdict(Verdict::unknown("not run"));
        record
    }
}
