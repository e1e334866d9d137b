//! The failure catalogue `suites/FAILURES.md`, which the `source` of cases and diagnoses cites.

use std::sync::LazyLock;

const TEXT: &str = include_str!("../../suites/FAILURES.md");
const ANCHOR: &str = "<a id=\"";

/// One failure that the catalogue describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, which is also the anchor in the file: `jina.5xx`.
    pub slug: &'static str,
    /// The Markdown below the heading.
    pub text: &'static str,
    /// The URLs under **Reference**.
    pub references: Vec<&'static str>,
}

impl Entry {
    /// The address of the entry inside the file: `suites/FAILURES.md#jina.5xx`.
    #[must_use]
    pub fn location(&self) -> String {
        format!("suites/FAILURES.md#{}", self.slug)
    }
}

/// One item of a `source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceItem<'a> {
    /// An `http` or `https` address.
    Url(&'a str),
    /// The name of an entry of the catalogue.
    Entry(&'a str),
    /// Anything else, such as a section of a user's own handbook.
    Text(&'a str),
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| parse(TEXT));

/// All entries, in the order of the file.
#[must_use]
pub fn entries() -> &'static [Entry] {
    &ENTRIES
}

/// The entry called `slug`.
#[must_use]
pub fn entry(slug: &str) -> Option<&'static Entry> {
    entries().iter().find(|entry| entry.slug == slug)
}

/// The items of a `source`, which are separated by a comma and a space.
///
/// A `source` without any URL or entry is one text, commas included.
pub fn sources(source: &str) -> impl Iterator<Item = SourceItem<'_>> {
    let is_text = source.split(", ").all(|item| matches!(classify(item), SourceItem::Text(_)));
    let items = if is_text { vec![source] } else { source.split(", ").collect() };
    items.into_iter().map(classify).filter(|item| *item != SourceItem::Text(""))
}

fn classify(item: &str) -> SourceItem<'_> {
    let item = item.trim();
    let is_url = (item.starts_with("https://") || item.starts_with("http://")) && !item.contains(char::is_whitespace);
    if is_url {
        SourceItem::Url(item)
    } else if entry(item).is_some() {
        SourceItem::Entry(item)
    } else {
        SourceItem::Text(item)
    }
}

/// The entries of `markdown`: an anchor at the start of a line, a `###` heading, and the text up to the next anchor or
/// the next `##` heading.
fn parse(markdown: &'static str) -> Vec<Entry> {
    let mut starts = Vec::new();
    let mut offset = 0;
    for line in markdown.split_inclusive('\n') {
        if line.starts_with(ANCHOR) || line.starts_with("## ") {
            starts.push(offset);
        }
        offset += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([markdown.len()]);
    starts.iter().zip(ends).filter_map(|(&start, end)| parse_entry(&markdown[start..end])).collect()
}

fn parse_entry(section: &'static str) -> Option<Entry> {
    let (slug, rest) = section.strip_prefix(ANCHOR)?.split_once('"')?;
    let (_, below_anchor) = rest.split_once('\n')?;
    let (_, text) = below_anchor.strip_prefix("### ")?.split_once('\n')?;
    let text = text.trim();
    let references = text
        .split_once("- **Reference:**")
        .map(|(_, listed)| listed.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(url, _)| url))
        .map(Iterator::collect)
        .unwrap_or_default();
    Some(Entry { slug, text, references })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::spec::{SuiteWritten, builtin_suites};

    #[test]
    fn every_heading_of_an_entry_follows_its_own_unique_anchor() {
        let lines: Vec<&str> = TEXT.lines().collect();
        let mut anchors = BTreeSet::new();
        let mut headings = 0;
        for (number, line) in lines.iter().enumerate() {
            if let Some(name) = line.strip_prefix("### ") {
                headings += 1;
                assert_eq!(lines[number - 1], format!("<a id=\"{name}\"></a>"), "the line above heading {name}");
                assert!(anchors.insert(name), "{name} is an anchor twice");
            }
        }
        assert_eq!(headings, entries().len());
        assert_eq!(TEXT.lines().filter(|line| line.starts_with(ANCHOR)).count(), headings);
    }

    #[test]
    fn every_entry_has_its_five_parts() {
        for entry in entries() {
            for part in ["Severity", "What breaks", "How to see it", "How to fix it", "Reference"] {
                assert!(entry.text.contains(&format!("- **{part}:** ")), "{} has no {part}", entry.slug);
            }
        }
    }

    #[test]
    fn the_contents_link_every_entry() {
        for entry in entries() {
            assert!(TEXT.contains(&format!("](#{})", entry.slug)), "the contents do not list {}", entry.slug);
        }
    }

    #[test]
    fn every_source_of_a_built_in_case_or_diagnosis_resolves() {
        let mut cited: Vec<(String, String)> = Vec::new();
        for (name, text) in builtin_suites() {
            let suite: SuiteWritten = toml::from_str(text).unwrap();
            cited.extend(suite.case.iter().map(|case| (case.id.get_ref().clone(), case.source.clone())));
            assert!(!suite.case.is_empty(), "{name} has no case");
        }
        let known: toml::Table = toml::from_str(include_str!("../../suites/diagnosis/known.toml")).unwrap();
        for (number, diagnosis) in known["diagnosis"].as_array().unwrap().iter().enumerate() {
            cited.push((format!("diagnosis {number}"), diagnosis["source"].as_str().unwrap().to_owned()));
        }
        for (cites, source) in cited {
            let items: Vec<_> = sources(&source).collect();
            assert!(!items.is_empty(), "{cites} has no source");
            for item in &items {
                assert!(!matches!(item, SourceItem::Text(_)), "{cites} cites {item:?}: neither an entry nor a URL");
            }
        }
    }

    #[test]
    fn an_entry_is_found_with_its_text_and_references() {
        let entry = entry("jina.5xx").unwrap();
        assert!(entry.text.starts_with("- **Severity:** "), "{}", entry.text);
        assert!(!entry.text.contains("<a id="), "{}", entry.text);
        assert_eq!(entry.location(), "suites/FAILURES.md#jina.5xx");
        let policy = super::entry("redis.eviction-policy").unwrap();
        assert_eq!(policy.references.len(), 3);
        assert_eq!(policy.references[0], "https://docs.bullmq.io/guide/going-to-production");
        assert_eq!(super::entry("jina.6xx"), None);
    }

    #[test]
    fn a_source_is_split_into_urls_entries_and_text() {
        let items: Vec<_> = sources("jina.5xx, https://example.com/a, our handbook").collect();
        let expected =
            [SourceItem::Entry("jina.5xx"), SourceItem::Url("https://example.com/a"), SourceItem::Text("our handbook")];
        assert_eq!(items, expected);
        let text: Vec<_> = sources("our handbook, section 4.1").collect();
        assert_eq!(text, [SourceItem::Text("our handbook, section 4.1")]);
        assert_eq!(sources("").count(), 0);
    }
}
