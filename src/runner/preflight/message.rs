//! What a failed trial says: what was seen instead of what the contract says, which key it is about, and the change to
//! make.

use crate::scenario::{PointsProblem, RowProblem, ScenarioError, TrialFailure};
use crate::services::queue_watch::Registration;
use crate::settings::{Contract, Program, Ready, similar};
use crate::worker::WorkerError;

/// BullMQ's default prefix.
const DEFAULT_PREFIX: &str = "bull";

/// A message about a key of the contract.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The key whose place is shown.
    pub(super) keys: &'static [&'static str],
    /// What was seen.
    pub(super) problem: String,
    /// The change to make.
    pub(super) remedy: String,
}

impl Message {
    fn new(keys: &'static [&'static str], problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { keys, problem: problem.into(), remedy: remedy.into() }
    }
}

/// The key that names the program.
const fn program_key(contract: &Contract) -> &'static [&'static str] {
    match contract.worker.program {
        Program::Command(_) => &["worker", "command"],
        Program::Image { .. } => &["worker", "image"],
    }
}

/// `"\nits last errors:\n…"`, or that there are none.
fn with_errors(problem: &str, errors: &str) -> String {
    if errors.is_empty() {
        format!("{problem}; it printed nothing")
    } else {
        format!("{problem}; its last errors:\n{errors}")
    }
}

fn list(names: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

/// The worker could not be set up or started.
pub(super) fn not_started(error: &ScenarioError, contract: &Contract) -> Message {
    match error {
        ScenarioError::Worker(WorkerError::NoValue { .. }) => {
            Message::new(&["worker", "env"], error.to_string(), "set the variable, or remove the placeholder")
        }
        ScenarioError::Worker(WorkerError::Hook { .. }) => {
            let remedy = "correct the command, or what its output names";
            Message::new(&["worker", "prepare"], error.to_string(), remedy)
        }
        ScenarioError::Setup { .. } => {
            let remedy = "if the worker creates its table or its collection itself, name them in `creates` of [worker]";
            Message::new(&["worker"], error.to_string(), remedy)
        }
        _ => {
            let remedy = "write the program that starts the worker; a path is relative to `cwd` of [worker]";
            Message::new(program_key(contract), error.to_string(), remedy)
        }
    }
}

/// What the failure says.
pub(super) fn message(failure: &TrialFailure, contract: &Contract) -> Message {
    match failure {
        TrialFailure::Ended { how, errors } if how.starts_with("exited with code 0") => Message::new(
            program_key(contract),
            with_errors(&format!("the worker {how} before its first job was done"), errors),
            "start the worker in the foreground; if it exits when no jobs wait and its platform starts it again, set idle = \
             \"exits\" in [worker]",
        ),
        TrialFailure::Ended { how, errors } => Message::new(
            program_key(contract),
            with_errors(&format!("the worker {how} before its first job was done"), errors),
            "correct the command or what the errors name; `env` of [worker] passes further variables to it",
        ),
        TrialFailure::NotReady { seconds, wanted, elsewhere, queues, errors } => {
            not_ready(contract, (*seconds, wanted), elsewhere, queues, errors)
        }
        TrialFailure::NotTaken { elsewhere, wanted, registered: false, .. } if !elsewhere.is_empty() => {
            registered_elsewhere(contract, wanted, elsewhere)
        }
        TrialFailure::NotTaken { seconds, wanted, registered, errors, .. } => {
            let problem = if *registered {
                format!("the worker is registered on the queue {wanted}, and took no job from it within {seconds} s")
            } else {
                format!(
                    "no worker took the job from the queue {wanted} within {seconds} s, and none is registered on it"
                )
            };
            let remedy = if *registered {
                "check that its concurrency is above 0, and that it does not pause the queue"
            } else {
                "set `name` and `prefix` of [queue] to the queue from which the worker takes its jobs"
            };
            Message::new(&["queue", "name"], with_errors(&problem, errors), remedy)
        }
        TrialFailure::JobFailed { reason, attempts, errors } => {
            let times = if *attempts > 1 { format!(" after {attempts} attempts") } else { String::new() };
            let problem = format!("the job of the first document failed{times}: {reason}");
            let fields = list(contract.queue.job.data.keys());
            let remedy = format!(
                "if the worker expects another job, correct `job` of [queue]: its name is `{}`, the fields of its data are \
                 {fields}; otherwise correct what the reason names",
                contract.queue.job.name
            );
            let said = errors.lines().all(|line| reason.contains(line.trim()));
            let problem = if said || errors.is_empty() { problem } else { with_errors(&problem, errors) };
            Message::new(&["queue", "job"], problem, remedy)
        }
        TrialFailure::NotFinished { seconds, errors } => Message::new(
            &["queue", "job"],
            with_errors(
                &format!("the worker took the job of the first document, and did not finish it within {seconds} s"),
                errors,
            ),
            "if it needs longer for one document, set `timeout_factor` in [worker]",
        ),
        TrialFailure::Points(problem) => points(problem),
        TrialFailure::Row(problem) => row(problem),
    }
}

fn not_ready(
    contract: &Contract,
    (seconds, wanted): (Option<f64>, &Registration),
    elsewhere: &[Registration],
    queues: &[Registration],
    errors: &str,
) -> Message {
    let by_queue = matches!(contract.worker.ready, Ready::Queue);
    if by_queue && !elsewhere.is_empty() {
        return registered_elsewhere(contract, wanted, elsewhere);
    }
    let (lacks, keys, remedy): (_, &[&str], _) = match &contract.worker.ready {
        Ready::Queue => (
            format!("it is not registered on the queue {wanted}"),
            &["queue", "name"],
            "set `name` and `prefix` of [queue] to those of the worker; if it needs longer, set `ready_within` in \
             [worker]; if it does not name its connections, write how it shows that it is ready, e.g. ready = { log = \
             \"listening\" }",
        ),
        Ready::Log(pattern) => (
            format!("no line of its output matches `{pattern}`"),
            &["worker", "ready"],
            "correct the pattern of `ready`, or set `ready_within` if the worker needs longer",
        ),
        Ready::Http(url) => (
            format!("{url} does not answer with success"),
            &["worker", "ready"],
            "correct the URL of `ready`, or set `ready_within` if the worker needs longer",
        ),
    };
    let seconds = seconds.unwrap_or_default();
    let mut problem = format!("the worker was not ready within {seconds} s: {lacks}");
    if by_queue && !queues.is_empty() {
        problem += &format!("; queues that exist in Redis: {}", list(queues));
    }
    Message::new(keys, with_errors(&problem, errors), remedy)
}

fn registered_elsewhere(contract: &Contract, wanted: &Registration, elsewhere: &[Registration]) -> Message {
    let problem = format!("no worker registered on the queue {wanted}; this one registered on {}", list(elsewhere));
    let prefix = contract.queue.prefix.as_deref().unwrap_or(DEFAULT_PREFIX);
    let mut remedy = match elsewhere {
        [one] if contract.queue.name.as_deref() == Some(&one.queue) => {
            format!("set [queue] prefix = \"{}\"", one.prefix)
        }
        [one] if one.prefix == prefix => format!("set [queue] name = \"{}\"", one.queue),
        [one] => format!("set [queue] name = \"{}\" and prefix = \"{}\"", one.queue, one.prefix),
        _ => "set [queue] name to the one of these that takes documents, and prefix to its prefix".to_owned(),
    };
    if contract.queue.name.is_none() {
        remedy += ", or let the worker read them from QUEUE_NAME and QUEUE_PREFIX";
    }
    let keys: &[&str] = if elsewhere.iter().any(|other| other.queue == wanted.queue) {
        &["queue", "prefix"]
    } else {
        &["queue", "name"]
    };
    Message::new(keys, problem, remedy)
}

fn points(problem: &PointsProblem) -> Message {
    match problem {
        PointsProblem::NoPoints { collection, exists, elsewhere } => {
            let lacks = if *exists { "has no points" } else { "does not exist" };
            let others = elsewhere.iter().map(|(name, points)| format!("`{name}` ({points} points)"));
            let others = if elsewhere.is_empty() {
                "no collection has points".to_owned()
            } else {
                format!("points are in {}", list(others))
            };
            let remedy = match elsewhere.as_slice() {
                [(name, _)] => format!(
                    "set [evidence] qdrant collection = \"{name}\", or let the worker read the name from QDRANT_COLLECTION"
                ),
                [] => "check that the worker stores points before it completes the job".to_owned(),
                _ => "set `collection` of [evidence] qdrant to the one with the chunks".to_owned(),
            };
            let problem = format!("the job completed, but the collection `{collection}` {lacks}; {others}");
            Message::new(&["evidence", "qdrant", "collection"], problem, remedy)
        }
        PointsProblem::NoField { key, field, seen, instead } => {
            let seen = if seen.is_empty() {
                "the points have no payload".to_owned()
            } else {
                format!("the fields are {}", list(seen))
            };
            let problem = format!("no point has the payload field `{field}`; {seen}");
            let meaning = match *key {
                "document" => "with the document's id",
                "chunk" => "with the chunk's index, or leave it out",
                "offset" => "with the place of the chunk in the document, or leave it out",
                "text" => "with the chunk's text, or leave it out",
                _ => "with the document's version, or leave it out",
            };
            let remedy = instead.as_ref().map_or_else(
                || format!("set `{key}` of [evidence] qdrant to the field {meaning}"),
                |instead| format!("set [evidence] qdrant {key} = \"{instead}\""),
            );
            Message::new(qdrant_key(key), problem, remedy)
        }
        PointsProblem::OtherDocument { field, value, document, instead } => {
            let problem = format!(
                "no point has the document's id `{document}` in the payload field `{field}`; it holds `{value}`"
            );
            let remedy = instead.as_ref().map_or_else(
                || {
                    "set `document` of [evidence] qdrant to the field with the document's id, as the job has it"
                        .to_owned()
                },
                |instead| format!("set [evidence] qdrant document = \"{instead}\""),
            );
            Message::new(qdrant_key("document"), problem, remedy)
        }
    }
}

fn qdrant_key(key: &str) -> &'static [&'static str] {
    match key {
        "document" => &["evidence", "qdrant", "document"],
        "chunk" => &["evidence", "qdrant", "chunk"],
        "offset" => &["evidence", "qdrant", "offset"],
        "text" => &["evidence", "qdrant", "text"],
        _ => &["evidence", "qdrant", "version"],
    }
}

fn postgres_key(key: &str) -> &'static [&'static str] {
    match key {
        "id" => &["evidence", "postgres", "id"],
        "status" => &["evidence", "postgres", "status"],
        "version" => &["evidence", "postgres", "version"],
        "chunks" => &["evidence", "postgres", "chunks"],
        _ => &["evidence", "postgres", "error"],
    }
}

fn row(problem: &RowProblem) -> Message {
    const ROWS: &[&str] = &["evidence", "postgres"];
    match problem {
        RowProblem::NoTable { message, tables } => {
            let exist = if tables.is_empty() {
                "there are no tables".to_owned()
            } else {
                format!("the tables are {}", list(tables))
            };
            let remedy = match tables.as_slice() {
                [table] => format!("set [evidence] postgres table = \"{table}\""),
                _ => "set `table` of [evidence] postgres to the table with a row for each document; if the worker \
                      migrates the database itself, add [worker.prepare]"
                    .to_owned(),
            };
            Message::new(&["evidence", "postgres", "table"], format!("{message}; {exist}"), remedy)
        }
        RowProblem::NoColumn { key, column, columns } => {
            let exist = if columns.is_empty() { String::new() } else { format!("; the columns are {}", list(columns)) };
            let remedy = similar(column, columns.iter().cloned()).map_or_else(
                || format!("set `{key}` of [evidence] postgres to one of the columns"),
                |similar| format!("set [evidence] postgres {key} = \"{similar}\""),
            );
            Message::new(postgres_key(key), format!("the table has no column `{column}`{exist}"), remedy)
        }
        RowProblem::Unreadable { message } => {
            Message::new(ROWS, format!("the rows cannot be read: {message}"), "correct [evidence] postgres")
        }
        RowProblem::NoRow { column, document, others } => {
            let rows = if others.is_empty() {
                "there are no rows".to_owned()
            } else {
                format!("rows have {}", list(others.iter().map(|id| format!("`{id}`"))))
            };
            let remedy = if others.is_empty() {
                "check that the worker writes a row; if it writes none, leave out `postgres` of [evidence]"
            } else {
                "set `id` of [evidence] postgres to the column with the document's id, as the job has it"
            };
            let problem = format!("the job completed, but no row has `{document}` in the column `{column}`; {rows}");
            Message::new(postgres_key("id"), problem, remedy)
        }
        RowProblem::OtherStatus { status, done } => Message::new(
            &["evidence", "postgres", "done"],
            format!("the job completed, and the row of its document says `{status}` instead of `{done}`"),
            format!("set [evidence] postgres done = \"{status}\" if that is the status of a stored document"),
        ),
    }
}
