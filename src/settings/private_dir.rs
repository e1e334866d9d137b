//! Directories that only this user may write to.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Why a directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateDirError {
    /// There is no home directory to derive it from.
    #[error("no home directory: set HOME, XDG_STATE_HOME or SHAKEDOWN_STATE_DIR to an absolute path")]
    NoHome,
    /// Another user could change it.
    #[error("{}: {problem}; remove it, or set SHAKEDOWN_STATE_DIR or XDG_CACHE_HOME to a directory of yours", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It cannot be created or read.
    #[error("{}: {cause}; set SHAKEDOWN_STATE_DIR, XDG_STATE_HOME or XDG_CACHE_HOME to a directory of yours", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The operating system's error.
        cause: std::io::Error,
    },
}

/// Creates the directory `name` below `parent` with mode 0700, or checks the one that exists: a real directory of this
/// user. Programs run from it, and its files say what is removed, so no other user may put anything there.
///
/// # Errors
/// It is a link, belongs to another user, or its parent may be changed by another user; or it cannot be created.
pub fn private_dir(parent: &Path, name: &str) -> Result<PathBuf, PrivateDirError> {
    if !parent.is_absolute() {
        return Err(PrivateDirError::NoHome);
    }
    let path = parent.join(name);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| PrivateDirError::Io { path, cause }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed(&path))?;
    check_parent(parent, &fs::metadata(parent).map_err(failed(parent))?)?;
    match DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(&path)(error)),
    }
    check_private(&path)?;
    Ok(path)
}

/// Checks a directory or file that exists: it is no link and belongs to this user. Rights of others are taken away.
///
/// # Errors
/// It is a link or belongs to another user; or it cannot be read.
pub fn check_private(path: &Path) -> Result<(), PrivateDirError> {
    let failed = |cause| PrivateDirError::Io { path: path.to_owned(), cause };
    let problem = |problem: String| Err(PrivateDirError::NotPrivate { path: path.to_owned(), problem });
    let found = fs::symlink_metadata(path).map_err(failed)?;
    if found.is_symlink() {
        return problem("it is a symbolic link".to_owned());
    }
    let user = nix::unistd::geteuid().as_raw();
    if found.uid() != user {
        return problem(format!("it belongs to user {} and not to user {user}", found.uid()));
    }
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o700;
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
    }
    Ok(())
}

/// Others may write to the parent only if it is sticky: then they cannot replace a directory of ours.
fn check_parent(path: &Path, found: &Metadata) -> Result<(), PrivateDirError> {
    let user = nix::unistd::geteuid().as_raw();
    let is_sticky = found.mode() & 0o1000 != 0;
    let problem = if found.uid() != user && found.uid() != 0 {
        format!("it belongs to user {} and not to user {user}", found.uid())
    } else if found.mode() & 0o022 != 0 && !is_sticky {
        format!("other users may write to it (mode {:o})", found.mode() & 0o7777)
    } else {
        return Ok(());
    };
    Err(PrivateDirError::NotPrivate { path: path.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_new_directory_is_private_and_an_older_one_becomes_private() {
        let home = tempfile::tempdir().unwrap();
        let parent = home.path().join("state/shakedown");
        assert_eq!(mode(&private_dir(&parent, "runs").unwrap()), 0o700);
        assert_eq!(mode(&parent), 0o700);
        fs::set_permissions(parent.join("runs"), Permissions::from_mode(0o755)).unwrap();
        assert_eq!(mode(&private_dir(&parent, "runs").unwrap()), 0o700);
    }

    #[test]
    fn a_link_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), home.path().join("runs")).unwrap();
        let error = private_dir(home.path(), "runs").unwrap_err().to_string();
        assert!(error.contains("symbolic link") && error.contains("SHAKEDOWN_STATE_DIR"), "{error}");
    }

    #[test]
    fn a_parent_that_others_may_write_to_is_refused_unless_it_is_sticky() {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o777)).unwrap();
        let error = private_dir(home.path(), "runs").unwrap_err().to_string();
        assert!(error.contains("other users may write"), "{error}");
        fs::set_permissions(home.path(), Permissions::from_mode(0o1777)).unwrap();
        private_dir(home.path(), "runs").unwrap();
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let runs = home.path().join("runs");
        fs::create_dir(&runs).unwrap();
        std::os::unix::fs::chown(&runs, Some(65534), None).unwrap();
        let error = private_dir(home.path(), "runs").unwrap_err().to_string();
        assert!(error.contains("belongs to user 65534"), "{error}");
    }

    #[test]
    fn without_a_home_the_variables_are_named() {
        let error = private_dir(Path::new(".local/state"), "runs").unwrap_err().to_string();
        assert!(error.contains("HOME"), "{error}");
    }
}
