//! Files for others to read, and what the variables of workers say.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Action, Change, Place, Task};
use crate::settings::{Backoff, BackoffKind, Desired, DesiredQueue, Keep};
use crate::subjects::setup::SetupError;

const SERVICE: &str = "files";

/// Variables that do not say what is desired: workers that read them ask for something else.
pub(super) fn jina(desired: &Desired, place: &Place) -> Vec<Change> {
    let Some(jina) = &desired.jina else { return Vec::new() };
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let wanted = [
        ("JINA_MODEL", jina.model.clone()),
        ("EMBEDDING_DIMENSIONS", number(jina.dimensions)),
        ("EMBED_BATCH", number(jina.batch)),
    ];
    let drift = |(variable, wanted): (&'static str, Option<String>)| {
        let (wanted, found) = (wanted?, place.variables.get(variable)?);
        (wanted != *found).then(|| {
            let detail =
                format!("is {found}, where [desired.jina] says {wanted}: workers that read it go by the variable");
            Change::drift("jina", "variable", variable, detail)
        })
    };
    wanted.into_iter().filter_map(drift).collect()
}

pub(super) fn changes(desired: &Desired, place: &Place, force: bool) -> Result<Vec<Change>, SetupError> {
    let worker = desired.files.worker.as_ref().map(|path| (path, format!("{:#}\n", worker(desired, place))));
    let dotenv = desired.files.dotenv.as_ref().map(|path| (path, place.dotenv.clone()));
    let mut changes = Vec::new();
    for (path, text) in [dotenv, worker].into_iter().flatten() {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let what = path.display().to_string();
        let found = match std::fs::read(&path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(cause) => return Err(SetupError::File { path, cause }),
        };
        let action = match found {
            None => Action::Create,
            Some(found) if found == text.as_bytes() => continue,
            Some(_) if force => Action::Change,
            Some(_) => {
                let detail = "says something else; --force overwrites it";
                changes.push(Change::drift(SERVICE, "file", what, detail));
                continue;
            }
        };
        let size = format!("{} bytes", text.len());
        changes.push(Change::new(SERVICE, "file", what, action, Task::File { path, text }).detail(size));
    }
    Ok(changes)
}

/// Writes a file whole or not at all.
pub(super) fn write(path: &Path, text: &str) -> Result<(), SetupError> {
    let wrong = |cause| SetupError::File { path: path.to_owned(), cause };
    let parent = path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
    std::fs::create_dir_all(&parent).map_err(wrong)?;
    let mut file = tempfile::Builder::new().prefix(".shakedown-").tempfile_in(&parent).map_err(wrong)?;
    file.write_all(text.as_bytes()).map_err(wrong)?;
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(wrong)?;
    }
    file.persist(path).map_err(|error| wrong(error.error))?;
    Ok(())
}

/// What a producer and a worker need to know and no service keeps, by the names that BullMQ and Jina use.
fn worker(desired: &Desired, place: &Place) -> Value {
    let mut whole = Map::new();
    if let Some(queue) = &desired.queue {
        whole.insert("queue".to_owned(), queue_of(queue, place));
    }
    if let Some(jina) = &desired.jina {
        let told = [
            ("model", json!(jina.model)),
            ("task", json!(jina.task)),
            ("dimensions", json!(jina.dimensions)),
            ("batch", json!(jina.batch)),
            ("requestsPerMinute", json!(jina.requests_per_minute)),
            ("tokensPerMinute", json!(jina.tokens_per_minute)),
        ];
        whole.insert("embeddings".to_owned(), said(told));
    }
    let collections: Map<String, Value> = desired
        .collections
        .iter()
        .map(|(name, collection)| {
            let size = collection.size.unwrap_or(place.dimensions);
            let told = [
                ("size", json!(size)),
                ("distance", json!(collection.distance.word())),
                ("vector", json!(collection.vector)),
            ];
            (name.clone(), said(told))
        })
        .collect();
    if !collections.is_empty() {
        whole.insert("collections".to_owned(), collections.into());
    }
    whole.into()
}

fn queue_of(queue: &DesiredQueue, place: &Place) -> Value {
    let keep = |keep: Keep| said([("age", json!(keep.age.map(|age| age.as_secs()))), ("count", json!(keep.count))]);
    let job = &queue.job;
    let options = said([
        ("attempts", json!(job.attempts)),
        ("backoff", job.backoff.map_or(Value::Null, backoff)),
        ("removeOnComplete", job.keep_completed.map_or(Value::Null, keep)),
        ("removeOnFail", job.keep_failed.map_or(Value::Null, keep)),
    ]);
    json!({
        "name": queue.name.as_ref().unwrap_or(&place.names.queue),
        "prefix": queue.prefix.as_ref().unwrap_or(&place.names.prefix),
        "defaultJobOptions": options,
        "streams": { "events": { "maxLen": queue.events } },
    })
}

fn backoff(backoff: Backoff) -> Value {
    let kind = match backoff.kind {
        BackoffKind::Fixed => "fixed",
        BackoffKind::Exponential => "exponential",
    };
    json!({ "type": kind, "delay": backoff.delay, "jitter": backoff.jitter })
}

/// The pairs of which something is said.
fn said<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    let said = pairs.into_iter().filter(|(_, value)| !value.is_null());
    said.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
}
