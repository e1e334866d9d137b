//! The comparison of stored vectors with those that the embeddings API gave for the texts that were sent to it.

mod difference;
mod matching;

pub use difference::{EmbeddingDifference, VectorMatch, VectorMismatch};
pub use matching::VectorMatches;

/// The largest cosine distance at which a stored vector counts as the mock's. Qdrant normalises vectors and stores f32 or
/// f16, and f16 costs 1e-7. Rounding to three decimals costs 5e-5.
const VECTOR_TOLERANCE: f64 = 5e-6;

/// The cosine distance of two vectors, from 0 to 2; not a number if their lengths differ or one has length 0.
fn cosine_distance(left: &[f32], right: &[f32]) -> f64 {
    if left.len() != right.len() {
        return f64::NAN;
    }
    let dot = |left: &[f32], right: &[f32]| -> f64 {
        left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
    };
    1.0 - dot(left, right) / (dot(left, left).sqrt() * dot(right, right).sqrt())
}
