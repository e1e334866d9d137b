//! The vectors of stored points that a query names.

use std::collections::HashMap;
use std::sync::Arc;

use qdrant_edge::{PointId, VectorInternal, VectorStructInternal, WithVector};

use super::target::Target;
use crate::collection::Collection;
use crate::error::Error;
use crate::storage::Storage;
use crate::validate::check_query_vector;

/// Where points named by a query are looked up, if not in the searched collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lookup {
    /// Name or alias of the collection.
    pub collection: String,
    /// Their vector; the searched one if `None`.
    pub vector: Option<String>,
}

/// The vectors of the points that a query names.
pub(super) struct NamedPoints {
    name: String,
    found: HashMap<PointId, Option<VectorInternal>>,
}

impl NamedPoints {
    pub(super) async fn fetch(
        storage: &Storage,
        collection: &Arc<Collection>,
        ids: &[PointId],
        lookup: Option<Lookup>,
        using: &str,
    ) -> Result<Self, Error> {
        let (place, name) = match lookup {
            None => (Arc::clone(collection), using.to_owned()),
            Some(Lookup { collection, vector }) => {
                let place = storage
                    .get(&collection)
                    .map_err(|_| Error::NotFound(format!("Collection {collection} not found")))?;
                (place, vector.unwrap_or_else(|| using.to_owned()))
            }
        };
        if ids.is_empty() {
            return Ok(Self { name, found: HashMap::new() });
        }
        place.check_vector_name(&name)?;
        let records =
            place.retrieve(ids.to_vec(), false.into(), WithVector::Selector(vec![name.clone()])).await?.into_iter();
        let found = records.map(|record| (record.id, record.vector.and_then(|vectors| pick(vectors, &name)))).collect();
        Ok(Self { name, found })
    }

    pub(super) fn vector(&self, target: Target, names_missing_points: bool) -> Result<VectorInternal, Error> {
        match target {
            Target::Vector(mut vector) => {
                check_query_vector(&vector)?;
                vector.preprocess();
                Ok(vector)
            }
            Target::Id(id) => match self.found.get(&id) {
                Some(Some(vector)) => Ok(vector.clone()),
                None if names_missing_points => Err(Error::NotFound(format!("No point with id {id} found"))),
                _ => Err(Error::NotFound(format!("Vector with name {:?} for point not found", self.name))),
            },
        }
    }
}

/// The vector `name` of a point.
pub(crate) fn pick(vectors: VectorStructInternal, name: &str) -> Option<VectorInternal> {
    match vectors {
        VectorStructInternal::Single(vector) => Some(VectorInternal::Dense(vector)),
        VectorStructInternal::MultiDense(vectors) => Some(VectorInternal::MultiDense(vectors)),
        VectorStructInternal::Named(mut named) => named.remove(name),
    }
}
