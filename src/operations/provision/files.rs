//! Files to write, and variables that workers read.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::change::{Action, Change, Task};
use super::{File, SetupError, SetupTarget};
use crate::settings::{Desired, DesiredQueue};

const SERVICE: &str = "files";

/// Variables that differ from the desired state: workers that read them use other values.
pub(super) fn jina(desired: &Desired, target: &SetupTarget) -> Vec<Change> {
    let Some(jina) = &desired.jina else { return Vec::new() };
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let wanted = [
        ("JINA_MODEL", jina.model.clone()),
        ("EMBEDDING_DIMENSIONS", number(jina.dimensions)),
        ("EMBED_BATCH", number(jina.batch)),
    ];
    let drift = |(variable, wanted): (&'static str, Option<String>)| {
        let (wanted, found) = (wanted?, target.variables.get(variable)?);
        (wanted != *found).then(|| {
            let detail =
                format!("is {found} instead of {wanted} ([desired.jina]): workers that read the variable use {found}");
            Change::drift("jina", "variable", variable, detail)
        })
    };
    wanted.into_iter().filter_map(drift).collect()
}

pub(super) fn changes(desired: &Desired, target: &SetupTarget, force: bool) -> Result<Vec<Change>, SetupError> {
    let worker = desired.files.worker.as_ref().map(|path| File {
        path: path.clone(),
        text: format!("{:#}\n", worker(desired, target)),
        private: false,
        lines: Vec::new(),
    });
    let mut changes = Vec::new();
    for file in target.files.iter().chain(&worker) {
        changes.extend(change(file, force)?);
    }
    Ok(changes)
}

/// The change of a file, if any.
fn change(file: &File, force: bool) -> Result<Option<Change>, SetupError> {
    let path = std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone());
    let what = path.display().to_string();
    let found = match std::fs::read(&path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(cause) => return Err(SetupError::File { path, cause }),
    };
    let action = match found {
        None => Action::Create,
        Some(found) if !file.lines.is_empty() => return Ok(missing_lines(&found, file, what)),
        Some(found) if found == file.text.as_bytes() => return Ok(None),
        Some(_) if force => Action::Change,
        Some(_) => {
            return Ok(Some(Change::drift(SERVICE, "file", what, "has different content; --force overwrites it")));
        }
    };
    let detail = if file.private { "with new secrets".to_owned() } else { format!("{} bytes", file.text.len()) };
    Ok(Some(Change::new(SERVICE, "file", what, action, Task::File(File { path, ..file.clone() })).detail(detail)))
}

/// Lines that are missing from a file that is written only once.
fn missing_lines(found: &[u8], file: &File, what: String) -> Option<Change> {
    let text = String::from_utf8_lossy(found);
    let begins =
        |line: &&String| text.lines().any(|found| found.trim_start_matches([' ', '/']).starts_with(line.as_str()));
    let missing: Vec<&str> = file.lines.iter().filter(|line| !begins(line)).map(String::as_str).collect();
    (!missing.is_empty()).then(|| {
        let detail = format!("has no line that begins with {}: add it manually", missing.join(", "));
        Change::drift(SERVICE, "file", what, detail)
    })
}

/// Writes a file atomically.
pub(super) fn write(file: &File) -> Result<(), SetupError> {
    let path = &file.path;
    let wrong = |cause| SetupError::File { path: path.clone(), cause };
    let parent = path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
    std::fs::create_dir_all(&parent).map_err(wrong)?;
    let mut written = tempfile::Builder::new().prefix(".shakedown-").tempfile_in(&parent).map_err(wrong)?;
    written.write_all(file.text.as_bytes()).map_err(wrong)?;
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = if file.private { 0o600 } else { 0o644 };
        written.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).map_err(wrong)?;
    }
    let put = if file.lines.is_empty() { written.persist(path) } else { written.persist_noclobber(path) };
    match put {
        // Another run was faster, and its secrets are equally valid.
        Err(error) if !file.lines.is_empty() && error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        put => put.map(drop).map_err(|error| wrong(error.error)),
    }
}

/// What producers and workers must know and no service stores, by the names that BullMQ and Jina use.
fn worker(desired: &Desired, target: &SetupTarget) -> Value {
    let mut whole = Map::new();
    if let Some(queue) = &desired.queue {
        whole.insert("queue".to_owned(), queue_json(queue, target));
    }
    if let Some(jina) = &desired.jina {
        let pairs = [
            ("model", json!(jina.model)),
            ("task", json!(jina.task)),
            ("dimensions", json!(jina.dimensions)),
            ("batch", json!(jina.batch)),
            ("requestsPerMinute", json!(jina.requests_per_minute)),
            ("tokensPerMinute", json!(jina.tokens_per_minute)),
        ];
        whole.insert("embeddings".to_owned(), without_nulls(pairs));
    }
    let collections: Map<String, Value> = desired
        .collections
        .iter()
        .map(|(name, collection)| {
            let size = collection.size.unwrap_or(target.dimensions);
            let pairs = [
                ("size", json!(size)),
                ("distance", json!(collection.distance.word())),
                ("vector", json!(collection.vector)),
            ];
            (name.clone(), without_nulls(pairs))
        })
        .collect();
    if !collections.is_empty() {
        whole.insert("collections".to_owned(), collections.into());
    }
    whole.into()
}

fn queue_json(queue: &DesiredQueue, target: &SetupTarget) -> Value {
    json!({
        "name": queue.name.as_ref().unwrap_or(&target.names.queue),
        "prefix": queue.prefix.as_ref().unwrap_or(&target.names.prefix),
        "defaultJobOptions": queue.job.options(),
        "streams": { "events": { "maxLen": queue.events } },
    })
}

/// The pairs without null values.
fn without_nulls<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    let present = pairs.into_iter().filter(|(_, value)| !value.is_null());
    present.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
}
