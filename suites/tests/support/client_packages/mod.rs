//! Where `scripts/install clients` has put what it fetched from registries.
#![expect(clippy::disallowed_methods, reason = "the same variables as in scripts/lib.sh")]

use std::path::PathBuf;

/// The place of the packages that are called `name`, such as `board`; of the clients themselves with an empty one.
/// It may not exist.
pub fn home(name: &str) -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || variable("XDG_CACHE_HOME").unwrap_or_else(|| variable("HOME").unwrap_or_default().join(".cache"));
    let mut home = variable("SHAKEDOWN_CLIENTS").unwrap_or_else(|| cache().join("shakedown/clients"));
    if !name.is_empty() {
        home.as_mut_os_string().push(format!("-{name}"));
    }
    home
}
