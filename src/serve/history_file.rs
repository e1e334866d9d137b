//! The history on disk: a `redb` file that one process uses at a time.

use std::collections::BTreeMap;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::history::{Changes, History};

const BLOCKS: TableDefinition<(&str, i64), &[u8]> = TableDefinition::new("blocks-1");
const INCIDENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("incidents-1");

/// Why the history file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryFileError {
    /// Another process uses it.
    #[error("the history file `{}` is in use by another process; stop the other `shakedown serve`, or choose another file with --history", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is not a history file, or it is damaged.
    #[error("cannot read the history file `{}`: {detail}; move the file away, or pass --history with another file or `none`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// It cannot be written.
    #[error("cannot write the history file `{}`: {detail}; free disk space, or choose another file with --history", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
}

impl HistoryFileError {
    fn unreadable(path: &Path, detail: impl std::fmt::Display) -> Self {
        Self::Unreadable { path: path.to_owned(), detail: detail.to_string() }
    }
}

/// The history file.
#[derive(Debug)]
pub struct HistoryFile {
    database: Database,
    path: PathBuf,
}

impl HistoryFile {
    /// Opens the file, or creates it with its directories, and reads the history.
    ///
    /// # Errors
    /// The file is in use, damaged, or cannot be created.
    pub fn open(path: &Path) -> Result<(Self, History), HistoryFileError> {
        let unwritable =
            |error: std::io::Error| HistoryFileError::Unwritable { path: path.to_owned(), detail: error.to_string() };
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory).map_err(unwritable)?;
        }
        // Only for this user: it holds what the services answered. The library would create it for everybody.
        let create =
            std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = create.map_err(unwritable)?;
        if file.metadata().map_err(unwritable)?.is_file() {
            file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(unwritable)?;
        }
        drop(file);
        // The library panics on some damaged files.
        let opened = std::panic::catch_unwind(|| Database::create(path))
            .map_err(|_| HistoryFileError::unreadable(path, "it is damaged"))?;
        let mut database = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => HistoryFileError::InUse { path: path.to_owned() },
            other => HistoryFileError::unreadable(path, other),
        })?;
        // A file that cannot be compacted can still be used.
        let _ = database.compact();
        let file = Self { database, path: path.to_owned() };
        let history = file.read()?;
        Ok((file, history))
    }

    fn read(&self) -> Result<History, HistoryFileError> {
        let unreadable = |error: redb::Error| HistoryFileError::unreadable(&self.path, error);
        // Creates both tables, so that they can be read.
        self.save(&Changes { oldest_ms: i64::MIN, ..Changes::default() })?;
        let read = self.database.begin_read().map_err(|error| unreadable(error.into()))?;
        let mut blocks = BTreeMap::new();
        let table = read.open_table(BLOCKS).map_err(|error| unreadable(error.into()))?;
        for entry in table.iter().map_err(|error| unreadable(error.into()))? {
            let (key, value) = entry.map_err(|error| unreadable(error.into()))?;
            let (service, start) = key.value();
            let block = serde_json::from_slice(value.value())
                .map_err(|error| HistoryFileError::unreadable(&self.path, error))?;
            blocks.insert((service.to_owned(), start), block);
        }
        let mut incidents = BTreeMap::new();
        let table = read.open_table(INCIDENTS).map_err(|error| unreadable(error.into()))?;
        for entry in table.iter().map_err(|error| unreadable(error.into()))? {
            let (key, value) = entry.map_err(|error| unreadable(error.into()))?;
            let incident = serde_json::from_slice(value.value())
                .map_err(|error| HistoryFileError::unreadable(&self.path, error))?;
            incidents.insert(key.value(), incident);
        }
        Ok(History::from_parts(blocks, incidents))
    }

    /// Saves the changes and deletes what was pruned, in one transaction.
    pub(super) fn save(&self, changes: &Changes) -> Result<(), HistoryFileError> {
        self.write(changes)
            .map_err(|error| HistoryFileError::Unwritable { path: self.path.clone(), detail: error.to_string() })
    }

    fn write(&self, changes: &Changes) -> Result<(), redb::Error> {
        let json = |value: Result<Vec<u8>, serde_json::Error>| value.map_err(|error| redb::Error::Io(error.into()));
        let write = self.database.begin_write()?;
        {
            let mut blocks = write.open_table(BLOCKS)?;
            for ((service, start), block) in &changes.blocks {
                blocks.insert((service.as_str(), *start), json(serde_json::to_vec(block))?.as_slice())?;
            }
            blocks.retain(|(_, start), _| start >= changes.oldest_ms)?;
            let mut incidents = write.open_table(INCIDENTS)?;
            for incident in &changes.incidents {
                incidents.insert(incident.id, json(serde_json::to_vec(incident))?.as_slice())?;
            }
            for id in &changes.forgotten {
                incidents.remove(id)?;
            }
        }
        write.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_user_can_read_the_history_file() {
        let directory = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let new = directory.path().join("deep/new.redb");
        drop(HistoryFile::open(&new).unwrap());
        assert_eq!(mode(&new), 0o600);
        // A file of an earlier version could be read by everybody.
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o644)).unwrap();
        drop(HistoryFile::open(&new).unwrap());
        assert_eq!(mode(&new), 0o600);
    }
}
