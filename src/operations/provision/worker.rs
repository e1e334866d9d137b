//! What a worker needs: a desired state built from names, in which existing things stay unchanged.

use std::collections::BTreeMap;

use super::change::{Action, Change};
use super::engine::{Part, Reporter, converge_all};
use super::step::{Found, Outcome, STATE, Step, Stop};
use super::{Consent, SetupTarget, WriteCounter};
use crate::settings::{
    Desired, DesiredCollection, DesiredColumn, DesiredPostgres, DesiredQueue, DesiredTable, Distance, Endpoints,
};

/// The columns that the reference worker writes, with the types it writes.
const COLUMNS: [(&str, &str, &str); 10] = [
    ("id", "text", "primary key"),
    ("version", "text", "not null"),
    ("status", "text", "not null check (status in ('processing', 'ready', 'skipped', 'failed', 'removed'))"),
    ("sequence", "bigint", ""),
    ("chunks", "integer", "not null default 0"),
    ("tokens", "integer", "not null default 0"),
    ("source", "text", ""),
    ("error", "text", ""),
    ("created_at", "timestamp with time zone", "not null default now()"),
    ("updated_at", "timestamp with time zone", "not null default now()"),
];

/// Supabase's role for workers.
const SERVICE_ROLE: &str = "service_role";
/// Supabase's roles that reach tables through the Data API on behalf of anyone.
const PUBLIC_ROLES: [&str; 2] = ["anon", "authenticated"];

/// The payload fields used in filters, with their types.
const INDEXES: [(&str, &str); 7] = [
    ("document_id", "keyword"),
    ("version", "keyword"),
    ("sequence", "integer"),
    ("source", "keyword"),
    ("model", "keyword"),
    ("chunk_index", "integer"),
    ("chunk_count", "integer"),
];

/// What to prepare besides the queue and the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The table of documents, and its access rules.
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
/// Returns every step, done or not. An existing thing of another shape is an error; nothing is dropped or recreated.
pub async fn prepare(endpoints: &Endpoints, wanted: &Wanted) -> Vec<Step> {
    let mut reporter = StageReporter { endpoints, wanted, steps: Vec::new(), made: Vec::new() };
    let (desired, target) = (desired(endpoints, wanted), target(endpoints));
    converge_all(&desired, &target, Consent::default(), &mut WriteCounter::default(), &mut reporter).await;
    reporter.steps
}

fn target(endpoints: &Endpoints) -> SetupTarget {
    SetupTarget {
        redis: Some(endpoints.redis.clone()),
        postgres: Some(endpoints.postgres.clone()),
        qdrant: Some(endpoints.qdrant.clone()),
        names: endpoints.names.clone(),
        dimensions: endpoints.jina.dimensions,
        passwords: BTreeMap::new(),
        variables: BTreeMap::new(),
        files: Vec::new(),
    }
}

/// What a worker needs, as a desired state.
fn desired(endpoints: &Endpoints, wanted: &Wanted) -> Desired {
    let names = &endpoints.names;
    let collection = DesiredCollection {
        vector: wanted.vector.clone().or_else(|| endpoints.qdrant.vector.clone()),
        indexes: INDEXES.map(|(field, kind)| (field.to_owned(), kind.to_owned())).into(),
        ..DesiredCollection::new(endpoints.jina.dimensions, Distance::Cosine)
    };
    Desired {
        keep: true,
        queue: Some(DesiredQueue::default()),
        postgres: Some(DesiredPostgres {
            schemas: vec![schema(&names.table).to_owned()],
            tables: wanted.table.then(|| documents(&names.table)).into_iter().collect(),
            ..DesiredPostgres::default()
        }),
        collections: wanted.collection.then(|| (names.collection.clone(), collection)).into_iter().collect(),
        ..Desired::default()
    }
}

fn schema(table: &str) -> &str {
    table.split_once('.').map_or("public", |(schema, _)| schema)
}

fn documents(table: &str) -> DesiredTable {
    let column = |(name, kind, rule): (&str, &str, &str)| DesiredColumn {
        name: name.to_owned(),
        kind: kind.to_owned(),
        rule: rule.to_owned(),
    };
    DesiredTable {
        name: table.to_owned(),
        columns: COLUMNS.map(column).into(),
        key: "id".to_owned(),
        serves: vec![SERVICE_ROLE.to_owned()],
        hidden_from: PUBLIC_ROLES.map(str::to_owned).into(),
    }
}

/// One of the steps that are always reported.
struct Stage {
    service: &'static str,
    name: &'static str,
    what: String,
    /// The kind of its changes.
    kind: &'static str,
    /// The kind of the thing it belongs to: if that is new, so is this.
    part_of: Option<&'static str>,
}

/// Reports the same steps each time, done or not.
struct StageReporter<'a> {
    endpoints: &'a Endpoints,
    wanted: &'a Wanted,
    steps: Vec<Step>,
    /// Changes made in the current part, by kind.
    made: Vec<(&'static str, Action)>,
}

impl StageReporter<'_> {
    fn stages(&self, part: Part) -> Vec<Stage> {
        let Endpoints { names, jina, .. } = self.endpoints;
        let stage = |name, kind, part_of, what| Stage { service: part.owner(), name, what, kind, part_of };
        match part {
            Part::Queue => vec![stage("queue", "queue", None, format!("queue {}:{}", names.prefix, names.queue))],
            Part::Postgres => {
                let mut stages = vec![stage("schema", "schema", None, format!("schema {}", schema(&names.table)))];
                if self.wanted.table {
                    let access = format!("row level security, grants to {SERVICE_ROLE} if it exists");
                    stages.push(stage("table", "table", None, format!("table {}", names.table)));
                    stages.push(stage("access", "access", Some("table"), access));
                }
                stages
            }
            Part::Qdrant if self.wanted.collection => {
                let (size, distance) = (jina.dimensions, Distance::Cosine.word());
                let collection = format!("collection {}: {size} dimensions, {distance}", names.collection);
                let indexes = format!("indexes on {}", INDEXES.map(|(field, _)| field).join(", "));
                vec![
                    stage("collection", "collection", None, collection),
                    stage("indexes", "index", Some("collection"), indexes),
                ]
            }
            Part::Qdrant | Part::Jina | Part::Files => Vec::new(),
        }
    }

    /// The outcome of a completed stage.
    fn outcome(&self, stage: &Stage) -> Outcome {
        let is_new = |kind| self.made.contains(&(kind, Action::Create));
        if stage.part_of.map_or_else(|| is_new(stage.kind), is_new) {
            Outcome::Created
        } else if self.made.iter().any(|(kind, _)| *kind == stage.kind) {
            Outcome::Changed
        } else {
            Outcome::Unchanged
        }
    }

    fn record(
        &mut self,
        service: &'static str,
        name: &'static str,
        what: String,
        outcome: Outcome,
        notes: Vec<String>,
    ) {
        self.steps.push(Step { service, name, what, outcome, notes });
    }

    fn skip(&mut self, stages: impl IntoIterator<Item = Stage>, prerequisite: &str) {
        for Stage { service, name, .. } in stages {
            let outcome = Outcome::Skipped { prerequisite: prerequisite.to_owned() };
            self.record(service, name, String::new(), outcome, Vec::new());
        }
    }

    fn record_stages(&mut self, stages: impl IntoIterator<Item = Stage>, left: &[Change]) {
        for stage in stages {
            let notes = left.iter().filter(|change| change.kind == stage.kind);
            let notes = notes.flat_map(|change| change.details.clone()).collect();
            let outcome = self.outcome(&stage);
            self.record(stage.service, stage.name, stage.what, outcome, notes);
        }
    }
}

impl Reporter for StageReporter<'_> {
    fn skipped(&mut self, part: Part, prerequisite: &str) {
        let outcome = Outcome::Skipped { prerequisite: prerequisite.to_owned() };
        self.record(part.service(), "connection", String::new(), outcome, Vec::new());
        self.skip(self.stages(part), prerequisite);
    }

    fn reached(&mut self, part: Part, found: Found) {
        self.made.clear();
        self.record(part.service(), "connection", found.what, Outcome::Unchanged, found.notes);
    }

    fn made(&mut self, change: &Change) {
        self.made.push((change.kind, change.action));
    }

    fn ended(&mut self, part: Part, left: &[Change]) {
        self.record_stages(self.stages(part), left);
    }

    fn failed(&mut self, part: Part, Stop { kind, error }: Stop) -> String {
        let mut stages = self.stages(part).into_iter();
        // If a read failed as a whole, the first stage failed.
        let done = match kind {
            "connection" => None,
            STATE => Some(0),
            kind => Some(stages.as_slice().iter().position(|stage| stage.kind == kind).unwrap_or(0)),
        };
        let (service, name) = match done {
            None => (part.service(), "connection"),
            Some(done) => {
                let completed: Vec<Stage> = stages.by_ref().take(done).collect();
                self.record_stages(completed, &[]);
                stages.next().map_or((part.owner(), STATE), |stage| (stage.service, stage.name))
            }
        };
        let prerequisite = format!("{service} {name}");
        self.record(service, name, error.to_string(), Outcome::Failed(error), Vec::new());
        self.skip(stages, &prerequisite);
        prerequisite
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::operations::provision::SetupError;
    use crate::outcome::Exit;
    use crate::services::ServiceError;
    use crate::settings::{JinaEndpoint, Names, PostgresEndpoint, QdrantEndpoint, RedisEndpoint};

    fn endpoints() -> Endpoints {
        Endpoints {
            redis: RedisEndpoint { url: SecretString::from("redis://:hunter2@127.0.0.1:1/0") },
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
        }
    }

    fn summary(reporter: &StageReporter) -> Vec<String> {
        reporter.steps.iter().map(|step| format!("{} {} {}", step.service, step.name, step.outcome.word())).collect()
    }

    #[test]
    fn what_follows_a_failed_step_is_skipped_and_names_it() {
        let (endpoints, wanted) = (endpoints(), Wanted::default());
        let mut reporter =
            StageReporter { endpoints: &endpoints, wanted: &wanted, steps: Vec::new(), made: Vec::new() };
        reporter.reached(Part::Postgres, Found::new("here"));
        reporter.made.extend([("schema", Action::Create)]);
        let denied = ServiceError::Denied { service: "postgres", detail: "no".to_owned() };
        let prerequisite = reporter.failed(Part::Postgres, Stop { kind: "table", error: denied.into() });
        reporter.skipped(Part::Qdrant, &prerequisite);
        assert_eq!(
            summary(&reporter),
            [
                "postgres connection unchanged",
                "postgres schema created",
                "postgres table failed",
                "postgres access skipped",
                "qdrant connection skipped",
                "qdrant collection skipped",
                "qdrant indexes skipped"
            ]
        );
        assert_eq!(reporter.steps[3].json()["prerequisite"], "postgres table");
        assert!(reporter.steps[2].json()["remedy"].as_str().unwrap().contains("grant create"));
    }

    #[test]
    fn what_belongs_to_a_new_thing_is_new_and_to_an_old_one_changed() {
        let (endpoints, wanted) = (endpoints(), Wanted::default());
        let mut reporter =
            StageReporter { endpoints: &endpoints, wanted: &wanted, steps: Vec::new(), made: Vec::new() };
        reporter.made.extend([("table", Action::Create)]);
        reporter.ended(Part::Postgres, &[]);
        reporter.reached(Part::Qdrant, Found::new("here"));
        reporter.made.extend([("index", Action::Create)]);
        let note = Change::drift("qdrant", "collection", "c", "hnsw m is 8");
        reporter.ended(Part::Qdrant, &[note]);
        assert_eq!(
            summary(&reporter),
            [
                "postgres schema unchanged",
                "postgres table created",
                "postgres access created",
                "qdrant connection unchanged",
                "qdrant collection unchanged",
                "qdrant indexes changed"
            ]
        );
        assert_eq!(reporter.steps[4].notes, ["hnsw m is 8"]);
    }

    #[tokio::test]
    async fn an_unreachable_service_stops_the_setup_without_telling_the_password() {
        let steps = Box::pin(prepare(&endpoints(), &Wanted::default())).await;
        assert!(steps[1..].iter().all(|step| step.outcome.word() == "skipped"));
        let Outcome::Failed(error) = &steps[0].outcome else { panic!("{steps:?}") };
        assert!(matches!(error, SetupError::Service(_)) && error.exit() == Exit::Inconclusive, "{error}");
        let order: Vec<String> = steps.iter().map(|step| format!("{} {}", step.service, step.name)).collect();
        assert_eq!(
            order,
            [
                "redis connection",
                "bullmq queue",
                "postgres connection",
                "postgres schema",
                "postgres table",
                "postgres access",
                "qdrant connection",
                "qdrant collection",
                "qdrant indexes"
            ]
        );
        assert!(!format!("{steps:?}").contains("hunter2"));
    }
}
