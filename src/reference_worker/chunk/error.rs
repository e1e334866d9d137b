//! Why a chunker cannot be created.

use std::path::PathBuf;

/// Minimum chunk size in tokens: a code point can take four, and a few must fit.
pub(super) const SMALLEST: usize = 16;
/// Maximum chunk size in tokens: the longest context of the models in use.
pub(super) const LARGEST: usize = 32_768;

/// Why a chunker cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The size is out of range.
    #[error("chunk size of {0} tokens is out of range; set it between {SMALLEST} and {LARGEST}, such as 512")]
    Size(usize),
    /// The overlap leaves too little new text in each chunk.
    #[error("chunk overlap of {overlap} tokens is more than half of the chunk size {size}; set it to {} or less", size / 2)]
    Overlap {
        /// The overlap asked for.
        overlap: usize,
        /// The size asked for.
        size: usize,
    },
    /// The tokenizer file is unusable.
    #[error(
        "tokenizer {} is unusable: {detail}; set CHUNK_TOKENIZER to the model's tokenizer.json, or leave it unset \
         for cl100k_base",
        path.display()
    )]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}
