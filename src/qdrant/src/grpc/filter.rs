//! Filters: converted to the REST API's JSON and read as such, so that both protocols mean the same.

use chrono::DateTime;
use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::{
    Condition, DatetimeRange, FieldCondition, Filter, GeoLineString, GeoPoint, Match, PointsSelector, Range,
    ValuesCount,
};
use serde_json::{Map, Value, json};

use super::convert::ids_from;
use super::required;
use crate::collection::Selection;
use crate::error::Error;
use crate::input::filter::read_filter;

/// A filter in the engine's form.
pub(super) fn filter_from(filter: Filter) -> Result<qdrant_edge::Filter, Error> {
    read_filter(filter_json(filter)?).map_err(|error| Error::Format(format!("Malformed filter: {error}")))
}

/// The points that a change affects.
pub(super) fn selection_from(selector: Option<PointsSelector>) -> Result<Selection, Error> {
    match required(selector.and_then(|selector| selector.points_selector_one_of), "points selector")? {
        PointsSelectorOneOf::Points(list) => Ok(Selection::Ids(ids_from(list.ids)?)),
        PointsSelectorOneOf::Filter(filter) => Ok(Selection::Filter(filter_from(filter)?)),
    }
}

fn filter_json(filter: Filter) -> Result<Value, Error> {
    let mut object = Map::new();
    for (name, conditions) in [("should", filter.should), ("must", filter.must), ("must_not", filter.must_not)] {
        if !conditions.is_empty() {
            object.insert(name.to_owned(), conditions_json(conditions)?);
        }
    }
    if let Some(min) = filter.min_should {
        let value = json!({ "conditions": conditions_json(min.conditions)?, "min_count": min.min_count });
        object.insert("min_should".to_owned(), value);
    }
    Ok(Value::Object(object))
}

fn conditions_json(conditions: Vec<Condition>) -> Result<Value, Error> {
    conditions.into_iter().map(condition_json).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn condition_json(condition: Condition) -> Result<Value, Error> {
    Ok(match required(condition.condition_one_of, "condition")? {
        ConditionOneOf::Field(field) => field_json(field)?,
        ConditionOneOf::IsEmpty(empty) => json!({ "is_empty": { "key": empty.key } }),
        ConditionOneOf::IsNull(field) => json!({ "is_null": { "key": field.key } }),
        ConditionOneOf::HasVector(vector) => json!({ "has_vector": vector.has_vector }),
        ConditionOneOf::Filter(filter) => filter_json(filter)?,
        ConditionOneOf::Nested(nested) => {
            let filter = filter_json(required(nested.filter, "nested filter")?)?;
            json!({ "nested": { "key": nested.key, "filter": filter } })
        }
        ConditionOneOf::HasId(ids) => {
            let ids = ids.has_id.into_iter().map(|id| match required(id.point_id_options, "point id")? {
                PointIdOptions::Num(number) => Ok(Value::from(number)),
                PointIdOptions::Uuid(text) => Ok(Value::from(text)),
            });
            json!({ "has_id": ids.collect::<Result<Vec<_>, Error>>()? })
        }
        ConditionOneOf::Slice(_) => return Err(Error::Unimplemented("condition `slice`".to_owned())),
    })
}

fn field_json(field: FieldCondition) -> Result<Value, Error> {
    let mut object = Map::new();
    object.insert("key".to_owned(), field.key.into());
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        }
    };
    put("match", field.r#match.map(match_json).transpose()?);
    put("range", field.range.map(range_json));
    put("range", field.datetime_range.map(datetime_range_json).transpose()?);
    put("values_count", field.values_count.map(values_count_json));
    put("is_empty", field.is_empty.map(Value::from));
    put("is_null", field.is_null.map(Value::from));
    put(
        "geo_bounding_box",
        field
            .geo_bounding_box
            .map(|area| {
                Ok::<_, Error>(json!({
                    "top_left": point_json(required(area.top_left, "top_left")?),
                    "bottom_right": point_json(required(area.bottom_right, "bottom_right")?),
                }))
            })
            .transpose()?,
    );
    put(
        "geo_radius",
        field
            .geo_radius
            .map(|area| {
                Ok::<_, Error>(json!({ "center": point_json(required(area.center, "center")?), "radius": area.radius }))
            })
            .transpose()?,
    );
    put(
        "geo_polygon",
        field
            .geo_polygon
            .map(|area| {
                let interiors: Vec<Value> = area.interiors.into_iter().map(line_json).collect();
                Ok::<_, Error>(
                    json!({ "exterior": line_json(required(area.exterior, "exterior")?), "interiors": interiors }),
                )
            })
            .transpose()?,
    );
    Ok(Value::Object(object))
}

fn match_json(condition: Match) -> Result<Value, Error> {
    Ok(match required(condition.match_value, "match value")? {
        MatchValue::Keyword(text) => json!({ "value": text }),
        MatchValue::Integer(number) => json!({ "value": number }),
        MatchValue::Boolean(flag) => json!({ "value": flag }),
        MatchValue::Text(text) => json!({ "text": text }),
        MatchValue::TextAny(text) => json!({ "text_any": text }),
        MatchValue::Phrase(text) => json!({ "phrase": text }),
        MatchValue::Keywords(list) => json!({ "any": list.strings }),
        MatchValue::Integers(list) => json!({ "any": list.integers }),
        MatchValue::ExceptKeywords(list) => json!({ "except": list.strings }),
        MatchValue::ExceptIntegers(list) => json!({ "except": list.integers }),
        MatchValue::Prefix(_) => return Err(Error::Unimplemented("match `prefix`".to_owned())),
        MatchValue::Substring(_) => return Err(Error::Unimplemented("match `substring`".to_owned())),
    })
}

fn range_json(range: Range) -> Value {
    json!({ "lt": range.lt, "gt": range.gt, "gte": range.gte, "lte": range.lte })
}

fn datetime_range_json(range: DatetimeRange) -> Result<Value, Error> {
    let mut object = Map::new();
    for (name, bound) in [("lt", range.lt), ("gt", range.gt), ("gte", range.gte), ("lte", range.lte)] {
        if let Some(bound) = bound {
            let nanos = u32::try_from(bound.nanos).ok();
            let time = nanos.and_then(|nanos| DateTime::from_timestamp(bound.seconds, nanos));
            let time = time.ok_or_else(|| Error::Format(format!("Malformed date in `{name}`")))?;
            object.insert(name.to_owned(), time.to_rfc3339().into());
        }
    }
    Ok(Value::Object(object))
}

fn values_count_json(count: ValuesCount) -> Value {
    json!({ "lt": count.lt, "gt": count.gt, "gte": count.gte, "lte": count.lte })
}

fn point_json(point: GeoPoint) -> Value {
    json!({ "lon": point.lon, "lat": point.lat })
}

fn line_json(line: GeoLineString) -> Value {
    json!({ "points": line.points.into_iter().map(point_json).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_means_the_same_in_both_protocols() {
        let filter = Filter {
            must: vec![
                Condition::matches("document_id", "d1".to_owned()),
                Condition::range("chunk_index", Range { gte: Some(3.0), ..Range::default() }),
            ],
            must_not: vec![Condition::is_empty("version"), Condition::matches("n", vec![1, 2])],
            ..Filter::default()
        };
        let expected: qdrant_edge::Filter = serde_json::from_value(json!({
            "must": [
                { "key": "document_id", "match": { "value": "d1" } },
                { "key": "chunk_index", "range": { "gte": 3.0 } }
            ],
            "must_not": [{ "is_empty": { "key": "version" } }, { "key": "n", "match": { "any": [1, 2] } }]
        }))
        .expect("readable");
        assert_eq!(filter_from(filter), Ok(expected));
    }

    #[test]
    fn conditions_that_the_engine_lacks_are_rejected_by_name() {
        let condition = Match { match_value: Some(MatchValue::Prefix("a".to_owned())) };
        assert!(matches!(match_json(condition), Err(Error::Unimplemented(_))));
    }
}
