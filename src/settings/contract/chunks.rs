//! `[chunks]`: what the worker promises about its chunks. Without it, what ordinary splitters and vector stores do is
//! permitted.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;

use crate::spec::Range;

/// `[chunks]`: size, overlap, text and ids of chunks.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunksContract {
    /// The size of a chunk.
    pub size: ChunkFigure,
    /// What two neighbouring chunks share.
    pub overlap: ChunkFigure,
    /// Whether blanks at the edges of a chunk may be missing.
    pub whitespace: Whitespace,
    /// Characters that the worker may remove.
    pub drops: Vec<Dropped>,
    /// What becomes of the ids of points when a document is ingested again; `None` if the contract does not say.
    pub ids: Option<PointIds>,
    /// How the text that is embedded may differ from the text that is stored.
    pub embedded: Embedded,
}

/// A figure that the contract may declare.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum ChunkFigure {
    /// The contract says nothing, so the figures of the suite are a recommendation.
    #[default]
    Undeclared,
    /// The contract says `false`.
    NotJudged,
    /// The bounds of the contract.
    Within(SizeUnit, Range),
}

/// What the size of a text is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeUnit {
    /// Tokens of `cl100k_base`.
    Tokens,
    /// Unicode characters.
    Characters,
}

impl fmt::Display for SizeUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tokens => "tokens",
            Self::Characters => "characters",
        })
    }
}

/// What may happen to blanks at the edges of a chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whitespace {
    /// They may be missing, as in the chunks of ordinary splitters.
    #[default]
    Trimmed,
    /// They are kept: the chunks give the document back byte by byte.
    Exact,
}

/// A character that a worker may remove from texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dropped {
    /// U+0000, which a text in Postgres cannot hold.
    Nul,
}

impl Dropped {
    const fn character(self) -> char {
        match self {
            Self::Nul => '\0',
        }
    }
}

/// What becomes of the ids of points when a document is ingested again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PointIds {
    /// The points are replaced by points with other ids and the same contents.
    Replaced,
    /// The same chunk has the same id.
    Stable,
}

/// How the text that is embedded may differ from the text that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedded {
    /// Whether newlines may be replaced by spaces.
    pub newlines_replaced: bool,
    /// Whether a title or other metadata may stand in front of the text.
    pub prefix: bool,
}

/// Whether a splitter may trim this character at the edges of a chunk: what JavaScript's `trim` or Python's `strip`
/// removes.
#[must_use]
pub fn is_blank(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{feff}' | '\u{1c}'..='\u{1f}')
}

impl Default for ChunksContract {
    fn default() -> Self {
        Self {
            size: ChunkFigure::Undeclared,
            overlap: ChunkFigure::Undeclared,
            whitespace: Whitespace::Trimmed,
            drops: vec![Dropped::Nul],
            ids: None,
            embedded: Embedded { newlines_replaced: true, prefix: true },
        }
    }
}

impl ChunksContract {
    /// What the reference worker promises: every figure, and nothing removed or replaced.
    #[must_use]
    pub fn reference() -> Self {
        let between = |at_least: f64, at_most: f64| {
            let range = Range { at_least: Some(at_least), at_most: Some(at_most) };
            ChunkFigure::Within(SizeUnit::Tokens, range)
        };
        Self {
            size: between(1.0, 512.0),
            overlap: between(45.0, 75.0),
            whitespace: Whitespace::Exact,
            drops: Vec::new(),
            ids: Some(PointIds::Stable),
            embedded: Embedded { newlines_replaced: false, prefix: false },
        }
    }

    /// Whether the blanks at the edges of a chunk may be missing.
    #[must_use]
    pub fn trims(&self) -> bool {
        self.whitespace == Whitespace::Trimmed
    }

    /// Whether the worker may remove this character.
    #[must_use]
    pub fn may_drop(&self, character: char) -> bool {
        self.drops.iter().any(|dropped| dropped.character() == character)
    }

    /// `text` without the characters that the worker may remove.
    #[must_use]
    pub fn without_dropped<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if text.chars().any(|character| self.may_drop(character)) {
            Cow::Owned(text.chars().filter(|character| !self.may_drop(*character)).collect())
        } else {
            Cow::Borrowed(text)
        }
    }
}
