//! The timelines of a run's report.

use std::collections::BTreeMap;

use super::scenario_runs::ScenarioRuns;
use super::{RunOptions, worker_output};
use crate::outcome::{CaseRecord, Timeline, Word};
use crate::redaction::redact;
use crate::scenario;

/// The timelines of the scenario runs with a case that did not pass. Their worker output is kept if the options say so.
pub(super) fn timelines(
    cases: &[CaseRecord],
    runs: &ScenarioRuns<'_>,
    options: &RunOptions,
    notes: &mut Vec<String>,
) -> Vec<Timeline> {
    let mut not_passed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for case in cases {
        let word = case.verdict.word();
        if let (Some(name), Word::Fail | Word::Warn | Word::Unknown | Word::Waived) = (&case.scenario, word) {
            not_passed.entry(name).or_default().push(case.id.clone());
        }
    }
    let mut timelines = Vec::new();
    for (name, cases) in not_passed {
        let Some(assessment) = runs.finished(name) else { continue };
        timelines.push(scenario::timeline(name, cases, assessment));
        let observations = &assessment.observations;
        let output = redact(&observations.workers.log);
        notes.extend(worker_output::keep(options, name, &output).err());
    }
    timelines
}
