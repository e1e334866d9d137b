//! `[queue] before`: a statement for each document, with its values bound as parameters.

use serde_json::Value;

use super::documents::Document;
use crate::services::ServiceError;
use crate::services::postgres::Postgres;
use crate::settings::{DocumentId, Endpoints, SEQUENCE, TABLE_PLACES, Template, document_place};

/// Executes the statement for one document, before its job with this sequence number is added.
///
/// # Errors
/// Postgres refuses the statement, or a placeholder has no value.
pub(super) async fn execute(
    statement: &Template,
    (document, sequence): (&Document, u64),
    endpoints: &Endpoints,
    id: DocumentId,
    postgres: &Postgres,
) -> Result<(), ServiceError> {
    let place = |place: &str| match place {
        "document.source" => Some(document.id.as_str().into()),
        SEQUENCE => Some(sequence.into()),
        other => document_place(other, id, &document.id, &document.text),
    };
    let bound = Bound::new(statement, |name| place(name).map(text))
        .map_err(|detail| ServiceError::Refused { service: "postgres", detail })?;
    let names = |place: &str| endpoints.place(place);
    let sql = |parameter: &dyn Fn(usize) -> String| bound.sql(parameter, &names);
    postgres.execute_bound(&sql, &bound.values).await
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// A statement whose document placeholders are parameters.
struct Bound<'a> {
    statement: &'a Template,
    /// The values of the parameters, in their order.
    values: Vec<String>,
}

impl<'a> Bound<'a> {
    /// The error is a placeholder without a value.
    fn new(statement: &'a Template, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let no_value = |name: &str| format!("placeholder `{{{{{name}}}}}` has no value");
        let documents = statement.places().filter(|name| !TABLE_PLACES.contains(name));
        let values = documents.map(|name| lookup(name).ok_or_else(|| no_value(name))).collect::<Result<_, _>>()?;
        Ok(Self { statement, values })
    }

    /// The SQL, with `parameter(n)` in the place of the n-th value, from 1. Names of our own tables are no values.
    fn sql(&self, parameter: &dyn Fn(usize) -> String, names: &dyn Fn(&str) -> Option<String>) -> String {
        let number = std::cell::Cell::new(0);
        let filled = self.statement.fill(|place| {
            if TABLE_PLACES.contains(&place) {
                return Some(names(place).unwrap_or_default());
            }
            number.set(number.get() + 1);
            Some(parameter(number.get()))
        });
        filled.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::DOCUMENT_PLACES;

    fn bound(sql: &str) -> (String, Vec<String>) {
        let places: Vec<&str> = DOCUMENT_PLACES.iter().chain(TABLE_PLACES).copied().collect();
        let template = Template::parse(sql, &places, false).unwrap();
        let bound = Bound::new(&template, |place| Some(format!("'); drop table {place}; --"))).unwrap();
        let names = |_: &str| Some("sd.documents".to_owned());
        (bound.sql(&|number| format!("${number}"), &names), bound.values)
    }

    #[test]
    fn values_of_documents_are_parameters_and_never_part_of_the_statement() {
        let (sql, values) = bound(
            "insert into {{postgres.table}} values ({{document.id}}, 'u1', {{document.bytes}}) on conflict do nothing",
        );
        assert_eq!(sql, "insert into sd.documents values ($1, 'u1', $2) on conflict do nothing");
        assert_eq!(values, ["'); drop table document.id; --", "'); drop table document.bytes; --"]);
    }

    #[test]
    fn a_placeholder_without_a_value_is_named() {
        let template = Template::parse("select {{document.url}}", DOCUMENT_PLACES, false).unwrap();
        let problem = Bound::new(&template, |_| None).err();
        assert_eq!(problem.as_deref(), Some("placeholder `{{document.url}}` has no value"));
    }
}
