//! The `source` of a case or a diagnosis: entries of the failure catalogue and URLs, separated by commas.

use crate::guide::catalogue;

/// One item of a `source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Citation<'a> {
    /// An entry of the failure catalogue, by its slug.
    Entry(&'a str),
    /// A URL that a browser may follow.
    Url(&'a str),
    /// Anything else, such as a document of the user's own suites.
    Text(&'a str),
}

impl std::fmt::Display for Citation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Entry(slug) => write!(f, "{slug} (shakedown guide {slug})"),
            Self::Url(text) | Self::Text(text) => f.write_str(text),
        }
    }
}

/// The items of `source`.
pub(crate) fn citations(source: &str) -> impl Iterator<Item = Citation<'_>> {
    source.split(", ").map(str::trim).filter(|item| !item.is_empty()).map(|item| {
        if catalogue::entry(item).is_some() {
            Citation::Entry(item)
        } else if link(item).is_some() {
            Citation::Url(item)
        } else {
            Citation::Text(item)
        }
    })
}

/// `source` as text: every entry of the catalogue with the command that prints it.
pub(crate) fn format_source(source: &str) -> String {
    citations(source).map(|citation| citation.to_string()).collect::<Vec<_>>().join(", ")
}

/// The first URL of `source`; of a catalogue entry none is taken.
pub(crate) fn first_url(source: &str) -> Option<&str> {
    citations(source).find_map(|citation| match citation {
        Citation::Url(url) => Some(url),
        Citation::Entry(_) | Citation::Text(_) => None,
    })
}

/// The address of a source, where it is one that a browser may follow.
pub(crate) fn link(source: &str) -> Option<&str> {
    let is_address = source.starts_with("https://") || source.starts_with("http://");
    (is_address && !source.contains(char::is_whitespace)).then_some(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_names_catalogue_entries_urls_and_other_documents() {
        let found: Vec<Citation> = citations("jina.5xx, https://example.com/a, our runbook, page 3").collect();
        let wanted = [
            Citation::Entry("jina.5xx"),
            Citation::Url("https://example.com/a"),
            Citation::Text("our runbook"),
            Citation::Text("page 3"),
        ];
        assert_eq!(found, wanted);
        let text = format_source("jina.5xx, our runbook, page 3");
        assert_eq!(text, "jina.5xx (shakedown guide jina.5xx), our runbook, page 3");
        assert_eq!(citations("javascript:alert(1)").next(), Some(Citation::Text("javascript:alert(1)")));
        assert_eq!(format_source(""), "");
    }
}
