//! When a directory is a collection, and when it is what a creation or a removal left that was cut short.

use std::fs;
use std::path::Path;

use super::{META_FILE, SHARD_DIRECTORY};
use crate::error::Error;

/// There until a new collection is complete.
const UNFINISHED: &str = "unfinished";
/// What the settings of a removed collection are called.
const REMOVED: &str = "removed.json";

/// What a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existence {
    /// A collection.
    Whole,
    /// Never a collection, or no longer one.
    Rubbish,
    /// A collection that has lost its settings.
    Damaged,
}

/// What `directory` is. Blocking.
pub(crate) fn existence(directory: &Path) -> Existence {
    let has = |name: &str| directory.join(name).exists();
    if has(META_FILE) {
        Existence::Whole
    } else if has(UNFINISHED) || has(REMOVED) || !has(SHARD_DIRECTORY) {
        Existence::Rubbish
    } else {
        Existence::Damaged
    }
}

/// Makes `directory` for a collection that does not exist before [`complete`]. Blocking.
///
/// # Errors
/// The disk fails.
pub(crate) fn begin(directory: &Path) -> Result<(), Error> {
    let made = fs::create_dir_all(directory).and_then(|()| fs::write(directory.join(UNFINISHED), ""));
    made.map_err(|error| Error::Internal(format!("{}: {error}", directory.display())))
}

/// Notes that the settings in `directory` are stored. Blocking.
pub(super) fn complete(directory: &Path) {
    if let Err(error) = fs::remove_file(directory.join(UNFINISHED)) {
        tracing::debug!(directory = %directory.display(), %error, "the mark of a new collection stays");
    }
}

/// Makes rubbish of the collection in `directory`. Blocking.
///
/// # Errors
/// The disk fails.
pub(super) fn forget(directory: &Path) -> Result<(), Error> {
    let path = directory.join(META_FILE);
    fs::rename(&path, directory.join(REMOVED)).map_err(|error| Error::Internal(format!("{}: {error}", path.display())))
}

/// Removes rubbish. A kill in the middle leaves rubbish: the marks go after the points. Blocking.
///
/// # Errors
/// The disk fails.
pub(crate) fn clear(directory: &Path) -> std::io::Result<()> {
    // There may be none; what else is wrong shows at once.
    let _ = fs::remove_dir_all(directory.join(SHARD_DIRECTORY));
    fs::remove_dir_all(directory)
}
