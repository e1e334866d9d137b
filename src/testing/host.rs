//! The stack that all tests of a process share. It has its own runtime, because each test has a short-lived one.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::runtime::{Handle, Runtime};

use super::TestError;
use crate::outcome::Events;
use crate::runner::{self, StackPoolOptions};
use crate::settings::{find_program, learn_process_environment, process_variable, state_dir};
use crate::stack::{ProviderKind, Stack, StackOptions, clean, exit_cleanup};

/// The variable with the arguments of a child, one per line.
pub(super) const ARGUMENTS: &str = "_SHAKEDOWN_CHILD";

/// The shared stack.
pub(super) struct Host {
    pub(super) stack: Stack,
    /// The program to run as `shakedown`.
    pub(super) shakedown: PathBuf,
    pub(super) spare: StackPoolOptions,
    pub(super) run: String,
    runtime: Runtime,
    next: AtomicU32,
}

impl Host {
    /// The stack of this process. The first call starts it.
    pub(super) async fn get() -> Result<&'static Self, TestError> {
        static HOST: OnceLock<Result<Host, TestError>> = OnceLock::new();
        // The start takes seconds and blocks: it needs a blocking thread.
        let started = tokio::task::spawn_blocking(|| HOST.get_or_init(Self::start)).await;
        let host = started.map_err(|error| TestError::Stack(error.to_string()))?;
        host.as_ref().map_err(Clone::clone)
    }

    fn start() -> Result<Self, TestError> {
        let failed = |error: &dyn std::fmt::Display| TestError::Stack(error.to_string());
        // Two dependencies each bring a cryptographic provider, so one must be chosen. A second call changes nothing.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // The worker inherits them, and may print them.
        learn_process_environment();
        // Remove what an earlier, killed process left. A failure does not concern this one.
        let _ = clean(&state_dir(), false);
        let runtime = runner::runtime().map_err(|error| failed(&error))?;
        let kind = match process_variable("SHAKEDOWN_PROVIDER").as_deref() {
            None | Some("native") => ProviderKind::Native,
            Some("containers") => ProviderKind::Containers,
            Some("auto") => ProviderKind::Auto,
            Some(other) => {
                let expected = "expected native, containers or auto, because a test needs a throwaway stack";
                return Err(TestError::Usage(format!("invalid SHAKEDOWN_PROVIDER `{other}`: {expected}")));
            }
        };
        let run = format!("{:08x}", rand::random::<u32>());
        let shakedown = shakedown()?;
        let mut options = StackOptions::new(&run, &shakedown);
        options.jina.seed = 1;
        let spare = StackPoolOptions { kind, stack: options.clone() };
        at_exit();
        runtime.spawn(exit_on_signal());
        let stack = runtime.block_on(Stack::start(kind, options, &Events::silent())).map_err(|error| failed(&error))?;
        Ok(Self { stack, shakedown, spare, run, runtime, next: AtomicU32::new(1) })
    }

    /// The runtime for work that outlives a single test.
    pub(super) fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// A name that is unique within this process.
    pub(super) fn unique_name(&self) -> String {
        format!("t{}", self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// The program that the harness starts as `shakedown`: `SHAKEDOWN_BIN`, or this test program.
fn shakedown() -> Result<PathBuf, TestError> {
    if let Some(named) = process_variable("SHAKEDOWN_BIN") {
        return find_program(&named, Path::new("."))
            .ok_or_else(|| TestError::Usage(format!("invalid SHAKEDOWN_BIN `{named}`: no such program")));
    }
    let unknown =
        |error: std::io::Error| TestError::Stack(format!("cannot determine the path of this test program: {error}"));
    let own = std::env::current_exe().map_err(unknown)?;
    // Next to the test program, so that it is removed with it.
    let mut script = own.clone().into_os_string();
    script.push(".shakedown");
    let script = PathBuf::from(script);
    let quoted = own.display().to_string().replace('\'', "'\\''");
    let text = format!(
        "#!/bin/sh\n{ARGUMENTS}=$(printf '%s\\n' \"$@\")\nexport {ARGUMENTS}\n\
         exec '{quoted}' --exact shakedown_child --ignored --nocapture --test-threads=1\n"
    );
    let failed = |error: std::io::Error| {
        TestError::Stack(format!(
            "cannot write {}: {error}; make its directory writable, or set SHAKEDOWN_BIN to a program",
            script.display()
        ))
    };
    // Written to a temporary file and renamed: another process may be about to start the old script.
    let directory = script.parent().unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    std::fs::write(file.path(), text).map_err(failed)?;
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
    file.into_temp_path().persist(&script).map_err(|error| failed(error.error))?;
    let output = Command::new(&script).arg("--version").stdin(Stdio::null()).output().map_err(failed)?;
    if String::from_utf8_lossy(&output.stdout).contains(concat!("shakedown ", env!("CARGO_PKG_VERSION"))) {
        return Ok(script);
    }
    Err(TestError::Usage(
        "this test program cannot be started as shakedown: add `shakedown::testing::child!();` at the top of this file \
         in tests/ (or at the top of the crate for unit tests), or set SHAKEDOWN_BIN to a program"
            .to_owned(),
    ))
}

/// Removes the stack when the process exits: a static is never dropped.
#[expect(unsafe_code, reason = "atexit is unsafe to call; the handler takes no argument, and does not unwind")]
fn at_exit() {
    extern "C" fn remove() {
        let _ = std::panic::catch_unwind(exit_cleanup);
    }
    // SAFETY: the handler is a plain function that lives as long as the program.
    let refused = unsafe { nix::libc::atexit(remove) };
    // It fails only if memory is exhausted; the next process then removes what this one leaves.
    debug_assert_eq!(refused, 0);
}

/// Exits on Ctrl-C and SIGTERM, so that the exit handler runs: a process that a signal kills does not run it.
async fn exit_on_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    let code = tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    };
    std::process::exit(code);
}
