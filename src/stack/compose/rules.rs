//! The rules for a compose file: what ingestion needs of Redis, Postgres and Qdrant.

use serde_json::Value;

use crate::stack::service::Service;

/// The name of a rule and its check, which returns a problem and its remedy, or `None`.
pub(super) type Rule = (&'static str, fn(&ComposeService<'_>) -> Option<(String, &'static str)>);

/// The names of all rules.
pub const RULES: [&str; 11] = [
    "pinned",
    "healthy",
    "local",
    "durable",
    "limited",
    "keeps-keys",
    "appends",
    "guarded",
    "filled",
    "present",
    "tool",
];

/// The rules for every service that stores data.
pub(super) const COMMON_RULES: [Rule; 5] =
    [("pinned", pinned), ("healthy", healthy), ("local", local), ("durable", durable), ("limited", limited)];

/// A service that a compose file must have.
pub(super) struct Store {
    pub(super) service: Service,
    /// Parts of image names by which the service is recognised.
    pub(super) images: &'static [&'static str],
    /// The path of its data in the container.
    data: &'static str,
    /// Its rules in addition to [`COMMON_RULES`].
    pub(super) rules: &'static [Rule],
}

/// The services that a compose file must have.
pub(super) const STORES: [Store; 3] = [
    Store {
        service: Service::Redis,
        images: &["redis", "valkey"],
        data: "/data",
        rules: &[("keeps-keys", keeps_keys), ("appends", appends), ("guarded", redis_guarded)],
    },
    Store {
        service: Service::Postgres,
        images: &["postgres"],
        data: "/var/lib/postgresql",
        rules: &[("guarded", postgres_guarded)],
    },
    Store {
        service: Service::Qdrant,
        images: &["qdrant"],
        data: "/qdrant/storage",
        rules: &[("guarded", qdrant_guarded)],
    },
];

/// A service of the file, with variables substituted.
pub(super) struct ComposeService<'a> {
    image: String,
    data: &'static str,
    service: &'a Value,
}

impl Store {
    /// `service` of the file, if its image shows that it is this store.
    pub(super) fn recognise<'a>(&self, service: &'a Value) -> Option<ComposeService<'a>> {
        let image = service["image"].as_str().unwrap_or_default().to_owned();
        let base = image.split('@').next().unwrap_or_default();
        let base = base.rsplit('/').next().unwrap_or_default().split(':').next().unwrap_or_default();
        self.images.iter().any(|known| base.contains(known)).then_some(ComposeService {
            image,
            data: self.data,
            service,
        })
    }
}

impl ComposeService<'_> {
    /// The words of the command in one line.
    fn command(&self) -> String {
        match &self.service["command"] {
            Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            other => other.as_str().unwrap_or_default().to_owned(),
        }
    }

    fn variable(&self, name: &str) -> String {
        let environment = &self.service["environment"];
        let listed = || {
            let lines = environment.as_array()?.iter().filter_map(Value::as_str);
            lines.filter_map(|line| line.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        environment[name].as_str().or_else(listed).unwrap_or_default().to_owned()
    }

    fn list(&self, name: &str) -> Vec<String> {
        let entry = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Object(fields) => {
                let field = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                match fields.get("target") {
                    Some(Value::String(target)) => format!("{}:{target}", field("source")),
                    target => format!("{}:{}:{}", field("host_ip"), field("published"), target.unwrap_or(&Value::Null)),
                }
            }
            other => other.to_string(),
        };
        self.service[name].as_array().into_iter().flatten().map(entry).collect()
    }
}

fn pinned(compose: &ComposeService<'_>) -> Option<(String, &'static str)> {
    let last = compose.image.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map_or("", |(_, tag)| tag);
    let floats = !last.contains('@') && (tag == "latest" || !tag.contains(|letter: char| letter.is_ascii_digit()));
    floats.then(|| {
        (format!("the tag of image `{}` is not pinned to a version", compose.image), "use a version tag or a digest")
    })
}

fn healthy(compose: &ComposeService<'_>) -> Option<(String, &'static str)> {
    let check = &compose.service["healthcheck"];
    let present = check["test"].is_array() || check["test"].is_string();
    let off = check["disable"] == true || check["test"] == "NONE" || check["test"][0] == "NONE";
    (!present || off).then(|| {
        (
            "it has no health check".to_owned(),
            "add a `healthcheck`, and `condition: service_healthy` to the services that depend on it",
        )
    })
}

fn local(compose: &ComposeService<'_>) -> Option<(String, &'static str)> {
    let open = compose
        .list("ports")
        .into_iter()
        .find(|port| !["127.", "localhost:", "[::1]:"].iter().any(|loopback| port.starts_with(loopback)))?;
    Some((format!("port `{open}` is published on all network interfaces"), "publish it as `127.0.0.1:PORT:PORT`"))
}

fn durable(compose: &ComposeService<'_>) -> Option<(String, &'static str)> {
    let kept = compose.list("volumes").iter().any(|volume| {
        let mut parts = volume.split(':');
        // A single part is an anonymous volume, which the next `up` after a `down` does not use.
        parts.next().is_some_and(|source| !source.is_empty())
            && parts.next().is_some_and(|at| at.starts_with(compose.data))
    });
    (!kept)
        .then(|| (format!("its data under {} is lost with the container", compose.data), "mount a named volume there"))
}

fn limited(compose: &ComposeService<'_>) -> Option<(String, &'static str)> {
    let service = compose.service;
    let limits = [&service["mem_limit"], &service["deploy"]["resources"]["limits"]["memory"]];
    let limited = limits.iter().any(|limit| !limit.is_null());
    (!limited).then(|| ("it has no memory limit".to_owned(), "add `mem_limit`"))
}

fn keeps_keys(compose: &ComposeService<'_>) -> Option<(String, &'static str)> {
    let command = compose.command();
    (!command.contains("maxmemory-policy noeviction"))
        .then(|| ("it may evict keys of the queue".to_owned(), "add `--maxmemory-policy noeviction` to its command"))
}

fn appends(compose: &ComposeService<'_>) -> Option<(String, &'static str)> {
    let command = compose.command();
    (!command.contains("appendonly yes"))
        .then(|| ("a restart loses acknowledged jobs".to_owned(), "add `--appendonly yes` to its command"))
}

fn redis_guarded(compose: &ComposeService<'_>) -> Option<(String, &'static str)> {
    let command = compose.command();
    let guarded = ["requirepass", "aclfile"].iter().any(|word| command.contains(word));
    (!guarded).then(|| ("it requires no password".to_owned(), "set `requirepass`"))
}

fn postgres_guarded(compose: &ComposeService<'_>) -> Option<(String, &'static str)> {
    let secret = ["POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE"].iter().any(|name| !compose.variable(name).is_empty());
    (!secret || compose.variable("POSTGRES_HOST_AUTH_METHOD") == "trust")
        .then(|| ("it requires no password".to_owned(), "set POSTGRES_PASSWORD"))
}

fn qdrant_guarded(compose: &ComposeService<'_>) -> Option<(String, &'static str)> {
    compose
        .variable("QDRANT__SERVICE__API_KEY")
        .is_empty()
        .then(|| ("it requires no API key".to_owned(), "set QDRANT__SERVICE__API_KEY"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_public_name() {
        let rules = COMMON_RULES.iter().chain(STORES.iter().flat_map(|store| store.rules));
        assert!(rules.into_iter().all(|(name, _)| RULES.contains(name)));
    }
}
