//! The report as JSON, and the JSON Schema that documents it.

use std::io::{self, Write};

use crate::outcome::{REPORT_VERSION, Report, Verdict};

/// Writes `report` as pretty JSON.
pub fn render(report: &Report, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}

/// Reads a report back; each verdict gets the reason that stands beside it again.
///
/// # Errors
/// The text is not a report of this version's shape.
pub fn read(text: &str) -> Result<Report, serde_json::Error> {
    let mut report: Report = serde_json::from_str(text)?;
    for case in &mut report.cases {
        let reason = case.reason.clone().unwrap_or_default();
        let expires = case.waived_until.clone().unwrap_or_default();
        case.judge(match case.verdict {
            Verdict::Pass => Verdict::Pass,
            Verdict::Fail { .. } => Verdict::Fail { reason },
            Verdict::Warn { .. } => Verdict::Warn { reason },
            Verdict::Skip { .. } => Verdict::Skip { reason },
            Verdict::Unknown { .. } => Verdict::Unknown { reason },
            Verdict::Waived { .. } => Verdict::Waived { reason, expires },
        });
    }
    Ok(report)
}

/// The JSON Schema of the report.
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Report).to_value();
    schema["title"] = "Shakedown conformance report".into();
    schema["$comment"] = format!("report_version {REPORT_VERSION}").into();
    schema
}
