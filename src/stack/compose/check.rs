//! Whether a compose file gives ingestion what it needs: rules over the file, and the compose tool's own opinion.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

use crate::settings::{find_program, process_variable};
use crate::stack::Service;

/// Why a file could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be read.
    #[error("the compose file `{}` cannot be read: {cause}; `shakedown compose` writes one", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It is not a compose file.
    #[error("`{}` is no compose file: {reason}", path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
}

/// Something that should be otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule that is broken, one of [`RULES`].
    pub rule: &'static str,
    /// The service in the file; empty for the file as a whole.
    pub service: String,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub remedy: String,
}

/// What a service of a kind must have, with the rule's name; `None` when it does.
type Rule = (&'static str, fn(&Written<'_>) -> Option<(String, &'static str)>);

/// Every rule's name.
pub const RULES: [&str; 11] = [
    "pinned",
    "healthy",
    "local",
    "durable",
    "limited",
    "keeps-keys",
    "appends",
    "guarded",
    "filled",
    "present",
    "tool",
];

/// Rules for every service that keeps data.
const EVERY: [Rule; 5] =
    [("pinned", pinned), ("healthy", healthy), ("local", local), ("durable", durable), ("limited", limited)];

/// What a store must have besides, and where it keeps its data.
const STORES: [(Service, &[&str], &str, &[Rule]); 3] = [
    (
        Service::Redis,
        &["redis", "valkey"],
        "/data",
        &[("keeps-keys", keeps_keys), ("appends", appends), ("guarded", redis_guarded)],
    ),
    (Service::Postgres, &["postgres"], "/var/lib/postgresql", &[("guarded", postgres_guarded)]),
    (Service::Qdrant, &["qdrant"], "/qdrant/storage", &[("guarded", qdrant_guarded)]),
];

/// One service as the file has it, variables filled in.
struct Written<'a> {
    image: String,
    data: &'static str,
    service: &'a Value,
}

impl Written<'_> {
    /// All the words of the command, in one line.
    fn command(&self) -> String {
        match &self.service["command"] {
            Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            other => other.as_str().unwrap_or_default().to_owned(),
        }
    }

    fn variable(&self, name: &str) -> String {
        let environment = &self.service["environment"];
        let listed = || {
            let lines = environment.as_array()?.iter().filter_map(Value::as_str);
            lines.filter_map(|line| line.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        environment[name].as_str().or_else(listed).unwrap_or_default().to_owned()
    }

    fn list(&self, name: &str) -> Vec<String> {
        let entry = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Object(fields) => {
                let field = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                match fields.get("target") {
                    Some(Value::String(target)) => format!("{}:{target}", field("source")),
                    target => format!("{}:{}:{}", field("host_ip"), field("published"), target.unwrap_or(&Value::Null)),
                }
            }
            other => other.to_string(),
        };
        self.service[name].as_array().into_iter().flatten().map(entry).collect()
    }
}

fn pinned(written: &Written<'_>) -> Option<(String, &'static str)> {
    let last = written.image.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map_or("", |(_, tag)| tag);
    let floats = !last.contains('@') && (tag == "latest" || !tag.contains(|letter: char| letter.is_ascii_digit()));
    floats.then(|| (format!("its image `{}` may be another one tomorrow", written.image), "name a version or a digest"))
}

fn healthy(written: &Written<'_>) -> Option<(String, &'static str)> {
    let check = &written.service["healthcheck"];
    let there = check["test"].is_array() || check["test"].is_string();
    let off = check["disable"] == true || check["test"] == "NONE" || check["test"][0] == "NONE";
    (!there || off).then(|| {
        (
            "nothing tells when it is ready".to_owned(),
            "add a `healthcheck`, and `condition: service_healthy` where it is needed",
        )
    })
}

fn local(written: &Written<'_>) -> Option<(String, &'static str)> {
    let open = written
        .list("ports")
        .into_iter()
        .find(|port| !["127.", "localhost:", "[::1]:"].iter().any(|loopback| port.starts_with(loopback)))?;
    Some((format!("port `{open}` is published to the whole network"), "publish it as `127.0.0.1:PORT:PORT`"))
}

fn durable(written: &Written<'_>) -> Option<(String, &'static str)> {
    let kept = written.list("volumes").iter().any(|volume| {
        let mut parts = volume.split(':');
        // A single part is an anonymous volume, which `down` forgets.
        parts.next().is_some_and(|source| !source.is_empty())
            && parts.next().is_some_and(|at| at.starts_with(written.data))
    });
    (!kept).then(|| {
        (format!("what it keeps under {} goes with the container", written.data), "mount a named volume there")
    })
}

fn limited(written: &Written<'_>) -> Option<(String, &'static str)> {
    let service = written.service;
    let limits = [&service["mem_limit"], &service["deploy"]["resources"]["limits"]["memory"]];
    let limited = limits.iter().any(|limit| !limit.is_null());
    (!limited).then(|| ("it may use all memory of this machine".to_owned(), "add `mem_limit`"))
}

fn keeps_keys(written: &Written<'_>) -> Option<(String, &'static str)> {
    let command = written.command();
    (!command.contains("maxmemory-policy noeviction"))
        .then(|| ("it may evict the queue's keys".to_owned(), "add `--maxmemory-policy noeviction` to its command"))
}

fn appends(written: &Written<'_>) -> Option<(String, &'static str)> {
    let command = written.command();
    (!command.contains("appendonly yes"))
        .then(|| ("a restart forgets jobs that were acknowledged".to_owned(), "add `--appendonly yes` to its command"))
}

fn redis_guarded(written: &Written<'_>) -> Option<(String, &'static str)> {
    let command = written.command();
    let guarded = ["requirepass", "aclfile"].iter().any(|word| command.contains(word));
    (!guarded).then(|| ("it asks for no password".to_owned(), "set `requirepass`"))
}

fn postgres_guarded(written: &Written<'_>) -> Option<(String, &'static str)> {
    let secret = ["POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE"].iter().any(|name| !written.variable(name).is_empty());
    (!secret || written.variable("POSTGRES_HOST_AUTH_METHOD") == "trust")
        .then(|| ("it asks for no password".to_owned(), "set POSTGRES_PASSWORD"))
}

fn qdrant_guarded(written: &Written<'_>) -> Option<(String, &'static str)> {
    written
        .variable("QDRANT__SERVICE__API_KEY")
        .is_empty()
        .then(|| ("it asks for no key".to_owned(), "set QDRANT__SERVICE__API_KEY"))
}

/// Checks the compose file at `path`: what is wrong with it, and, where the compose tool is there, what that says.
/// The second value tells whether it was.
///
/// # Errors
/// The file cannot be read, or is no compose file.
pub fn check(path: &Path) -> Result<(Vec<Finding>, bool), CheckError> {
    let text = fs::read_to_string(path).map_err(|cause| CheckError::Read { path: path.to_owned(), cause })?;
    let form = |reason| CheckError::Form { path: path.to_owned(), reason };
    let mut file: Value = serde_saphyr::from_str(&text).map_err(|error| form(error.to_string()))?;
    let mut findings = Vec::new();
    fill(&mut file, &variables_beside(path), &mut findings);
    let services = file["services"].as_object().ok_or_else(|| form("it has no `services`".to_owned()))?;
    for (kind, names, data, rules) in STORES {
        let mut found = false;
        for (name, service) in services {
            let image = service["image"].as_str().unwrap_or_default().to_owned();
            let base = image.split('@').next().unwrap_or_default();
            let base = base.rsplit('/').next().unwrap_or_default().split(':').next().unwrap_or_default();
            if !names.iter().any(|known| base.contains(known)) {
                continue;
            }
            found = true;
            let written = Written { image, data, service };
            let broken = EVERY.iter().chain(rules).filter_map(|(name, rule)| Some((*name, rule(&written)?)));
            findings.extend(broken.map(|(rule, (what, remedy))| Finding {
                rule,
                service: name.clone(),
                what,
                remedy: remedy.to_owned(),
            }));
        }
        if !found {
            findings.push(Finding {
                rule: "present",
                service: String::new(),
                what: format!("no service has an image of {kind}"),
                remedy: format!("add one; `shakedown compose` writes a file that has {kind}"),
            });
        }
    }
    let tool = tool();
    if let Some(reason) = tool.as_ref().and_then(|tool| refusal(tool, path)) {
        findings.push(Finding {
            rule: "tool",
            service: String::new(),
            what: format!("the compose tool refuses it: {reason}"),
            remedy: "mend what it names".to_owned(),
        });
    }
    Ok((findings, tool.is_some()))
}

/// The variables of `.env` in the file's directory.
fn variables_beside(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path.with_file_name(".env")).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.trim().to_owned(), unquoted(value.trim())));
    lines.filter_map(pair).collect()
}

fn unquoted(value: &str) -> String {
    let inner = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    inner.unwrap_or(value).to_owned()
}

/// Fills variables into every text, as the compose tool does; one that must be set and is not is a finding.
fn fill(value: &mut Value, variables: &BTreeMap<String, String>, findings: &mut Vec<Finding>) {
    // `$$`, `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?message}`, `${NAME?message}`.
    static VARIABLE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\$(?:(\$)|(\w+)|\{(\w+)(?::?(-|\?)([^}]*))?\})").ok());
    match value {
        Value::String(text) => {
            let Some(pattern) = VARIABLE.as_ref() else { return };
            let filled = pattern.replace_all(text, |found: &Captures<'_>| {
                if found.get(1).is_some() {
                    return "$".to_owned();
                }
                let name = found.get(2).or_else(|| found.get(3)).map_or("", |name| name.as_str());
                let set = process_variable(name).or_else(|| variables.get(name).cloned()).filter(|set| !set.is_empty());
                set.unwrap_or_else(|| {
                    let other = found.get(5).map_or("", |other| other.as_str());
                    if found.get(4).is_some_and(|kind| kind.as_str() == "?") {
                        let finding = Finding {
                            rule: "filled",
                            service: String::new(),
                            what: format!("variable {name} is not set: {other}"),
                            remedy: format!("set {name} in .env beside the file, or in the environment"),
                        };
                        if !findings.contains(&finding) {
                            findings.push(finding);
                        }
                        return String::new();
                    }
                    other.to_owned()
                })
            });
            *text = filled.into_owned();
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, variables, findings)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, variables, findings)),
        _ => {}
    }
}

/// The compose tool: Docker's plug-in, or the program of its own.
fn tool() -> Option<Vec<PathBuf>> {
    let here = Path::new(".");
    let answers = |words: &[PathBuf]| {
        let (program, rest) = words.split_first()?;
        let mut version = Command::new(program);
        version.args(rest).arg("version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        version.status().ok()?.success().then(|| words.to_vec())
    };
    let plugin = find_program("docker", here).map(|docker| vec![docker, "compose".into()]);
    let program = find_program("docker-compose", here).map(|program| vec![program]);
    [plugin, program].into_iter().flatten().find_map(|words| answers(&words))
}

/// What the tool says against the file, in its last line.
fn refusal(tool: &[PathBuf], path: &Path) -> Option<String> {
    let (program, rest) = tool.split_first()?;
    // It is run in the file's own directory, where relative paths and .env belong.
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
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing more").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::stack::Images;

    fn written() -> (tempfile::TempDir, PathBuf, String) {
        let place = tempfile::tempdir().unwrap();
        super::super::write(place.path(), "test", &Images::default(), false).unwrap();
        let path = place.path().join("compose.yaml");
        let text = fs::read_to_string(&path).unwrap();
        (place, path, text)
    }

    #[test]
    fn what_we_write_passes_our_own_check() {
        let (_place, path, _) = written();
        assert_eq!(check(&path).unwrap().0, []);
    }

    #[test]
    fn every_rule_has_its_name() {
        let rules = EVERY.iter().chain(STORES.iter().flat_map(|(.., rules)| *rules));
        assert!(rules.into_iter().all(|(name, _)| RULES.contains(name)));
    }

    #[rstest]
    #[case("redis:8-alpine", "redis:latest", "redis", "may be another one tomorrow")]
    #[case("redis:8-alpine", "redis", "redis", "may be another one tomorrow")]
    #[case("127.0.0.1:${REDIS_PORT:-6379}:6379", "${REDIS_PORT:-6379}:6379", "redis", "whole network")]
    #[case("redis-data:/data", "/data", "redis", "goes with the container")]
    #[case("qdrant-data:/qdrant/storage", "qdrant-data:/elsewhere", "qdrant", "goes with the container")]
    #[case("mem_limit: 1g\n    shm_size", "shm_size", "postgres", "all memory")]
    #[case("noeviction", "allkeys-lru", "redis", "evict")]
    #[case("--appendonly yes", "--appendonly no", "redis", "forgets jobs")]
    #[case("requirepass", "# requirepas", "redis", "no password")]
    #[case("POSTGRES_PASSWORD: ", "OTHER: ", "postgres", "no password")]
    #[case("QDRANT__SERVICE__API_KEY: ", "OTHER: ", "qdrant", "no key")]
    #[case("test: [\"CMD-SHELL\", \"pg_isready", "test: [\"NONE\", \"pg_isready", "postgres", "when it is ready")]
    #[case(
        "image: ${SHAKEDOWN_QDRANT_IMAGE:-qdrant/qdrant:v1.18.3}",
        "image: other:1",
        "",
        "no service has an image of qdrant"
    )]
    fn each_rule_notices_what_breaks_it(
        #[case] good: &str,
        #[case] bad: &str,
        #[case] service: &str,
        #[case] says: &str,
    ) {
        let (_place, path, text) = written();
        assert!(text.contains(good), "the template no longer has `{good}`");
        fs::write(&path, text.replacen(good, bad, 1)).unwrap();
        let (findings, _) = check(&path).unwrap();
        assert!(
            findings.iter().any(|finding| finding.service == service && finding.what.contains(says)),
            "{findings:?}"
        );
    }

    #[test]
    fn a_secret_that_is_not_set_is_named() {
        let (place, path, _) = written();
        fs::write(place.path().join(".env"), "REDIS_PASSWORD='set'\nQDRANT_API_KEY=\n").unwrap();
        let (findings, _) = check(&path).unwrap();
        let said: Vec<&str> = findings.iter().map(|finding| finding.what.as_str()).collect();
        assert!(said.iter().any(|what| what.contains("POSTGRES_PASSWORD is not set")), "{said:?}");
        assert!(said.iter().any(|what| what.contains("QDRANT_API_KEY is not set")), "{said:?}");
        assert!(!said.iter().any(|what| what.contains("REDIS_PASSWORD")), "{said:?}");
    }

    #[test]
    fn a_file_that_is_no_compose_file_is_refused_with_the_place() {
        let (_place, path, _) = written();
        fs::write(&path, "services: [\n").unwrap();
        assert!(matches!(check(&path), Err(CheckError::Form { .. })));
        fs::write(&path, "a: 1\n").unwrap();
        assert!(check(&path).unwrap_err().to_string().contains("no `services`"));
        assert!(check(Path::new("/nowhere/compose.yaml")).unwrap_err().to_string().contains("/nowhere"));
    }
}
