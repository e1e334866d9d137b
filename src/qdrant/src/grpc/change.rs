//! Changes of points, single or in a batch, in the engine's form.

use std::collections::HashMap;

use qdrant_client::qdrant::points_update_operation::Operation;
use qdrant_client::qdrant::{
    self as proto, Filter, PointStruct, PointVectors, PointsSelector, ShardKeySelector, Value, VectorsSelector,
};
use qdrant_edge::{
    DeletePayloadOp, Payload, PayloadOps, PointIdsList, PointOperations, PointVectorsPersisted, SetPayloadOp,
    UpdateMode, UpdateOperation, UpdateVectorsOp, VectorOperations,
};

use super::convert::{id_from, object_from, path_from, paths_from, point_from, vectors_from};
use super::filter::{filter_from, selection_from};
use super::required;
use crate::collection::Selection;
use crate::error::Error;
use crate::input;

/// Rejects a shard key: shard keys exist only in a cluster.
pub(super) fn no_shard_key(selector: Option<&ShardKeySelector>) -> Result<(), Error> {
    match selector {
        Some(selector) if !selector.shard_keys.is_empty() || selector.fallback.is_some() => {
            Err(Error::Unimplemented("shard_key".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Stores points.
pub(super) fn upsert(
    points: Vec<PointStruct>,
    mode: Option<i32>,
    filter: Option<Filter>,
    shard_key: Option<&ShardKeySelector>,
) -> Result<UpdateOperation, Error> {
    no_shard_key(shard_key)?;
    let mode = mode
        .map(|mode| match proto::UpdateMode::try_from(mode) {
            Ok(proto::UpdateMode::Upsert) => Ok(UpdateMode::Upsert),
            Ok(proto::UpdateMode::InsertOnly) => Ok(UpdateMode::InsertOnly),
            Ok(proto::UpdateMode::UpdateOnly) => Ok(UpdateMode::UpdateOnly),
            Err(_) => Err(Error::Format(format!("Unknown update mode {mode}"))),
        })
        .transpose()?;
    let points = points.into_iter().map(point_from).collect::<Result<_, _>>()?;
    Ok(input::upsert(points, mode, filter.map(filter_from).transpose()?))
}

/// Removes points.
pub(super) fn delete(
    points: Option<PointsSelector>,
    shard_key: Option<&ShardKeySelector>,
) -> Result<UpdateOperation, Error> {
    no_shard_key(shard_key)?;
    Ok(UpdateOperation::PointOperation(match selection_from(points)? {
        Selection::Ids(ids) => PointOperations::DeletePoints { ids },
        Selection::Filter(filter) => PointOperations::DeletePointsByFilter(filter),
    }))
}

/// The fields of a payload change.
pub(super) fn set_payload(
    payload: HashMap<String, Value>,
    selector: Option<PointsSelector>,
    key: Option<&str>,
    shard_key: Option<&ShardKeySelector>,
) -> Result<SetPayloadOp, Error> {
    no_shard_key(shard_key)?;
    let (points, filter) = parts(selection_from(selector)?);
    Ok(SetPayloadOp { payload: Payload(object_from(payload)?), points, filter, key: key.map(path_from).transpose()? })
}

fn parts(selection: Selection) -> (Option<Vec<qdrant_edge::PointId>>, Option<qdrant_edge::Filter>) {
    match selection {
        Selection::Ids(ids) => (Some(ids), None),
        Selection::Filter(filter) => (None, Some(filter)),
    }
}

/// Removes parts of payloads.
pub(super) fn delete_payload(
    keys: &[String],
    selector: Option<PointsSelector>,
    shard_key: Option<&ShardKeySelector>,
) -> Result<UpdateOperation, Error> {
    no_shard_key(shard_key)?;
    let (points, filter) = parts(selection_from(selector)?);
    let operation = DeletePayloadOp { keys: paths_from(keys)?, points, filter };
    Ok(UpdateOperation::PayloadOperation(PayloadOps::DeletePayload(operation)))
}

/// Removes whole payloads.
pub(super) fn clear_payload(
    points: Option<PointsSelector>,
    shard_key: Option<&ShardKeySelector>,
) -> Result<UpdateOperation, Error> {
    no_shard_key(shard_key)?;
    Ok(UpdateOperation::PayloadOperation(match selection_from(points)? {
        Selection::Ids(points) => PayloadOps::ClearPayload { points },
        Selection::Filter(filter) => PayloadOps::ClearPayloadByFilter(filter),
    }))
}

/// Changes vectors.
pub(super) fn update_vectors(
    points: Vec<PointVectors>,
    filter: Option<Filter>,
    shard_key: Option<&ShardKeySelector>,
) -> Result<UpdateOperation, Error> {
    no_shard_key(shard_key)?;
    let points = points
        .into_iter()
        .map(|point| Ok(PointVectorsPersisted { id: id_from(point.id)?, vector: vectors_from(point.vectors)? }));
    Ok(UpdateOperation::VectorOperation(VectorOperations::UpdateVectors(UpdateVectorsOp {
        points: points.collect::<Result<_, Error>>()?,
        update_filter: filter.map(filter_from).transpose()?,
    })))
}

/// Removes vectors.
pub(super) fn delete_vectors(
    selector: Option<PointsSelector>,
    vectors: Option<VectorsSelector>,
    shard_key: Option<&ShardKeySelector>,
) -> Result<UpdateOperation, Error> {
    no_shard_key(shard_key)?;
    let names = required(vectors, "vectors")?.names;
    Ok(UpdateOperation::VectorOperation(match selection_from(selector)? {
        Selection::Ids(points) => VectorOperations::DeleteVectors(PointIdsList { points }, names),
        Selection::Filter(filter) => VectorOperations::DeleteVectorsByFilter(filter, names),
    }))
}

/// One change of a batch.
#[expect(deprecated, reason = "older clients still send the fields that were there first")]
pub(super) fn operation_from(operation: proto::PointsUpdateOperation) -> Result<UpdateOperation, Error> {
    match required(operation.operation, "operation")? {
        Operation::Upsert(it) => upsert(it.points, it.update_mode, it.update_filter, it.shard_key_selector.as_ref()),
        Operation::DeleteDeprecated(points) => delete(Some(points), None),
        Operation::DeletePoints(it) => delete(it.points, it.shard_key_selector.as_ref()),
        Operation::SetPayload(it) => {
            set_payload(it.payload, it.points_selector, it.key.as_deref(), it.shard_key_selector.as_ref())
                .map(|operation| UpdateOperation::PayloadOperation(PayloadOps::SetPayload(operation)))
        }
        Operation::OverwritePayload(it) => {
            set_payload(it.payload, it.points_selector, it.key.as_deref(), it.shard_key_selector.as_ref())
                .map(|operation| UpdateOperation::PayloadOperation(PayloadOps::OverwritePayload(operation)))
        }
        Operation::DeletePayload(it) => delete_payload(&it.keys, it.points_selector, it.shard_key_selector.as_ref()),
        Operation::ClearPayloadDeprecated(points) => clear_payload(Some(points), None),
        Operation::ClearPayload(it) => clear_payload(it.points, it.shard_key_selector.as_ref()),
        Operation::UpdateVectors(it) => update_vectors(it.points, it.update_filter, it.shard_key_selector.as_ref()),
        Operation::DeleteVectors(it) => delete_vectors(it.points_selector, it.vectors, it.shard_key_selector.as_ref()),
    }
}
