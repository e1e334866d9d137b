//! Diagnoses of failed scenario runs: the entries of `suites/diagnosis/known.toml` that match the observations.

use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

use super::assessment::{Assessment, DocumentOutcome};
use super::observations::{JobState, Observations};
use crate::outcome::Diagnosis;
use crate::redaction::redact;
use crate::spec::Target;

/// Maximum number of diagnoses.
const MAX_DIAGNOSES: usize = 3;

/// A pattern in the observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Symptom {
    /// A worker ended without being told to.
    Died,
    /// Jobs waited at the end, none was active, and the worker was running.
    Idle,
    /// Jobs were active at the end.
    Stuck,
    /// A job completed, but its document has no points.
    DoneWithoutPoints,
    /// Jobs of lost documents failed permanently after several attempts.
    OutOfAttempts,
    /// Jobs of lost documents failed permanently at the first attempt.
    FailedAtOnce,
    /// Documents are stored more than once.
    Doubled,
    /// Documents are stored with wrong content.
    Corrupted,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    diagnosis: Vec<Entry>,
}

/// One entry; all conditions it names must hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    output: Option<String>,
    #[serde(default, rename = "sign")]
    symptom: Option<Symptom>,
    #[serde(default)]
    fault_on: Option<Target>,
    means: String,
    remedy: String,
    source: String,
}

/// The entries with their compiled regular expressions. A test checks that the file is valid.
static ENTRIES: LazyLock<Vec<(Entry, Option<Regex>)>> = LazyLock::new(|| {
    let table = toml::from_str::<Table>(include_str!("../../suites/diagnosis/known.toml"));
    let entries = table.map(|table| table.diagnosis).unwrap_or_default();
    entries
        .into_iter()
        .map(|entry| {
            let regex = entry.output.as_deref().and_then(|pattern| Regex::new(pattern).ok());
            (entry, regex)
        })
        .collect()
});

/// The first matching entries, in the order of the table.
pub(super) fn diagnose(assessment: &Assessment) -> Vec<Diagnosis> {
    let observations = &assessment.observations;
    let mut diagnoses: Vec<Diagnosis> = Vec::new();
    for (entry, regex) in ENTRIES.iter() {
        let has_fault = |target: Target| observations.faults.iter().any(|fault| fault.targets.contains(&target));
        if entry.fault_on.is_some_and(|target| !has_fault(target)) {
            continue;
        }
        let symptom = match entry.symptom.map(|symptom| find_symptom(symptom, assessment)) {
            Some(None) => continue,
            Some(Some(symptom)) => Some(symptom),
            None => None,
        };
        let line = match regex.as_ref().map(|regex| find_line(regex, observations)) {
            Some(None) => continue,
            Some(Some(line)) => Some(line),
            None => None,
        };
        // The table is sorted by specificity: for the same symptom only its first entry counts.
        if symptom.is_some() && line.is_none() && diagnoses.iter().any(|other| Some(&other.seen) == symptom.as_ref()) {
            continue;
        }
        let Some(seen) = line.or(symptom) else { continue };
        diagnoses.push(Diagnosis {
            seen,
            means: entry.means.clone(),
            remedy: entry.remedy.clone(),
            source: entry.source.clone(),
        });
        if diagnoses.len() == MAX_DIAGNOSES {
            break;
        }
    }
    diagnoses
}

/// The first line of output, or failure reason of a job, that matches.
fn find_line(regex: &Regex, observations: &Observations) -> Option<String> {
    let reasons = observations.queue.events.iter().filter_map(|(_, event)| event.detail.as_deref());
    let line = observations.workers.log.lines().chain(reasons).find(|line| regex.is_match(line))?;
    Some(redact(line).chars().take(240).collect())
}

/// A sentence about the symptom, if the observations show it.
fn find_symptom(symptom: Symptom, assessment: &Assessment) -> Option<String> {
    let observations = &assessment.observations;
    let with_outcome = |outcome: DocumentOutcome| -> Vec<&str> {
        let documents = assessment.documents().iter().filter(|document| document.outcome == outcome);
        documents.map(|document| document.document.as_str()).collect()
    };
    let describe = |names: Vec<&str>, what: &str| {
        let first = names.first()?;
        let noun = if names.len() == 1 { "document" } else { "documents" };
        Some(format!("{} {noun} {what}, such as {first}", names.len()))
    };
    let counts = observations.queue.counts;
    match symptom {
        Symptom::Died => observations.workers.died.as_ref().map(|how| format!("the worker {how}")),
        Symptom::Idle => {
            let waiting = counts.waiting + counts.prioritized;
            (waiting > 0 && counts.active == 0 && observations.workers.died.is_none())
                .then(|| format!("{waiting} jobs in `wait`, none in `active`, and the worker is running"))
        }
        Symptom::Stuck => (counts.active > 0).then(|| format!("{} jobs still in `active`", counts.active)),
        Symptom::DoneWithoutPoints => {
            let step = observations.last()?;
            let is_done = |name: &&str| {
                step.jobs.get(*name).is_some_and(|(state, _)| *state == JobState::Completed)
                    && step.snapshot.points_of(name).is_empty()
            };
            let names = with_outcome(DocumentOutcome::Lost).into_iter().filter(is_done).collect();
            describe(names, "with a completed job but no points")
        }
        Symptom::OutOfAttempts | Symptom::FailedAtOnce => {
            let step = observations.last()?;
            let retried = symptom == Symptom::OutOfAttempts;
            let has_failed = |name: &&str| {
                step.jobs
                    .get(*name)
                    .is_some_and(|(state, job)| *state == JobState::Failed && (job.attempts > 1) == retried)
            };
            let what = if retried {
                "lost after all attempts of the job failed"
            } else {
                "lost because the job failed and was not retried"
            };
            describe(with_outcome(DocumentOutcome::Lost).into_iter().filter(has_failed).collect(), what)
        }
        Symptom::Doubled => describe(with_outcome(DocumentOutcome::Duplicated), "stored more than once"),
        Symptom::Corrupted => describe(with_outcome(DocumentOutcome::Corrupted), "stored with wrong content"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SECRET, TestRun, fault};
    use super::*;

    #[test]
    fn every_entry_of_the_table_has_a_condition_and_valid_regular_expressions() {
        let table: Table = toml::from_str(include_str!("../../suites/diagnosis/known.toml")).unwrap();
        for entry in table.diagnosis {
            assert!(entry.output.is_some() || entry.symptom.is_some(), "{} has no condition", entry.means);
            if let Some(pattern) = entry.output {
                Regex::new(&pattern).unwrap();
            }
        }
    }

    /// What the diagnoses of a run have seen.
    fn seen(run: &TestRun) -> Vec<String> {
        diagnose(&run.assessment()).into_iter().map(|diagnosis| diagnosis.seen).collect()
    }

    #[test]
    fn each_symptom_is_found_in_what_was_observed() {
        let run = TestRun::two_documents();
        let failed = run.edit_step(|step| step.fail("a.md", "no answer"));
        for (run, wanted) in [
            (
                run.edit(|seen| seen.workers.died = Some("exited with code 1".to_owned())),
                "the worker exited with code 1",
            ),
            (
                run.edit(|seen| seen.queue.counts.waiting = 2),
                "2 jobs in `wait`, none in `active`, and the worker is running",
            ),
            (run.edit(|seen| seen.queue.counts.active = 1), "1 jobs still in `active`"),
            (
                run.edit_step(|step| step.points("a.md").clear()),
                "1 document with a completed job but no points, such as a.md",
            ),
            (
                failed.edit_step(|step| step.job("a.md").attempts = 3),
                "1 document lost after all attempts of the job failed, such as a.md",
            ),
            (failed.clone(), "1 document lost because the job failed and was not retried, such as a.md"),
            (run.edit_step(|step| step.duplicate("a.md")), "1 document stored more than once, such as a.md"),
            (
                run.edit_step(|step| step.points("a.md")[0].vector.reverse()),
                "1 document stored with wrong content, such as a.md",
            ),
        ] {
            assert_eq!(seen(&run), [wanted]);
        }
        assert_eq!(seen(&run), Vec::<String>::new());
    }

    #[test]
    fn a_line_of_the_output_is_shown_without_secrets() {
        let run = TestRun::two_documents()
            .edit(|seen| seen.workers.log = format!("starting\nMISCONF from {SECRET}\nMISCONF again\n"));
        assert_eq!(seen(&run), ["MISCONF from redis://:********@127.0.0.1:6379"]);
    }

    #[test]
    fn an_entry_for_a_fault_needs_a_fault_on_its_service() {
        let run = TestRun::two_documents().edit(|seen| seen.queue.counts.waiting = 2);
        let faulted = |target| run.edit(|seen| seen.faults = vec![fault(target, 0, 1000)]);
        let means = |run: &TestRun| diagnose(&run.assessment())[0].means.clone();
        assert_ne!(means(&run), means(&faulted(Target::Redis)));
        assert_eq!(means(&run), means(&faulted(Target::Qdrant)));
    }
}
