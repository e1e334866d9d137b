//! The sources that the page cites: the entries of the failure catalogue are part of the page, URLs are links.

use std::collections::BTreeMap;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use serde_json::{Value, json};

use super::page::Anchors;
use crate::guide::catalogue::{self, Entry};
use crate::outcome::Report;
use crate::report::source::{Citation, citations};

/// The catalogue entries that a report cites, each with the id of its element.
#[derive(Debug, Default)]
pub(super) struct Sources(BTreeMap<&'static str, (&'static Entry, String)>);

impl Sources {
    /// The entries that the cases and diagnoses of `report` cite.
    pub(super) fn cited(report: &Report, anchors: &mut Anchors) -> Self {
        let diagnoses = report.timelines.iter().flat_map(|timeline| &timeline.diagnoses);
        let texts = report.cases.iter().map(|case| &case.source).chain(diagnoses.map(|diagnosis| &diagnosis.source));
        let mut sources = Self::default();
        for citation in texts.flat_map(|text| citations(text)) {
            if let Citation::Entry(slug) = citation
                && let Some(entry) = catalogue::entry(slug)
            {
                sources.0.entry(entry.slug).or_insert_with(|| (entry, anchors.id("source", entry.slug)));
            }
        }
        sources
    }

    /// The items of a `source` for the template: text, target and, for a catalogue entry, the command that prints it.
    pub(super) fn items(&self, source: &str) -> Vec<Value> {
        let item = |citation: Citation| match citation {
            Citation::Entry(slug) => json!({
                "text": slug,
                "href": self.0.get(slug).map(|(_, anchor)| format!("#{anchor}")),
                "command": format!("shakedown guide {slug}"),
            }),
            Citation::Url(url) => json!({ "text": url, "href": url, "outside": true }),
            Citation::Text(text) => json!({ "text": text }),
        };
        citations(source).map(item).collect()
    }

    /// The entries themselves, for the end of the page.
    pub(super) fn entries(&self) -> Vec<Value> {
        let entry = |(entry, anchor): &(&Entry, String)| json!({ "slug": entry.slug, "anchor": anchor, "html": html(entry.text) });
        self.0.values().map(entry).collect()
    }
}

/// An entry as HTML without its heading. Raw HTML is dropped, and only links to other sites are kept.
fn html(markdown: &str) -> String {
    let body = markdown.split_once('\n').map_or("", |(_, body)| body);
    let is_outside = |url: &str| crate::report::source::link(url).is_some();
    let mut open = Vec::new();
    let events = Parser::new_ext(body, Options::ENABLE_TABLES).filter_map(|event| match event {
        Event::Html(_) | Event::InlineHtml(_) => None,
        Event::Start(Tag::Link { ref dest_url, .. }) => {
            open.push(is_outside(dest_url));
            open.last().copied().unwrap_or(false).then_some(event)
        }
        Event::End(TagEnd::Link) => open.pop().unwrap_or(false).then_some(event),
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        other => Some(other),
    });
    let mut text = String::new();
    pulldown_cmark::html::push_html(&mut text, events);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_markup_without_raw_html_or_links_to_elsewhere_on_the_page() {
        let text = "### a.b\n\n- **What breaks:** `x < y` <script>alert(1)</script> [inside](#other) \
                    <https://example.com/a> [bad](javascript:alert(1)) ![picture](https://example.com/p.png)\n";
        let html = html(text);
        assert!(html.contains("<strong>What breaks:</strong> <code>x &lt; y</code>"), "{html}");
        assert!(html.contains("<a href=\"https://example.com/a\">"), "{html}");
        for forbidden in ["<script", "#other", "javascript:", "<img", "a.b"] {
            assert!(!html.contains(forbidden), "{forbidden} is in {html}");
        }
    }
}
