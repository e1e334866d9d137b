//! Splits a document into overlapping chunks with a maximum number of tokens, each an exact part of the text.
//!
//! The document is tokenised once. A chunk begins and ends, where the text allows, where a *piece* (a
//! pre-token) does, so that its own tokens are those of the document and their number needs no recount;
//! only a cut inside a piece (scripts without spaces, very long words) is counted again, and only there.

mod boundary;
mod error;
mod stream;
#[cfg(test)]
mod tests;

use super::tokens::{Mark, Tokens};
use boundary::{Rank, between_clusters, cluster_before, cluster_floor, code_point_before, rank};
use error::{LARGEST, SMALLEST};
use stream::Stream;

pub use error::ChunkError;

/// How long chunks are, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkOptions {
    /// Maximum tokens per chunk, 16 to 32768.
    pub size: usize,
    /// Minimum tokens that a chunk shares with the one before it, at most half of `size`; 0 for none.
    pub overlap: usize,
}

impl Default for ChunkOptions {
    fn default() -> Self {
        Self { size: 512, overlap: 50 }
    }
}

/// A chunk: where it lies in the text, and how many tokens it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Byte offset of its first byte.
    pub start: usize,
    /// Byte offset after its last byte.
    pub end: usize,
    /// Tokens of the chunk's text alone, without special tokens.
    pub tokens: usize,
}

/// Splits documents into chunks.
#[derive(Debug)]
pub struct Chunker {
    options: ChunkOptions,
    tokens: Tokens,
}

impl Chunker {
    /// Creates a chunker.
    ///
    /// # Errors
    /// [`ChunkError::Size`] or [`ChunkError::Overlap`] if the options are invalid.
    pub fn new(options: ChunkOptions, tokens: Tokens) -> Result<Self, ChunkError> {
        let ChunkOptions { size, overlap } = options;
        if !(SMALLEST..=LARGEST).contains(&size) {
            return Err(ChunkError::Size(size));
        }
        if overlap > size / 2 {
            return Err(ChunkError::Overlap { overlap, size });
        }
        Ok(Self { options, tokens })
    }

    /// The chunks of `text`, in order: none for an empty text.
    ///
    /// They cover the text without a gap, each ends after the one before it, none is longer than the size
    /// asked for. A chunk ends at the best boundary (blank line, line, sentence, word) in its last
    /// quarter, and never inside a grapheme cluster, except inside one that alone is longer than a chunk:
    /// that one is cut between code points. What two chunks share begins at a word, or, in a script
    /// without spaces, at a grapheme cluster.
    #[must_use]
    pub fn chunks(&self, text: &str) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut splitter = Splitter {
            options: self.options,
            tokens: &self.tokens,
            stream: Stream::new(&self.tokens, text),
            text,
            own: Vec::new(),
        };
        let (mut start, mut done) = (0, 0);
        while done < text.len() {
            let mut cut = splitter.cut(start, done);
            let too_long = cut.tokens > self.options.size;
            if (cut.inside_cluster || too_long) && start < done {
                // Without the overlap the cluster may fit.
                let alone = splitter.cut(done, done);
                if alone.inside_cluster && !too_long {
                    // The marks have to be those of the chunk.
                    cut = splitter.cut(start, done);
                } else {
                    (start, cut) = (done, alone);
                }
            }
            chunks.push(Chunk { start, end: cut.end, tokens: cut.tokens });
            start = splitter.next_start(start, cut);
            done = cut.end;
        }
        chunks
    }
}

/// Where a chunk ends.
#[derive(Debug, Clone, Copy)]
struct Cut {
    end: usize,
    tokens: usize,
    /// No grapheme boundary was in reach.
    inside_cluster: bool,
}

/// One document on its way through the chunker.
struct Splitter<'a> {
    options: ChunkOptions,
    tokens: &'a Tokens,
    stream: Stream<'a>,
    text: &'a str,
    /// Tokens of the text from the start of the current chunk on, as far as a chunk can reach.
    own: Vec<Mark>,
}

impl Splitter<'_> {
    /// The end of the chunk that begins at `start` and must reach beyond `done`.
    fn cut(&mut self, start: usize, done: usize) -> Cut {
        let size = self.options.size;
        self.stream.own_marks(start, size + 1, &mut self.own);
        let mut limit = size.min(self.own.len());
        if self.own.len() <= size && self.own.last().is_some_and(|mark| mark.end() == self.text.len()) {
            let tokens = self.count(start, self.text.len());
            if tokens <= size {
                return Cut { end: self.text.len(), tokens, inside_cluster: false };
            }
        }
        // With `cl100k_base` the first round succeeds, but for cuts inside a piece.
        while limit > 0 {
            let (end, inside_cluster) = self.best_end(start, done, limit);
            let tokens = self.count(start, end);
            if tokens <= size || end <= code_point_after(self.text, done) {
                return Cut { end, tokens, inside_cluster };
            }
            limit = limit.saturating_sub((tokens - size).max(1));
        }
        // A tokenizer with more tokens for one character than a chunk may have: advance by one anyway.
        let end = code_point_after(self.text, done);
        Cut { end, tokens: self.count(start, end), inside_cluster: true }
    }

    /// The best end of at most `limit` tokens by the marks, and whether it lies inside a cluster.
    fn best_end(&self, start: usize, done: usize, limit: usize) -> (usize, bool) {
        let rest = &self.text[start..];
        let window = limit - limit / 4;
        let mut best: Option<(Rank, usize)> = None;
        for mark in self.own[window.saturating_sub(1)..limit].iter().rev() {
            let end = mark.end();
            if end <= done || best.is_some_and(|(rank, _)| rank == Rank::Paragraph) {
                break;
            }
            if self.is_candidate(*mark) {
                let rank = rank(rest, end - start);
                if rank > Rank::Cluster
                    && best.is_none_or(|(best, _)| rank > best)
                    && between_clusters(rest, end - start)
                {
                    best = Some((rank, end));
                }
            }
        }
        if let Some((_, end)) = best {
            return (end, false);
        }
        let reach = self.own[limit - 1].end();
        let cluster = start + cluster_floor(rest, reach - start);
        if cluster > done {
            return (cluster, false);
        }
        let code_point = self.text.floor_char_boundary(reach);
        (if code_point > done { code_point } else { code_point_after(self.text, done) }, true)
    }

    /// Where the chunk after the one from `start` to `cut` begins.
    fn next_start(&mut self, start: usize, cut: Cut) -> usize {
        let ChunkOptions { overlap, .. } = self.options;
        if overlap == 0 || cut.end == self.text.len() {
            return cut.end;
        }
        let most = overlap + overlap / 4 + 2;
        if let Some(at) = self.start_at_word(start, cut, overlap, most) {
            return at;
        }
        let last = self.own.partition_point(|mark| mark.end() < cut.end) + 1;
        let Some(guess) = last.checked_sub(overlap + 1).map(|at| self.own[at].end()) else { return cut.end };
        // Inside a cluster that is cut in any case, only code points are left to begin at.
        let by_cluster =
            self.step_back(start, cut.end, cluster_floor(&self.text[start..], guess - start), cluster_before);
        match by_cluster {
            Some((at, shared)) if !cut.inside_cluster || shared <= most => at,
            _ if cut.inside_cluster => {
                let guess = self.text.floor_char_boundary(guess) - start;
                self.step_back(start, cut.end, guess, code_point_before).map_or(cut.end, |(at, _)| at)
            }
            _ => cut.end,
        }
    }

    /// The best beginning at the end of a piece, among those that share `least` to `most` tokens.
    fn start_at_word(&self, start: usize, cut: Cut, least: usize, most: usize) -> Option<usize> {
        let rest = &self.text[start..cut.end];
        let last = self.own.partition_point(|mark| mark.end() < cut.end) + 1;
        let mut best: Option<(Rank, usize)> = None;
        for index in (last.saturating_sub(most + 1)..last.saturating_sub(least)).rev() {
            let mark = self.own[index];
            if mark.end() <= start || !self.is_candidate(mark) {
                continue;
            }
            let rank = rank(rest, mark.end() - start);
            if rank > Rank::Cluster
                && best.is_none_or(|(best, _)| rank > best)
                && between_clusters(rest, mark.end() - start)
            {
                let shared = if self.is_exact(cut) {
                    last - 1 - index
                } else {
                    self.tokens.count(&self.text[mark.end()..cut.end])
                };
                if (least..=most).contains(&shared) {
                    best = Some((rank, mark.end()));
                }
            }
        }
        best.map(|(_, at)| at)
    }

    /// Goes back from `guess` (bytes from `start`) boundary by boundary until what is shared has the
    /// overlap asked for; `None` when `start` comes first.
    fn step_back(
        &self,
        start: usize,
        end: usize,
        guess: usize,
        before: fn(&str, usize) -> usize,
    ) -> Option<(usize, usize)> {
        let mut at = guess;
        while at > 0 {
            let shared = self.tokens.count(&self.text[start + at..end]);
            if shared >= self.options.overlap {
                return Some((start + at, shared));
            }
            at = before(&self.text[start..], at);
        }
        None
    }

    /// Whether a cut at this mark is possible: at the end of a piece, or of any token if the tokenizer
    /// reports no pieces.
    fn is_candidate(&self, mark: Mark) -> bool {
        mark.ends_piece() || (!self.tokens.cuts_cleanly() && self.text.is_char_boundary(mark.end()))
    }

    /// Whether tokens before `cut` can be counted by marks.
    fn is_exact(&self, cut: Cut) -> bool {
        self.tokens.cuts_cleanly() && self.own.get(cut.tokens - 1).is_some_and(|mark| mark.end() == cut.end)
    }

    /// Tokens of the text from `start`, where the marks begin, to `end`.
    fn count(&self, start: usize, end: usize) -> usize {
        if !self.tokens.cuts_cleanly() {
            return self.tokens.count(&self.text[start..end]);
        }
        let at = self.own.partition_point(|mark| mark.end() < end);
        let on_token = self.own.get(at).is_some_and(|mark| mark.end() == end);
        // How white space is cut into pieces depends on what follows it, and at the end of a chunk nothing does.
        let solid = start + self.text[start..end].trim_end().len();
        if on_token && self.own[at].ends_piece() && solid == end {
            return at + 1;
        }
        // Anything else is counted as a whole: in a long run of white space even the beginning of the chunk may be
        // cut in another way than in the document.
        self.tokens.count(&self.text[start..end])
    }
}

/// The first code point boundary of `text` after byte `at`.
fn code_point_after(text: &str, at: usize) -> usize {
    text.ceil_char_boundary((at + 1).min(text.len()))
}
