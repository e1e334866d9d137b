//! The clean-up ledger: every process and directory is written down before it is made.
//!
//! One file per run, one JSON object per line. The first line names the harness process; the others say
//! what was made and what is gone again. [`Drop`], [`emergency`] (signal handler and panic hook) and
//! `shakedown clean` all replay the same ledger, so that nothing outlives a run, however it ended.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::proc::ProcessId;
use super::sweep;
use super::{StackError, random_word};

/// Something that must be removed when a run ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// A directory and all in it, and every process that works in it.
    Directory {
        /// Its absolute path.
        path: PathBuf,
        /// Whether the user wants it to stay: then only the processes are ended.
        keep: bool,
    },
    /// Every container that carries the ledger's mark.
    Containers {
        /// Where the engine listens, as in `DOCKER_HOST`.
        engine: String,
        /// Whether the user wants them to stay.
        keep: bool,
    },
    /// The container of a worker.
    Container {
        /// Where the engine listens, as in `DOCKER_HOST`.
        engine: String,
        /// Its name, which is also its mark.
        name: String,
    },
    /// A program about to be started: its pid is not known yet, but it carries the ledger's mark.
    Launching {
        /// What it is, such as `redis`.
        name: String,
    },
    /// A process, its process group and its descendants.
    Process {
        /// What it is, such as `redis`.
        name: String,
        /// Its identity.
        process: ProcessId,
        /// Whether it wants a moment to put things in order (Postgres frees its shared memory on SIGQUIT).
        polite: bool,
    },
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory { path, keep: true } => write!(f, "directory {} (kept)", path.display()),
            Self::Directory { path, keep: false } => write!(f, "directory {}", path.display()),
            Self::Containers { engine, keep: true } => write!(f, "containers of the engine at {engine} (kept)"),
            Self::Containers { engine, keep: false } => write!(f, "containers of the engine at {engine}"),
            Self::Container { name, .. } => write!(f, "container {name}"),
            Self::Launching { name } => write!(f, "processes started as {name}"),
            Self::Process { name, process, .. } => write!(f, "process {} ({name})", process.pid),
        }
    }
}

/// One line of a ledger file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// Always first: whose ledger this is.
    Harness { run: String, mark: String, process: ProcessId },
    /// About to be made.
    Made { id: u64, resource: Resource },
    /// Removed, or kept on purpose.
    Gone { id: u64 },
}

/// The handle of one entry, for saying later that it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an entry that is never declared gone is replayed"]
pub struct Entry(u64);

/// The ledger of one run; clones write to the same file.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    mark: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    next: u64,
    live: BTreeMap<u64, Resource>,
}

static OPEN: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

/// Where the ledgers of a state directory are.
pub(super) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("runs")
}

impl Ledger {
    /// Opens a new ledger for `run` under `state_dir`, as `runs/<run>.jsonl`.
    ///
    /// # Errors
    /// The directory or file cannot be made or written.
    pub fn open(state_dir: &Path, run: &str) -> Result<Self, StackError> {
        let directory = directory(state_dir);
        let fail = |path: &Path, cause| StackError::Ledger { path: path.to_owned(), cause };
        fs::create_dir_all(&directory).map_err(|cause| fail(&directory, cause))?;
        let (path, file) = (1_u32..)
            .find_map(|nth| {
                let name = if nth == 1 { run.to_owned() } else { format!("{run}.{nth}") };
                let path = directory.join(format!("{name}.jsonl"));
                match OpenOptions::new().append(true).create_new(true).open(&path) {
                    Ok(file) => Some(Ok((path, file))),
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
                    Err(error) => Some(Err(fail(&path, error))),
                }
            })
            .unwrap_or_else(|| Err(fail(&directory, ErrorKind::AlreadyExists.into())))?;
        // Another state directory may know a run of the same name: the mark is this ledger's alone.
        let mark = format!("{run}-{}", random_word(12));
        let mut state = State { file, next: 1, live: BTreeMap::new() };
        let first = Line::Harness { run: run.to_owned(), mark: mark.clone(), process: ProcessId::own() };
        state.write(&first).map_err(|cause| fail(&path, cause))?;
        let inner = Arc::new(Inner { path, mark, state: Mutex::new(state) });
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|ledger| ledger.strong_count() > 0);
        open.push(Arc::downgrade(&inner));
        Ok(Self(inner))
    }

    /// The value of [`super::proc::MARK`] for everything started under this ledger.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.0.mark
    }

    /// Writes down `resource`; call it before the resource is made.
    ///
    /// # Errors
    /// The file cannot be written: then the resource must not be made.
    pub fn add(&self, resource: Resource) -> Result<Entry, StackError> {
        let mut state = self.state();
        let id = state.next;
        state
            .write(&Line::Made { id, resource: resource.clone() })
            .map_err(|cause| StackError::Ledger { path: self.0.path.clone(), cause })?;
        state.next += 1;
        state.live.insert(id, resource);
        Ok(Entry(id))
    }

    /// Declares an entry removed, or kept on purpose.
    pub fn gone(&self, entry: Entry) {
        let mut state = self.state();
        if state.live.remove(&entry.0).is_some() {
            // Should this line be lost, the replay finds nothing to remove: no harm.
            let _ = state.write(&Line::Gone { id: entry.0 });
        }
    }

    /// What is still there.
    #[must_use]
    pub fn left(&self) -> Vec<Resource> {
        self.state().live.values().cloned().collect()
    }

    /// Removes everything that is left; says what could not be removed, one line each.
    #[must_use]
    pub fn replay(&self) -> Vec<String> {
        self.0.replay()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, line: &Line) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        // One write per line: a reader sees whole lines, or at worst a torn last one.
        self.file.write_all(&text)
    }
}

impl Inner {
    fn replay(&self) -> Vec<String> {
        // A panic hook may run while its own thread holds the lock: give up after a moment rather than hang.
        let deadline = Instant::now() + Duration::from_millis(500);
        let mut state = loop {
            match self.state.try_lock() {
                Ok(state) => break state,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    return vec![format!("ledger {} is busy: run `shakedown clean`", self.path.display())];
                }
            }
        };
        if state.live.is_empty() {
            return Vec::new();
        }
        let resources: Vec<Resource> = state.live.values().cloned().collect();
        let left = sweep::remove(&resources, &self.mark);
        if left.is_empty() {
            for (id, _) in std::mem::take(&mut state.live) {
                let _ = state.write(&Line::Gone { id });
            }
        }
        left
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.replay().is_empty() {
            // A ledger without live entries that stays is removed by the next `shakedown clean`.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Replays every ledger of this process: for the signal handler and the panic hook.
///
/// Blocks for at most a few seconds. Says what could not be removed, one line each.
#[must_use]
pub fn emergency() -> Vec<String> {
    let open: Vec<Arc<Inner>> = match OPEN.try_lock() {
        Ok(open) => open.iter().filter_map(Weak::upgrade).collect(),
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().iter().filter_map(Weak::upgrade).collect(),
        Err(TryLockError::WouldBlock) => return vec!["ledgers are busy: run `shakedown clean`".to_owned()],
    };
    open.iter().flat_map(|ledger| ledger.replay()).collect()
}

/// The same at the very end of the process: of a ledger from which nothing is left the file goes too.
#[must_use]
pub fn exit_cleanup() -> Vec<String> {
    let left = emergency();
    if left.is_empty()
        && let Ok(open) = OPEN.try_lock()
    {
        for ledger in open.iter().filter_map(Weak::upgrade) {
            // One that stays is removed by the next `shakedown clean`.
            let _ = fs::remove_file(&ledger.path);
        }
    }
    left
}

/// Creates a panic of the calling thread, which is to be the main one, replay every ledger before the process
/// unwinds or aborts.
///
/// Panics of other threads belong to a task whose owner sees them as an error and goes on; its stack must stay.
pub fn replay_on_panic() {
    let owner = std::thread::current().id();
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // The mock's library panics when a fault breaks a request off in the middle: that ends one connection of the
        // mock, as it should, and is nobody's concern.
        let of_mock = panic.location().is_some_and(|location| location.file().contains("/wiremock-"));
        if !of_mock {
            previous(panic);
        }
        if std::thread::current().id() == owner {
            let _ = emergency();
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_without_leftovers_removes_its_own_file() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path(), "r1").unwrap();
        let path = state.path().join("runs/r1.jsonl");
        assert!(path.exists());
        let entry = ledger.add(Resource::Directory { path: state.path().join("never-made"), keep: false }).unwrap();
        ledger.gone(entry);
        drop(ledger);
        assert!(!path.exists());
    }

    #[test]
    fn dropping_a_ledger_removes_what_it_names() {
        let state = tempfile::tempdir().unwrap();
        let made = state.path().join("made");
        let ledger = Ledger::open(state.path(), "r2").unwrap();
        let _entry = ledger.add(Resource::Directory { path: made.clone(), keep: false }).unwrap();
        fs::create_dir_all(made.join("deep")).unwrap();
        drop(ledger);
        assert!(!made.exists());
    }

    #[test]
    fn two_ledgers_of_one_run_do_not_share_a_mark() {
        let state = tempfile::tempdir().unwrap();
        let first = Ledger::open(state.path(), "same").unwrap();
        let second = Ledger::open(state.path(), "same").unwrap();
        assert_ne!(first.mark(), second.mark());
    }

    #[test]
    fn an_unwritable_state_directory_is_a_clear_error() {
        let error = Ledger::open(Path::new("/proc/none"), "r").unwrap_err().to_string();
        assert!(error.contains("/proc/none/runs") && error.contains("XDG_STATE_HOME"), "{error}");
    }
}
