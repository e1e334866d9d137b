//! Random names and secrets.

use rand::distr::{Alphanumeric, SampleString};

/// `length` random letters and digits from the generator of the system.
pub(in crate::stack) fn random_word(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}
