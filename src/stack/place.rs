//! The throwaway directory of a run.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::ledger::{Ledger, Resource};
use super::{StackError, StackOptions, random_word};

/// Makes the directory in which everything lies; its name carries the run's id.
///
/// Other users may pass through it if `passable`, for services that run as one; they see nothing inside.
pub(super) fn throwaway(options: &StackOptions, passable: bool, ledger: &Ledger) -> Result<PathBuf, StackError> {
    let parent = options.data_dir.clone().unwrap_or_else(std::env::temp_dir);
    let fail = |path: &Path, cause| StackError::Directory { action: "create", path: path.to_owned(), cause };
    fs::create_dir_all(&parent).map_err(|cause| fail(&parent, cause))?;
    // Every path below is given to programs that run elsewhere.
    let parent = fs::canonicalize(&parent).map_err(|cause| fail(&parent, cause))?;
    let path = parent.join(format!("shakedown-{}-{}", options.run, random_word(6).to_lowercase()));
    let entry = ledger.add(Resource::Directory { path: path.clone(), keep: options.keep })?;
    let mode = if passable { 0o711 } else { 0o700 };
    if let Err(cause) = fs::DirBuilder::new().mode(mode).create(&path) {
        ledger.gone(entry);
        return Err(fail(&path, cause));
    }
    // The umask may have taken bits away.
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(|cause| fail(&path, cause))?;
    Ok(path)
}
