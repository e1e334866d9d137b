//! Errors of reading suites. Every error in a text has its place in the file.

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

/// Why suites could not be read. Each is exit code 2: no case ran.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A file or directory could not be read.
    #[error("suite `{}` cannot be read: {source}; --suites expects a readable directory of .toml files", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A directory without a suite, most likely the wrong directory.
    #[error("no .toml file in `{}`; --suites expects the directory that holds the suites", path.display())]
    NoSuites {
        /// The path.
        path: PathBuf,
    },
    /// The text is not valid TOML, or has an unknown key or an invalid value.
    #[error("{place}: {message}")]
    Malformed {
        /// Where it is wrong.
        place: Place,
        /// What is wrong, and how to fix it.
        message: String,
    },
}
