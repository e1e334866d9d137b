//! Compares the points of two collections right before the new one takes over the name.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::shape::Carry;
use super::{count, page};
use crate::operations::provision::SetupError;
use crate::services::ServiceError;
use crate::services::http::Http;

/// Maximum number of differing ids in the message.
const MAX_LISTED_IDS: usize = 10;
/// Relative tolerance of numbers: Cosine stores vectors of length 1, rounded.
const TOLERANCE: f64 = 1e-5;

/// Compares every point: its payload, and its vectors after the conversion.
///
/// # Errors
/// A point was added, removed or overwritten after it was copied, or Qdrant failed.
pub(super) async fn compare(
    http: &Http,
    source: &str,
    target: &str,
    carry: &Carry,
    cosine: bool,
) -> Result<(), SetupError> {
    let mut offset = Value::Null;
    let (mut different, mut named) = (0_u64, Vec::new());
    while let Some(points) = page(http, source, &mut offset).await? {
        let copies = fetch_same_ids(http, target, &points).await?;
        for mut point in points {
            let id = point["id"].to_string();
            let vector = carry.vector(point["vector"].take());
            let same = copies.get(&id).is_some_and(|copy| {
                same_payload(&point["payload"], &copy["payload"])
                    && same_vectors(&vector, &copy["vector"], carry, cosine)
            });
            if !same {
                different += 1;
                if named.len() < MAX_LISTED_IDS {
                    named.push(id);
                }
            }
        }
    }
    let (there, here) = (count(http, source).await?, count(http, target).await?);
    if different == 0 && there == here {
        return Ok(());
    }
    let more = if different > named.len() as u64 { " …" } else { "" };
    let (found, wanted) = if different > 0 {
        let found = format!("differs from {source} in {different} points ({}{more})", named.join(", "));
        (found, "all must be equal: they were added or overwritten after they were copied".to_owned())
    } else {
        (format!("has {here} points"), format!("{source} has {there}: points were deleted meanwhile"))
    };
    Err(SetupError::Shape {
        what: format!("the copy of {source} in {target}"),
        found,
        wanted,
        remedy: format!(
            "stop all writers (`shakedown queue pause`), delete {target} if it has more points than {source}, and run \
             setup again: it copies again; {source} was not changed"
        ),
    })
}

/// The points with the same ids, by id.
async fn fetch_same_ids(
    http: &Http,
    collection: &str,
    points: &[Value],
) -> Result<BTreeMap<String, Value>, ServiceError> {
    let ids: Vec<&Value> = points.iter().map(|point| &point["id"]).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let asked = json!({ "ids": ids, "with_payload": true, "with_vector": true });
    let mut answer = http.call("POST", &format!("/collections/{collection}/points"), Some(&asked)).await?;
    let points = answer["result"].as_array_mut().map(std::mem::take).unwrap_or_default();
    Ok(points.into_iter().map(|point| (point["id"].to_string(), point)).collect())
}

/// An empty payload equals a missing one.
fn same_payload(one: &Value, other: &Value) -> bool {
    let empty = |payload: &Value| payload.as_object().is_none_or(Map::is_empty);
    one == other || (empty(one) && empty(other))
}

/// `cosine` says whether the converted vector is stored with length 1.
fn same_vectors(one: &Value, other: &Value, carry: &Carry, cosine: bool) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, vector)| {
                    let unit = cosine && *name == carry.to;
                    other.get(name).is_some_and(|other| is_same_vector(vector, other, unit))
                })
        }
        _ => is_same_vector(one, other, cosine),
    }
}

/// Whether two vectors are equal up to rounding: dense, multi or sparse ones.
fn is_same_vector(one: &Value, other: &Value, unit: bool) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            let (first, second) = (scale(one, unit), scale(other, unit));
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| match (one.as_f64(), other.as_f64()) {
                    (Some(one), Some(other)) => is_close(one / first, other / second),
                    _ => is_same_vector(one, other, unit),
                })
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| is_same_vector(one, other, false)))
        }
        _ => one == other,
    }
}

fn is_close(one: f64, other: f64) -> bool {
    (one - other).abs() <= TOLERANCE * one.abs().max(other.abs())
}

/// The length of a vector that is stored with length 1; 1 for other vectors and for the zero vector.
fn scale(vector: &[Value], unit: bool) -> f64 {
    let length = vector.iter().filter_map(Value::as_f64).map(|number| number * number).sum::<f64>().sqrt();
    if unit && length > 0.0 { length } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(json!([3.0, 4.0]), json!([0.6, 0.8]), true, true)]
    #[case(json!([3.0, 4.0]), json!([0.6, 0.8]), false, false)]
    #[case(json!([3.0, 4.0]), json!([3.0, 4.000_001]), false, true)]
    #[case(json!([3.0, 4.0]), json!([3.0, 4.001]), false, false)]
    #[case(json!([3.0, 4.0]), json!([0.8, 0.6]), true, false)]
    #[case(json!([0.0, 0.0]), json!([0.0, 0.0]), true, true)]
    #[case(json!([[3.0, 4.0], [1.0, 0.0]]), json!([[0.6, 0.8], [1.0, 0.0]]), true, true)]
    #[case(json!({ "indices": [1, 7], "values": [0.5, 2.0] }), json!({ "indices": [1, 7], "values": [0.5, 2.0] }), false, true)]
    #[case(json!({ "indices": [1, 7], "values": [0.5, 2.0] }), json!({ "indices": [1, 8], "values": [0.5, 2.0] }), false, false)]
    fn vectors_are_the_same_but_for_rounding_and_length(
        #[case] one: Value,
        #[case] other: Value,
        #[case] unit: bool,
        #[case] same: bool,
    ) {
        assert_eq!(is_same_vector(&one, &other, unit), same);
    }
}
