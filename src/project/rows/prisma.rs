//! Models of a Prisma schema, which has one declaration a line.

use super::table::{Column, Table};
use crate::project::place::Place;
use crate::project::value::Value;

/// The models of a schema as tables.
pub(super) fn models(path: &std::path::Path, text: &str) -> Vec<Table> {
    let mut models = Vec::new();
    let mut open: Option<Table> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default().trim();
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        match (&mut open, first) {
            (None, "model") => {
                let name = words.next().unwrap_or_default().trim_end_matches('{').to_owned();
                open = Some(Table {
                    name: Some(Value::Text(name)),
                    columns: Vec::new(),
                    place: Place::new(path, number + 1),
                    defined: true,
                });
            }
            (Some(_), "}") => models.extend(open.take()),
            (Some(table), _) if first.starts_with("@@map") => {
                table.name = quoted(line).map(Value::Text).or(table.name.take());
            }
            (Some(table), _) if first.starts_with(|letter: char| letter.is_ascii_alphabetic()) => {
                let mapped = line.split_once("@map(").and_then(|(_, rest)| quoted(rest));
                table.columns.push(Column {
                    name: mapped.unwrap_or_else(|| first.to_owned()),
                    property: Some(first.to_owned()),
                    primary: line.split_whitespace().any(|word| word == "@id"),
                });
            }
            _ => {}
        }
    }
    models
}

/// The first text in quotes.
fn quoted(text: &str) -> Option<String> {
    Some(text.split('"').nth(1)?.to_owned())
}
