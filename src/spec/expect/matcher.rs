//! What a case expects of the value that a probe observed.

use std::fmt;
use std::ops::Deref;

use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// One condition on the value that a probe observed: an entry of `expect`, such as `at_least = 3`. A variant without
/// data is written `key = true`.
///
/// The order of the variants is the order in which reports name them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Matcher {
    /// The service answers: an error, a refusal or a timeout does not match.
    Answers,
    /// The service refuses, because credentials are missing or wrong or the user lacks a permission. An answer does not
    /// match.
    Refused,
    /// Beside the other matchers: a denied permission (such as 403) is accepted too. Unknown credentials are not.
    OrDenied,
    /// The value is equal to this one; a number equals its text, as Redis answers in text.
    Equals(Value),
    /// The value is not equal to this one.
    NotEquals(Value),
    /// The value is one of these.
    OneOf(Vec<Value>),
    /// The value's text matches this regular expression.
    Matches(Pattern),
    /// The value's text does not match this regular expression.
    NotMatches(Pattern),
    /// The value's text contains this text, or the list contains this item.
    Contains(String),
    /// The value is a number, and not smaller than this one.
    AtLeast(f64),
    /// The value is a number, and not greater than this one.
    AtMost(f64),
    /// The value is a version, and not older than this one.
    VersionAtLeast(String),
    /// Whether the value is empty: null, an empty text, an empty list or an empty table.
    Empty(bool),
    /// Whether there is a value at all: anything but null.
    Exists(bool),
}

/// A regular expression that is checked when the suite is read.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Pattern(Box<Regex>);

impl Deref for Pattern {
    type Target = Regex;

    fn deref(&self) -> &Regex {
        &self.0
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Regex::new(&text)
            .map(|regex| Self(Box::new(regex)))
            .map_err(|error| format!("invalid regular expression `{text}`: {error}"))
    }
}

impl Matcher {
    /// Whether `value` matches.
    #[must_use]
    pub fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Answers | Self::OrDenied => true,
            Self::Refused => false,
            Self::Equals(wanted) => are_equal(value, wanted),
            Self::NotEquals(unwanted) => !are_equal(value, unwanted),
            Self::OneOf(wanted) => wanted.iter().any(|wanted| are_equal(value, wanted)),
            Self::Matches(regex) => regex.is_match(&text_of(value)),
            Self::NotMatches(regex) => !regex.is_match(&text_of(value)),
            Self::Contains(part) => match value {
                Value::Array(items) => items.iter().any(|item| text_of(item) == *part),
                other => text_of(other).contains(part.as_str()),
            },
            Self::AtLeast(least) => number_of(value).is_some_and(|number| number >= *least),
            Self::AtMost(most) => number_of(value).is_some_and(|number| number <= *most),
            Self::VersionAtLeast(least) => version_at_least(&text_of(value), least),
            Self::Empty(wanted) => is_empty(value) == *wanted,
            Self::Exists(wanted) => value.is_null() != *wanted,
        }
    }
}

/// What `shakedown explain` shows after `wants`, and verdicts after `wanted`.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answers => f.write_str("an answer"),
            Self::Refused => f.write_str("a refusal"),
            Self::OrDenied => f.write_str("or a denied permission"),
            Self::Equals(value) => f.write_str(&text_of(value)),
            Self::NotEquals(value) => write!(f, "anything but {}", text_of(value)),
            Self::OneOf(values) => {
                write!(f, "one of {}", values.iter().map(text_of).collect::<Vec<_>>().join(", "))
            }
            Self::Matches(regex) => write!(f, "a match of /{}/", regex.as_str()),
            Self::NotMatches(regex) => write!(f, "no match of /{}/", regex.as_str()),
            Self::Contains(part) => write!(f, "text or a list that contains {part:?}"),
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::AtMost(most) => write!(f, "at most {most}"),
            Self::VersionAtLeast(least) => write!(f, "version {least} or newer"),
            Self::Empty(true) => f.write_str("nothing"),
            Self::Empty(false) => f.write_str("something"),
            Self::Exists(true) => f.write_str("a value"),
            Self::Exists(false) => f.write_str("no value"),
        }
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn are_equal(seen: &Value, wanted: &Value) -> bool {
    if seen == wanted {
        return true;
    }
    match (seen, wanted) {
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => false,
        _ => match (number_of(seen), number_of(wanted)) {
            (Some(seen), Some(wanted)) => (seen - wanted).abs() < f64::EPSILON,
            _ => text_of(seen) == text_of(wanted),
        },
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(table) => table.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Compares dotted versions number by number, up to the first part that is not a number.
fn version_at_least(seen: &str, least: &str) -> bool {
    let numbers = |text: &str| -> Vec<u64> {
        text.trim_start_matches(|c: char| !c.is_ascii_digit())
            .split(|c: char| !c.is_ascii_digit())
            .map_while(|part| part.parse().ok())
            .collect()
    };
    let (seen, least) = (numbers(seen), numbers(least));
    !seen.is_empty() && seen >= least
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(Matcher::Equals(json!(1)), json!("1"), true)]
    #[case(Matcher::Equals(json!("noeviction")), json!("allkeys-lru"), false)]
    #[case(Matcher::Equals(json!(true)), json!(true), true)]
    #[case(Matcher::Equals(json!([])), json!("[]"), false)]
    #[case(Matcher::OneOf(vec![json!("a"), json!("b")]), json!("b"), true)]
    #[case(Matcher::Contains("x".into()), json!(["x", "y"]), true)]
    #[case(Matcher::Contains("x".into()), json!("xyz"), true)]
    #[case(Matcher::AtLeast(1.0), json!("0"), false)]
    #[case(Matcher::AtMost(2.0), json!("many"), false)]
    #[case(Matcher::VersionAtLeast("6.2.0".into()), json!("7.0.15"), true)]
    #[case(Matcher::VersionAtLeast("6.2.0".into()), json!("6.0.16"), false)]
    #[case(Matcher::VersionAtLeast("1.10".into()), json!("v1.9.9"), false)]
    #[case(Matcher::VersionAtLeast("1.10".into()), json!("unknown"), false)]
    #[case(Matcher::Empty(true), json!(0), false)]
    #[case(Matcher::Empty(true), json!([]), true)]
    #[case(Matcher::Exists(true), json!([]), true)]
    #[case(Matcher::Exists(true), json!(null), false)]
    #[case(Matcher::Exists(false), json!(null), true)]
    #[case(Matcher::Exists(false), json!(0), false)]
    fn a_value_matches_or_not(#[case] matcher: Matcher, #[case] value: Value, #[case] holds: bool) {
        assert_eq!(matcher.holds(&value), holds, "{matcher} over {value}");
    }
}
