//! Where a text may be cut, and how good a cut is.

use unicode_segmentation::{GraphemeCursor, GraphemeIncomplete};

/// How good a cut is, from worst to best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Inside a word, between two grapheme clusters.
    Cluster,
    /// Beside punctuation.
    Part,
    /// Beside white space.
    Word,
    /// After a sentence.
    Sentence,
    /// After a line.
    Line,
    /// After a blank line.
    Paragraph,
}

/// How good a cut of `text` at byte `at` is; `at` must lie on a code point.
pub(super) fn rank(text: &str, at: usize) -> Rank {
    let (before, after) = text.split_at(at);
    let (Some(last), Some(next)) = (before.chars().next_back(), after.chars().next()) else {
        return Rank::Paragraph;
    };
    if breaks_line(last) {
        return if ends_paragraph(before) { Rank::Paragraph } else { Rank::Line };
    }
    if ends_sentence(before, next) {
        Rank::Sentence
    } else if last.is_whitespace() || next.is_whitespace() {
        Rank::Word
    } else if in_word(last) && in_word(next) {
        Rank::Cluster
    } else {
        Rank::Part
    }
}

const fn breaks_line(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether the white space at the end of `before` holds two line breaks; CR LF is one.
fn ends_paragraph(before: &str) -> bool {
    let mut breaks = 0;
    let mut follower = '\0';
    for c in before.chars().rev().take_while(|c| c.is_whitespace()) {
        if c == '\u{2029}' {
            return true;
        }
        if breaks_line(c) && !(c == '\r' && follower == '\n') {
            breaks += 1;
        }
        if breaks == 2 {
            return true;
        }
        follower = c;
    }
    false
}

/// Whether `before` ends with a full stop of any script, inside quotes and brackets or not.
fn ends_sentence(before: &str, next: char) -> bool {
    let bare = before.trim_end_matches(['"', '\'', ')', ']', '»', '”', '’', '」', '』', '）', '】']);
    match bare.chars().next_back() {
        Some('.' | '!' | '?' | '…') => next.is_whitespace(),
        Some('。' | '！' | '？' | '｡' | '।' | '॥' | '؟' | '۔' | '።' | '။' | '។') => {
            // The closing quote of a sentence stays with it.
            !matches!(next, '」' | '』' | '）' | '】' | '”' | '’')
        }
        _ => false,
    }
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '\'' | '’')
}

/// Whether byte `at` of `text` lies between two grapheme clusters.
///
/// `text` should begin at such a boundary itself: then the answer is that of the whole document, and
/// looking back (through a long row of flags, say) is limited to `text`.
pub(super) fn between_clusters(text: &str, at: usize) -> bool {
    if !text.is_char_boundary(at) {
        return false;
    }
    let bytes = text.as_bytes();
    if at == 0 || at == bytes.len() {
        return true;
    }
    let (last, next) = (bytes[at - 1], bytes[at]);
    if last.is_ascii() && next.is_ascii() {
        return !(last == b'\r' && next == b'\n');
    }
    // The cursor has all of the text, so it never asks for more of it.
    GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0).unwrap_or(true)
}

/// The last grapheme boundary of `text` at or before byte `at`; 0 when there is none.
pub(super) fn cluster_floor(text: &str, at: usize) -> usize {
    let at = text.floor_char_boundary(at);
    if between_clusters(text, at) { at } else { cluster_before(text, at) }
}

/// The last grapheme boundary of `text` before byte `at`, which must lie on a code point; 0 when there is none.
pub(super) fn cluster_before(text: &str, at: usize) -> usize {
    let found: Result<Option<usize>, GraphemeIncomplete> =
        GraphemeCursor::new(at, text.len(), true).prev_boundary(text, 0);
    found.ok().flatten().unwrap_or(0)
}

/// The last code point boundary of `text` before byte `at`; 0 when there is none.
pub(super) fn code_point_before(text: &str, at: usize) -> usize {
    if at == 0 { 0 } else { text.floor_char_boundary(at - 1) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("one.\n\n", "Two", Rank::Paragraph)]
    #[case("one.\r\n\r\n", "Two", Rank::Paragraph)]
    #[case("one.\n \t\n", "Two", Rank::Paragraph)]
    #[case("one.\r\n", "Two", Rank::Line)]
    #[case("one,\n", "two", Rank::Line)]
    #[case("One.", " Two", Rank::Sentence)]
    #[case("\"One?\"", " Two", Rank::Sentence)]
    #[case("一つ。", "二つ", Rank::Sentence)]
    #[case("「一つ。", "」二つ", Rank::Part)]
    #[case("3.", "14", Rank::Part)]
    #[case("one", " two", Rank::Word)]
    #[case("one,", "two", Rank::Part)]
    #[case("it", "'s", Rank::Cluster)]
    #[case("港", "口", Rank::Cluster)]
    fn a_cut_is_as_good_as_what_it_parts(#[case] before: &str, #[case] after: &str, #[case] expected: Rank) {
        assert_eq!(rank(&format!("{before}{after}"), before.len()), expected);
    }

    #[test]
    fn no_cut_inside_a_cluster() {
        for cluster in ["\r\n", "e\u{301}", "👩‍👩‍👧", "🇫🇷", "नि"] {
            let text = format!("a{cluster}b");
            let cuts: Vec<usize> = (0..=text.len()).filter(|at| between_clusters(&text, *at)).collect();
            assert_eq!(cuts, [0, 1, 1 + cluster.len(), text.len()], "{cluster:?}");
            for at in 1..=cluster.len() {
                assert_eq!(cluster_floor(&text, at), 1);
            }
        }
    }
}
