//! Wrong items with the same text as one piece of evidence.

use std::collections::{BTreeMap, BTreeSet};

/// How many places of a group are named; the rest are counted.
const NAMED: usize = 3;

/// Wrong items that differ only in their place, or in generated ids in their text.
pub(super) struct Group<'a> {
    places: Vec<&'a str>,
    texts: BTreeSet<&'a str>,
    kind: String,
    /// The number of items.
    pub(super) items: usize,
}

impl Group<'_> {
    /// Where the items are, such as `a.md, b.md, c.md and 4 more`.
    pub(super) fn places(&self) -> String {
        let named = self.places[..self.places.len().min(NAMED)].join(", ");
        match self.places.len().saturating_sub(NAMED) {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }

    /// What is wrong with the items; ids that differ between them are replaced by `…`.
    pub(super) fn text(&self) -> &str {
        match self.texts.first() {
            Some(text) if self.texts.len() == 1 => text,
            _ => &self.kind,
        }
    }
}

/// Groups items, each a place with a text, in the order of their first item.
pub(super) fn grouped(wrong: &[(String, String)]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_kind: BTreeMap<String, usize> = BTreeMap::new();
    let mut named = BTreeSet::new();
    for (place, text) in wrong {
        let kind = without_ids(text);
        let number = *by_kind.entry(kind.clone()).or_insert_with(|| {
            groups.push(Group { places: Vec::new(), texts: BTreeSet::new(), kind, items: 0 });
            groups.len() - 1
        });
        let group = &mut groups[number];
        if named.insert((number, place.as_str())) {
            group.places.push(place);
        }
        group.texts.insert(text);
        group.items += 1;
    }
    groups
}

/// `text` with every generated id replaced by `…`: at least eight hexadecimal digits or dashes, with digits and others. A
/// decimal number is a figure, which matters.
fn without_ids(text: &str) -> String {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '-';
    let is_id = |word: &str| {
        word.len() >= 8
            && word.chars().any(|character| character.is_ascii_digit())
            && !word.chars().all(|character| character.is_ascii_digit())
            && word.chars().all(|character| character.is_ascii_hexdigit() || character == '-')
    };
    let mut whole = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        whole.push_str(if is_id(word) { "…" } else { word });
        let next = after.find(is_part).unwrap_or(after.len());
        whole.push_str(&after[..next]);
        rest = &after[next..];
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(wrong: &[(&str, &str)]) -> Vec<String> {
        let wrong: Vec<_> = wrong.iter().map(|(place, text)| ((*place).to_owned(), (*text).to_owned())).collect();
        grouped(&wrong).iter().map(|group| format!("{}: {} ({})", group.places(), group.text(), group.items)).collect()
    }

    #[test]
    fn items_with_one_text_are_grouped_and_the_first_three_are_named() {
        let wrong = [("a", "lost"), ("b", "has 2 points"), ("c", "lost"), ("d", "lost"), ("e", "lost"), ("b", "lost")];
        assert_eq!(lines(&wrong), ["a, c, d and 2 more: lost (5)", "b: has 2 points (1)"]);
        assert_eq!(lines(&[("a", "lost"), ("a", "lost")]), ["a: lost (2)"]);
    }

    #[test]
    fn ids_that_differ_are_left_out_and_figures_are_not() {
        let wrong = [("a", "503 (request a22837f9a0ba5304); retry"), ("b", "503 (request 0b2837f9a0ba5304); retry")];
        assert_eq!(lines(&wrong), ["a, b: 503 (request …); retry (2)"]);
        assert_eq!(lines(&wrong[..1]), ["a: 503 (request a22837f9a0ba5304); retry (1)"]);
        assert_eq!(lines(&[("a", "took 10000000 ms"), ("b", "took 20000000 ms")]).len(), 2);
        assert_eq!(lines(&[("a", "is added ü"), ("b", "is faced ü")]).len(), 2);
    }
}
