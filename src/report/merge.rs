//! Merges the reports of shards into one.

use std::collections::BTreeMap;

use crate::outcome::{CaseRecord, EnvironmentRow, Report, RunVerdict, ServiceRecord, Word};

/// Why reports cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// There are none.
    #[error("no report: pass the JSON reports of the shards")]
    Nothing,
    /// Two reports differ in their suites or their profile.
    #[error("run {run} has {what} {is}, run {first} has {was}: merge only reports with the same {what}")]
    Unlike {
        /// What they differ in.
        what: &'static str,
        /// The first run.
        first: String,
        /// Its value.
        was: String,
        /// The run that differs.
        run: String,
        /// The value of that run.
        is: String,
    },
}

/// Merges several reports into one with all cases. If two reports have the same case, the worse verdict counts, and a
/// note says so.
///
/// Run ids and versions are joined, the earliest start is taken, and durations are added. A missing shard makes a
/// conformant result inconclusive.
///
/// # Errors
/// There are no reports, or their suites or profiles differ.
pub fn merge(reports: &[Report]) -> Result<Report, MergeError> {
    let first = reports.first().ok_or(MergeError::Nothing)?;
    for other in reports {
        require_equal("suites", first, other, |report| &report.suite_version)?;
        require_equal("profile", first, other, |report| &report.profile)?;
    }
    let mut merged = first.clone();
    let all = |field: fn(&Report) -> String| joined(reports.iter().map(field));
    merged.run = all(|report| report.run.clone());
    merged.shakedown = all(|report| report.shakedown.clone());
    merged.provider = all(|report| report.provider.clone());
    merged.provider_reason = all(|report| report.provider_reason.clone());
    merged.worker = all(|report| report.worker.clone());
    merged.started_at = reports.iter().map(|report| &report.started_at).min().cloned().unwrap_or_default();
    merged.duration_ms = reports.iter().map(|report| report.duration_ms).fold(0, u64::saturating_add);
    merged.gate.strict = reports.iter().any(|report| report.gate.strict);
    merged.gate.attempts = reports.iter().map(|report| report.gate.attempts).max().unwrap_or(1);
    merged.gate.comparison = None;
    merged.services = services(reports);
    merged.environment = environment(reports);
    merged.files = unique(reports.iter().flat_map(|report| &report.files));
    let (cases, winners, twice) = cases(reports);
    for report in reports {
        merged.add_causes(&report.causes);
    }
    merged.timelines = Vec::new();
    for (number, report) in reports.iter().enumerate() {
        let of_this = |id: &String| winners.get(id) == Some(&number);
        merged.timelines.extend(report.timelines.iter().filter(|line| line.cases.iter().any(of_this)).cloned());
    }
    merged.cases = cases;
    let missing = missing(reports, &mut merged);
    merged.notes = notes(reports, twice, missing.as_deref());
    // Each shard excludes the cases of the others, so the total is the number of cases that each report knows of.
    let known = |report: &Report| report.cases.len().saturating_add(report.coverage.filtered_out);
    let known = reports.iter().map(known).max().unwrap_or(0);
    merged.settle(known.saturating_sub(merged.cases.len()));
    if missing.is_some() && merged.verdict == RunVerdict::Conformant {
        merged.verdict = RunVerdict::Inconclusive;
    }
    Ok(merged)
}

fn require_equal(
    what: &'static str,
    first: &Report,
    other: &Report,
    field: fn(&Report) -> &String,
) -> Result<(), MergeError> {
    let (was, is) = (field(first).clone(), field(other).clone());
    if was == is {
        return Ok(());
    }
    Err(MergeError::Unlike { what, first: first.run.clone(), was, run: other.run.clone(), is })
}

/// The different ones, side by side.
fn joined(texts: impl Iterator<Item = String>) -> String {
    unique_of(texts).join(", ")
}

fn unique_of<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

fn unique<'a, T: PartialEq + Clone + 'a>(items: impl Iterator<Item = &'a T>) -> Vec<T> {
    unique_of(items.cloned())
}

/// All cases, grouped by suite; the report that each comes from; and notes about cases that two reports have.
fn cases(reports: &[Report]) -> (Vec<CaseRecord>, BTreeMap<String, usize>, Vec<String>) {
    let mut cases: Vec<CaseRecord> = Vec::new();
    let mut winners: BTreeMap<String, usize> = BTreeMap::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut notes = Vec::new();
    for (number, report) in reports.iter().enumerate() {
        for case in &report.cases {
            let Some(kept) = places.get(case.id.as_str()).map(|place| &mut cases[*place]) else {
                places.insert(&case.id, cases.len());
                winners.insert(case.id.clone(), number);
                cases.push(case.clone());
                continue;
            };
            let (was, is) = (kept.verdict.word(), case.verdict.word());
            if gravity(is) > gravity(was) {
                *kept = case.clone();
                winners.insert(case.id.clone(), number);
            }
            let kept = kept.verdict.word();
            notes.push(format!("{} is in two reports, {was} and {is}: the worse verdict counts, {kept}", case.id));
        }
    }
    let suites = unique(cases.iter().map(|case| &case.suite));
    cases.sort_by_key(|case| suites.iter().position(|suite| *suite == case.suite));
    (cases, winners, notes)
}

/// Which of two verdicts of one case counts: a skip must not hide what the other run found.
const fn gravity(word: Word) -> u8 {
    match word {
        Word::Pass => 0,
        Word::Skip => 1,
        Word::Waived => 2,
        Word::Warn => 3,
        Word::Unknown => 4,
        Word::Fail => 5,
    }
}

/// Services by name, kind and version; ports differ between machines.
fn services(reports: &[Report]) -> Vec<ServiceRecord> {
    let mut kept: Vec<ServiceRecord> = Vec::new();
    for service in reports.iter().flat_map(|report| &report.services) {
        let same = |other: &ServiceRecord| {
            (&other.name, &other.kind, &other.version, other.status)
                == (&service.name, &service.kind, &service.version, service.status)
        };
        if !kept.iter().any(same) {
            kept.push(service.clone());
        }
    }
    kept
}

/// Variables by name, with their value if all reports agree.
fn environment(reports: &[Report]) -> Vec<EnvironmentRow> {
    let mut kept: Vec<EnvironmentRow> = Vec::new();
    for row in reports.iter().flat_map(|report| &report.environment) {
        match kept.iter_mut().find(|other| other.name == row.name) {
            None => kept.push(row.clone()),
            Some(other) if other.value != row.value => "(differs between reports)".clone_into(&mut other.value),
            Some(_) => {}
        }
    }
    kept
}

/// Records which shards were merged, and returns the missing ones.
fn missing(reports: &[Report], merged: &mut Report) -> Option<String> {
    let shards = unique_of(reports.iter().filter_map(|report| report.gate.shard.clone()));
    let part = |shard: &String| -> Option<(u32, u32)> {
        let (number, of) = shard.split_once('/')?;
        Some((number.parse().ok()?, of.parse().ok()?))
    };
    let parts: Vec<(u32, u32)> = shards.iter().filter_map(part).collect();
    let whole = reports.iter().any(|report| report.gate.shard.is_none());
    let of = parts.first().map(|(_, of)| *of);
    let missing: Vec<String> = match of {
        // Shards of different runs, or shards together with a whole run, cannot be counted.
        Some(of) if !whole && parts.iter().all(|(_, other)| *other == of) => {
            (1..=of.min(1000)).filter(|number| !parts.contains(&(*number, of))).map(|n| format!("{n}/{of}")).collect()
        }
        _ => Vec::new(),
    };
    let complete = missing.is_empty() && (whole || shards.is_empty() || parts.iter().all(|(_, n)| Some(*n) == of));
    merged.gate.shard = (!complete).then(|| shards.join(", "));
    (!missing.is_empty()).then(|| missing.join(", "))
}

fn notes(reports: &[Report], twice: Vec<String>, missing: Option<&str>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(missing) = missing {
        notes.push(format!("shard {missing} is missing: its cases are unknown"));
    }
    if reports.len() > 1 {
        let longest = reports.iter().map(|report| report.duration_ms).max().unwrap_or(0);
        notes.push(format!(
            "merged from {} reports; the duration is their sum, and the longest took {}",
            reports.len(),
            super::html::took(longest)
        ));
    }
    let seeds = unique_of(reports.iter().map(|report| report.seed.to_string()));
    if seeds.len() > 1 {
        notes.push(format!("the reports have different seeds ({}); the first one is used", seeds.join(", ")));
    }
    if unique_of(reports.iter().map(|report| report.gate.strict)).len() > 1 {
        notes.push("some parts were strict and others were not; the whole is".to_owned());
    }
    if reports.iter().any(|report| report.gate.comparison.is_some()) {
        notes.push("comparisons with a baseline are of parts alone, and were left out".to_owned());
    }
    notes.extend(twice);
    notes.extend(unique(reports.iter().flat_map(|report| &report.notes)));
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::testing::report;
    use crate::outcome::{Timeline, TimelineEvent, Track};

    fn shard(name: &str, words: &[(&str, Word)], filtered_out: usize) -> Report {
        let mut report = report(words);
        report.run = format!("r{name}");
        report.gate.shard = Some(name.to_owned());
        report.settle(filtered_out);
        report
    }

    fn timeline(case: &str) -> Timeline {
        Timeline {
            scenario: "storm".to_owned(),
            title: String::new(),
            cases: vec![case.to_owned()],
            length_ms: 1,
            documents: Vec::new(),
            events: vec![TimelineEvent {
                at_ms: 0,
                until_ms: None,
                track: Track::Job,
                subject: case.to_owned(),
                what: "failed".to_owned(),
            }],
            left_out: Vec::new(),
            progress: None,
        }
    }

    #[test]
    fn shards_together_are_the_whole() {
        let one = shard("1/2", &[("a", Word::Pass), ("b", Word::Warn)], 3);
        let two = shard("2/2", &[("c", Word::Pass)], 4);
        let merged = merge(&[one, two]).unwrap();
        assert_eq!(merged.cases.iter().map(|case| case.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((merged.run.as_str(), merged.duration_ms), ("r1/2, r2/2", 2));
        assert_eq!(merged.gate.shard, None);
        assert_eq!(merged.verdict, RunVerdict::Conformant);
        assert_eq!(merged.coverage.filtered_out, 2);
        assert_eq!(merged.totals.cases, 3);
    }

    #[test]
    fn a_shard_that_is_missing_leaves_no_conformant_whole() {
        let merged = merge(&[shard("1/3", &[("a", Word::Pass)], 2), shard("3/3", &[("c", Word::Pass)], 2)]).unwrap();
        assert_eq!(merged.verdict, RunVerdict::Inconclusive);
        assert!(merged.notes[0].contains("shard 2/3 is missing"), "{:?}", merged.notes);
        assert_eq!(merged.gate.shard.as_deref(), Some("1/3, 3/3"));
        let failed = merge(&[shard("1/3", &[("a", Word::Fail)], 2)]).unwrap();
        assert_eq!(failed.verdict, RunVerdict::NotConformant);
    }

    #[test]
    fn the_worse_verdict_of_a_case_in_two_reports_counts_and_is_noted() {
        let (mut one, mut two) = (report(&[("a", Word::Pass)]), report(&[("a", Word::Fail)]));
        one.timelines.push(timeline("a"));
        two.timelines.push(timeline("a"));
        two.timelines[0].title = "of the failure".to_owned();
        for order in [vec![one.clone(), two.clone()], vec![two, one]] {
            let merged = merge(&order).unwrap();
            assert_eq!((merged.cases.len(), merged.cases[0].verdict.word()), (1, Word::Fail));
            assert!(merged.notes.iter().any(|note| note.contains("a is in two reports")), "{:?}", merged.notes);
            let titles: Vec<&str> = merged.timelines.iter().map(|line| line.title.as_str()).collect();
            assert_eq!(titles, ["of the failure"]);
        }
    }

    #[test]
    fn a_skip_does_not_hide_the_verdict_of_another_run() {
        for (found, counts) in [(Word::Warn, Word::Warn), (Word::Fail, Word::Fail), (Word::Pass, Word::Skip)] {
            let merged = merge(&[report(&[("a", found)]), report(&[("a", Word::Skip)])]).unwrap();
            assert_eq!(merged.cases[0].verdict.word(), counts);
        }
    }

    #[test]
    fn values_that_differ_between_reports_are_not_taken_from_one_of_them() {
        let (mut one, mut two) = (report(&[("a", Word::Pass)]), report(&[("b", Word::Pass)]));
        two.seed = 7;
        "containers".clone_into(&mut two.provider);
        "2020-01-01T00:00:00Z".clone_into(&mut two.started_at);
        for (report, value) in [(&mut one, "1"), (&mut two, "2")] {
            report.environment.push(EnvironmentRow {
                name: "REDIS_URL".to_owned(),
                value: value.to_owned(),
                origin: "stack".to_owned(),
                secret: false,
            });
        }
        let merged = merge(&[one, two]).unwrap();
        assert_eq!(merged.provider, "native, containers");
        assert_eq!(merged.started_at, "2020-01-01T00:00:00Z");
        assert_eq!(merged.environment.len(), 1);
        assert_eq!(merged.environment[0].value, "(differs between reports)");
        assert!(merged.notes.iter().any(|note| note.contains("different seeds (1, 7)")), "{:?}", merged.notes);
    }

    #[test]
    fn reports_of_other_suites_or_profiles_cannot_be_merged() {
        let (one, mut two) = (report(&[("a", Word::Pass)]), report(&[("b", Word::Pass)]));
        assert_eq!(merge(&[]), Err(MergeError::Nothing));
        "w".clone_into(&mut two.suite_version);
        assert!(merge(&[one.clone(), two.clone()]).unwrap_err().to_string().contains("has suites w"));
        two.suite_version.clone_from(&one.suite_version);
        "staging".clone_into(&mut two.profile);
        assert!(merge(&[one, two]).unwrap_err().to_string().contains("has profile staging"));
    }
}
