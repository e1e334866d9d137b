//! Wraps the engine's shard: its panics become errors, and its files stay small.

pub(super) mod manifest;

use std::any::Any;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use qdrant_edge::{EdgeConfig, EdgeShard, UpdateOperation};

use super::error::Error;

/// A shard of the engine.
#[derive(Debug)]
pub(super) struct Shard {
    /// `None` only while being dropped, or after a failed reopening. Locked for writing only to be replaced.
    inner: RwLock<Option<EdgeShard>>,
    directory: PathBuf,
    activity: Mutex<Activity>,
    /// Files of the segments as recorded on disk.
    files: Mutex<BTreeSet<PathBuf>>,
}

/// Directory of the segments.
const SEGMENTS: &str = "segments";

/// Operations that a kill leaves half done.
#[derive(Debug, Default)]
struct Activity {
    optimizing: bool,
    indexing: bool,
}

/// Exists while segments are rewritten: a kill may leave the old ones beside the new one, with the same points.
const OPTIMIZING: &str = "optimizing";
/// Exists while payload indexes are created or deleted, and until a concurrent optimisation ends, because it copies
/// them. A kill may leave a part of an index, with which the engine cannot open the segment.
const INDEXING: &str = "indexing";

impl Shard {
    /// Creates a shard in `directory`, which must exist and be empty.
    ///
    /// # Errors
    /// The engine rejects the configuration, or cannot write.
    pub(super) fn create(directory: &Path, config: EdgeConfig) -> Result<Self, Error> {
        let inner = guard("creating the shard", || EdgeShard::new(directory, config))??;
        Ok(Self::new(inner, directory))
    }

    fn new(inner: EdgeShard, directory: &Path) -> Self {
        let (activity, files) = (Mutex::default(), Mutex::default());
        Self { inner: RwLock::new(Some(inner)), directory: directory.to_owned(), activity, files }
    }

    /// Opens the shard in `directory`.
    ///
    /// # Errors
    /// The files are missing, damaged or of another configuration.
    pub(super) fn open(directory: &Path, config: EdgeConfig) -> Result<Self, Error> {
        prune_log(directory);
        // The beginning of an interrupted optimisation; the engine starts over without it.
        let _ = std::fs::remove_dir_all(directory.join("temp_segments"));
        let segments = directory.join(SEGMENTS);
        if !std::fs::read_dir(&segments).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::Internal(format!("{} contains no segment", segments.display())));
        }
        manifest::check(directory)?;
        let indexing = directory.join(INDEXING);
        if indexing.exists() {
            remove_payload_indexes(directory)?;
        }
        let inner = guard("opening the shard", || EdgeShard::load(directory, Some(config)))??;
        unmark(&indexing)?;
        Ok(Self::new(inner, directory))
    }

    /// The directory of its files.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs one engine call.
    ///
    /// # Errors
    /// The engine's error; a panic inside it becomes [`Error::Internal`].
    pub(super) fn call<T>(
        &self,
        what: &'static str,
        call: impl FnOnce(&EdgeShard) -> qdrant_edge::OperationResult<T>,
    ) -> Result<T, Error> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let inner = inner.as_ref().ok_or_else(|| Error::Unavailable("the collection is closing".to_owned()))?;
        Ok(guard(what, || call(inner))??)
    }

    /// Closes the shard and reopens it with other settings, which the next optimisation applies. Reads wait meanwhile;
    /// the caller ensures that nothing is written or optimised.
    ///
    /// # Errors
    /// The engine rejects the settings; the shard is then unchanged.
    pub(super) fn reopen(&self, config: EdgeConfig) -> Result<(), Error> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let Some(old) = inner.take() else { return Err(Error::Unavailable("the collection is closing".to_owned())) };
        let before = old.config().clone();
        guard("closing the shard", || drop(old))?;
        let open =
            |config| Ok::<_, Error>(guard("opening the shard", || EdgeShard::load(&self.directory, Some(config)))??);
        match open(config) {
            Ok(new) => {
                *inner = Some(new);
                Ok(())
            }
            Err(error) => {
                *inner = Some(open(before)?);
                Err(error)
            }
        }
    }

    /// Applies one change. Only one at a time.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(super) fn update(&self, operation: UpdateOperation) -> Result<(), Error> {
        if !matches!(operation, UpdateOperation::FieldIndexOperation(_)) {
            return self.call("writing", |shard| shard.update(operation));
        }
        self.begin(INDEXING, |activity| activity.indexing = true)?;
        let result = self.call("writing", |shard| shard.update(operation));
        self.end(|activity| activity.indexing = false)?;
        result
    }

    /// Rewrites segments that need it, and blocks meanwhile; returns whether there were any. Only one at a time.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(super) fn optimize(&self) -> Result<bool, Error> {
        self.begin(OPTIMIZING, |activity| activity.optimizing = true)?;
        // From here on, segments change until the next flush.
        self.expect_changes()?;
        let result = self.call("optimizing", EdgeShard::optimize);
        self.end(|activity| activity.optimizing = false)?;
        if result.is_ok() {
            self.settled()?;
        }
        result
    }

    /// Whether the previous process was killed during an optimisation.
    pub(super) fn was_optimizing(&self) -> bool {
        self.directory.join(OPTIMIZING).exists()
    }

    /// Records that no point is stored twice.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn settled(&self) -> Result<(), Error> {
        unmark(&self.directory.join(OPTIMIZING))
    }

    /// Deletes the list of files until the next flush.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn expect_changes(&self) -> Result<(), Error> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clear();
        manifest::forget(&self.directory)
    }

    fn begin(&self, mark: &str, begin: impl FnOnce(&mut Activity)) -> Result<(), Error> {
        let mut activity = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.directory.join(mark);
        std::fs::write(&path, "").map_err(|error| Error::Internal(format!("{}: {error}", path.display())))?;
        begin(&mut activity);
        Ok(())
    }

    fn end(&self, end: impl FnOnce(&mut Activity)) -> Result<(), Error> {
        let mut activity = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
        end(&mut activity);
        if activity.optimizing || activity.indexing { Ok(()) } else { unmark(&self.directory.join(INDEXING)) }
    }

    /// Writes everything to disk. The caller ensures that nothing is written or optimised meanwhile: the engine panics
    /// when it meets a held lock.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub(super) fn flush(&self) -> Result<(), Error> {
        self.call("flushing", |shard| {
            shard.flush();
            Ok(())
        })?;
        prune_log(&self.directory);
        manifest::note(&self.directory, &mut self.files.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner).take()
            && let Err(error) = guard("closing the shard", || drop(inner))
        {
            tracing::warn!(directory = %self.directory.display(), %error, "the engine did not close cleanly");
        }
    }
}

fn unmark(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Internal(format!("{}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Removes the payload indexes of every segment, but not their list: the engine rebuilds missing indexes.
fn remove_payload_indexes(directory: &Path) -> Result<(), Error> {
    let failed = |path: &Path, error: &std::io::Error| Error::Internal(format!("{}: {error}", path.display()));
    let segments = directory.join(SEGMENTS);
    for segment in std::fs::read_dir(&segments).map_err(|error| failed(&segments, &error))?.flatten() {
        // An unfinished segment has none.
        let Ok(indexes) = std::fs::read_dir(segment.path().join(manifest::PAYLOAD_INDEXES)) else { continue };
        for index in indexes.flatten().map(|index| index.path()).filter(|index| index.is_dir()) {
            std::fs::remove_dir_all(&index).map_err(|error| failed(&index, &error))?;
        }
    }
    Ok(())
}

fn guard<T>(what: &str, call: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| Error::Internal(format!("{what}: {}", panic_text(&*panic))))
}

/// The message of a caught panic, without the engine's backtrace.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("the engine panicked");
    text.split_once(", backtrace: ").map_or(text, |(message, _)| message)
}

/// Removes the closed files of the engine's log, which the engine never reads and never removes.
///
/// The newest closed file stays: it holds the number of the next change, without which the engine would count from zero
/// and take new changes for old ones. The engine still maps the files while it runs, so they are truncated before they
/// are removed; it does not read them again.
fn prune_log(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory.join("wal")) else { return };
    let mut closed: Vec<(u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let start = entry.file_name().to_str()?.strip_prefix("closed-")?.parse().ok()?;
            Some((start, entry.path()))
        })
        .collect();
    closed.sort_unstable();
    closed.pop();
    for (_, path) in closed {
        let emptied = OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(0));
        if let Err(error) = emptied.and_then(|()| std::fs::remove_file(&path)) {
            tracing::debug!(path = %path.display(), %error, "cannot remove a closed log file");
        }
    }
}
