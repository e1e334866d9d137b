//! Checking a compose file: our rules, and the verdict of the compose tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::rules::{COMMON_RULES, STORES, Store};
use super::variables::{UnsetVariable, read_env_file, substitute};
use crate::settings::find_program;

/// Why a file could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be read.
    #[error("cannot read the compose file `{}`: {cause}; `shakedown compose` writes one", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        cause: std::io::Error,
    },
    /// It is not a compose file.
    #[error("invalid compose file `{}`: {reason}", path.display())]
    Form {
        /// Its path.
        path: PathBuf,
        /// The problem and its position.
        reason: String,
    },
}

/// A violation of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule, one of [`RULES`](super::rules::RULES).
    pub rule: &'static str,
    /// The name of the service in the file; empty for the file as a whole.
    pub service: String,
    /// The problem.
    pub what: String,
    /// How to fix it.
    pub remedy: String,
}

/// Checks the compose file at `path` against the rules and, if it is installed, with the compose tool. The second value
/// is whether the tool is installed.
///
/// # Errors
/// The file cannot be read or is not a compose file.
pub fn check(path: &Path) -> Result<(Vec<Finding>, bool), CheckError> {
    let text = fs::read_to_string(path).map_err(|cause| CheckError::Read { path: path.to_owned(), cause })?;
    let form = |reason| CheckError::Form { path: path.to_owned(), reason };
    let mut file: Value = serde_saphyr::from_str(&text).map_err(|error| form(error.to_string()))?;
    let mut unset = Vec::new();
    substitute(&mut file, &read_env_file(path), &mut unset);
    let mut findings: Vec<Finding> = unset.into_iter().map(Finding::from).collect();
    let services = file["services"].as_object().ok_or_else(|| form("it has no `services`".to_owned()))?;
    for store in &STORES {
        findings.extend(check_store(store, services));
    }
    let tool = find_tool();
    if let Some(reason) = tool.as_ref().and_then(|tool| tool_error(tool, path)) {
        findings.push(Finding {
            rule: "tool",
            service: String::new(),
            what: format!("the compose tool rejects the file: {reason}"),
            remedy: "fix the reported problem".to_owned(),
        });
    }
    Ok((findings, tool.is_some()))
}

impl From<UnsetVariable> for Finding {
    fn from(UnsetVariable { name, message }: UnsetVariable) -> Self {
        Self {
            rule: "filled",
            service: String::new(),
            what: format!("variable {name} is not set: {message}"),
            remedy: format!("set {name} in .env next to the file, or in the environment"),
        }
    }
}

/// Checks every service of the file that is this store. If there is none, that is the finding.
fn check_store(store: &Store, services: &serde_json::Map<String, Value>) -> Vec<Finding> {
    let mut found = false;
    let mut findings = Vec::new();
    for (name, service) in services {
        let Some(service) = store.recognise(service) else { continue };
        found = true;
        let violations = COMMON_RULES.iter().chain(store.rules);
        let violations = violations.filter_map(|(rule, check)| Some((*rule, check(&service)?)));
        findings.extend(violations.map(|(rule, (what, remedy))| Finding {
            rule,
            service: name.clone(),
            what,
            remedy: remedy.to_owned(),
        }));
    }
    if !found {
        let kind = store.service;
        findings.push(Finding {
            rule: "present",
            service: String::new(),
            what: format!("no service uses an image of {kind}"),
            remedy: format!("add one; `shakedown compose` writes a file with {kind}"),
        });
    }
    findings
}

/// The compose tool: the plug-in of Docker, or the separate program.
fn find_tool() -> Option<Vec<PathBuf>> {
    let current = Path::new(".");
    let answers = |words: &[PathBuf]| {
        let (program, rest) = words.split_first()?;
        let mut version = Command::new(program);
        version.args(rest).arg("version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        version.status().ok()?.success().then(|| words.to_vec())
    };
    let plugin = find_program("docker", current).map(|docker| vec![docker, "compose".into()]);
    let program = find_program("docker-compose", current).map(|program| vec![program]);
    [plugin, program].into_iter().flatten().find_map(|words| answers(&words))
}

/// The last line of the error of the tool; `None` if it accepts the file.
fn tool_error(tool: &[PathBuf], path: &Path) -> Option<String> {
    let (program, rest) = tool.split_first()?;
    // It runs in the directory of the file, to which relative paths and .env refer.
    let path = fs::canonicalize(path).ok()?;
    let output = Command::new(program)
        .args(rest)
        .arg("--file")
        .arg(&path)
        .args(["config", "--quiet"])
        .current_dir(path.parent().unwrap_or_else(|| Path::new("/")))
        .stdin(Stdio::null())
        .output()
        .ok()?;
    if output.status.success() {
        return None;
    }
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = error.lines().rev().find(|line| !line.trim().is_empty());
    Some(last.unwrap_or("no message").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::stack::compose::files;
    use crate::stack::containers::images::Images;

    fn write_project() -> (tempfile::TempDir, PathBuf, String) {
        let place = tempfile::tempdir().unwrap();
        files::write(place.path(), "test", &Images::default(), false).unwrap();
        let path = place.path().join("compose.yaml");
        let text = fs::read_to_string(&path).unwrap();
        (place, path, text)
    }

    #[test]
    fn the_written_file_passes_the_check() {
        let (_place, path, _) = write_project();
        assert_eq!(check(&path).unwrap().0, []);
    }

    #[rstest]
    #[case("redis:8-alpine", "redis:latest", "redis", "is not pinned")]
    #[case("redis:8-alpine", "redis", "redis", "is not pinned")]
    #[case("127.0.0.1:${REDIS_PORT:-6379}:6379", "${REDIS_PORT:-6379}:6379", "redis", "all network interfaces")]
    #[case("redis-data:/data", "/data", "redis", "lost with the container")]
    #[case("qdrant-data:/qdrant/storage", "qdrant-data:/elsewhere", "qdrant", "lost with the container")]
    #[case("mem_limit: 1g\n    shm_size", "shm_size", "postgres", "no memory limit")]
    #[case("noeviction", "allkeys-lru", "redis", "evict")]
    #[case("--appendonly yes", "--appendonly no", "redis", "loses acknowledged jobs")]
    #[case("requirepass", "# requirepas", "redis", "no password")]
    #[case("POSTGRES_PASSWORD: ", "OTHER: ", "postgres", "no password")]
    #[case("QDRANT__SERVICE__API_KEY: ", "OTHER: ", "qdrant", "no API key")]
    #[case("test: [\"CMD-SHELL\", \"pg_isready", "test: [\"NONE\", \"pg_isready", "postgres", "no health check")]
    #[case(
        "image: ${SHAKEDOWN_QDRANT_IMAGE:-qdrant/qdrant:v1.18.3}",
        "image: other:1",
        "",
        "no service uses an image of qdrant"
    )]
    fn each_rule_reports_its_violation(
        #[case] good: &str,
        #[case] bad: &str,
        #[case] service: &str,
        #[case] text_of_finding: &str,
    ) {
        let (_place, path, text) = write_project();
        assert!(text.contains(good), "the template no longer has `{good}`");
        fs::write(&path, text.replacen(good, bad, 1)).unwrap();
        let (findings, _) = check(&path).unwrap();
        assert!(
            findings.iter().any(|finding| finding.service == service && finding.what.contains(text_of_finding)),
            "{findings:?}"
        );
    }

    #[test]
    fn an_unset_secret_is_named() {
        let (place, path, _) = write_project();
        fs::write(place.path().join(".env"), "REDIS_PASSWORD='set'\nQDRANT_API_KEY=\n").unwrap();
        let (findings, _) = check(&path).unwrap();
        let problems: Vec<&str> = findings.iter().map(|finding| finding.what.as_str()).collect();
        assert!(problems.iter().any(|what| what.contains("POSTGRES_PASSWORD is not set")), "{problems:?}");
        assert!(problems.iter().any(|what| what.contains("QDRANT_API_KEY is not set")), "{problems:?}");
        assert!(!problems.iter().any(|what| what.contains("REDIS_PASSWORD")), "{problems:?}");
    }

    #[test]
    fn an_invalid_compose_file_is_rejected_with_its_path() {
        let (_place, path, _) = write_project();
        fs::write(&path, "services: [\n").unwrap();
        assert!(matches!(check(&path), Err(CheckError::Form { .. })));
        fs::write(&path, "a: 1\n").unwrap();
        assert!(check(&path).unwrap_err().to_string().contains("no `services`"));
        assert!(check(Path::new("/nowhere/compose.yaml")).unwrap_err().to_string().contains("/nowhere"));
    }
}
