//! The query of a request: what to select, which rows, in which order, how many.

use super::filter;
use super::invalid::Invalid;
use super::sql::{column, quoted};

/// The parts of the query, as SQL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// The list after `select` or `returning`; `*` without one.
    pub(super) select: Option<String>,
    /// The conditions of rows.
    pub(super) conditions: Vec<String>,
    /// The list after `order by`.
    pub(super) order: Option<String>,
    pub(super) limit: Option<u64>,
    pub(super) offset: Option<u64>,
    /// The columns that decide whether a row exists already.
    pub(super) on_conflict: Vec<String>,
    /// The columns of a body with several rows.
    pub(super) columns: Option<Vec<String>>,
}

impl Query {
    /// Reads the decoded pairs of a query.
    pub(super) fn parse<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, Invalid> {
        let mut query = Self::default();
        let names = |value: &str| -> Vec<String> {
            value
                .split(',')
                .map(|name| name.trim().trim_matches('"').to_owned())
                .filter(|name| !name.is_empty())
                .collect()
        };
        let number = |value: &str| value.parse().map_err(|_| Invalid(format!("`{value}` is not a number")));
        for (key, value) in pairs {
            match key {
                "select" => query.select = Some(selection(value)?),
                "order" => query.order = Some(order(value)?),
                "limit" => query.limit = Some(number(value)?),
                "offset" => query.offset = Some(number(value)?),
                "on_conflict" => query.on_conflict = names(value),
                "columns" => query.columns = Some(names(value)),
                _ => query.conditions.push(filter::condition(key, value)?),
            }
        }
        Ok(query)
    }

    /// ` where …`, or nothing.
    pub(super) fn condition(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!(" where {}", self.conditions.join(" and ")) }
    }
}

/// `*`, `id,name`, `alias:column`, `column::type`, `data->>key`.
fn selection(text: &str) -> Result<String, Invalid> {
    if text.contains('(') {
        return Err(Invalid(format!(
            "`select={text}` embeds another table or calls a function: Shakedown's stand-in for PostgREST does neither"
        )));
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(item);
    let items: Vec<String> = items.collect();
    Ok(if items.is_empty() { "*".to_owned() } else { items.join(", ") })
}

fn item(text: &str) -> String {
    if text == "*" {
        return "*".to_owned();
    }
    let (text, cast) = text.split_once("::").map_or((text, None), |(text, cast)| (text, Some(cast)));
    let (alias, name) = text.split_once(':').map_or((None, text), |(alias, name)| (Some(alias), name));
    let mut sql = column(name);
    if let Some(cast) = cast {
        sql = format!("({sql})::{}", quoted(cast));
    }
    // A path into JSON is called by its last key.
    let called =
        alias.map(str::to_owned).or_else(|| name.rsplit_once('>').map(|(_, key)| key.trim_matches('\'').to_owned()));
    called.map_or(sql.clone(), |name| format!("{sql} as {}", quoted(&name)))
}

/// `a.desc.nullslast,b`.
fn order(text: &str) -> Result<String, Invalid> {
    let term = |term: &str| {
        let mut parts = term.split('.');
        let mut sql = column(parts.next().unwrap_or_default());
        for word in parts {
            sql.push_str(match word {
                "asc" => " asc",
                "desc" => " desc",
                "nullsfirst" => " nulls first",
                "nullslast" => " nulls last",
                _ => return Err(Invalid(format!("failed to parse order ({text})"))),
            });
        }
        Ok(sql)
    };
    Ok(text.split(',').map(term).collect::<Result<Vec<_>, _>>()?.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_query_become_sql() {
        let pairs = [
            ("select", "id,name:title,meta->>kind,size::text"),
            ("order", "a.desc.nullslast,b"),
            ("limit", "3"),
            ("on_conflict", "id, \"version\""),
            ("status", "eq.ready"),
            ("size", "gt.2"),
        ];
        let query = Query::parse(pairs.into_iter()).unwrap();
        assert_eq!(
            query.select.as_deref(),
            Some(r#""id", "title" as "name", "meta"->>'kind' as "kind", ("size")::"text""#)
        );
        assert_eq!(query.order.as_deref(), Some(r#""a" desc nulls last, "b""#));
        assert_eq!(
            (query.limit, query.on_conflict.as_slice()),
            (Some(3), &["id".to_owned(), "version".to_owned()][..])
        );
        assert_eq!(query.condition(), r#" where "status" = 'ready' and "size" > '2'"#);
    }

    #[test]
    fn what_the_stand_in_does_not_do_is_refused() {
        for (key, value) in [("select", "id,author(name)"), ("order", "a.sideways"), ("limit", "many")] {
            assert!(Query::parse(std::iter::once((key, value))).is_err(), "{key}={value}");
        }
    }
}
