//! Filters in the query of a request: `status=eq.ready`, `id=in.(a,b)`, `or=(a.is.null,b.gt.3)`.

use super::invalid::Invalid;
use super::sql::{column, literal};

/// Operators that compare with one value: the name in a request, and the one in SQL.
const OPERATORS: &[(&str, &str)] = &[
    ("eq", "="),
    ("neq", "<>"),
    ("gt", ">"),
    ("gte", ">="),
    ("lt", "<"),
    ("lte", "<="),
    ("match", "~"),
    ("imatch", "~*"),
    ("isdistinct", "is distinct from"),
    ("cs", "@>"),
    ("cd", "<@"),
    ("ov", "&&"),
];

/// The condition in SQL for one parameter of the query.
pub(super) fn condition(key: &str, value: &str) -> Result<String, Invalid> {
    match key {
        "or" | "and" => group(key, value),
        "not.or" | "not.and" => Ok(format!("not {}", group(&key[4..], value)?)),
        _ => comparison(key, value),
    }
}

/// `(a.eq.1,b.is.null)`, whose members are joined by `or` or `and`.
fn group(joined_by: &str, value: &str) -> Result<String, Invalid> {
    let inner = value.strip_prefix('(').and_then(|value| value.strip_suffix(')')).ok_or_else(|| invalid(value))?;
    let members = members(inner).into_iter().map(member).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("({})", members.join(&format!(" {joined_by} "))))
}

/// A member of a group: another group, or `column.operator.value`.
fn member(text: &str) -> Result<String, Invalid> {
    for name in ["or", "and", "not.or", "not.and"] {
        if let Some(value) = text.strip_prefix(name).filter(|value| value.starts_with('(')) {
            return condition(name, value);
        }
    }
    let (name, rest) = text.split_once('.').ok_or_else(|| invalid(text))?;
    comparison(name, rest)
}

/// Splits at commas outside of parentheses and quotes.
fn members(text: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut escaped, mut start) = (0_u32, false, false, 0);
    let mut members = Vec::new();
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '{' if !quoted => depth += 1,
            ')' | '}' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                members.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members.push(&text[start..]);
    members
}

/// `name` compared by `operator.value`, or by `not.operator.value`.
fn comparison(name: &str, rest: &str) -> Result<String, Invalid> {
    let column = column(name);
    let (negated, rest) = rest.strip_prefix("not.").map_or((false, rest), |rest| (true, rest));
    let (operator, value) = rest.split_once('.').ok_or_else(|| invalid(rest))?;
    let sql = match operator {
        "is" => match value.to_ascii_lowercase().as_str() {
            word @ ("null" | "true" | "false" | "unknown" | "not_null") => {
                format!("{column} is {}", word.replace('_', " "))
            }
            _ => return Err(invalid(rest)),
        },
        "in" => {
            let inner = value.strip_prefix('(').and_then(|value| value.strip_suffix(')'));
            let inner = inner.ok_or_else(|| invalid(rest))?;
            if inner.is_empty() {
                "false".to_owned()
            } else {
                let values: Vec<String> = members(inner).into_iter().map(|value| literal(&unquoted(value))).collect();
                format!("{column} in ({})", values.join(", "))
            }
        }
        "like" | "ilike" => format!("{column}::text {operator} {}", literal(&value.replace('*', "%"))),
        _ => {
            let known = OPERATORS.iter().find(|(word, _)| *word == operator).ok_or_else(|| invalid(rest))?;
            format!("{column} {} {}", known.1, literal(&unquoted(value)))
        }
    };
    Ok(if negated { format!("not ({sql})") } else { sql })
}

/// A value without the quotes that protect commas in it.
fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        text.push(if letter == '\\' { letters.next().unwrap_or(letter) } else { letter });
    }
    text
}

fn invalid(text: &str) -> Invalid {
    Invalid(format!("failed to parse filter ({text})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("id", "eq.a'b", r#""id" = 'a''b'"#)]
    #[case("id", r"eq.a\b", r#""id" = E'a\\b'"#)]
    #[case("a", "not.gt.3", r#"not ("a" > '3')"#)]
    #[case("a", "is.null", r#""a" is null"#)]
    #[case("a", "not.is.null", r#"not ("a" is null)"#)]
    #[case("a", r#"in.(x,"y,z","q\"r")"#, r#""a" in ('x', 'y,z', 'q"r')"#)]
    #[case("a", "in.()", "false")]
    #[case("a", "like.*x*", r#""a"::text like '%x%'"#)]
    #[case("meta->>kind", "eq.x", r#""meta"->>'kind' = 'x'"#)]
    #[case("or", "(a.eq.1,and(b.is.null,c.neq.2))", r#"("a" = '1' or ("b" is null and "c" <> '2'))"#)]
    #[case("tags", "cs.{a,b}", r#""tags" @> '{a,b}'"#)]
    #[case(r#"a"; drop table x; --"#, "eq.1", r#""a""; drop table x; --" = '1'"#)]
    fn a_filter_is_a_condition_in_which_values_are_literals(#[case] key: &str, #[case] value: &str, #[case] sql: &str) {
        assert_eq!(condition(key, value).unwrap(), sql);
    }

    #[rstest::rstest]
    #[case("a", "ready")]
    #[case("a", "almost.3")]
    #[case("a", "is.3")]
    #[case("a", "in.1,2")]
    #[case("or", "a.eq.1")]
    #[case("or", "(a)")]
    fn what_is_no_filter_is_refused(#[case] key: &str, #[case] value: &str) {
        assert!(condition(key, value).is_err());
    }
}
