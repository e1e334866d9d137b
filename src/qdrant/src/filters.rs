//! Filters with the meaning of Qdrant 1.19, for a slightly older engine.
//!
//! | filter | the engine by itself | Qdrant 1.19 |
//! |---|---|---|
//! | `values_count` on a field that a point lacks | never matches | the field counts as 0 values |
//! | `min_should` without conditions and `min_count` above 0 | matches every point | matches none |
//! | an indexed condition under `must`, `should` or `min_should` and again under `must_not` | the latter is overlooked | matches none |
//!
//! Sources: Qdrant pull requests 9606 and 9401; the last is a defect of the engine that a property test found.

use qdrant_edge::{Condition, FieldCondition, Filter, HasIdCondition, MinShould, NestedCondition, Prefetch};
use qdrant_edge::{Nested, PayloadOps, PointOperations, QueryRequest, UpdateOperation, ValuesCount, VectorOperations};

/// Rewrites `filter` so that the engine evaluates it as Qdrant 1.19 does.
pub(super) fn translate(filter: Filter) -> Filter {
    let some = filter.min_should.as_ref().map(|min| &min.conditions);
    let wanted = [filter.must.as_ref(), filter.should.as_ref(), some];
    let wanted: Vec<Condition> = wanted.into_iter().flatten().flatten().cloned().collect();
    let set_apart = |condition| {
        // As a filter of its own it is not mistaken for the condition that an index has already answered.
        let twice = wanted.contains(&condition);
        if twice { Condition::Filter(Filter::new_must(condition)) } else { condition }
    };
    Filter {
        should: filter.should.map(all),
        must: filter.must.map(all),
        must_not: filter.must_not.map(|conditions| all(conditions.into_iter().map(set_apart).collect())),
        min_should: filter.min_should.map(|min| match min {
            MinShould { conditions, min_count } if conditions.is_empty() && min_count > 0 => {
                MinShould { conditions: vec![nothing()], min_count: 1 }
            }
            MinShould { conditions, min_count } => MinShould { conditions: all(conditions), min_count },
        }),
    }
}

fn all(conditions: Vec<Condition>) -> Vec<Condition> {
    conditions.into_iter().map(condition).collect()
}

fn condition(condition: Condition) -> Condition {
    match condition {
        Condition::Field(field) if admits_none(&field) => {
            // A field that is missing, null or an empty list has no values, whatever its other conditions.
            let empty = Condition::IsEmpty(field.key.clone().into());
            Condition::Filter(Filter { should: Some(vec![Condition::Field(field), empty]), ..Filter::default() })
        }
        Condition::Filter(filter) => Condition::Filter(translate(filter)),
        Condition::Nested(NestedCondition { nested: Nested { key, filter } }) => {
            Condition::Nested(NestedCondition { nested: Nested { key, filter: translate(filter) } })
        }
        other => other,
    }
}

fn nothing() -> Condition {
    Condition::HasId(std::iter::empty().collect::<HasIdCondition>())
}

/// Whether 0 values satisfy the condition.
fn admits_none(field: &FieldCondition) -> bool {
    let Some(ValuesCount { lt, gt, gte, lte: _ }) = field.values_count else { return false };
    lt != Some(0) && gt.is_none() && gte.unwrap_or(0) == 0 && field.is_empty.is_none() && field.is_null.is_none()
}

fn translate_option(filter: &mut Option<Filter>) {
    *filter = filter.take().map(translate);
}

/// Rewrites every filter of a query.
pub(super) fn translate_query(request: &mut QueryRequest) {
    translate_option(&mut request.filter);
    request.prefetches.iter_mut().for_each(translate_prefetch);
}

fn translate_prefetch(prefetch: &mut Prefetch) {
    translate_option(&mut prefetch.filter);
    prefetch.prefetches.iter_mut().for_each(translate_prefetch);
}

/// Rewrites every filter of a change.
pub(super) fn translate_change(operation: &mut UpdateOperation) {
    let replace = |filter: &mut Filter| *filter = translate(std::mem::take(filter));
    match operation {
        UpdateOperation::PointOperation(PointOperations::DeletePointsByFilter(filter))
        | UpdateOperation::PayloadOperation(PayloadOps::ClearPayloadByFilter(filter))
        | UpdateOperation::VectorOperation(VectorOperations::DeleteVectorsByFilter(filter, _)) => replace(filter),
        UpdateOperation::PointOperation(PointOperations::UpsertPointsConditional(upsert)) => {
            replace(&mut upsert.condition);
        }
        UpdateOperation::PayloadOperation(PayloadOps::SetPayload(set) | PayloadOps::OverwritePayload(set)) => {
            translate_option(&mut set.filter);
        }
        UpdateOperation::PayloadOperation(PayloadOps::DeletePayload(delete)) => translate_option(&mut delete.filter),
        UpdateOperation::VectorOperation(VectorOperations::UpdateVectors(update)) => {
            translate_option(&mut update.update_filter);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn translated(filter: Value) -> Value {
        let filter = serde_json::from_value(filter).expect("a filter");
        let mut value = serde_json::to_value(translate(filter)).expect("serialisable");
        remove_nulls(&mut value);
        value
    }

    fn remove_nulls(value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.retain(|_, inner| !inner.is_null());
                object.values_mut().for_each(remove_nulls);
            }
            Value::Array(items) => items.iter_mut().for_each(remove_nulls),
            _ => {}
        }
    }

    #[test]
    fn a_field_that_is_missing_has_no_values() {
        for bounds in [json!({ "lt": 1 }), json!({ "lte": 0 }), json!({ "gte": 0, "lte": 3 })] {
            let field = json!({ "key": "a", "values_count": bounds });
            let empty = json!({ "is_empty": { "key": "a" } });
            assert_eq!(translated(json!({ "must": [field] })), json!({ "must": [{ "should": [field, empty] }] }));
        }
        for bounds in [json!({ "gt": 0 }), json!({ "gte": 1 }), json!({ "lt": 0 })] {
            let filter = json!({ "must_not": [{ "key": "a", "values_count": bounds }] });
            assert_eq!(translated(filter.clone()), filter);
        }
    }

    #[test]
    fn an_empty_min_should_with_a_minimum_matches_nothing() {
        let filter = translated(json!({ "min_should": { "conditions": [], "min_count": 2 } }));
        assert_eq!(filter, json!({ "min_should": { "conditions": [{ "has_id": [] }], "min_count": 1 } }));
    }

    #[test]
    fn a_condition_under_must_and_must_not_is_separated() {
        let (a, b) = (json!({ "key": "a", "match": { "value": 1 } }), json!({ "key": "b", "match": { "value": 1 } }));
        for place in ["must", "should"] {
            let filter = translated(json!({ place: [a], "must_not": [a, b] }));
            assert_eq!(filter, json!({ place: [a], "must_not": [{ "must": [a] }, b] }));
        }
        let some = json!({ "conditions": [a], "min_count": 1 });
        let filter = translated(json!({ "min_should": some, "must_not": [a, b] }));
        assert_eq!(filter, json!({ "min_should": some, "must_not": [{ "must": [a] }, b] }));
    }

    #[test]
    fn nested_filters_are_rewritten_too() {
        let inner = json!({ "key": "a", "values_count": { "lt": 1 } });
        let filter = json!({ "must": [
            { "nested": { "key": "b", "filter": { "should": [inner] } } }, { "must": [inner] }
        ] });
        assert_eq!(translated(filter).to_string().matches("is_empty").count(), 2);
    }
}
