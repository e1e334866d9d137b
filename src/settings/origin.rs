//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from, highest precedence first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag on the command line.
    Flag,
    /// The environment.
    Environment {
        /// The file that `NAME_FILE` names.
        file: Option<PathBuf>,
    },
    /// The `.env` file.
    Dotenv {
        /// Its line, from 1.
        line: usize,
        /// The file that `NAME_FILE` names.
        file: Option<PathBuf>,
    },
    /// The chosen profile of `shakedown.toml`.
    Profile {
        /// The profile.
        name: &'static str,
        /// The file or the variable that the profile refers to.
        through: Option<String>,
    },
    /// The table's default.
    Default,
    /// Derived from another variable.
    Derived {
        /// That variable.
        from: &'static str,
    },
}

impl Origin {
    /// Whether the value was read from another file or variable that a setting names: it may be anything, so it is never
    /// shown.
    #[must_use]
    pub const fn is_indirect(&self) -> bool {
        matches!(
            self,
            Self::Environment { file: Some(_) }
                | Self::Dotenv { file: Some(_), .. }
                | Self::Profile { through: Some(_), .. }
        )
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment { file: None } => f.write_str("environment"),
            Self::Environment { file: Some(file) } => write!(f, "environment, file {}", file.display()),
            Self::Dotenv { line, file: None } => write!(f, ".env line {line}"),
            Self::Dotenv { line, file: Some(file) } => write!(f, ".env line {line}, file {}", file.display()),
            Self::Profile { name, through: None } => write!(f, "profile {name}"),
            Self::Profile { name, through: Some(through) } => write!(f, "profile {name}, {through}"),
            Self::Default => f.write_str("default"),
            Self::Derived { from } => write!(f, "default, from {from}"),
        }
    }
}
