//! Applies one file, and records it.

use super::error::MigrateError;
use super::locks::{Watch, invalid_indexes};
use super::progress::{Options, Progress};
use super::transaction::runs_in_a_transaction;

use crate::services::migrations::{Local, Statement};
use crate::services::postgres_session::{Session, SessionError};

/// What a former file may have left in the session: dumps set `search_path` and roles. The session's lock remains.
const RESET: &str = "reset session authorization; reset role; reset all";
/// The record is written as the user who connected, whatever role the file took.
const OWN_ROLE: &str = "reset session authorization; reset role";

/// A file with its statements.
pub(super) struct Pending<'a> {
    pub(super) version: &'a str,
    pub(super) local: &'a Local,
    pub(super) statements: Vec<Statement>,
}

impl Pending<'_> {
    /// Whether all statements can run in one transaction.
    pub(super) fn is_transactional(&self) -> bool {
        self.statements.iter().all(|statement| runs_in_a_transaction(&statement.text))
    }

    /// An error if the file contains what no server executes.
    pub(super) fn check(&self) -> Result<(), MigrateError> {
        let file = || self.local.file.clone();
        match self.statements.iter().find_map(Statement::unusable) {
            Some((line, cause)) => Err(MigrateError::Unusable { file: file(), line, cause }),
            None => Ok(()),
        }
    }

    /// Applies the file and records it.
    pub(super) async fn apply(
        &self,
        session: &mut Session,
        watch: &mut Watch,
        options: Options,
        on_progress: &mut impl FnMut(Progress<'_>),
    ) -> Result<(), MigrateError> {
        session.run(&format!("{RESET}; set lock_timeout = '{}s'", options.lock_wait_s)).await?;
        let transactional = self.is_transactional();
        if transactional {
            session.run("begin").await?;
        }
        for (place, statement) in self.statements.iter().enumerate() {
            let (file, line) = (self.local.file.as_str(), statement.line);
            let on_wait = |blocked_by: &str| on_progress(Progress::Waiting { file, line, blocked_by });
            if let Err(cause) = watch.run(session, statement, on_wait).await {
                if transactional {
                    // A lost session has rolled back.
                    let _ = session.run("rollback").await;
                }
                let remedy = remedy(session, statement, &cause, watch.blocked_by()).await;
                let line = line + lines_before(&statement.text, &cause);
                let partial = !transactional && place > 0;
                let (file, cause) = (file.to_owned(), Box::new(cause));
                return Err(MigrateError::Statement { file, line, cause, partial, remedy });
            }
            if let Some(index) = invalid_indexes(session, statement).await?.into_iter().next() {
                return Err(MigrateError::InvalidIndex { file: file.to_owned(), line, index });
            }
        }
        self.record(session, transactional).await
    }

    async fn record(&self, session: &mut Session, transactional: bool) -> Result<(), MigrateError> {
        let texts: Vec<String> = self.statements.iter().map(Statement::whole).collect();
        let record = format!(
            "{OWN_ROLE}; insert into supabase_migrations.schema_migrations (version, name, statements) \
             values ({}, {}, {})",
            quote(self.version),
            quote(&self.local.name),
            text_array(&texts)
        );
        let recorded = session.run(&record).await;
        if transactional {
            let end = if recorded.is_ok() { "commit" } else { "rollback" };
            session.run(end).await?;
        }
        recorded?;
        Ok(())
    }
}

/// What to do about an error, where it is known.
async fn remedy(
    session: &mut Session,
    statement: &Statement,
    cause: &SessionError,
    blocked_by: Option<&str>,
) -> Option<String> {
    let SessionError::Refused { code, .. } = cause else { return None };
    // An index that could not be built concurrently stays behind.
    if let Some(index) = invalid_indexes(session, statement).await.ok()?.into_iter().next() {
        return Some(format!(
            "it left the invalid index {index} behind: run `drop index {index}` before you try again"
        ));
    }
    match (code.as_str(), blocked_by) {
        ("55P03", Some(blocked_by)) => {
            Some(format!("the lock is held by {blocked_by}: try again when it has ended, or wait longer with --wait"))
        }
        ("55P04", _) => Some("put ALTER TYPE … ADD VALUE into a file of its own, before this one".to_owned()),
        _ => None,
    }
}

/// Lines of the statement before the position of Postgres' error.
fn lines_before(text: &str, error: &SessionError) -> usize {
    let SessionError::Refused { position: Some(position), .. } = error else {
        // Comments before a statement did not fail.
        return text.lines().take_while(|line| line.trim().is_empty() || line.trim_start().starts_with("--")).count();
    };
    text.chars().take(position.saturating_sub(1)).filter(|letter| *letter == '\n').count()
}

/// A text as an SQL literal.
fn quote(text: &str) -> String {
    // A backslash has the same meaning under every setting only in the escape form.
    if text.contains('\\') {
        return format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"));
    }
    format!("'{}'", text.replace('\'', "''"))
}

fn text_array(texts: &[String]) -> String {
    let items: Vec<String> = texts.iter().map(|text| quote(text)).collect();
    format!("array[{}]::text[]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("it's", "'it''s'")]
    #[case(r"a\b'", r"E'a\\b'''")]
    fn texts_become_sql_literals(#[case] text: &str, #[case] wanted: &str) {
        assert_eq!(quote(text), wanted);
    }

    #[test]
    fn an_error_is_located_by_line() {
        let at = |position| SessionError::Refused { code: String::new(), message: String::new(), hint: None, position };
        assert_eq!(lines_before("-- é\nselect\n  wrong", &at(Some(15))), 2);
        assert_eq!(lines_before("-- one\n\nselect 1", &at(None)), 2);
    }
}
