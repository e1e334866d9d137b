//! `[chunks]`, `[embeddings]` and `[evidence]`: how documents are cut, and where the results are.

use std::collections::BTreeMap;

use super::answers::Answers;
use super::choices::{chunk_key, column, found, preset, status_column, table};
use super::names::{Meaning, State};
use super::page::{Basis, Page, bare, quoted};
use crate::project::{Place, Project, Unit, Value};

/// Writes the sections.
pub(super) fn write(project: &Project, page: &mut Page, answers: &mut Answers) {
    chunks(project, page);
    embeddings(project, page);
    page.raw("\n# Where it stores its results. Omit what it does not store: the cases that need it are skipped and say why.\n[evidence]");
    points(project, page, answers);
    rows(project, page, answers);
}

fn chunks(project: &Project, page: &mut Page) {
    let Some(splitter) = project.points.splitters.iter().find(|splitter| splitter.size.is_some()) else { return };
    let unit = match splitter.unit {
        Unit::Characters => "characters",
        Unit::Tokens => "tokens",
    };
    let basis = Basis::of(Some(&splitter.place));
    page.raw("\n[chunks]");
    if let Some(size) = splitter.size {
        let sentence = format!("{} cuts into at most {size} {unit}", splitter.name);
        page.key(&format!("{unit} = {{ at_most = {size} }}"), &basis, &sentence);
    }
    if let Some(overlap) = splitter.overlap {
        page.key(
            &format!("overlap = {{ at_most = {overlap} }}"),
            &basis,
            &format!("chunks overlap by at most {overlap} {unit}"),
        );
    }
}

fn embeddings(project: &Project, page: &mut Page) {
    let points = &project.points;
    let (task, basis, sentence) = match (&points.task, &points.without_task) {
        // What is expected of every worker need not be said.
        (Some((task, _)), _) if task == "retrieval.passage" => return,
        (Some((task, place)), _) => (task.as_str(), Basis::of(Some(place)), format!("requests name the task `{task}`")),
        (None, Some((name, place))) => {
            ("none", Basis::of(Some(place)), format!("{name} names no task in its requests"))
        }
        (None, None) => return,
    };
    page.raw("\n[embeddings]");
    page.key(&format!("task = {}", quoted(task)), &basis, &sentence);
}

fn points(project: &Project, page: &mut Page, answers: &mut Answers) {
    let with_store = preset(project).map(|(name, _)| name).filter(|name| *name != "nestjs");
    let by_llama_index = with_store.is_some_and(|name| name.starts_with("llama-index"));
    let filters = project.points.filters.iter().map(|field| field.name.as_str());
    let filtered = Meaning::Document.best(filters).map(str::to_owned);
    let filtered = filtered.and_then(|path| {
        let field = project.points.filters.iter().find(|field| field.name == path)?;
        Some((path, field.place.clone()))
    });
    page.raw("[evidence.qdrant]");
    let mut key = |name: &str, value: Option<(String, Place)>, guess: Option<&str>, what: &str| match (value, guess) {
        (Some((path, place)), _) => {
            page.key(
                &format!("{name} = {}", quoted(&path)),
                &Basis::of(Some(&place)),
                &format!("`{path}` of a point is {what}"),
            );
        }
        (None, Some(guess)) => {
            let answer = answers.ask(&format!("Which field of a point's payload is {what}?"), guess);
            let basis = if answer.is_some() { Basis::Answered } else { Basis::Guessed };
            let path = answer.as_deref().unwrap_or(guess);
            page.key(&format!("{name} = {}", quoted(path)), &basis, &format!("`{path}` of a point is {what}"));
        }
        (None, None) => {}
    };
    let unless = |set: bool, guess: &'static str| (!set).then_some(guess);
    // LlamaIndex itself stores the document's id, in a field that the preset names.
    let document = filtered.or_else(|| found(project, Meaning::Document)).filter(|_| !by_llama_index);
    key("document", document, unless(by_llama_index, "document_id"), "the document's id");
    key("chunk", chunk_key(project), unless(with_store.is_some(), "chunk_index"), "the number of a chunk");
    let text = found(project, Meaning::Text).filter(|_| with_store.is_none());
    key("text", text, unless(with_store.is_some(), "text"), "its text");
    key("version", found(project, Meaning::Version), None, "the document's version");
    let mut named: BTreeMap<&str, (usize, &Place)> = BTreeMap::new();
    for (value, place) in &project.points.collections {
        if let Value::Text(name) = value {
            named.entry(name).or_insert((0, place)).0 += 1;
        }
    }
    if let Some((name, (_, place))) = named.into_iter().max_by_key(|(_, (count, _))| *count) {
        let sentence = format!("its collection is always `{name}`; runs are faster if a variable names it");
        page.key(&format!("collection = {}", quoted(name)), &Basis::of(Some(place)), &sentence);
    }
}

fn rows(project: &Project, page: &mut Page, answers: &mut Answers) {
    let Some(table) = table(project) else {
        page.raw("# [evidence.postgres]\n# id = \"id\"\n# status = \"status\"\n# done = \"ready\"\n# failed = \"failed\"\n# chunks = \"chunks\"");
        page.list(&Basis::Guessed, "no row in Postgres says what became of a document");
        return;
    };
    let basis = Basis::of(Some(&table.place));
    page.raw("[evidence.postgres]");
    if let Some(Value::Text(name)) = &table.name {
        page.key(
            &format!("table = {}", quoted(name)),
            &basis,
            &format!("the table `{name}` has the state of a document"),
        );
    }
    let primary = table.columns.iter().find(|column| column.primary).map(|column| column.name.as_str());
    let status = status_column(&table).unwrap_or_else(|| "status".to_owned());
    let by_name = column(&table, Meaning::Document);
    let mut cells = vec![
        (
            "id",
            primary.or(by_name).unwrap_or("id").to_owned(),
            if primary.or(by_name).is_some() { basis.clone() } else { Basis::Guessed },
        ),
        ("status", status, basis.clone()),
    ];
    let written = |state: State| {
        let mut statuses = project.rows.statuses.iter();
        statuses.find(|(_, text, _)| state.is(text)).map(|(_, text, place)| (text.clone(), Basis::of(Some(place))))
    };
    let done = written(State::Done).unwrap_or_else(|| {
        let answer = answers.ask("Which status has a document that is stored?", "ready");
        let basis = if answer.is_some() { Basis::Answered } else { Basis::Guessed };
        (answer.unwrap_or_else(|| "ready".to_owned()), basis)
    });
    // A worker without a status of its own for it says that an empty document is stored.
    let skipped = written(State::Skipped).unwrap_or_else(|| (done.0.clone(), Basis::Guessed));
    cells.push(("done", done.0, done.1));
    cells.push(("skipped", skipped.0, skipped.1));
    cells.extend(written(State::Failed).map(|(text, basis)| ("failed", text, basis)));
    for (key, meaning) in [("version", Meaning::Version), ("chunks", Meaning::Chunks), ("error", Meaning::Error)] {
        cells.extend(column(&table, meaning).map(|name| (key, name.to_owned(), basis.clone())));
    }
    for (key, value, basis) in cells {
        let sentence = match key {
            "done" => format!("a document that is stored has the status `{value}`"),
            "skipped" => format!("a document without text has the status `{value}`"),
            "failed" => format!("a document that failed has the status `{value}`"),
            key => format!("the column `{value}` is its {key}"),
        };
        page.key(&format!("{} = {}", bare(key), quoted(&value)), &basis, &sentence);
    }
}
