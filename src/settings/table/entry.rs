//! The description of one environment variable.

use serde::Serialize;

/// Heading of the services.
pub(super) const SERVICES: &str = "Services";
/// Heading of the names.
pub(super) const NAMES: &str = "Queue, table and collection names";
/// Heading of the reference worker.
pub(super) const REFERENCE: &str = "Reference worker";
/// Heading of Shakedown's own variables.
pub(super) const HARNESS: &str = "Shakedown";
/// Heading of the OpenTelemetry variables.
pub(super) const TELEMETRY: &str = "Traces (OpenTelemetry)";

/// A verb that reads a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// `shakedown check`: checks an environment without a worker.
    Check,
    /// `shakedown run`: tests a worker.
    Run,
    /// `shakedown up`: runs a throwaway stack until it is stopped.
    Up,
    /// `shakedown worker`: the reference worker.
    Worker,
    /// `shakedown setup`: prepares queue, table and collection.
    Setup,
    /// `shakedown ingest`: enqueues files.
    Ingest,
}

impl Need {
    /// The verb as it is typed.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Run => "run",
            Self::Up => "up",
            Self::Worker => "worker",
            Self::Setup => "setup",
            Self::Ingest => "ingest",
        }
    }
}

/// The syntax of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An absolute URL with one of these schemes and a host.
    Url(&'static [&'static str]),
    /// A whole number within these bounds, both included.
    Integer {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// A duration as a whole number of milliseconds within these bounds, both included.
    Milliseconds {
        /// Shortest duration.
        min: u64,
        /// Longest duration.
        max: u64,
    },
    /// Any text on one line.
    Text,
    /// Text without whitespace and without these characters.
    Name {
        /// Characters that the service rejects.
        without: &'static str,
    },
    /// A Postgres table as `schema.table`, of letters, digits and underscores.
    Table,
    /// `key=value,key=value`, percent-encoded.
    Pairs,
    /// HTTP headers as `header=value,header=value`, percent-encoded.
    Headers,
    /// A path, relative to the working directory, or to the directory of `shakedown.toml` if it is set there.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// On (`1`, `true`, `yes`, `on`) or off (`0`, `false`, `no`, `off`).
    Switch,
}

impl Kind {
    /// The kind in words, for messages and tables.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Url(schemes) => format!("URL ({})", schemes.join(", ")),
            Self::Integer { min, max: u64::MAX } => format!("integer, at least {min}"),
            Self::Integer { min, max } => format!("integer, {min} to {max}"),
            Self::Milliseconds { min, max } => format!("milliseconds, {min} to {max}"),
            Self::Text => "text".to_owned(),
            Self::Name { without: "" } => "text without whitespace".to_owned(),
            Self::Name { without } => format!("text without whitespace or `{without}`"),
            Self::Table => "`schema.table`".to_owned(),
            Self::Pairs => "`key=value,…`, percent-encoded".to_owned(),
            Self::Headers => "`header=value,…`, percent-encoded".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Choice(words) => words.join(", "),
            Self::Switch => "`1` or `0`".to_owned(),
        }
    }
}

/// How much of a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Secrecy {
    /// All of it.
    No,
    /// A URL whose password is a secret: shown with the password masked.
    Password,
    /// None of it; for a long secret, the last four characters.
    Yes,
}

/// One environment variable.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name; `NAME_FILE` is always accepted too.
    pub name: &'static str,
    /// What it is for, in one line.
    pub meaning: &'static str,
    /// The value if no source sets it.
    pub default: Option<&'static str>,
    /// What happens if no source sets it and there is no default.
    pub otherwise: Option<&'static str>,
    /// Whether it is a secret.
    pub secrecy: Secrecy,
    /// A valid value; never a real secret.
    pub example: &'static str,
    /// The verbs that read it.
    pub needs: &'static [Need],
    /// The syntax of its value.
    pub kind: Kind,
    /// The heading in the table.
    pub group: &'static str,
    /// Whether lists omit it, because it exists only for tests.
    pub hidden: bool,
    /// Whether it decides which programs or suites run: then a file of the working directory may set it only if the
    /// directory is trusted.
    pub needs_trust: bool,
}

impl Entry {
    pub(super) const fn new(name: &'static str, kind: Kind, needs: &'static [Need], meaning: &'static str) -> Self {
        Self {
            name,
            meaning,
            default: None,
            otherwise: None,
            secrecy: Secrecy::No,
            example: "",
            needs,
            kind,
            group: "",
            hidden: false,
            needs_trust: false,
        }
    }

    pub(super) const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self.example = value;
        self
    }

    pub(super) const fn otherwise(mut self, text: &'static str) -> Self {
        self.otherwise = Some(text);
        self
    }

    pub(super) const fn example(mut self, value: &'static str) -> Self {
        self.example = value;
        self
    }

    pub(super) const fn secret(mut self, secrecy: Secrecy) -> Self {
        self.secrecy = secrecy;
        self
    }

    pub(super) const fn group(mut self, heading: &'static str) -> Self {
        self.group = heading;
        self
    }

    pub(super) const fn needs_trust(mut self) -> Self {
        self.needs_trust = true;
        self
    }

    #[cfg(feature = "defects")]
    pub(super) const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Whether a worker under test inherits the value from the shell that started the harness.
    #[must_use]
    pub fn passes_on(&self) -> bool {
        // A worker has its own service name and gets its own parent span.
        let is_own = ["OTEL_SERVICE_NAME", "TRACEPARENT"].contains(&self.name);
        self.group == REFERENCE || self.name == "NO_COLOR" || (self.is_telemetry() && !is_own)
    }

    /// Whether it is one of the OpenTelemetry variables.
    pub(in crate::settings) fn is_telemetry(&self) -> bool {
        self.group == TELEMETRY
    }

    /// Whether the value, or a part of it, must be masked.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        !matches!(self.secrecy, Secrecy::No)
    }
}
