//! Free space on the disk. The engine maps its files, and a mapped page without space kills the process, so the server
//! checks the free space before every write.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::Error;

/// Space that must remain besides what a change needs.
pub(super) const SPARE: u64 = 16 * 1024 * 1024;

/// Checks that the disk of `path` has space for `bytes`. A system that does not report its space passes.
///
/// # Errors
/// There is not enough space.
pub(super) fn check_room(path: &Path, bytes: u64) -> Result<(), Error> {
    let Ok(stat) = nix::sys::statvfs::statvfs(path) else { return Ok(()) };
    #[allow(clippy::unnecessary_cast, reason = "not every system counts blocks in 64 bits")]
    let room = stat.blocks_available() as u64 * stat.fragment_size() as u64;
    if room < SPARE.saturating_add(bytes) {
        return Err(Error::Internal(
            "No space left on device: WAL buffer size exceeds available disk space".to_owned(),
        ));
    }
    Ok(())
}

/// How full the disk of `path` is, in percent, if the system reports it.
pub(super) fn full_percent(path: &Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    #[allow(clippy::unnecessary_cast, reason = "not every system counts blocks in 64 bits")]
    let (all, free) = (stat.blocks() as u64, stat.blocks_available() as u64);
    (all.saturating_sub(free) * 100).checked_div(all)
}

/// Bytes on disk of the files below `directory`; less than their sizes if they have holes.
pub(super) fn used(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => used(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// Bytes on the disk of the directories called `name` below `directory`.
pub(super) fn used_by(directory: &Path, name: &str) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories
        .map(|entry| if entry.file_name() == name { used(&entry.path()) } else { used_by(&entry.path(), name) })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_space_than_any_disk_has_is_rejected() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = check_room(directory.path(), u64::MAX).unwrap_err();
        assert!(error.to_string().contains("No space left on device"), "{error}");
    }

    #[test]
    fn holes_take_no_space() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = std::fs::File::create(directory.path().join("sparse")).expect("made");
        file.set_len(1024 * 1024 * 1024).expect("grown");
        assert!(used(directory.path()) < 1024 * 1024);
    }
}
