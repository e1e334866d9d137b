//! What a query searches for: a vector, or the vector of a point that it names.

use qdrant_edge::{PointId, Vector, VectorInternal};

use crate::error::Error;

/// The target of a search.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    /// The vector of a stored point; the point itself is excluded.
    Id(PointId),
    /// A vector.
    Vector(VectorInternal),
}

impl Target {
    /// Several dense vectors as one multivector.
    ///
    /// # Errors
    /// They are empty or of different sizes.
    pub(crate) fn multi(vectors: Vec<Vec<f32>>) -> Result<Self, Error> {
        if vectors.is_empty() || vectors.iter().any(Vec::is_empty) {
            return Err(Error::Invalid("Validation error in JSON body: [multivector must not be empty]".to_owned()));
        }
        Ok(Self::Vector(Vector::new_multi(vectors)?.into()))
    }
}
