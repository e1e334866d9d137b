//! Changes of points in REST requests.

pub(super) mod filter;
mod vectors;

use std::collections::HashMap;
use std::fmt;

use qdrant_edge::{
    ConditionalInsertOperation, DeletePayloadOp, Filter, JsonPath, Payload, PayloadOps, PointId, PointIdsList,
    PointInsertOperations, PointOperations, PointStructPersisted, PointVectorsPersisted, SetPayloadOp, UpdateMode,
    UpdateOperation, UpdateVectorsOp, VectorOperations, VectorPersisted, VectorStructPersisted,
};
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::collection::Selection;
use super::error::{Error, UNIMPLEMENTED};
pub(super) use vectors::{OneVector, PointVectors};

/// One point of an upsert.
#[derive(Debug, Deserialize)]
pub struct Point {
    id: PointId,
    #[serde(alias = "vectors")]
    vector: PointVectors,
    #[serde(default)]
    payload: Option<Payload>,
}

impl From<Point> for PointStructPersisted {
    fn from(point: Point) -> Self {
        Self { id: point.id, vector: point.vector.0, payload: point.payload }
    }
}

/// Points column by column.
#[derive(Debug, Deserialize)]
pub(super) struct Batch {
    ids: Vec<PointId>,
    vectors: BatchVectors,
    #[serde(default)]
    payloads: Option<Vec<Option<Payload>>>,
}

#[derive(Debug)]
enum BatchVectors {
    Unnamed(Vec<PointVectors>),
    Named(HashMap<String, Vec<OneVector>>),
}

impl<'de> Deserialize<'de> for BatchVectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BatchVisitor;
        impl<'de> Visitor<'de> for BatchVisitor {
            type Value = BatchVectors;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an array of vectors, or an object of such arrays by name")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<BatchVectors, A::Error> {
                let mut vectors = Vec::new();
                while let Some(vector) = seq.next_element()? {
                    vectors.push(vector);
                }
                Ok(BatchVectors::Unnamed(vectors))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BatchVectors, A::Error> {
                let mut named = HashMap::new();
                while let Some((name, vectors)) = map.next_entry()? {
                    named.insert(name, vectors);
                }
                Ok(BatchVectors::Named(named))
            }
        }
        deserializer.deserialize_any(BatchVisitor)
    }
}

impl Batch {
    fn into_points(self) -> Result<Vec<PointStructPersisted>, Error> {
        let count = self.ids.len();
        let mismatch = |what: &str, got: usize| {
            Error::Invalid(format!(
                "Validation error in JSON body: [batch: number of ids and {what} must be equal ({count} != {got})]"
            ))
        };
        let vectors: Vec<VectorStructPersisted> = match self.vectors {
            BatchVectors::Unnamed(vectors) => {
                if vectors.len() != count {
                    return Err(mismatch("vectors", vectors.len()));
                }
                vectors.into_iter().map(|vector| vector.0).collect()
            }
            BatchVectors::Named(named) => {
                let mut maps: Vec<HashMap<String, VectorPersisted>> = vec![HashMap::new(); count];
                for (name, vectors) in named {
                    if vectors.len() != count {
                        return Err(mismatch("vectors", vectors.len()));
                    }
                    for (map, vector) in maps.iter_mut().zip(vectors) {
                        map.insert(name.clone(), vector.0);
                    }
                }
                maps.into_iter().map(VectorStructPersisted::Named).collect()
            }
        };
        let payloads = self.payloads.unwrap_or_else(|| vec![None; count]);
        if payloads.len() != count {
            return Err(mismatch("payloads", payloads.len()));
        }
        let columns = self.ids.into_iter().zip(vectors).zip(payloads);
        Ok(columns.map(|((id, vector), payload)| PointStructPersisted { id, vector, payload }).collect())
    }
}

/// A field that must be absent: shard keys exist only in a cluster.
#[derive(Debug, Default)]
pub(super) struct NoShardKey;

impl<'de> Deserialize<'de> for NoShardKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<serde::de::IgnoredAny>::deserialize(deserializer)? {
            None => Ok(Self),
            Some(_) => Err(D::Error::custom(format!("{UNIMPLEMENTED}shard_key"))),
        }
    }
}

/// A change in a REST request.
pub(super) trait ChangeBody {
    /// The change in the engine's form.
    ///
    /// # Errors
    /// The body is contradictory.
    fn operation(self) -> Result<UpdateOperation, Error>;
}

/// Body of an upsert: `points` or `batch`.
#[derive(Debug, Deserialize)]
pub(super) struct Upsert {
    #[serde(default)]
    points: Option<Vec<Point>>,
    #[serde(default)]
    batch: Option<Batch>,
    /// Only matching points are replaced.
    #[serde(default, deserialize_with = "filter::optional")]
    update_filter: Option<Filter>,
    /// Whether points must be new or must exist.
    #[serde(default)]
    update_mode: Option<UpdateMode>,
    #[serde(default, rename = "shard_key")]
    _shard_key: NoShardKey,
}

impl ChangeBody for Upsert {
    fn operation(self) -> Result<UpdateOperation, Error> {
        let points = match (self.points, self.batch) {
            (_, Some(batch)) => batch.into_points()?,
            (Some(points), None) => points.into_iter().map(Into::into).collect(),
            (None, None) => {
                return Err(Error::Format(
                    "Format error in JSON body: Invalid PointInsertOperations format".to_owned(),
                ));
            }
        };
        Ok(upsert(points, self.update_mode, self.update_filter))
    }
}

/// Stores points: all of them, or those that `mode` and `filter` select.
pub(super) fn upsert(
    points: Vec<PointStructPersisted>,
    mode: Option<UpdateMode>,
    filter: Option<Filter>,
) -> UpdateOperation {
    let points_op = PointInsertOperations::PointsList(points);
    let unconditional = filter.is_none() && mode.unwrap_or_default() == UpdateMode::Upsert;
    UpdateOperation::PointOperation(if unconditional {
        PointOperations::UpsertPoints(points_op)
    } else {
        PointOperations::UpsertPointsConditional(ConditionalInsertOperation {
            points_op,
            condition: filter.unwrap_or_default(),
            update_mode: mode,
        })
    })
}

/// Points chosen by `points` (ids) or `filter`.
#[derive(Debug, Deserialize)]
pub(super) struct Selector {
    #[serde(default)]
    points: Option<Vec<PointId>>,
    #[serde(default, deserialize_with = "filter::optional")]
    filter: Option<Filter>,
    #[serde(default, rename = "shard_key")]
    _shard_key: NoShardKey,
}

impl Selector {
    fn into_selection(self) -> Result<Selection, Error> {
        match (self.points, self.filter) {
            (Some(ids), _) => Ok(Selection::Ids(ids)),
            (None, Some(filter)) => Ok(Selection::Filter(filter)),
            (None, None) => Err(Error::Format(
                "Format error in JSON body: data did not match any variant of untagged enum PointsSelector".to_owned(),
            )),
        }
    }
}

/// Body of a removal of points.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Delete(Selector);

impl ChangeBody for Delete {
    fn operation(self) -> Result<UpdateOperation, Error> {
        Ok(UpdateOperation::PointOperation(match self.0.into_selection()? {
            Selection::Ids(ids) => PointOperations::DeletePoints { ids },
            Selection::Filter(filter) => PointOperations::DeletePointsByFilter(filter),
        }))
    }
}

/// Body of a removal of whole payloads.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct ClearPayload(Selector);

impl ChangeBody for ClearPayload {
    fn operation(self) -> Result<UpdateOperation, Error> {
        Ok(UpdateOperation::PayloadOperation(match self.0.into_selection()? {
            Selection::Ids(points) => PayloadOps::ClearPayload { points },
            Selection::Filter(filter) => PayloadOps::ClearPayloadByFilter(filter),
        }))
    }
}

/// Body of a change of payloads.
#[derive(Debug, Deserialize)]
pub(super) struct SetPayload {
    payload: Payload,
    #[serde(default)]
    points: Option<Vec<PointId>>,
    #[serde(default, deserialize_with = "filter::optional")]
    filter: Option<Filter>,
    /// Path in the payload; the top level if absent.
    #[serde(default)]
    key: Option<JsonPath>,
    #[serde(default, rename = "shard_key")]
    _shard_key: NoShardKey,
}

fn check_chosen(points: Option<&Vec<PointId>>, filter: Option<&Filter>) -> Result<(), Error> {
    if points.is_none() && filter.is_none() {
        return Err(Error::Format(
            "Format error in JSON body: Either list of point ids or filter must be provided".to_owned(),
        ));
    }
    Ok(())
}

impl SetPayload {
    fn into_op(self) -> Result<SetPayloadOp, Error> {
        check_chosen(self.points.as_ref(), self.filter.as_ref())?;
        Ok(SetPayloadOp { payload: self.payload, points: self.points, filter: self.filter, key: self.key })
    }
}

impl ChangeBody for SetPayload {
    fn operation(self) -> Result<UpdateOperation, Error> {
        Ok(UpdateOperation::PayloadOperation(PayloadOps::SetPayload(self.into_op()?)))
    }
}

/// Body of a replacement of payloads.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct OverwritePayload(SetPayload);

impl ChangeBody for OverwritePayload {
    fn operation(self) -> Result<UpdateOperation, Error> {
        Ok(UpdateOperation::PayloadOperation(PayloadOps::OverwritePayload(self.0.into_op()?)))
    }
}

/// Body of a removal of parts of payloads.
#[derive(Debug, Deserialize)]
pub(super) struct DeletePayload {
    keys: Vec<JsonPath>,
    #[serde(default)]
    points: Option<Vec<PointId>>,
    #[serde(default, deserialize_with = "filter::optional")]
    filter: Option<Filter>,
    #[serde(default, rename = "shard_key")]
    _shard_key: NoShardKey,
}

impl ChangeBody for DeletePayload {
    fn operation(self) -> Result<UpdateOperation, Error> {
        check_chosen(self.points.as_ref(), self.filter.as_ref())?;
        let operation = DeletePayloadOp { keys: self.keys, points: self.points, filter: self.filter };
        Ok(UpdateOperation::PayloadOperation(PayloadOps::DeletePayload(operation)))
    }
}

/// New vectors of one point.
#[derive(Debug, Deserialize)]
pub struct NewVectors {
    id: PointId,
    #[serde(alias = "vectors")]
    vector: PointVectors,
}

/// Body of a change of vectors.
#[derive(Debug, Deserialize)]
pub(super) struct UpdateVectors {
    points: Vec<NewVectors>,
    #[serde(default, deserialize_with = "filter::optional")]
    update_filter: Option<Filter>,
    #[serde(default, rename = "shard_key")]
    _shard_key: NoShardKey,
}

impl ChangeBody for UpdateVectors {
    fn operation(self) -> Result<UpdateOperation, Error> {
        let points = self.points.into_iter().map(|new| PointVectorsPersisted { id: new.id, vector: new.vector.0 });
        Ok(UpdateOperation::VectorOperation(VectorOperations::UpdateVectors(UpdateVectorsOp {
            points: points.collect(),
            update_filter: self.update_filter,
        })))
    }
}

/// Body of a removal of vectors.
#[derive(Debug, Deserialize)]
pub(super) struct DeleteVectors {
    #[serde(default)]
    points: Option<Vec<PointId>>,
    #[serde(default, deserialize_with = "filter::optional")]
    filter: Option<Filter>,
    #[serde(alias = "vectors")]
    vector: Vec<String>,
    #[serde(default, rename = "shard_key")]
    _shard_key: NoShardKey,
}

impl ChangeBody for DeleteVectors {
    fn operation(self) -> Result<UpdateOperation, Error> {
        check_chosen(self.points.as_ref(), self.filter.as_ref())?;
        Ok(UpdateOperation::VectorOperation(match (self.points, self.filter) {
            (None, Some(filter)) => VectorOperations::DeleteVectorsByFilter(filter, self.vector),
            (points, _) => {
                VectorOperations::DeleteVectors(PointIdsList { points: points.unwrap_or_default() }, self.vector)
            }
        }))
    }
}

/// One of several changes that are made together.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// Stores points.
    Upsert(Upsert),
    /// Removes points.
    Delete(Delete),
    /// Changes payloads.
    SetPayload(SetPayload),
    /// Replaces payloads.
    OverwritePayload(OverwritePayload),
    /// Removes parts of payloads.
    DeletePayload(DeletePayload),
    /// Removes payloads.
    ClearPayload(ClearPayload),
    /// Changes vectors.
    UpdateVectors(UpdateVectors),
    /// Removes vectors.
    DeleteVectors(DeleteVectors),
}

impl ChangeBody for Change {
    fn operation(self) -> Result<UpdateOperation, Error> {
        match self {
            Self::Upsert(body) => body.operation(),
            Self::Delete(body) => body.operation(),
            Self::SetPayload(body) => body.operation(),
            Self::OverwritePayload(body) => body.operation(),
            Self::DeletePayload(body) => body.operation(),
            Self::ClearPayload(body) => body.operation(),
            Self::UpdateVectors(body) => body.operation(),
            Self::DeleteVectors(body) => body.operation(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(json: &str) -> Result<Vec<PointStructPersisted>, String> {
        let upsert = serde_json::from_str::<Upsert>(json).map_err(|error| error.to_string())?;
        match upsert.operation().map_err(|error| error.to_string())? {
            UpdateOperation::PointOperation(PointOperations::UpsertPoints(PointInsertOperations::PointsList(
                points,
            ))) => Ok(points),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn every_form_of_vector_is_read() {
        let read = points(
            r#"{"points":[
                {"id":1,"vector":[1,-2,0.5]},
                {"id":2,"vector":[[1.0],[2.0]]},
                {"id":"550e8400-e29b-41d4-a716-446655440000","vector":{"a":[1.5],"s":{"indices":[3],"values":[0.5]}},"payload":{"k":1}}
            ]}"#,
        )
        .expect("readable");
        assert_eq!(read[0].vector, VectorStructPersisted::Single(vec![1.0, -2.0, 0.5]));
        assert_eq!(read[1].vector, VectorStructPersisted::MultiDense(vec![vec![1.0], vec![2.0]]));
        let VectorStructPersisted::Named(named) = &read[2].vector else { panic!("named vectors") };
        assert_eq!(named["a"], VectorPersisted::Dense(vec![1.5]));
        assert_eq!(named["s"], VectorPersisted::new_sparse(vec![3], vec![0.5]));
    }

    #[test]
    fn a_batch_becomes_points() {
        let read = points(r#"{"batch":{"ids":[1,2],"vectors":[[1.0],[2.0]],"payloads":[{"a":1},null]}}"#);
        let read = read.expect("readable");
        assert_eq!(read[1].vector, VectorStructPersisted::Single(vec![2.0]));
        assert!(read[0].payload.is_some() && read[1].payload.is_none());
        let short = points(r#"{"batch":{"ids":[1,2],"vectors":[[1.0]]}}"#).unwrap_err();
        assert!(short.contains("2 != 1"), "{short}");
    }

    #[test]
    fn a_shard_key_is_rejected_by_name() {
        let error = serde_json::from_str::<Delete>(r#"{"points":[1],"shard_key":"a"}"#).unwrap_err();
        assert_eq!(Error::unreadable(&error), Error::Unimplemented("shard_key".to_owned()));
        assert!(serde_json::from_str::<Delete>(r#"{"points":[1],"shard_key":null}"#).is_ok());
    }

    #[test]
    fn a_condition_makes_an_upsert_conditional() {
        let conditional = |json: &str| {
            let upsert: Upsert = serde_json::from_str(json).expect("readable");
            let operation = upsert.operation().expect("an operation");
            matches!(operation, UpdateOperation::PointOperation(PointOperations::UpsertPointsConditional(_)))
        };
        assert!(!conditional(r#"{"points":[],"update_mode":"upsert"}"#));
        assert!(conditional(r#"{"points":[],"update_mode":"insert_only"}"#));
        assert!(conditional(r#"{"points":[],"update_filter":{}}"#));
    }

    #[test]
    fn only_numbers_and_uuids_are_ids() {
        let error = points(r#"{"points":[{"id":"doc:1#3","vector":[1]}]}"#).unwrap_err();
        assert!(
            error.contains("is not a valid point ID, valid values are either an unsigned integer or a UUID"),
            "{error}"
        );
        assert!(points(r#"{"points":[{"id":-1,"vector":[1]}]}"#).is_err());
    }

    #[test]
    fn a_text_instead_of_a_vector_is_rejected() {
        let text = points(r#"{"points":[{"id":1,"vector":{"text":"a","model":"m"}}]}"#).unwrap_err();
        assert!(text.contains(UNIMPLEMENTED), "{text}");
        let named = points(r#"{"points":[{"id":1,"vector":{"a":{"text":"a","model":"m"}}}]}"#).unwrap_err();
        assert!(named.contains(UNIMPLEMENTED), "{named}");
        assert!(points(r#"{"points":[{"id":1,"vector":[1,"a"]}]}"#).is_err());
    }
}
