//! Reports for tests.

use super::{CaseRecord, Cause, Coverage, Gate, Level, REPORT_VERSION, Report, RunVerdict, Totals, Verdict, Word};

/// A report of MUST cases with these verdicts.
pub(crate) fn report(words: &[(&str, Word)]) -> Report {
    let reason = || "because".to_owned();
    let cases = words.iter().map(|(id, word)| {
        let mut case = CaseRecord {
            id: (*id).to_owned(),
            suite: "suite".to_owned(),
            title: "a title".to_owned(),
            level: if *word == Word::Warn { Level::Should } else { Level::Must },
            verdict: Verdict::Pass,
            reason: None,
            waived_until: None,
            evidence: Vec::new(),
            why: "why".to_owned(),
            remedy: "remedy".to_owned(),
            source: "source".to_owned(),
            duration_ms: 1,
            attempts: Vec::new(),
            flaky: false,
            scenario: None,
            causes: Vec::new(),
        };
        case.set_verdict(match word {
            Word::Pass => Verdict::Pass,
            Word::Fail => Verdict::Fail { reason: reason() },
            Word::Warn => Verdict::Warn { reason: reason() },
            Word::Skip => Verdict::Skip { reason: reason() },
            Word::Unknown => Verdict::Unknown { reason: reason() },
            Word::Waived => Verdict::Waived { reason: reason(), expires: "2030-01-01".to_owned() },
        });
        case
    });
    let mut report = Report {
        report_version: REPORT_VERSION,
        shakedown: "0".to_owned(),
        suite_version: "v".to_owned(),
        run: "r".to_owned(),
        seed: 1,
        profile: "development".to_owned(),
        provider: "native".to_owned(),
        provider_reason: "asked for".to_owned(),
        worker: "worker".to_owned(),
        started_at: "2030-01-01T00:00:00Z".to_owned(),
        duration_ms: 1,
        verdict: RunVerdict::Inconclusive,
        coverage: Coverage::default(),
        totals: Totals::default(),
        gate: Gate::default(),
        services: Vec::new(),
        environment: Vec::new(),
        files: Vec::new(),
        notes: Vec::new(),
        causes: Vec::new(),
        worker_profile: None,
        timelines: Vec::new(),
        cases: cases.collect(),
    };
    report.settle(0);
    report
}

/// A cause with this id that explains no case yet.
pub(crate) fn cause(id: &str) -> Cause {
    Cause {
        id: id.to_owned(),
        sentence: format!("The worker is {id}."),
        evidence: vec![format!("it was {id}")],
        remedy: format!("Do not be {id}."),
        libraries: Vec::new(),
        source: "redis.acl".to_owned(),
        cases: Vec::new(),
    }
}
