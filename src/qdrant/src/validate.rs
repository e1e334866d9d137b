//! Checks of vectors before anything is written, so that a wrong one is rejected even without `wait`.

use qdrant_edge::{DEFAULT_VECTOR_NAME, SparseVector, VectorInternal, VectorPersisted, VectorStructPersisted};

use super::config::{Config, VectorParams};
use super::error::Error;

/// Checks names, kinds, sizes and numbers of the vectors of some points.
///
/// # Errors
/// The first vector that does not fit.
pub(super) fn check_points<'a>(
    vectors: impl Iterator<Item = &'a VectorStructPersisted>,
    config: &Config,
) -> Result<(), Error> {
    for vector in vectors {
        match vector {
            VectorStructPersisted::Single(vector) => check_dense(vector, DEFAULT_VECTOR_NAME, config)?,
            VectorStructPersisted::MultiDense(vectors) => check_multi(vectors, DEFAULT_VECTOR_NAME, config)?,
            VectorStructPersisted::Named(vectors) => {
                for (name, vector) in vectors {
                    check_named(vector, name, config)?;
                }
            }
        }
    }
    Ok(())
}

fn check_named(vector: &VectorPersisted, name: &str, config: &Config) -> Result<(), Error> {
    match vector {
        VectorPersisted::Dense(vector) => check_dense(vector, name, config),
        VectorPersisted::MultiDense(vectors) => check_multi(vectors, name, config),
        VectorPersisted::Sparse(sparse) => {
            if !config.has_sparse(name) {
                return Err(if config.params.vectors.get(name).is_some() {
                    Error::BadInput("Conversion between sparse and regular vectors failed".to_owned())
                } else {
                    Error::no_vector(name)
                });
            }
            check_sparse(sparse)
        }
    }
}

fn check_sparse(sparse: &SparseVector) -> Result<(), Error> {
    let invalid = |text: &str| Err(Error::Invalid(format!("Validation error in JSON body: [{text}]")));
    if sparse.indices.len() != sparse.values.len() {
        return invalid("values: must be the same length as indices");
    }
    check_finite(&sparse.values)?;
    let mut indices = sparse.indices.clone();
    indices.sort_unstable();
    if indices.windows(2).any(|pair| pair[0] == pair[1]) { invalid("indices: must be unique") } else { Ok(()) }
}

/// Checks the target of a search, as far as possible without its collection.
///
/// # Errors
/// It is empty, a number is not finite, or a sparse vector is contradictory.
pub(super) fn check_query_vector(vector: &VectorInternal) -> Result<(), Error> {
    match vector {
        VectorInternal::Dense(vector) if vector.is_empty() => {
            Err(Error::Invalid("Validation error in JSON body: [vector must not be empty]".to_owned()))
        }
        VectorInternal::Sparse(sparse) => check_sparse(sparse),
        VectorInternal::Dense(vector) => check_finite(vector),
        VectorInternal::MultiDense(vectors) => check_finite(&vectors.flattened_vectors),
    }
}

fn params<'a>(name: &str, config: &'a Config) -> Result<&'a VectorParams, Error> {
    config.params.vectors.get(name).ok_or_else(|| {
        if config.has_sparse(name) {
            Error::BadInput("Conversion between sparse and regular vectors failed".to_owned())
        } else {
            Error::no_vector(name)
        }
    })
}

fn check_dense(vector: &[f32], name: &str, config: &Config) -> Result<(), Error> {
    let params = params(name, config)?;
    let expected = usize::try_from(params.size).unwrap_or(usize::MAX);
    if vector.len() == expected { check_finite(vector) } else { Err(Error::dimension(expected, vector.len(), name)) }
}

/// Scores of other numbers have no order, and JSON cannot express them.
fn check_finite(vector: &[f32]) -> Result<(), Error> {
    match vector.iter().find(|number| !number.is_finite()) {
        None => Ok(()),
        Some(number) => Err(Error::Invalid(format!(
            "Validation error in JSON body: [vector: value {number} invalid, must be a finite number of 32 bits]"
        ))),
    }
}

fn check_multi(vectors: &[Vec<f32>], name: &str, config: &Config) -> Result<(), Error> {
    if params(name, config)?.multivector_config.is_none() {
        return Err(Error::BadInput("Conversion between multi and regular vectors failed".to_owned()));
    }
    if vectors.is_empty() {
        return Err(Error::Invalid("Validation error in JSON body: [multivector must not be empty]".to_owned()));
    }
    vectors.iter().try_for_each(|vector| check_dense(vector, name, config))
}
