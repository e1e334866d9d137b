//! A directory for a few files of a probe.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::cleanup::ledger::{Entry, Ledger};
use super::cleanup::resource::{PREFIX, Resource};
use super::error::StackError;
use super::random::random_word;

/// A directory below the temporary one, which is removed with its content when this is dropped. With a ledger,
/// `shakedown clean` removes it if this process is killed.
#[derive(Debug)]
pub struct ScratchDir {
    path: PathBuf,
    recorded: Option<(Ledger, Entry)>,
}

impl ScratchDir {
    /// Creates it, with `purpose` in its name, after recording it in the ledger.
    ///
    /// # Errors
    /// The ledger cannot be written, or the directory cannot be created.
    pub fn create(purpose: &str, ledger: Option<&Ledger>) -> Result<Self, StackError> {
        let path = std::env::temp_dir().join(format!("{PREFIX}{purpose}-{}", random_word(12).to_lowercase()));
        let resource = Resource::Directory { path: path.clone(), keep: false };
        let recorded = ledger.map(|ledger| Ok((ledger.clone(), ledger.add(resource)?))).transpose()?;
        let scratch = Self { path, recorded };
        let created = fs::DirBuilder::new().mode(0o700).create(&scratch.path);
        created.map_err(|cause| StackError::Directory { action: "create", path: scratch.path.clone(), cause })?;
        Ok(scratch)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let is_gone = fs::remove_dir_all(&self.path).is_ok() || !self.path.exists();
        if let Some((ledger, entry)) = self.recorded.take().filter(|_| is_gone) {
            ledger.mark_removed(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::clean;

    #[test]
    fn it_is_removed_with_its_content_and_forgotten() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path(), "scratch").unwrap();
        let scratch = ScratchDir::create("test", Some(&ledger)).unwrap();
        let path = scratch.path().to_owned();
        fs::write(path.join("file"), "text").unwrap();
        assert_eq!(ledger.left().len(), 1);
        drop(scratch);
        assert!(!path.exists() && ledger.left().is_empty());
        drop(ledger);
        assert!(clean(state.path(), false).unwrap().is_empty());
    }
}
