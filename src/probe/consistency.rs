//! Settings, compared with each other: what no service can tell, because each knows only its own.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use base64::Engine;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::settings::Given;
use crate::spec::{ConsistencyProbe, Rule};

/// Variables that hold the address of a service.
const ADDRESSES: [&str; 5] = ["REDIS_URL", "DATABASE_URL", "SUPABASE_URL", "QDRANT_URL", "QDRANT_GRPC_URL"];

/// Words in hosts, users and databases that tell which environment they are of.
const ENVIRONMENTS: &[(&str, &[&str])] = &[
    ("production", &["prod", "production", "prd", "live"]),
    ("staging", &["staging", "stage", "stg", "preprod", "uat"]),
    ("development", &["dev", "development", "test", "testing", "sandbox", "qa"]),
];

/// The prefixes of variables that bundlers put into what they hand to browsers.
const PUBLIC_PREFIXES: [&str; 6] = ["NEXT_PUBLIC_", "VITE_", "REACT_APP_", "NUXT_PUBLIC_", "PUBLIC_", "EXPO_PUBLIC_"];

/// Passwords and keys out of documentation, and what everybody tries first.
const PLACEHOLDERS: &[&str] = &[
    "password",
    "postgres",
    "redis",
    "secret",
    "changeme",
    "change-me",
    "example",
    "admin",
    "root",
    "test",
    "xxx",
    "todo",
    "your-password",
    "[your-password]",
    "your-api-key",
    "your-super-secret-and-long-postgres-password",
    "foobared",
];

/// Variables that name a host, each beside the URL that names it too.
const HOSTS: [(&str, &str); 6] = [
    ("REDIS_HOST", "REDIS_URL"),
    ("PGHOST", "DATABASE_URL"),
    ("POSTGRES_HOST", "DATABASE_URL"),
    ("DATABASE_HOST", "DATABASE_URL"),
    ("DB_HOST", "DATABASE_URL"),
    ("QDRANT_HOST", "QDRANT_URL"),
];

/// Sizes of vectors that Jina's models give at most (FAILURES.md 0.4).
const MODEL_DIMENSIONS: &[(&str, u64)] = &[
    ("jina-embeddings-v2", 768),
    ("jina-embeddings-v3", 1024),
    ("jina-embeddings-v4", 2048),
    ("jina-embeddings-v5-text-small", 1024),
    ("jina-embeddings-v5-text-nano", 768),
];

pub(super) async fn observe(probe: &ConsistencyProbe, context: &Context) -> Result<Observation, ProbeError> {
    let given = context.given.clone().ok_or_else(|| {
        ProbeError::Missing(
            "the settings of a throwaway stack are the harness's own; `shakedown check` judges yours".into(),
        )
    })?;
    let rule = probe.rule;
    // Git and files may take a while.
    tokio::task::spawn_blocking(move || judge(rule, &given))
        .await
        .map_err(|error| ProbeError::Undecided(error.to_string()))?
}

fn judge(rule: Rule, given: &Given) -> Result<Observation, ProbeError> {
    let (what, wrong) = match rule {
        Rule::OneEnvironment => ("settings of different environments", one_environment(given)),
        Rule::ProjectRef => ("settings of different Supabase projects", project_refs(given)?),
        Rule::Encrypted => ("services that are reached in the clear", encrypted(given)?),
        Rule::KeysEncrypted => ("keys that travel in the clear", keys_encrypted(given)),
        Rule::NoPlaceholders => ("secrets that everybody knows", placeholders(given)),
        Rule::NoBlanks => ("values with blanks or quotation marks around them", blanks(given)),
        Rule::NotCommitted => ("secrets in files that Git keeps", committed(given)?),
        Rule::NotPublic => ("secrets in variables that browsers are given", public(given)),
        Rule::ModelDimensions => ("sizes that the model does not give", model_dimensions(given)?),
        Rule::QdrantPorts => ("addresses of Qdrant that do not go together", qdrant_ports(given)?),
        Rule::SupabaseKeyRoles => ("Supabase keys in the wrong place", key_roles(given)?),
        Rule::SupabaseKeysValid => ("Supabase keys that are expired", keys_valid(given)?),
        Rule::SupabaseKeysNew => ("Supabase keys of the old kind", keys_new(given)?),
        Rule::SessionMode => ("addresses of a pooler in transaction mode", session_mode(given)?),
        Rule::PoolerUser => ("users that the pooler cannot place", pooler_user(given)?),
        Rule::OneAddress => ("variables that name another host than the URL", other_hosts(given)),
        Rule::CertificateChecked => ("servers whose certificate is not checked", certificate_checked(given)?),
    };
    let mut observation = Observation::new(what, wrong);
    observation.also.push(Evidence::seen("profile", given.profile));
    Ok(observation)
}

fn text<'a>(given: &'a Given, name: &str) -> Option<&'a str> {
    given.value(name).map(ExposeSecret::expose_secret).filter(|text| !text.is_empty())
}

fn url(given: &Given, name: &str) -> Option<Url> {
    Url::parse(text(given, name)?).ok()
}

fn needed(given: &Given, name: &'static str) -> Result<Url, ProbeError> {
    url(given, name).ok_or_else(|| ProbeError::Missing(format!("{name} is not set, or no URL")))
}

/// The addresses that somebody set, by the variable's name.
fn addresses(given: &Given) -> impl Iterator<Item = (&'static str, Url)> + '_ {
    ADDRESSES
        .into_iter()
        .filter(|name| given.variables.get(name).is_some_and(|variable| !variable.usual))
        .filter_map(|name| Some((name, url(given, name)?)))
}

/// Whether an address is this machine's, or inside a private network by its name.
fn is_near(url: &Url) -> bool {
    let Some(name) = url.host_str() else { return true };
    // Of schemes that browsers do not know, addresses are kept as names.
    match name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip.is_unspecified(),
        Err(_) => {
            name == "localhost" || name.ends_with(".localhost") || !name.contains('.') || name.ends_with(".internal")
        }
    }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn one_environment(given: &Given) -> Vec<String> {
    let mut found: Vec<(&str, &str, String)> = Vec::new();
    for (name, url) in addresses(given) {
        let told = format!("{} {} {}", host(&url), url.username(), url.path());
        let words: Vec<String> =
            told.split(|letter: char| !letter.is_ascii_alphanumeric()).map(str::to_ascii_lowercase).collect();
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
    // The default profile says nothing: nobody chose it.
    if given.profile != "development" {
        found.push(of_profile);
    }
    let mut environments: Vec<&str> = found.iter().map(|(environment, ..)| *environment).collect();
    environments.sort_unstable();
    environments.dedup();
    if environments.len() < 2 {
        return Vec::new();
    }
    found.iter().map(|(environment, name, told)| format!("{name} ({told}) is of {environment}")).collect()
}

/// A Supabase project's reference, where a setting carries one.
fn refs(given: &Given) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let of_host = |host: &str| {
        let first = host.split('.').find(|part| *part != "db")?;
        (host.ends_with(".supabase.co") || host.ends_with(".supabase.com")).then(|| first.to_owned())
    };
    if let Some(project) = text(given, "SUPABASE_PROJECT_REF") {
        found.push(("SUPABASE_PROJECT_REF", project.to_owned()));
    }
    if let Some(project) = url(given, "SUPABASE_URL").and_then(|url| of_host(url.host_str()?)) {
        found.push(("SUPABASE_URL", project));
    }
    if let Some(database) = url(given, "DATABASE_URL") {
        let host = host(&database);
        if host.ends_with(".pooler.supabase.com") {
            if let Some((_, project)) = database.username().split_once('.') {
                found.push(("DATABASE_URL", project.to_owned()));
            }
        } else if let Some(project) = of_host(&host) {
            found.push(("DATABASE_URL", project));
        }
    }
    for name in ["SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_ANON_KEY"] {
        let claims = text(given, name).and_then(claims);
        if let Some(project) = claims.and_then(|claims| Some(claims["ref"].as_str()?.to_owned())) {
            found.push((name, project));
        }
    }
    found
}

/// The reference of the Supabase project, where a setting carries it.
pub(super) fn project_ref(given: &Given) -> Option<String> {
    refs(given).into_iter().next().map(|(_, project)| project)
}

fn project_refs(given: &Given) -> Result<Vec<String>, ProbeError> {
    let refs = refs(given);
    if refs.len() < 2 {
        return Err(ProbeError::Missing("fewer than two settings carry a Supabase project's reference".to_owned()));
    }
    let mut distinct: Vec<&str> = refs.iter().map(|(_, project)| project.as_str()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() == 1 {
        return Ok(Vec::new());
    }
    Ok(refs.iter().map(|(name, project)| format!("{name} is of {project}")).collect())
}

fn in_the_clear(url: &Url) -> bool {
    match url.scheme() {
        "redis" | "http" => true,
        "postgres" | "postgresql" => {
            let mode = url.query_pairs().find(|(key, _)| key == "sslmode").map(|(_, mode)| mode.into_owned());
            matches!(mode.as_deref(), None | Some("disable" | "allow" | "prefer"))
        }
        _ => false,
    }
}

fn encrypted(given: &Given) -> Result<Vec<String>, ProbeError> {
    if given.profile != "production" {
        return Err(ProbeError::Missing(format!("profile {} is not production", given.profile)));
    }
    let wrong = addresses(given).filter(|(_, url)| in_the_clear(url) && !is_near(url));
    Ok(wrong.map(|(name, url)| format!("{name}: {}://{}", url.scheme(), host(&url))).collect())
}

fn keys_encrypted(given: &Given) -> Vec<String> {
    let carried = [
        ("QDRANT_API_KEY", "QDRANT_URL"),
        ("QDRANT_API_KEY", "QDRANT_GRPC_URL"),
        ("JINA_API_KEY", "JINA_BASE_URL"),
        ("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_URL"),
    ];
    let wrong = carried.into_iter().filter_map(|(key, address)| {
        text(given, key)?;
        let url = url(given, address).filter(|url| url.scheme() == "http" && !is_near(url))?;
        Some(format!("{key} goes to http://{} ({address})", host(&url)))
    });
    wrong.collect()
}

/// Hosts that a variable beside the URL names, and the URL does not: some part of the worker may read the one, some the
/// other.
fn other_hosts(given: &Given) -> Vec<String> {
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let told = HOSTS.into_iter().filter_map(|(variable, address)| {
        let named = given.environment.get(variable)?.expose_secret().trim();
        let host = url(given, address)?.host_str().map(bare)?;
        // A directory is that of a socket, and an address with a scheme is written by those who link containers.
        let other = !named.is_empty() && !named.contains('/') && bare(named) != host;
        other.then(|| format!("{variable} is {named}, {address} names {host}"))
    });
    told.collect()
}

fn placeholders(given: &Given) -> Vec<String> {
    let unfilled = |secret: &str| secret.contains("${") || secret.contains("{{");
    let is_known = |secret: &str| {
        let secret = secret.to_ascii_lowercase();
        let begins = |words: &[&str]| words.iter().any(|word| secret.starts_with(word));
        PLACEHOLDERS.contains(&secret.as_str())
            || secret.ends_with('…')
            || begins(&["<", "your-", "your_", "changeme", "change-me", "change_me", "replace-me", "replace_me"])
            || unfilled(&secret)
    };
    let mut wrong = Vec::new();
    for (name, secret) in given.secrets() {
        let secret = secret.expose_secret();
        let far = Url::parse(secret).ok().filter(|url| url.password().is_some());
        match far {
            // A password that is known here hurts nobody on a machine's own address.
            Some(url) if !is_near(&url) && url.password().is_some_and(|password| is_known(&plain(password))) => {
                wrong.push(format!("the password in {name}"));
            }
            // What was to be put in its place never was, wherever that is.
            Some(url) if unfilled(&plain(url.password().unwrap_or_default())) => {
                wrong.push(format!("the password in {name}"));
            }
            None if is_known(secret) => wrong.push(name.to_owned()),
            _ => {}
        }
    }
    wrong
}

fn blanks(given: &Given) -> Vec<String> {
    let wrapped = |text: &str| {
        let quoted = |mark: char| text.len() > 1 && text.starts_with(mark) && text.ends_with(mark);
        text.trim() != text || quoted('"') || quoted('\'')
    };
    let wrong = given
        .variables
        .iter()
        .filter(|(_, variable)| variable.value.as_ref().is_some_and(|value| wrapped(value.expose_secret())));
    wrong.map(|(name, variable)| format!("{name} (from {})", variable.origin)).collect()
}

/// A part of a URL as it was before it was written there.
fn plain(written: &str) -> String {
    percent_encoding::percent_decode_str(written).decode_utf8_lossy().into_owned()
}

/// Shorter secrets would be found by chance.
const LEAST_SECRET: usize = 12;

/// The texts of a secret that must be nowhere: the password of a URL as it is and as it stands there, else all of it.
fn cores(secret: &SecretString) -> Vec<String> {
    let secret = secret.expose_secret();
    let mut cores = match Url::parse(secret) {
        Ok(url) => {
            let written = url.password().unwrap_or_default().to_owned();
            vec![plain(&written), written]
        }
        Err(_) => vec![secret.to_owned()],
    };
    cores.dedup();
    cores.retain(|core| core.chars().count() >= LEAST_SECRET);
    cores
}

fn committed(given: &Given) -> Result<Vec<String>, ProbeError> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(&given.directory)
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| ProbeError::Missing(format!("git cannot be run: {error}")))?;
    if !listed.status.success() {
        let directory = given.directory.display();
        return Err(ProbeError::Missing(format!("{directory} is no Git repository")));
    }
    let secrets: Vec<(&str, String)> =
        given.secrets().flat_map(|(name, secret)| cores(secret).into_iter().map(move |core| (name, core))).collect();
    let (mut wrong, mut unread) = (Vec::new(), Vec::new());
    for file in listed.stdout.split(|byte| *byte == 0).filter(|file| !file.is_empty()) {
        let file = String::from_utf8_lossy(file);
        let path = given.directory.join(&*file);
        let found = match secrets_in(&path, &secrets) {
            Ok(found) => found,
            // A file that Git keeps and that is not here any more holds nothing.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                unread.push(format!("{file}: {error}"));
                continue;
            }
        };
        wrong.extend(found.into_iter().map(|name| format!("{name} in {file}")));
    }
    // What was found is told; that nothing was found can only be said of what was read.
    match unread.first() {
        Some(first) if wrong.is_empty() => Err(ProbeError::Undecided(format!(
            "{} file(s) that Git keeps cannot be read, the first is {first}",
            unread.len()
        ))),
        _ => Ok(wrong),
    }
}

/// Bytes of a file that are looked at at once.
const PAGE: usize = 1 << 20;

/// The names of the secrets that a file holds, however large it is.
fn secrets_in<'a>(path: &Path, secrets: &'a [(&'a str, String)]) -> std::io::Result<BTreeSet<&'a str>> {
    let mut found = BTreeSet::new();
    if !std::fs::metadata(path)?.is_file() {
        return Ok(found);
    }
    let longest = secrets.iter().map(|(_, secret)| secret.len()).max().unwrap_or_default();
    let mut file = std::fs::File::open(path)?;
    let mut page = Vec::new();
    loop {
        let read = file.by_ref().take(PAGE as u64).read_to_end(&mut page)?;
        if read == 0 {
            return Ok(found);
        }
        for (name, secret) in secrets {
            if !found.contains(name) && memchr::memmem::find(&page, secret.as_bytes()).is_some() {
                found.insert(name);
            }
        }
        // One that begins at the end of this page ends in the next one.
        page.drain(..page.len().saturating_sub(longest));
    }
}

fn public(given: &Given) -> Vec<String> {
    let secrets: Vec<(&str, String)> = given
        .secrets()
        .filter(|(name, _)| *name != "SUPABASE_ANON_KEY")
        .flat_map(|(name, secret)| cores(secret).into_iter().map(move |core| (name, core)))
        .collect();
    let mut wrong = Vec::new();
    for (variable, value) in &given.environment {
        if !PUBLIC_PREFIXES.iter().any(|prefix| variable.starts_with(prefix)) {
            continue;
        }
        let value = value.expose_secret();
        let same = secrets.iter().find(|(_, secret)| value.contains(secret.as_str())).map(|(name, _)| *name);
        if let Some(name) = same {
            wrong.push(format!("{variable} holds {name}"));
        } else if is_server_key(value) {
            wrong.push(format!("{variable} holds a Supabase key for servers"));
        }
    }
    wrong
}

fn model_dimensions(given: &Given) -> Result<Vec<String>, ProbeError> {
    let (Some(model), Some(wanted)) = (text(given, "JINA_MODEL"), text(given, "EMBEDDING_DIMENSIONS")) else {
        return Err(ProbeError::Missing("JINA_MODEL or EMBEDDING_DIMENSIONS is not set".to_owned()));
    };
    // The longest name that fits: v5-text-nano is not v5-text-small.
    let known = MODEL_DIMENSIONS.iter().filter(|(name, _)| model.starts_with(name)).max_by_key(|(name, _)| name.len());
    let Some((_, most)) = known else {
        return Err(ProbeError::Undecided(format!("how many dimensions {model} gives is not known here")));
    };
    let wanted: u64 = wanted.parse().unwrap_or_default();
    Ok(if wanted >= 1 && wanted <= *most {
        Vec::new()
    } else {
        vec![format!("{model} gives at most {most}, not {wanted}")]
    })
}

fn qdrant_ports(given: &Given) -> Result<Vec<String>, ProbeError> {
    let (rest, grpc) = (needed(given, "QDRANT_URL")?, needed(given, "QDRANT_GRPC_URL")?);
    let mut wrong = Vec::new();
    if rest.host_str() != grpc.host_str() {
        wrong.push(format!("REST is at {}, gRPC at {}", host(&rest), host(&grpc)));
    } else if rest.port_or_known_default() == grpc.port_or_known_default() {
        wrong.push(format!("REST and gRPC are both at port {}", rest.port_or_known_default().unwrap_or_default()));
    }
    if rest.port() == Some(6334) {
        wrong.push("QDRANT_URL names port 6334, which is that of gRPC".to_owned());
    }
    if rest.scheme() != grpc.scheme() {
        wrong.push(format!("REST is {}, gRPC is {}", rest.scheme(), grpc.scheme()));
    }
    Ok(wrong)
}

/// The claims of a JWT, unchecked: whoever sets a key knows whose it is.
pub(super) fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn is_server_key(key: &str) -> bool {
    key.starts_with("sb_secret_") || claims(key).is_some_and(|claims| claims["role"] == "service_role")
}

fn is_browser_key(key: &str) -> bool {
    key.starts_with("sb_publishable_") || claims(key).is_some_and(|claims| claims["role"] == "anon")
}

/// Supabase's keys that are set, by the variable's name.
fn keys(given: &Given) -> Result<Vec<(&'static str, &str)>, ProbeError> {
    let set: Vec<_> = ["SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_ANON_KEY"]
        .into_iter()
        .filter_map(|name| Some((name, text(given, name)?)))
        .collect();
    if set.is_empty() {
        return Err(ProbeError::Missing("neither SUPABASE_SERVICE_ROLE_KEY nor SUPABASE_ANON_KEY is set".to_owned()));
    }
    Ok(set)
}

fn key_roles(given: &Given) -> Result<Vec<String>, ProbeError> {
    let wrong = keys(given)?.into_iter().filter_map(|(name, key)| {
        let server = name == "SUPABASE_SERVICE_ROLE_KEY";
        if server && is_browser_key(key) {
            Some(format!("{name} is the key of browsers: row level security would show the worker nothing"))
        } else if !server && is_server_key(key) {
            Some(format!("{name} is the key of servers: whoever sees it may read and write everything"))
        } else if is_server_key(key) || is_browser_key(key) {
            None
        } else {
            Some(format!("{name} is neither a JWT with a role nor an sb_ key"))
        }
    });
    Ok(wrong.collect())
}

fn keys_valid(given: &Given) -> Result<Vec<String>, ProbeError> {
    let now = jiff::Timestamp::now().as_second();
    let dated: Vec<(&str, i64)> =
        keys(given)?.into_iter().filter_map(|(name, key)| Some((name, claims(key)?["exp"].as_i64()?))).collect();
    if dated.is_empty() {
        return Err(ProbeError::Missing("no key carries a date: keys of the new kind do not expire".to_owned()));
    }
    let wrong = dated.into_iter().filter(|(_, ends)| *ends <= now).map(|(name, ends)| {
        let day =
            jiff::Timestamp::from_second(ends).map_or_else(|_| ends.to_string(), |at| at.strftime("%F").to_string());
        format!("{name} ended on {day}")
    });
    Ok(wrong.collect())
}

fn keys_new(given: &Given) -> Result<Vec<String>, ProbeError> {
    let old = keys(given)?.into_iter().filter(|(_, key)| key.starts_with("eyJ"));
    Ok(old.map(|(name, _)| format!("{name} is a legacy JWT")).collect())
}

fn session_mode(given: &Given) -> Result<Vec<String>, ProbeError> {
    let database = needed(given, "DATABASE_URL")?;
    let transaction = database.port() == Some(6543);
    Ok(if transaction { vec![format!("DATABASE_URL: {}:6543", host(&database))] } else { Vec::new() })
}

fn pooler_user(given: &Given) -> Result<Vec<String>, ProbeError> {
    let database = needed(given, "DATABASE_URL")?;
    if !host(&database).ends_with(".pooler.supabase.com") {
        return Err(ProbeError::Missing("DATABASE_URL is not that of Supabase's shared pooler".to_owned()));
    }
    let placed =
        database.username().split_once('.').is_some_and(|(role, project)| !role.is_empty() && !project.is_empty());
    Ok(if placed { Vec::new() } else { vec![format!("DATABASE_URL has user `{}`", database.username())] })
}

fn certificate_checked(given: &Given) -> Result<Vec<String>, ProbeError> {
    let database = needed(given, "DATABASE_URL")?;
    if is_near(&database) {
        return Err(ProbeError::Missing("the database is on this machine, or in a private network".to_owned()));
    }
    let mode = database.query_pairs().find(|(key, _)| key == "sslmode").map(|(_, mode)| mode.into_owned());
    let checked = matches!(mode.as_deref(), Some("verify-full" | "verify-ca"));
    let said = mode.unwrap_or_else(|| "not set, which means prefer".to_owned());
    Ok(if checked { Vec::new() } else { vec![format!("DATABASE_URL: sslmode is {said}")] })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;

    use super::*;

    #[test]
    fn of_files_that_cannot_be_read_nothing_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let done = Command::new("git").args(arguments).current_dir(&directory).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        let given = Given {
            profile: "development",
            variables: BTreeMap::new(),
            environment: BTreeMap::new(),
            directory: directory.path().to_owned(),
        };
        git(&["init", "--quiet"]);
        std::fs::write(directory.path().join("here"), "nothing").unwrap();
        std::fs::write(directory.path().join("gone"), "nothing").unwrap();
        git(&["add", "--all"]);
        std::fs::remove_file(directory.path().join("gone")).unwrap();
        assert_eq!(committed(&given).unwrap(), Vec::<String>::new());
        // A link to itself can be read by nobody, not even by root.
        std::os::unix::fs::symlink("round", directory.path().join("round")).unwrap();
        git(&["add", "round"]);
        match committed(&given) {
            Err(ProbeError::Undecided(why)) => assert!(why.contains("1 file") && why.contains("round"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}
