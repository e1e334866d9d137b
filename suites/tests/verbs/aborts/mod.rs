//! Runs that are aborted at a random moment, in every way: after `shakedown clean` nothing is left of them.
//!
//! `ABORTS=100 cargo test --features defects --test verbs -- aborts::` aborts a hundred runs. With `ABORTS_SEED`
//! they are others; with `ABORTS_FIRST` the test begins at that one. It prints both.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "the seed of each run repeats it")]

mod traces;

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use secrecy::ExposeSecret as _;
use shakedown::settings::Endpoints;
use shakedown::stack::ProcessId;

use crate::check::contents;
use crate::support::cli_sandbox::{CliSandbox, SHAKEDOWN};
use crate::support::groups::Group;
use crate::support::harness::{TestStack, on_one_stack};
use traces::Traces;

/// How many runs are aborted by default.
const ABORTS: u64 = 6;
/// The seed without the variable.
const SEED: u64 = 17;
/// How long a run may go on after it was aborted; after the loss of a service, its cases run into their deadlines.
const END: Duration = Duration::from_secs(240);

/// What is aborted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verb {
    Run,
    Up,
    Check,
}

/// How it is aborted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Abort {
    Signal(Signal),
    /// A process with this word in its command gets SIGKILL.
    Kill(&'static str),
    FullDisk,
    FewDescriptors,
}

const WAYS: &[(Verb, Abort)] = &[
    (Verb::Run, Abort::Signal(Signal::SIGKILL)),
    (Verb::Check, Abort::Signal(Signal::SIGKILL)),
    (Verb::Run, Abort::Kill("worker")),
    (Verb::Run, Abort::FullDisk),
    (Verb::Run, Abort::FewDescriptors),
    (Verb::Up, Abort::Signal(Signal::SIGKILL)),
    (Verb::Run, Abort::Signal(Signal::SIGINT)),
    (Verb::Check, Abort::Signal(Signal::SIGTERM)),
    (Verb::Up, Abort::FullDisk),
    (Verb::Run, Abort::Kill("redis-server")),
    (Verb::Up, Abort::Kill("postgres")),
    (Verb::Check, Abort::Signal(Signal::SIGINT)),
    (Verb::Run, Abort::Signal(Signal::SIGTERM)),
    (Verb::Check, Abort::FewDescriptors),
    (Verb::Up, Abort::FewDescriptors),
    (Verb::Run, Abort::Kill("qdrant")),
    (Verb::Up, Abort::Signal(Signal::SIGTERM)),
];

/// Runs that are aborted.
pub fn group() -> Group {
    on_one_stack("aborts", &[("nothing_is_left_of_aborted_runs_after_clean", nothing_is_left)], Vec::new())
}

#[expect(clippy::disallowed_methods, reason = "the numbers are arguments of the test")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn nothing_is_left(stack: &TestStack) {
    // The same aborts each time: a hundred random ones are for a machine of their own.
    let seed = number("ABORTS_SEED").unwrap_or(SEED);
    let first = number("ABORTS_FIRST").unwrap_or(0);
    let endpoints = stack.prepared("aborts");
    let before = contents(&endpoints);
    let mut failures = Vec::new();
    for nth in first..first + number("ABORTS").unwrap_or(ABORTS) {
        let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(nth));
        let (verb, abort) = WAYS[usize::try_from((seed + nth) % WAYS.len() as u64).unwrap()];
        let mut aborted = Aborted::start(verb, abort, &endpoints, &mut random);
        let how = aborted.abort(&mut random);
        let mut wrong = aborted.finish();
        let after = contents(&endpoints);
        let not_removed = after.iter().filter(|name| !before.contains(name));
        wrong.extend(not_removed.map(|name| format!("data in a service: {name}")));
        let line = format!("ABORTS_SEED={seed} ABORTS_FIRST={nth}: {verb:?}, {abort:?}, {how}");
        println!("{line}: {}", if wrong.is_empty() { "nothing left" } else { "SOMETHING LEFT" });
        if !wrong.is_empty() {
            failures.push(format!("{line}\n  {}\n{}", wrong.join("\n  "), aborted.output()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A run that is aborted.
struct Aborted {
    verb: Verb,
    abort: Abort,
    sandbox: CliSandbox,
    child: Child,
    /// The services that `check` writes to.
    endpoints: Option<Endpoints>,
    traces: Traces,
    _disk: Option<SmallDisk>,
}

impl Aborted {
    fn start(verb: Verb, abort: Abort, endpoints: &Endpoints, random: &mut StdRng) -> Self {
        let sandbox = CliSandbox::new();
        fs::create_dir(sandbox.path("tmp")).unwrap();
        let small = (abort == Abort::FullDisk).then(|| random.random_range(1..=90));
        let disk = small.and_then(|mebibytes| SmallDisk::mount(&sandbox.path("data"), mebibytes));
        let limit = match abort {
            // Without the right to mount, no file may be larger than this.
            Abort::FullDisk if disk.is_none() => format!("ulimit -f {};", small.unwrap_or(1) * 100),
            Abort::FewDescriptors => "ulimit -n 64;".to_owned(),
            _ => String::new(),
        };
        let arguments: &[&str] = match verb {
            Verb::Run => {
                &["run", "--provider", "native", "--case", "{crash.killed,ingestion.delivered,load.delivered}"]
            }
            Verb::Up => &["up", "--provider", "native"],
            Verb::Check => &["check", "--canary", "--suite", "{redis,bullmq,postgres,qdrant,ingestion}"],
        };
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{limit} exec \"$@\""), "sh", SHAKEDOWN]).args(arguments);
        let endpoints = (verb == Verb::Check).then(|| endpoints.clone());
        set_environment(&mut command, &sandbox, endpoints.as_ref());
        let output = File::create(sandbox.path("work").join("output")).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn().unwrap();
        Self { verb, abort, sandbox, child, endpoints, traces: Traces::default(), _disk: disk }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits for a random time and aborts it; says how and when.
    fn abort(&mut self, random: &mut StdRng) -> String {
        let longest = match self.verb {
            Verb::Run => 12_000,
            Verb::Up => 4_000,
            Verb::Check => 3_000,
        };
        let moment = Duration::from_millis(random.random_range(0..longest));
        let begun = Instant::now();
        while begun.elapsed() < moment && self.child.try_wait().unwrap().is_none() {
            self.traces.collect(self.pid(), &self.sandbox);
            std::thread::sleep(Duration::from_millis(20));
        }
        self.traces.collect(self.pid(), &self.sandbox);
        match self.abort {
            Abort::Signal(signal) => {
                // It may have ended already.
                let _ = kill(Pid::from_raw(self.pid()), signal);
            }
            Abort::Kill(word) => self.kill_descendant(word, random),
            Abort::FullDisk | Abort::FewDescriptors => {}
        }
        format!("after {:.2} s", begun.elapsed().as_secs_f64())
    }

    /// Sends SIGKILL to a descendant with `word` in its command, as soon as there is one.
    fn kill_descendant(&mut self, word: &str, random: &mut StdRng) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            let harness = ProcessId::from_pid(self.pid());
            let all = harness.map(|harness| harness.descendants()).unwrap_or_default();
            let is_wanted = |process: &ProcessId| {
                let command = traces::command(process.pid);
                command.contains(word) && !traces::is_of_initdb(&command)
            };
            let found: Vec<_> = all.into_iter().filter(is_wanted).collect();
            if let Some(process) = found.choose(random) {
                process.signal(Signal::SIGKILL);
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end and cleans up; what is wrong then, one line each.
    fn finish(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.verb == Verb::Up && !matches!(self.abort, Abort::Signal(_)) {
            // A stack without one of its services stays up until it is told to end.
            std::thread::sleep(Duration::from_secs(1));
            let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        }
        match self.wait() {
            None => wrong.push(format!("it did not end within {} s", END.as_secs())),
            Some(status) if is_crash(status, self.abort) => wrong.push(format!("it ended with {status}")),
            Some(_) => {}
        }
        if self.output().contains("panicked at") {
            wrong.push("it panicked".to_owned());
        }
        let mut command = Command::new(SHAKEDOWN);
        command.arg("clean");
        set_environment(&mut command, &self.sandbox, self.endpoints.as_ref());
        let cleaned = command.output().unwrap();
        if !cleaned.status.success() {
            let text = [cleaned.stdout, cleaned.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            wrong.push(format!("clean ended with {}: {}", cleaned.status, text.concat()));
        }
        wrong.extend(self.traces.left(&self.sandbox));
        wrong
    }

    fn wait(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            self.traces.collect(self.pid(), &self.sandbox);
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        None
    }

    fn output(&self) -> String {
        let text = fs::read(self.sandbox.path("work").join("output")).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Whether the end is not one that the program chose itself.
fn is_crash(status: ExitStatus, abort: Abort) -> bool {
    match (status.code(), status.signal()) {
        (Some(code), _) => ![0, 1, 3, 130].contains(&code),
        (None, Some(signal)) => match abort {
            // A signal that comes before the handlers are installed ends the program.
            Abort::Signal(sent) => sent as i32 != signal,
            _ => true,
        },
        (None, None) => true,
    }
}

fn set_environment(command: &mut Command, sandbox: &CliSandbox, endpoints: Option<&Endpoints>) {
    command
        .current_dir(sandbox.path("work"))
        .env("SHAKEDOWN_DATA_DIR", sandbox.path("data"))
        .env("SHAKEDOWN_STATE_DIR", sandbox.path("state"))
        .env("TMPDIR", sandbox.path("tmp"))
        .env("NO_COLOR", "1");
    for variable in endpoints.map(Endpoints::environment).unwrap_or_default() {
        command.env(variable.name, variable.value.expose_secret());
    }
}

/// A small file system in memory, mounted until this is dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// `None` without the right to mount.
    fn mount(directory: &Path, mebibytes: u32) -> Option<Self> {
        let options = format!("size={mebibytes}m,mode=755");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &options, "shakedown-test"]).arg(directory);
        command.output().ok()?.status.success().then(|| Self(directory.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still uses it keeps it until it ends.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
