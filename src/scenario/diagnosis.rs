//! What a scenario run that went wrong usually means: `suites/diagnosis/known.toml`, applied to what was seen.

use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

use super::assessment::DocumentOutcome;
use super::run::{JobState, Observations};
use crate::outcome::{AffectedDocument, Diagnosis};
use crate::spec::Target;

/// How many are told.
const TOLD: usize = 3;

/// What was seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sign {
    /// A worker ended, and nobody had told it to.
    Died,
    /// Jobs waited at the end, none was in work, and the worker lived.
    Idle,
    /// Jobs were in work at the end.
    Stuck,
    /// A job completed, and its document has no point.
    DoneWithoutPoints,
    /// Jobs of documents that could be stored failed for good, after several attempts.
    OutOfAttempts,
    /// They failed for good at the first.
    FailedAtOnce,
    /// Documents are stored more than once.
    Doubled,
    /// Documents are stored with what is not theirs.
    Corrupted,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    diagnosis: Vec<Known>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    #[serde(default)]
    output: Option<String>,
    #[serde(default)]
    sign: Option<Sign>,
    #[serde(default)]
    fault_on: Option<Target>,
    means: String,
    remedy: String,
    source: String,
}

/// The table, with its expressions compiled. That it can be read is tested.
static KNOWN: LazyLock<Vec<(Known, Option<Regex>)>> = LazyLock::new(|| {
    let table = toml::from_str::<Table>(include_str!("../../suites/diagnosis/known.toml"));
    let known = table.map(|table| table.diagnosis).unwrap_or_default();
    known
        .into_iter()
        .map(|known| {
            let regex = known.output.as_deref().and_then(|pattern| Regex::new(pattern).ok());
            (known, regex)
        })
        .collect()
});

/// What is known of what was seen, the most telling first.
pub(super) fn diagnose(observations: &Observations, unwell: &[AffectedDocument]) -> Vec<Diagnosis> {
    let mut told: Vec<Diagnosis> = Vec::new();
    for (known, regex) in KNOWN.iter() {
        let struck = |target: Target| observations.faults.iter().any(|fault| fault.targets.contains(&target));
        if known.fault_on.is_some_and(|target| !struck(target)) {
            continue;
        }
        let sign = match known.sign.map(|sign| seen(sign, observations, unwell)) {
            Some(None) => continue,
            Some(Some(seen)) => Some(seen),
            None => None,
        };
        let line = match regex.as_ref().map(|regex| said(regex, observations)) {
            Some(None) => continue,
            Some(Some(line)) => Some(line),
            None => None,
        };
        // Of two meanings of one sign the first is the more telling.
        if sign.is_some() && line.is_none() && told.iter().any(|other| Some(&other.seen) == sign.as_ref()) {
            continue;
        }
        let Some(seen) = line.or(sign) else { continue };
        told.push(Diagnosis {
            seen,
            means: known.means.clone(),
            remedy: known.remedy.clone(),
            source: known.source.clone(),
        });
        if told.len() == TOLD {
            break;
        }
    }
    told
}

/// The first line, or reason of a job, that matches.
fn said(regex: &Regex, observations: &Observations) -> Option<String> {
    let reasons = observations.job_events.iter().filter_map(|(_, event)| event.detail.as_deref());
    let line = observations.log.lines().chain(reasons).find(|line| regex.is_match(line))?;
    Some(observations.redact(&line.chars().take(240).collect::<String>()))
}

/// The sign in words, if it was seen.
fn seen(sign: Sign, observations: &Observations, unwell: &[AffectedDocument]) -> Option<String> {
    let with = |outcome: DocumentOutcome| {
        let names: Vec<&str> = unwell
            .iter()
            .filter(|concerned| concerned.outcome == outcome.word())
            .map(|concerned| concerned.document.as_str())
            .collect();
        names
    };
    let told = |names: Vec<&str>, what: &str| {
        let first = names.first()?;
        let noun = if names.len() == 1 { "document" } else { "documents" };
        Some(format!("{} {noun} {what}, such as {first}", names.len()))
    };
    let counts = observations.counts;
    match sign {
        Sign::Died => observations.died.as_ref().map(|how| format!("the worker {how}")),
        Sign::Idle => {
            let waiting = counts.waiting + counts.prioritized;
            (waiting > 0 && counts.active == 0 && observations.died.is_none())
                .then(|| format!("{waiting} jobs in `wait`, none in `active`, and a worker that runs"))
        }
        Sign::Stuck => (counts.active > 0).then(|| format!("{} jobs still in `active`", counts.active)),
        Sign::DoneWithoutPoints => {
            let step = observations.last()?;
            let done = |name: &&str| {
                step.jobs.get(*name).is_some_and(|(state, _)| *state == JobState::Completed)
                    && step.snapshot.points_of(name).is_empty()
            };
            told(with(DocumentOutcome::Lost).into_iter().filter(done).collect(), "without a point whose job completed")
        }
        Sign::OutOfAttempts | Sign::FailedAtOnce => {
            let step = observations.last()?;
            let again = sign == Sign::OutOfAttempts;
            let failed = |name: &&str| {
                step.jobs
                    .get(*name)
                    .is_some_and(|(state, job)| *state == JobState::Failed && (job.attempts > 1) == again)
            };
            let what =
                if again { "lost whose job failed for good" } else { "lost whose job was not tried a second time" };
            told(with(DocumentOutcome::Lost).into_iter().filter(failed).collect(), what)
        }
        Sign::Doubled => told(with(DocumentOutcome::Duplicated), "stored more than once"),
        Sign::Corrupted => told(with(DocumentOutcome::Corrupted), "stored with what is not theirs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_read_and_every_expression_of_it() {
        let table: Table = toml::from_str(include_str!("../../suites/diagnosis/known.toml")).unwrap();
        for known in table.diagnosis {
            assert!(known.output.is_some() || known.sign.is_some(), "{} rests on nothing", known.means);
            if let Some(pattern) = known.output {
                Regex::new(&pattern).unwrap();
            }
        }
    }
}
