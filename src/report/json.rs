//! The report as JSON, and the JSON Schema that documents it.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::masked;
use crate::outcome::{REPORT_VERSION, Report, Verdict};

/// Writes `report` as pretty JSON.
pub fn render(report: &Report, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &masked(report))?;
    writeln!(out)
}

/// Why a text cannot be read as a report.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The text is not JSON.
    #[error("not JSON: {0}; write a report with --report json=PATH")]
    NotJson(serde_json::Error),
    /// The JSON is not a report.
    #[error("JSON without a report_version is not a Shakedown report; write one with --report json=PATH")]
    NoReport,
    /// A newer Shakedown wrote the report.
    #[error(
        "unsupported report version {found}, written by shakedown {writer}: shakedown {} reads versions 1 to \
         {REPORT_VERSION}; use shakedown {writer} or newer", env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The version of the report.
        found: u64,
        /// The version of Shakedown that wrote it.
        writer: String,
    },
    /// The report does not have the fields of its version.
    #[error("unexpected content in a report of version {found}: {source}; write it again with --report json=PATH")]
    Shape {
        /// The version in `report_version`.
        found: u64,
        /// The first unexpected field.
        source: serde_json::Error,
    },
}

/// What tells who wrote a report. The rest is skipped: as a tree, a report takes ten times its length in memory.
#[derive(serde::Deserialize)]
struct Head {
    #[serde(default)]
    report_version: Value,
    #[serde(default)]
    shakedown: Value,
}

/// Reads a report of this version or an earlier one, and puts each case's reason back into its verdict.
///
/// # Errors
/// The text is not a report, the report is of a later version, or it lacks fields of its version.
pub fn read(text: &str) -> Result<Report, ReadError> {
    let head: Head = match serde_json::from_str(text) {
        Err(error) if error.is_data() => return Err(ReadError::NoReport),
        head => head.map_err(ReadError::NotJson)?,
    };
    // An array of two values has the shape of `Head` too.
    let version = head.report_version.as_u64().filter(|_| text.trim_start().starts_with('{'));
    let found = version.ok_or(ReadError::NoReport)?;
    if found > u64::from(REPORT_VERSION) {
        let writer = head.shakedown.as_str().unwrap_or("of an unknown version");
        return Err(ReadError::Newer { found, writer: writer.to_owned() });
    }
    let parsed = if found < u64::from(REPORT_VERSION) {
        serde_json::from_str(text).and_then(|value| serde_json::from_value(upgrade(value)))
    } else {
        // Parsed from the text, so that an error names line and column.
        serde_json::from_str(text)
    };
    let mut report: Report = parsed.map_err(|source| ReadError::Shape { found, source })?;
    for case in &mut report.cases {
        let reason = case.reason.clone().unwrap_or_default();
        let expires = case.waived_until.clone().unwrap_or_default();
        case.set_verdict(match case.verdict {
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

/// Turns a report of an earlier version into one of this version: fields of version 1 get their new names, and the
/// diagnoses of timelines, which version 2 had, become causes of the cases of their timeline.
fn upgrade(mut report: Value) -> Value {
    let mut causes: Vec<Value> = Vec::new();
    for timeline in report.get_mut("timelines").and_then(Value::as_array_mut).into_iter().flatten() {
        rename(timeline, "moments", "events");
        rename(timeline, "pace", "progress");
        let diagnoses = timeline.as_object_mut().and_then(|fields| fields.remove("diagnoses"));
        let cases = timeline["cases"].clone();
        for diagnosis in diagnoses.as_ref().and_then(Value::as_array).into_iter().flatten() {
            add_cause(&mut causes, diagnosis, &cases);
        }
        for (list, old, new) in
            [("documents", "fate", "outcome"), ("events", "lane", "track"), ("left_out", "lane", "track")]
        {
            for item in timeline.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                rename(item, old, new);
            }
        }
    }
    for case in report.get_mut("cases").and_then(Value::as_array_mut).into_iter().flatten() {
        let is_its = |cause: &&Value| cause["cases"].as_array().is_some_and(|cases| cases.contains(&case["id"]));
        let ids: Vec<Value> = causes.iter().filter(is_its).map(|cause| cause["id"].clone()).collect();
        if !ids.is_empty() && case.is_object() {
            case["causes"] = ids.into();
        }
    }
    if !causes.is_empty() {
        report["causes"] = causes.into();
    }
    report["report_version"] = REPORT_VERSION.into();
    report
}

/// Adds a diagnosis as a cause of `cases`, or `cases` to the same cause.
fn add_cause(causes: &mut Vec<Value>, diagnosis: &Value, cases: &Value) {
    let place = causes.iter().position(|cause| cause["sentence"] == diagnosis["means"]).unwrap_or_else(|| {
        causes.push(json!({
            "id": format!("diagnosis-{}", causes.len() + 1), "sentence": diagnosis["means"],
            "evidence": [diagnosis["seen"]], "remedy": diagnosis["remedy"], "source": diagnosis["source"], "cases": [],
        }));
        causes.len() - 1
    });
    let known = causes.get_mut(place).and_then(|cause| cause["cases"].as_array_mut());
    if let Some(known) = known {
        let new: Vec<Value> =
            cases.as_array().into_iter().flatten().filter(|id| !known.contains(id)).cloned().collect();
        known.extend(new);
    }
}

/// Moves the value of key `old` to key `new`.
fn rename(object: &mut Value, old: &str, new: &str) {
    if let Some(fields) = object.as_object_mut()
        && let Some(value) = fields.remove(old)
    {
        fields.insert(new.to_owned(), value);
    }
}

/// The JSON Schema of the report.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Report).to_value();
    schema["title"] = "Shakedown conformance report".into();
    schema["$comment"] = format!("report_version {REPORT_VERSION}").into();
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Track, Word, testing};

    #[test]
    fn a_report_of_version_1_with_a_timeline_is_read_under_the_new_names() {
        let mut old = serde_json::to_value(testing::report(&[("a", Word::Fail)])).unwrap();
        old["report_version"] = json!(1);
        old["timelines"] = json!([{
            "scenario": "s", "title": "t", "cases": ["a"], "length_ms": 9,
            "diagnoses": [{ "seen": "it", "means": "It stopped.", "remedy": "Start it.", "source": "redis.acl" }],
            "documents": [{ "document": "d", "fate": "lost", "why": "no point" }],
            "moments": [{ "at_ms": 1, "lane": "job", "subject": "d", "what": "failed" }],
            "left_out": [{ "lane": "request", "count": 3 }],
            "pace": { "from_ms": 0, "step_ms": 1, "completed": [0], "refused": [1] },
        }]);
        let report = read(&old.to_string()).unwrap();
        assert_eq!(report.report_version, REPORT_VERSION);
        let [timeline] = &report.timelines[..] else { panic!("one timeline: {:?}", report.timelines) };
        assert_eq!(timeline.documents[0].outcome, "lost");
        assert_eq!((timeline.events[0].track, timeline.events[0].at_ms), (Track::Job, 1));
        assert_eq!((timeline.left_out[0].track, timeline.left_out[0].count), (Track::Request, 3));
        assert_eq!(timeline.progress.as_ref().unwrap().refused, [1]);
        assert_eq!(report.cases[0].verdict.reason(), Some("because"));
        assert_eq!(
            (report.causes[0].sentence.as_str(), &report.causes[0].cases[..]),
            ("It stopped.", &["a".to_owned()][..])
        );
        assert_eq!(report.because(&report.cases[0]).as_deref(), Some("because of cause 1"));
    }

    #[test]
    fn a_report_of_the_current_version_with_an_old_field_is_refused() {
        let mut report = serde_json::to_value(testing::report(&[("a", Word::Fail)])).unwrap();
        report["timelines"] = json!([{ "scenario": "s", "title": "t", "cases": ["a"], "length_ms": 9, "moments": [] }]);
        let error = read(&report.to_string()).unwrap_err().to_string();
        assert!(error.contains("unexpected content in a report of version 3: missing field `events`"), "{error}");
    }
}
