//! What can go wrong while a stack is started, disturbed or removed.

use std::path::PathBuf;

use super::Service;

/// Why a stack could not be had. Messages name the thing, what was seen and the remedy; never a secret.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// Programs that the native provider needs are not installed.
    #[error("{}", missing_programs(.0))]
    MissingPrograms(Vec<&'static Package>),
    /// A program given by the user is not there.
    #[error("{program} was given as `{}`, which is not an executable file: correct the path", path.display())]
    NoSuchProgram {
        /// Which program.
        program: &'static str,
        /// The path as given.
        path: PathBuf,
    },
    /// A port that the user asked for is taken.
    #[error(
        "cannot use port {port} on 127.0.0.1 for {service}: {cause}; choose another, or leave it out to get a free one"
    )]
    PortInUse {
        /// Whose port.
        service: &'static str,
        /// The port.
        port: u16,
        /// What the system said: in use, or not permitted.
        cause: std::io::Error,
    },
    /// The system has no port to give.
    #[error("cannot listen on 127.0.0.1: {0}")]
    NoPort(std::io::Error),
    /// The throwaway directory could not be made or written.
    #[error("cannot {action} `{}`: {cause}; choose a directory that is writable and has room with --data-dir", path.display())]
    Directory {
        /// What was tried: `create`, `write`, …
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The user that Postgres runs as cannot get at the throwaway directory.
    #[error("user {uid}, as which postgres runs, cannot reach `{}`: choose a directory that it may pass through with --data-dir", directory.display())]
    OutOfReach {
        /// The user.
        uid: u32,
        /// The directory.
        directory: PathBuf,
    },
    /// Run as root, and no unprivileged user was found for Postgres.
    #[error(
        "postgres refuses to run as root and neither user `postgres` nor `nobody` exists: create one, or run as an ordinary user"
    )]
    NoUnprivilegedUser,
    /// A program could not be run at all.
    #[error("cannot run `{}`: {cause}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A service ended instead of becoming ready.
    #[error("{service} {how} before it was ready{hint}; its log ends with:\n{log}")]
    Died {
        /// Which service.
        service: String,
        /// Exit code or signal, in words.
        how: String,
        /// A remedy to append, or nothing.
        hint: &'static str,
        /// The last lines of its log.
        log: String,
    },
    /// A service runs but did not answer in time.
    #[error("{service} did not become ready within {seconds} s: {reason}; its log ends with:\n{log}")]
    NotReady {
        /// Which service.
        service: &'static str,
        /// How long it was given.
        seconds: u64,
        /// What its last answer was.
        reason: String,
        /// The last lines of its log.
        log: String,
    },
    /// A service of a remote stack did not answer.
    #[error("{service} at {endpoint} does not answer: {reason}")]
    Unreachable {
        /// Which service.
        service: &'static str,
        /// Where, without credentials.
        endpoint: String,
        /// What was seen.
        reason: String,
    },
    /// Supabase's shape could not be given to Postgres.
    #[error("postgres is ready, but `fixtures/supabase/{file}` failed: {reason}")]
    Shape {
        /// Which file.
        file: &'static str,
        /// What Postgres said.
        reason: String,
    },
    /// No Docker engine answers.
    #[error("no Docker engine answers at {host}: {reason}; {remedy}")]
    NoEngine {
        /// Where it was looked for, as in `DOCKER_HOST`.
        host: String,
        /// What was seen instead.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// The engine refused something.
    #[error("{service}: the Docker engine could not {what}: {reason}")]
    Engine {
        /// For which service.
        service: &'static str,
        /// What it was asked to do.
        what: &'static str,
        /// What it said.
        reason: String,
    },
    /// An image is not there and cannot be pulled.
    #[error(
        "{service}: image `{image}` is not here and cannot be pulled: {reason}; {remedy}. Another image: {variable}; without containers: `--provider native`"
    )]
    NoImage {
        /// For which service.
        service: &'static str,
        /// The reference.
        image: String,
        /// What the registry or the engine said.
        reason: String,
        /// What to do about it.
        remedy: &'static str,
        /// The variable that names another image.
        variable: &'static str,
    },
    /// The engine could not publish any of the ports that it was given.
    #[error(
        "{service}: the Docker engine could not publish a port, tried {attempts} times: {reason}; end what holds the ports (`docker ps`), or name a free one"
    )]
    NoPublishedPort {
        /// For which service.
        service: &'static str,
        /// How many ports were tried.
        attempts: u32,
        /// What it said last.
        reason: String,
    },
    /// A remote stack was asked for without endpoints.
    #[error(
        "the `remote` provider needs endpoints: set REDIS_URL, DATABASE_URL, QDRANT_URL and JINA_API_KEY, or use `--provider native`"
    )]
    NoEndpoints,
    /// This provider or service cannot be disturbed in that way.
    #[error("{service} cannot be {action}: {reason}")]
    Unsupported {
        /// Which service.
        service: Service,
        /// `restarted`, `killed`, `paused`, …
        action: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// The clean-up ledger could not be kept; nothing is started without it.
    #[error("cannot keep the clean-up ledger `{}`: {cause}; nothing is started without it: make its directory writable or set XDG_STATE_HOME", path.display())]
    Ledger {
        /// The ledger's file or directory.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Names of a case could not be removed from a service.
    #[error("{service}: cannot remove {what}: {reason}")]
    Drop {
        /// Which service.
        service: &'static str,
        /// Which names.
        what: String,
        /// What the service said.
        reason: String,
    },
}

/// A program that the native provider needs, and the packages that bring it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Program names, any of which will do.
    pub programs: &'static str,
    /// Debian and Ubuntu package.
    pub debian: &'static str,
    /// Fedora package.
    pub fedora: &'static str,
    /// Homebrew formula.
    pub homebrew: &'static str,
}

fn missing_programs(missing: &[&Package]) -> String {
    let list = |of: fn(&Package) -> &'static str, with: &str| {
        missing.iter().map(|package| of(package)).collect::<Vec<_>>().join(with)
    };
    format!(
        "the native stack needs programs that are not installed: {}. Install them with\n  \
         Debian, Ubuntu: apt-get install {}\n  Fedora: dnf install {}\n  Homebrew: brew install {}",
        list(|package| package.programs, ", "),
        list(|package| package.debian, " "),
        list(|package| package.fedora, " "),
        list(|package| package.homebrew, " "),
    )
}

impl StackError {
    /// Whether a person can mend it by changing a flag, a variable or a file; else the harness could not do its work.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::NoSuchProgram { .. }
                | Self::PortInUse { .. }
                | Self::Directory { .. }
                | Self::NoEndpoints
                | Self::Ledger { .. }
        )
    }
}
