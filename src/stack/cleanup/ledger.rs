//! The clean-up ledger: every process, directory and container is recorded before it is created.
//!
//! One file per run, one JSON object per line. The first line names the harness process; the others record what was
//! created and what was removed. [`Drop`], [`clean_up_now`] (signal handler and panic hook) and `shakedown clean` all
//! replay the same ledger, so that nothing outlives a run, however it ended. The function that removes resources is
//! passed in: the ledger does not know the providers.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::libc;
use nix::unistd::linkat;
use serde::{Deserialize, Serialize};

use super::remote_data::RemoteData;
use super::resource::Resource;
use crate::settings::private_dir;
use crate::stack::error::StackError;
use crate::stack::orphans::end_descendants;
use crate::stack::process_id::{ProcessId, system_id};
use crate::stack::random::random_word;

/// Removes resources of the run with the given mark. Returns what could not be removed, one line each.
pub(super) type Remover = fn(&[Resource], &str) -> Vec<String>;

/// One line of a ledger file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LedgerLine {
    /// The first line: the harness that owns the ledger.
    Harness {
        run: String,
        mark: String,
        process: ProcessId,
        /// Where the pid is valid.
        system: String,
    },
    /// About to be created.
    Made { id: u64, resource: Resource },
    /// Removed, or kept on purpose.
    Gone { id: u64 },
}

/// The handle of an entry, for declaring it gone later.
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
    remover: Remover,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    next: u64,
    live: BTreeMap<u64, Resource>,
}

static OPEN: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

/// The directory of the ledgers in a state directory.
pub(super) const RUNS: &str = "runs";

impl Ledger {
    /// Creates a ledger for `run` under `state_dir`, as `runs/<run>.jsonl`; `remover` replays it.
    ///
    /// # Errors
    /// The directory or file cannot be created or written.
    pub(super) fn create(state_dir: &Path, run: &str, remover: Remover) -> Result<Self, StackError> {
        let fail = |path: &Path, cause| StackError::Ledger { path: path.to_owned(), cause };
        let directory = private_dir(state_dir, RUNS).map_err(StackError::StateDirectory)?;
        // Another state directory may contain a run of the same name: the mark is unique to this ledger.
        let mark = format!("{run}-{}", random_word(12));
        let first = LedgerLine::Harness {
            run: run.to_owned(),
            mark: mark.clone(),
            process: ProcessId::own(),
            system: system_id(),
        };
        let first = first.text().map_err(|cause| fail(&directory, cause))?;
        let (path, file) = (1_u32..)
            .find_map(|nth| {
                let name = if nth == 1 { run.to_owned() } else { format!("{run}.{nth}") };
                let path = directory.join(format!("{name}.jsonl"));
                match create_with(&directory, &path, &first) {
                    Ok(file) => Some(Ok((path, file))),
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
                    Err(error) => Some(Err(fail(&path, error))),
                }
            })
            .unwrap_or_else(|| Err(fail(&directory, ErrorKind::AlreadyExists.into())))?;
        let state = State { file, next: 1, live: BTreeMap::new() };
        let inner = Arc::new(Inner { path, mark, remover, state: Mutex::new(state) });
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|ledger| ledger.strong_count() > 0);
        open.push(Arc::downgrade(&inner));
        Ok(Self(inner))
    }

    /// The value of [`MARK`](crate::stack::process_id::MARK) for everything started under this ledger.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.0.mark
    }

    /// Records `resource`. Call it before the resource is created.
    ///
    /// # Errors
    /// The file cannot be written: do not create the resource then.
    pub fn add(&self, resource: Resource) -> Result<Entry, StackError> {
        let mut state = self.state();
        let id = state.next;
        state
            .write(&LedgerLine::Made { id, resource: resource.clone() })
            .map_err(|cause| StackError::Ledger { path: self.0.path.clone(), cause })?;
        state.next += 1;
        state.live.insert(id, resource);
        Ok(Entry(id))
    }

    /// Declares an entry removed, or kept on purpose.
    pub fn mark_removed(&self, entry: Entry) {
        let mut state = self.state();
        if state.live.remove(&entry.0).is_some() {
            // If this line is lost, the replay finds nothing to remove: no harm.
            let _ = state.write(&LedgerLine::Gone { id: entry.0 });
        }
    }

    /// The data in services that is not removed.
    #[must_use]
    pub fn remote_data(&self) -> Vec<(Entry, RemoteData)> {
        let state = self.state();
        let remote = state.live.iter().filter_map(|(id, resource)| match resource {
            Resource::RemoteData(data) => Some((Entry(*id), data.clone())),
            _ => None,
        });
        remote.collect()
    }

    /// The resources that are not gone.
    #[must_use]
    pub fn left(&self) -> Vec<Resource> {
        self.state().live.values().cloned().collect()
    }

    /// Removes everything that is left. Returns what could not be removed, one line each.
    #[must_use]
    pub fn replay(&self) -> Vec<String> {
        self.0.replay()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, line: &LedgerLine) -> io::Result<()> {
        // One write per line: a reader sees whole lines, or at worst a partial last line.
        self.file.write_all(&line.text()?)
    }
}

impl LedgerLine {
    /// The line as it is in the file, with its end.
    fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

/// Creates the file `path` of `directory` with `first` in it. A process that is killed meanwhile leaves no file, and never
/// one without its first line, which names its owner.
fn create_with(directory: &Path, path: &Path, first: &[u8]) -> io::Result<File> {
    let nameless = OpenOptions::new().append(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(directory);
    if let Ok(mut file) = nameless {
        file.write_all(first)?;
        let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
        match linkat(AT_FDCWD, opened.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW) {
            Ok(()) => return Ok(file),
            Err(Errno::EEXIST) => return Err(ErrorKind::AlreadyExists.into()),
            // Without /proc, such a file has no name to link.
            Err(_) => {}
        }
    }
    // Some file systems know no file without a name.
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(first)?;
    Ok(file)
}

impl Inner {
    fn replay(&self) -> Vec<String> {
        // A panic hook may run while its own thread holds the lock: give up after a short time instead of a deadlock.
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
        let left = (self.remover)(&resources, &self.mark);
        if left.is_empty() {
            for (id, _) in std::mem::take(&mut state.live) {
                let _ = state.write(&LedgerLine::Gone { id });
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
/// Blocks for a few seconds at most. Returns what could not be removed, one line each.
#[must_use]
pub fn clean_up_now() -> Vec<String> {
    let open: Vec<Arc<Inner>> = match OPEN.try_lock() {
        Ok(open) => open.iter().filter_map(Weak::upgrade).collect(),
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().iter().filter_map(Weak::upgrade).collect(),
        Err(TryLockError::WouldBlock) => return vec!["ledgers are busy: run `shakedown clean`".to_owned()],
    };
    let mut left: Vec<String> = open.iter().flat_map(|ledger| ledger.replay()).collect();
    left.extend(end_descendants());
    left
}

/// [`clean_up_now`] for the end of the process: also removes the files of ledgers without leftovers.
#[must_use]
pub fn exit_cleanup() -> Vec<String> {
    let left = clean_up_now();
    if left.is_empty()
        && let Ok(open) = OPEN.try_lock()
    {
        for ledger in open.iter().filter_map(Weak::upgrade) {
            // A file that cannot be removed is left to the next `shakedown clean`.
            let _ = fs::remove_file(&ledger.path);
        }
    }
    left
}

/// Installs a panic hook that replays every ledger when the calling thread panics. Call it on the main thread.
///
/// The owner of a task sees a panic of another thread as an error and continues, so its stack must stay.
pub fn replay_on_panic() {
    let owner = std::thread::current().id();
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // The library of the mock panics when a fault aborts a request. That ends one connection of the mock, which is
        // expected and not worth a message.
        let in_mock = panic.location().is_some_and(|location| location.file().contains("/wiremock-"));
        if !in_mock {
            previous(panic);
        }
        if std::thread::current().id() == owner {
            let _ = clean_up_now();
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_without_leftovers_removes_its_file() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path(), "r1").unwrap();
        let path = state.path().join("runs/r1.jsonl");
        assert!(path.exists());
        let entry = ledger.add(Resource::Directory { path: state.path().join("never-created"), keep: false }).unwrap();
        ledger.mark_removed(entry);
        drop(ledger);
        assert!(!path.exists());
    }

    #[test]
    fn dropping_a_ledger_removes_its_resources() {
        let state = tempfile::tempdir().unwrap();
        let made = state.path().join("shakedown-made");
        let ledger = Ledger::open(state.path(), "r2").unwrap();
        let _entry = ledger.add(Resource::Directory { path: made.clone(), keep: false }).unwrap();
        fs::create_dir_all(made.join("deep")).unwrap();
        drop(ledger);
        assert!(!made.exists());
    }

    #[test]
    fn a_ledger_is_never_seen_without_its_first_line() {
        let state = tempfile::tempdir().unwrap();
        let runs = private_dir(state.path(), RUNS).unwrap();
        let last = runs.join("r300.jsonl");
        let watcher = std::thread::spawn(move || {
            let mut seen = 0;
            while !last.exists() {
                for entry in fs::read_dir(&runs).unwrap() {
                    let path = entry.unwrap().path();
                    let text = fs::read_to_string(&path).unwrap();
                    assert!(text.ends_with('\n'), "{}: {text:?}", path.display());
                    seen += 1;
                }
            }
            seen
        });
        let ledgers: Vec<Ledger> =
            (1..=300).map(|nth| Ledger::open(state.path(), &format!("r{nth}")).unwrap()).collect();
        assert!(watcher.join().unwrap() > 0);
        drop(ledgers);
    }

    #[test]
    fn two_ledgers_of_one_run_have_different_marks() {
        let state = tempfile::tempdir().unwrap();
        let first = Ledger::open(state.path(), "same").unwrap();
        let second = Ledger::open(state.path(), "same").unwrap();
        assert_ne!(first.mark(), second.mark());
    }

    #[test]
    fn an_unwritable_state_directory_is_reported_with_a_remedy() {
        let error = Ledger::open(Path::new("/proc/none"), "r").unwrap_err().to_string();
        assert!(error.contains("/proc/none/runs") && error.contains("XDG_STATE_HOME"), "{error}");
    }
}
