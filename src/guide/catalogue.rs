//! The failure catalogue `suites/FAILURES.md`, and the `source` of cases and causes, which names its entries.

use std::fmt;
use std::sync::LazyLock;

const TEXT: &str = include_str!("../../suites/FAILURES.md");

/// The start of the anchor before each entry; the slug and `"></a>` follow.
const ANCHOR: &str = "<a id=\"";

/// One entry of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its name, such as `jina.5xx`.
    pub slug: &'static str,
    /// Its Markdown, from its heading on.
    pub text: &'static str,
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let rest = TEXT.split(ANCHOR).skip(1);
    let entries = rest.filter_map(|rest| {
        let (slug, text) = rest.split_once("\"></a>\n")?;
        // The heading of the next service ends the last entry of this one.
        let text = text.split("\n## ").next().unwrap_or(text).trim();
        text.starts_with("### ").then_some(Entry { slug, text })
    });
    entries.collect()
});

/// Every entry, in the order of the file.
#[must_use]
pub fn entries() -> &'static [Entry] {
    &ENTRIES
}

/// The entry called `slug`.
#[must_use]
pub fn entry(slug: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.slug == slug)
}

/// One item of the `source` of a case or a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// An entry of the catalogue.
    Entry(&'static Entry),
    /// A URL that a browser may follow.
    Url(&'a str),
    /// Anything else, such as a document of the user's own suites.
    Text(&'a str),
}

impl fmt::Display for Source<'_> {
    /// An entry with the command that prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(Entry { slug, .. }) => write!(f, "{slug} (shakedown guide {slug})"),
            Self::Url(text) | Self::Text(text) => f.write_str(text),
        }
    }
}

impl<'a> Source<'a> {
    fn from_item(item: &'a str) -> Self {
        match entry(item) {
            Some(entry) => Self::Entry(entry),
            None => link(item).map_or(Self::Text(item), Self::Url),
        }
    }
}

/// The items of `source`, which are separated by a comma and a space.
pub fn sources(source: &str) -> impl Iterator<Item = Source<'_>> {
    source.split(", ").map(str::trim).filter(|item| !item.is_empty()).map(Source::from_item)
}

/// `source` as text: every entry of the catalogue with the command that prints it.
#[must_use]
pub fn format_source(source: &str) -> String {
    sources(source).map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// The first URL of `source` itself; the references of a catalogue entry do not count.
#[must_use]
pub fn first_url(source: &str) -> Option<&str> {
    sources(source).find_map(|item| match item {
        Source::Url(url) => Some(url),
        Source::Entry(_) | Source::Text(_) => None,
    })
}

/// `text`, if it is an address that a browser may follow.
#[must_use]
pub fn link(text: &str) -> Option<&str> {
    let is_address = text.starts_with("https://") || text.starts_with("http://");
    (is_address && !text.contains(char::is_whitespace)).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_entry_is_found_by_its_slug_and_ends_where_the_next_one_begins() {
        let found = entry("jina.5xx").unwrap();
        assert!(found.text.starts_with("### jina.5xx") && found.text.contains("**How to fix it:**"), "{}", found.text);
        assert_eq!(entry("jina.6xx"), None);
        assert_eq!(entries().len(), TEXT.matches("\n### ").count());
        for Entry { slug, text } in entries() {
            assert!(text.starts_with(&format!("### {slug}\n")), "{slug}");
            assert_eq!(text.matches("### ").count(), 1, "{slug}");
            assert!(!text.contains(ANCHOR), "{slug}");
        }
    }

    #[test]
    fn every_heading_of_an_entry_follows_its_own_unique_anchor() {
        let lines: Vec<&str> = TEXT.lines().collect();
        let mut anchors = BTreeSet::new();
        for (number, line) in lines.iter().enumerate() {
            if let Some(name) = line.strip_prefix("### ") {
                assert_eq!(lines[number - 1], format!("<a id=\"{name}\"></a>"), "the line above heading {name}");
                assert!(anchors.insert(name), "{name} is an anchor twice");
            }
        }
        assert_eq!(anchors.len(), entries().len());
        assert_eq!(lines.iter().filter(|line| line.starts_with(ANCHOR)).count(), anchors.len());
    }

    #[test]
    fn every_entry_has_its_five_parts_and_is_in_the_contents() {
        for Entry { slug, text } in entries() {
            for part in ["Severity", "What breaks", "How to see it", "How to fix it", "Reference"] {
                assert!(text.contains(&format!("- **{part}:** ")), "{slug} has no {part}");
            }
            assert!(TEXT.contains(&format!("](#{slug})")), "the contents do not list {slug}");
        }
    }

    #[test]
    fn a_source_names_catalogue_entries_urls_and_other_documents() {
        let found: Vec<Source> = sources("jina.5xx, https://example.com/a, our runbook, page 3").collect();
        let wanted = [
            Source::Entry(entry("jina.5xx").unwrap()),
            Source::Url("https://example.com/a"),
            Source::Text("our runbook"),
            Source::Text("page 3"),
        ];
        assert_eq!(found, wanted);
        let text = format_source("jina.5xx, our runbook, page 3");
        assert_eq!(text, "jina.5xx (shakedown guide jina.5xx), our runbook, page 3");
        assert_eq!(sources("javascript:alert(1)").next(), Some(Source::Text("javascript:alert(1)")));
        assert_eq!((sources("").count(), format_source("").as_str()), (0, ""));
        assert_eq!(first_url("jina.5xx, our runbook, https://example.com/a"), Some("https://example.com/a"));
        assert_eq!(first_url("jina.5xx"), None);
    }
}
