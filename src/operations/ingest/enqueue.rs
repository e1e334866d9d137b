//! Turns files into jobs in batches, so that only one batch of texts is in memory.

use sha2::{Digest, Sha256};

use super::IngestError;
use super::gather::{File, Unreadable, read};
use crate::services::ServiceError;
use crate::services::queue::{NewJob, QueueClient, failure};
use crate::settings::{DesiredJob, DocumentId, JobContract, SEQUENCE, document_place};

/// A text above this many bytes makes a job that burdens Redis, replication and logs.
pub const LARGE: usize = 1024 * 1024;

/// A batch is enqueued at this many jobs or bytes of text.
const BATCH_JOBS: usize = 200;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The shape of a job.
#[derive(Debug, Clone)]
pub struct JobShape {
    contract: JobContract,
    /// What `{{document.id}}` is.
    id: DocumentId,
}

impl JobShape {
    /// The shape that `[queue] job` describes, or the reference worker's without it. Options of `[desired.queue.job]`
    /// apply where `[queue] job` does not set them.
    #[must_use]
    pub fn new(contract: Option<JobContract>, desired: Option<&DesiredJob>) -> Self {
        let job = contract.unwrap_or_else(|| {
            let default = JobContract::with_version();
            let attempts = default.attempts.filter(|_| desired.is_none_or(|desired| desired.attempts.is_none()));
            let backoff = default.backoff.filter(|_| desired.is_none_or(|desired| desired.backoff.is_none()));
            JobContract { attempts, backoff, ..default }
        });
        let contract = desired.map_or_else(|| job.clone(), |desired| desired.below(job.clone()));
        Self { contract, id: DocumentId::default() }
    }

    /// The shape with document ids of this kind.
    #[must_use]
    pub const fn with_ids(mut self, id: DocumentId) -> Self {
        self.id = id;
        self
    }

    /// The job of a document; the newest job of a document has the highest `sequence`.
    fn job(&self, document: &Document, sequence: i64) -> Result<NewJob, IngestError> {
        let lookup = |placeholder: &str| match placeholder {
            "document.path" => Some(document.path.as_str().into()),
            "document.source" => Some(document.source.as_str().into()),
            "document.version" => Some(document.version.as_str().into()),
            SEQUENCE => Some(sequence.into()),
            other => document_place(other, self.id, &document.id, &document.text),
        };
        NewJob::from_contract(&self.contract, document.job_id(), &lookup)
            .map_err(|placeholder| IngestError::Placeholder { placeholder })
    }
}

struct Document {
    id: String,
    version: String,
    source: String,
    /// Absolute path of the file.
    path: String,
    text: String,
}

impl Document {
    fn read(file: &File) -> Result<Self, Unreadable> {
        let text = read(file)?;
        Ok(Self {
            id: file.id.clone(),
            version: fingerprint(&text),
            source: file.path.to_string_lossy().into_owned(),
            path: std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone()).to_string_lossy().into_owned(),
            text,
        })
    }

    /// Two fingerprints joined by a dash: not an integer and without `:`, both of which BullMQ rejects.
    fn job_id(&self) -> String {
        format!("{}-{}", fingerprint(&self.id), self.version)
    }
}

/// The first 16 hex digits of the SHA-256 of `text`.
fn fingerprint(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    digest.first_chunk::<8>().map_or_else(String::new, |first| format!("{:016x}", u64::from_be_bytes(*first)))
}

/// How a document was enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queued {
    /// As a new job.
    New,
    /// As a new job, after an ended job with the same content was removed.
    Again,
    /// Not at all: an open job with the same content exists.
    Already,
}

impl Queued {
    /// Its name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "queued",
            Self::Again => "again",
            Self::Already => "already",
        }
    }
}

/// A document whose job the queue has acknowledged.
#[derive(Debug, Clone)]
pub struct Enqueued {
    /// The document's id.
    pub document: String,
    /// Its version.
    pub version: String,
    /// The job's id.
    pub job: String,
    /// Bytes of text.
    pub bytes: usize,
    /// How it was enqueued.
    pub queued: Queued,
}

/// Adds `files` to the queue in batches; calls `on_batch` for each acknowledged batch.
///
/// Returns the documents that the queue acknowledged and the files that could not be read. An error ends the work;
/// batches passed to `on_batch` before it are in the queue.
pub async fn enqueue(
    queue: &QueueClient,
    shape: &JobShape,
    files: &[File],
    mut on_batch: impl FnMut(&[Enqueued]),
) -> Result<(Vec<Enqueued>, Vec<Unreadable>), IngestError> {
    let mut enqueued = Vec::with_capacity(files.len());
    let mut unreadable = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for file in files {
        match Document::read(file) {
            Ok(document) => {
                bytes += document.text.len();
                batch.push(document);
            }
            Err(problem) => unreadable.push(problem),
        }
        if batch.len() >= BATCH_JOBS || bytes >= BATCH_BYTES {
            let done = enqueue_batch(queue, shape, std::mem::take(&mut batch)).await?;
            on_batch(&done);
            enqueued.extend(done);
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        let done = enqueue_batch(queue, shape, batch).await?;
        on_batch(&done);
        enqueued.extend(done);
    }
    Ok((enqueued, unreadable))
}

async fn enqueue_batch(
    queue: &QueueClient,
    shape: &JobShape,
    documents: Vec<Document>,
) -> Result<Vec<Enqueued>, IngestError> {
    let keys = queue.keys();
    let mut questions = redis::pipe();
    for document in &documents {
        let id = document.job_id();
        questions.cmd("EXISTS").arg(keys.job_key(&id));
        questions.cmd("ZSCORE").arg(keys.completed()).arg(&id);
        questions.cmd("ZSCORE").arg(keys.failed()).arg(&id);
    }
    // The clock of the queue: that of this machine may be behind the one that added the version before.
    let sequence = queue.clock_ms().await?;
    let answers: Vec<Option<f64>> = queue.redis().pipeline(&questions).await?;
    let mut enqueued = Vec::with_capacity(documents.len());
    let mut jobs = Vec::with_capacity(documents.len());
    for (document, answers) in documents.iter().zip(answers.chunks_exact(3)) {
        let job = shape.job(document, sequence)?;
        let exists = answers[0] == Some(1.0);
        let ended = answers[1].is_some() || answers[2].is_some();
        let queued = if ended {
            remove_ended(queue, &job.id).await?;
            Queued::Again
        } else if exists {
            Queued::Already
        } else {
            Queued::New
        };
        enqueued.push(Enqueued {
            document: document.id.clone(),
            version: document.version.clone(),
            job: job.id.clone(),
            bytes: document.text.len(),
            queued,
        });
        if queued != Queued::Already {
            jobs.push(job);
        }
    }
    queue.add(jobs).await?;
    Ok(enqueued)
}

/// Removes an ended job to free its id.
async fn remove_ended(queue: &QueueClient, id: &str) -> Result<(), ServiceError> {
    if queue.queue().remove(id).await.map_err(|error| failure(&error))? {
        return Ok(());
    }
    Err(ServiceError::Refused {
        service: "bullmq",
        detail: format!("job {id} has ended but is still locked; inspect it before you ingest again"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Keep;

    fn document() -> Document {
        Document {
            id: "a/b.md".to_owned(),
            version: fingerprint("text"),
            source: "docs/a/b.md".to_owned(),
            path: "/home/docs/a/b.md".to_owned(),
            text: "text".to_owned(),
        }
    }

    #[test]
    fn the_reference_job_has_the_agreed_shape() {
        let job = JobShape::new(None, None).job(&document(), 7).unwrap();
        assert_eq!(job.name, "ingest-document");
        assert_eq!(job.attempts, 5);
        assert_eq!(job.data["documentId"], "a/b.md");
        assert_eq!(job.data["version"], "982d9e3eb996f559");
        assert_eq!(job.data["source"], "docs/a/b.md");
        assert_eq!(job.data["sequence"], 7);
    }

    #[test]
    fn desired_job_options_apply_where_the_job_contract_has_none() {
        let desired = DesiredJob {
            attempts: Some(7),
            keep_completed: Some(Keep { age: None, count: Some(10) }),
            ..DesiredJob::default()
        };
        let job = JobShape::new(None, Some(&desired)).job(&document(), 7).unwrap();
        assert_eq!((job.attempts, job.backoff.map(|backoff| backoff.delay)), (7, Some(200)));
        assert_eq!(job.options["removeOnComplete"], serde_json::json!({ "count": 10 }));
        let contract = JobContract { attempts: Some(2), ..JobContract::default() };
        assert_eq!(JobShape::new(Some(contract), Some(&desired)).job(&document(), 7).unwrap().attempts, 2);
        let silent = JobContract { attempts: None, backoff: None, ..JobContract::default() };
        let job = JobShape::new(Some(silent.clone()), Some(&desired)).job(&document(), 7).unwrap();
        assert_eq!((job.attempts, job.backoff.is_none()), (7, true));
        assert_eq!(JobShape::new(Some(silent), None).job(&document(), 7).unwrap().attempts, 1);
    }

    #[test]
    fn a_job_id_is_not_an_integer_and_changes_with_document_and_content() {
        let one = document();
        let other = Document { id: "a/c.md".to_owned(), ..document() };
        let newer = Document { version: fingerprint("newer"), ..document() };
        assert_ne!(one.job_id(), other.job_id());
        assert_ne!(one.job_id(), newer.job_id());
        assert!(!one.job_id().contains(':') && one.job_id().parse::<u64>().is_err());
    }
}
