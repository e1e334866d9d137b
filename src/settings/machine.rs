//! What the machine says about itself: where programs are, where state and throwaway data may go.

use std::path::{Path, PathBuf};

/// The directories of `PATH`, in order.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "settings is the room that reads the environment")]
pub fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// Where clean-up ledgers are kept: `$XDG_STATE_HOME/shakedown`, else `~/.local/state/shakedown`,
/// else a directory of this user in the system's directory for temporary files.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "settings is the room that reads the environment")]
pub fn state_dir() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(state) = absolute("XDG_STATE_HOME") {
        return state.join("shakedown");
    }
    match absolute("HOME") {
        Some(home) if home != Path::new("/") => home.join(".local/state/shakedown"),
        _ => std::env::temp_dir().join(format!("shakedown-state-{}", nix::unistd::getuid())),
    }
}
