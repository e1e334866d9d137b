//! `[worker]`, `[queue]` and `[evidence]` as written, and what they mean.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use toml::{Spanned, Value};

use super::{
    BUILD_WITHIN, Backoff, Contract, Creates, Data, EvidenceContract, GRACE, Hook, JOB_OPTIONS, JobContract,
    PREPARE_WITHIN, PostgresEvidence, Program, QdrantEvidence, QueueContract, READY_WITHIN, Ready, WorkerContract,
};
use crate::settings::config::Reader;
use crate::settings::table;
use crate::settings::template::{DOCUMENT_PLACES, ENDPOINT_PLACES, Template};
use crate::spec::duration;

/// The three sections.
#[derive(Default)]
pub(in crate::settings) struct WrittenContract {
    pub(in crate::settings) worker: Option<Spanned<WrittenWorker>>,
    pub(in crate::settings) queue: Option<WrittenQueue>,
    pub(in crate::settings) evidence: Option<Spanned<WrittenEvidence>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct WrittenWorker {
    command: Option<Spanned<Vec<String>>>,
    image: Option<Spanned<String>>,
    cwd: Option<PathBuf>,
    #[serde(default)]
    env: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    ready: WrittenReady,
    ready_within: Option<Spanned<String>>,
    shutdown_grace: Option<Spanned<String>>,
    timeout_factor: Option<Spanned<f64>>,
    replicas: Option<Spanned<usize>>,
    #[serde(default)]
    creates: Vec<Creates>,
    build: Option<WrittenHook>,
    prepare: Option<WrittenHook>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHook {
    command: Spanned<Vec<String>>,
    cwd: Option<PathBuf>,
    within: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenReady {
    #[default]
    Queue,
    Log(Spanned<String>),
    Http(Spanned<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct WrittenQueue {
    name: Option<String>,
    prefix: Option<String>,
    job: Option<WrittenJob>,
    reingest: Option<WrittenJob>,
    delete: Option<WrittenJob>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenJob {
    name: String,
    data: BTreeMap<String, Spanned<Value>>,
    attempts: Option<u32>,
    backoff: Option<Spanned<Backoff>>,
    #[serde(default)]
    options: BTreeMap<String, Spanned<Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct WrittenEvidence {
    qdrant: Option<QdrantEvidence>,
    postgres: Option<Spanned<PostgresEvidence>>,
}

/// What the three sections mean: the queue, where it is described, and the whole contract, where there is a worker.
pub(in crate::settings) fn read(
    reader: &mut Reader<'_>,
    written: WrittenContract,
) -> (Option<QueueContract>, Option<Contract>) {
    let place = written.worker.as_ref().map(Spanned::span).unwrap_or_default();
    let queue = written.queue.map(|queue| reader.queue(queue));
    let evidence = written.evidence.map(|evidence| reader.evidence(evidence));
    let contract = written.worker.map(|worker| Contract {
        path: Some(reader.path.to_owned()),
        worker: reader.worker(worker),
        queue: queue.clone().unwrap_or_default(),
        evidence: evidence.unwrap_or_default(),
    });
    if let Some(Contract { worker: WorkerContract { program: Program::Image { .. }, .. }, queue, .. }) = &contract {
        let jobs = [Some(&queue.job), queue.reingest.as_ref()];
        if jobs.into_iter().flatten().any(|job| job.mentions("document.path")) {
            reader.wrong(
                place,
                "the job names a document by its path, and a worker in a container cannot read the harness's files",
                "hand documents over as {{document.text}} or by {{document.url}}",
            );
        }
    }
    (queue, contract)
}

impl Reader<'_> {
    fn worker(&mut self, worker: Spanned<WrittenWorker>) -> WorkerContract {
        let span = worker.span();
        let worker = worker.into_inner();
        let program = self.program(span, worker.command, worker.image);
        let cwd = self.beside(&worker.cwd.unwrap_or_default());
        let mut contract = WorkerContract::new(program, cwd);
        contract.ready = self.ready(worker.ready);
        contract.ready_within = self.duration(worker.ready_within, READY_WITHIN);
        contract.shutdown_grace = self.duration(worker.shutdown_grace, GRACE);
        if let Some(timeout_factor) = worker.timeout_factor {
            contract.timeout_factor = *timeout_factor.get_ref();
            if !(0.1..=100.0).contains(&contract.timeout_factor) {
                let problem =
                    format!("`timeout_factor` is {}, and it stretches every deadline", contract.timeout_factor);
                self.wrong(
                    timeout_factor.span(),
                    problem,
                    "write a factor between 0.1 and 100, such as timeout_factor = 2.0",
                );
            }
        }
        if let Some(replicas) = worker.replicas {
            contract.replicas = *replicas.get_ref();
            if !(1..=64).contains(&contract.replicas) {
                let problem = format!("`replicas` is {}, and every one is a process", contract.replicas);
                self.wrong(replicas.span(), problem, "write a number from 1 to 64");
            }
        }
        contract.creates = worker.creates;
        contract.build = worker.build.map(|build| self.hook(build, &contract.cwd, BUILD_WITHIN, "[\"npm\", \"ci\"]"));
        contract.prepare = worker.prepare.map(|prepare| {
            self.hook(prepare, &contract.cwd, PREPARE_WITHIN, "[\"npx\", \"prisma\", \"migrate\", \"deploy\"]")
        });
        for (name, text) in worker.env {
            if let Some(template) = self.template(text.get_ref(), text.span(), ENDPOINT_PLACES, true) {
                if template.is_literal()
                    && table::entry(&name).is_some_and(|entry| self.is_literal_secret(entry, text.get_ref()))
                {
                    self.literal_secret(
                        text.span(),
                        &name,
                        "is a secret",
                        &format!("{name} = \"{{{{env.{name}}}}}\", or a place such as {{{{jina.key}}}}"),
                    );
                }
                contract.env.insert(name, template);
            }
        }
        contract
    }

    /// A directory that is named from the file's own, from the root: a process is started in it from anywhere.
    fn beside(&self, directory: &Path) -> PathBuf {
        let joined = Path::new(".").join(self.directory()).join(directory);
        std::path::absolute(&joined).unwrap_or(joined)
    }

    fn program(
        &mut self,
        worker: Range<usize>,
        command: Option<Spanned<Vec<String>>>,
        image: Option<Spanned<String>>,
    ) -> Program {
        const COMMAND: &str = "write command = [\"node\", \"dist/worker.js\"]";
        match (command, image) {
            (Some(command), None) => {
                self.not_empty(&command, "the worker's command is empty", COMMAND);
                Program::Command(command.into_inner())
            }
            (command, Some(image)) => {
                if image.get_ref().trim().is_empty() {
                    self.wrong(image.span(), "the worker's image has no name", "write image = \"my-worker:latest\"");
                }
                let command = command.map(Spanned::into_inner).unwrap_or_default();
                Program::Image { image: image.into_inner(), command }
            }
            (None, None) => {
                self.wrong(worker, "the worker has neither `command` nor `image`", COMMAND);
                Program::Command(Vec::new())
            }
        }
    }

    fn not_empty(&mut self, command: &Spanned<Vec<String>>, problem: &str, remedy: &str) {
        if command.get_ref().first().is_none_or(|program| program.trim().is_empty()) {
            self.wrong(command.span(), problem, remedy);
        }
    }

    fn hook(&mut self, written: WrittenHook, cwd: &Path, within: Duration, such_as: &str) -> Hook {
        self.not_empty(&written.command, "the command is empty", &format!("write command = {such_as}"));
        Hook {
            command: written.command.into_inner(),
            cwd: written.cwd.map_or_else(|| cwd.to_owned(), |cwd| self.beside(&cwd)),
            within: self.duration(written.within, within),
        }
    }

    fn duration(&mut self, text: Option<Spanned<String>>, usual: Duration) -> Duration {
        text.map_or(usual, |text| {
            duration(text.get_ref()).unwrap_or_else(|| {
                let problem = format!("`{}` is not a duration", text.get_ref());
                self.wrong(text.span(), problem, "write a number and ms, s, m or h, such as \"10s\"");
                usual
            })
        })
    }

    fn ready(&mut self, ready: WrittenReady) -> Ready {
        match ready {
            WrittenReady::Queue => Ready::Queue,
            WrittenReady::Log(pattern) => match Regex::new(pattern.get_ref()) {
                Ok(regex) => Ready::Log(regex),
                Err(error) => {
                    let problem = format!("`log` is not a regular expression: {}", last_line(&error.to_string()));
                    self.wrong(pattern.span(), problem, "escape what is meant literally with a backslash");
                    Ready::Queue
                }
            },
            WrittenReady::Http(url) => {
                self.template(url.get_ref(), url.span(), ENDPOINT_PLACES, true).map_or(Ready::Queue, Ready::Http)
            }
        }
    }

    fn queue(&mut self, queue: WrittenQueue) -> QueueContract {
        let knows_jobs = queue.job.is_some();
        let usual = QueueContract::default();
        QueueContract {
            name: queue.name,
            prefix: queue.prefix,
            job: queue.job.map_or(usual.job, |job| self.job(job)),
            reingest: queue.reingest.map(|job| self.job(job)),
            // Who has jobs of its own knows nothing of the reference worker's.
            delete: queue.delete.map(|job| self.job(job)).or(usual.delete.filter(|_| !knows_jobs)),
        }
    }

    fn job(&mut self, job: WrittenJob) -> JobContract {
        let backoff = job.backoff.map(|backoff| {
            if !(0.0..=1.0).contains(&backoff.get_ref().jitter) {
                self.wrong(backoff.span(), "`jitter` is not between 0 and 1", "write a share, such as jitter = 0.5");
            }
            backoff.into_inner()
        });
        let data = job
            .data
            .into_iter()
            .filter_map(|(name, value)| Some((name, self.data(value.get_ref(), &value.span())?)))
            .collect();
        let options = job.options.into_iter().filter_map(|(name, value)| self.option(name, &value)).collect();
        JobContract { name: job.name, data, attempts: job.attempts.map(|attempts| attempts.max(1)), backoff, options }
    }

    /// An option of a job that BullMQ knows, with a value that it takes.
    fn option(&mut self, name: String, value: &Spanned<Value>) -> Option<(String, serde_json::Value)> {
        if !JOB_OPTIONS.contains(&name.as_str()) {
            let remedy = format!("there are {}", JOB_OPTIONS.join(", "));
            self.wrong(value.span(), format!("`{name}` is no option of a job that can be given here"), remedy);
            return None;
        }
        let json = serde_json::to_value(value.get_ref()).ok()?;
        let table = serde_json::json!({ name.as_str(): json });
        if let Err(error) = serde_json::from_value::<bullmq::options::JobOptions>(table) {
            self.wrong(value.span(), format!("`{name}` of a job cannot be read: {error}"), "write it as BullMQ has it");
            return None;
        }
        Some((name, json))
    }

    fn data(&mut self, value: &Value, span: &Range<usize>) -> Option<Data> {
        Some(match value {
            Value::String(text) => Data::Text(self.template(text, span.clone(), DOCUMENT_PLACES, false)?),
            Value::Integer(number) => Data::Literal((*number).into()),
            Value::Float(number) => Data::Literal((*number).into()),
            Value::Boolean(on) => Data::Literal((*on).into()),
            Value::Datetime(at) => Data::Literal(at.to_string().into()),
            Value::Array(items) => Data::List(items.iter().filter_map(|item| self.data(item, span)).collect()),
            Value::Table(fields) => Data::Map(
                fields.iter().filter_map(|(name, field)| Some((name.clone(), self.data(field, span)?))).collect(),
            ),
        })
    }

    fn evidence(&mut self, evidence: Spanned<WrittenEvidence>) -> EvidenceContract {
        let span = evidence.span();
        let evidence = evidence.into_inner();
        if evidence.qdrant.is_none() {
            self.wrong(
                span,
                "[evidence] does not say where the points are, and they are what is judged",
                "write qdrant = { document = \"FIELD\", chunk = \"FIELD\", text = \"FIELD\" }",
            );
        }
        let postgres = evidence.postgres.map(|postgres| {
            let span = postgres.span();
            let postgres = postgres.into_inner();
            if postgres.query.is_some() && postgres.table.is_some() {
                self.wrong(
                    span.clone(),
                    "the rows come from a table and from a query",
                    "keep one of `table` and `query`",
                );
            }
            if let Some(query) = &postgres.query {
                self.template(query, span, ENDPOINT_PLACES, false);
            }
            postgres
        });
        EvidenceContract { qdrant: evidence.qdrant.unwrap_or_default(), postgres }
    }

    fn template(&mut self, text: &str, span: Range<usize>, places: &[&str], env: bool) -> Option<Template> {
        Template::parse(text, places, env)
            .map_err(|error| {
                let also = if env { ", env.NAME" } else { "" };
                self.wrong(span, error.to_string(), format!("places are: {}{also}", places.join(", ")));
            })
            .ok()
    }
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}
