//! Filters in requests of both protocols.
//!
//! The engine's own reader copies everything inside a condition twice, for each level of conditions around it: one
//! megabyte within 60 levels takes a gigabyte. So conditions with others inside are read here, and only the innermost
//! ones there. The limit on levels is checked on the way.

use qdrant_edge::{Condition, Filter, MinShould, Nested, NestedCondition};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::depth::{QUERY_DEPTH, too_deep};

/// Keys of a filter.
const FILTER: [&str; 4] = ["should", "min_should", "must", "must_not"];
/// Keys of the conditions without others inside. One of them decides, whatever else the condition has.
const INNERMOST: [&str; 5] = ["key", "is_empty", "is_null", "has_id", "has_vector"];

/// Reads a field that holds a filter or nothing, for serde.
///
/// # Errors
/// As [`read_filter`].
pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Filter>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        value => read_filter(value).map(Some).map_err(D::Error::custom),
    }
}

/// Reads a filter from the JSON of the REST API.
///
/// # Errors
/// It is malformed, or has more than [`QUERY_DEPTH`] levels of filters.
pub(crate) fn read_filter(value: Value) -> Result<Filter, String> {
    filter(value, QUERY_DEPTH)
}

/// Reads a condition from the JSON of the REST API.
///
/// # Errors
/// As [`read_filter`].
pub(crate) fn read_condition(value: Value) -> Result<Condition, String> {
    condition(value, QUERY_DEPTH)
}

fn filter(value: Value, limit: usize) -> Result<Filter, String> {
    let limit = limit.checked_sub(1).ok_or_else(|| too_deep("filter", QUERY_DEPTH))?;
    let Value::Object(object) = value else { return Err("invalid filter: expected an object".to_owned()) };
    let mut filter = Filter::default();
    for (name, value) in object {
        match name.as_str() {
            "should" => filter.should = conditions(value, limit)?,
            "must" => filter.must = conditions(value, limit)?,
            "must_not" => filter.must_not = conditions(value, limit)?,
            "min_should" => filter.min_should = min_should(value, limit)?,
            _ => {
                let known = FILTER.join("`, `");
                return Err(format!("unknown field `{name}`, expected one of `{known}`"));
            }
        }
    }
    Ok(filter)
}

fn conditions(value: Value, limit: usize) -> Result<Option<Vec<Condition>>, String> {
    let conditions = match value {
        Value::Null => return Ok(None),
        Value::Array(items) => items,
        one => vec![one],
    };
    conditions.into_iter().map(|value| condition(value, limit)).collect::<Result<_, _>>().map(Some)
}

fn min_should(value: Value, limit: usize) -> Result<Option<MinShould>, String> {
    let Value::Object(mut object) = value else {
        return if value.is_null() { Ok(None) } else { Err("invalid `min_should`: expected an object".to_owned()) };
    };
    let Value::Array(conditions) = take(&mut object, "conditions")? else {
        return Err("invalid `conditions`: expected an array".to_owned());
    };
    let conditions = conditions.into_iter().map(|value| condition(value, limit)).collect::<Result<_, _>>()?;
    Ok(Some(MinShould { conditions, min_count: read(take(&mut object, "min_count")?)? }))
}

fn condition(value: Value, limit: usize) -> Result<Condition, String> {
    let has = |object: &Map<String, Value>, keys: &[&str]| keys.iter().any(|key| object.contains_key(*key));
    match value {
        Value::Object(mut object) if !has(&object, &INNERMOST) && object.contains_key("nested") => {
            let Value::Object(mut nested) = take(&mut object, "nested")? else {
                return Err("invalid `nested`: expected an object".to_owned());
            };
            let key = read(take(&mut nested, "key")?)?;
            let filter = filter(take(&mut nested, "filter")?, limit)?;
            Ok(Condition::Nested(NestedCondition::new(Nested { key, filter })))
        }
        Value::Object(object) if !has(&object, &INNERMOST) && has(&object, &FILTER) => {
            filter(Value::Object(object), limit).map(Condition::Filter)
        }
        innermost => read(innermost),
    }
}

fn take(object: &mut Map<String, Value>, name: &str) -> Result<Value, String> {
    object.remove(name).ok_or_else(|| format!("missing field `{name}`"))
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nested(levels: usize, outer: fn(Value) -> Value) -> Value {
        (1..levels).fold(json!({ "must": [{ "key": "a", "match": { "value": 1 } }] }), |inner, _| outer(inner))
    }

    #[test]
    fn a_filter_means_what_the_engine_reads() {
        let leaf = json!({ "key": "a", "match": { "value": 1 }, "must": "ignored" });
        for filter in [
            json!({}),
            json!({ "must": [], "should": null, "must_not": leaf }),
            json!({ "must": [{}, leaf, { "should": { "is_null": { "key": "a" } } }] }),
            json!({ "should": [{ "has_id": [1, 2] }, { "has_vector": "v" }, { "is_empty": { "key": "a.b[]" } }] }),
            json!({ "min_should": { "conditions": [leaf, { "must": [leaf] }], "min_count": 1 }, "must": [leaf] }),
            json!({ "min_should": null, "must": { "nested": { "key": "b", "filter": { "must_not": [leaf] } } } }),
            json!({ "must": { "nested": { "key": "b", "filter": { "should": [{ "min_should": { "conditions": [], "min_count": 2 } }] } } } }),
        ] {
            let expected = serde_json::from_value::<Filter>(filter.clone()).expect("a filter");
            assert_eq!(read_filter(filter.clone()), Ok(expected), "{filter}");
        }
    }

    #[test]
    fn what_the_engine_refuses_is_refused() {
        let leaf = json!({ "key": "a", "match": { "value": 1 } });
        for filter in [
            json!("x"),
            json!({ "any": [] }),
            json!({ "must": 1 }),
            json!({ "must": [{ "unknown": 1 }] }),
            json!({ "must": [{ "must": [leaf], "nested": { "key": "a" } }] }),
            json!({ "must": [{ "nested": { "filter": {} } }] }),
            json!({ "must": [{ "must": [leaf], "unknown": 1 }] }),
            json!({ "min_should": { "conditions": [leaf] } }),
            json!({ "min_should": { "conditions": [leaf], "min_count": -1 } }),
        ] {
            assert!(read_filter(filter.clone()).is_err(), "{filter}");
            assert!(serde_json::from_value::<Filter>(filter.clone()).is_err(), "{filter}");
        }
    }

    #[test]
    fn a_filter_may_have_32_levels_whatever_nests_them() {
        let forms: [fn(Value) -> Value; 5] = [
            |inner| json!({ "must": [inner] }),
            |inner| json!({ "should": [{ "key": "a", "match": { "value": 1 } }, inner] }),
            |inner| json!({ "must_not": inner }),
            |inner| json!({ "min_should": { "conditions": [inner], "min_count": 1 } }),
            |inner| json!({ "must": [{ "nested": { "key": "a", "filter": inner } }] }),
        ];
        for outer in forms {
            assert!(read_filter(nested(QUERY_DEPTH, outer)).is_ok());
            let error = read_filter(nested(QUERY_DEPTH + 1, outer)).expect_err("too deep");
            assert_eq!(error, "the filter is nested too deeply: at most 32 levels are allowed");
        }
        assert!(read_condition(nested(QUERY_DEPTH, forms[0])).is_ok());
        assert!(read_condition(nested(QUERY_DEPTH + 1, forms[0])).is_err());
    }
}
