//! `shakedown setup`: queue, table and collection, made once and left alone ever after.
//!
//! The steps are in order of dependency, Redis → queue → Postgres → Qdrant, and each is validated
//! before the next begins. A step that fails stops the rest: they are skipped, and name it.
//! What exists in another shape is an error; nothing is ever dropped or recreated.

pub(super) mod postgres;
pub(super) mod qdrant;
pub(super) mod queue;

use std::fmt;

use serde_json::{Value, json};

use crate::outcome::Exit;
use crate::services::ServiceError;
use crate::services::postgres_session::SessionError;
use crate::settings::Endpoints;
use crate::subjects::database::MigrateError;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The service did not do what it was asked.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// What is there has another shape than a worker needs.
    #[error("{what} {found}, but {wanted}")]
    Shape {
        /// What was looked at.
        what: String,
        /// Its shape.
        found: String,
        /// The shape that is needed.
        wanted: String,
        /// How to put it right.
        remedy: String,
    },
    /// Migrations could not be brought in.
    #[error(transparent)]
    Migrations(Box<MigrateError>),
    /// It would destroy something, and nobody has agreed to that.
    #[error("{what} was not done, for nobody has agreed: {why}")]
    NotAgreed {
        /// What was to be done.
        what: String,
        /// What would be destroyed.
        why: String,
        /// How to agree.
        remedy: String,
    },
    /// A file could not be written.
    #[error("{} cannot be written: {cause}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}

impl From<MigrateError> for SetupError {
    fn from(error: MigrateError) -> Self {
        Self::Migrations(Box::new(error))
    }
}

/// The grant that is missing, as far as what the service said tells it.
fn grant(service: &str) -> &'static str {
    match service {
        "redis" => {
            "the user of REDIS_URL may not do this: let an administrator run `ACL SETUSER USER +@all -@admin ~PREFIX:*` \
             for the prefix of the queue, then run setup again: it goes on where it stopped"
        }
        "postgres" => {
            "the role of DATABASE_URL may not do this: let its owner grant it (`grant create on database D to ROLE` for \
             schemas and extensions, `grant create on schema S to ROLE` for tables, `alter role ROLE createrole` for roles; \
             row level security and grants are for the owner of the table), then run setup again: it goes on where it stopped"
        }
        "qdrant" => {
            "QDRANT_API_KEY may only read: give a key with manage access, then run setup again: it goes on where it stopped"
        }
        _ => "run setup with the credentials of a user who may create schemas, tables, collections and keys",
    }
}

impl SetupError {
    /// How to put it right, where the text does not say it itself.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Shape { remedy, .. } | Self::NotAgreed { remedy, .. } => Some(remedy),
            Self::Service(ServiceError::Denied { service, .. }) => Some(grant(service)),
            Self::Migrations(error) => match error.as_ref() {
                MigrateError::Statement { cause: SessionError::Refused { code, .. }, .. }
                | MigrateError::Session(SessionError::Refused { code, .. })
                    if code == "42501" =>
                {
                    Some(grant("postgres"))
                }
                _ => None,
            },
            Self::File { .. } => Some("let this user write there, then run setup again: it goes on where it stopped"),
            Self::Service(ServiceError::Refused { .. } | ServiceError::TimedOut { .. }) => {
                Some("put right what the service names, then run setup again: it goes on where it stopped")
            }
            // These two say it in their own text.
            Self::Service(ServiceError::Unreachable { .. } | ServiceError::Unauthorised { .. }) => None,
        }
    }

    /// 1 for another shape, 2 for wrong credentials, 3 for a service that did not do its part.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Shape { .. } => Exit::NotConformant,
            Self::Service(ServiceError::Unauthorised { .. }) | Self::NotAgreed { .. } => Exit::Usage,
            Self::Service(_) | Self::File { .. } => Exit::Inconclusive,
            Self::Migrations(error) => match error.as_ref() {
                MigrateError::Directory { .. }
                | MigrateError::Pooler
                | MigrateError::Session(SessionError::Service(ServiceError::Unauthorised { .. })) => Exit::Usage,
                MigrateError::Locked(_) | MigrateError::Session(SessionError::Service(_)) => Exit::Inconclusive,
                _ => Exit::NotConformant,
            },
        }
    }
}

/// What became of a step.
#[derive(Debug)]
pub enum Outcome {
    /// It was not there, and is now.
    Created,
    /// It was there, and something about it is different now.
    Changed,
    /// It was there as it should be.
    Unchanged,
    /// It could not be brought about.
    Failed(SetupError),
    /// It was not tried.
    Skipped {
        /// The step that failed.
        prerequisite: String,
    },
}

impl Outcome {
    /// One word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Failed(_) => "failed",
            Self::Skipped { .. } => "skipped",
        }
    }
}

/// One step, done or not.
#[derive(Debug)]
pub struct Step {
    /// `redis`, `bullmq`, `postgres` or `qdrant`.
    pub service: &'static str,
    /// What is prepared there, such as `table`.
    pub name: &'static str,
    /// What it is about: a name, a version, an address; never a secret.
    pub what: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Things a person should know, one sentence each.
    pub notes: Vec<String>,
}

impl Step {
    /// The step as JSON, with the keys that programs may rely on.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut step = json!({
            "service": self.service,
            "step": self.name,
            "action": self.outcome.word(),
            "what": self.what,
            "notes": self.notes,
        });
        match &self.outcome {
            Outcome::Failed(error) => {
                step["problem"] = error.to_string().into();
                step["remedy"] = error.remedy().into();
            }
            Outcome::Skipped { prerequisite } => step["prerequisite"] = prerequisite.clone().into(),
            Outcome::Created | Outcome::Changed | Outcome::Unchanged => {}
        }
        step
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} {:<11} {:<9} ", self.service, self.name, self.outcome.word())?;
        match &self.outcome {
            Outcome::Skipped { prerequisite } => write!(f, "{prerequisite} failed"),
            _ => f.write_str(&self.what),
        }
    }
}

/// The exit code of a set-up: that of its first failure.
#[must_use]
pub fn exit(steps: &[Step]) -> Exit {
    steps
        .iter()
        .find_map(|step| match &step.outcome {
            Outcome::Failed(error) => Some(error.exit()),
            _ => None,
        })
        .unwrap_or(Exit::Ok)
}

/// A step that succeeded: what it is about, what became of it, and what a person should know.
pub(super) struct Done {
    pub(super) what: String,
    pub(super) outcome: Outcome,
    pub(super) notes: Vec<String>,
}

impl Done {
    fn new(what: impl Into<String>, outcome: Outcome) -> Self {
        Self { what: what.into(), outcome, notes: Vec::new() }
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// The steps so far; knows whether one of them failed.
#[derive(Default)]
struct Walk {
    steps: Vec<Step>,
    failed: Option<String>,
}

impl Walk {
    /// Takes a step, unless an earlier one failed. `Some` when it succeeded.
    async fn step<T>(
        &mut self,
        service: &'static str,
        name: &'static str,
        doing: impl Future<Output = Result<(T, Done), SetupError>>,
    ) -> Option<T> {
        if let Some(prerequisite) = &self.failed {
            let outcome = Outcome::Skipped { prerequisite: prerequisite.clone() };
            self.steps.push(Step { service, name, what: String::new(), outcome, notes: Vec::new() });
            return None;
        }
        match doing.await {
            Ok((value, Done { what, outcome, notes })) => {
                self.steps.push(Step { service, name, what, outcome, notes });
                Some(value)
            }
            Err(error) => {
                self.failed = Some(format!("{service} {name}"));
                let what = error.to_string();
                self.steps.push(Step { service, name, what, outcome: Outcome::Failed(error), notes: Vec::new() });
                None
            }
        }
    }

    /// A step that needs what an earlier one gave; skipped when that is not there.
    async fn step_with<S, T, F: Future<Output = Result<(T, Done), SetupError>>>(
        &mut self,
        service: &'static str,
        name: &'static str,
        given: Option<S>,
        doing: impl FnOnce(S) -> F,
    ) -> Option<T> {
        match given {
            Some(given) => self.step(service, name, doing(given)).await,
            None => self.step(service, name, std::future::pending()).await,
        }
    }
}

/// What is to be prepared, beside the queue and the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The table of documents, and who may see it.
    pub table: bool,
    /// The collection of chunks and its indexes.
    pub collection: bool,
    /// The name of the collection's vector; that of the endpoint if absent.
    pub vector: Option<String>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { table: true, collection: true, vector: None }
    }
}

/// Prepares what a worker needs on this stack.
///
/// Every step is in the answer, whatever became of it.
pub async fn prepare(endpoints: &Endpoints, wanted: &Wanted) -> Vec<Step> {
    let names = &endpoints.names;
    let mut walk = Walk::default();

    let redis = walk.step("redis", "connection", queue::connect(&endpoints.redis)).await;
    let redis = redis.as_ref();
    walk.step_with("bullmq", "queue", redis, |redis| queue::prepare(&endpoints.redis, redis, names)).await;

    let database = Box::pin(walk.step("postgres", "connection", postgres::connect(&endpoints.postgres))).await;
    let database = database.as_ref();
    walk.step_with("postgres", "schema", database, |database| postgres::schema(database, &names.table)).await;
    if wanted.table {
        let created =
            walk.step_with("postgres", "table", database, |database| postgres::table(database, &names.table)).await;
        let given = database.zip(created);
        walk.step_with("postgres", "access", given, |(database, created)| {
            postgres::access(database, &names.table, created)
        })
        .await;
    }
    if let Some(database) = database {
        database.close().await;
    }

    let http = walk.step("qdrant", "connection", qdrant::connect(&endpoints.qdrant)).await;
    let http = http.as_ref();
    if wanted.collection {
        let vector = wanted.vector.as_deref().or(endpoints.qdrant.vector.as_deref());
        let size = endpoints.jina.dimensions;
        let created = walk
            .step_with("qdrant", "collection", http, |http| qdrant::collection(http, &names.collection, size, vector))
            .await;
        let given = http.zip(created);
        walk.step_with("qdrant", "indexes", given, |(http, created)| qdrant::indexes(http, &names.collection, created))
            .await;
    }
    walk.steps
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::settings::{JinaEndpoint, Names, PostgresEndpoint, QdrantEndpoint, RedisEndpoint};

    fn shape() -> SetupError {
        SetupError::Shape {
            what: "collection `documents`".to_owned(),
            found: "has vectors of 64, Cosine".to_owned(),
            wanted: "vectors of 1024, Cosine are wanted".to_owned(),
            remedy: "name another one".to_owned(),
        }
    }

    #[tokio::test]
    async fn what_follows_a_failed_step_is_skipped_and_names_it() {
        let mut walk = Walk::default();
        walk.step("redis", "connection", async { Ok(((), Done::new("here", Outcome::Unchanged))) }).await;
        let failed = walk.step("qdrant", "collection", async { Err::<((), Done), _>(shape()) }).await;
        walk.step_with("qdrant", "indexes", failed, |()| async { Ok(((), Done::new("", Outcome::Created))) }).await;
        let lines: Vec<String> = walk.steps.iter().map(ToString::to_string).collect();
        assert!(lines[1].contains("failed    collection `documents` has vectors of 64, Cosine, but"), "{}", lines[1]);
        assert!(lines[2].contains("skipped   qdrant collection failed"), "{}", lines[2]);
        assert_eq!(exit(&walk.steps), Exit::NotConformant);
        assert_eq!(walk.steps[2].json()["prerequisite"], "qdrant collection");
        assert_eq!(walk.steps[1].json()["remedy"], "name another one");
    }

    #[test]
    fn the_exit_code_is_that_of_the_first_failure() {
        assert_eq!(exit(&[]), Exit::Ok);
        let denied = SetupError::Service(ServiceError::Denied { service: "redis", detail: String::new() });
        assert_eq!(denied.exit(), Exit::Inconclusive);
    }

    #[tokio::test]
    async fn an_unreachable_service_stops_the_setup_without_telling_the_password() {
        let url = SecretString::from("redis://:hunter2@127.0.0.1:1/0");
        let endpoints = Endpoints {
            redis: RedisEndpoint { url },
            postgres: PostgresEndpoint { url: "postgres://u:hunter2@127.0.0.1:1/d".into() },
            qdrant: QdrantEndpoint {
                url: "http://127.0.0.1:1".to_owned(),
                grpc_url: "http://127.0.0.1:1".to_owned(),
                api_key: None,
                vector: None,
            },
            jina: JinaEndpoint {
                base_url: "http://127.0.0.1:1".to_owned(),
                api_key: None,
                model: "m".to_owned(),
                dimensions: 8,
            },
            names: Names {
                queue: "q".to_owned(),
                prefix: "p".to_owned(),
                collection: "c".to_owned(),
                table: "s.t".to_owned(),
            },
        };
        let steps = Box::pin(prepare(&endpoints, &Wanted::default())).await;
        assert_eq!(steps[0].outcome.word(), "failed");
        assert!(steps[1..].iter().all(|step| step.outcome.word() == "skipped"));
        assert_eq!(exit(&steps), Exit::Inconclusive);
        assert!(!format!("{steps:?}").contains("hunter2"));
    }
}
