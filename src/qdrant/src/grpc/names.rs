//! Vectors that are added to an existing collection.

use qdrant_client::qdrant::Modifier as ProtoModifier;
use qdrant_client::qdrant::create_vector_name_request::VectorConfig;
use qdrant_edge::{
    DenseVectorConfig, Modifier, MultiVectorComparator, MultiVectorConfig, SparseVectorConfig, VectorNameConfig,
};

use super::config::{datatype_from, distance_from};
use crate::error::Error;

/// The requested vector.
///
/// # Errors
/// There is none, or it has an unknown field.
pub(super) fn config_from(config: Option<VectorConfig>) -> Result<VectorNameConfig, Error> {
    let missing = || Error::Format("vector_config is required (dense_config or sparse_config)".to_owned());
    match config.ok_or_else(missing)? {
        VectorConfig::DenseConfig(dense) => Ok(VectorNameConfig::dense(DenseVectorConfig {
            size: usize::try_from(dense.size).unwrap_or(usize::MAX),
            distance: distance_from(dense.distance())?,
            multivector_config: dense
                .multivector_config
                .map(|_| MultiVectorConfig { comparator: MultiVectorComparator::MaxSim }),
            datatype: dense.datatype.map(datatype_from).transpose()?.flatten(),
        })),
        VectorConfig::SparseConfig(sparse) => Ok(VectorNameConfig::sparse(SparseVectorConfig {
            modifier: (sparse.modifier() == ProtoModifier::Idf).then_some(Modifier::Idf),
            datatype: sparse.datatype.map(datatype_from).transpose()?.flatten(),
        })),
    }
}
