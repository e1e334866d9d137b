//! The one way in which a stack becomes as described: connect, look, do what is to be done, look again.

use std::time::{Duration, Instant};

use super::change::{Change, Task};
use super::step::{Found, STATE, Stop};
use super::{Consent, SetupError, SetupTarget, WriteCounter, files, postgres, qdrant, queue};
use crate::services::ServiceError;
use crate::services::http::Http;
use crate::services::postgres::Postgres;
use crate::services::redis::Redis;
use crate::settings::{Desired, PostgresEndpoint};

/// The services in the order in which they depend on each other.
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
    /// Those of which something is desired.
    pub(super) fn wanted(desired: &Desired, target: &SetupTarget) -> impl Iterator<Item = Self> {
        let is_wanted = |part: &Self| match part {
            Self::Queue => target.redis.is_some(),
            Self::Postgres => target.postgres.is_some(),
            Self::Qdrant => target.qdrant.is_some(),
            Self::Jina => desired.jina.is_some(),
            Self::Files => !target.files.is_empty() || desired.files.worker.is_some(),
        };
        PARTS.into_iter().filter(is_wanted)
    }

    /// The service that is reached.
    pub(super) const fn service(self) -> &'static str {
        match self {
            Self::Queue => "redis",
            Self::Postgres => "postgres",
            Self::Qdrant => "qdrant",
            Self::Jina => "jina",
            Self::Files => "files",
        }
    }

    /// The service whose things these are.
    pub(super) const fn owner(self) -> &'static str {
        match self {
            Self::Queue => queue::SERVICE,
            other => other.service(),
        }
    }

    /// Connects; nothing is written.
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

/// A service that was reached.
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

    /// How long something that was done may take until it shows: another run may be in the middle of the same thing, and
    /// the nodes of a cluster do not see it at once. What Postgres has committed is there.
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

/// Who hears of what is done, while it is done.
pub(super) trait Reporter {
    /// A part was not tried.
    fn skipped(&mut self, part: Part, prerequisite: &str);
    /// A service was reached.
    fn reached(&mut self, part: Part, found: Found);
    /// A change was made.
    fn made(&mut self, change: &Change);
    /// All is done; this was left as it is.
    fn ended(&mut self, part: Part, left: &[Change]);
    /// It does not go on. Gives the name of the step that what follows has to wait for.
    fn failed(&mut self, part: Part, stop: Stop) -> String;
}

/// Mends what is not as described, one service after the other. What comes after a failure is not tried.
pub(super) async fn converge_all(
    desired: &Desired,
    target: &SetupTarget,
    consent: Consent,
    writes: &mut WriteCounter,
    report: &mut impl Reporter,
) {
    let mut failed: Option<String> = None;
    for part in Part::wanted(desired, target) {
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
/// Times that a look which was refused is taken again.
const MAX_REFUSED_READS: u32 = 3;

/// Mends one service: all that a look has found, and again until a look finds nothing. Gives what is left as it is.
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
                // What another run has done meanwhile cannot be done once more, and need not.
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

/// What is not as described, once all that was just made shows.
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
            // Another run may have taken away what was about to be looked at.
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
