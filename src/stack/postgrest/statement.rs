//! The statement of a request. Values are quoted literals, so that Postgres gives them the type of their column.

use serde_json::Value;

use super::invalid::Invalid;
use super::query::Query;
use super::sql::{literal, quoted};

/// What to do with rows that exist already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution {
    Merge,
    Ignore,
}

/// The table of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
}

impl Table {
    fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// Rows as a JSON array, and their number.
const AS_JSON: &str = "select coalesce(json_agg(row_to_json(answer)), '[]')::text, count(*) from";

/// A SELECT. If `counted`, a third column has the number of all rows that match.
pub(super) fn select(table: &Table, query: &Query, counted: bool) -> String {
    let rows = format!("from {}{}", table.sql(), query.condition());
    let mut inner = format!("select {} {rows}", query.select.as_deref().unwrap_or("*"));
    if let Some(order) = &query.order {
        inner += &format!(" order by {order}");
    }
    for (word, number) in [("limit", query.limit), ("offset", query.offset)] {
        if let Some(number) = number {
            inner += &format!(" {word} {number}");
        }
    }
    let all = if counted { format!(", (select count(*) {rows})") } else { String::new() };
    format!("{}{all} from ({inner}) as answer", AS_JSON.trim_end_matches(" from"))
}

/// An INSERT of the rows in `body`, an object or an array of objects.
pub(super) fn insert(
    table: &Table,
    query: &Query,
    body: &Value,
    resolution: Option<Resolution>,
) -> Result<String, Invalid> {
    let rows = match body {
        Value::Array(rows) => rows.clone(),
        Value::Object(_) => vec![body.clone()],
        _ => return Err(Invalid("Empty or invalid json".to_owned())),
    };
    let columns = match &query.columns {
        Some(columns) => columns.clone(),
        None => keys(rows.first()),
    };
    let name = table.sql();
    let conflict = match resolution {
        None => String::new(),
        Some(resolution) => {
            let target: Vec<String> = query.on_conflict.iter().map(|name| quoted(name)).collect();
            let target = if target.is_empty() { String::new() } else { format!(" ({})", target.join(", ")) };
            let updates: Vec<String> = columns.iter().map(|name| format!("{0} = excluded.{0}", quoted(name))).collect();
            match resolution {
                Resolution::Merge if !updates.is_empty() && !target.is_empty() => {
                    format!(" on conflict{target} do update set {}", updates.join(", "))
                }
                _ => format!(" on conflict{target} do nothing"),
            }
        }
    };
    let source = if columns.is_empty() {
        "default values".to_owned()
    } else {
        let list = columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let body = literal(&Value::Array(rows).to_string());
        format!("({list}) select {list} from json_populate_recordset(null::{name}, {body}::json)")
    };
    Ok(changed(&format!("insert into {name} {source}{conflict}"), query))
}

/// An UPDATE of the rows that match with the fields in `body`.
pub(super) fn update(table: &Table, query: &Query, body: &Value) -> Result<String, Invalid> {
    if !body.is_object() {
        return Err(Invalid("Empty or invalid json".to_owned()));
    }
    let (name, columns) = (table.sql(), keys(Some(body)));
    if columns.is_empty() {
        return Ok(format!("{AS_JSON} (select 1 where false) as answer"));
    }
    let record = format!("json_populate_record(null::{name}, {}::json)", literal(&body.to_string()));
    let sets: Vec<String> =
        columns.iter().map(|column| format!("{0} = (select {0} from {record})", quoted(column))).collect();
    Ok(changed(&format!("update {name} set {}{}", sets.join(", "), query.condition()), query))
}

/// A DELETE of the rows that match.
pub(super) fn delete(table: &Table, query: &Query) -> String {
    changed(&format!("delete from {}{}", table.sql(), query.condition()), query)
}

/// A statement that changes rows, with the changed rows as its result.
fn changed(statement: &str, query: &Query) -> String {
    let select = query.select.as_deref().unwrap_or("*");
    format!("with written as ({statement} returning *) {AS_JSON} (select {select} from written) as answer")
}

fn keys(row: Option<&Value>) -> Vec<String> {
    row.and_then(Value::as_object).map(|row| row.keys().cloned().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> Table {
        Table { schema: "public".to_owned(), name: "notes".to_owned() }
    }

    fn query(pairs: &[(&'static str, &'static str)]) -> Query {
        Query::parse(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn a_select_has_its_rows_and_the_number_of_all_that_match() {
        let sql = select(&table(), &query(&[("id", "eq.a"), ("limit", "2"), ("select", "id")]), true);
        assert_eq!(
            sql,
            "select coalesce(json_agg(row_to_json(answer)), '[]')::text, count(*), (select count(*) from \
             \"public\".\"notes\" where \"id\" = 'a') from (select \"id\" from \"public\".\"notes\" where \"id\" = 'a' \
             limit 2) as answer"
        );
    }

    #[test]
    fn an_upsert_updates_the_columns_that_it_has() {
        let body = json!([{ "id": "a", "text": "it's" }]);
        let sql = insert(&table(), &query(&[("on_conflict", "id")]), &body, Some(Resolution::Merge)).unwrap();
        assert!(sql.contains("on conflict (\"id\") do update set \"id\" = excluded.\"id\", \"text\""), "{sql}");
        assert!(sql.contains("it''s"), "{sql}");
        let sql = insert(&table(), &query(&[]), &body, Some(Resolution::Ignore)).unwrap();
        assert!(sql.contains(" on conflict do nothing"), "{sql}");
    }

    #[test]
    fn a_change_applies_to_the_rows_that_match() {
        let sql = update(&table(), &query(&[("id", "eq.a")]), &json!({ "text": "b" })).unwrap();
        assert!(sql.contains("set \"text\" = (select \"text\" from json_populate_record"), "{sql}");
        assert!(sql.contains(" where \"id\" = 'a' returning *"), "{sql}");
        assert!(delete(&table(), &query(&[("id", "eq.a")])).contains("delete from \"public\".\"notes\" where"));
        assert!(update(&table(), &query(&[]), &json!([1])).is_err());
        assert!(insert(&table(), &query(&[]), &json!("text"), None).is_err());
    }
}
