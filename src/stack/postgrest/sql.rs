//! Names and values in SQL.

/// A column, or a path into a JSON column: `data->a->>b`.
pub(super) fn column(text: &str) -> String {
    let mut sql = String::new();
    let mut rest = text;
    let mut arrow = "";
    loop {
        let end = rest.find("->").unwrap_or(rest.len());
        let part = &rest[..end];
        if arrow.is_empty() {
            sql += &quoted(part);
        } else {
            let index = part.parse::<i32>().map(|index| index.to_string());
            sql += &format!("{arrow}{}", index.unwrap_or_else(|_| literal(part.trim_matches('\''))));
        }
        if end == rest.len() {
            return sql;
        }
        arrow = if rest[end..].starts_with("->>") { "->>" } else { "->" };
        rest = &rest[end + arrow.len()..];
    }
}

/// An identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// A literal of a type that Postgres infers.
pub(super) fn literal(value: &str) -> String {
    let text = value.replace('\0', "").replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", text.replace('\\', "\\\\")) } else { format!("'{text}'") }
}
