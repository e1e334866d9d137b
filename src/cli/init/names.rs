//! Usual names, and what they mean: of variables, fields of jobs, payload fields, columns, jobs and states.

/// Names of variables, and the placeholders that fill them.
const VARIABLES: &[(&[&str], &str)] = &[
    (&["REDIS_URL", "REDIS_URI", "REDIS_CONNECTION_STRING", "BULLMQ_REDIS_URL"], "redis.url"),
    (&["REDIS_HOST", "REDISHOST"], "redis.host"),
    (&["REDIS_PORT", "REDISPORT"], "redis.port"),
    (&["REDIS_USER", "REDIS_USERNAME"], "redis.user"),
    (&["REDIS_PASSWORD", "REDIS_PASS"], "redis.password"),
    (&["REDIS_DB"], "redis.db"),
    (
        &["DATABASE_URL", "POSTGRES_URL", "PG_URL", "DB_URL", "SUPABASE_DB_URL", "DIRECT_URL", "POSTGRES_DSN"],
        "postgres.url",
    ),
    (&["PGHOST", "POSTGRES_HOST", "DB_HOST", "PG_HOST"], "postgres.host"),
    (&["PGPORT", "POSTGRES_PORT", "DB_PORT", "PG_PORT"], "postgres.port"),
    (&["PGUSER", "POSTGRES_USER", "DB_USER", "DB_USERNAME", "PG_USER"], "postgres.user"),
    (&["PGPASSWORD", "POSTGRES_PASSWORD", "DB_PASSWORD", "PG_PASSWORD"], "postgres.password"),
    (&["PGDATABASE", "POSTGRES_DB", "DB_NAME", "DB_DATABASE", "PG_DATABASE"], "postgres.database"),
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
    (&["SUPABASE_URL", "NEXT_PUBLIC_SUPABASE_URL"], "supabase.url"),
    (&["SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SERVICE_KEY", "SUPABASE_KEY"], "supabase.service_key"),
    (&["SUPABASE_ANON_KEY", "NEXT_PUBLIC_SUPABASE_ANON_KEY"], "supabase.anon_key"),
    (&["PORT", "HEALTH_PORT"], "worker.port"),
];

/// Endings of names that mean something for a service that the rest of the name has.
const PARTS: &[(&[&str], &[&str], &str)] = &[
    (&["REDIS", "BULLMQ"], &["_URL", "_URI", "_DSN"], "redis.url"),
    (&["REDIS", "BULLMQ"], &["_HOST"], "redis.host"),
    (&["REDIS", "BULLMQ"], &["_PORT"], "redis.port"),
    (&["REDIS", "BULLMQ"], &["_PASSWORD"], "redis.password"),
    (&["POSTGRES", "DATABASE", "PG"], &["_URL", "_URI", "_DSN"], "postgres.url"),
    (&["QDRANT"], &["_URL", "_URI"], "qdrant.url"),
    (&["QDRANT"], &["_KEY"], "qdrant.key"),
    (&["QDRANT", "VECTOR"], &["_COLLECTION", "_COLLECTION_NAME"], "qdrant.collection"),
    (&["JINA", "EMBED", "OPENAI"], &["_URL", "_BASE", "_ENDPOINT"], "jina.url"),
    (&["JINA", "EMBED", "OPENAI"], &["_KEY", "_TOKEN"], "jina.key"),
    (&["JINA", "EMBED"], &["_MODEL"], "jina.model"),
    (&["JINA", "EMBED"], &["_DIMENSIONS", "_DIM", "_SIZE"], "jina.dimensions"),
];

/// The placeholder for a variable of a usual name.
pub(super) fn known_variable(name: &str) -> Option<&'static str> {
    VARIABLES.iter().find(|(names, _)| names.contains(&name)).map(|(_, place)| *place)
}

/// The placeholder for a variable, from the parts of its name.
pub(super) fn likely_variable(name: &str) -> Option<&'static str> {
    let fits = |(services, endings, _): &&(&[&str], &[&str], &str)| {
        services.iter().any(|service| name.contains(service)) && endings.iter().any(|ending| name.ends_with(ending))
    };
    PARTS.iter().find(fits).map(|(_, _, place)| *place)
}

/// Fields of a job's data, and the placeholders that fill them; the best names of each come first.
const JOB_FIELDS: &[(&[&str], &str)] = &[
    (
        &[
            "documentid",
            "docid",
            "fileid",
            "document",
            "doc",
            "id",
            "uuid",
            "sourceid",
            "recordid",
            "itemid",
            "pageid",
            "articleid",
            "contentid",
        ],
        "document.id",
    ),
    (
        &["text", "content", "body", "markdown", "rawtext", "plaintext", "fulltext", "html", "pagecontent"],
        "document.text",
    ),
    (&["path", "filepath", "file", "localpath"], "document.path"),
    (&["url", "fileurl", "documenturl", "downloadurl", "signedurl", "sourceurl", "uri"], "document.url"),
    (&["source", "title", "name", "filename", "originalname", "documentname"], "document.source"),
    (&["version", "revision"], "document.version"),
    (&["mimetype", "mime", "contenttype"], "document.mime"),
    (&["size", "filesize", "bytes"], "document.bytes"),
    (&["sha256", "checksum", "contenthash", "hash"], "document.sha256"),
];

/// A name in lower case without separators, as the tables have it.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
}

/// The placeholder for a field of a job's data.
pub(super) fn job_field(name: &str) -> Option<&'static str> {
    let name = plain(name);
    JOB_FIELDS.iter().find(|(names, _)| names.contains(&name.as_str())).map(|(_, place)| *place)
}

/// What a payload field or a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Document,
    Chunk,
    Text,
    Version,
    Chunks,
    Error,
}

impl Meaning {
    /// Its usual names, the best first.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Document => &[
                "documentid",
                "docid",
                "fileid",
                "document",
                "doc",
                "id",
                "sourceid",
                "refdocid",
                "recordid",
                "itemid",
                "pageid",
                "articleid",
            ],
            Self::Chunk => &[
                "chunkindex",
                "index",
                "chunk",
                "position",
                "chunkno",
                "chunknumber",
                "chunkid",
                "idx",
                "i",
                "seq",
                "ordinal",
                "order",
            ],
            Self::Text => &["text", "content", "pagecontent", "chunktext", "body", "chunkcontent"],
            Self::Version => &["version", "documentversion", "revision"],
            Self::Chunks => &[
                "chunks",
                "chunkcount",
                "numchunks",
                "nodecount",
                "nodes",
                "nchunks",
                "totalchunks",
                "chunkscount",
                "pointcount",
            ],
            Self::Error => {
                &["error", "errormessage", "failurereason", "lasterror", "failreason", "errortext", "errordetails"]
            }
        }
    }

    /// The best of these names that means this.
    pub(super) fn best<'n>(self, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
        let rank = |name: &str| {
            let name = plain(name.rsplit('.').next().unwrap_or(name));
            self.names().iter().position(|known| *known == name)
        };
        names
            .into_iter()
            .filter_map(|name| Some((rank(name)?, name)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, name)| name)
    }
}

/// Whether a job or queue of this name removes a document.
pub(super) fn is_removal(name: &str) -> bool {
    let name = name.to_lowercase();
    ["delete", "remove", "removal", "purge", "cleanup", "clean-up", "forget", "unindex", "destroy"]
        .iter()
        .any(|word| name.contains(word))
}

/// The state of a document that a text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Done,
    Failed,
    Skipped,
}

impl State {
    const fn texts(self) -> &'static [&'static str] {
        match self {
            Self::Done => &[
                "ready",
                "done",
                "completed",
                "complete",
                "indexed",
                "ingested",
                "embedded",
                "stored",
                "processed",
                "finished",
                "succeeded",
                "success",
                "synced",
                "active",
                "published",
            ],
            Self::Failed => &["failed", "error", "errored", "failure"],
            Self::Skipped => &["skipped", "empty", "ignored"],
        }
    }

    /// Whether a status says this.
    pub(super) fn is(self, text: &str) -> bool {
        self.texts().contains(&text.to_lowercase().as_str())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("MY_REDIS_URL", Some("redis.url"))]
    #[case("EMBEDDINGS_BASE_URL", Some("jina.url"))]
    #[case("OPENAI_API_KEY", Some("jina.key"))]
    #[case("LOG_LEVEL", None)]
    fn the_parts_of_a_name_tell_what_a_variable_is(#[case] name: &str, #[case] place: Option<&str>) {
        assert_eq!(likely_variable(name), place);
    }

    #[test]
    fn the_best_name_is_chosen_whatever_its_spelling_and_place() {
        assert_eq!(Meaning::Document.best(["id", "metadata.document_id", "title"]), Some("metadata.document_id"));
        assert_eq!(Meaning::Chunk.best(["chunkIndex", "index"]), Some("chunkIndex"));
        assert_eq!(Meaning::Error.best(["title"]), None);
    }
}
