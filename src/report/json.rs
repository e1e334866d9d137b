//! The report as JSON, and the JSON Schema that documents it.

use std::io::{self, Write};

use crate::outcome::{REPORT_VERSION, Report, Verdict};

/// Writes `report` as pretty JSON.
pub fn render(report: &Report, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}

/// Why a text cannot be read as a report.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not JSON.
    #[error("it is not JSON: {0}; create a report with --report json=PATH")]
    NotJson(serde_json::Error),
    /// It is JSON, but not a report.
    #[error(
        "it is JSON without a report_version, so it is not a report of shakedown; create one with --report json=PATH"
    )]
    NoReport,
    /// A newer version of shakedown wrote it.
    #[error(
        "it has report version {found}, written by shakedown {writer}, but shakedown {} reads versions 1 to {REPORT_VERSION}; \
         use shakedown {writer} or newer", env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// Its version.
        found: u64,
        /// The version of shakedown that wrote it.
        writer: String,
    },
    /// It does not have the shape of its version.
    #[error("it has report version {found} but another shape: {source}; create it again with --report json=PATH")]
    Shape {
        /// Its version.
        found: u64,
        /// What does not match.
        source: serde_json::Error,
    },
}

/// Reads a report, and restores the reason of each verdict.
///
/// # Errors
/// The text is not a report, is of a newer version, or does not have the shape of its version.
pub fn read(text: &str) -> Result<Report, ReadError> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(ReadError::NotJson)?;
    let found = value.get("report_version").and_then(serde_json::Value::as_u64).ok_or(ReadError::NoReport)?;
    if found > u64::from(REPORT_VERSION) {
        let writer = value.get("shakedown").and_then(serde_json::Value::as_str).unwrap_or("of an unknown version");
        return Err(ReadError::Newer { found, writer: writer.to_owned() });
    }
    // From the text and not from the value, so that errors name line and column.
    let mut report: Report = serde_json::from_str(text).map_err(|source| ReadError::Shape { found, source })?;
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
