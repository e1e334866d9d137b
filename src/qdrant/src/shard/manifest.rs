//! Which files the segments of a shard have. The engine opens a shard without a segment that has gone, and
//! takes a segment without some of its files for one that was never finished; both would lose points silently.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::SEGMENTS;
use crate::collection::save_json;
use crate::error::Error;

/// The list, beside the segments.
const FILE: &str = "files.json";
/// Directory of a segment's payload indexes, which come and go by themselves and can be built anew.
pub(super) const PAYLOAD_INDEXES: &str = "payload_index";

/// Notes which files the segments in `shard` have now; `known` is what was noted last. Blocking.
///
/// # Errors
/// The disk is full or broken.
pub(super) fn note(shard: &Path, known: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
    let mut files = BTreeSet::new();
    let segments = shard.join(SEGMENTS);
    collect(shard, &segments, &mut files)
        .map_err(|error| Error::Internal(format!("{}: {error}", segments.display())))?;
    if files != *known {
        save_json(&shard.join(FILE), &files)?;
        *known = files;
    }
    Ok(())
}

/// Forgets what was noted, until the next time. Blocking.
///
/// # Errors
/// The disk fails.
pub(crate) fn forget(shard: &Path) -> Result<(), Error> {
    super::unmark(&shard.join(FILE))
}

/// Makes sure that every file is there that was noted. A shard without a list is trusted. Blocking.
///
/// # Errors
/// One is missing, or the list is damaged; the text names the file.
pub(super) fn check(shard: &Path) -> Result<(), Error> {
    let path = shard.join(FILE);
    let Ok(text) = fs::read(&path) else { return Ok(()) };
    let noted: BTreeSet<PathBuf> =
        serde_json::from_slice(&text).map_err(|error| Error::Internal(format!("{}: {error}", path.display())))?;
    match noted.into_iter().map(|file| shard.join(file)).find(|file| !file.exists()) {
        Some(missing) => Err(Error::Internal(format!("{} is missing", missing.display()))),
        None => Ok(()),
    }
}

fn collect(shard: &Path, directory: &Path, files: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != PAYLOAD_INDEXES {
                collect(shard, &path, files)?;
            }
        } else if let Ok(file) = path.strip_prefix(shard) {
            files.insert(file.to_owned());
        }
    }
    Ok(())
}
