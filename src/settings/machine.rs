//! What the machine says about itself: where programs are, where state and throwaway data may go.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

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

/// Variables that a worker inherits from the shell that started the harness: all of them, except those
/// that the table of settings knows, because the harness sets these itself.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "settings is the room that reads the environment")]
pub fn inherited() -> Vec<(String, SecretString)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !is_ours(name))
        .map(|(name, value)| (name, SecretString::from(value)))
        .collect()
}

/// The program that a shell would run for `word`: a path as it stands, seen from `cwd`, or a name on `PATH`.
#[must_use]
pub fn find_program(word: &str, cwd: &Path) -> Option<PathBuf> {
    if word.contains('/') {
        return Some(cwd.join(word)).filter(|path| path.is_file());
    }
    search_path().into_iter().map(|directory| directory.join(word)).find(|path| path.is_file())
}

/// Whether the harness owns `name`: a variable of the table, or the file form of one.
fn is_ours(name: &str) -> bool {
    name.starts_with("SHAKEDOWN_") || super::table::entry(name.strip_suffix("_FILE").unwrap_or(name)).is_some()
}
