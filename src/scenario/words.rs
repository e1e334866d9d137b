//! Texts whatever their white space: splitters and embedding libraries replace newlines and remove blanks.

/// The words of a text with single spaces between them.
pub(super) fn single_spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
