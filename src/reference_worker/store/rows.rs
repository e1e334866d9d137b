//! The row of a document in Postgres.

use sqlx::AssertSqlSafe;

use super::{Identity, Status, Store, StoreResult};
use crate::reference_worker::defect::{Defect, planted};

pub(super) type Statement<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// What the row of a document says about its version.
struct Row<'a> {
    status: Status,
    chunks: usize,
    tokens: usize,
    error: Option<&'a str>,
}

impl Store {
    /// Marks the document as in progress, unless this version is already complete.
    pub(in crate::reference_worker) async fn begin(&self, identity: &Identity) -> StoreResult<()> {
        let unless_whole = "where not (known.version is not distinct from excluded.version and known.status = 'ready')";
        let row = Row { status: Status::Processing, chunks: 0, tokens: 0, error: None };
        self.write_row(identity, &row, unless_whole).await
    }

    /// Records the outcome of a document.
    pub(in crate::reference_worker) async fn record(
        &self,
        identity: &Identity,
        status: Status,
        chunks: usize,
        tokens: usize,
        error: Option<&str>,
    ) -> StoreResult<()> {
        let chunks = chunks + usize::from(planted(Defect::WrongCount));
        self.write_row(identity, &Row { status, chunks, tokens, error }, "").await
    }

    /// Inserts or updates the row; an update only where `condition` holds.
    async fn write_row(&self, identity: &Identity, row: &Row<'_>, condition: &str) -> StoreResult<()> {
        if planted(Defect::NoRow) || (planted(Defect::SkipsSilently) && row.status == Status::Skipped) {
            return Ok(());
        }
        let number = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let statement = format!(
            "insert into {} as known (id, version, status, chunks, tokens, source, error) \
             values ($1, $2, $3, $4, $5, $6, $7) \
             on conflict (id) do update set version = excluded.version, status = excluded.status, \
             chunks = excluded.chunks, tokens = excluded.tokens, source = excluded.source, error = excluded.error, \
             updated_at = now() {condition}",
            self.table
        );
        self.execute(&statement, |query| {
            query
                .bind(replace_nul(&identity.document))
                .bind(replace_nul(&identity.version))
                .bind(row.status.word())
                .bind(number(row.chunks))
                .bind(number(row.tokens))
                .bind(replace_nul(&identity.source))
                .bind(row.error.map(replace_nul))
        })
        .await?;
        Ok(())
    }

    /// Runs one statement; returns the number of affected rows.
    ///
    /// Behind a pooler in transaction mode it runs in a transaction: each message of a session may reach another
    /// server, which does not know what was parsed before.
    pub(super) async fn execute<'q, B>(&self, statement: &str, bind: B) -> StoreResult<u64>
    where
        B: Fn(Statement<'q>) -> Statement<'q>,
    {
        self.rows_guard
            .call(|| async {
                let query = bind(sqlx::query(AssertSqlSafe(statement.to_owned())).persistent(false));
                if planted(Defect::KeepsAbortedTransaction) {
                    return self.execute_without_rollback(query).await;
                }
                if !self.pooled {
                    return Ok(query.execute(&self.postgres).await?.rows_affected());
                }
                let mut transaction = self.postgres.begin().await?;
                let touched = query.execute(&mut *transaction).await?.rows_affected();
                transaction.commit().await?;
                Ok(touched)
            })
            .await
    }
}

/// Postgres text cannot hold U+0000 (SQLSTATE 22021).
pub(super) fn replace_nul(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}
