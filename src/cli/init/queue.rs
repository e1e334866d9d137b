//! `[queue]`: which queue has the documents, what its jobs look like, and how a document is removed.

use std::collections::BTreeSet;

use super::answers::Answers;
use super::names::{is_removal, job_field};
use super::page::{Basis, Page, bare, one_line, quoted};
use crate::project::{Added, Place, Project, Value, WorkerUse};

/// The fields of a job for the contract, and the required ones whose meaning is unknown.
#[derive(Debug, Default)]
struct Fields {
    known: Vec<(String, &'static str, Place)>,
    unknown: Vec<(String, Place)>,
    /// Fields that a job may have.
    optional: Vec<(String, Place)>,
}

/// The queue of the documents, and the others.
pub(super) struct Queues<'p> {
    pub(super) own: Option<&'p WorkerUse>,
    removals: Option<&'p WorkerUse>,
    children: Vec<&'p WorkerUse>,
}

impl<'p> Queues<'p> {
    /// Tells the workers of a project apart.
    pub(super) fn of(project: &'p Project) -> Self {
        let workers = &project.jobs.workers;
        let has_text = |worker: &WorkerUse| worker.fields.iter().any(|field| is_content(&field.name));
        let is_child = |worker: &WorkerUse| {
            let mut added = project.jobs.added.iter().filter(|job| job.by_worker && job.queue == worker.queue);
            let names: BTreeSet<&str> = added.clone().filter_map(|job| job.name.as_deref()).collect();
            worker.queue.is_some()
                && added.next().is_some()
                && worker.names.keys().all(|name| names.contains(name.as_str()))
        };
        let removes = |worker: &WorkerUse| {
            let named = worker.queue.as_ref().is_some_and(|queue| is_removal(&name_of(queue)));
            named || !worker.names.is_empty() && worker.names.keys().all(|name| is_removal(name)) && !has_text(worker)
        };
        let children: Vec<&WorkerUse> = workers.iter().filter(|worker| is_child(worker)).collect();
        let others = || workers.iter().filter(|worker| !is_child(worker));
        let own = others()
            .filter(|worker| !removes(worker))
            .max_by_key(|worker| has_text(worker))
            .or_else(|| workers.first());
        let removals = others().find(|worker| removes(worker) && own.is_none_or(|own| own.queue != worker.queue));
        Self { own, removals, children }
    }
}

/// Whether a field brings the contents of a document.
fn is_content(field: &str) -> bool {
    matches!(job_field(field), Some("document.text" | "document.path" | "document.url"))
}

/// The text, or the name of the variable.
fn name_of(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Variable { name, default } => default.clone().unwrap_or_else(|| name.clone()),
    }
}

/// Writes `[queue]`.
pub(super) fn write(project: &Project, page: &mut Page, answers: &mut Answers) {
    let queues = Queues::of(project);
    page.raw("\n[queue]");
    names(&queues, page, answers);
    let job = job_name(project, &queues);
    write_job(project, &queues, &job, page, answers);
    write_removal(project, &queues, page);
}

fn names(queues: &Queues<'_>, page: &mut Page, answers: &mut Answers) {
    let place = queues.own.map(|worker| &worker.place);
    match queues.own.and_then(|worker| worker.queue.as_ref()) {
        Some(Value::Text(name)) => {
            let sentence = format!("it takes jobs from the queue `{name}`; runs are faster if a variable names it");
            page.key(&format!("name = {}", quoted(name)), &Basis::of(place), &sentence);
        }
        Some(Value::Variable { name, .. }) => {
            page.list(&Basis::of(place), &format!("it takes the name of its queue from {name}"));
        }
        None => {
            let asked = answers.ask("Which queue does the worker take documents from? (empty: QUEUE_NAME says)", "");
            match asked {
                Some(name) => page.key(&format!("name = {}", quoted(&name)), &Basis::Answered, ""),
                None => page
                    .list(&Basis::Guessed, "it reads the queue name from QUEUE_NAME and the prefix from QUEUE_PREFIX"),
            }
        }
    }
    match queues.own.map(|worker| &worker.prefix) {
        Some(Some(Value::Text(prefix))) => {
            page.key(
                &format!("prefix = {}", quoted(prefix)),
                &Basis::of(place),
                &format!("the prefix of its queue is `{prefix}`"),
            );
        }
        // A fixed queue has the prefix of BullMQ unless the contract says otherwise.
        Some(None) if matches!(queues.own.and_then(|worker| worker.queue.as_ref()), Some(Value::Variable { .. })) => {
            page.key("prefix = \"bull\"", &Basis::of(place), "its queue has BullMQ's own prefix, for it sets none");
        }
        _ => {}
    }
    let children: Vec<String> =
        queues.children.iter().filter_map(|child| Some(child.queue.as_ref()?.text()?.to_owned())).collect();
    if let (Some(first), false) = (queues.children.first(), children.is_empty()) {
        let line = format!("children = [{}]", children.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "));
        page.key(
            &line,
            &Basis::of(Some(&first.place)),
            &format!("its own jobs go to the queue `{}`", children.join("`, `")),
        );
    }
}

/// The name of the job of a document, and where it was read.
fn job_name(project: &Project, queues: &Queues<'_>) -> (String, Option<Place>) {
    let own = queues.own;
    let jobs =
        || project.jobs.added.iter().filter(|job| own.is_some_and(|own| job.queue == own.queue || job.queue.is_none()));
    let of_worker: BTreeSet<&str> = jobs().filter(|job| job.by_worker).filter_map(|job| job.name.as_deref()).collect();
    let compared = own.into_iter().flat_map(|own| own.names.iter()).map(|(name, place)| (name.clone(), place.clone()));
    let produced = jobs().filter(|job| !job.by_worker).filter_map(|job| Some((job.name.clone()?, job.place.clone())));
    let candidates: Vec<(String, Place)> =
        compared.chain(produced).filter(|(name, _)| !is_removal(name) && !of_worker.contains(name.as_str())).collect();
    let has_content = |name: &str| {
        let read =
            own.is_some_and(|own| own.fields.iter().any(|field| field.scope.admits(name) && is_content(&field.name)));
        read || jobs().any(|job| job.name.as_deref() == Some(name) && job.fields.iter().any(|field| is_content(field)))
    };
    let best = candidates.iter().find(|(name, _)| has_content(name)).or_else(|| candidates.first());
    if let Some((name, place)) = best {
        return (name.clone(), Some(place.clone()));
    }
    // A removal is called as its opposite: `delete-document` goes with `ingest-document`.
    let removal = own.and_then(|own| own.names.keys().find(|name| is_removal(name)));
    let rest =
        removal.and_then(|name| name.split_once(['-', '_', '.', ':']).map(|(verb, _)| name[verb.len()..].to_owned()));
    (format!("ingest{}", rest.unwrap_or_default()), None)
}

/// The fields of the jobs of this name.
fn fields(project: &Project, worker: Option<&WorkerUse>, name: &str) -> Fields {
    let mut fields = Fields::default();
    let Some(worker) = worker else { return fields };
    let uses: Vec<_> = worker
        .fields
        .iter()
        .filter(|field| field.scope.admits(name) && !worker.own_fields.contains(&field.name))
        .collect();
    let mut names: Vec<(String, Place, bool)> = Vec::new();
    for field in &uses {
        let optional = uses.iter().any(|other| other.name == field.name && other.optional);
        if !names.iter().any(|(known, ..)| *known == field.name) {
            names.push((field.name.clone(), field.place.clone(), optional));
        }
    }
    let produced = project.jobs.added.iter().filter(|job| !job.by_worker && job.name.as_deref() == Some(name));
    for (job, field) in produced.flat_map(|job| job.fields.iter().map(move |field| (job, field))) {
        if !names.iter().any(|(known, ..)| known == field) {
            names.push((field.clone(), job.place.clone(), true));
        }
    }
    for (name, place, optional) in names {
        match job_field(&name) {
            Some("document.version") | None if optional => fields.optional.push((name, place)),
            Some(filled) => fields.known.push((name, filled, place)),
            None => fields.unknown.push((name, place)),
        }
    }
    fields
}

fn write_job(
    project: &Project,
    queues: &Queues<'_>,
    job: &(String, Option<Place>),
    page: &mut Page,
    answers: &mut Answers,
) {
    let (read_name, place) = job;
    let mut name = read_name.clone();
    let mut basis = Basis::of(place.as_ref());
    if place.is_none()
        && let Some(answer) = answers.ask("What is the name of the job of a document?", &name)
    {
        (name, basis) = (answer, Basis::Answered);
    }
    let mut fields = fields(project, queues.own, &name);
    let has = |fields: &Fields, places: &[&str]| fields.known.iter().any(|(_, filled, _)| places.contains(filled));
    let mut guessed = Vec::new();
    if !has(&fields, &["document.id"]) {
        let field = answers.ask("Which field of the job has the document's id?", "documentId");
        guessed.push((field.unwrap_or_else(|| "documentId".to_owned()), "document.id"));
    }
    if !has(&fields, &["document.text", "document.path", "document.url"]) {
        let field = answers.ask("Which field of the job has the document's text?", "text");
        guessed.push((field.unwrap_or_else(|| "text".to_owned()), "document.text"));
    }
    page.raw("\n[queue.job]");
    page.key(&format!("name = {}", quoted(&name)), &basis, &format!("the job of a document is called `{name}`"));
    page.raw("[queue.job.data]");
    for (field, filled, place) in &fields.known {
        let line = format!("{} = \"{{{{{filled}}}}}\"", bare(field));
        page.key(&line, &Basis::of(Some(place)), &format!("`{field}` of a job is {}", said(filled)));
    }
    for (field, filled) in &guessed {
        let line = format!("{} = \"{{{{{filled}}}}}\"", bare(field));
        page.key(&line, &Basis::Guessed, &format!("`{field}` of a job is {}", said(filled)));
    }
    for (field, place) in fields.unknown.drain(..) {
        let answer = answers.ask(&format!("The job has `{field}` ({place}). What is its value?"), "leave it out");
        if let Some(value) = answer {
            page.key(&format!("{} = {}", bare(&field), quoted(&value)), &Basis::Answered, "");
        } else {
            page.raw(&format!("# {} = \"…\"   # {}", bare(&field), one_line(&place.to_string())));
            page.list(&Basis::Guessed, &format!("a job works without `{field}`, which is read at {place}"));
        }
    }
    for (field, place) in &fields.optional {
        page.raw(&format!("# {} = \"…\"   # may be set: {}", bare(field), one_line(&place.to_string())));
    }
    options(project, queues, &name, page);
}

/// What a placeholder is, in a sentence.
fn said(filled: &str) -> &'static str {
    match filled {
        "document.id" => "the document's id",
        "document.text" => "its text",
        "document.path" => "the path of its file",
        "document.url" => "its address",
        "document.source" => "its source or title",
        "document.version" => "its version",
        "document.mime" => "its MIME type",
        "document.bytes" => "its size",
        _ => "its checksum",
    }
}

/// The options of the jobs of this name, where they are added or by the defaults of the queue.
fn options(project: &Project, queues: &Queues<'_>, name: &str, page: &mut Page) {
    let own = queues.own.and_then(|own| own.queue.as_ref());
    let fits = |job: &&Added| !job.by_worker && (job.queue.as_ref() == own || job.queue.is_none());
    let named = || project.jobs.added.iter().filter(fits).filter(|job| job.name.as_deref() == Some(name));
    let defaults = || project.jobs.added.iter().filter(fits).filter(|job| job.name.is_none());
    let attempts = named().chain(defaults()).find_map(|job| Some((job.attempts?, &job.place)));
    let backoff = named().chain(defaults()).find_map(|job| Some((job.backoff.clone()?, &job.place)));
    // These keys belong to the job, and must stand before its data.
    let mut lines = Page::default();
    match attempts {
        Some((attempts, place)) => {
            let sentence = format!("a job has {attempts} attempts");
            lines.key(&format!("attempts = {attempts}"), &Basis::of(Some(place)), &sentence);
        }
        None => lines.key("attempts = 5", &Basis::Guessed, "a job has 5 attempts, for the project adds none"),
    }
    match backoff {
        Some(((kind, delay), place)) if matches!(kind.as_str(), "fixed" | "exponential") => {
            let line = format!("backoff = {{ type = {}, delay = {delay} }}", quoted(&kind));
            lines.key(&line, &Basis::of(Some(place)), &format!("between them it waits {delay} ms ({kind})"));
        }
        _ => {
            let line = "backoff = { type = \"exponential\", delay = 200, jitter = 0.5 }";
            lines.key(line, &Basis::Guessed, "between attempts it waits 200 ms and twice as long each time");
        }
    }
    if let Some(at) = page.text.find("[queue.job.data]") {
        page.text.insert_str(at, &lines.text);
    }
    page.read.append(&mut lines.read);
    page.guessed.append(&mut lines.guessed);
}

fn write_removal(project: &Project, queues: &Queues<'_>, page: &mut Page) {
    let own = queues.own.into_iter().flat_map(|own| own.names.iter()).find(|(name, _)| is_removal(name));
    let produced = || {
        let mut jobs = project.jobs.added.iter().filter(|job| !job.by_worker);
        jobs.find_map(|job| Some((job.name.as_ref().filter(|name| is_removal(name))?, &job.place)))
    };
    let separate = queues.removals;
    let found = own.or_else(|| separate.and_then(|worker| worker.names.iter().next())).or_else(produced);
    let (name, basis) = match (found, separate) {
        (Some((name, place)), _) => (name.clone(), Basis::of(Some(place))),
        (None, Some(_)) => ("delete".to_owned(), Basis::Guessed),
        (None, None) => {
            page.raw("\n# [queue.delete]   # if it can remove a document\n# name = \"delete\"\n# data = { documentId = \"{{document.id}}\" }");
            page.list(&Basis::Guessed, "it has no job that removes a document: cases about removals are skipped");
            return;
        }
    };
    page.raw("\n[queue.delete]");
    if let Some(worker) = separate.filter(|_| own.is_none())
        && let Some(queue) = worker.queue.as_ref().and_then(Value::text)
    {
        let sentence = format!("removals have the queue `{queue}`");
        page.key(&format!("queue = {}", quoted(queue)), &Basis::of(Some(&worker.place)), &sentence);
    }
    let sentence = match basis {
        Basis::Guessed => format!("a removal is called `{name}`: its processor reads no name"),
        _ => format!("the job `{name}` removes a document"),
    };
    page.key(&format!("name = {}", quoted(&name)), &basis, &sentence);
    let worker = if own.is_some() { queues.own } else { separate.or(queues.own) };
    let of_removal = fields(project, worker, &name);
    // What is read of every job is there too; a removal is about the id.
    let ids: Vec<_> = of_removal.known.iter().filter(|(_, filled, _)| *filled == "document.id").collect();
    match ids.first() {
        Some((field, _, place)) => {
            let line = format!("data = {{ {} = \"{{{{document.id}}}}\" }}", bare(field));
            page.key(&line, &Basis::of(Some(place)), &format!("`{field}` of a removal is the document's id"));
        }
        None => page.key("data = { documentId = \"{{document.id}}\" }", &Basis::Guessed, "a removal has `documentId`"),
    }
    page.raw("attempts = 5");
}
