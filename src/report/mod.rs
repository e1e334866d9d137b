//! Reports: the JSON is the source of truth, every other format is rendered from it. Uses `outcome`,
//! `guide` and `redaction` alone.

pub mod annotations;
pub mod diff;
pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod merge;
mod normal;
pub mod terminal;

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::Value;

use crate::outcome::{CaseRecord, Report, Word};
use crate::redaction::{printable, redactor, without_escapes};

pub use normal::normalise;

/// A format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text for a terminal: a line for each suite, and the problems.
    Terminal,
    /// Text for a terminal: only what does not pass.
    Short,
    /// JSON; every other format is rendered from it.
    Json,
    /// `JUnit` XML for CI servers.
    Junit,
    /// Markdown for job summaries.
    Markdown,
    /// One HTML file with filters and drawings of the timelines.
    Html,
}

impl Format {
    const ALL: [(&'static str, Self); 6] = [
        ("terminal", Self::Terminal),
        ("short", Self::Short),
        ("json", Self::Json),
        ("junit", Self::Junit),
        ("markdown", Self::Markdown),
        ("html", Self::Html),
    ];
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(Self::ALL.iter().find(|(_, format)| format == self).map_or("", |(name, _)| name))
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, format)| *format).ok_or_else(|| {
            let known = Self::ALL.map(|(name, _)| name).join(", ");
            format!("unknown report format `{text}`: expected one of {known}")
        })
    }
}

/// A report to be written to a file: `FORMAT=PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportTarget {
    /// Its format.
    pub format: Format,
    /// Its file.
    pub path: PathBuf,
}

impl FromStr for ReportTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((format, path)) if !path.is_empty() => Ok(Self { format: format.parse()?, path: PathBuf::from(path) }),
            _ => Err(format!("invalid report `{text}`: expected FORMAT=PATH, e.g. json=report.json")),
        }
    }
}

/// Writes `report` in `format`. Colours and width are for the terminal's formats.
pub fn write(report: &Report, format: Format, colours: bool, width: usize, out: &mut impl Write) -> io::Result<()> {
    let style = |extent| terminal::Style { colours, width, extent, rerun: None };
    match format {
        Format::Terminal => terminal::render(report, style(terminal::Extent::Usual), out),
        Format::Short => terminal::render(report, style(terminal::Extent::Short), out),
        Format::Json => json::render(report, out),
        Format::Junit => junit::render(report, out),
        Format::Markdown => markdown::render(report, out),
        Format::Html => html::render(report, out),
    }
}

/// A report that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the report `{}`: {source}; choose a path in a writable directory with free space", path.display())]
pub struct WriteError {
    /// Its path.
    pub path: PathBuf,
    /// The error of the operating system.
    pub source: io::Error,
}

/// Writes `report` to its file atomically, and creates missing directories. Follows links; writes into a device or a
/// pipe, and never replaces it.
pub fn write_to_path(report: &Report, target: &ReportTarget) -> Result<(), WriteError> {
    let failed = |source| WriteError { path: target.path.clone(), source };
    let path = std::fs::canonicalize(&target.path).unwrap_or_else(|_| target.path.clone());
    if std::fs::metadata(&path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let mut device = std::fs::OpenOptions::new().write(true).open(&path).map_err(failed)?;
        return write(report, target.format, false, 110, &mut device).map_err(failed);
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.map_or_else(|| PathBuf::from("."), std::borrow::ToOwned::to_owned);
    std::fs::create_dir_all(&directory).map_err(failed)?;
    let mut file = tempfile::Builder::new().prefix(".shakedown-report").tempfile_in(&directory).map_err(failed)?;
    write(report, target.format, false, 110, &mut file).and_then(|()| file.flush()).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A temporary file is readable only by its owner, but a report is meant for others.
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
    }
    file.persist(&path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// The cases that neither pass nor are skipped, the worst first.
fn worst_first(report: &Report) -> Vec<&CaseRecord> {
    let rank = |case: &CaseRecord| match case.verdict.word() {
        Word::Fail => 0,
        Word::Unknown => 1,
        Word::Warn => 2,
        Word::Waived => 3,
        Word::Skip | Word::Pass => 4,
    };
    let mut cases: Vec<&CaseRecord> = report.cases.iter().filter(|case| rank(case) < 4).collect();
    cases.sort_by_key(|case| rank(case));
    cases
}

/// The report without secrets and in words for people: every renderer starts with it, whatever was done before.
fn masked(report: &Report) -> Report {
    let mut report = report.clone();
    report.mask(&redactor());
    let text = |text: &mut String| {
        if let Cow::Owned(shown) = in_words(text) {
            *text = shown;
        }
    };
    report.map_texts(&text, &|value| *value = json_texts(value, &in_words));
    report
}

/// A text without escape sequences of terminals, and with words for what JavaScript makes of an object.
fn in_words(text: &str) -> Cow<'_, str> {
    let text = without_escapes(text);
    if text.contains(OBJECT) { Cow::Owned(text.replace(OBJECT, "(an object without a message)")) } else { text }
}

/// What JavaScript makes of an object that is used as a text.
const OBJECT: &str = "[object Object]";

/// The report without secrets and without characters that a terminal obeys or XML cannot hold.
fn plain(report: &Report) -> Report {
    let mut report = masked(report);
    let text = |text: &mut String| {
        if let Cow::Owned(shown) = printable(text) {
            *text = shown;
        }
    };
    report.map_texts(&text, &|value| *value = json_texts(value, &printable));
    report
}

/// A value with its texts and keys replaced.
fn json_texts(value: &Value, shown: &impl Fn(&str) -> Cow<'_, str>) -> Value {
    match value {
        Value::String(text) => shown(text).into(),
        Value::Array(items) => items.iter().map(|item| json_texts(item, shown)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (shown(key).into_owned(), json_texts(value, shown))).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
