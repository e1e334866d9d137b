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
