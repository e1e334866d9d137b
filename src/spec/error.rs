//! Errors of reading suites: always with a place in a file.

use std::path::PathBuf;

/// A place in a suite file; line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, or `builtin:<name>` for a suite inside the binary.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Place {
    /// The place of byte `offset` in `text`.
    #[must_use]
    pub fn at(file: &std::path::Path, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// Why suites could not be read. Every one of them is exit code 2: nothing was judged.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A file or directory could not be read.
    #[error("suite `{}` cannot be read: {source}; give a readable directory of .toml files to --suites", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A directory without any suite: most likely the wrong one.
    #[error("no .toml file in `{}`; give the directory that holds the suites to --suites", path.display())]
    NoSuites {
        /// The path.
        path: PathBuf,
    },
    /// The text is no TOML, or has a key or value that no suite has.
    #[error("{place}: {message}")]
    Malformed {
        /// Where.
        place: Place,
        /// What, and how to mend it.
        message: String,
    },
}
