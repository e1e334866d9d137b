//! Which of the things that were read are the document's: preset, payload fields, table.

use super::names::Meaning;
use crate::project::{Field, Place, Project, STATUS, Table, Value};

/// The preset for the packages, if its keys fit what was read.
pub(super) fn preset(project: &Project) -> Option<(&str, &Place)> {
    let (name, place) = project.manifests.preset.as_ref()?;
    // The preset takes the place of a chunk from metadata that the splitter adds only if it is told to.
    let has_place = project.points.splitters.iter().any(|splitter| splitter.start_index);
    let has_index = chunk_key(project).is_some();
    (name != "langchain-py" || has_place || has_index).then_some((name.as_str(), place))
}

/// The fields of payloads by path, with the prefix under which a vector store puts metadata.
fn payload(project: &Project) -> Vec<(String, &Place)> {
    let points = &project.points;
    let prefix = match project.manifests.preset.as_ref().map(|(name, _)| name.as_str()) {
        Some("langchain-js" | "langchain-py") => "metadata.",
        _ => "",
    };
    let stored = |fields: &'_ [Field], prefix: &str| -> Vec<(String, usize)> {
        fields.iter().enumerate().map(|(number, field)| (format!("{prefix}{}", field.name), number)).collect()
    };
    let mut all: Vec<(String, &Place)> = Vec::new();
    for (path, number) in stored(&points.payload, "") {
        all.push((path, &points.payload[number].place));
    }
    let uses_store = project.manifests.preset.as_ref().is_some_and(|(name, _)| name != "nestjs");
    if uses_store {
        for (path, number) in stored(&points.metadata, prefix) {
            all.push((path, &points.metadata[number].place));
        }
    }
    all
}

/// The payload field of this meaning.
pub(super) fn found(project: &Project, meaning: Meaning) -> Option<(String, Place)> {
    let all = payload(project);
    let best = meaning.best(all.iter().map(|(path, _)| path.as_str()))?;
    let (path, place) = all.iter().find(|(path, _)| path == best)?;
    Some((path.clone(), (*place).clone()))
}

/// The field with the index of a chunk.
pub(super) fn chunk_key(project: &Project) -> Option<(String, Place)> {
    found(project, Meaning::Chunk)
}

/// The table with the state of documents.
pub(super) fn table(project: &Project) -> Option<Table> {
    let mut merged: Vec<Table> = Vec::new();
    for table in &project.rows.tables {
        match merged.iter_mut().find(|known| known.name == table.name) {
            Some(known) => {
                // The definition knows the primary key, and has all columns.
                if table.defined && !known.defined {
                    (known.place, known.defined) = (table.place.clone(), true);
                }
                for column in &table.columns {
                    match known.columns.iter_mut().find(|known| known.name == column.name) {
                        Some(known) => known.primary |= column.primary,
                        None => known.columns.push(column.clone()),
                    }
                }
            }
            None => merged.push(table.clone()),
        }
    }
    let score = |table: &Table| {
        let name = table.name.as_ref().and_then(Value::text).unwrap_or_default().to_lowercase();
        let about = ["document", "file", "source", "article", "page"].iter().any(|word| name.contains(word));
        (usize::from(about) * 2)
            + usize::from(column(table, Meaning::Chunks).is_some())
            + usize::from(column(table, Meaning::Error).is_some())
    };
    let with_status = merged.into_iter().filter(|table| status_column(table).is_some());
    // Of equals the first.
    with_status.rev().max_by_key(score)
}

pub(super) fn status_column(table: &Table) -> Option<String> {
    let named = |name: &str| {
        let is = |own: Option<&str>| own == Some(name);
        table.columns.iter().find(|column| is(Some(&column.name)) || is(column.property.as_deref()))
    };
    STATUS.iter().find_map(|name| named(name)).map(|column| column.name.clone())
}

pub(super) fn column(table: &Table, meaning: Meaning) -> Option<&str> {
    meaning.best(table.columns.iter().map(|column| column.name.as_str()))
}
