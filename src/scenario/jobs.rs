//! Builds the jobs of the contract for documents: texts inline, in files, or served at URLs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use sha2::{Digest, Sha256};
use tokio_util::task::AbortOnDropHandle;

use super::documents::Document;
use super::harness::ScenarioError;
use crate::services::queue::NewJob;
use crate::settings::{Contract, JobContract, SEQUENCE, document_place};

/// What a job does with its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobKind {
    /// Ingests it for the first time.
    Ingest,
    /// Ingests it again.
    Reingest,
    /// Removes it.
    Delete,
}

/// Document texts by file name.
type Texts = Arc<Mutex<BTreeMap<String, String>>>;

/// Builds jobs, and makes the texts they refer to available.
pub(super) struct JobBuilder {
    contract: Arc<Contract>,
    /// Where document files are written, for jobs with `{{document.path}}`.
    directory: PathBuf,
    /// Offset of the jobs' `timestamp` from the real time, in seconds.
    clock_s: i64,
    /// The server, for jobs with `{{document.url}}`.
    server: Option<DocumentServer>,
}

/// Serves documents over HTTP on 127.0.0.1 until it is dropped.
struct DocumentServer {
    texts: Texts,
    /// Base URL, without a trailing slash.
    url: String,
    _task: AbortOnDropHandle<()>,
}

impl JobBuilder {
    /// Sets up what the jobs of the contract need: a directory below `directory`, a document server. The jobs'
    /// `timestamp` is `clock_s` seconds ahead of the real time.
    pub(super) async fn new(
        contract: &Arc<Contract>,
        directory: &Path,
        name: &str,
        clock_s: i64,
    ) -> Result<Self, ScenarioError> {
        let mut builder = Self {
            contract: Arc::clone(contract),
            directory: directory.join(format!("documents-{name}")),
            clock_s,
            server: None,
        };
        let cannot =
            |what: &str, error: std::io::Error| ScenarioError::Spec(format!("documents cannot be {what}: {error}"));
        if contract.mentions("document.path") {
            std::fs::create_dir_all(&builder.directory).map_err(|error| cannot("written", error))?;
        }
        if contract.mentions("document.url") {
            builder.server = Some(DocumentServer::start().await.map_err(|error| cannot("served", error))?);
        }
        Ok(builder)
    }

    /// The jobs of step `number` for `documents`.
    pub(super) fn jobs(
        &self,
        number: usize,
        kind: JobKind,
        documents: &[Document],
    ) -> Result<Vec<NewJob>, ScenarioError> {
        let queue = &self.contract.queue;
        let job = match kind {
            JobKind::Ingest => &queue.job,
            JobKind::Reingest => queue.reingest.as_ref().unwrap_or(&queue.job),
            JobKind::Delete => match &queue.delete {
                Some(job) => job,
                None => return Err(ScenarioError::Spec("[queue] has no `delete` job".to_owned())),
            },
        };
        documents.iter().map(|document| self.job(number, job, document)).collect()
    }

    fn job(&self, number: usize, job: &JobContract, document: &Document) -> Result<NewJob, ScenarioError> {
        let file = format!("{}.txt", digest(&document.id));
        if job.mentions("document.path") {
            std::fs::write(self.directory.join(&file), &document.text)
                .map_err(|error| ScenarioError::Spec(format!("document {} cannot be written: {error}", document.id)))?;
        }
        if let Some(server) = &self.server {
            server.texts.lock().unwrap_or_else(PoisonError::into_inner).insert(file.clone(), document.text.clone());
        }
        let lookup = |place: &str| {
            Some(match place {
                "document.source" => document.id.as_str().into(),
                "document.version" => digest(&document.text).into(),
                SEQUENCE => sequence(number).into(),
                "document.path" => self.directory.join(&file).display().to_string().into(),
                "document.url" => format!("{}/{file}", self.server.as_ref()?.url).into(),
                other => {
                    return document_place(other, self.contract.queue.document.id, &document.id, &document.text);
                }
            })
        };
        let mut job = NewJob::from_contract(job, job_id(number, &document.id), &lookup)
            .map_err(|place| ScenarioError::Spec(format!("placeholder `{{{{{place}}}}}` in [queue] has no value")))?;
        if self.clock_s != 0 {
            let added = chrono::Utc::now().timestamp_millis().saturating_add(self.clock_s.saturating_mul(1000));
            job.options.insert("timestamp".to_owned(), added.into());
        }
        Ok(job)
    }
}

impl DocumentServer {
    async fn start() -> std::io::Result<Self> {
        let texts = Texts::default();
        let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/documents/{name}", axum::routing::get(serve)).with_state(Arc::clone(&texts));
        let task = tokio::spawn(async move {
            // It ends only when the task is aborted.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { texts, url: format!("http://{address}/documents"), _task: AbortOnDropHandle::new(task) })
    }
}

async fn serve(State(texts): State<Texts>, UrlPath(name): UrlPath<String>) -> impl IntoResponse {
    let text = texts.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    match text {
        Some(text) => (StatusCode::OK, plain, text),
        None => (StatusCode::NOT_FOUND, plain, "no such document".to_owned()),
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The number of a document's job in a step, counted from 1: it grows from job to job, so that the newest has the highest.
pub(super) fn sequence(step: usize) -> u64 {
    step as u64 + 1
}

/// The id of the job for `document` in a step. It differs between steps: BullMQ ignores a job whose id already exists
/// (suites/FAILURES.md#bullmq.jobid-swallowed).
pub(super) fn job_id(step: usize, document: &str) -> String {
    let digest = Sha256::digest(document.as_bytes());
    let hex: String = digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("s{step}-{hex}")
}

/// The document of `documents` that the job with the id `job` is for.
pub(super) fn document_of<'a>(job: &str, documents: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let step = job.strip_prefix('s')?.split('-').next()?.parse().ok()?;
    documents.into_iter().find(|document| job_id(step, document) == job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Data, Program, Template, WorkerContract};

    fn contract(data: &[(&str, &str)]) -> Arc<Contract> {
        let mut contract =
            Contract::for_worker(WorkerContract::new(Program::Command(vec!["w".to_owned()]), PathBuf::new()));
        let places = crate::settings::DOCUMENT_PLACES;
        let field = |(name, text): &(&str, &str)| {
            ((*name).to_owned(), Data::Text(Template::parse(text, places, false).unwrap()))
        };
        contract.queue.job.data = data.iter().map(field).collect();
        Arc::new(contract)
    }

    fn document() -> Document {
        Document { id: "a/b ü.md".to_owned(), text: "Grüße\n".to_owned(), rejected: false }
    }

    async fn fetch(url: &str) -> reqwest::Response {
        crate::services::http_client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap()
    }

    #[tokio::test]
    async fn a_text_is_available_inline_in_a_file_and_at_a_url() {
        let directory = tempfile::tempdir().unwrap();
        let contract = contract(&[
            ("id", "{{document.id}}"),
            ("text", "{{document.text}}"),
            ("path", "{{document.path}}"),
            ("url", "{{document.url}}"),
            ("version", "v-{{document.version}}"),
        ]);
        let builder = JobBuilder::new(&contract, directory.path(), "case", 0).await.unwrap();
        let jobs = builder.jobs(0, JobKind::Ingest, &[document()]).unwrap();
        let data = |field: &str| jobs[0].data[field].as_str().unwrap().to_owned();
        assert_eq!((data("id"), data("text")), (document().id, document().text));
        assert_eq!(std::fs::read_to_string(data("path")).unwrap(), document().text);
        assert_eq!(fetch(&data("url")).await.text().await.unwrap(), document().text);
        // After the next step the same path and URL give the new text.
        let shorter = document().truncated();
        builder.jobs(1, JobKind::Reingest, std::slice::from_ref(&shorter)).unwrap();
        assert_eq!(std::fs::read_to_string(data("path")).unwrap(), shorter.text);
        assert_eq!(fetch(&data("url")).await.text().await.unwrap(), shorter.text);
        let nowhere = format!("{}x", data("url"));
        assert_eq!(fetch(&nowhere).await.status().as_u16(), 404);
    }

    #[tokio::test]
    async fn the_timestamp_of_a_job_follows_the_clock_of_the_producer() {
        let directory = tempfile::tempdir().unwrap();
        let contract = contract(&[("id", "{{document.id}}")]);
        let now = chrono::Utc::now().timestamp_millis();
        for (ahead, wanted) in [(0, None), (600, Some(now + 600_000)), (-600, Some(now - 600_000))] {
            let builder = JobBuilder::new(&contract, directory.path(), "case", ahead).await.unwrap();
            let jobs = builder.jobs(0, JobKind::Ingest, &[document()]).unwrap();
            let added = jobs[0].options.get("timestamp").and_then(serde_json::Value::as_i64);
            assert_eq!(added.is_some(), wanted.is_some());
            assert!(added.zip(wanted).is_none_or(|(added, wanted)| (added - wanted).abs() < 60_000), "{added:?}");
        }
    }

    #[tokio::test]
    async fn a_contract_without_path_or_url_needs_no_directory_and_no_server() {
        let directory = tempfile::tempdir().unwrap();
        let builder =
            JobBuilder::new(&contract(&[("id", "{{document.id}}")]), directory.path(), "case", 0).await.unwrap();
        assert!(builder.server.is_none());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert_ne!(job_id(0, "a"), job_id(1, "a"));
    }
}
