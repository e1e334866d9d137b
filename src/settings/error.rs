//! Problems in settings: each names its place, the invalid value and the remedy.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a file. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as the user named it.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Byte offset and length, for an excerpt.
    pub span: std::ops::Range<usize>,
}

impl Place {
    /// The place of the byte range `span` in `text`, the content of `path`.
    #[must_use]
    pub fn from_span(path: &Path, text: &str, span: std::ops::Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            span,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// A required variable that is not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub meaning: &'static str,
    /// A value that would be accepted.
    pub example: &'static str,
    /// Why it is not set although a profile lists it, or why it is required here.
    pub note: Option<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not set ({}; for example {}={})", self.name, self.meaning, self.name, self.example)?;
        self.note.as_ref().map_or(Ok(()), |note| write!(f, ": {note}"))
    }
}

/// One problem.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A value is not valid for its variable.
    #[error("{name} is {shown} (from {origin}): {problem}")]
    Invalid {
        /// The variable.
        name: String,
        /// The value in quotes, masked when it is a secret.
        shown: String,
        /// Where it came from.
        origin: String,
        /// What is wrong with it.
        problem: String,
        /// The remedy.
        remedy: String,
    },
    /// `NAME` and `NAME_FILE` are both set in the same source.
    #[error("{name} and {name}_FILE are both set ({origin})")]
    Both {
        /// The variable without `_FILE`.
        name: &'static str,
        /// The source that sets both.
        origin: String,
    },
    /// The file that `NAME_FILE` names cannot be read.
    #[error("cannot read {path}, named by {name}_FILE: {problem}", path = path.display())]
    Unreadable {
        /// The variable without `_FILE`.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        problem: String,
    },
    /// A `SHAKEDOWN_*` variable that does not exist.
    #[error("unknown variable {name} (from {origin})")]
    Unknown {
        /// The name that was written.
        name: String,
        /// Where.
        origin: String,
        /// The variable that was probably meant.
        nearest: Option<String>,
    },
    /// Required variables that no source sets.
    #[error("{}", list(.0))]
    Missing(Vec<Missing>),
    /// A problem at a place in `shakedown.toml` or `.env`.
    #[error("{place}: {problem}")]
    At {
        /// The place.
        place: Place,
        /// What is wrong.
        problem: String,
        /// The remedy.
        remedy: Option<String>,
    },
    /// A requested file cannot be read.
    #[error("cannot read {path}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        problem: String,
        /// The remedy.
        remedy: String,
    },
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl Problem {
    /// The remedy, if there is one.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Invalid { remedy, .. } | Self::File { remedy, .. } => Some(remedy.clone()),
            Self::Both { name, .. } => Some(format!("unset {name} or {name}_FILE")),
            Self::Unreadable { name, .. } => {
                Some(format!("create the file and make it readable by the current user, or set {name} instead"))
            }
            Self::Unknown { nearest: Some(nearest), .. } => {
                Some(format!("did you mean {nearest}? `shakedown env` lists every variable"))
            }
            Self::Unknown { nearest: None, .. } => Some("unset it; `shakedown env` lists every variable".to_owned()),
            Self::Missing(missing) => missing.first().map(|first| {
                format!(
                    "set {} in the environment, in `.env` or in the profile, or set {}_FILE to the path of a file that contains it",
                    if missing.len() == 1 { "it" } else { "them" },
                    first.name
                )
            }),
            Self::At { remedy, .. } => remedy.clone(),
        }
    }

    /// The place in a file, if the problem has one.
    #[must_use]
    pub const fn place(&self) -> Option<&Place> {
        match self {
            Self::At { place, .. } => Some(place),
            _ => None,
        }
    }
}

/// All problems of the settings.
#[derive(Debug)]
pub struct SettingsError {
    problems: Vec<Problem>,
}

impl SettingsError {
    /// The problems, in the order in which they were found; never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// `Ok` for an empty list, an error otherwise.
    pub(super) fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }

    /// The problems, to be joined with others.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

impl From<Problem> for SettingsError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
            if let Some(remedy) = problem.remedy() {
                write!(f, "\n  remedy: {remedy}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let text = "a = 1\nπ = \"x\" # é\nb";
        let at = text.find("\"x\"").unwrap();
        let place = Place::from_span(Path::new("shakedown.toml"), text, at..at + 3);
        assert_eq!(place.to_string(), "shakedown.toml:2:5");
        assert_eq!(Place::from_span(Path::new("f"), text, 0..1).to_string(), "f:1:1");
    }

    #[test]
    fn all_problems_are_reported_each_with_its_remedy() {
        let error = SettingsError {
            problems: vec![
                Problem::Both { name: "REDIS_URL", origin: "environment".to_owned() },
                Problem::Unknown {
                    name: "SHAKEDOWN_SEDE".to_owned(),
                    origin: ".env line 3".to_owned(),
                    nearest: Some("SHAKEDOWN_SEED".to_owned()),
                },
            ],
        };
        let text = error.to_string();
        assert!(text.contains("REDIS_URL and REDIS_URL_FILE are both set (environment)"), "{text}");
        assert!(text.contains("did you mean SHAKEDOWN_SEED?"), "{text}");
    }
}
