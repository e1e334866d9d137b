//! `key=value,key=value` with percent-encoding, as the OpenTelemetry variables use it.

use percent_encoding::percent_decode_str;

/// The decoded pairs of `text`; parts without `=` are skipped.
pub(super) fn parse(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

/// What is wrong with `text` as pairs, without repeating it.
pub(super) fn problem(text: &str) -> Option<String> {
    let is_malformed =
        |pair: &str| !pair.trim().is_empty() && pair.split_once('=').is_none_or(|(name, _)| name.trim().is_empty());
    text.split(',').any(is_malformed).then(|| "a part is not in the form `key=value`".to_owned())
}

/// What is wrong with `text` as HTTP headers written as pairs, without repeating them.
pub(super) fn header_problem(text: &str) -> Option<String> {
    use reqwest::header::{HeaderName, HeaderValue};
    problem(text).or_else(|| {
        let is_invalid = |(name, value): &(String, String)| {
            HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err()
        };
        parse(text).iter().any(is_invalid).then(|| "a part is not a valid HTTP header".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_without_a_key_or_with_an_invalid_header_name_is_a_problem() {
        assert!(header_problem("no pair").is_some() && header_problem("a b=c").is_some());
        assert_eq!(header_problem("authorization=Bearer%20a, x-tenant=b,"), None);
    }
}
