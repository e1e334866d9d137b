//! Lines and columns of a text. A suite has a place for each of its cases, and counting each from the start of the text
//! would take a time that grows with the square of its length.

use std::path::Path;

use super::Place;

/// Distance of two marks in bytes: as much text is counted for each place.
const MARK_DISTANCE: usize = 1024;

/// A text with the line and column of every [`MARK_DISTANCE`]th byte.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    marks: Vec<Position>,
}

/// A line and a column in characters, from 1, and the offset of that character in bytes.
#[derive(Debug, Clone, Copy)]
struct Position {
    offset: usize,
    line: usize,
    column: usize,
}

impl Position {
    /// The position after `text`.
    fn after(self, text: &str) -> Self {
        let newlines = text.bytes().filter(|byte| *byte == b'\n').count();
        let last_line = text.rfind('\n').map_or(text, |newline| &text[newline + 1..]);
        let column = if newlines == 0 { self.column } else { 1 };
        Self {
            offset: self.offset + text.len(),
            line: self.line + newlines,
            column: column + last_line.chars().count(),
        }
    }
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut position = Position { offset: 0, line: 1, column: 1 };
        let mut marks = vec![position];
        while text.len() - position.offset > MARK_DISTANCE {
            let end = text.ceil_char_boundary(position.offset + MARK_DISTANCE);
            position = position.after(&text[position.offset..end]);
            marks.push(position);
        }
        Self { text, marks }
    }

    /// The place of byte `offset`; the end of the text if it is not the start of a character.
    pub(super) fn place(&self, file: &Path, offset: usize) -> Place {
        let offset = if self.text.is_char_boundary(offset) { offset } else { self.text.len() };
        let index = self.marks.partition_point(|mark| mark.offset <= offset).saturating_sub(1);
        let mark = self.marks[index];
        let Position { line, column, .. } = mark.after(&self.text[mark.offset..offset]);
        Place { file: file.to_owned(), line, column }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_place_is_that_of_a_count_from_the_start(text in "([a-zé🎉\n]|[a-z]{500}|\n{3}){0,30}", at in 0.0..=1.0_f64) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a short text")]
            let offset = text.floor_char_boundary((text.len() as f64 * at) as usize);
            let before = &text[..offset];
            let place = Lines::new(&text).place(Path::new("x"), offset);
            prop_assert_eq!(place.line, before.matches('\n').count() + 1);
            prop_assert_eq!(place.column, before.rsplit('\n').next().unwrap_or("").chars().count() + 1);
        }
    }
}
