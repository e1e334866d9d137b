//! What changes both stores: the points and the row of a document.

use super::points::{document_filter, version_filter};
use super::rows::replace_nul;
use super::{Identity, Status, Store, StoreResult};

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
        self.record(identity, Status::Failed, 0, 0, Some(reason)).await
    }

    /// Removes a document. Its points go first: a row without points is found and reported, points without a row are
    /// not.
    pub(in crate::reference_worker) async fn delete_document(&self, document: &str) -> StoreResult<()> {
        self.delete(&document_filter(document)).await?;
        let statement = format!("delete from {} where id = $1", self.table);
        self.execute(&statement, |query| query.bind(replace_nul(document))).await?;
        Ok(())
    }
}
