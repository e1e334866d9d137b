//! The root causes of a run's report: found once for each scenario run, and assigned to the cases that they explain.

use std::collections::{BTreeMap, BTreeSet};

use super::RunOptions;
use super::plan::Plan;
use super::scenario_runs::ScenarioRuns;
use crate::outcome::{CaseRecord, Cause, LibraryRemedy, Word};
use crate::scenario;
use crate::scenario::causes::{RunCause, explain, explain_nothing_stored, find, find_in_output};
use crate::spec::Check;
use crate::worker::libraries;

/// Maximum number of lines of evidence of a cause.
const MAX_EVIDENCE: usize = 3;

/// The causes of the cases that did not pass; the cases are changed to name them.
pub(super) fn causes(
    cases: &mut [CaseRecord],
    plan: &Plan,
    runs: &ScenarioRuns<'_>,
    options: &RunOptions,
) -> Vec<Cause> {
    let libraries = libraries(&options.contract.worker.cwd);
    let mut all = Collected { libraries, causes: Vec::new() };
    let mut found: BTreeMap<String, Vec<RunCause>> = BTreeMap::new();
    for record in cases.iter_mut() {
        let word = record.verdict.word();
        if !matches!(word, Word::Fail | Word::Warn | Word::Unknown | Word::Waived) {
            continue;
        }
        let Some(case) = plan.cases.iter().find(|case| case.id == record.id) else { continue };
        let Check::Scenario(name, expectations) = &case.check else { continue };
        let Some(assessment) = runs.finished(name) else {
            let output = runs.output_of_failure(name).unwrap_or_default();
            record.causes = find_in_output(&output).iter().map(|cause| all.add(name, cause)).collect();
            continue;
        };
        let causes = found.entry(name.clone()).or_insert_with(|| find(assessment));
        let violations = scenario::violations(expectations, assessment, case.documents_matching.as_ref());
        let places = match word {
            _ if !violations.is_empty() => explain(&violations, causes, assessment),
            Word::Unknown => explain_nothing_stored(causes, assessment),
            _ => Vec::new(),
        };
        let explaining = places.into_iter().filter_map(|place| causes.get(place));
        record.causes = explaining.map(|cause| all.add(name, cause)).collect();
    }
    all.causes
}

/// The causes of all scenario runs.
struct Collected {
    /// The libraries of the worker.
    libraries: BTreeSet<String>,
    causes: Vec<Cause>,
}

impl Collected {
    /// Adds the cause of a scenario run, or its evidence to the same cause of another run. Returns its id.
    fn add(&mut self, scenario: &str, found: &RunCause) -> String {
        let id = found.id();
        let place = self.causes.iter().position(|cause| cause.id == id).unwrap_or_else(|| {
            let known = found.libraries().filter(|(library, _)| self.libraries.contains(*library));
            let libraries = known
                .map(|(library, remedy)| LibraryRemedy { library: library.to_owned(), remedy: remedy.to_owned() })
                .collect();
            self.causes.push(Cause {
                id: id.clone(),
                sentence: found.sentence(),
                evidence: Vec::new(),
                remedy: found.remedy().to_owned(),
                libraries,
                source: found.source().to_owned(),
                cases: Vec::new(),
            });
            self.causes.len() - 1
        });
        if let Some(cause) = self.causes.get_mut(place) {
            let prefix = format!("{scenario}: ");
            for line in found.evidence.iter().map(|line| format!("{prefix}{line}")) {
                // One line more of the first run tells less than the first line of another run.
                let room = MAX_EVIDENCE.saturating_sub(cause.evidence.len());
                if room > 0 && !cause.evidence.contains(&line) {
                    cause.evidence.push(line);
                }
            }
        }
        id
    }
}
