//! Reads `[worker]`.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use regex::Regex;
use toml::{Spanned, Value};

use super::super::reader::{Reader, contains_secret};
use super::written::{WrittenHook, WrittenReady, WrittenSidecar, WrittenWorker};
use crate::settings::contract::{
    BUILD_WITHIN, GRACE, Grace, Hook, PREPARE_WITHIN, Program, READY_WITHIN, Ready, Sidecar, WorkerContract,
};
use crate::settings::table;
use crate::settings::template::{DOCUMENT_PLACES, ENDPOINT_PLACES};

impl Reader<'_> {
    pub(super) fn worker(&mut self, worker: Spanned<WrittenWorker>) -> WorkerContract {
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
        if let Some(codes) = worker.exit_codes {
            if codes.get_ref().is_empty() || codes.get_ref().iter().any(|code| !(0..=255).contains(code)) {
                let problem = "`exit_codes` are not numbers from 0 to 255";
                self.report(codes.span(), problem, "write the codes of a clean end, e.g. exit_codes = [0, 143]");
            }
            contract.exit_codes = codes.into_inner();
        }
        contract.idle = worker.idle;
        contract.creates = worker.creates;
        contract.build = worker.build.map(|build| self.hook(build, &contract.cwd, BUILD_WITHIN, "[\"npm\", \"ci\"]"));
        contract.prepare = worker.prepare.map(|prepare| {
            self.hook(prepare, &contract.cwd, PREPARE_WITHIN, "[\"npx\", \"prisma\", \"migrate\", \"deploy\"]")
        });
        contract.sidecars = worker.sidecar.into_iter().map(|sidecar| self.sidecar(sidecar, &contract.cwd)).collect();
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

    fn sidecar(&mut self, written: WrittenSidecar, cwd: &Path) -> Sidecar {
        self.require_program(
            &written.command,
            "the command of the sidecar is empty",
            "write command = [\"postgrest\", \"postgrest.conf\"]",
        );
        let ready = written.ready.and_then(|ready| {
            let span = ready.span();
            match self.ready(ready.into_inner()) {
                Ready::Queue => {
                    let remedy =
                        "write ready = { log = \"regex\" } or { http = \"http://127.0.0.1:{{sidecar.port}}/\" }";
                    self.report(span, "a sidecar is not registered on the queue", remedy);
                    None
                }
                ready => Some(ready),
            }
        });
        Sidecar {
            command: written.command.into_inner(),
            cwd: written.cwd.map_or_else(|| cwd.to_owned(), |cwd| self.absolute(&cwd)),
            ready,
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
