//! A report without what differs between machines and runs.

use serde_json::{Value, json};

use crate::outcome::Report;

/// What must be equal on every machine: verdicts, levels, and the expected values.
#[must_use]
pub fn normalise(report: &Report) -> Value {
    let mut cases: Vec<_> = report.cases.iter().collect();
    cases.sort_by(|left, right| left.id.cmp(&right.id));
    let cases: Vec<Value> = cases
        .into_iter()
        .map(|case| {
            let wanted: Vec<&str> = case.evidence.iter().filter_map(|evidence| evidence.wanted.as_deref()).collect();
            let wanted = if wanted.is_empty() { String::new() } else { format!(" · wanted {}", wanted.join(", ")) };
            Value::from(format!("{} · {} · {}{wanted}", case.id, case.level, case.verdict.word()))
        })
        .collect();
    json!({
        "report_version": report.report_version,
        "verdict": report.verdict,
        "coverage": report.coverage,
        "totals": report.totals,
        "services": report.services.iter().map(|service| &service.name).collect::<Vec<_>>(),
        "environment": report.environment.iter().map(|row| &row.name).collect::<Vec<_>>(),
        "cases": cases,
    })
}
