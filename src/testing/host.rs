//! The stack that all tests of a process share, on a runtime of its own: those of tests come and go.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::runtime::{Handle, Runtime};

use super::TestError;
use crate::outcome::Events;
use crate::runner::{self, StackPoolOptions};
use crate::settings::{find_program, process_variable, state_dir};
use crate::stack::{ProviderKind, Stack, StackOptions, clean, exit_cleanup};

/// Where the arguments of a child are, one a line.
pub(super) const ARGUMENTS: &str = "_SHAKEDOWN_CHILD";

/// The shared stack.
pub(super) struct Host {
    pub(super) stack: Stack,
    /// Starts `shakedown`.
    pub(super) shakedown: PathBuf,
    pub(super) spare: StackPoolOptions,
    pub(super) run: String,
    runtime: Runtime,
    next: AtomicU32,
}

impl Host {
    /// The stack of this process, started at the first call.
    pub(super) async fn get() -> Result<&'static Self, TestError> {
        static HOST: OnceLock<Result<Host, TestError>> = OnceLock::new();
        // Starting takes seconds: a thread of its own waits for it, and every other test with it.
        let started = tokio::task::spawn_blocking(|| HOST.get_or_init(Self::start)).await;
        let host = started.map_err(|error| TestError::Stack(error.to_string()))?;
        host.as_ref().map_err(Clone::clone)
    }

    fn start() -> Result<Self, TestError> {
        let failed = |error: &dyn std::fmt::Display| TestError::Stack(error.to_string());
        // Two crates of the tree each bring a cryptographic provider; one has to be named. A second call changes nothing.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // What an earlier process left that was killed. That it cannot be removed need not keep this one.
        let _ = clean(&state_dir(), false);
        let runtime = runner::runtime().map_err(|error| failed(&error))?;
        let kind = match process_variable("SHAKEDOWN_PROVIDER").as_deref() {
            None | Some("native") => ProviderKind::Native,
            Some("containers") => ProviderKind::Containers,
            Some("auto") => ProviderKind::Auto,
            Some(other) => {
                let remedy = "a test needs a throwaway stack: native, containers or auto";
                return Err(TestError::Usage(format!("SHAKEDOWN_PROVIDER is `{other}`; {remedy}")));
            }
        };
        let run = format!("{:08x}", rand::random::<u32>());
        let shakedown = shakedown()?;
        let mut options = StackOptions::new(&run, &shakedown);
        options.jina.seed = 1;
        let spare = StackPoolOptions { kind, stack: options.clone() };
        at_exit();
        runtime.spawn(end_on_signal());
        let stack = runtime.block_on(Stack::start(kind, options, &Events::silent())).map_err(|error| failed(&error))?;
        Ok(Self { stack, shakedown, spare, run, runtime, next: AtomicU32::new(1) })
    }

    /// Where the work of all tests is done that outlives one.
    pub(super) fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// A name that no other test of this process has.
    pub(super) fn name(&self) -> String {
        format!("t{}", self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// The program that the harness starts for what must be a process: the one that is named, else this test program.
fn shakedown() -> Result<PathBuf, TestError> {
    if let Some(named) = process_variable("SHAKEDOWN_BIN") {
        return find_program(&named, Path::new("."))
            .ok_or_else(|| TestError::Usage(format!("SHAKEDOWN_BIN is `{named}`, and there is no such program")));
    }
    let unknown = |error: std::io::Error| TestError::Stack(format!("the path of this test program: {error}"));
    let own = std::env::current_exe().map_err(unknown)?;
    // Beside the test program: it goes with it.
    let mut script = own.clone().into_os_string();
    script.push(".shakedown");
    let script = PathBuf::from(script);
    let quoted = own.display().to_string().replace('\'', "'\\''");
    let text = format!(
        "#!/bin/sh\n{ARGUMENTS}=$(printf '%s\\n' \"$@\")\nexport {ARGUMENTS}\n\
         exec '{quoted}' --exact shakedown_child --ignored --nocapture --test-threads=1\n"
    );
    let wrong = |error: std::io::Error| {
        TestError::Stack(format!("{} cannot be written: {error}; or name a program by SHAKEDOWN_BIN", script.display()))
    };
    // Written beside its place and moved there: another process may be about to start the old one.
    let directory = script.parent().unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(directory).map_err(wrong)?;
    std::fs::write(file.path(), text).map_err(wrong)?;
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o755)).map_err(wrong)?;
    file.into_temp_path().persist(&script).map_err(|error| wrong(error.error))?;
    let output = Command::new(&script).arg("--version").stdin(Stdio::null()).output().map_err(wrong)?;
    if String::from_utf8_lossy(&output.stdout).contains(concat!("shakedown ", env!("CARGO_PKG_VERSION"))) {
        return Ok(script);
    }
    Err(TestError::Usage(
        "this test program cannot be started as shakedown: write `shakedown::testing::child!();` once, at the top of \
         this file of tests/ (or of the crate, for unit tests), or name a program by SHAKEDOWN_BIN"
            .to_owned(),
    ))
}

/// Removes the stack when the process ends: nothing drops what is static.
#[expect(unsafe_code, reason = "atexit is unsafe to call; the handler takes no argument, and does not unwind")]
fn at_exit() {
    extern "C" fn remove() {
        let _ = std::panic::catch_unwind(exit_cleanup);
    }
    // SAFETY: the handler is a plain function that lives as long as the program.
    let refused = unsafe { nix::libc::atexit(remove) };
    // Only for want of memory; the next process then removes what this one leaves.
    debug_assert_eq!(refused, 0);
}

/// Ctrl-C and SIGTERM end a process without what is registered for its end.
async fn end_on_signal() {
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
