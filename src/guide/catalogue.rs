//! The failure catalogue `suites/FAILURES.md`: the entries that the `source` of cases and diagnoses name.

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

#[cfg(test)]
mod tests {
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
        }
    }
}
