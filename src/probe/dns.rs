//! Name resolution.

use std::collections::BTreeSet;

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::ServiceError;
use crate::spec::{DnsProbe, DnsYield};

pub(super) async fn observe(probe: &DnsProbe, context: &Context) -> Result<Observation, ProbeError> {
    let host = context.template().fill(&probe.host)?;
    let unreachable = |detail: String| ServiceError::no_answer("dns", &host, detail);
    // IPv6 addresses have brackets in URLs only.
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let looked_up = tokio::time::timeout(super::tcp::CONNECT, tokio::net::lookup_host((name.as_str(), 0))).await;
    let addresses: BTreeSet<_> = looked_up
        .map_err(|_| unreachable("the DNS resolver does not respond".to_owned()))?
        .map_err(|error| unreachable(error.to_string()))?
        .map(|address| address.ip())
        .collect();
    let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    Ok(match probe.yields {
        DnsYield::Addresses => Observation::new(format!("addresses of {host}"), shown),
        DnsYield::Families => {
            let families: BTreeSet<&str> =
                addresses.iter().map(|address| if address.is_ipv4() { "ipv4" } else { "ipv6" }).collect();
            let families: Vec<&str> = families.into_iter().collect();
            let mut observation = Observation::new(format!("address families of {host}"), families);
            observation.also.push(Evidence::seen("addresses", shown));
            observation
        }
    })
}
