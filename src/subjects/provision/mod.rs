//! `shakedown plan` and `shakedown setup` of a desired state: what a stack lacks of it, and how that is mended.
//!
//! Nothing is remembered between two runs. What is to be done follows from what is there, each time anew, so that a run
//! that was interrupted is gone on with by the next one, and a run that is complete leaves nothing for another to do.

mod files;
mod postgres;
mod qdrant;
mod queue;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde_json::{Value, json};

use super::setup::{self, Done, Outcome, SetupError, Step};
use crate::services::ServiceError;
use crate::services::http::Http;
use crate::services::postgres::Postgres;
use crate::services::redis::Redis;
use crate::settings::{Desired, Names, PostgresEndpoint, QdrantEndpoint, RedisEndpoint};

/// What becomes of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is not there, and will be made.
    Create,
    /// It will be changed where it is.
    Change,
    /// It cannot be changed: another one will be made beside it and take its place.
    Recreate,
    /// It is not as described, and will not be touched.
    Drift,
}

impl Action {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Recreate => "re-create",
            Self::Drift => "drift",
        }
    }
}

/// One thing that is not as described.
#[derive(Debug, Clone)]
pub struct Change {
    /// `bullmq`, `postgres`, `qdrant`, `jina` or `files`.
    pub service: &'static str,
    /// What kind of thing: `queue`, `collection`, `index` …
    pub kind: &'static str,
    /// Which one.
    pub what: String,
    /// What becomes of it.
    pub action: Action,
    /// What is different, or will be, one line each.
    pub details: Vec<String>,
    /// What would be destroyed, or taken out of use; none for most.
    pub destroys: Option<String>,
    task: Task,
}

/// How a change is made.
#[derive(Debug, Clone)]
enum Task {
    /// Not at all.
    Nothing,
    /// Fields of the queue's `meta` key.
    Queue(Vec<(&'static str, String)>),
    /// Statements that belong together.
    Sql(String),
    /// A role, and the variable with its password.
    Role { statements: String, name: String, password: Option<String> },
    /// The migrations that are pending.
    Migrate(PathBuf),
    /// Something in Qdrant.
    Qdrant(Box<qdrant::Task>),
    /// A file with this text.
    File { path: PathBuf, text: String },
}

impl Change {
    fn new(service: &'static str, kind: &'static str, what: impl Into<String>, action: Action, task: Task) -> Self {
        Self { service, kind, what: what.into(), action, details: Vec::new(), destroys: None, task }
    }

    /// Something that will not be touched, and why it is told.
    fn drift(service: &'static str, kind: &'static str, what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(service, kind, what, Action::Drift, Task::Nothing).detail(detail)
    }

    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    fn details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }

    /// Whether there is anything to do.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.action != Action::Drift
    }

    /// Whether it is the same thing to do.
    fn is(&self, other: &Self) -> bool {
        (self.kind, &self.what, self.action, &self.details) == (other.kind, &other.what, other.action, &other.details)
    }

    /// The change as JSON, with the keys that programs may rely on.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "service": self.service,
            "kind": self.kind,
            "what": self.what,
            "action": self.action.word(),
            "details": self.details,
            "destroys": self.destroys,
        })
    }
}

/// The stack that is to look like this. A service of which nothing is desired is not asked for its address.
#[derive(Debug, Clone)]
pub struct Place {
    /// Redis.
    pub redis: Option<RedisEndpoint>,
    /// Postgres.
    pub postgres: Option<PostgresEndpoint>,
    /// Qdrant.
    pub qdrant: Option<QdrantEndpoint>,
    /// Names as the variables have them.
    pub names: Names,
    /// Numbers in a vector, where nothing else says so.
    pub dimensions: u32,
    /// Passwords of roles, by the variable that holds them; those that are not set are absent.
    pub passwords: BTreeMap<String, SecretString>,
    /// Variables that workers read, to be compared with what is desired: `JINA_MODEL` and the like.
    pub variables: BTreeMap<&'static str, String>,
    /// The text of `.env.example`.
    pub dotenv: String,
}

/// What somebody has agreed to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Consent {
    /// Collections may be replaced.
    pub replace: bool,
    /// Points that cannot be carried over may be lost.
    pub discard: bool,
    /// Files may be overwritten.
    pub force: bool,
}

/// Counts what is done, so that tests can end the process after any of it.
#[derive(Debug, Default)]
pub struct Pace {
    done: u32,
    end_after: Option<u32>,
}

impl Pace {
    /// Ends the process after so many writes, or never.
    #[must_use]
    pub const fn ending_after(end_after: Option<u32>) -> Self {
        Self { done: 0, end_after }
    }

    /// Something was written.
    fn step(&mut self) {
        self.done += 1;
        if self.end_after == Some(self.done) {
            // As if it was killed: nothing is told, nothing is tidied up.
            std::process::exit(137);
        }
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct PlanError {
    /// The service that did not do its part.
    pub service: &'static str,
    /// What it said.
    pub error: SetupError,
}

/// The services in the order in which they depend on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Queue,
    Postgres,
    Qdrant,
    Jina,
    Files,
}

const PARTS: [Part; 5] = [Part::Queue, Part::Postgres, Part::Qdrant, Part::Jina, Part::Files];

impl Part {
    const fn service(self) -> &'static str {
        match self {
            Self::Queue => "redis",
            Self::Postgres => "postgres",
            Self::Qdrant => "qdrant",
            Self::Jina => "jina",
            Self::Files => "files",
        }
    }

    fn is_wanted(self, desired: &Desired) -> bool {
        match self {
            Self::Queue => desired.queue.is_some(),
            Self::Postgres => desired.postgres.is_some(),
            Self::Qdrant => !desired.collections.is_empty(),
            Self::Jina => desired.jina.is_some(),
            Self::Files => desired.files.dotenv.is_some() || desired.files.worker.is_some(),
        }
    }

    /// Connects; nothing is written.
    async fn connect(self, place: &Place) -> Result<(Line, Option<Done>), SetupError> {
        Ok(match (self, place) {
            (Self::Queue, Place { redis: Some(endpoint), .. }) => {
                let (redis, done) = setup::queue::connect(endpoint).await?;
                (Line::Redis(redis), Some(done))
            }
            (Self::Postgres, Place { postgres: Some(endpoint), .. }) => {
                let (postgres, done) = setup::postgres::connect(endpoint).await?;
                (Line::Postgres(postgres, endpoint.clone()), Some(done))
            }
            (Self::Qdrant, Place { qdrant: Some(endpoint), .. }) => {
                let (http, done) = setup::qdrant::connect(endpoint).await?;
                (Line::Qdrant(http), Some(done))
            }
            _ => (Line::None(self), None),
        })
    }
}

/// A service that was reached.
enum Line {
    Redis(Redis),
    Postgres(Postgres, PostgresEndpoint),
    Qdrant(Http),
    None(Part),
}

impl Line {
    const fn service(&self) -> &'static str {
        match self {
            Self::Redis(_) => "bullmq",
            Self::Postgres(..) => "postgres",
            Self::Qdrant(_) => "qdrant",
            Self::None(part) => part.service(),
        }
    }

    async fn changes(&self, desired: &Desired, place: &Place, force: bool) -> Result<Vec<Change>, SetupError> {
        match self {
            Self::Redis(redis) => queue::changes(redis, desired, &place.names).await,
            Self::Postgres(postgres, endpoint) => postgres::changes(postgres, endpoint, desired).await,
            Self::Qdrant(http) => qdrant::changes(http, desired, place.dimensions).await,
            Self::None(Part::Jina) => Ok(files::jina(desired, place)),
            Self::None(Part::Files) => files::changes(desired, place, force),
            Self::None(_) => Ok(Vec::new()),
        }
    }

    async fn make(
        &self,
        change: &Change,
        desired: &Desired,
        place: &Place,
        consent: Consent,
        pace: &mut Pace,
    ) -> Result<(), SetupError> {
        if let Some(why) = change.destroys.as_ref().filter(|_| !consent.replace) {
            return Err(SetupError::NotAgreed {
                what: change.what.clone(),
                why: why.clone(),
                remedy: "look at `shakedown plan`, and add --yes if that is meant".to_owned(),
            });
        }
        match (self, &change.task) {
            (_, Task::File { path, text }) => files::write(path, text)?,
            (Self::Redis(redis), Task::Queue(fields)) => {
                queue::make(redis, desired, &place.names, fields, pace).await?;
                return Ok(());
            }
            (Self::Postgres(postgres, _), Task::Sql(statements)) => postgres.execute(statements).await?,
            (Self::Postgres(postgres, _), Task::Role { statements, name, password }) => {
                let password = password.as_ref().map(|variable| (variable, place.passwords.get(variable)));
                postgres::role(postgres, name, statements, password).await?;
            }
            (Self::Postgres(_, endpoint), Task::Migrate(directory)) => postgres::migrate(endpoint, directory).await?,
            (Self::Qdrant(http), Task::Qdrant(task)) => {
                return qdrant::make(http, task, consent.discard, pace).await;
            }
            _ => {}
        }
        pace.step();
        Ok(())
    }

    async fn close(self) {
        if let Self::Postgres(postgres, _) = self {
            postgres.close().await;
        }
    }
}

/// What is not as described, in the order in which it would be mended. Only reads.
///
/// # Errors
/// A service cannot be reached, or does not let itself be read.
pub async fn plan(desired: &Desired, place: &Place, force: bool) -> Result<Vec<Change>, PlanError> {
    let mut all = Vec::new();
    for part in PARTS.into_iter().filter(|part| part.is_wanted(desired)) {
        let failed = |error| PlanError { service: part.service(), error };
        let (line, _) = part.connect(place).await.map_err(failed)?;
        let changes = line.changes(desired, place, force).await;
        line.close().await;
        all.extend(changes.map_err(failed)?);
    }
    Ok(all)
}

/// Mends what is not as described, one thing after the other; each is looked at again before the next. `told` hears of each
/// step once it is done. The steps after one that failed are skipped.
pub async fn apply(
    desired: &Desired,
    place: &Place,
    consent: Consent,
    pace: &mut Pace,
    mut told: impl FnMut(&Step),
) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut failed: Option<String> = None;
    let mut take = |step: Step| {
        told(&step);
        steps.push(step);
    };
    for part in PARTS.into_iter().filter(|part| part.is_wanted(desired)) {
        let step = |name, what: String, outcome, notes| Step { service: part.service(), name, what, outcome, notes };
        if let Some(prerequisite) = failed.clone() {
            take(step("state", String::new(), Outcome::Skipped { prerequisite }, Vec::new()));
            continue;
        }
        let line = match part.connect(place).await {
            Ok((line, done)) => {
                if let Some(Done { what, outcome, notes }) = done {
                    take(step("connection", what, outcome, notes));
                }
                line
            }
            Err(error) => {
                failed = Some(format!("{} connection", part.service()));
                take(step("connection", error.to_string(), Outcome::Failed(error), Vec::new()));
                continue;
            }
        };
        let mended = mend(&line, desired, place, consent, pace, &mut take).await;
        line.close().await;
        if let Err((service, name, error)) = mended {
            failed = Some(format!("{service} {name}"));
            let what = error.to_string();
            take(Step { service, name, what, outcome: Outcome::Failed(error), notes: Vec::new() });
        }
    }
    steps
}

/// How long something that was done may take until it shows: another run may be in the middle of the same thing.
const SETTLES: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(50);
/// Times that a look which was refused is taken again.
const LOOKS: u32 = 3;

/// Mends one service. The error comes with the service and the kind of the step.
async fn mend(
    line: &Line,
    desired: &Desired,
    place: &Place,
    consent: Consent,
    pace: &mut Pace,
    take: &mut impl FnMut(Step),
) -> Result<(), (&'static str, &'static str, SetupError)> {
    let mut last: Option<Change> = None;
    loop {
        let looked = settled(line, desired, place, consent.force, last.as_ref()).await;
        let changes = looked.map_err(|error| match &last {
            Some(last) => (last.service, last.kind, error),
            None => (line.service(), "state", error),
        })?;
        let Some(change) = changes.iter().find(|change| change.is_pending()) else {
            rest(line, &changes, last.is_some(), take);
            return Ok(());
        };
        if let Err(error) = line.make(change, desired, place, consent, pace).await {
            // What another run has done meanwhile cannot be done once more, and need not.
            let refused = matches!(error, SetupError::Service(ServiceError::Refused { .. }));
            let again = if refused { settled(line, desired, place, consent.force, None).await.ok() } else { None };
            if again.is_none_or(|again| again.iter().any(|now| now.is(change))) {
                return Err((change.service, change.kind, error));
            }
            last = None;
            continue;
        }
        let outcome = if change.action == Action::Create { Outcome::Created } else { Outcome::Changed };
        let what = format!("{}{}", change.what, told_details(&change.details));
        let notes = change.destroys.clone().into_iter().collect();
        take(Step { service: change.service, name: change.kind, what, outcome, notes });
        last = Some(change.clone());
    }
}

/// What is not as described, once what was done last shows.
async fn settled(
    line: &Line,
    desired: &Desired,
    place: &Place,
    force: bool,
    last: Option<&Change>,
) -> Result<Vec<Change>, SetupError> {
    let deadline = Instant::now() + SETTLES;
    let mut refused = 0;
    loop {
        let changes = match line.changes(desired, place, force).await {
            // Another run may have taken away what was about to be looked at.
            Err(SetupError::Service(ServiceError::Refused { .. })) if refused < LOOKS => {
                refused += 1;
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            changes => changes?,
        };
        let Some(last) = last.filter(|last| changes.iter().any(|change| change.is(last))) else { return Ok(changes) };
        if Instant::now() >= deadline {
            return Err(SetupError::Shape {
                what: last.what.clone(),
                found: format!("is as it was {} s ago", SETTLES.as_secs()),
                wanted: format!("it was told to {}: {}", last.action.word(), last.details.join(", ")),
                remedy: "look for another program that changes it back, then run setup again".to_owned(),
            });
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// What was left as it is.
fn rest(line: &Line, changes: &[Change], made: bool, take: &mut impl FnMut(Step)) {
    for change in changes {
        let what = change.what.clone();
        let notes = change.details.iter().map(|detail| format!("{detail}; it was not touched")).collect();
        take(Step { service: change.service, name: change.kind, what, outcome: Outcome::Unchanged, notes });
    }
    if !made && changes.is_empty() {
        let service = line.service();
        let what = "all as described".to_owned();
        take(Step { service, name: "state", what, outcome: Outcome::Unchanged, notes: Vec::new() });
    }
}

fn told_details(details: &[String]) -> String {
    if details.is_empty() { String::new() } else { format!(": {}", details.join(", ")) }
}
