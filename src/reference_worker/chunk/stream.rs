//! The tokens of a document, made piece by piece and forgotten behind the chunk in work.

use super::super::tokens::{Mark, Tokens};

/// Marks behind the current chunk that stay: more than any overlap, because starts may go back by one.
const KEPT: usize = 32 * 1024;

/// The marks of a document around the current chunk.
pub(super) struct Stream<'a> {
    tokens: &'a Tokens,
    text: &'a str,
    /// Marks in the document's order, without those long behind the current chunk.
    marks: Vec<Mark>,
    /// How far the text is tokenised: always the end of a piece.
    read: usize,
}

impl<'a> Stream<'a> {
    pub(super) const fn new(tokens: &'a Tokens, text: &'a str) -> Self {
        Self { tokens, text, marks: Vec::new(), read: 0 }
    }

    /// Fills `own` with the marks of the text from `start` on as if it began there, up to `most` of them
    /// or to the end of the text. `start` may lie before an earlier one by the overlap at most.
    ///
    /// From the first place where the document's pieces and the text's own agree, they stay the same.
    pub(super) fn own_marks(&mut self, start: usize, most: usize, own: &mut Vec<Mark>) {
        own.clear();
        self.forget(start);
        let mut position = start;
        while position < self.text.len() && own.len() < most {
            let at = self.find(position);
            let (on_token, on_piece) = match at.checked_sub(1).map(|before| self.marks[before]) {
                None => (position == 0, position == 0),
                Some(mark) => (mark.end() == position, mark.end() == position && mark.ends_piece()),
            };
            let last = self.ensure(at + most);
            if on_piece || !self.tokens.cuts_cleanly() {
                let end = (at + most - own.len()).min(last);
                own.extend_from_slice(&self.marks[at..end]);
                return;
            }
            // No further than a chunk can reach: the piece may be megabytes long.
            let reach = self.text.ceil_char_boundary(self.marks[(at + most).min(last) - 1].end());
            let piece = &self.text[position..reach];
            let piece = &piece[..self.tokens.first_piece(piece)];
            let end = position + piece.len();
            let whole = self.marks[at..last].iter().position(|mark| mark.ends_piece()).map(|piece| at + piece);
            let cut_off = end == reach && reach < self.text.len();
            let agrees = match whole {
                Some(whole) if self.marks[whole].end() <= reach => self.marks[whole].end() == end,
                _ => cut_off,
            };
            if on_token && agrees {
                let of_piece = self.marks[at..last].iter().take_while(|mark| mark.end() <= end);
                own.extend(of_piece.take(most - own.len()));
            } else {
                let before = own.len();
                self.tokens.mark(piece, position, own);
                own.truncate(most.max(before));
            }
            if cut_off {
                return;
            }
            position = end;
        }
    }

    /// Index of the first mark that ends after `position`, which lies before the end of the text.
    fn find(&mut self, position: usize) -> usize {
        while self.read <= position && self.read_piece() {}
        self.marks.partition_point(|mark| mark.end() <= position)
    }

    /// Reads until there are `count` marks, or all; gives how many of those there are.
    fn ensure(&mut self, count: usize) -> usize {
        while self.marks.len() < count && self.read_piece() {}
        self.marks.len()
    }

    fn read_piece(&mut self) -> bool {
        let rest = &self.text[self.read..];
        let length = self.tokens.first_piece(rest);
        if length == 0 {
            return false;
        }
        self.tokens.mark(&rest[..length], self.read, &mut self.marks);
        self.read += length;
        true
    }

    /// Drops marks far behind `start`, half of all at least, so that moving the rest costs little.
    fn forget(&mut self, start: usize) {
        let behind = self.marks.partition_point(|mark| mark.end() < start);
        let spent = behind.saturating_sub(KEPT);
        if spent > KEPT.max(self.marks.len() / 2) {
            self.marks.drain(..spent);
        }
    }
}
