//! Addresses as reports show them.

use url::Url;

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
