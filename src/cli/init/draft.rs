//! The contract as commented text, and the assumptions in it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::detect::{Found, Kind};

/// A contract to be reviewed by the user.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) text: String,
    pub(super) assumptions: Vec<String>,
}

/// Usual names of variables, and the placeholders that fill them.
const KNOWN: &[(&[&str], &str)] = &[
    (&["REDIS_URL", "REDIS_URI", "REDIS_CONNECTION_STRING", "BULLMQ_REDIS_URL"], "redis.url"),
    (&["REDIS_HOST", "REDISHOST"], "redis.host"),
    (&["REDIS_PORT", "REDISPORT"], "redis.port"),
    (&["REDIS_USER", "REDIS_USERNAME"], "redis.user"),
    (&["REDIS_PASSWORD", "REDIS_PASS"], "redis.password"),
    (&["REDIS_DB"], "redis.db"),
    (&["DATABASE_URL", "POSTGRES_URL", "PG_URL", "DB_URL", "SUPABASE_DB_URL", "DIRECT_URL"], "postgres.url"),
    (&["PGHOST", "POSTGRES_HOST", "DB_HOST", "PG_HOST"], "postgres.host"),
    (&["PGPORT", "POSTGRES_PORT", "DB_PORT", "PG_PORT"], "postgres.port"),
    (&["PGUSER", "POSTGRES_USER", "DB_USER", "PG_USER"], "postgres.user"),
    (&["PGPASSWORD", "POSTGRES_PASSWORD", "DB_PASSWORD", "PG_PASSWORD"], "postgres.password"),
    (&["PGDATABASE", "POSTGRES_DB", "DB_NAME", "PG_DATABASE"], "postgres.database"),
    (&["DOCUMENTS_TABLE", "TABLE_NAME"], "postgres.table"),
    (&["QDRANT_URL", "QDRANT_ENDPOINT"], "qdrant.url"),
    (&["QDRANT_HOST"], "qdrant.host"),
    (&["QDRANT_PORT"], "qdrant.port"),
    (&["QDRANT_GRPC_URL"], "qdrant.grpc_url"),
    (&["QDRANT_GRPC_PORT"], "qdrant.grpc_port"),
    (&["QDRANT_API_KEY", "QDRANT_KEY"], "qdrant.key"),
    (&["QDRANT_COLLECTION", "QDRANT_COLLECTION_NAME", "COLLECTION_NAME"], "qdrant.collection"),
    (&["JINA_BASE_URL", "JINA_URL", "JINA_API_URL", "JINA_API_BASE"], "jina.url"),
    (&["JINA_API_KEY", "JINA_KEY", "JINA_TOKEN"], "jina.key"),
    (&["JINA_MODEL", "EMBEDDING_MODEL"], "jina.model"),
    (&["EMBEDDING_DIMENSIONS", "JINA_DIMENSIONS", "VECTOR_SIZE"], "jina.dimensions"),
    (&["QUEUE_NAME", "BULLMQ_QUEUE", "INGEST_QUEUE"], "queue.name"),
    (&["QUEUE_PREFIX", "BULLMQ_PREFIX"], "queue.prefix"),
    (&["PORT", "HEALTH_PORT"], "worker.port"),
];

/// Usual names of fields of jobs, and the placeholders that fill them.
const FIELDS: &[(&[&str], &str)] = &[
    (&["documentId", "document_id", "docId", "doc_id", "id"], "document.id"),
    (&["text", "content", "body"], "document.text"),
    (&["path", "filePath", "file_path", "file"], "document.path"),
    (&["url", "fileUrl", "file_url", "documentUrl"], "document.url"),
    (&["source", "title", "name", "filename"], "document.source"),
    (&["version"], "document.version"),
];

fn placeholder(table: &[(&[&str], &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(names, _)| names.contains(&name)).map(|(_, place)| *place)
}

fn list(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", "))
}

/// The contract for the worker that was found.
pub(super) fn contract(found: &Found) -> Draft {
    let mut assumptions = Vec::new();
    let mut text = "# How Shakedown starts this worker, gives it jobs and reads its results. `shakedown run --dry-run` prints a summary.\n\n[worker]\n".to_owned();
    let mut line = |what: &str| {
        text.push_str(what);
        text.push('\n');
    };
    let because = found.because.join(", ");
    match &found.kind {
        Kind::Node { start, build } => {
            line(&format!("command = {}", list(start)));
            if let Some(build) = build {
                line(&format!("build = {{ command = {} }}", list(build)));
            }
            assumptions.push(format!("a Node worker ({because}), started with `{}`", start.join(" ")));
        }
        Kind::Python { start } => {
            line(&format!("command = {}", list(start)));
            assumptions.push(format!("a Python worker ({because}), started with `{}`", start.join(" ")));
        }
        Kind::Rust => {
            line("command = [\"cargo\", \"run\", \"--release\", \"--quiet\"]");
            line("build = { command = [\"cargo\", \"build\", \"--release\"], within = \"30m\" }");
            assumptions.push(format!("a Rust worker ({because}), started with `cargo run --release`"));
        }
        Kind::Docker { tag } => {
            line(&format!("image = {tag:?}"));
            line(&format!("build = {{ command = [\"docker\", \"build\", \"--tag\", {tag:?}, \".\"] }}"));
            assumptions.push(format!("a worker in a container ({because}), built as {tag}"));
        }
        Kind::Unknown => {
            line("command = [\"./worker\"]   # the program that takes jobs, and its arguments");
            assumptions.push(
                "no worker was found here (package.json, pyproject.toml or Cargo.toml with bullmq, or a Dockerfile): \
                 set `command`"
                    .to_owned(),
            );
        }
    }
    line(
        "ready = \"queue\"           # when it registers on the queue; or { log = \"regex\" }, or { http = \"http://127.0.0.1:{{worker.port}}/\" }",
    );
    line("shutdown_grace = \"10s\"    # how long it may take to end after SIGTERM");
    line(
        "# timeout_factor = 2.0          # multiplies every deadline, for a slow worker or one with a fixed lock duration",
    );

    let (known, unknown): (Vec<_>, Vec<_>) =
        found.variables.iter().partition(|name| placeholder(KNOWN, name).is_some());
    line("\n# Variables for the worker. REDIS_URL, DATABASE_URL, QDRANT_URL, JINA_BASE_URL and so on are always set.");
    line("[worker.env]");
    for name in &known {
        if let Some(place) = placeholder(KNOWN, name) {
            line(&format!("{name} = \"{{{{{place}}}}}\""));
        }
    }
    if !known.is_empty() {
        let names: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
        assumptions.push(format!("it reads the addresses of the services from {}", names.join(", ")));
    }
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.iter().map(|name| name.as_str()).collect();
        line(&format!(
            "# It also reads: {}. Variables that are not set here come from your environment.",
            names.join(", ")
        ));
        assumptions.push(format!("it works without {}, or your environment sets them", names.join(", ")));
    }
    queue(found, &mut text, &mut assumptions);
    evidence(&mut text, &mut assumptions);
    Draft { text, assumptions }
}

fn queue(found: &Found, text: &mut String, assumptions: &mut Vec<String>) {
    let from_variable = found.variables.iter().any(|name| placeholder(KNOWN, name) == Some("queue.name"));
    text.push_str("\n[queue]\n");
    let mut write = |what: String| {
        text.push_str(&what);
        text.push('\n');
    };
    match (from_variable, found.queues.len(), found.queues.first()) {
        (false, 1, Some(name)) => {
            write(format!(
                "# The queue name is fixed, so every scenario gets its own stack, which takes longer.\nname = {name:?}"
            ));
            assumptions
                .push(format!("its queue is always `{name}`; runs are faster if it reads the name from a variable"));
        }
        (false, count, _) if count > 1 => {
            let names: Vec<&str> = found.queues.iter().map(String::as_str).collect();
            write(format!(
                "# It takes jobs from {}. Which queue has the documents?\n# name = {:?}",
                names.join(", "),
                names[0]
            ));
            assumptions
                .push(format!("it reads the queue name from QUEUE_NAME; its source also names {}", names.join(", ")));
        }
        _ => assumptions.push("it reads the queue name from QUEUE_NAME and QUEUE_PREFIX".to_owned()),
    }
    let mut fields: Vec<(String, &str)> =
        found.fields.iter().filter_map(|field| Some((field.clone(), placeholder(FIELDS, field)?))).collect();
    let has = |fields: &[(String, &str)], wanted: &[&str]| fields.iter().any(|(_, place)| wanted.contains(place));
    if !has(&fields, &["document.id"]) {
        fields.push(("documentId".to_owned(), "document.id"));
    }
    if !has(&fields, &["document.text", "document.path", "document.url"]) {
        fields.push(("text".to_owned(), "document.text"));
    }
    let fields: BTreeSet<String> =
        fields.into_iter().map(|(field, place)| format!("{field} = \"{{{{{place}}}}}\"")).collect();
    let fields = fields.into_iter().collect::<Vec<_>>().join(", ");
    write(format!(
        "job = {{ name = \"ingest-document\", data = {{ {fields} }}, attempts = 5, backoff = {{ type = \"exponential\", delay = 200, jitter = 0.5 }} }}"
    ));
    write("# delete = { name = \"delete-document\", data = { documentId = \"{{document.id}}\" } }   # if it can delete a document".to_owned());
    assumptions.push(format!("a job has {fields}"));
}

fn evidence(text: &mut String, assumptions: &mut Vec<String>) {
    let _ = write!(
        text,
        "\n# Where it stores its results. Omit what it does not store: the cases that need it are skipped and say why.\n\
         [evidence]\n\
         qdrant = {{ document = \"document_id\", chunk = \"chunk_index\", text = \"text\" }}\n\
         # postgres = {{ id = \"id\", status = \"status\", done = \"ready\", failed = \"failed\", chunks = \"chunks\" }}\n"
    );
    assumptions.push(
        "the payload of a point has `document_id`, `chunk_index` and `text`, and no row in Postgres is read".to_owned(),
    );
}
