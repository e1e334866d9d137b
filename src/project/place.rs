//! Where something is written.

use std::fmt;

/// A line of a file of the project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The path of the file in the project, with slashes.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
}

impl Place {
    pub(super) fn new(path: &std::path::Path, line: usize) -> Self {
        Self { path: path.to_string_lossy().replace('\\', "/"), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
    }
}
