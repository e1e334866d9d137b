//! What changes both stores: the points and the row of a document.

use super::points::{document_filter, version_filter};
use super::rows::replace_nul;
use super::{Identity, Status, Store, StoreResult};
use crate::reference_worker::defect::{Defect, planted};

impl Store {
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
        self.record(identity, Status::Failed, 0, 0, Some(reason)).await?;
        Ok(())
    }

    /// Removes a document. Its points go first: a row without points is found and reported, points without a row are
    /// not. False if a newer job of the document has begun: then it stays.
    ///
    /// The row stays and says `removed`, so that an older job that is tried again stores nothing. Where jobs have no numbers
    /// nothing could be compared with it, and it is deleted.
    pub(in crate::reference_worker) async fn delete_document(&self, identity: &Identity) -> StoreResult<bool> {
        if identity.sequence.is_some() && !planted(Defect::LeavesNoTombstone) {
            if !self.begin_removal(identity).await? {
                return Ok(false);
            }
            self.remove_older(identity).await?;
            return self.record(identity, Status::Removed, 0, 0, None).await;
        }
        self.delete(&document_filter(&identity.document)).await?;
        let statement = format!("delete from {} where id = $1", self.table);
        self.execute(&statement, |query| query.bind(replace_nul(&identity.document))).await?;
        Ok(true)
    }

    /// Lets the row of a document know of the removal; what it says of the document stays until the points are gone. False
    /// if a newer job of the document has begun.
    async fn begin_removal(&self, identity: &Identity) -> StoreResult<bool> {
        let statement = format!(
            "insert into {} as known (id, version, status, sequence) values ($1, '', $2, $3) on conflict (id) do update \
             set sequence = excluded.sequence where known.sequence is null or known.sequence <= excluded.sequence",
            self.table
        );
        let written = self
            .execute(&statement, |query| {
                query.bind(replace_nul(&identity.document)).bind(Status::Removed.word()).bind(identity.sequence)
            })
            .await?;
        Ok(written > 0)
    }

    /// If a newer job of the document has begun, removes what this one stored, unless both store the same version. False if
    /// this is the newest job.
    pub(in crate::reference_worker) async fn yield_to_newer(&self, identity: &Identity) -> StoreResult<bool> {
        let Some((version, status)) = self.newer(identity).await? else { return Ok(false) };
        let is_same = version == replace_nul(&identity.version) && status != Status::Removed.word();
        if !is_same && !planted(Defect::KeepsOutdatedPoints) {
            self.delete(&version_filter(identity)).await?;
        }
        tracing::info!(document = identity.document, "a newer job of the document has begun: this one changes nothing");
        Ok(true)
    }
}
