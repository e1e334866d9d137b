//! Files and directories of the native services.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::unistd::{Gid, Uid, chown};

use crate::stack::error::StackError;
use crate::stack::process::Account;

/// Creates a directory that only its owner can access. An existing one is fine.
pub(super) fn private_directory(path: &Path, owner: Option<Account>) -> Result<(), StackError> {
    let fail = |cause| StackError::Directory { action: "create", path: path.to_owned(), cause };
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(cause) if cause.kind() != ErrorKind::AlreadyExists => return Err(fail(cause)),
        _ => {}
    }
    set_owner(path, owner).map_err(fail)
}

/// Writes a file that only its owner can read.
pub(super) fn write_private(path: &Path, text: &str, owner: Option<Account>) -> Result<(), StackError> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        set_owner(path, owner)
    };
    write().map_err(|cause| StackError::Directory { action: "write", path: path.to_owned(), cause })
}

fn set_owner(path: &Path, owner: Option<Account>) -> std::io::Result<()> {
    let Some(Account { uid, gid }) = owner else { return Ok(()) };
    chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(std::io::Error::from)
}
