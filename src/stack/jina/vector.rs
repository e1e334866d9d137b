//! Vectors that are a function of the request, and a seeded random number generator.

use sha2::{Digest, Sha256};

/// A small generator of uniform 64-bit numbers (`SplitMix64`), the same on every machine and in every version.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    /// A generator that gives the same numbers for the same seed.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(super) const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `limit`; 0 when the limit is 0.
    pub(super) const fn below(&mut self, limit: u64) -> u64 {
        let bits = self.next_u64();
        if limit == 0 { 0 } else { bits % limit }
    }

    /// Shuffles `items`.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            // The remainder is at most `last`, which is a usize.
            let other = usize::try_from(self.below(last as u64 + 1)).unwrap_or(last);
            items.swap(last, other);
        }
    }
}

/// The unit vector for `text` under `model` and `task`, of `dimensions` components.
///
/// Its direction is uniform over the sphere: the vectors of two texts are almost orthogonal (a cosine of about
/// 1/√dimensions), so a vector of the wrong text cannot be confused with the right one.
pub(super) fn unit(model: &str, task: &str, dimensions: u32, text: &str) -> Vec<f32> {
    let mut hash = Sha256::new();
    for part in [model, task, &dimensions.to_string(), text] {
        // The lengths keep ("ab", "c") and ("a", "bc") distinct.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut rng = Rng::new(digest.iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte)));
    let mut vector: Vec<f32> = (0..dimensions)
        .map(|_| {
            // The sum of four uniform numbers is close enough to a normal distribution.
            let bits = rng.next_u64();
            let sum = word(bits) + word(bits >> 16) + word(bits >> 32) + word(bits >> 48);
            single(sum - 2.0 * 65_535.0)
        })
        .collect();
    normalise(&mut vector);
    vector
}

/// The lowest 16 bits as a number.
const fn word(bits: u64) -> f64 {
    (bits & 0xffff) as u16 as f64
}

#[expect(clippy::cast_possible_truncation, reason = "the API uses single precision")]
const fn single(value: f64) -> f32 {
    value as f32
}

/// Scales `vector` to length 1.
fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        for value in vector {
            *value = single(f64::from(*value) / length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(left: &[f32], right: &[f32]) -> f64 {
        left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
    }

    #[test]
    fn the_same_text_has_the_same_unit_vector() {
        let vector = unit("m", "t", 1024, "text");
        assert_eq!(vector, unit("m", "t", 1024, "text"));
        assert!((cosine(&vector, &vector) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn different_texts_tasks_and_models_are_almost_orthogonal() {
        let vector = unit("m", "t", 1024, "text");
        for other in [unit("m", "t", 1024, "texu"), unit("m", "u", 1024, "text"), unit("n", "t", 1024, "text")] {
            assert!(cosine(&vector, &other).abs() < 0.2);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_order() {
        let order = |seed| {
            let mut items: Vec<u32> = (0..20).collect();
            Rng::new(seed).shuffle(&mut items);
            items
        };
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
        let mut sorted = order(7);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<u32>>());
    }
}
