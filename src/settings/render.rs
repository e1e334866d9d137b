//! Renders the table of variables: Markdown, a complete `.env.example`, JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::table::{Entry, Need, Secrecy, TABLE};
use crate::outcome::EnvironmentRow;

fn visible() -> impl Iterator<Item = &'static Entry> {
    TABLE.iter().filter(|entry| !entry.hidden)
}

/// Every group with its entries, in the order of the table.
fn groups() -> Vec<(&'static str, Vec<&'static Entry>)> {
    let mut groups: Vec<(&str, Vec<&Entry>)> = Vec::new();
    for entry in visible() {
        match groups.last_mut() {
            Some((group, entries)) if *group == entry.group => entries.push(entry),
            _ => groups.push((entry.group, vec![entry])),
        }
    }
    groups
}

const fn secrecy(entry: &Entry) -> &'static str {
    match entry.secrecy {
        Secrecy::No => "no",
        Secrecy::Password => "password only",
        Secrecy::Yes => "yes",
    }
}

fn verbs(entry: &Entry) -> String {
    entry.needs.iter().map(|need| need.verb()).collect::<Vec<_>>().join(", ")
}

fn otherwise(entry: &Entry) -> String {
    match (entry.default, entry.otherwise) {
        (Some(default), _) => format!("`{default}`"),
        (None, Some(otherwise)) => otherwise.to_owned(),
        (None, None) => "required".to_owned(),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The table as Markdown, one section per group.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "Every variable can also be set as `NAME_FILE`, the path of a file that contains the value. \
         Precedence: flag, environment, `.env`, profile, default.\n",
    );
    for (group, entries) in groups() {
        let _ = write!(
            text,
            "\n### {group}\n\n| variable | meaning | default | secret | example | read by |\n|---|---|---|---|---|---|\n"
        );
        for entry in entries {
            let _ = writeln!(
                text,
                "| `{}` | {} ({}) | {} | {} | `{}` | {} |",
                entry.name,
                cell(entry.meaning),
                cell(&entry.kind.describe()),
                cell(&otherwise(entry)),
                secrecy(entry),
                cell(entry.example),
                verbs(entry),
            );
        }
    }
    text
}

/// A complete `.env.example`. Required variables have their example values, the others are comments.
#[must_use]
pub fn dotenv() -> String {
    let mut text = String::from(
        "# Every variable that shakedown and its reference worker read. Copy to `.env`; never commit that.\n\
         # Each can be set as NAME_FILE=path instead.\n",
    );
    for (group, entries) in groups() {
        let _ = write!(text, "\n# --- {group} ---\n");
        for entry in entries {
            let required = entry.default.is_none() && entry.otherwise.is_none();
            let _ = writeln!(text, "\n# {} ({}).", entry.meaning, entry.kind.describe());
            let _ = writeln!(
                text,
                "# Default: {}. Secret: {}. Read by: {}.",
                otherwise(entry),
                secrecy(entry),
                verbs(entry)
            );
            let _ = writeln!(text, "{}{}={}", if required { "" } else { "# " }, entry.name, entry.example);
        }
    }
    text
}

/// The table as JSON.
#[must_use]
pub fn json() -> Value {
    visible()
        .map(|entry| {
            json!({
                "name": entry.name,
                "file": format!("{}_FILE", entry.name),
                "group": entry.group,
                "meaning": entry.meaning,
                "kind": entry.kind.describe(),
                "default": entry.default,
                "otherwise": entry.otherwise,
                "required": entry.default.is_none() && entry.otherwise.is_none(),
                "secret": entry.is_secret(),
                "example": entry.example,
                "needs": entry.needs.iter().map(|need: &Need| need.verb()).collect::<Vec<_>>(),
            })
        })
        .collect()
}

/// Values with their origins as Markdown.
#[must_use]
pub fn resolved_markdown(profile: &str, rows: &[EnvironmentRow]) -> String {
    let mut text = format!("Profile: `{profile}`\n\n| variable | value | origin |\n|---|---|---|\n");
    for row in rows {
        let value = if row.value.is_empty() { String::new() } else { format!("`{}`", cell(&row.value)) };
        let _ = writeln!(text, "| `{}` | {value} | {} |", row.name, cell(&row.origin));
    }
    text
}

/// Values with their origins as JSON.
#[must_use]
pub fn resolved_json(profile: &str, rows: &[EnvironmentRow]) -> Value {
    json!({ "profile": profile, "variables": rows })
}
