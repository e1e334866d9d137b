//! The list of the files of a shard's segments. The engine opens a shard even if a segment is missing, and treats a
//! segment without some of its files as unfinished; both would lose points silently.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::SEGMENTS;
use crate::collection::save_json;
use crate::error::Error;

/// The list, in the directory beside the segments.
const FILE: &str = "files.json";
/// Directory of a segment's payload indexes, which change on their own and can be rebuilt.
pub(super) const PAYLOAD_INDEXES: &str = "payload_index";

/// Records the files that the segments in `shard` have now; `known` is the last record. Blocking.
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

/// Deletes the record until the next one. Blocking.
///
/// # Errors
/// The disk fails.
pub(crate) fn forget(shard: &Path) -> Result<(), Error> {
    super::unmark(&shard.join(FILE))
}

/// Checks that every recorded file exists. A shard without a list passes. Blocking.
///
/// # Errors
/// A file is missing, or the list is damaged; the text names the file.
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
