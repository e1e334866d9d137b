//! The contract as text, with comments, and what was assumed in it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::look::{Found, Kind};

/// A contract that nobody has read yet.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) text: String,
    pub(super) assumptions: Vec<String>,
}

/// Names that people give to what the harness knows, and the places that fill them.
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

/// Fields of jobs, by what they usually hold.
const FIELDS: &[(&[&str], &str)] = &[
    (&["documentId", "document_id", "docId", "doc_id", "id"], "document.id"),
    (&["text", "content", "body"], "document.text"),
    (&["path", "filePath", "file_path", "file"], "document.path"),
    (&["url", "fileUrl", "file_url", "documentUrl"], "document.url"),
    (&["source", "title", "name", "filename"], "document.source"),
    (&["version"], "document.version"),
];

fn place(table: &[(&[&str], &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(names, _)| names.contains(&name)).map(|(_, place)| *place)
}

fn list(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", "))
}

/// The contract for what was found.
pub(super) fn of(found: &Found) -> Draft {
    let mut assumptions = Vec::new();
    let mut text = "# How Shakedown starts, feeds and looks at this worker. `shakedown run --dry-run` says what it makes of it.\n\n[worker]\n".to_owned();
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
                "no worker was recognised here (package.json, pyproject.toml or Cargo.toml with bullmq, or a Dockerfile): \
                 write its `command`"
                    .to_owned(),
            );
        }
    }
    line(
        "ready = \"queue\"           # when it is registered on the queue; or { log = \"regex\" }, or { http = \"http://127.0.0.1:{{worker.port}}/\" }",
    );
    line("shutdown_grace = \"10s\"    # how long it may take to end after SIGTERM");
    line(
        "# timeout_factor = 2.0          # stretches every deadline, for a worker that is slow or cannot be told its lock duration",
    );

    let (known, unknown): (Vec<_>, Vec<_>) = found.variables.iter().partition(|name| place(KNOWN, name).is_some());
    line(
        "\n# What it reads from its environment. REDIS_URL, DATABASE_URL, QDRANT_URL, JINA_BASE_URL and so on are given anyway.",
    );
    line("[worker.env]");
    for name in &known {
        if let Some(place) = place(KNOWN, name) {
            line(&format!("{name} = \"{{{{{place}}}}}\""));
        }
    }
    if !known.is_empty() {
        let names: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
        assumptions.push(format!("it is told where the services are by {}", names.join(", ")));
    }
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.iter().map(|name| name.as_str()).collect();
        line(&format!("# It also reads: {}. What is not set here comes from your own environment.", names.join(", ")));
        assumptions.push(format!("it does without {}, or your environment has them", names.join(", ")));
    }
    queue(found, &mut text, &mut assumptions);
    evidence(&mut text, &mut assumptions);
    Draft { text, assumptions }
}

fn queue(found: &Found, text: &mut String, assumptions: &mut Vec<String>) {
    let told = found.variables.iter().any(|name| place(KNOWN, name) == Some("queue.name"));
    text.push_str("\n[queue]\n");
    let mut write = |what: String| {
        text.push_str(&what);
        text.push('\n');
    };
    match (told, found.queues.len(), found.queues.first()) {
        (false, 1, Some(name)) => {
            write(format!(
                "# Its queue cannot be named by a variable, so every scenario gets a stack of its own: that takes longer.\nname = {name:?}"
            ));
            assumptions
                .push(format!("its queue is always `{name}`; read the name from a variable to be judged faster"));
        }
        (false, count, _) if count > 1 => {
            let names: Vec<&str> = found.queues.iter().map(String::as_str).collect();
            write(format!(
                "# It takes jobs from {}. Which one brings documents?\n# name = {:?}",
                names.join(", "),
                names[0]
            ));
            assumptions.push(format!("it is given its queue by QUEUE_NAME; it also knows {}", names.join(", ")));
        }
        _ => assumptions.push("it is given its queue by QUEUE_NAME and QUEUE_PREFIX".to_owned()),
    }
    let mut fields: Vec<(String, &str)> =
        found.fields.iter().filter_map(|field| Some((field.clone(), place(FIELDS, field)?))).collect();
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
    write("# delete = { name = \"delete-document\", data = { documentId = \"{{document.id}}\" } }   # if it can remove a document".to_owned());
    assumptions.push(format!("a job brings {fields}"));
}

fn evidence(text: &mut String, assumptions: &mut Vec<String>) {
    let _ = write!(
        text,
        "\n# Where its results are. Leave out what it does not store: the cases that need it are then skipped, and say so.\n\
         [evidence]\n\
         qdrant = {{ document = \"document_id\", chunk = \"chunk_index\", text = \"text\" }}\n\
         # postgres = {{ id = \"id\", status = \"status\", done = \"ready\", failed = \"failed\", chunks = \"chunks\" }}\n"
    );
    assumptions.push(
        "the payload of a point has `document_id`, `chunk_index` and `text`, and no row in Postgres is looked at"
            .to_owned(),
    );
}
