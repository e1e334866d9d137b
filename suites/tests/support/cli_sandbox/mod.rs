//! What tests of the command line share: a working directory with everything a run leaves in one place.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use shakedown::stack::working_in;
use tempfile::TempDir;

/// The program under test.
pub const SHAKEDOWN: &str = env!("CARGO_BIN_EXE_shakedown");

/// A working directory of its own, with a place for throwaway data and one for ledgers.
pub struct CliSandbox(TempDir);

impl CliSandbox {
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let sandbox = tempfile::tempdir_in(shakedown::stack::usual_data_dir()).unwrap();
        fs::set_permissions(sandbox.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["data", "state", "work", "suites"] {
            fs::create_dir(sandbox.path().join(directory)).unwrap();
        }
        Self(sandbox)
    }

    /// With this `shakedown.toml` in the working directory.
    #[allow(dead_code, reason = "not every test target needs it")]
    pub fn with_contract(contract: &str) -> Self {
        let sandbox = Self::new();
        fs::write(sandbox.path("work").join("shakedown.toml"), contract).unwrap();
        sandbox
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(SHAKEDOWN);
        command
            .args(arguments)
            .current_dir(self.path("work"))
            .env("SHAKEDOWN_DATA_DIR", self.path("data"))
            .env("SHAKEDOWN_STATE_DIR", self.path("state"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        // Errors are wrapped to the width of the terminal.
        (status.code().unwrap(), text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" "))
    }

    /// Nothing runs from the throwaway directory or prints to it, nothing is in it, and no ledger is left.
    #[allow(dead_code, reason = "not every test target starts something")]
    pub fn assert_clean(&self) {
        let data = self.path("data");
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let ledgers = self.path("state").join("runs");
            let left: Vec<_> = [&data, &ledgers]
                .into_iter()
                .flat_map(|directory| fs::read_dir(directory).into_iter().flatten())
                .map(|entry| entry.unwrap().path())
                .collect();
            let running = working_in(&data);
            if left.is_empty() && running.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left: {left:?}, running: {running:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
