//! Reads `[worker]`, `[queue]` and `[evidence]` into the contract.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use toml::{Spanned, Value};

use super::reader::{Reader, contains_secret};
use crate::settings::contract::{
    BUILD_WITHIN, Backoff, Contract, Creates, Data, EvidenceContract, GRACE, Grace, Hook, JOB_OPTIONS, JobContract,
    PREPARE_WITHIN, PostgresEvidence, Program, QdrantEvidence, QueueContract, READY_WITHIN, Ready, WorkerContract,
};
use crate::settings::table;
use crate::settings::template::{DOCUMENT_PLACES, ENDPOINT_PLACES};

/// The three sections as written.
#[derive(Default)]
pub(super) struct WrittenContract {
    pub(super) worker: Option<Spanned<WrittenWorker>>,
    pub(super) queue: Option<WrittenQueue>,
    pub(super) evidence: Option<Spanned<WrittenEvidence>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenWorker {
    command: Option<Spanned<Vec<String>>>,
    image: Option<Spanned<String>>,
    cwd: Option<PathBuf>,
    #[serde(default)]
    env: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    ready: WrittenReady,
    ready_within: Option<Spanned<String>>,
    shutdown_grace: Option<Spanned<Value>>,
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
pub(super) struct WrittenQueue {
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
pub(super) struct WrittenEvidence {
    qdrant: Option<QdrantEvidence>,
    postgres: Option<Spanned<PostgresEvidence>>,
}

impl Reader<'_> {
    /// The queue, if there is `[queue]`, and the contract, if there is `[worker]`.
    pub(super) fn contract(&mut self, written: WrittenContract) -> (Option<QueueContract>, Option<Contract>) {
        let place = written.worker.as_ref().map(Spanned::span).unwrap_or_default();
        let queue = written.queue.map(|queue| self.queue(queue));
        let evidence = written.evidence.map(|evidence| self.evidence(evidence));
        let contract = written.worker.map(|worker| Contract {
            path: Some(self.path.to_owned()),
            worker: self.worker(worker),
            queue: queue.clone().unwrap_or_default(),
            evidence: evidence.unwrap_or_default(),
        });
        if let Some(Contract { worker: WorkerContract { program: Program::Image { .. }, .. }, queue, .. }) = &contract {
            let jobs = [Some(&queue.job), queue.reingest.as_ref()];
            if jobs.into_iter().flatten().any(|job| job.mentions("document.path")) {
                self.report(
                    place,
                    "the job passes {{document.path}}, but a worker in a container cannot read the harness's files",
                    "pass documents as {{document.text}} or {{document.url}}",
                );
            }
        }
        (queue, contract)
    }

    fn worker(&mut self, worker: Spanned<WrittenWorker>) -> WorkerContract {
        let span = worker.span();
        let worker = worker.into_inner();
        let program = self.program(span, worker.command, worker.image);
        let cwd = self.absolute(&worker.cwd.unwrap_or_default());
        let mut contract = WorkerContract::new(program, cwd);
        contract.ready = self.ready(worker.ready);
        contract.ready_within = self.duration_or(worker.ready_within, READY_WITHIN);
        contract.shutdown_grace = self.grace(worker.shutdown_grace);
        if let Some(timeout_factor) = worker.timeout_factor {
            contract.timeout_factor = *timeout_factor.get_ref();
            if !(0.1..=100.0).contains(&contract.timeout_factor) {
                let problem = format!("`timeout_factor` is {}: expected 0.1 to 100", contract.timeout_factor);
                self.report(
                    timeout_factor.span(),
                    problem,
                    "write the factor by which every timeout is multiplied, e.g. timeout_factor = 2.0",
                );
            }
        }
        if let Some(replicas) = worker.replicas {
            contract.replicas = *replicas.get_ref();
            if !(1..=64).contains(&contract.replicas) {
                let problem = format!("`replicas` is {}: expected 1 to 64", contract.replicas);
                self.report(replicas.span(), problem, "write the number of worker processes, e.g. replicas = 2");
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
                    && table::entry(&name).is_some_and(|entry| contains_secret(entry, text.get_ref()))
                {
                    let instead = format!("{name} = \"{{{{env.{name}}}}}\", or a placeholder such as {{{{jina.key}}}}");
                    self.report_secret(text.span(), &name, "is a secret", &instead);
                }
                contract.env.insert(name, template);
            }
        }
        contract
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
                self.require_program(&command, "the worker's command is empty", COMMAND);
                Program::Command(command.into_inner())
            }
            (command, Some(image)) => {
                if image.get_ref().trim().is_empty() {
                    self.report(image.span(), "the worker's image is empty", "write image = \"my-worker:latest\"");
                }
                let command = command.map(Spanned::into_inner).unwrap_or_default();
                Program::Image { image: image.into_inner(), command }
            }
            (None, None) => {
                self.report(worker, "the worker has neither `command` nor `image`", COMMAND);
                Program::Command(Vec::new())
            }
        }
    }

    fn require_program(&mut self, command: &Spanned<Vec<String>>, problem: &str, remedy: &str) {
        if let Some(argument) = command.get_ref().iter().find(|argument| has_placeholder(argument)) {
            let problem = format!("placeholders in a command are not replaced: `{argument}`");
            let remedy = "put the value into `env` of [worker], and let a shell read the variable, e.g. \
                          command = [\"sh\", \"-c\", \"exec psql \\\"$DATABASE_URL\\\"\"]; everyone on the machine can read a command";
            self.report(command.span(), problem, remedy);
        }
        if command.get_ref().first().is_none_or(|program| program.trim().is_empty()) {
            self.report(command.span(), problem, remedy);
        }
    }

    fn hook(&mut self, written: WrittenHook, cwd: &Path, within: Duration, example: &str) -> Hook {
        self.require_program(&written.command, "the command is empty", &format!("write command = {example}"));
        Hook {
            command: written.command.into_inner(),
            cwd: written.cwd.map_or_else(|| cwd.to_owned(), |cwd| self.absolute(&cwd)),
            within: self.duration_or(written.within, within),
        }
    }

    /// A duration, or the variable that the worker reads it from.
    fn grace(&mut self, written: Option<Spanned<Value>>) -> Grace {
        let Some(written) = written else { return Grace::Fixed(GRACE) };
        let span = written.span();
        match written.into_inner() {
            Value::String(text) => Grace::Fixed(self.duration_or(Some(Spanned::new(span, text)), GRACE)),
            Value::Table(table) if table.len() == 1 && table.get("variable").is_some_and(Value::is_str) => {
                Grace::Variable(table.get("variable").and_then(Value::as_str).unwrap_or_default().to_owned())
            }
            other => {
                let problem = format!("invalid `shutdown_grace` `{other}`");
                self.report(span, problem, "write a duration, e.g. \"10s\", or { variable = \"NAME\" }");
                Grace::Fixed(GRACE)
            }
        }
    }

    fn duration_or(&mut self, text: Option<Spanned<String>>, default: Duration) -> Duration {
        text.and_then(|text| self.duration(&text, "10s")).unwrap_or(default)
    }

    fn ready(&mut self, ready: WrittenReady) -> Ready {
        match ready {
            WrittenReady::Queue => Ready::Queue,
            WrittenReady::Log(pattern) => match Regex::new(pattern.get_ref()) {
                Ok(regex) => Ready::Log(regex),
                Err(error) => {
                    let problem = format!("`log` is not a valid regular expression: {}", last_line(&error.to_string()));
                    self.report(pattern.span(), problem, "escape literal characters with a backslash");
                    Ready::Queue
                }
            },
            WrittenReady::Http(url) => {
                self.template(url.get_ref(), url.span(), ENDPOINT_PLACES, true).map_or(Ready::Queue, Ready::Http)
            }
        }
    }

    fn queue(&mut self, queue: WrittenQueue) -> QueueContract {
        let has_own_jobs = queue.job.is_some();
        let default = QueueContract::default();
        QueueContract {
            name: queue.name,
            prefix: queue.prefix,
            job: queue.job.map_or(default.job, |job| self.job(job)),
            reingest: queue.reingest.map(|job| self.job(job)),
            // A worker with its own jobs does not take the reference worker's deletion job.
            delete: queue.delete.map(|job| self.job(job)).or(default.delete.filter(|_| !has_own_jobs)),
        }
    }

    fn job(&mut self, job: WrittenJob) -> JobContract {
        let backoff = job.backoff.map(|backoff| {
            if !(0.0..=1.0).contains(&backoff.get_ref().jitter) {
                self.report(backoff.span(), "`jitter` is not between 0 and 1", "write a fraction, e.g. jitter = 0.5");
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

    /// A job option, if it is supported and BullMQ accepts its value.
    fn option(&mut self, name: String, value: &Spanned<Value>) -> Option<(String, serde_json::Value)> {
        if !JOB_OPTIONS.contains(&name.as_str()) {
            let remedy = format!("supported options: {}", JOB_OPTIONS.join(", "));
            self.report(value.span(), format!("unsupported job option `{name}`"), remedy);
            return None;
        }
        let json = serde_json::to_value(value.get_ref()).ok()?;
        let table = serde_json::json!({ name.as_str(): json });
        if let Err(error) = serde_json::from_value::<bullmq::options::JobOptions>(table) {
            let problem = format!("invalid value for job option `{name}`: {error}");
            self.report(value.span(), problem, "write a value that BullMQ accepts for this option");
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
            self.report(
                span,
                "[evidence] does not describe the points in Qdrant",
                "write qdrant = { document = \"FIELD\", chunk = \"FIELD\", text = \"FIELD\" }",
            );
        }
        let postgres = evidence.postgres.map(|postgres| {
            let span = postgres.span();
            let postgres = postgres.into_inner();
            if postgres.query.is_some() && postgres.table.is_some() {
                self.report(span.clone(), "`table` and `query` are both set", "keep one of `table` and `query`");
            }
            if let Some(query) = &postgres.query {
                self.template(query, span, ENDPOINT_PLACES, false);
            }
            postgres
        });
        EvidenceContract { qdrant: evidence.qdrant.unwrap_or_default(), postgres }
    }
}

/// Whether an argument of a command has a placeholder of ours. Other programs have templates in braces too.
fn has_placeholder(argument: &str) -> bool {
    argument.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).any(|(name, _)| {
        let name = name.trim();
        ENDPOINT_PLACES.contains(&name) || DOCUMENT_PLACES.contains(&name) || name.starts_with("env.")
    })
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}
