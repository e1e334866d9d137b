//! Limits on nesting, the same for REST and gRPC. What is nested is read, evaluated and freed by recursion, so without a
//! limit one request would overflow the stack and end the process.
//!
//! The decoders have limits of their own (serde: 128 levels of JSON; prost: 100 messages within each other). These are
//! lower, and count what the client means: filters within filters, not brackets. Filters are counted while they are read.

use qdrant_edge::{Expression, JsonPath, Payload, PayloadOps, PointInsertOperations, PointOperations, UpdateOperation};
use serde_json::{Map, Value};

use super::error::Error;
use super::query::{Kind, Query};

/// Most levels of filters within filters, of prefetches within prefetches, and of expressions within expressions.
pub(super) const QUERY_DEPTH: usize = 32;
/// Most levels of objects and arrays in a payload, the payload itself included. A record of the journal adds a few, and
/// serde reads at most 128: what this limit admits can be read back.
pub(super) const PAYLOAD_DEPTH: usize = 64;
/// Bytes of the stack of every thread that handles requests or changes. The deepest queries take between 1 and 2 MiB in
/// an unoptimised build, and prefetches are counted only after twice as many levels were read. Threads have 2 MiB by
/// default.
pub(super) const STACK: usize = 16 * 1024 * 1024;

/// The text for the client whose `what` has more than `limit` levels.
pub(super) fn too_deep(what: &str, limit: usize) -> String {
    format!("the {what} is nested too deeply: at most {limit} levels are allowed")
}

fn check(deeper: bool, what: &str, limit: usize) -> Result<(), Error> {
    if deeper { Err(Error::BadInput(too_deep(what, limit))) } else { Ok(()) }
}

/// Checks the prefetches and formulas of a query.
///
/// # Errors
/// They have more than [`QUERY_DEPTH`] levels.
pub(super) fn check_query(query: &Query) -> Result<(), Error> {
    check_prefetches(query, QUERY_DEPTH)
}

/// Checks the payloads of a change.
///
/// # Errors
/// One has more than [`PAYLOAD_DEPTH`] levels.
pub(super) fn check_change(operation: &UpdateOperation) -> Result<(), Error> {
    match operation {
        UpdateOperation::PointOperation(PointOperations::UpsertPoints(points)) => check_points(points),
        UpdateOperation::PointOperation(PointOperations::UpsertPointsConditional(conditional)) => {
            check_points(&conditional.points_op)
        }
        UpdateOperation::PayloadOperation(PayloadOps::SetPayload(set) | PayloadOps::OverwritePayload(set)) => {
            check_payload(&set.payload, set.key.as_ref())
        }
        _ => Ok(()),
    }
}

/// Checks the settings of a collection that are JSON of any form.
///
/// # Errors
/// The object called `what` has more than [`PAYLOAD_DEPTH`] levels.
pub(super) fn check_object(what: &str, object: &Map<String, Value>) -> Result<(), Error> {
    check(is_object_deeper(object, PAYLOAD_DEPTH), what, PAYLOAD_DEPTH)
}

/// Whether a payload has more than [`PAYLOAD_DEPTH`] levels.
pub(super) fn is_payload_too_deep(payload: &Payload) -> bool {
    is_object_deeper(&payload.0, PAYLOAD_DEPTH)
}

fn check_points(points: &PointInsertOperations) -> Result<(), Error> {
    match points {
        PointInsertOperations::PointsList(points) => points
            .iter()
            .filter_map(|point| point.payload.as_ref())
            .try_for_each(|payload| check_payload(payload, None)),
        // Both protocols make lists of batches.
        PointInsertOperations::PointsBatch(_) => Ok(()),
    }
}

/// `key` is where the payload is put: each part of the path becomes a level.
fn check_payload(payload: &Payload, key: Option<&JsonPath>) -> Result<(), Error> {
    let above = key.map_or(0, |key| 1 + key.rest.len());
    let deeper = PAYLOAD_DEPTH.checked_sub(above).is_none_or(|limit| is_object_deeper(&payload.0, limit));
    check(deeper, "payload", PAYLOAD_DEPTH)
}

fn check_prefetches(query: &Query, limit: usize) -> Result<(), Error> {
    if let Some(Kind::Formula(formula)) = &query.kind {
        check_expression(&formula.formula, QUERY_DEPTH)?;
        formula.defaults.values().try_for_each(|value| {
            check(is_value_deeper(value, PAYLOAD_DEPTH), "default value of the formula", PAYLOAD_DEPTH)
        })?;
    }
    match limit.checked_sub(1) {
        Some(limit) => query.prefetch.iter().try_for_each(|inner| check_prefetches(inner, limit)),
        None => check(!query.prefetch.is_empty(), "prefetch", QUERY_DEPTH),
    }
}

fn check_expression(expression: &Expression, limit: usize) -> Result<(), Error> {
    let Some(limit) = limit.checked_sub(1) else { return check(true, "formula", QUERY_DEPTH) };
    let inner = |expression: &Expression| check_expression(expression, limit);
    match expression {
        Expression::Mult(all) | Expression::Sum(all) => all.iter().try_for_each(inner),
        Expression::Neg(one)
        | Expression::Sqrt(one)
        | Expression::Exp(one)
        | Expression::Log10(one)
        | Expression::Ln(one)
        | Expression::Abs(one) => inner(one),
        Expression::Div { left: one, right: other, .. } | Expression::Pow { base: one, exponent: other } => {
            inner(one).and_then(|()| inner(other))
        }
        Expression::Decay { x, target, .. } => inner(x).and_then(|()| target.as_deref().map_or(Ok(()), inner)),
        Expression::Constant(_)
        | Expression::Variable(_)
        | Expression::Condition(_)
        | Expression::GeoDistance { .. }
        | Expression::Datetime(_)
        | Expression::DatetimeKey(_) => Ok(()),
    }
}

fn is_object_deeper(object: &Map<String, Value>, limit: usize) -> bool {
    limit.checked_sub(1).is_none_or(|limit| object.values().any(|value| is_value_deeper(value, limit)))
}

fn is_value_deeper(value: &Value, limit: usize) -> bool {
    match value {
        Value::Object(object) => is_object_deeper(object, limit),
        Value::Array(items) => {
            limit.checked_sub(1).is_none_or(|limit| items.iter().any(|item| is_value_deeper(item, limit)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nested(levels: usize, innermost: Value, outer: impl Fn(Value) -> Value) -> Value {
        (1..levels).fold(innermost, |inner, _| outer(inner))
    }

    #[test]
    fn a_payload_may_have_64_levels_with_the_path_where_it_is_put() {
        let payload = |levels| {
            let value = nested(levels, json!({ "a": 1 }), |inner| json!({ "a": inner }));
            serde_json::from_value::<Payload>(value).expect("a payload")
        };
        let lists = nested(PAYLOAD_DEPTH, json!([]), |inner| json!([inner]));
        assert!(!is_value_deeper(&lists, PAYLOAD_DEPTH) && is_value_deeper(&lists, PAYLOAD_DEPTH - 1));
        assert_eq!(check_payload(&payload(PAYLOAD_DEPTH), None), Ok(()));
        assert!(check_payload(&payload(PAYLOAD_DEPTH + 1), None).is_err());
        let path = |parts: usize| vec!["a"; parts].join(".").parse::<JsonPath>().expect("a path");
        assert_eq!(check_payload(&payload(PAYLOAD_DEPTH - 3), Some(&path(3))), Ok(()));
        assert!(check_payload(&payload(PAYLOAD_DEPTH - 3), Some(&path(4))).is_err());
        assert!(check_payload(&payload(1), Some(&path(100_000))).is_err());
    }

    #[test]
    fn prefetches_and_expressions_may_have_32_levels() {
        let query = |levels: usize| {
            (0..levels).fold(Query::default(), |inner, _| Query { prefetch: vec![inner], ..Query::default() })
        };
        assert_eq!(check_query(&query(QUERY_DEPTH)), Ok(()));
        assert!(check_query(&query(QUERY_DEPTH + 1)).is_err());
        let expression =
            |levels: usize| (1..levels).fold(Expression::Constant(1.0), |inner, _| Expression::Neg(Box::new(inner)));
        assert_eq!(check_expression(&expression(QUERY_DEPTH), QUERY_DEPTH), Ok(()));
        assert!(check_expression(&expression(QUERY_DEPTH + 1), QUERY_DEPTH).is_err());
    }
}
