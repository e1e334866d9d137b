//! The ownership and the format of the storage directory.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::ServeError;

pub(super) const COLLECTIONS: &str = "collections";
/// Marks a directory as storage of this server, with its format. It is also the lock file.
const MARKER: &str = "shakedown-qdrant.json";
/// Format 1 had journals without checksums, and did not distinguish damaged from unfinished collections.
const FORMAT: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: u32,
}

fn problem(root: &Path, reason: String, remedy: &'static str) -> ServeError {
    ServeError::Storage { path: root.display().to_string(), reason, remedy }
}

/// Records that `root`, which has format `format`, now has the newest one.
///
/// # Errors
/// The directory cannot be written.
pub(super) fn upgrade(root: &Path, format: u32) -> Result<(), ServeError> {
    if format == FORMAT {
        return Ok(());
    }
    // In place: the lock belongs to the inode, so the file must not be replaced.
    let marker = serde_json::to_string(&Marker { format: FORMAT }).unwrap_or_default();
    fs::write(root.join(MARKER), marker)
        .map_err(|error| problem(root, error.to_string(), "choose a directory that this user can write to"))
}

/// Locks `root`, creates its layout, and returns its format.
///
/// # Errors
/// It belongs to another program, is in use, has a newer format, or cannot be written.
pub(super) fn claim(root: &Path) -> Result<(File, u32), ServeError> {
    let problem = |reason: String, remedy| problem(root, reason, remedy);
    let unwritable =
        |error: std::io::Error| problem(error.to_string(), "choose a directory that this user can write to");
    fs::create_dir_all(root).map_err(unwritable)?;
    let path = root.join(MARKER);
    if !path.exists() {
        let mut entries = fs::read_dir(root).map_err(unwritable)?;
        if let Some(entry) = entries.next() {
            let name = entry.map_err(unwritable)?.file_name();
            let reason = format!("it contains `{}`, and `shakedown qdrant` did not create it", name.to_string_lossy());
            return Err(problem(reason, "choose an empty directory"));
        }
    }
    let lock = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(unwritable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(problem(
                "another process is using it".to_owned(),
                "stop that process, or choose another directory",
            ));
        }
        Err(TryLockError::Error(error)) => return Err(unwritable(error)),
    }
    let text = fs::read_to_string(&path).map_err(unwritable)?;
    let format = if text.is_empty() {
        upgrade(root, 0)?;
        FORMAT
    } else {
        match serde_json::from_str::<Marker>(&text) {
            Ok(Marker { format }) if (1..=FORMAT).contains(&format) => format,
            Ok(Marker { format }) => {
                let reason = format!("it has format {format}, but this program writes format {FORMAT}");
                return Err(problem(reason, "use the program that wrote it, or an empty directory"));
            }
            Err(error) => {
                return Err(problem(format!("{MARKER}: {error}"), "choose an empty directory"));
            }
        }
    };
    fs::create_dir_all(root.join(COLLECTIONS)).map_err(unwritable)?;
    Ok((lock, format))
}

#[cfg(test)]
mod tests {
    use super::super::Storage;
    use super::*;

    fn reason(root: &Path) -> String {
        Storage::open(root).expect_err("refused").to_string()
    }

    #[test]
    fn a_directory_in_use_is_rejected_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let _open = Storage::open(directory.path()).expect("opened");
        let text = reason(directory.path());
        assert!(text.contains("another process is using it"), "{text}");
        assert!(text.contains(&directory.path().display().to_string()), "{text}");
    }

    #[test]
    fn a_foreign_directory_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("raft_state.json"), "{}").expect("written");
        assert!(reason(directory.path()).contains("`raft_state.json`"));
    }

    #[test]
    fn a_newer_format_and_a_broken_marker_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(MARKER), r#"{"format":3}"#).expect("written");
        assert!(reason(directory.path()).contains("format 3"));
        fs::write(directory.path().join(MARKER), "{").expect("written");
        assert!(reason(directory.path()).contains(MARKER));
    }

    #[test]
    fn a_file_where_the_directory_should_be_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "").expect("written");
        assert!(reason(&file).contains("choose a directory"));
    }
}
