//! The size of a change, for the decision when to optimise.

use qdrant_edge::{PointInsertOperations, PointOperations, UpdateOperation, VectorPersisted, VectorStructPersisted};

/// Estimated bytes of dense vectors that an operation adds; 1 for other changes, so that they count at all.
pub(super) fn vector_bytes(operation: &UpdateOperation) -> u64 {
    let UpdateOperation::PointOperation(PointOperations::UpsertPoints(PointInsertOperations::PointsList(points))) =
        operation
    else {
        return 1;
    };
    let numbers: usize = points
        .iter()
        .map(|point| match &point.vector {
            VectorStructPersisted::Single(vector) => vector.len(),
            VectorStructPersisted::MultiDense(vectors) => vectors.iter().map(Vec::len).sum(),
            VectorStructPersisted::Named(vectors) => vectors
                .values()
                .map(|vector| match vector {
                    VectorPersisted::Dense(vector) => vector.len(),
                    VectorPersisted::MultiDense(vectors) => vectors.iter().map(Vec::len).sum(),
                    VectorPersisted::Sparse(_) => 0,
                })
                .sum(),
        })
        .sum();
    numbers as u64 * 4
}
