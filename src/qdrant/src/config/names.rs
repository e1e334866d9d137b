//! Vectors that are added to or removed from an existing collection.

use qdrant_edge::{DEFAULT_VECTOR_NAME, VectorNameConfig, VectorStorageDatatype};

use super::{Config, MAX_DIMENSIONS, SparseIndex, SparseVectorParams, VectorParams, Vectors};
use crate::error::Error;

/// Longest vector name in bytes, as in Qdrant.
const NAME_LIMIT: usize = 200;
/// Characters that names must not contain, as in Qdrant.
const FORBIDDEN: [char; 11] = ['<', '>', ':', '"', '/', '\\', '|', '?', '*', '\0', '\u{1f}'];

impl Config {
    /// Adds the vector `name`; nothing changes if it already exists.
    ///
    /// # Errors
    /// The name or the size is invalid (422), or another vector has the name.
    pub(crate) fn add_vector(&mut self, name: &str, vector: &VectorNameConfig) -> Result<(), Error> {
        check_name(name)?;
        let taken = |text: &str| Err(Error::BadInput(text.to_owned()));
        match vector {
            VectorNameConfig::Dense(wrapper) => {
                let dense = &wrapper.dense;
                if dense.size == 0 || dense.size as u64 > MAX_DIMENSIONS {
                    return Err(Error::Invalid(format!(
                        "Validation error in JSON body: [dense.size: value {} invalid, must be from 1 to {MAX_DIMENSIONS}]",
                        dense.size
                    )));
                }
                let new = VectorParams {
                    size: dense.size as u64,
                    distance: dense.distance,
                    hnsw_config: None,
                    quantization_config: None,
                    on_disk: None,
                    datatype: dense.datatype,
                    multivector_config: dense.multivector_config,
                };
                if let Some(old) = self.params.vectors.get(name) {
                    // How it is indexed and stored may have changed since.
                    let shape = |it: &VectorParams| (it.size, it.distance, it.datatype, it.multivector_config);
                    if shape(old) != shape(&new) {
                        return taken(&format!("Vector `{name}` already exists with a different configuration"));
                    }
                } else if self.has_sparse(name) {
                    return taken(&format!("Vector `{name}` already exists as a sparse vector"));
                } else {
                    self.params.vectors.insert(name, new);
                }
            }
            VectorNameConfig::Sparse(wrapper) => {
                let sparse = &wrapper.sparse;
                if sparse.datatype == Some(VectorStorageDatatype::Turbo4) {
                    return Err(Error::Invalid(
                        "Validation error in JSON body: [sparse.datatype: Turbo4 is not supported for sparse vectors]"
                            .to_owned(),
                    ));
                }
                let index =
                    sparse.datatype.map(|datatype| SparseIndex { datatype: Some(datatype), ..Default::default() });
                let new = SparseVectorParams { index, modifier: sparse.modifier };
                if self.params.vectors.get(name).is_some() {
                    return taken(&format!("Vector `{name}` already exists as a dense vector"));
                }
                let all = self.params.sparse_vectors.get_or_insert_default();
                let shape = |it: &SparseVectorParams| (it.modifier, it.index.as_ref().and_then(|index| index.datatype));
                if all.get(name).is_some_and(|old| shape(old) != shape(&new)) {
                    return taken(&format!("Sparse vector `{name}` already exists with a different configuration"));
                }
                all.entry(name.to_owned()).or_insert(new);
            }
        }
        Ok(())
    }

    /// Removes the vector `name`, if it exists.
    pub(crate) fn remove_vector(&mut self, name: &str) {
        match &mut self.params.vectors {
            Vectors::Single(_) if name == DEFAULT_VECTOR_NAME => self.params.vectors = Vectors::default(),
            Vectors::Single(_) => {}
            Vectors::Named(map) => drop(map.remove(name)),
        }
        if let Some(sparse) = &mut self.params.sparse_vectors {
            sparse.remove(name);
        }
    }
}

impl Vectors {
    fn insert(&mut self, name: &str, params: VectorParams) {
        if let Self::Single(single) = self {
            let unnamed = (DEFAULT_VECTOR_NAME.to_owned(), (**single).clone());
            *self = Self::Named([unnamed].into());
        }
        if let Self::Named(map) = self {
            map.insert(name.to_owned(), params);
        }
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let bad = |why: &str| Err(Error::BadInput(format!("Invalid vector name `{name}`: {why}")));
    if name.len() > NAME_LIMIT {
        return bad(&format!("vector name must be at most {NAME_LIMIT} bytes long"));
    }
    match name.chars().find(|character| FORBIDDEN.contains(character)) {
        Some(character) => bad(&format!("vector name cannot contain \"{character}\" char")),
        None => Ok(()),
    }
}
