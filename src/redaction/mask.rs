//! What is shown instead of a secret, and where.

use std::ops::Range;
use std::sync::Arc;

/// What is shown instead of a secret without a name.
pub const MASK: &str = "********";

/// A secret, or a piece of one, in a text.
#[derive(Debug)]
pub(super) struct Found {
    /// Bytes of the text.
    pub(super) place: Range<usize>,
    /// What is shown instead; `None` for [`MASK`].
    pub(super) shown: Option<Arc<str>>,
}
