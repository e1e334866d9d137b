//! `[worker]`: the process under test.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;

use crate::settings::template::Template;

/// Default of `shutdown_grace`: how long a worker may take to exit after SIGTERM. It is that of `docker stop`.
pub(in crate::settings) const GRACE: Duration = Duration::from_secs(10);
/// What a worker may need beyond the time that it gives its jobs, until its process has ended.
const GRACE_MARGIN: Duration = Duration::from_secs(2);
/// Default of `ready_within`: how long a worker may take until it takes jobs.
pub(in crate::settings) const READY_WITHIN: Duration = Duration::from_secs(30);
/// Default of `within` in `[worker.build]`.
pub(in crate::settings) const BUILD_WITHIN: Duration = Duration::from_mins(10);
/// Default of `within` in `[worker.prepare]`.
pub(in crate::settings) const PREPARE_WITHIN: Duration = Duration::from_mins(1);

/// Default of `exit_codes`: 143 is 128 and the number of SIGTERM, the code of a process that ends itself by the signal
/// after it has closed everything, as `NestJS` does.
const EXIT_CODES: [i32; 2] = [0, 143];

/// `[worker]`: the process under test.
#[derive(Debug, Clone)]
pub struct WorkerContract {
    /// The command or image to start.
    pub program: Program,
    /// Working directory, already joined to the directory of `shakedown.toml`.
    pub cwd: PathBuf,
    /// Environment variables, with placeholders for endpoints, in addition to those that every worker gets.
    pub env: BTreeMap<String, Template>,
    /// How it signals that it takes jobs.
    pub ready: Ready,
    /// How long it may take until it is ready.
    pub ready_within: Duration,
    /// How long it may take to exit after SIGTERM.
    pub shutdown_grace: Grace,
    /// What it does when no jobs wait.
    pub idle: Idle,
    /// Exit codes after SIGTERM that are a clean end, if no work is open; 128 and its number for a signal.
    pub exit_codes: Vec<i32>,
    /// Factor by which every timeout of a scenario is multiplied.
    pub timeout_factor: f64,
    /// Number of worker processes in a scenario that does not set one.
    pub replicas: usize,
    /// What the worker creates itself, so that `shakedown setup` does not.
    pub creates: Vec<Creates>,
    /// Run once, before the first scenario.
    pub build: Option<Hook>,
    /// Run before each scenario, with the worker's environment.
    pub prepare: Option<Hook>,
    /// Processes that the worker needs beside it.
    pub sidecars: Vec<Sidecar>,
}

/// What a worker does when no jobs wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// It waits for jobs until it gets SIGTERM.
    #[default]
    Waits,
    /// It exits with code 0, and its platform starts it again when jobs wait.
    Exits,
}

/// How long a worker may take to exit after SIGTERM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grace {
    /// Always this long.
    Fixed(Duration),
    /// As long as this variable says, in milliseconds, and two seconds more.
    Variable(String),
}

impl Grace {
    /// The grace period of a worker that a scenario gives these variables.
    #[must_use]
    pub fn with_variables(&self, variables: &BTreeMap<String, String>) -> Duration {
        match self {
            Self::Fixed(grace) => *grace,
            Self::Variable(name) => {
                let given = variables.get(name).and_then(|value| value.parse().ok()).map(Duration::from_millis);
                given.map_or(GRACE, |given| given + GRACE_MARGIN)
            }
        }
    }
}

impl std::fmt::Display for Grace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(grace) => write!(f, "{} s", grace.as_secs_f64()),
            Self::Variable(name) => write!(f, "the time in {name}"),
        }
    }
}

/// The command or image of the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Program and arguments; never empty.
    Command(Vec<String>),
    /// A container image, with the arguments of its entry point.
    Image {
        /// Name and tag, or digest.
        image: String,
        /// Arguments; if empty, those of the image.
        command: Vec<String>,
    },
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(command) => f.write_str(&command.join(" ")),
            Self::Image { image, command } => {
                write!(f, "image {image}")?;
                command.iter().try_for_each(|word| write!(f, " {word}"))
            }
        }
    }
}

/// A command that is run to completion before the worker: a build or a preparation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Program and arguments; never empty.
    pub command: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// How long it may take.
    pub within: Duration,
}

/// What a worker may create itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Creates {
    /// The table of documents; its schema exists already.
    Table,
    /// The collection of chunks.
    Collection,
}

impl Creates {
    /// The word in `shakedown.toml` and on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Collection => "collection",
        }
    }
}

/// How a worker signals that it takes jobs.
#[derive(Debug, Clone)]
pub enum Ready {
    /// A worker is registered on the queue.
    Queue,
    /// A line of its output matches.
    Log(Regex),
    /// This URL answers with a status below 400.
    Http(Template),
}

/// `[[worker.sidecar]]`: a process that the worker needs, such as a gateway. It has the worker's environment, is started
/// before the worker, and ends after it.
#[derive(Debug, Clone)]
pub struct Sidecar {
    /// Program and arguments; never empty.
    pub command: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// How it signals that it is ready; `None` if it is ready at once. Never [`Ready::Queue`].
    pub ready: Option<Ready>,
}

impl WorkerContract {
    /// Whether its environment has the address or a key of Supabase's API.
    #[must_use]
    pub fn names_supabase(&self) -> bool {
        let places = ["supabase.url", "supabase.anon_key", "supabase.service_key"];
        self.env.values().any(|template| places.iter().any(|place| template.mentions(place)))
    }

    /// A worker with this program and default settings.
    #[must_use]
    pub fn new(program: Program, cwd: PathBuf) -> Self {
        Self {
            program,
            cwd,
            env: BTreeMap::new(),
            ready: Ready::Queue,
            ready_within: READY_WITHIN,
            shutdown_grace: Grace::Fixed(GRACE),
            idle: Idle::default(),
            exit_codes: EXIT_CODES.to_vec(),
            timeout_factor: 1.0,
            replicas: 1,
            creates: Vec::new(),
            build: None,
            prepare: None,
            sidecars: Vec::new(),
        }
    }
}
