//! Makes changes idempotent.
//!
//! After a kill the journal is replayed over files that already hold some of its changes. A change that names its
//! points and values then has the same result; one that selects points by stored data might select others. So the
//! points are selected before the change is journalled, and the journal names them.

use std::collections::{HashMap, HashSet};

use qdrant_edge::{
    Condition, ConditionalInsertOperation, CountRequest, Filter, HasIdCondition, PayloadOps, PointId,
    PointInsertOperations, PointOperations, PointStructPersisted, ScrollRequest, UpdateMode, UpdateOperation,
    VectorOperations, VectorStructPersisted, WithPayloadInterface, WithVector,
};

use super::error::Error;
use super::shard::Shard;

/// Points processed together.
pub(super) const CHUNK: usize = 1000;

/// Whether the effect of the change depends on stored data.
pub(super) fn depends_on_points(operation: &UpdateOperation) -> bool {
    match operation {
        UpdateOperation::PointOperation(operation) => {
            matches!(operation, PointOperations::UpsertPointsConditional(_) | PointOperations::DeletePointsByFilter(_))
        }
        UpdateOperation::VectorOperation(VectorOperations::UpdateVectors(update)) => update.update_filter.is_some(),
        UpdateOperation::VectorOperation(operation) => matches!(operation, VectorOperations::DeleteVectorsByFilter(..)),
        UpdateOperation::PayloadOperation(operation) => match operation {
            PayloadOps::SetPayload(it) | PayloadOps::OverwritePayload(it) => it.points.is_none(),
            PayloadOps::DeletePayload(it) => it.points.is_none(),
            PayloadOps::ClearPayloadByFilter(_) => true,
            PayloadOps::ClearPayload { .. } => false,
        },
        UpdateOperation::FieldIndexOperation(_) | UpdateOperation::VectorNameOperation(_) => false,
    }
}

/// Makes `operation` name its points; `None` if there are none.
///
/// # Errors
/// The engine cannot read the points, or rejects the filter.
pub(super) fn resolve(shard: &Shard, operation: UpdateOperation) -> Result<Option<UpdateOperation>, Error> {
    let operation = match operation {
        UpdateOperation::PointOperation(PointOperations::UpsertPointsConditional(conditional)) => {
            UpdateOperation::PointOperation(PointOperations::UpsertPoints(fitting(shard, conditional)?))
        }
        UpdateOperation::PointOperation(PointOperations::DeletePointsByFilter(filter)) => {
            UpdateOperation::PointOperation(PointOperations::DeletePoints { ids: matching(shard, &filter)? })
        }
        UpdateOperation::VectorOperation(VectorOperations::UpdateVectors(mut update)) => {
            if let Some(filter) = update.update_filter.take() {
                let ids: Vec<_> = update.points.iter().map(|point| point.id).collect();
                let there: HashSet<_> = existing(shard, &ids)?.into_iter().collect();
                let fits: HashSet<_> = matching(shard, &among(ids, filter))?.into_iter().collect();
                // A missing point stays in, to be rejected.
                update.points.retain(|point| fits.contains(&point.id) || !there.contains(&point.id));
            }
            UpdateOperation::VectorOperation(VectorOperations::UpdateVectors(update))
        }
        UpdateOperation::VectorOperation(VectorOperations::DeleteVectorsByFilter(filter, names)) => {
            let ids = matching(shard, &filter)?;
            UpdateOperation::VectorOperation(VectorOperations::DeleteVectors(ids.into(), names))
        }
        UpdateOperation::PayloadOperation(PayloadOps::ClearPayloadByFilter(filter)) => {
            let points = matching(shard, &filter)?;
            UpdateOperation::PayloadOperation(PayloadOps::ClearPayload { points })
        }
        UpdateOperation::PayloadOperation(mut operation) => {
            let (points, filter) = match &mut operation {
                PayloadOps::SetPayload(it) | PayloadOps::OverwritePayload(it) => (&mut it.points, &mut it.filter),
                PayloadOps::DeletePayload(it) => (&mut it.points, &mut it.filter),
                PayloadOps::ClearPayload { .. } | PayloadOps::ClearPayloadByFilter(_) => (&mut None, &mut None),
            };
            // Without either, the engine reports what is missing.
            if let (None, Some(filter)) = (points.as_ref(), filter.take()) {
                *points = Some(matching(shard, &filter)?);
            }
            UpdateOperation::PayloadOperation(operation)
        }
        other => other,
    };
    Ok((operation.point_ids().is_none_or(|ids| !ids.is_empty())).then_some(operation))
}

/// Drops missing points if the engine would reject the whole change because of them; `None` if none is left. A later
/// change has removed them and is replayed too.
///
/// # Errors
/// The engine cannot read the points.
pub(super) fn repeatable(shard: &Shard, operation: UpdateOperation) -> Result<Option<UpdateOperation>, Error> {
    let Some(mut operation) = resolve(shard, operation)? else { return Ok(None) };
    if let UpdateOperation::PointOperation(_) = operation {
        return Ok(Some(operation));
    }
    let Some(ids) = operation.point_ids() else { return Ok(Some(operation)) };
    let there: HashSet<_> = existing(shard, &ids)?.into_iter().collect();
    operation.retain_point_ids(|id| there.contains(id));
    Ok((!there.is_empty()).then_some(operation))
}

/// Rewrites points that the shard holds more than once: reads return the newest one, but counts include all. Calls
/// `protect` with each change before points are removed for it.
///
/// # Errors
/// The engine or `protect` fails.
pub(super) fn store_once(
    shard: &Shard,
    mut protect: impl FnMut(&UpdateOperation) -> Result<(), Error>,
) -> Result<(), Error> {
    let all = matching(shard, &Filter::default())?;
    for ids in all.chunks(CHUNK) {
        let filter = Some(Filter::new_must(Condition::HasId(ids.iter().copied().collect())));
        let copies = shard.call("counting", |shard| shard.count(CountRequest { filter, exact: true }))?;
        if copies <= ids.len() {
            continue;
        }
        let store = storing(shard, ids)?;
        protect(&store)?;
        shard.update(UpdateOperation::PointOperation(PointOperations::DeletePoints { ids: ids.to_vec() }))?;
        shard.update(store)?;
    }
    Ok(())
}

/// Whether the change keeps a part of its points, so that a replay needs their former state.
pub(super) fn keeps_parts(operation: &UpdateOperation) -> bool {
    matches!(operation, UpdateOperation::PayloadOperation(_) | UpdateOperation::VectorOperation(_))
}

/// The change that stores the existing ones of the points `ids` as they are now.
///
/// # Errors
/// The engine cannot read the points.
pub(super) fn storing(shard: &Shard, ids: &[PointId]) -> Result<UpdateOperation, Error> {
    let wanted = (Some(WithPayloadInterface::Bool(true)), Some(WithVector::Bool(true)));
    let found = shard.call("reading points", |shard| shard.retrieve(ids, wanted.0, wanted.1))?;
    let points = found.into_iter().map(|record| PointStructPersisted {
        id: record.id,
        vector: record.vector.map_or_else(|| VectorStructPersisted::Named(HashMap::new()), Into::into),
        payload: record.payload,
    });
    let store = PointOperations::UpsertPoints(PointInsertOperations::PointsList(points.collect()));
    Ok(UpdateOperation::PointOperation(store))
}

/// The points of a conditional upsert that must be stored.
fn fitting(shard: &Shard, conditional: ConditionalInsertOperation) -> Result<PointInsertOperations, Error> {
    let ConditionalInsertOperation { mut points_op, condition, update_mode } = conditional;
    let ids = points_op.point_ids();
    let there: HashSet<_> = existing(shard, &ids)?.into_iter().collect();
    let fits: HashSet<_> = match update_mode {
        Some(UpdateMode::InsertOnly) => HashSet::new(),
        _ => matching(shard, &among(ids, condition))?.into_iter().collect(),
    };
    let inserts = !matches!(update_mode, Some(UpdateMode::UpdateOnly));
    points_op.retain_point_ids(|id| if there.contains(id) { fits.contains(id) } else { inserts });
    Ok(points_op)
}

fn among(ids: Vec<PointId>, filter: Filter) -> Filter {
    let among = Condition::HasId(ids.into_iter().collect::<HasIdCondition>());
    Filter { must: Some(vec![among, Condition::Filter(filter)]), ..Filter::default() }
}

fn existing(shard: &Shard, ids: &[PointId]) -> Result<Vec<PointId>, Error> {
    let nothing = (Some(WithPayloadInterface::Bool(false)), Some(WithVector::Bool(false)));
    let found = shard.call("looking up points", |shard| shard.retrieve(ids, nothing.0, nothing.1))?;
    Ok(found.into_iter().map(|point| point.id).collect())
}

fn matching(shard: &Shard, filter: &Filter) -> Result<Vec<PointId>, Error> {
    let mut found = Vec::new();
    let mut offset = None;
    loop {
        let request = ScrollRequest {
            offset,
            filter: Some(filter.clone()),
            with_payload: Some(WithPayloadInterface::Bool(false)),
            with_vector: WithVector::Bool(false),
            ..ScrollRequest::default()
        };
        // Usually all at once: the filter is evaluated anew for every page.
        let (page, next) = shard.call("choosing points", |shard| {
            shard.scroll(ScrollRequest { limit: Some(shard.info().points_count.max(1)), ..request })
        })?;
        found.extend(page.into_iter().map(|point| point.id));
        offset = next;
        if offset.is_none() {
            return Ok(found);
        }
    }
}
