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

/// Whether the job that writes a row is as new as the one that wrote it. A job without a number counts as the newest.
const IS_NEWEST: &str = "(known.sequence is null or excluded.sequence is null or known.sequence <= excluded.sequence)";

/// Whether the row says that this version is complete.
const IS_WHOLE: &str = "(known.version is not distinct from excluded.version and known.status = 'ready')";

impl Store {
    /// Marks the document as in progress; a version that is already complete stays so. False if a newer job of the document
    /// has begun.
    pub(in crate::reference_worker) async fn begin(&self, identity: &Identity) -> StoreResult<bool> {
        let row = Row { status: Status::Processing, chunks: 0, tokens: 0, error: None };
        let unless_whole =
            |column: &str| format!("{column} = case when {IS_WHOLE} then known.{column} else excluded.{column} end");
        let kept: Vec<String> = ["status", "chunks", "tokens", "error"].into_iter().map(unless_whole).collect();
        self.write_row(identity, &row, &kept.join(", ")).await
    }

    /// Records the outcome of a document. False if a newer job of the document has begun.
    pub(in crate::reference_worker) async fn record(
        &self,
        identity: &Identity,
        status: Status,
        chunks: usize,
        tokens: usize,
        error: Option<&str>,
    ) -> StoreResult<bool> {
        let chunks = chunks + usize::from(planted(Defect::WrongCount));
        let row = Row { status, chunks, tokens, error };
        let all =
            "status = excluded.status, chunks = excluded.chunks, tokens = excluded.tokens, error = excluded.error";
        self.write_row(identity, &row, all).await
    }

    /// Inserts or updates the row, in one statement with the comparison of the jobs: between two statements another worker
    /// may begin a newer one. False if a newer job of the document has begun.
    async fn write_row(&self, identity: &Identity, row: &Row<'_>, update: &str) -> StoreResult<bool> {
        if planted(Defect::NoRow) {
            return Ok(true);
        }
        if planted(Defect::SkipsSilently) && row.status == Status::Skipped {
            // The row that says that the document is in progress goes too.
            let statement = format!("delete from {} where id = $1", self.table);
            self.execute(&statement, |query| query.bind(replace_nul(&identity.document))).await?;
            return Ok(true);
        }
        let compares_first = planted(Defect::ComparesOrderFirst) && row.status != Status::Processing;
        let condition = if compares_first { "true" } else { IS_NEWEST };
        let number = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let statement = format!(
            "insert into {} as known (id, version, status, chunks, tokens, source, error, sequence) \
             values ($1, $2, $3, $4, $5, $6, $7, $8) \
             on conflict (id) do update set version = excluded.version, {update}, source = excluded.source, \
             sequence = coalesce(excluded.sequence, known.sequence), updated_at = now() where {condition}",
            self.table
        );
        let written = self
            .execute(&statement, |query| {
                query
                    .bind(replace_nul(&identity.document))
                    .bind(replace_nul(&identity.version))
                    .bind(row.status.word())
                    .bind(number(row.chunks))
                    .bind(number(row.tokens))
                    .bind(replace_nul(&identity.source))
                    .bind(row.error.map(replace_nul))
                    .bind(identity.sequence)
            })
            .await?;
        Ok(written > 0)
    }

    /// The version and the status in the row of a document, if a newer job than this one has begun.
    pub(super) async fn newer(&self, identity: &Identity) -> StoreResult<Option<(String, String)>> {
        if identity.sequence.is_none() || planted(Defect::ComparesOrderFirst) {
            return Ok(None);
        }
        let statement = format!("select version, status from {} where id = $1 and sequence > $2", self.table);
        self.rows_guard
            .call(|| async {
                let query = sqlx::query_as(AssertSqlSafe(statement.clone())).persistent(false);
                let query = query.bind(replace_nul(&identity.document)).bind(identity.sequence);
                if !self.pooled {
                    return Ok(query.fetch_optional(&self.postgres).await?);
                }
                let mut transaction = self.postgres.begin().await?;
                let row = query.fetch_optional(&mut *transaction).await?;
                transaction.commit().await?;
                Ok(row)
            })
            .await
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
