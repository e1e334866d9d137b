//! Errors of starting, disturbing and removing a stack.

use std::path::PathBuf;

use super::service::Service;

/// Why a stack could not be started, disturbed or removed. Messages contain the object, the cause and a remedy, and
/// never a secret.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// Programs that the native provider needs are not installed.
    #[error("{}", missing_programs(.0))]
    MissingPrograms(Vec<&'static Package>),
    /// A program given by the user does not exist.
    #[error("invalid path for {program} `{}`: not an executable file; correct the path", path.display())]
    NoSuchProgram {
        /// Which program.
        program: &'static str,
        /// The path as given.
        path: PathBuf,
    },
    /// A port that the user requested is taken.
    #[error(
        "cannot use port {port} on 127.0.0.1 for {service}: {cause}; name another port, or omit it to get a free one"
    )]
    PortInUse {
        /// Whose port.
        service: &'static str,
        /// The port.
        port: u16,
        /// The error of the system: in use, or not permitted.
        cause: std::io::Error,
    },
    /// The system has no free port.
    #[error("cannot listen on 127.0.0.1: {0}")]
    NoPort(std::io::Error),
    /// The directory of the clean-up ledgers is not private.
    #[error("cannot write the clean-up ledger: {0}")]
    StateDirectory(crate::settings::PrivateDirError),
    /// The throwaway directory cannot be created or written.
    #[error("cannot {action} `{}`: {cause}; set --data-dir to a writable directory with enough space", path.display())]
    Directory {
        /// The attempted action: `create`, `write`, …
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The error of the system.
        cause: std::io::Error,
    },
    /// The user that Postgres runs as cannot access the throwaway directory.
    #[error("postgres runs as user {uid}, which cannot reach `{}`; set --data-dir to a directory that this user can traverse", directory.display())]
    OutOfReach {
        /// The user.
        uid: u32,
        /// The directory.
        directory: PathBuf,
    },
    /// The harness runs as root, and no unprivileged user was found for Postgres.
    #[error(
        "postgres refuses to run as root, and neither user `postgres` nor user `nobody` exists; create one, or run as an unprivileged user"
    )]
    NoUnprivilegedUser,
    /// A program cannot be run.
    #[error("cannot run `{}`: {cause}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The error of the system.
        cause: std::io::Error,
    },
    /// A service exited instead of becoming ready.
    #[error("{service} {how} before it was ready{hint}; its log ends with:\n{log}")]
    Died {
        /// Which service.
        service: String,
        /// How it exited: code or signal.
        how: String,
        /// A remedy to append, or nothing.
        hint: &'static str,
        /// The last lines of its log.
        log: String,
    },
    /// A service runs but does not answer in time.
    #[error("{service} did not become ready within {seconds} s: {reason}; its log ends with:\n{log}")]
    NotReady {
        /// Which service.
        service: &'static str,
        /// The timeout in seconds.
        seconds: u64,
        /// Its last answer or error.
        reason: String,
        /// The last lines of its log.
        log: String,
    },
    /// A throwaway stack could not be emptied, or got no fresh database.
    #[error("{service} could not be emptied for the next scenario: {reason}")]
    FreshData {
        /// Which service.
        service: &'static str,
        /// Its error.
        reason: String,
    },
    /// A service of a remote stack does not answer.
    #[error("{service} at {endpoint} does not answer: {reason}")]
    Unreachable {
        /// Which service.
        service: &'static str,
        /// Its address without credentials.
        endpoint: String,
        /// The error.
        reason: String,
    },
    /// A script of the Supabase shape failed.
    #[error("postgres is ready, but `fixtures/supabase/{file}` failed: {reason}")]
    Shape {
        /// Which file.
        file: &'static str,
        /// The error of Postgres.
        reason: String,
    },
    /// No Docker engine answers.
    #[error("no Docker engine answers at {host}: {reason}; {remedy}")]
    NoEngine {
        /// The address that was tried, as in `DOCKER_HOST`.
        host: String,
        /// The error.
        reason: String,
        /// The remedy.
        remedy: String,
    },
    /// The engine refused a request.
    #[error("{service}: the Docker engine could not {action}: {reason}")]
    Engine {
        /// For which service.
        service: &'static str,
        /// The requested action.
        action: &'static str,
        /// The error of the engine.
        reason: String,
    },
    /// An image is missing and cannot be pulled.
    #[error(
        "{service}: image `{image}` is not on this machine and cannot be pulled: {reason}; {remedy}. Set {variable} to use another image, or `--provider native` to use no containers"
    )]
    NoImage {
        /// For which service.
        service: &'static str,
        /// The reference.
        image: String,
        /// The error of the registry or the engine.
        reason: String,
        /// The remedy.
        remedy: &'static str,
        /// The variable that names another image.
        variable: &'static str,
    },
    /// The engine could not publish any of the ports that it was given.
    #[error(
        "{service}: the Docker engine could not publish a port after {attempts} attempts: {reason}; stop what uses the port (`docker ps`), or name a free one"
    )]
    NoPublishedPort {
        /// For which service.
        service: &'static str,
        /// The number of attempts.
        attempts: u32,
        /// The last error of the engine.
        reason: String,
    },
    /// A remote stack was requested without endpoints.
    #[error(
        "provider `remote` needs endpoints: set REDIS_URL, DATABASE_URL, QDRANT_URL and JINA_API_KEY, or use `--provider native`"
    )]
    NoEndpoints,
    /// The provider does not support this action for the service.
    #[error("{service} cannot be {action}: {reason}")]
    Unsupported {
        /// Which service.
        service: Service,
        /// `restarted`, `killed`, `paused`, …
        action: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// The clean-up ledger cannot be written.
    #[error("cannot write the clean-up ledger `{}`: {cause}; nothing starts without it; make its directory writable, or set XDG_STATE_HOME", path.display())]
    Ledger {
        /// The file or directory of the ledger.
        path: PathBuf,
        /// The error of the system.
        cause: std::io::Error,
    },
    /// Names of a case could not be removed from a service.
    #[error("{service}: cannot remove {what}: {reason}")]
    Drop {
        /// Which service.
        service: &'static str,
        /// Which names.
        what: String,
        /// The error of the service.
        reason: String,
    },
}

/// A program that the native provider needs, and the packages that contain it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Program names.
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
        "the native provider needs programs that are not installed: {}. Install them with\n  \
         Debian, Ubuntu: apt-get install {}\n  Fedora: dnf install {}\n  Homebrew: brew install {}",
        list(|package| package.programs, ", "),
        list(|package| package.debian, " "),
        list(|package| package.fedora, " "),
        list(|package| package.homebrew, " "),
    )
}

impl StackError {
    /// Whether the user can fix it with a flag, a variable or a file. Otherwise the harness failed.
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
