//! Addresses: environments, encryption, ports and hosts.

use secrecy::ExposeSecret;
use url::Url;

use super::given::{addresses, host, is_near, needed, text, url};
use crate::probe::ProbeError;
use crate::settings::Given;

/// Words in hosts, users and databases that indicate their environment.
const ENVIRONMENTS: &[(&str, &[&str])] = &[
    ("production", &["prod", "production", "prd", "live"]),
    ("staging", &["staging", "stage", "stg", "preprod", "uat"]),
    ("development", &["dev", "development", "test", "testing", "sandbox", "qa"]),
];

/// Variables with a host, and the URL variable that contains the host too.
const HOSTS: [(&str, &str); 6] = [
    ("REDIS_HOST", "REDIS_URL"),
    ("PGHOST", "DATABASE_URL"),
    ("POSTGRES_HOST", "DATABASE_URL"),
    ("DATABASE_HOST", "DATABASE_URL"),
    ("DB_HOST", "DATABASE_URL"),
    ("QDRANT_HOST", "QDRANT_URL"),
];

pub(super) fn one_environment(given: &Given) -> Vec<String> {
    let mut found: Vec<(&str, &str, String)> = Vec::new();
    for (name, url) in addresses(given) {
        let parts = format!("{} {} {}", host(&url), url.username(), url.path());
        let words: Vec<String> =
            parts.split(|letter: char| !letter.is_ascii_alphanumeric()).map(str::to_ascii_lowercase).collect();
        for (environment, marks) in ENVIRONMENTS {
            if words.iter().any(|word| marks.contains(&word.as_str())) {
                found.push((environment, name, host(&url)));
            }
        }
    }
    for name in ["QDRANT_COLLECTION", "QUEUE_NAME", "QUEUE_PREFIX"] {
        let value = text(given, name).unwrap_or_default();
        let words: Vec<String> = value.split(['-', '_', '.']).map(str::to_ascii_lowercase).collect();
        for (environment, marks) in ENVIRONMENTS {
            if words.iter().any(|word| marks.contains(&word.as_str())) {
                found.push((environment, name, value.to_owned()));
            }
        }
    }
    let of_profile = (given.profile, "the profile", given.profile.to_owned());
    // The default profile is no evidence, because it need not be selected.
    if given.profile != "development" {
        found.push(of_profile);
    }
    let mut environments: Vec<&str> = found.iter().map(|(environment, ..)| *environment).collect();
    environments.sort_unstable();
    environments.dedup();
    if environments.len() < 2 {
        return Vec::new();
    }
    found.iter().map(|(environment, name, value)| format!("{name} ({value}) belongs to {environment}")).collect()
}

fn is_unencrypted(url: &Url) -> bool {
    match url.scheme() {
        "redis" | "http" => true,
        "postgres" | "postgresql" => {
            let mode = url.query_pairs().find(|(key, _)| key == "sslmode").map(|(_, mode)| mode.into_owned());
            matches!(mode.as_deref(), None | Some("disable" | "allow" | "prefer"))
        }
        _ => false,
    }
}

pub(super) fn encrypted(given: &Given) -> Result<Vec<String>, ProbeError> {
    if given.profile != "production" {
        return Err(ProbeError::Missing(format!("profile {} is not production", given.profile)));
    }
    let wrong = addresses(given).filter(|(_, url)| is_unencrypted(url) && !is_near(url));
    Ok(wrong.map(|(name, url)| format!("{name}: {}://{}", url.scheme(), host(&url))).collect())
}

pub(super) fn keys_encrypted(given: &Given) -> Vec<String> {
    let carried = [
        ("QDRANT_API_KEY", "QDRANT_URL"),
        ("QDRANT_API_KEY", "QDRANT_GRPC_URL"),
        ("JINA_API_KEY", "JINA_BASE_URL"),
        ("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_URL"),
    ];
    let wrong = carried.into_iter().filter_map(|(key, address)| {
        text(given, key)?;
        let url = url(given, address).filter(|url| url.scheme() == "http" && !is_near(url))?;
        Some(format!("{key} is sent to http://{} ({address})", host(&url)))
    });
    wrong.collect()
}

/// Host variables that differ from the host of the URL: parts of a worker may read one, and parts the other.
pub(super) fn other_hosts(given: &Given) -> Vec<String> {
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let wrong = HOSTS.into_iter().filter_map(|(variable, address)| {
        let named = given.environment.get(variable)?.expose_secret().trim();
        let host = url(given, address)?.host_str().map(bare)?;
        // A value with a slash is a socket directory, or an address with a scheme as container links set it.
        let other = !named.is_empty() && !named.contains('/') && bare(named) != host;
        other.then(|| format!("{variable} is {named}, but {address} has host {host}"))
    });
    wrong.collect()
}

pub(super) fn qdrant_ports(given: &Given) -> Result<Vec<String>, ProbeError> {
    let (rest, grpc) = (needed(given, "QDRANT_URL")?, needed(given, "QDRANT_GRPC_URL")?);
    let mut wrong = Vec::new();
    if rest.host_str() != grpc.host_str() {
        wrong.push(format!("REST is at {}, gRPC at {}", host(&rest), host(&grpc)));
    } else if rest.port_or_known_default() == grpc.port_or_known_default() {
        wrong.push(format!("REST and gRPC are both at port {}", rest.port_or_known_default().unwrap_or_default()));
    }
    if rest.port() == Some(6334) {
        wrong.push("QDRANT_URL has port 6334, the gRPC port".to_owned());
    }
    if rest.scheme() != grpc.scheme() {
        wrong.push(format!("REST uses {}, gRPC uses {}", rest.scheme(), grpc.scheme()));
    }
    Ok(wrong)
}

pub(super) fn certificate_checked(given: &Given) -> Result<Vec<String>, ProbeError> {
    let database = needed(given, "DATABASE_URL")?;
    if is_near(&database) {
        return Err(ProbeError::Missing("the database is on this machine or in a private network".to_owned()));
    }
    let mode = database.query_pairs().find(|(key, _)| key == "sslmode").map(|(_, mode)| mode.into_owned());
    let checked = matches!(mode.as_deref(), Some("verify-full" | "verify-ca"));
    let shown = mode.unwrap_or_else(|| "not set, which means prefer".to_owned());
    Ok(if checked { Vec::new() } else { vec![format!("DATABASE_URL: sslmode is {shown}")] })
}
