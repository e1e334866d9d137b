//! The row of a document in Postgres.

use sqlx::AssertSqlSafe;

use super::points::version_filter;
use super::{Identity, Status, Store, StoreResult};
use crate::reference_worker::defect::{Defect, planted};

type Statement<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

impl Store {
    /// Marks the document as in progress, unless this version is already complete.
    pub(in crate::reference_worker) async fn begin(&self, identity: &Identity) -> StoreResult<()> {
        let unless_whole = "where not (known.version is not distinct from excluded.version and known.status = 'ready')";
        self.write_row(identity, Status::Processing, 0, 0, None, unless_whole).await
    }

    /// Removes what was stored of a failed version, and records the reason in its row.
    ///
    /// A version that was complete before stays: an outage while the same text is ingested again must not remove the
    /// document. Its row then stays `ready`, with the reason in `error`.
    pub(in crate::reference_worker) async fn give_up(&self, identity: &Identity, reason: &str) -> StoreResult<()> {
        let statement = format!(
            "update {} set error = $3, updated_at = now() where id = $1 and version = $2 and status = 'ready'",
            self.table
        );
        let stays = self
            .execute(&statement, |query| {
                query
                    .bind(replace_nul(&identity.document))
                    .bind(replace_nul(&identity.version))
                    .bind(replace_nul(reason))
            })
            .await?;
        if stays > 0 {
            return Ok(());
        }
        self.delete(&version_filter(identity)).await?;
        self.record(identity, Status::Failed, 0, 0, Some(reason)).await
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
        self.write_row(identity, status, chunks + usize::from(planted(Defect::WrongCount)), tokens, error, "").await
    }

    async fn write_row(
        &self,
        identity: &Identity,
        status: Status,
        chunks: usize,
        tokens: usize,
        error: Option<&str>,
        condition: &str,
    ) -> StoreResult<()> {
        if planted(Defect::NoRow) || (planted(Defect::SkipsSilently) && status == Status::Skipped) {
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
                .bind(status.word())
                .bind(number(chunks))
                .bind(number(tokens))
                .bind(replace_nul(&identity.source))
                .bind(error.map(replace_nul))
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
