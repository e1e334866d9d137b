//! The points of a document in Qdrant.

use std::collections::HashMap;

use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, DeletePointsBuilder, Filter, NamedVectors, PointStruct, Range, UpdateStatus,
    UpsertPointsBuilder, Value,
};
use uuid::Uuid;

use super::{EmbeddedChunk, Identity, Store, StoreError, StoreResult};
use crate::reference_worker::defect::{Defect, planted};
use crate::reference_worker::guard::Guarded;

/// The namespace of point ids: UUIDv5 of the URL namespace and this project's name for a chunk.
const CHUNK_NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_3c1e_52a4_5d0f_9a51_7f0e_3d2b_8c44);

impl Store {
    /// Stores points and waits until they are applied.
    pub(in crate::reference_worker) async fn upsert(
        &self,
        identity: &Identity,
        total: usize,
        chunks: &[EmbeddedChunk],
    ) -> StoreResult<()> {
        for batch in chunks.chunks(self.batch) {
            self.vectors_guard
                .call(|| async {
                    let mut points: Vec<PointStruct> = batch
                        .iter()
                        .map(|chunk| self.point(identity, total, chunk, chunk_id(identity, chunk.index)))
                        .collect();
                    if planted(Defect::DuplicatesPoints) {
                        points.extend(batch.iter().map(|chunk| self.point(identity, total, chunk, Uuid::new_v4())));
                    }
                    let request = UpsertPointsBuilder::new(&self.collection, points);
                    let answer = self.qdrant.upsert_points(request.wait(!planted(Defect::WaitFalse))).await?;
                    if planted(Defect::WaitFalse) {
                        return Ok(());
                    }
                    completed(answer.result.map(|result| result.status))
                })
                .await?;
        }
        Ok(())
    }

    fn point(&self, identity: &Identity, total: usize, chunk: &EmbeddedChunk, id: Uuid) -> PointStruct {
        let integer = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
        let mut payload: HashMap<String, Value> = HashMap::from([
            ("document_id".to_owned(), identity.document.clone().into()),
            ("version".to_owned(), identity.version.clone().into()),
            ("source".to_owned(), identity.source.clone().into()),
            ("chunk_index".to_owned(), integer(chunk.index + u64::from(planted(Defect::IndexFromOne)))),
            ("chunk_count".to_owned(), integer(total as u64)),
            ("text".to_owned(), chunk.text.clone().into()),
            ("tokens".to_owned(), integer(chunk.tokens as u64)),
            ("model".to_owned(), self.model.clone().into()),
        ]);
        if let Some(sequence) = identity.sequence {
            payload.insert("sequence".to_owned(), sequence.into());
        }
        if planted(Defect::NoChunkIndex) {
            payload.remove("chunk_index");
        }
        match &self.vector {
            Some(name) => {
                let named = NamedVectors::default().add_vector(name, chunk.vector.clone());
                PointStruct::new(id.to_string(), named, payload)
            }
            None => PointStruct::new(id.to_string(), chunk.vector.clone(), payload),
        }
    }

    /// Makes the points of this version the only ones of the document, except for those of newer jobs. Call it once all of
    /// them are stored.
    ///
    /// Removes the old version only when the new one is complete, so that a document that can be found stays findable.
    /// Where jobs have no numbers, the last count detects another worker that processed another version of the document at
    /// the same time, so that each removed the other's points; the attempt then fails and is repeated.
    pub(in crate::reference_worker) async fn keep_only_version(
        &self,
        identity: &Identity,
        written: usize,
    ) -> StoreResult<()> {
        let (all, own) = (document_filter(&identity.document), version_filter(identity));
        let planted_more =
            [Defect::DuplicatesPoints, Defect::RandomIds, Defect::SkipsFailedBatches, Defect::AcceptsTooFewVectors]
                .into_iter()
                .any(planted);
        if self.count(&own).await? > written as u64 && !planted_more {
            // The same version was split into more chunks earlier.
            let mut tail = own.clone();
            let from_here = Range { gte: Some(as_range_bound(written)), ..Range::default() };
            tail.must.push(Condition::range("chunk_index", from_here));
            self.delete(&tail).await?;
        }
        if !planted_more {
            self.expect_count(&own, written).await?;
        }
        if planted(Defect::KeepsStaleTail) {
            return Ok(());
        }
        let mut others = older_filter(identity);
        others.must_not.push(keyword("version", &identity.version));
        self.delete(&others).await?;
        if planted_more || identity.sequence.is_some() {
            return Ok(());
        }
        self.expect_count(&all, written).await
    }

    /// Removes every point of the document, except for those of newer jobs.
    pub(in crate::reference_worker) async fn remove_older(&self, identity: &Identity) -> StoreResult<()> {
        self.delete(&older_filter(identity)).await
    }

    async fn count(&self, filter: &Filter) -> StoreResult<u64> {
        self.vectors_guard
            .call(|| async {
                let request = CountPointsBuilder::new(&self.collection).filter(filter.clone()).exact(true);
                Ok(self.qdrant.count(request).await?.result.map_or(0, |result| result.count))
            })
            .await
    }

    async fn expect_count(&self, filter: &Filter, written: usize) -> StoreResult<()> {
        let (stored, written) = (self.count(filter).await?, written as u64);
        // Outside of the guard: the service is healthy, and another count would not change the number.
        if stored == written { Ok(()) } else { Err(Guarded::Failed(StoreError::WrongCount { stored, written })) }
    }

    pub(super) async fn delete(&self, filter: &Filter) -> StoreResult<()> {
        self.vectors_guard
            .call(|| async {
                let request = DeletePointsBuilder::new(&self.collection).points(filter.clone()).wait(true);
                let answer = self.qdrant.delete_points(request).await?;
                completed(answer.result.map(|result| result.status))
            })
            .await
    }
}

/// The points of all versions of a document.
pub(super) fn document_filter(document: &str) -> Filter {
    Filter::must([keyword("document_id", document)])
}

/// The points of one version.
pub(super) fn version_filter(identity: &Identity) -> Filter {
    let mut filter = document_filter(&identity.document);
    filter.must.push(keyword("version", &identity.version));
    filter
}

/// The points of the document that older jobs stored; where jobs have no numbers, all of them.
fn older_filter(identity: &Identity) -> Filter {
    let mut filter = document_filter(&identity.document);
    if let Some(sequence) = identity.sequence.filter(|_| !planted(Defect::DeletesNewerPoints)) {
        #[expect(clippy::cast_precision_loss, reason = "the number of a job, or milliseconds since 1970: below 2^53")]
        let before = Range { lt: Some(sequence as f64), ..Range::default() };
        let is_older = Filter::should([Condition::range("sequence", before), Condition::is_empty("sequence")]);
        filter.must.push(Condition::from(is_older));
    }
    filter
}

/// A number of chunks as a bound of Qdrant's ranges.
#[expect(clippy::cast_precision_loss, reason = "a document has far fewer than 2^53 chunks")]
const fn as_range_bound(number: usize) -> f64 {
    number as f64
}

/// Matches the whole value. The client's own `Condition::matches` runs a full-text search for a value with a space,
/// which finds other documents too.
fn keyword(field: &str, value: &str) -> Condition {
    Condition::matches(field, MatchValue::Keyword(value.to_owned()))
}

fn completed(status: Option<i32>) -> Result<(), StoreError> {
    match status {
        Some(status) if status == UpdateStatus::Completed as i32 => Ok(()),
        other => Err(StoreError::NotCompleted(other.unwrap_or_default())),
    }
}

/// The id of a chunk: deterministic in document, version and index, so that a retry overwrites.
fn chunk_id(identity: &Identity, index: u64) -> Uuid {
    if planted(Defect::RandomIds) {
        return Uuid::new_v4();
    }
    // Lengths come first, so that no two triples produce the same name.
    let name = format!(
        "{}:{}{}:{}{index}",
        identity.document.len(),
        identity.document,
        identity.version.len(),
        identity.version
    );
    Uuid::new_v5(&CHUNK_NAMESPACE, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_chunk_depends_on_document_version_and_index_and_on_nothing_else() {
        let identity = |document: &str, version: &str| Identity {
            document: document.to_owned(),
            version: version.to_owned(),
            source: "anywhere".to_owned(),
            sequence: None,
        };
        assert_eq!(
            chunk_id(&identity("a", "1"), 0),
            chunk_id(&Identity { source: "elsewhere".into(), sequence: Some(7), ..identity("a", "1") }, 0)
        );
        let all = [
            chunk_id(&identity("a", "1"), 0),
            chunk_id(&identity("a", "1"), 1),
            chunk_id(&identity("a", "11"), 0),
            chunk_id(&identity("a1", "1"), 0),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
