//! Combines examples into one vector, for recommendations.
//!
//! Source of the rule: Qdrant's `average_vector` strategy, `mean(positive) + (mean(positive) - mean(negative))`.

use qdrant_edge::{SparseVector, VectorInternal};

use super::error::Error;

/// Twice the mean of the positive examples minus the mean of the negative ones.
///
/// # Errors
/// There is no positive example, or the examples are of different kinds.
pub(super) fn average(positive: Vec<VectorInternal>, negative: Vec<VectorInternal>) -> Result<VectorInternal, Error> {
    let positive = mean(positive)?;
    if negative.is_empty() {
        return Ok(positive);
    }
    match (positive, mean(negative)?) {
        (VectorInternal::Dense(positive), VectorInternal::Dense(negative)) => {
            Ok(VectorInternal::Dense(positive.iter().zip(&negative).map(|(good, bad)| good + good - bad).collect()))
        }
        (VectorInternal::Sparse(positive), VectorInternal::Sparse(negative)) => {
            Ok(VectorInternal::Sparse(positive.combine_aggregate(&negative, |good, bad| good + good - bad)))
        }
        (VectorInternal::MultiDense(mut positive), VectorInternal::MultiDense(negative)) => {
            positive.flattened_vectors.extend(negative.flattened_vectors.iter().map(|number| -number));
            Ok(VectorInternal::MultiDense(positive))
        }
        _ => Err(Error::BadInput(
            "Positive and negative vectors should be of the same type, either all dense or all sparse or all multi"
                .to_owned(),
        )),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a mean over fewer examples than a float can count")]
fn mean(vectors: Vec<VectorInternal>) -> Result<VectorInternal, Error> {
    let count = vectors.len() as f32;
    let mixed = || Error::BadInput("Can't average vectors with different types".to_owned());
    let mut vectors = vectors.into_iter();
    let first = vectors
        .next()
        .ok_or_else(|| Error::BadInput("Positive vectors should not be empty with `average` strategy".to_owned()))?;
    let sum = vectors.try_fold(first, |sum, next| match (sum, next) {
        (VectorInternal::Dense(mut sum), VectorInternal::Dense(next)) => {
            for (total, number) in sum.iter_mut().zip(&next) {
                *total += number;
            }
            Ok(VectorInternal::Dense(sum))
        }
        (VectorInternal::Sparse(sum), VectorInternal::Sparse(next)) => {
            Ok(VectorInternal::Sparse(sum.combine_aggregate(&next, |left, right| left + right)))
        }
        // All parts of all multivectors count.
        (VectorInternal::MultiDense(mut sum), VectorInternal::MultiDense(next)) => {
            sum.flattened_vectors.extend_from_slice(&next.flattened_vectors);
            Ok(VectorInternal::MultiDense(sum))
        }
        _ => Err(mixed()),
    })?;
    Ok(match sum {
        VectorInternal::Dense(sum) => VectorInternal::Dense(sum.into_iter().map(|total| total / count).collect()),
        VectorInternal::Sparse(sum) => VectorInternal::Sparse(SparseVector {
            indices: sum.indices,
            values: sum.values.into_iter().map(|total| total / count).collect(),
        }),
        multi @ VectorInternal::MultiDense(_) => multi,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dense(numbers: &[f32]) -> VectorInternal {
        VectorInternal::Dense(numbers.to_vec())
    }

    #[test]
    fn positive_examples_attract_and_negative_ones_repel() {
        let only_good = average(vec![dense(&[1.0, 0.0]), dense(&[3.0, 2.0])], Vec::new());
        assert_eq!(only_good, Ok(dense(&[2.0, 1.0])));
        let both = average(vec![dense(&[1.0, 0.0]), dense(&[3.0, 2.0])], vec![dense(&[1.0, 1.0])]);
        assert_eq!(both, Ok(dense(&[3.0, 1.0])));
    }

    #[test]
    fn sparse_examples_are_joined_by_index() {
        let sparse = |indices: &[u32], values: &[f32]| {
            VectorInternal::Sparse(SparseVector { indices: indices.to_vec(), values: values.to_vec() })
        };
        let mean = average(vec![sparse(&[1, 2], &[2.0, 4.0]), sparse(&[2, 5], &[2.0, 6.0])], Vec::new());
        assert_eq!(mean, Ok(sparse(&[1, 2, 5], &[1.0, 3.0, 3.0])));
    }

    #[test]
    fn missing_positive_examples_and_mixed_kinds_are_rejected() {
        assert!(average(Vec::new(), vec![dense(&[1.0])]).is_err());
        let sparse = VectorInternal::Sparse(SparseVector { indices: vec![1], values: vec![1.0] });
        assert!(average(vec![dense(&[1.0]), sparse], Vec::new()).is_err());
    }
}
