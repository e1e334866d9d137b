//! The real PostgREST, where it is installed.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use secrecy::SecretString;

use super::keys::SupabaseKeys;
use crate::services::http_client;
use crate::settings::{PostgresEndpoint, search_path};
use crate::stack::error::StackError;
use crate::stack::native::{is_executable, launch_environment};
use crate::stack::ports::ReservedPort;
use crate::stack::process::{Launch, Process};
use crate::stack::{Ledger, random::random_word};

/// How long it may take to read the schema and to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause between two questions whether it is ready.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long one answer may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// An installed PostgREST.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    /// What `--version` prints, such as `PostgREST 12.2.3`; empty if it prints nothing.
    version: String,
}

impl Program {
    /// `postgrest` on `PATH`. It is looked for once.
    #[must_use]
    pub fn installed() -> Option<&'static Self> {
        static FOUND: OnceLock<Option<Program>> = OnceLock::new();
        FOUND.get_or_init(|| Self::find(&search_path())).as_ref()
    }

    /// `postgrest` in one of the directories.
    #[must_use]
    pub fn find(directories: &[PathBuf]) -> Option<Self> {
        let path = directories.iter().map(|directory| directory.join("postgrest")).find(|path| is_executable(path))?;
        let output = std::process::Command::new(&path).arg("--version").output();
        let printed = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        Some(Self { path, version: printed.unwrap_or_default() })
    }

    /// Its version, such as `12.2.3`.
    #[must_use]
    pub fn version(&self) -> &str {
        self.version.rsplit(' ').next().unwrap_or_default()
    }
}

/// A running PostgREST.
#[derive(Debug)]
pub(super) struct Running {
    launch: Launch,
    ledger: Ledger,
    /// Absent only while it is started again.
    process: Option<Process>,
    /// Where it serves its tables, at the root.
    pub(super) url: String,
    /// Where it says whether it is ready.
    admin: String,
}

impl Running {
    /// Starts it over `postgres` with files in `directory`, and waits until it has read the schema.
    pub(super) async fn start(
        program: &Program,
        postgres: &PostgresEndpoint,
        schemas: &[String],
        keys: &SupabaseKeys,
        (directory, ledger): (&Path, &Ledger),
    ) -> Result<Self, StackError> {
        let [port, admin] = {
            let reserved = [ReservedPort::reserve("postgrest", None)?, ReservedPort::reserve("postgrest", None)?];
            reserved.map(ReservedPort::release)
        };
        let plain = |name: &str, value: &str| (name.to_owned(), SecretString::from(value));
        let mut environment = launch_environment();
        // https://docs.postgrest.org/en/v12/references/configuration.html
        environment.extend([
            ("PGRST_DB_URI".to_owned(), postgres.url.clone()),
            ("PGRST_JWT_SECRET".to_owned(), keys.secret().clone()),
            plain("PGRST_DB_SCHEMAS", &schemas.join(",")),
            plain("PGRST_DB_ANON_ROLE", "anon"),
            plain("PGRST_SERVER_HOST", "127.0.0.1"),
            plain("PGRST_SERVER_PORT", &port.to_string()),
            plain("PGRST_ADMIN_SERVER_PORT", &admin.to_string()),
        ]);
        let launch = Launch {
            name: "postgrest".to_owned(),
            program: program.path.clone(),
            arguments: Vec::new(),
            environment,
            directory: directory.to_owned(),
            log: directory.join(format!("postgrest-{}.log", random_word(8))),
            account: None,
            on_harness_death: Signal::SIGKILL,
        };
        let process = Some(Process::start(&launch, ledger)?);
        let url = format!("http://127.0.0.1:{port}");
        let admin = format!("http://127.0.0.1:{admin}/ready");
        let running = Self { launch, ledger: ledger.clone(), process, url, admin };
        running.until_ready().await?;
        Ok(running)
    }

    /// Starts it again, so that it reads the schema that migrations have changed.
    pub(super) async fn restart(&mut self) -> Result<(), StackError> {
        drop(self.process.take());
        self.process = Some(Process::start(&self.launch, &self.ledger)?);
        self.until_ready().await
    }

    async fn until_ready(&self) -> Result<(), StackError> {
        let client = http_client::client(PROBE_TIMEOUT).map_err(|error| self.not_ready(&error.to_string()))?;
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            if let Some(process) = &self.process
                && let Some(status) = process.exit_status()
            {
                return Err(process.died(status));
            }
            let reason = match client.get(&self.admin).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => format!("GET /ready answered {}", answer.status()),
                Err(error) => error.without_url().to_string(),
            };
            if Instant::now() > deadline {
                return Err(self.not_ready(&reason));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn not_ready(&self, reason: &str) -> StackError {
        let log = self.process.as_ref().map(Process::log_tail).unwrap_or_default();
        let reason = reason.to_owned();
        StackError::NotReady { service: "postgrest", seconds: READY_TIMEOUT.as_secs(), reason, log }
    }
}
