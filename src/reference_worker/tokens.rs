//! Which tokens are counted: `cl100k_base` by default, or the model's own from a `tokenizer.json`.

use std::fmt;
use std::path::Path;

use tokenizers::Tokenizer;

use super::chunk::ChunkError;

/// Bytes of a document that a tokenizer from a file gets at once, so that its memory stays bounded.
const SEGMENT: usize = 16 * 1024;

/// A tokenizer.
pub enum Tokens {
    /// `cl100k_base`: its vocabulary is part of the program, and it works without a network.
    Cl100k,
    /// A model's own, in the format of Hugging Face's `tokenizer.json`.
    File(Box<Tokenizer>),
}

impl fmt::Debug for Tokens {
    /// Only the kind: the vocabulary has a hundred thousand entries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cl100k => "Cl100k",
            Self::File(_) => "File",
        })
    }
}

/// The end of a token, and whether a piece ends with it: its byte offset and one bit, in one word.
///
/// A *piece* (a pre-token: roughly a word with the space before it) is tokenised on its own, so a cut at
/// the end of a piece changes no token on either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(usize);

impl Mark {
    pub(super) const fn new(end: usize, ends_piece: bool) -> Self {
        Self(end << 1 | ends_piece as usize)
    }

    /// Byte offset of the token's end; with `cl100k_base` it can lie inside a code point.
    pub(super) const fn end(self) -> usize {
        self.0 >> 1
    }

    /// Whether a piece ends here too.
    pub(super) const fn ends_piece(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Tokens {
    /// Reads a `tokenizer.json`. Truncation and padding that it asks for are switched off.
    ///
    /// # Errors
    /// [`ChunkError::Tokenizer`] when the file cannot be read, parsed or used.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ChunkError> {
        let path = path.as_ref();
        let unusable = |detail: String| ChunkError::Tokenizer { path: path.to_owned(), detail };
        let json = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(|error| unusable(error.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| unusable(error.to_string()))?;
        // A vocabulary without a token for the unknown fails here, and not on the first odd document.
        tokenizer.encode("a\u{0}\u{10FFFF}", false).map_err(|error| unusable(error.to_string()))?;
        Ok(Self::File(Box::new(tokenizer)))
    }

    /// The number of tokens of `text` alone, without special tokens.
    ///
    /// A text that a tokenizer from a file rejects counts one token a byte: more than any tokenizer makes.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        match self {
            Self::Cl100k => bpe_openai::cl100k_base().count(text),
            Self::File(tokenizer) => {
                tokenizer.encode_fast(text, false).map_or(text.len(), |encoding| encoding.get_ids().len())
            }
        }
    }

    /// Whether a cut at the end of a piece is sure to leave the tokens on both sides as they are.
    pub(super) const fn cuts_cleanly(&self) -> bool {
        matches!(self, Self::Cl100k)
    }

    /// Length in bytes of the first piece of `text`, at least one character unless `text` is empty.
    pub(super) fn first_piece(&self, text: &str) -> usize {
        match self {
            Self::Cl100k => bpe_openai::cl100k_base().split(text).next().map_or(text.len(), str::len),
            Self::File(_) => segment(text),
        }
    }

    /// Appends the tokens of one piece, which begins at byte `at` of the document.
    pub(super) fn mark(&self, piece: &str, at: usize, marks: &mut Vec<Mark>) {
        let end = at + piece.len();
        match self {
            Self::Cl100k => {
                let bpe = &bpe_openai::cl100k_base().bpe;
                let mut position = at;
                for token in bpe.encode_via_backtracking(piece.as_bytes()) {
                    position += bpe.token_len(token);
                    marks.push(Mark::new(position, position == end));
                }
            }
            Self::File(tokenizer) => {
                let Ok(encoding) = tokenizer.encode(piece, false) else {
                    marks.extend((at + 1..=end).map(|position| Mark::new(position, position == end)));
                    return;
                };
                let mut position = at;
                for (_, token_end) in encoding.get_offsets() {
                    position = position.max(at + token_end).min(end);
                    marks.push(Mark::new(position, false));
                }
                // What the normaliser dropped at the end still belongs to the last token.
                match marks.last_mut() {
                    Some(last) if last.end() > at => *last = Mark::new(end, true),
                    _ => marks.push(Mark::new(end, true)),
                }
            }
        }
    }
}

/// Length of the first part of `text` of at most [`SEGMENT`] bytes, ended at a line or a word if it has any.
fn segment(text: &str) -> usize {
    if text.len() <= SEGMENT {
        return text.len();
    }
    let head = &text[..text.floor_char_boundary(SEGMENT)];
    let line = head.rfind('\n').map(|at| at + 1);
    let word = || head.rfind(char::is_whitespace).filter(|at| *at > 0);
    line.or_else(word).unwrap_or(head.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word-level tokenizer as its library writes it, which asks for truncation to three tokens.
    const WORDS: &str = r#"{"version":"1.0","truncation":{"direction":"Right","max_length":3,"strategy":"LongestFirst","stride":0},
        "padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,
        "decoder":null,"model":{"type":"WordLevel","vocab":{"[UNK]":0,"tide":1,"clerk":2},"unk_token":"[UNK]"}}"#;

    fn words() -> Tokens {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokenizer.json");
        std::fs::write(&path, WORDS).unwrap();
        Tokens::from_file(&path).unwrap()
    }

    #[test]
    fn a_file_tokenizer_counts_past_the_truncation_it_asks_for() {
        assert_eq!(words().count("tide clerk tide clerk tide"), 5);
    }

    #[test]
    fn a_file_tokenizer_marks_the_ends_of_its_tokens() {
        let mut marks = Vec::new();
        words().mark("tide clerk ", 10, &mut marks);
        assert_eq!(marks, [Mark::new(14, false), Mark::new(21, true)]);
    }

    #[test]
    fn a_missing_tokenizer_is_named_with_a_remedy() {
        let error = Tokens::from_file("no/such/tokenizer.json").unwrap_err().to_string();
        assert!(error.contains("no/such/tokenizer.json") && error.contains("CHUNK_TOKENIZER"), "{error}");
    }

    #[test]
    fn an_invalid_tokenizer_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokenizer.json");
        std::fs::write(&path, "{}").unwrap();
        assert!(Tokens::from_file(&path).unwrap_err().to_string().contains("tokenizer.json"));
    }

    #[test]
    fn segments_end_at_lines_and_words_and_always_advance() {
        let line = format!("{}\n{}", "a".repeat(100), "b".repeat(2 * SEGMENT));
        assert_eq!(segment(&line), 101);
        let word = format!("{} {}", "a".repeat(100), "b".repeat(2 * SEGMENT));
        assert_eq!(segment(&word), 100);
        assert_eq!(segment(&"é".repeat(SEGMENT)), SEGMENT);
        assert_eq!(segment(&format!(" {}", "a".repeat(2 * SEGMENT))), SEGMENT);
    }
}
