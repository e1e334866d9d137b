//! Statements that wait for a lock, and indexes that were not built.

use std::time::Duration;

use crate::services::migrations::Statement;
use crate::services::postgres_session::{Answer, Session, SessionError};
use crate::settings::PostgresEndpoint;

/// How long a statement runs before it is asked whether it waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks from a second connection at what the statements of a session wait for.
pub(super) struct Watch {
    endpoint: PostgresEndpoint,
    pid: String,
    blocked_by: Option<String>,
}

impl Watch {
    /// Watches `session`, which is connected to `endpoint`.
    pub(super) async fn new(endpoint: &PostgresEndpoint, session: &mut Session) -> Result<Self, SessionError> {
        let pid = first(&session.run("select pg_backend_pid()").await?).unwrap_or_default();
        Ok(Self { endpoint: endpoint.clone(), pid, blocked_by: None })
    }

    /// Who held the lock for which the last statement waited, if it did.
    pub(super) fn blocked_by(&self) -> Option<&str> {
        self.blocked_by.as_deref()
    }

    /// Runs a statement; calls `on_wait` once if it waits for a lock of others.
    pub(super) async fn run(
        &mut self,
        session: &mut Session,
        statement: &Statement,
        on_wait: impl FnOnce(&str),
    ) -> Result<Answer, SessionError> {
        self.blocked_by = None;
        let running = async {
            match &statement.rows {
                Some(rows) => session.copy_in(&statement.text, rows.as_bytes()).await,
                None => session.run(&statement.text).await,
            }
        };
        let looking = look(&self.endpoint, &self.pid);
        tokio::pin!(running, looking);
        tokio::select! {
            done = &mut running => done,
            blocked_by = looking => {
                on_wait(&blocked_by);
                self.blocked_by = Some(blocked_by);
                running.await
            }
        }
    }
}

/// Waits until the session waits for a lock; returns who holds it.
async fn look(endpoint: &PostgresEndpoint, pid: &str) -> String {
    let mut second = None;
    loop {
        tokio::time::sleep(PATIENCE).await;
        // Without a second connection, the statement waits all the same, and its limit ends it.
        if second.is_none() {
            second = Session::open(endpoint).await.ok();
        }
        let Some(session) = &mut second else { continue };
        match session.run(&blocking(pid)).await {
            Ok(answer) => {
                if let Some(blocked_by) = first(&answer) {
                    return blocked_by;
                }
            }
            Err(_) => second = None,
        }
    }
}

/// A query for the sessions that hold what `pid` waits for: one text, or null.
fn blocking(pid: &str) -> String {
    format!(
        "select string_agg(format('pid %s%s%s', pid, \
           coalesce(' of ' || coalesce(nullif(application_name, ''), usename), ''), \
           coalesce(format(', in a transaction for %s s', extract(epoch from now() - xact_start)::int), '')), '; ' \
         order by pid) from pg_stat_activity where pid = any(pg_blocking_pids({pid}))"
    )
}

/// The invalid indexes that a statement names with `INDEX CONCURRENTLY`, with their schemas.
pub(super) async fn invalid_indexes(session: &mut Session, statement: &Statement) -> Result<Vec<String>, SessionError> {
    let text = statement.text.to_lowercase();
    if !text.contains("concurrently") {
        return Ok(Vec::new());
    }
    let answer = session.run(INVALID_INDEXES).await?;
    let rows = answer.rows.into_iter().filter_map(|row| Some((row.first()?.clone()?, row.get(1)?.clone()?)));
    Ok(rows.filter(|(name, _)| text.contains(&name.to_lowercase())).map(|(_, shown)| shown).collect())
}

/// The indexes that no query uses, as a name and with its schema.
const INVALID_INDEXES: &str = "select relname, format('%I.%I', nspname, relname) from pg_index \
    join pg_class on pg_class.oid = indexrelid join pg_namespace on pg_namespace.oid = relnamespace \
    where not indisvalid order by 2";

fn first(answer: &Answer) -> Option<String> {
    answer.rows.first()?.first()?.clone()
}
