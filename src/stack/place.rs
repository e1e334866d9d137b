//! The throwaway directory of a run.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::ledger::{Ledger, Resource};
use super::{StackError, StackOptions, random_word};
use crate::settings::Endpoints;

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

/// Writes the variables of a stack that stays, as a shell reads them, to a file that only this user can read.
pub(super) fn write_environment(path: &Path, endpoints: &Endpoints) -> Result<(), StackError> {
    let quoted = |value: &str| format!("'{}'", value.replace('\'', r"'\''"));
    let lines: String = endpoints
        .environment()
        .iter()
        .map(|variable| format!("{}={}\n", variable.name, quoted(variable.value.expose_secret())))
        .collect();
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(lines.as_bytes())).map_err(|cause| StackError::Directory {
        action: "write",
        path: path.to_owned(),
        cause,
    })
}
