//! The queues that the project's workers take jobs from, the jobs, and where jobs are added.

mod flow;
mod scope;

use std::collections::{BTreeMap, BTreeSet, HashSet};

pub use flow::FieldUse;
pub use scope::Scope;

use super::place::Place;
use super::sources::{At, Sources};
use super::syntax::{Kind, Role};
use super::value::Value;
use flow::{Flow, What};

/// A worker: a queue, and what its processor does with a job.
#[derive(Debug, Clone)]
pub struct WorkerUse {
    /// The queue; `None` if the source does not say.
    pub queue: Option<Value>,
    /// The prefix of the queue's keys, if the source names one.
    pub prefix: Option<Value>,
    /// Where it is constructed.
    pub place: Place,
    /// Names of jobs that the processor compares with.
    pub names: BTreeMap<String, Place>,
    /// Fields of the job's data.
    pub fields: Vec<FieldUse>,
    /// Fields that the processor itself adds to the data of a job.
    pub own_fields: BTreeSet<String>,
}

/// A job that is added to a queue.
#[derive(Debug, Clone)]
pub struct Added {
    /// The queue; `None` if the source does not say.
    pub queue: Option<Value>,
    /// The name of the job; `None` for the defaults of a queue.
    pub name: Option<String>,
    /// The fields of its data.
    pub fields: Vec<String>,
    /// Attempts, if they are named.
    pub attempts: Option<u32>,
    /// The kind of backoff and its delay in milliseconds, if they are named.
    pub backoff: Option<(String, u32)>,
    /// Where.
    pub place: Place,
    /// Whether a processor of the project adds it.
    pub by_worker: bool,
}

/// The queues and jobs of the project.
#[derive(Debug, Clone, Default)]
pub struct Jobs {
    /// The workers.
    pub workers: Vec<WorkerUse>,
    /// The jobs that are added.
    pub added: Vec<Added>,
}

impl Sources {
    /// The queues and jobs of all sources.
    pub(super) fn jobs(&self) -> Jobs {
        let mut reached = HashSet::new();
        let mut workers: Vec<WorkerUse> = Vec::new();
        for call in self.calls_of(&["Worker"]).into_iter().filter(|call| is_of_bullmq(*call)) {
            workers.push(constructed(call, &mut reached));
        }
        for decorator in self.of_kinds(&[Kind::Decorator]) {
            workers.extend(decorated(decorator, &mut reached));
        }
        let mut jobs = Jobs { workers, added: Vec::new() };
        jobs.added = self.added(&reached);
        jobs
    }

    fn added(&self, reached: &HashSet<(usize, usize)>) -> Vec<Added> {
        let by_worker = |at: At<'_>| at.functions().any(|function| reached.contains(&(function.file, function.id)));
        let mut added = Vec::new();
        for call in self.calls_of(&["add"]) {
            let arguments = call.arguments();
            let (Some(name), Some(data)) = (arguments.first(), arguments.get(1)) else { continue };
            let receiver = call.role(Role::Function).and_then(|function| function.role(Role::Object));
            let queue = receiver.and_then(queue_of);
            let named = receiver.is_some_and(|at| at.text().to_lowercase().contains("queue"));
            let Some(name) = name.value().and_then(|value| Some(value.text()?.to_owned())) else { continue };
            if queue.is_none() && !named {
                continue;
            }
            let options = arguments.get(2).copied();
            added.push(job(queue, Some(name), Some(*data), options, call, by_worker(call)));
        }
        for object in self.of_kinds(&[Kind::Object]) {
            if let Some(queue) = object.entry(&["queueName"]) {
                let name = object.entry(&["name"]).and_then(|at| Some(at.value()?.text()?.to_owned()));
                let (data, options) = (object.entry(&["data"]), object.entry(&["opts"]));
                added.push(job(queue.value(), name, data, options, object, by_worker(object)));
            }
        }
        for call in self.calls_of(&["Queue", "registerQueue", "forRoot"]) {
            let queue = call.arguments().first().and_then(|at| at.value().or_else(|| at.entry(&["name"])?.value()));
            if let Some(options) = call.option(&["defaultJobOptions", "default_job_options"]) {
                added.push(job(queue, None, None, Some(options), call, false));
            }
        }
        added
    }
}

/// A worker that is constructed with queue, processor and options.
fn constructed(call: At<'_>, reached: &mut HashSet<(usize, usize)>) -> WorkerUse {
    let arguments = call.arguments();
    let queue = arguments.first().and_then(|at| at.value());
    let mut flow = Flow::default();
    if let Some(declared) = call.role(Role::Type) {
        flow.declared(declared, What::Data, &Scope::default());
    }
    let processor = arguments.get(1).and_then(|at| at.referred()).filter(|at| at.is(Kind::Function));
    if let Some(processor) = processor {
        flow.follow(processor, 0, What::Job, &Scope::default());
    }
    let prefix = call.option(&["prefix"]).and_then(At::value);
    finish(flow, queue, prefix, call, reached)
}

/// A class that Nest's `@Processor` makes a worker of.
fn decorated(decorator: At<'_>, reached: &mut HashSet<(usize, usize)>) -> Option<WorkerUse> {
    let call = decorator.role(Role::Value)?;
    if call.callee() != Some("Processor") {
        return None;
    }
    let first = call.arguments().first().copied();
    let queue = first.and_then(|at| at.value().or_else(|| at.entry(&["name"])?.value()));
    let around = decorator.parent()?;
    let class = if around.is(Kind::Class) { around } else { around.children().find(|at| at.is(Kind::Class))? };
    let mut flow = Flow::default();
    for method in class.descendants().filter(|at| at.is(Kind::Function) && at.class() == Some(class)) {
        let name = method.role(Role::Name).map(At::text);
        if name == Some("process") {
            flow.follow(method, 0, What::Job, &Scope::default());
        }
        // The decorators of a method are before it.
        let before = method.parent().into_iter().flat_map(At::children).take_while(|at| at.id < method.id);
        let mut own: Vec<At<'_>> = before.collect();
        own.reverse();
        let own = own.into_iter().take_while(|at| at.is(Kind::Decorator));
        for process in own.filter_map(|at| at.role(Role::Value)).filter(|at| at.callee() == Some("Process")) {
            let name = process.arguments().first().and_then(|at| Some(at.value()?.text()?.to_owned()));
            let scope = name.as_deref().map(Scope::only).unwrap_or_default();
            flow.names.extend(name.map(|name| (name, process.place())));
            flow.follow(method, 0, What::Job, &scope);
        }
    }
    let modules = class.sources.calls_of(&["forRoot", "forRootAsync", "registerQueue", "registerQueueAsync"]);
    let prefix = modules.into_iter().flat_map(At::descendants).find_map(|at| {
        let is_prefix = at.is(Kind::Pair) && at.role(Role::Key).is_some_and(|key| key.text() == "prefix");
        at.role(Role::Value).filter(|_| is_prefix)?.value()
    });
    Some(finish(flow, queue, prefix, call, reached))
}

fn finish(
    flow: Flow<'_>,
    queue: Option<Value>,
    prefix: Option<Value>,
    at: At<'_>,
    reached: &mut HashSet<(usize, usize)>,
) -> WorkerUse {
    reached.extend(flow.reached);
    WorkerUse { queue, prefix, place: at.place(), names: flow.names, fields: flow.uses, own_fields: flow.own }
}

fn job(
    queue: Option<Value>,
    name: Option<String>,
    data: Option<At<'_>>,
    options: Option<At<'_>>,
    at: At<'_>,
    by_worker: bool,
) -> Added {
    let fields = data.and_then(|at| at.structure(8)).map(At::entries).unwrap_or_default();
    let options = options.and_then(|at| at.structure(8));
    let attempts = options.and_then(|at| spread_entry(at, &["attempts"])).and_then(number);
    let backoff = options.and_then(|at| spread_entry(at, &["backoff"])).and_then(|backoff| {
        if let Some(delay) = number(backoff) {
            return Some(("fixed".to_owned(), delay));
        }
        let backoff = backoff.structure(8)?;
        let kind = backoff.entry(&["type"])?.value()?.text()?.to_owned();
        Some((kind, backoff.entry(&["delay"]).and_then(number).unwrap_or(0)))
    });
    let fields = fields.into_iter().map(|(name, _)| name).collect();
    Added { queue, name, fields, attempts, backoff, place: at.place(), by_worker }
}

/// The value of a key of an object, or of the objects that are spread in it.
fn spread_entry<'p>(object: At<'p>, names: &[&str]) -> Option<At<'p>> {
    let spread = || {
        let spreads = object.children().filter(|at| at.is(Kind::Other) && at.text().starts_with("..."));
        spreads.filter_map(|at| at.children().last()?.structure(8)).find_map(|at| at.entry(names))
    };
    object.entry(names).or_else(spread)
}

/// The number that an expression stands for.
pub(super) fn number(at: At<'_>) -> Option<u32> {
    number_within(at, 6)
}

fn number_within(at: At<'_>, steps: usize) -> Option<u32> {
    let (at, steps) = (at.bare(), steps.checked_sub(1)?);
    match at.kind() {
        Kind::Literal => at.text().replace('_', "").parse().ok(),
        Kind::Text => at.literal()?.parse().ok(),
        Kind::Name => number_within(at.definition().filter(|at| at.is(Kind::Bind))?.role(Role::Value)?, steps),
        Kind::Binary => {
            let (left, right) = (at.role(Role::Left)?, at.role(Role::Right)?);
            match at.role(Role::Operator)?.text() {
                "*" => number_within(left, steps)?.checked_mul(number_within(right, steps)?),
                "??" | "||" | "or" => number_within(left, steps).or_else(|| number_within(right, steps)),
                _ => None,
            }
        }
        Kind::Member => {
            let object = at.role(Role::Object)?.structure(6)?;
            number_within(object.entry(&[at.role(Role::Name)?.text()])?, steps)
        }
        // `Number(process.env.X ?? 5)`, `int(os.environ.get("X", "5"))`.
        Kind::Call => {
            let arguments = at.arguments();
            let last = arguments.last().copied().filter(|_| arguments.len() <= 2)?;
            number_within(last, steps)
        }
        _ => None,
    }
}

/// The queue that jobs are added to through this object.
fn queue_of(at: At<'_>) -> Option<Value> {
    let at = at.bare();
    let name = at.path().last().copied().unwrap_or_default().to_owned();
    let call = match at.kind() {
        Kind::Name => at.definition().filter(|at| at.is(Kind::Bind)).and_then(|bind| bind.role(Role::Value)),
        _ => None,
    };
    let in_class = || {
        let class = at.class()?;
        let field = class.descendants().find(|bind| {
            let target = bind.role(Role::Target).filter(|_| bind.is(Kind::Bind));
            target.is_some_and(|target| target.path().last().copied() == Some(name.as_str()))
        });
        let value = field.and_then(|field| field.role(Role::Value));
        value.or_else(|| {
            let injected = class.descendants().find(|parameter| {
                parameter.is(Kind::Parameter) && parameter.role(Role::Name).is_some_and(|own| own.text() == name)
            })?;
            injected.children().find(|at| at.is(Kind::Decorator))?.role(Role::Value)
        })
    };
    let call = call.or_else(in_class)?.bare();
    matches!(call.callee(), Some("Queue" | "InjectQueue")).then(|| call.arguments().first()?.value()).flatten()
}

/// Whether a call constructs a worker of BullMQ: threads and browsers have classes of this name too.
fn is_of_bullmq(call: At<'_>) -> bool {
    let root = At { id: 0, ..call };
    let modules = root.descendants().filter(|at| at.is(Kind::Import)).filter_map(|at| at.role(Role::Module));
    let required = root.descendants().filter(|at| at.callee() == Some("require")).flat_map(At::arguments);
    let modules: Vec<&str> = modules.chain(required).map(|module| module.text().trim_matches(['"', '\''])).collect();
    let imported = modules.iter().any(|module| module.starts_with("bullmq"));
    let of_threads = modules.iter().any(|module| module.ends_with("worker_threads"));
    imported || !of_threads && call.arguments().len() >= 2
}
