//! The sources that the page cites: the entries of the failure catalogue are part of the page, URLs are links.

use std::collections::BTreeMap;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use serde_json::{Value, json};

use super::page::Anchors;
use crate::guide::catalogue::{Entry, Source, link, sources};
use crate::outcome::Report;

/// The catalogue entries that a report cites, each with the id of its element.
#[derive(Debug, Default)]
pub(super) struct Sources(BTreeMap<&'static str, (&'static Entry, String)>);

impl Sources {
    /// The entries that the cases and causes of `report` cite.
    pub(super) fn cited(report: &Report, anchors: &mut Anchors) -> Self {
        let texts = report.cases.iter().map(|case| &case.source).chain(report.causes.iter().map(|cause| &cause.source));
        let mut cited = Self::default();
        for source in texts.flat_map(|text| sources(text)) {
            if let Source::Entry(entry) = source {
                cited.0.entry(entry.slug).or_insert_with(|| (entry, anchors.id("source", entry.slug)));
            }
        }
        cited
    }

    /// The items of a `source` for the template: text, target and, for a catalogue entry, the command that prints it.
    pub(super) fn items(&self, source: &str) -> Vec<Value> {
        let item = |source: Source| match source {
            Source::Entry(Entry { slug, .. }) => json!({
                "text": slug,
                "href": self.0.get(slug).map(|(_, anchor)| format!("#{anchor}")),
                "command": format!("shakedown guide {slug}"),
            }),
            Source::Url(url) => json!({ "text": url, "href": url, "outside": true }),
            Source::Text(text) => json!({ "text": text }),
        };
        sources(source).map(item).collect()
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
    let mut open = Vec::new();
    let events = Parser::new_ext(body, Options::ENABLE_TABLES).filter_map(|event| match event {
        Event::Html(_) | Event::InlineHtml(_) => None,
        Event::Start(Tag::Link { ref dest_url, .. }) => {
            open.push(link(dest_url).is_some());
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
