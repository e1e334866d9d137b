//! Tells a collection's directory from the remains of an interrupted creation or removal.

use std::fs;
use std::path::Path;

use crate::error::Error;

/// File with a collection's name and configuration; a directory without it is not a collection.
pub(crate) const META_FILE: &str = "collection.json";
/// Directory of the engine's files.
pub(crate) const SHARD_DIRECTORY: &str = "shard";
/// Exists until a new collection is complete.
const UNFINISHED: &str = "unfinished";
/// Name of the settings file of a removed collection.
const REMOVED: &str = "removed.json";

/// The state of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existence {
    /// A collection.
    Whole,
    /// The remains of an interrupted creation or of a removal.
    Remains,
    /// A collection whose settings are missing.
    Damaged,
}

/// The state of `directory`. Blocking.
pub(crate) fn existence(directory: &Path) -> Existence {
    let has = |name: &str| directory.join(name).exists();
    if has(META_FILE) {
        Existence::Whole
    } else if has(UNFINISHED) || has(REMOVED) || !has(SHARD_DIRECTORY) {
        Existence::Remains
    } else {
        Existence::Damaged
    }
}

/// Creates `directory` for a collection that does not exist before [`complete`]. Blocking.
///
/// # Errors
/// The disk fails.
pub(crate) fn begin(directory: &Path) -> Result<(), Error> {
    let made = fs::create_dir_all(directory).and_then(|()| fs::write(directory.join(UNFINISHED), ""));
    made.map_err(|error| Error::Internal(format!("{}: {error}", directory.display())))
}

/// Records that the settings in `directory` are stored. Blocking.
pub(super) fn complete(directory: &Path) {
    if let Err(error) = fs::remove_file(directory.join(UNFINISHED)) {
        tracing::debug!(directory = %directory.display(), %error, "cannot remove the mark of a new collection");
    }
}

/// Marks the collection in `directory` as removed. Blocking.
///
/// # Errors
/// The disk fails.
pub(super) fn forget(directory: &Path) -> Result<(), Error> {
    let path = directory.join(META_FILE);
    fs::rename(&path, directory.join(REMOVED)).map_err(|error| Error::Internal(format!("{}: {error}", path.display())))
}

/// Removes a directory that is not a collection. After a kill in the middle it is still recognised: the marks go last.
/// Blocking.
///
/// # Errors
/// The disk fails.
pub(crate) fn clear(directory: &Path) -> std::io::Result<()> {
    // The directory may be missing; other problems show at once.
    let _ = fs::remove_dir_all(directory.join(SHARD_DIRECTORY));
    fs::remove_dir_all(directory)
}
