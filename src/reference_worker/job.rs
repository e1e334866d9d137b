//! One job: chunk, embed, store, verify, record. Only then is it complete.

use std::ops::Range;
use std::sync::Arc;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::chunk::{Chunk, Chunker};
use super::defect::{Defect, planted};
use super::guard::{Class, Classified, Guard, Guarded};
use super::spans::{Traces, within};
use super::store::{EmbeddedChunk, Identity, Status, Store, StoreError};
use crate::outcome::Trace;
use crate::services::jina::{JinaClient, JinaError};

/// Longer texts are chunked on a blocking thread, away from the threads that keep the connections alive.
const BLOCKING_BYTES: usize = 32 * 1024;

/// State shared by all jobs.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) chunker: Arc<Chunker>,
    pub(super) jina: JinaClient,
    pub(super) jina_guard: Guard,
    /// Maximum of concurrent requests of the process.
    pub(super) parallel: usize,
    pub(super) batch: usize,
    pub(super) store: Store,
    pub(super) traces: Traces,
    /// Whether the worker is shutting down; used by one planted defect only.
    pub(super) ending: CancellationToken,
    /// The reason of the first rejected document; used by one planted defect only.
    pub(super) first_rejection: std::sync::OnceLock<String>,
}

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum JobError {
    /// The job's data are malformed.
    #[error("malformed job: {0}")]
    Malformed(String),
    #[error("embeddings: {0}")]
    Jina(#[from] Guarded<JinaError>),
    #[error(transparent)]
    Store(#[from] Guarded<StoreError>),
    /// A blocking task ended early.
    #[error("chunking failed: {0}")]
    Chunking(String),
    /// A planted defect.
    #[error("planted defect")]
    Planted,
}

impl JobError {
    /// Whether another attempt may help.
    pub(super) fn may_be_retried(&self) -> bool {
        match self {
            Self::Malformed(_) => false,
            Self::Jina(error) => matches!(error.class(), Class::Retry { .. }),
            Self::Store(error) => matches!(error.class(), Class::Retry { .. }),
            Self::Chunking(_) | Self::Planted => true,
        }
    }
}

impl Classified for JinaError {
    fn class(&self) -> Class {
        use crate::services::jina::Class as JinaClass;
        match self.class() {
            JinaClass::Retry { after } => Class::Retry { after },
            JinaClass::Rejected => Class::Rejected,
            JinaClass::Fatal => Class::Fatal,
        }
    }
}

/// A document as its job carries it.
#[derive(Debug)]
pub(super) struct IngestJob {
    pub(super) identity: Identity,
    text: Arc<str>,
}

impl IngestJob {
    /// Reads the data of a job.
    pub(super) fn read(data: &Value) -> Result<Self, JobError> {
        let text = |key: &str| data.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let missing = |key: &str| JobError::Malformed(format!("data has no text `{key}`"));
        let document = text("documentId").ok_or_else(|| missing("documentId"))?.to_owned();
        // A document may be empty, but it must be a string.
        let content = data.get("text").and_then(Value::as_str).ok_or_else(|| missing("text"))?;
        let version = text("version").map_or_else(
            || Sha256::digest(content.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
            ToOwned::to_owned,
        );
        let source = text("source").unwrap_or(&document).to_owned();
        Ok(Self { identity: Identity { document, version, source, sequence: sequence(data) }, text: content.into() })
    }
}

/// The number of a job among those of its document, if its data have one.
fn sequence(data: &Value) -> Option<i64> {
    data.get("sequence").and_then(Value::as_i64).filter(|_| !planted(Defect::IgnoresOrder))
}

/// The document that a job removes.
pub(super) fn removed_document(data: &Value) -> Result<Identity, JobError> {
    let Some(document) = data["documentId"].as_str().filter(|id| !id.is_empty()) else {
        return Err(JobError::Malformed("data has no text `documentId`".to_owned()));
    };
    let document = document.to_owned();
    Ok(Identity { source: document.clone(), version: String::new(), sequence: sequence(data), document })
}

/// A document on its way into the store.
struct ChunkedDocument<'a> {
    identity: &'a Identity,
    text: &'a str,
    chunks: &'a [Chunk],
    trace: &'a Trace,
}

impl Shared {
    /// Runs the job; returns the job's return value.
    pub(super) async fn ingest(&self, request: IngestJob, attempt: u32, trace: &Trace) -> Result<Value, JobError> {
        self.apply_planted_defects(&request, attempt)?;
        let IngestJob { identity, text } = request;
        if text.trim().is_empty() && !planted(Defect::EmbedsEmpty) {
            return self.skip_empty(&identity, trace).await;
        }
        if planted(Defect::LosesDocuments) && is_affected(&identity.document, 3) {
            return Ok(Value::Null);
        }
        if !within(trace.begin("status"), self.store.begin(&identity)).await? {
            return self.outdated(&identity, trace).await;
        }
        if planted(Defect::MarksDoneFirst) {
            return self.mark_done_first(&identity, &text, trace).await;
        }
        let mut chunks = self.chunk(&text, trace).await?;
        if planted(Defect::DropsLastChunk) && chunks.len() > 1 {
            chunks.pop();
        }
        if planted(Defect::LosesFullLastBatch) && chunks.len().is_multiple_of(self.batch) {
            chunks.truncate(chunks.len().saturating_sub(self.batch));
        }
        if planted(Defect::EmbedsEmpty) && chunks.is_empty() {
            chunks.push(Chunk { start: 0, end: 0, tokens: 0 });
        }
        if planted(Defect::DeletesFirst) {
            self.store.remove_older(&Identity { sequence: None, ..identity.clone() }).await?;
        }
        let (total, tokens) = (chunks.len(), chunks.iter().map(|chunk| chunk.tokens).sum());
        self.store_batches(&ChunkedDocument { identity: &identity, text: &text, chunks: &chunks, trace }).await?;
        let settled = within(trace.begin("verify"), self.store.keep_only_version(&identity, total)).await;
        // A newer job may have removed some of the points: that is no failure of this one.
        if self.store.yield_to_newer(&identity).await? {
            return Ok(outdated(&identity));
        }
        settled?;
        if !within(trace.begin("status"), self.store.record(&identity, Status::Ready, total, tokens, None)).await? {
            return self.outdated(&identity, trace).await;
        }
        Ok(return_value(&identity, total, tokens))
    }

    /// A document without text: what older jobs stored of it goes, and its row says why.
    async fn skip_empty(&self, identity: &Identity, trace: &Trace) -> Result<Value, JobError> {
        let is_newest = self.store.begin(identity).await?;
        if is_newest {
            within(trace.begin("remove"), self.store.remove_older(identity)).await?;
        }
        let skipped = self.store.record(identity, Status::Skipped, 0, 0, Some("empty"));
        if !is_newest || !within(trace.begin("status"), skipped).await? {
            return self.outdated(identity, trace).await;
        }
        let mut value = return_value(identity, 0, 0);
        value["skipped"] = "empty".into();
        Ok(value)
    }

    /// The job is not the newest one of its document: what it has stored goes, and nothing else changes.
    async fn outdated(&self, identity: &Identity, trace: &Trace) -> Result<Value, JobError> {
        within(trace.begin("remove"), self.store.yield_to_newer(identity)).await?;
        Ok(outdated(identity))
    }

    /// Embeds and stores all chunks; returns the first failure.
    ///
    /// Runs one batch more than concurrent requests: while one is stored, the others are embedded. After a failure no
    /// new batch starts, and batches being stored are awaited: a write that is not awaited may arrive after the removal
    /// of the document.
    async fn store_batches(&self, document: &ChunkedDocument<'_>) -> Result<(), JobError> {
        let batch = if planted(Defect::OneTextPerRequest) { 1 } else { self.batch };
        let total = document.chunks.len();
        let over = CancellationToken::new();
        let mut under_way = stream::iter((0..total).step_by(batch))
            .map(|first| self.embed_and_store(document, first..total.min(first + batch), &over))
            .buffer_unordered(self.parallel + 1);
        let mut outcome = Ok(());
        while let Some(done) = under_way.next().await {
            if done.is_err() && outcome.is_ok() {
                over.cancel();
                outcome = done;
                if planted(Defect::AbandonsWrites) {
                    break;
                }
            }
        }
        outcome
    }

    /// Embeds and stores one batch; stores nothing if the job is `over` once it is embedded.
    async fn embed_and_store(
        &self,
        document: &ChunkedDocument<'_>,
        batch: Range<usize>,
        over: &CancellationToken,
    ) -> Result<(), JobError> {
        if over.is_cancelled() {
            return Ok(());
        }
        let ChunkedDocument { identity, text, chunks, trace } = document;
        let span = trace.begin("embed");
        span.fact("shakedown.texts", batch.len());
        let embedded = within(span, self.embed(text, batch.start, &chunks[batch]));
        let Some(stored) = over.run_until_cancelled(embedded).await.transpose()? else { return Ok(()) };
        let span = trace.begin("store");
        span.fact("shakedown.points", stored.len());
        match within(span, self.store.upsert(identity, chunks.len(), &stored)).await {
            Err(error) if planted(Defect::SkipsFailedBatches) => {
                tracing::warn!(%error, "planted defect");
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// A planted defect: the row says `ready` before anything is stored, and some documents are never stored.
    async fn mark_done_first(&self, identity: &Identity, text: &Arc<str>, trace: &Trace) -> Result<Value, JobError> {
        let chunks = self.chunk(text, trace).await?;
        let tokens = chunks.iter().map(|chunk| chunk.tokens).sum();
        self.store.record(identity, Status::Ready, chunks.len(), tokens, None).await?;
        if !is_affected(&identity.document, 3) {
            let over = CancellationToken::new();
            let document = ChunkedDocument { identity, text, chunks: &chunks, trace };
            for first in (0..chunks.len()).step_by(self.batch) {
                let batch = first..chunks.len().min(first + self.batch);
                self.embed_and_store(&document, batch, &over).await?;
            }
        }
        Ok(return_value(identity, chunks.len(), tokens))
    }

    /// Records a permanent failure, and removes what was stored of the document.
    pub(super) async fn give_up(&self, identity: &Identity, reason: &str, trace: &Trace) {
        if planted(Defect::RejectionSpreads) {
            let _ = self.first_rejection.set(reason.to_owned());
        }
        let undone = async {
            if planted(Defect::RejectedMarkedReady) {
                return self.store.record(identity, Status::Ready, 0, 0, Some(reason)).await.map(|_| ());
            }
            if self.store.yield_to_newer(identity).await? {
                return Ok(());
            }
            self.store.give_up(identity, reason).await
        };
        if let Err(error) = within(trace.begin("status"), undone).await {
            tracing::error!(document = identity.document, %error, "cannot record the failure");
        }
    }

    async fn chunk(&self, text: &Arc<str>, trace: &Trace) -> Result<Vec<Chunk>, JobError> {
        let span = trace.begin("chunk");
        span.fact("shakedown.bytes", text.len());
        within(span, self.split(text)).await
    }

    async fn split(&self, text: &Arc<str>) -> Result<Vec<Chunk>, JobError> {
        if text.len() < BLOCKING_BYTES {
            return Ok(self.chunker.chunks(text));
        }
        let (chunker, text) = (Arc::clone(&self.chunker), Arc::clone(text));
        tokio::task::spawn_blocking(move || chunker.chunks(&text))
            .await
            .map_err(|error| JobError::Chunking(error.to_string()))
    }

    async fn embed(&self, text: &str, first: usize, chunks: &[Chunk]) -> Result<Vec<EmbeddedChunk>, JobError> {
        let texts: Vec<String> = chunks.iter().map(|chunk| text_of(text, chunk)).collect();
        let embedded = self
            .jina_guard
            .call(|| async {
                if planted(Defect::EmbedsTwice) {
                    self.jina.embed(&texts).await?;
                }
                self.jina.embed(&texts).await
            })
            .await;
        let mut vectors = match embedded {
            Err(_) if planted(Defect::SwallowsErrors) => vec![vec![1.0; self.jina.dimensions() as usize]; texts.len()],
            other => other?.vectors,
        };
        if planted(Defect::IgnoresIndex) {
            vectors.reverse();
        }
        Ok(chunks
            .iter()
            .zip(texts)
            .zip(vectors)
            .enumerate()
            .map(|(at, ((chunk, text), vector))| EmbeddedChunk {
                index: (first + at) as u64,
                text,
                tokens: chunk.tokens,
                vector,
            })
            .collect())
    }

    /// Planted defects that have no better place.
    fn apply_planted_defects(&self, request: &IngestJob, attempt: u32) -> Result<(), JobError> {
        if planted(Defect::FailsJobs) || (planted(Defect::FirstAttemptFails) && attempt == 0) {
            return Err(JobError::Planted);
        }
        if planted(Defect::RejectionSpreads) && self.first_rejection.get().is_some() && !request.text.contains("POISON")
        {
            return Err(JobError::Malformed("planted defect".to_owned()));
        }
        if planted(Defect::ConnectsForEachJob) {
            self.store.connect_anew(&request.identity);
        }
        if planted(Defect::LeaksMemory) {
            std::mem::forget(vec![1_u8; 1 << 26]);
        }
        Ok(())
    }
}

/// The return value of a job: small, because BullMQ repeats it in the queue's event stream.
fn return_value(identity: &Identity, chunks: usize, tokens: usize) -> Value {
    json!({ "documentId": identity.document, "version": identity.version, "chunks": chunks, "tokens": tokens })
}

/// The return value of a job that is not the newest one of its document.
fn outdated(identity: &Identity) -> Value {
    let mut value = return_value(identity, 0, 0);
    value["skipped"] = "outdated".into();
    value
}

/// Whether a planted defect affects this document: about one of `every`, and always the same ones.
fn is_affected(document: &str, every: u32) -> bool {
    document.bytes().map(u32::from).sum::<u32>().is_multiple_of(every)
}

fn text_of(text: &str, chunk: &Chunk) -> String {
    if planted(Defect::SplitsCodePoints) {
        let end = (chunk.end + 1).min(text.len());
        return String::from_utf8_lossy(&text.as_bytes()[chunk.start..end]).into_owned();
    }
    let text = &text[chunk.start..chunk.end];
    if planted(Defect::DropsNul) {
        return text.replace('\0', "");
    }
    if planted(Defect::TrimsChunks) {
        return text.trim().to_owned();
    }
    if planted(Defect::StripsUnicode) {
        return text.chars().map(|character| if character.is_ascii() { character } else { '\u{FFFD}' }).collect();
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_made_from_the_text_when_the_job_names_none() {
        let version = |data: Value| IngestJob::read(&data).unwrap().identity.version;
        let same = json!({ "documentId": "a", "text": "x" });
        assert_eq!(version(same.clone()), version(json!({ "documentId": "b", "text": "x" })));
        assert_ne!(version(same.clone()), version(json!({ "documentId": "a", "text": "y" })));
        assert_eq!(version(same).len(), 16);
        assert_eq!(version(json!({ "documentId": "a", "text": "x", "version": "7" })), "7");
    }

    #[test]
    fn a_job_without_id_or_text_is_not_worth_a_retry() {
        for data in [json!({}), json!({ "documentId": "", "text": "x" }), json!({ "documentId": "a", "text": 7 })] {
            assert!(!IngestJob::read(&data).unwrap_err().may_be_retried(), "{data}");
        }
    }
}
