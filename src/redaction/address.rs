//! Addresses as reports and settings show them.

use url::Url;

use super::mask::MASK;
use super::names;

/// A user without a password that is longer is a token.
const LONGEST_USER: usize = 15;

/// `url` without user, password, query and fragment.
///
/// Text that is not a URL is not shown, because it may be a password in the wrong field.
#[must_use]
pub fn public_address(url: &str) -> String {
    Url::parse(url).map_or_else(
        |_| "(not a URL)".to_owned(),
        |mut url| {
            // Both setters fail only for URLs that cannot have credentials.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.set_fragment(None);
            url.to_string().trim_end_matches('/').to_owned()
        },
    )
}

/// `url` with its user and parameters, but with a mask for the password, for a token in the place of the user, and for
/// the values of secret parameters; `None` for text that is not a URL.
#[must_use]
pub fn masked_address(text: &str) -> Option<String> {
    let mut url = Url::parse(text).ok()?;
    if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
        return None;
    }
    if is_token(&url) && url.set_username(MASK).is_err() {
        return None;
    }
    if url.query().is_some() {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(key, value)| {
                let value = if is_secret_parameter(&key) { MASK.to_owned() } else { value.into_owned() };
                (key.into_owned(), value)
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    // The URL crate adds `/` for an empty path; show the URL as it was written.
    let shown = url.to_string();
    Some(if text.ends_with('/') { shown } else { shown.trim_end_matches('/').to_owned() })
}

/// Whether a URL contains a password or a token. Text that is not a URL may be a password in the wrong field.
#[must_use]
pub fn carries_secret(text: &str) -> bool {
    Url::parse(text).map_or(true, |url| {
        url.password().is_some() || is_token(&url) || url.query_pairs().any(|(key, _)| is_secret_parameter(&key))
    })
}

/// Whether the user of a URL is a token.
pub(super) fn is_token(url: &Url) -> bool {
    url.password().is_none() && url.username().len() > LONGEST_USER
}

/// Whether a parameter is secret; `sslkey` is the path of a file.
pub(super) fn is_secret_parameter(name: &str) -> bool {
    name != "sslkey" && names::hint(name).is_some()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("redis://:geheim@h:1/0", "redis://h:1/0", "redis://:********@h:1/0")]
    #[case("redis://h:1", "redis://h:1", "redis://h:1")]
    #[case("postgres://u:geheim@h/d?sslmode=require", "postgres://h/d", "postgres://u:********@h/d?sslmode=require")]
    #[case("postgres://h/d?user=u&password=geheim", "postgres://h/d", "postgres://h/d?user=u&password=********")]
    #[case("https://u:geheim@h:6333", "https://h:6333", "https://u:********@h:6333")]
    #[case("https://0123456789abcdef@h/1#geheim", "https://h/1", "https://********@h/1#geheim")]
    #[case("https://h/v1/?token=geheim&n=1", "https://h/v1", "https://h/v1/?token=********&n=1")]
    fn an_address_is_shown_without_its_secrets(#[case] url: &str, #[case] public: &str, #[case] masked: &str) {
        assert_eq!(public_address(url), public);
        assert_eq!(masked_address(url).as_deref(), Some(masked));
        assert_eq!(carries_secret(url), url.contains("geheim") || url.contains("0123"));
    }

    #[test]
    fn text_that_is_no_url_is_not_shown() {
        assert_eq!(public_address("hunter2"), "(not a URL)");
        assert_eq!(masked_address("hunter2"), None);
        assert!(carries_secret("hunter2"));
    }
}
