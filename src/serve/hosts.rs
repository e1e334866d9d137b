//! The names that a server answers for.
//!
//! A web page on any site can point a name of its own at this server (DNS rebinding), and the visitor's browser then lets
//! that page read the answers. Such a request has the page's name in `Host`, which is why other names are refused.

use std::net::SocketAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Version, header};
use url::Host;

/// The hosts that a server answers for.
#[derive(Debug, Clone)]
pub struct Hosts {
    allowed: Vec<Host>,
    /// Whether any IP address is allowed, because the server listens on all addresses of the machine. An address, unlike
    /// a name, cannot be pointed elsewhere.
    any_address: bool,
}

impl Hosts {
    /// The hosts of a server at `address`: that address, `localhost`, and `names`.
    #[must_use]
    pub fn new(address: SocketAddr, names: &[Host]) -> Self {
        let mut allowed = vec![Host::Domain("localhost".to_owned())];
        let own = |ip| match ip {
            std::net::IpAddr::V4(ip) => Host::Ipv4(ip),
            std::net::IpAddr::V6(ip) => Host::Ipv6(ip),
        };
        allowed.push(own(address.ip()));
        if address.ip().is_loopback() {
            allowed.push(Host::Ipv4(std::net::Ipv4Addr::LOCALHOST));
            allowed.push(Host::Ipv6(std::net::Ipv6Addr::LOCALHOST));
        }
        allowed.extend_from_slice(names);
        Self { allowed, any_address: address.ip().is_unspecified() }
    }

    /// Whether a request is for one of the hosts.
    ///
    /// # Errors
    /// The host that it names instead, for a message.
    pub(super) fn check(&self, request: &Request) -> Result<(), String> {
        let given: Vec<&[u8]> = request.headers().get_all(header::HOST).iter().map(HeaderValue::as_bytes).collect();
        let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
        // HTTP/1.0 has no Host, and no browser speaks it.
        if given.is_empty() && target.is_none() && request.version() != Version::HTTP_10 {
            return Err(String::new());
        }
        let refused = given.into_iter().chain(target).find(|host| !self.allows(host));
        refused.map_or(Ok(()), |host| Err(String::from_utf8_lossy(host).chars().take(100).collect()))
    }

    fn allows(&self, host: &[u8]) -> bool {
        let Some(host) = Authority::try_from(host).ok().and_then(|host| parse(host.host())) else { return false };
        self.allowed.contains(&host) || self.any_address && !matches!(host, Host::Domain(_))
    }
}

/// A host as in a URL, without port; a dot at the end of a name does not count.
pub(crate) fn parse(text: &str) -> Option<Host> {
    Host::parse(text.strip_suffix('.').unwrap_or(text)).ok()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn is_allowed(hosts: &Hosts, host: &str) -> bool {
        let request = Request::builder().uri("/").header(header::HOST, host).body(Body::empty()).unwrap();
        hosts.check(&request).is_ok()
    }

    #[test]
    fn only_the_bound_address_localhost_and_the_given_names_are_allowed() {
        let hosts = Hosts::new("127.0.0.1:8090".parse().unwrap(), &[parse("Status.example").unwrap()]);
        for host in
            ["127.0.0.1:8090", "localhost", "LOCALHOST:1", "[::1]:8090", "status.example.", "STATUS.example:443"]
        {
            assert!(is_allowed(&hosts, host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "", "localhost@evil.example", "a b", "[::2]"]
        {
            assert!(!is_allowed(&hosts, host), "{host}");
        }
    }

    #[test]
    fn a_server_on_all_addresses_answers_for_each_of_them_and_for_no_other_name() {
        let hosts = Hosts::new("0.0.0.0:80".parse().unwrap(), &[]);
        assert!(
            is_allowed(&hosts, "10.1.2.3") && is_allowed(&hosts, "[fd00::1]:80") && is_allowed(&hosts, "localhost")
        );
        assert!(!is_allowed(&hosts, "evil.example"));
    }

    #[test]
    fn every_host_that_a_request_names_counts() {
        let hosts = Hosts::new("127.0.0.1:80".parse().unwrap(), &[]);
        let request = |uri: &str, given: &[&str], version| {
            let mut request = Request::builder().uri(uri).version(version);
            for host in given {
                request = request.header(header::HOST, *host);
            }
            hosts.check(&request.body(Body::empty()).unwrap())
        };
        assert_eq!(request("/", &["localhost", "evil.example"], Version::HTTP_11), Err("evil.example".to_owned()));
        assert_eq!(request("http://evil.example/", &["localhost"], Version::HTTP_11), Err("evil.example".to_owned()));
        assert_eq!(request("/", &[], Version::HTTP_11), Err(String::new()));
        assert_eq!(request("/", &[], Version::HTTP_10), Ok(()));
        assert_eq!(request("http://localhost:80/", &[], Version::HTTP_2), Ok(()));
    }
}
