//! Detection of the worker in a directory.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// Directories with dependencies or build output.
const FOREIGN: &[&str] = &["node_modules", "dist", "build", "target", "vendor", "__pycache__", "site-packages", "venv"];
/// The maximum number of files to read, and of bytes per file.
const MOST: usize = 2000;
const LARGEST: u64 = 1 << 20;

/// What kind of project it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// `package.json` with bullmq; its scripts by name, and the program that installed it.
    Node { start: Vec<String>, build: Option<Vec<String>> },
    /// `pyproject.toml` or `requirements.txt` with bullmq.
    Python { start: Vec<String> },
    /// `Cargo.toml` with bullmq.
    Rust,
    /// A Dockerfile, and none of the above.
    Docker { tag: String },
    /// Unknown.
    Unknown,
}

/// The worker that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) kind: Kind,
    /// The files that show it.
    pub(super) because: Vec<String>,
    /// Variables that the worker's own source reads.
    pub(super) variables: BTreeSet<String>,
    /// Names of the queues for which it creates workers.
    pub(super) queues: BTreeSet<String>,
    /// Fields of a job's data that it reads.
    pub(super) fields: BTreeSet<String>,
}

/// Detects the worker in `directory`.
pub(super) fn detect(directory: &Path) -> std::io::Result<Found> {
    let text = |name: &str| fs::read_to_string(directory.join(name)).ok();
    let mentions = |name: &str| text(name).is_some_and(|text| text.contains("bullmq"));
    let mut because = Vec::new();
    let kind = if mentions("package.json") {
        because.push("package.json with bullmq".to_owned());
        node(directory, &text("package.json").unwrap_or_default())
    } else if let Some(name) = ["pyproject.toml", "requirements.txt"].into_iter().find(|name| mentions(name)) {
        because.push(format!("{name} with bullmq"));
        Kind::Python { start: python(directory) }
    } else if mentions("Cargo.toml") {
        because.push("Cargo.toml with bullmq".to_owned());
        Kind::Rust
    } else if directory.join("Dockerfile").is_file() {
        because.push("Dockerfile".to_owned());
        let name =
            fs::canonicalize(directory).ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let tag = name.unwrap_or_default().to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        Kind::Docker {
            tag: format!(
                "{}:latest",
                if tag.trim_matches('-').is_empty() { "my-worker" } else { tag.trim_matches('-') }
            ),
        }
    } else {
        Kind::Unknown
    };
    let mut found =
        Found { kind, because, variables: BTreeSet::new(), queues: BTreeSet::new(), fields: BTreeSet::new() };
    for path in sources(directory)? {
        let small = fs::metadata(&path).is_ok_and(|about| about.len() <= LARGEST);
        if let Some(text) = small.then(|| fs::read_to_string(&path).ok()).flatten() {
            read(&text, &mut found);
        }
    }
    Ok(found)
}

fn read(text: &str, found: &mut Found) {
    static VARIABLE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r#"(?:process\.env\.|process\.env\[['"]|os\.environ\[['"]|environ\.get\(\s*['"]|getenv\(\s*['"]|env::var(?:_os)?\(\s*"|required\(\s*['"])([A-Z][A-Z0-9_]+)"#,
        )
        .ok()
    });
    static QUEUE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"\bWorker(?:<[^>(]*>)?\(\s*['"`]([A-Za-z0-9_.-]+)['"`]"#).ok());
    static FIELD: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"job\.data(?:\.|\[['"]|\.get\(\s*['"])([A-Za-z_][A-Za-z0-9_]*)"#).ok());
    let all = |regex: &Option<Regex>, into: &mut BTreeSet<String>| {
        let captures = regex.iter().flat_map(|regex| regex.captures_iter(text));
        into.extend(captures.filter_map(|found| Some(found.get(1)?.as_str().to_owned())));
    };
    all(&VARIABLE, &mut found.variables);
    all(&QUEUE, &mut found.queues);
    all(&FIELD, &mut found.fields);
}

/// The source files of the directory, without those of dependencies.
fn sources(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut rest = vec![directory.to_owned()];
    while let Some(next) = rest.pop() {
        // An unreadable directory is an error at the top, and skipped below it.
        let entries = match fs::read_dir(&next) {
            Ok(entries) => entries,
            Err(error) if next == directory => return Err(error),
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && !name.starts_with('.') && !FOREIGN.contains(&name.as_str()) {
                rest.push(path);
            } else if kind.is_file() {
                let known = path.extension().and_then(|extension| extension.to_str());
                if matches!(known, Some("ts" | "js" | "mjs" | "cjs" | "mts" | "py" | "rs")) {
                    files.push(path);
                }
            }
        }
        if files.len() >= MOST {
            break;
        }
    }
    files.sort();
    Ok(files)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn node(directory: &Path, package: &str) -> Kind {
    let package: Value = serde_json::from_str(package).unwrap_or_default();
    let script = |name: &str| package["scripts"][name].as_str();
    let manager = [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn")]
        .into_iter()
        .find(|(lock, _)| directory.join(lock).is_file())
        .map_or("npm", |(_, manager)| manager);
    // A script that only starts node is replaced by its command, so that signals reach the worker and not a shell.
    let plain = |text: &&str| !text.contains(['&', '|', ';', '$', '=', '"', '\'']) && text.starts_with("node ");
    let start = ["worker", "start:worker", "start"].into_iter().find_map(|name| {
        let text = script(name)?;
        Some(Some(text).filter(plain).map_or_else(|| words(&format!("{manager} run --silent {name}")), words))
    });
    let main = || package["main"].as_str().map(|main| vec!["node".to_owned(), main.to_owned()]);
    let start = start.or_else(main).unwrap_or_else(|| words("node worker.js"));
    let build = script("build").map(|_| words(&format!("{manager} run build")));
    Kind::Node { start, build }
}

fn python(directory: &Path) -> Vec<String> {
    let modules = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut modules: Vec<String> = modules
        .filter(|entry| entry.path().join("__main__.py").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    modules.sort();
    if let Some(module) = modules.first() {
        return words(&format!("python3 -m {module}"));
    }
    let file = ["worker.py", "main.py", "app.py"].into_iter().find(|file| directory.join(file).is_file());
    words(&format!("python3 {}", file.unwrap_or("worker.py")))
}
