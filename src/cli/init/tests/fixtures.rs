//! The workers of `fixtures/workers`: what is read of each equals what its own contract says, as far as its source says
//! it. The differences are listed with their reasons, and were reviewed by hand.

use std::collections::BTreeMap;
use std::path::Path;

use rstest::rstest;

use super::{Answers, command, load, written};
use crate::settings::Contract;

/// Where the written contract differs: key, value, and why the source does not say more.
type Differences = &'static [(&'static str, &'static str, &'static str)];

const NAME_OF_REMOVALS_ALONE: &str = "the processor compares the name with that of removals alone: any other will do";
const NO_ENVIRONMENT: &str = "the source directory has no virtual environment; where one is, its Python is chosen";
const ORDER: &str = "the order of jobs is not read: the field may be missing, and is named in a comment";
const COMPOSED: &str = "the statement that writes the column is composed of parts at run time";
const SAME_ID: &str = "LlamaIndex stores the id under ref_doc_id, doc_id and document_id; the preset names the first";

#[rstest]
#[case::langchain_js("langchain-js", Some("langchain-js"), &[])]
#[case::langchain_python("langchain-python", Some("langchain-py"), &[
    ("command", "python3 -m app.worker", NO_ENVIRONMENT),
    ("prepare", "python3 -m alembic upgrade head", NO_ENVIRONMENT),
])]
#[case::llama_index_ts("llama-index-ts", Some("llama-index-ts"), &[
    ("job.name", "ingest", NAME_OF_REMOVALS_ALONE),
    ("qdrant.document", "ref_doc_id", SAME_ID),
])]
#[case::llama_index_python("llama-index-python", Some("llama-index-py"), &[
    ("command", "python3 -m app.worker", NO_ENVIRONMENT),
    ("job.name", "ingest", NAME_OF_REMOVALS_ALONE),
    ("qdrant.document", "ref_doc_id", SAME_ID),
])]
#[case::nestjs("nestjs", Some("nestjs"), &[
    ("delete.name", "delete", "the processor of removals reads no name: its queue has no other jobs"),
])]
#[case::job_per_chunk("job-per-chunk", None, &[])]
#[case::exits_when_idle("exits-when-idle", None, &[])]
#[case::node("node", None, &[
    ("command", "node worker.js", "package.json is copied beside the source by `build`, and has no start script"),
    ("delete.data.sequence", "", ORDER),
    ("job.data.sequence", "", ORDER),
    ("postgres.chunks", "", COMPOSED),
])]
#[case::python("python", None, &[
    ("command", "python3 -m ingest_worker", NO_ENVIRONMENT),
    ("delete.data.sequence", "", ORDER),
    ("job.data.sequence", "", ORDER),
    ("postgres.chunks", "", COMPOSED),
    ("qdrant.version", "", "the payload is a union of two dictionaries, which is not followed"),
])]
fn what_is_read_equals_what_its_own_contract_says(
    #[case] name: &str,
    #[case] preset: Option<&str>,
    #[case] expected: Differences,
) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/workers").join(name);
    let target = tempfile::tempdir().unwrap();
    let (page, contract) = written(&source, target.path(), Answers::None);
    let line = page.text.lines().find_map(|line| line.strip_prefix("preset = "));
    assert_eq!(line.and_then(|line| line.split('"').nth(1)), preset);
    let own = keys(&load(&source.join("shakedown.toml")).unwrap());
    let read = keys(&contract);
    let mut different = Vec::new();
    for key in own.keys().chain(read.keys().filter(|key| !own.contains_key(*key))) {
        // Every variable is written that the source reads; those of the usual names are set anyway.
        let usual = key.starts_with("env.") && !own.contains_key(key);
        if own.get(key) != read.get(key) && !usual {
            different.push((key.as_str(), read.get(key).map_or("", String::as_str)));
        }
    }
    let expected: Vec<(&str, &str)> = expected.iter().map(|(key, value, _)| (*key, *value)).collect();
    different.sort_unstable();
    assert_eq!(different, expected, "{}", page.text);
}

/// The values of a contract that a source can say, by key.
fn keys(contract: &Contract) -> BTreeMap<String, String> {
    let (queue, evidence) = (&contract.queue, &contract.evidence);
    let mut keys: Vec<(String, Option<String>)> = vec![
        ("command".to_owned(), Some(command(contract))),
        ("prepare".to_owned(), contract.worker.prepare.as_ref().map(|hook| hook.command.join(" "))),
        ("creates".to_owned(), Some(format!("{:?}", contract.worker.creates))),
        ("queue.name".to_owned(), queue.name.clone()),
        ("queue.prefix".to_owned(), queue.prefix.clone()),
        ("queue.children".to_owned(), Some(queue.children.join(" "))),
        ("job.name".to_owned(), Some(queue.job.name.clone())),
        ("delete.queue".to_owned(), queue.delete.as_ref().and_then(|job| job.queue.clone())),
        ("delete.name".to_owned(), queue.delete.as_ref().map(|job| job.name.clone())),
        ("qdrant.collection".to_owned(), evidence.qdrant.collection.clone()),
        ("qdrant.document".to_owned(), Some(evidence.qdrant.document.clone())),
        ("qdrant.chunk".to_owned(), evidence.qdrant.chunk.clone()),
        ("qdrant.offset".to_owned(), evidence.qdrant.offset.clone()),
        ("qdrant.text".to_owned(), evidence.qdrant.text.clone()),
        ("qdrant.version".to_owned(), evidence.qdrant.version.clone()),
    ];
    for (job, data) in [("job", Some(&queue.job.data)), ("delete", queue.delete.as_ref().map(|job| &job.data))] {
        let fields = data.into_iter().flatten();
        keys.extend(fields.map(|(field, value)| (format!("{job}.data.{field}"), Some(format!("{value:?}")))));
    }
    if let Some(rows) = &evidence.postgres {
        let columns = [
            ("table", rows.table.clone()),
            ("id", Some(rows.id.clone())),
            ("status", Some(rows.status.clone())),
            ("done", Some(rows.done.clone())),
            ("skipped", rows.skipped.clone()),
            ("failed", rows.failed.clone()),
            ("version", rows.version.clone()),
            ("chunks", rows.chunks.clone()),
            ("error", rows.error.clone()),
        ];
        keys.extend(columns.map(|(key, value)| (format!("postgres.{key}"), value)));
    }
    let env = contract.worker.env.iter().map(|(name, value)| (format!("env.{name}"), Some(value.to_string())));
    keys.into_iter().chain(env).filter_map(|(key, value)| Some((key, value?))).collect()
}
