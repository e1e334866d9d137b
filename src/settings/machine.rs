//! Facts about the machine: where programs are, and where state and cached data go.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::table;
use crate::redaction;

/// The directories of `PATH`, in order.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "settings is the room that reads the environment")]
pub fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// The directory of the clean-up ledgers if no settings were read, as in a signal handler or in tests:
/// `SHAKEDOWN_STATE_DIR`, `$XDG_STATE_HOME/shakedown`, else `~/.local/state/shakedown`.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "settings is the room that reads the environment")]
pub fn state_dir() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    variable("SHAKEDOWN_STATE_DIR")
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or_else(|| state_dir_of(variable))
}

/// The cache directory: `$XDG_CACHE_HOME/shakedown`, else `~/.cache/shakedown`.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "settings is the room that reads the environment")]
pub fn cache_dir() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match absolute("XDG_CACHE_HOME") {
        Some(cache) => cache.join("shakedown"),
        None => home(absolute("HOME")).join(".cache/shakedown"),
    }
}

/// The home directory: `HOME`, else that of the password file. Never a directory that another user could create first,
/// such as one in `/tmp`: programs run from below it, and files below it say what is removed.
fn home(variable: Option<PathBuf>) -> PathBuf {
    variable.filter(|home| home != Path::new("/")).unwrap_or_else(|| {
        let user = nix::unistd::User::from_uid(nix::unistd::getuid());
        // A user without an entry has no home: what is not absolute is refused where it is used.
        user.ok().flatten().map_or_else(PathBuf::new, |user| user.dir)
    })
}

/// The directory of the clean-up ledgers by the XDG rules, which ignore relative paths.
pub(super) fn state_dir_of(variable: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    if let Some(state) = absolute("XDG_STATE_HOME") {
        return state.join("shakedown");
    }
    home(absolute("HOME")).join(".local/state/shakedown")
}

/// The address of the Docker engine: `DOCKER_HOST`, else the first default socket that exists, else
/// `/var/run/docker.sock`. The order is that of `testcontainers`, which starts the containers.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "settings is the room that reads the environment")]
pub fn docker_host() -> String {
    if let Some(host) = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()) {
        return host;
    }
    let directory = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let default = PathBuf::from("/var/run/docker.sock");
    let runtime = directory("XDG_RUNTIME_DIR").map(|directory| directory.join(".docker/run/docker.sock"));
    let home = |path: &str| directory("HOME").map(|directory| directory.join(path));
    let sockets =
        [Some(default.clone()), runtime, home(".docker/run/docker.sock"), home(".docker/desktop/docker.sock")];
    let found = sockets.into_iter().flatten().find(|socket| socket.exists()).unwrap_or(default);
    format!("unix://{}", found.display())
}

/// The socket of Podman, if it exists. Podman speaks Docker's protocol.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "settings is the room that reads the environment")]
pub fn podman_socket() -> Option<PathBuf> {
    let runtime =
        std::env::var_os("XDG_RUNTIME_DIR").map(|directory| PathBuf::from(directory).join("podman/podman.sock"));
    [runtime, Some(PathBuf::from("/run/podman/podman.sock"))].into_iter().flatten().find(|socket| socket.exists())
}

/// A variable of this process, for files in which other tools expand variables.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "settings is the room that reads the environment")]
pub fn process_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Lets the redactor know the variables of this process that are secret.
#[expect(clippy::disallowed_methods, reason = "settings is the room that reads the environment")]
pub fn learn_process_environment() {
    let readable = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let variables: Vec<(String, SecretString)> =
        std::env::vars_os().filter_map(readable).map(|(name, value)| (name, value.into())).collect();
    redaction::learn_environment(variables.iter().map(|(name, value)| (name.as_str(), value)));
}

/// A GitHub Actions runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// The file for the step's job summary, in Markdown.
    pub summary: Option<PathBuf>,
}

/// The GitHub Actions runner of this process, if it runs on one.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "settings is the room that reads the environment")]
pub fn runner() -> Option<Runner> {
    let on = std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true");
    let summary = || std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()).map(PathBuf::from);
    on.then(|| Runner { summary: summary() })
}

/// Variables that a worker inherits from the shell that started the harness: all except those of services, names and
/// the harness itself, which the harness sets.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "settings is the room that reads the environment")]
pub fn inherited() -> Vec<(String, SecretString)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !is_set_by_harness(name))
        .map(|(name, value)| (name, SecretString::from(value)))
        .collect()
}

/// The program that a shell in `cwd` would run for `word`: a path, or a name on `PATH`.
#[must_use]
pub fn find_program(word: &str, cwd: &Path) -> Option<PathBuf> {
    if word.contains('/') {
        return Some(cwd.join(word)).filter(|path| path.is_file());
    }
    search_path().into_iter().map(|directory| directory.join(word)).find(|path| path.is_file())
}

/// Whether the harness sets `name`: a variable of the table that is not passed on, or its file form.
fn is_set_by_harness(name: &str) -> bool {
    let file = name.strip_suffix("_FILE");
    // The value of an OpenTelemetry file variable is passed on itself; both together would be refused.
    let ours = |entry: &table::Entry| !entry.passes_on() || (file.is_some() && entry.is_telemetry());
    name.starts_with("SHAKEDOWN_") || table::entry(file.unwrap_or(name)).is_some_and(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_does_not_inherit_variables_that_the_harness_sets() {
        for name in ["REDIS_URL", "JINA_API_KEY_FILE", "SUPABASE_SERVICE_ROLE_KEY", "QUEUE_NAME", "SHAKEDOWN_X"] {
            assert!(is_set_by_harness(name), "{name}");
        }
        for name in ["OTEL_SERVICE_NAME", "TRACEPARENT", "OTEL_EXPORTER_OTLP_HEADERS_FILE"] {
            assert!(is_set_by_harness(name), "{name}");
        }
        for name in
            ["PATH", "RUST_LOG", "NO_COLOR", "WORKER_CONCURRENCY", "CHUNK_TOKENS", "OTEL_EXPORTER_OTLP_ENDPOINT"]
        {
            assert!(!is_set_by_harness(name), "{name}");
        }
    }
}
