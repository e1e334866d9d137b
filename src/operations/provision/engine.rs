//! The only way a stack reaches its desired state: connect, read, change, read again.

use std::time::{Duration, Instant};

use super::change::{Change, Task};
use super::step::{Found, STATE, Stop};
use super::{Consent, SetupError, SetupTarget, WriteCounter, files, postgres, qdrant, queue};
use crate::services::ServiceError;
use crate::services::http::Http;
use crate::services::postgres::Postgres;
use crate::services::redis::Redis;
use crate::settings::{Desired, PostgresEndpoint};

/// The services in the order of their dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Queue,
    Postgres,
    Qdrant,
    Jina,
    Files,
}

const PARTS: [Part; 5] = [Part::Queue, Part::Postgres, Part::Qdrant, Part::Jina, Part::Files];

impl Part {
    /// The parts that the description contains.
    pub(super) fn described(desired: &Desired, target: &SetupTarget) -> impl Iterator<Item = Self> {
        let is_wanted = |part: &Self| match part {
            Self::Queue => target.redis.is_some(),
            Self::Postgres => target.postgres.is_some(),
            Self::Qdrant => target.qdrant.is_some(),
            Self::Jina => desired.jina.is_some(),
            Self::Files => !target.files.is_empty() || desired.files.worker.is_some(),
        };
        PARTS.into_iter().filter(is_wanted)
    }

    /// The service to connect to.
    pub(super) const fn service(self) -> &'static str {
        match self {
            Self::Queue => "redis",
            Self::Postgres => "postgres",
            Self::Qdrant => "qdrant",
            Self::Jina => "jina",
            Self::Files => "files",
        }
    }

    /// The service that owns the things of this part.
    pub(super) const fn owner(self) -> &'static str {
        match self {
            Self::Queue => queue::SERVICE,
            other => other.service(),
        }
    }

    /// Connects without writing.
    pub(super) async fn connect(self, target: &SetupTarget) -> Result<(Connection, Option<Found>), SetupError> {
        Ok(match (self, target) {
            (Self::Queue, SetupTarget { redis: Some(endpoint), .. }) => {
                let (redis, found) = queue::connect(endpoint).await?;
                (Connection::Redis(redis), Some(found))
            }
            (Self::Postgres, SetupTarget { postgres: Some(endpoint), .. }) => {
                let (postgres, found) = postgres::connect(endpoint).await?;
                (Connection::Postgres(postgres, endpoint.clone()), Some(found))
            }
            (Self::Qdrant, SetupTarget { qdrant: Some(endpoint), .. }) => {
                let (http, found) = qdrant::connect(endpoint).await?;
                (Connection::Qdrant(http), Some(found))
            }
            _ => (Connection::None(self), None),
        })
    }
}

/// A connected service.
pub(super) enum Connection {
    Redis(Redis),
    Postgres(Postgres, PostgresEndpoint),
    Qdrant(Http),
    None(Part),
}

impl Connection {
    pub(super) async fn changes(
        &self,
        desired: &Desired,
        target: &SetupTarget,
        force: bool,
    ) -> Result<Vec<Change>, Stop> {
        match self {
            Self::Redis(redis) => Ok(queue::changes(redis, desired, &target.names).await?),
            Self::Postgres(postgres, endpoint) => postgres::changes(postgres, endpoint, desired).await,
            Self::Qdrant(http) => qdrant::changes(http, desired, target.dimensions).await,
            Self::None(Part::Jina) => Ok(files::jina(desired, target)),
            Self::None(Part::Files) => Ok(files::changes(desired, target, force)?),
            Self::None(_) => Ok(Vec::new()),
        }
    }

    /// How long a change may take to become visible: another run may be making the same change, and the nodes of a
    /// cluster do not see it at once. Postgres shows a commit at once.
    const fn settle_time(&self) -> Duration {
        match self {
            Self::Postgres(..) => Duration::ZERO,
            _ => Duration::from_secs(15),
        }
    }

    async fn make(
        &self,
        change: &Change,
        desired: &Desired,
        target: &SetupTarget,
        consent: Consent,
        writes: &mut WriteCounter,
    ) -> Result<(), SetupError> {
        if let Some(why) = change.destroys.as_ref().filter(|_| !consent.replace) {
            return Err(SetupError::NotAgreed {
                what: change.what.clone(),
                why: why.clone(),
                remedy: "check `shakedown plan`, then run setup again with --yes".to_owned(),
            });
        }
        match (self, &change.task) {
            (_, Task::File(file)) => files::write(file)?,
            (Self::Redis(redis), Task::Queue(fields)) => {
                return queue::make(redis, desired, &target.names, fields, writes).await;
            }
            (Self::Postgres(postgres, _), Task::Sql(statements)) => postgres.execute(statements).await?,
            (Self::Postgres(postgres, _), Task::Role { statements, name, password }) => {
                let password = password.as_ref().map(|variable| (variable, target.passwords.get(variable)));
                postgres::role(postgres, name, statements, password).await?;
            }
            (Self::Postgres(_, endpoint), Task::Migrate(directory)) => postgres::migrate(endpoint, directory).await?,
            (Self::Qdrant(http), Task::Qdrant(task)) => {
                return qdrant::make(http, task, consent.discard, writes).await;
            }
            _ => {}
        }
        writes.count();
        Ok(())
    }

    pub(super) async fn close(self) {
        if let Self::Postgres(postgres, _) = self {
            postgres.close().await;
        }
    }
}

/// Receives what setup does, while it does it.
pub(super) trait Reporter {
    /// A part was skipped.
    fn skipped(&mut self, part: Part, prerequisite: &str);
    /// A service was reached.
    fn reached(&mut self, part: Part, found: Found);
    /// A change was made.
    fn made(&mut self, change: &Change);
    /// The part is complete; the changes in `left` were not made.
    fn ended(&mut self, part: Part, left: &[Change]);
    /// The part failed. Returns the name of the step that skipped parts name as their prerequisite.
    fn failed(&mut self, part: Part, stop: Stop) -> String;
}

/// Applies the desired state, one service after the other. Parts after a failure are skipped.
pub(super) async fn converge_all(
    desired: &Desired,
    target: &SetupTarget,
    consent: Consent,
    writes: &mut WriteCounter,
    report: &mut impl Reporter,
) {
    let mut failed: Option<String> = None;
    for part in Part::described(desired, target) {
        if let Some(prerequisite) = &failed {
            report.skipped(part, prerequisite);
            continue;
        }
        let connection = match part.connect(target).await {
            Ok((connection, found)) => {
                if let Some(found) = found {
                    report.reached(part, found);
                }
                connection
            }
            Err(error) => {
                failed = Some(report.failed(part, Stop { kind: "connection", error }));
                continue;
            }
        };
        let converged = converge(&connection, desired, target, consent, writes, report).await;
        connection.close().await;
        match converged {
            Ok(left) => report.ended(part, &left),
            Err(stop) => failed = Some(report.failed(part, stop)),
        }
    }
}

const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Number of refused reads that are repeated.
const MAX_REFUSED_READS: u32 = 3;

/// Applies all changes of one service, and repeats until nothing is left to change. Returns the drift that stays.
async fn converge(
    connection: &Connection,
    desired: &Desired,
    target: &SetupTarget,
    consent: Consent,
    writes: &mut WriteCounter,
    report: &mut impl Reporter,
) -> Result<Vec<Change>, Stop> {
    let mut made: Vec<Change> = Vec::new();
    loop {
        let changes = settled_changes(connection, desired, target, consent.force, &made).await.map_err(|stop| {
            match made.last() {
                Some(last) if stop.kind == STATE => Stop { kind: last.kind, ..stop },
                _ => stop,
            }
        })?;
        if !changes.iter().any(Change::is_pending) {
            return Ok(changes);
        }
        made.clear();
        for change in changes.into_iter().filter(Change::is_pending) {
            if let Err(error) = connection.make(&change, desired, target, consent, writes).await {
                // A change that another run has made meanwhile cannot, and need not, be repeated.
                let refused = matches!(error, SetupError::Service(ServiceError::Refused { .. }));
                let again = if refused {
                    settled_changes(connection, desired, target, consent.force, &[]).await.ok()
                } else {
                    None
                };
                if again.is_none_or(|again| again.iter().any(|now| now.is_same(&change))) {
                    return Err(Stop { kind: change.kind, error });
                }
                break;
            }
            report.made(&change);
            let more = change.task.needs_replan();
            made.push(change);
            if more {
                break;
            }
        }
    }
}

/// The differences, once all changes just made are visible.
async fn settled_changes(
    connection: &Connection,
    desired: &Desired,
    target: &SetupTarget,
    force: bool,
    made: &[Change],
) -> Result<Vec<Change>, Stop> {
    let deadline = Instant::now() + connection.settle_time();
    let mut refused = 0;
    loop {
        let changes = match connection.changes(desired, target, force).await {
            // Another run may have removed what was about to be read.
            Err(Stop { error: SetupError::Service(ServiceError::Refused { .. }), .. })
                if refused < MAX_REFUSED_READS =>
            {
                refused += 1;
                tokio::time::sleep(POLL_INTERVAL).await;
                continue;
            }
            changes => changes?,
        };
        let Some(still) = made.iter().find(|made| changes.iter().any(|change| change.is_same(made))) else {
            return Ok(changes);
        };
        if Instant::now() >= deadline {
            let error = SetupError::Shape {
                what: still.what.clone(),
                found: "is unchanged".to_owned(),
                wanted: format!("setup applied \"{}\": {}", still.action.word(), still.details.join(", ")),
                remedy: "look for another program that reverts the change, then run setup again".to_owned(),
            };
            return Err(Stop { kind: still.kind, error });
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
