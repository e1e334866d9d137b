//! Changes of a collection, checked against its configuration and strict mode.

use qdrant_edge::{
    CountRequest, CreateIndex, FieldIndexOperations, Filter, JsonPath, PayloadFieldSchema, PayloadOps,
    PointInsertOperations, PointOperations, PointStructPersisted, UpdateOperation, VectorOperations,
};

use super::collection::{Collection, Written};
use super::depth;
use super::disk::used_by;
use super::error::Error;
use super::filters::translate_change;
use super::strict::{Growth, Purpose};
use super::validate::check_points;

impl Collection {
    /// Applies one change of points, payloads or vectors.
    ///
    /// # Errors
    /// A vector does not fit the collection (also without waiting), strict mode forbids it, or the disk is full.
    pub(super) async fn change(&self, mut operation: UpdateOperation, waited: bool) -> Result<Written, Error> {
        self.check_change(&operation)?;
        translate_change(&mut operation);
        self.writes.spend(|| self.cost(&operation))?;
        self.write(operation, waited).await
    }

    /// Applies several changes one after the other, if strict mode allows them all.
    ///
    /// # Errors
    /// As [`Self::change`]; earlier changes remain.
    pub(super) async fn change_all(
        &self,
        operations: Vec<UpdateOperation>,
        waited: bool,
    ) -> Result<Vec<Written>, Error> {
        operations.iter().try_for_each(|operation| {
            depth::check_change(operation)?;
            self.check_strict(operation)
        })?;
        let mut written = Vec::with_capacity(operations.len());
        for operation in operations {
            written.push(self.change(operation, waited).await?);
        }
        Ok(written)
    }

    fn check_change(&self, operation: &UpdateOperation) -> Result<(), Error> {
        depth::check_change(operation)?;
        match operation {
            UpdateOperation::PointOperation(operation) => {
                if let Some(points) = upserted(operation) {
                    self.with_meta(|meta| check_points(points.iter().map(|point| &point.vector), &meta.config))?;
                }
            }
            UpdateOperation::VectorOperation(VectorOperations::UpdateVectors(update)) => {
                if update.points.is_empty() {
                    return Err(Error::Invalid(
                        "Validation error in JSON body: [points: must specify points to update]".to_owned(),
                    ));
                }
                self.with_meta(|meta| check_points(update.points.iter().map(|point| &point.vector), &meta.config))?;
            }
            UpdateOperation::VectorOperation(
                VectorOperations::DeleteVectors(_, names) | VectorOperations::DeleteVectorsByFilter(_, names),
            ) => {
                if names.is_empty() {
                    return Err(Error::Invalid(
                        "Validation error in JSON body: [vector: must specify vector names to delete]".to_owned(),
                    ));
                }
                names.iter().try_for_each(|name| self.check_vector_name(name))?;
            }
            _ => {}
        }
        self.check_strict(operation)
    }

    fn check_strict(&self, operation: &UpdateOperation) -> Result<(), Error> {
        let grows = match operation {
            UpdateOperation::PointOperation(operation) => upserted(operation).map(|points| ("upsert", points.len())),
            UpdateOperation::VectorOperation(VectorOperations::UpdateVectors(update)) => {
                Some(("update", update.points.len()))
            }
            _ => None,
        };
        self.strict(|strict, indexes| {
            if let Some((what, points)) = grows {
                strict.check_batch(what, points)?;
                strict.check_growth(|growth| self.size(growth))?;
            }
            strict.check_filter(filter_of(operation), indexes, Purpose::Update)
        })
    }

    /// The approximate number of points that a change affects.
    fn cost(&self, operation: &UpdateOperation) -> usize {
        let matching = |filter: &Filter| {
            let request = CountRequest { filter: Some(filter.clone()), exact: false };
            self.shard.call("counting", |shard| shard.count(request)).unwrap_or(1)
        };
        let points = match (operation.point_ids(), filter_of(operation)) {
            (Some(ids), _) => ids.len(),
            (None, Some(filter)) => matching(filter),
            (None, None) => 1,
        };
        points.max(1)
    }

    /// The approximate current size.
    fn size(&self, growth: Growth) -> usize {
        let points = || self.shard.call("describing", |shard| Ok(shard.info().points_count)).unwrap_or_default();
        match growth {
            Growth::Points => points(),
            Growth::Vectors => {
                let numbers = self
                    .with_meta(|meta| meta.config.params.vectors.iter().map(|(_, params)| params.size).sum::<u64>());
                points().saturating_mul(usize::try_from(numbers).unwrap_or(usize::MAX)).saturating_mul(size_of::<f32>())
            }
            Growth::Payload => {
                usize::try_from(used_by(self.shard.directory(), "payload_storage")).unwrap_or(usize::MAX)
            }
        }
    }

    /// Creates a payload index; creating the same one again changes nothing.
    ///
    /// # Errors
    /// The engine rejects it, or the disk is full.
    pub(super) async fn create_index(
        &self,
        field: JsonPath,
        schema: PayloadFieldSchema,
        waited: bool,
    ) -> Result<Written, Error> {
        self.strict(|strict, indexes| strict.check_index_count(indexes.len()))?;
        let operation = FieldIndexOperations::CreateIndex(CreateIndex {
            field_name: field.clone(),
            field_schema: Some(schema.clone()),
        });
        // Even without `wait`: the reported indexes must be correct.
        let written = self.write(UpdateOperation::FieldIndexOperation(operation), true).await?;
        self.change_meta(|meta| {
            meta.indexes.insert(field.to_string(), schema);
            Ok(())
        })?;
        Ok(Written { waited, ..written })
    }

    /// Removes a payload index, if there is one.
    ///
    /// # Errors
    /// The disk is full.
    pub(super) async fn delete_index(&self, field: JsonPath, waited: bool) -> Result<Written, Error> {
        let operation = FieldIndexOperations::DeleteIndex(field.clone());
        // Even without `wait`: the reported indexes must be correct.
        let written = self.write(UpdateOperation::FieldIndexOperation(operation), true).await?;
        self.change_meta(|meta| {
            meta.indexes.remove(&field.to_string());
            Ok(())
        })?;
        Ok(Written { waited, ..written })
    }
}

/// The points that an operation stores.
fn upserted(operation: &PointOperations) -> Option<&[PointStructPersisted]> {
    match operation {
        PointOperations::UpsertPoints(PointInsertOperations::PointsList(points)) => Some(points),
        PointOperations::UpsertPointsConditional(conditional) => match &conditional.points_op {
            PointInsertOperations::PointsList(points) => Some(points),
            PointInsertOperations::PointsBatch(_) => None,
        },
        _ => None,
    }
}

/// The filter by which an operation chooses its points.
fn filter_of(operation: &UpdateOperation) -> Option<&Filter> {
    match operation {
        UpdateOperation::PointOperation(PointOperations::DeletePointsByFilter(filter))
        | UpdateOperation::PayloadOperation(PayloadOps::ClearPayloadByFilter(filter))
        | UpdateOperation::VectorOperation(VectorOperations::DeleteVectorsByFilter(filter, _)) => Some(filter),
        UpdateOperation::PayloadOperation(PayloadOps::SetPayload(it) | PayloadOps::OverwritePayload(it)) => {
            it.filter.as_ref()
        }
        UpdateOperation::PayloadOperation(PayloadOps::DeletePayload(it)) => it.filter.as_ref(),
        _ => None,
    }
}
