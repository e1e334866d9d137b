//! The text that two consecutive chunks share.

/// The longest end of `left` that is the beginning of `right`.
pub(super) fn overlap<'a>(left: &str, right: &'a str) -> &'a str {
    let ends = right.char_indices().map(|(at, _)| at).chain([right.len()]).rev();
    ends.map(|end| &right[..end]).find(|beginning| left.ends_with(beginning)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[rstest::rstest]
    #[case("one two", "two three", "two")]
    #[case("one", "two", "")]
    #[case("same", "same", "same")]
    #[case("caf\u{e9}", "\u{e9}t\u{e9}", "\u{e9}")]
    #[case("", "a", "")]
    fn the_longest_shared_text_is_found(#[case] left: &str, #[case] right: &str, #[case] wanted: &str) {
        assert_eq!(overlap(left, right), wanted);
    }
}
