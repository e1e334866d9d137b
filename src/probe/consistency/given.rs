//! Reading settings: values and addresses by variable name.

use secrecy::ExposeSecret;
use url::Url;

use crate::probe::ProbeError;
use crate::settings::Given;

pub(super) fn text<'a>(given: &'a Given, name: &str) -> Option<&'a str> {
    given.value(name).map(ExposeSecret::expose_secret).filter(|text| !text.is_empty())
}

pub(super) fn url(given: &Given, name: &str) -> Option<Url> {
    Url::parse(text(given, name)?).ok()
}

pub(super) fn needed(given: &Given, name: &'static str) -> Result<Url, ProbeError> {
    url(given, name).ok_or_else(|| ProbeError::Missing(format!("{name} is not set or not a URL")))
}

/// Whether an address is on this machine or, by its name, in a private network.
pub(super) fn is_near(url: &Url) -> bool {
    let Some(name) = url.host_str() else { return true };
    // For schemes that browsers do not know, the URL crate keeps IP addresses as names.
    match name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip.is_unspecified(),
        Err(_) => {
            name == "localhost" || name.ends_with(".localhost") || !name.contains('.') || name.ends_with(".internal")
        }
    }
}

pub(super) fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

/// Variables that hold the address of a service.
pub(super) const ADDRESSES: [&str; 5] = ["REDIS_URL", "DATABASE_URL", "SUPABASE_URL", "QDRANT_URL", "QDRANT_GRPC_URL"];

/// The addresses that the user set, by variable name.
pub(super) fn addresses(given: &Given) -> impl Iterator<Item = (&'static str, Url)> + '_ {
    ADDRESSES
        .into_iter()
        .filter(|name| given.variables.get(name).is_some_and(|variable| !variable.is_default))
        .filter_map(|name| Some((name, url(given, name)?)))
}

/// A percent-decoded part of a URL.
pub(super) fn decoded(written: &str) -> String {
    percent_encoding::percent_decode_str(written).decode_utf8_lossy().into_owned()
}
