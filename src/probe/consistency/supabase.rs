//! Supabase: project references, keys and the pooler.

use base64::Engine;
use serde_json::Value;

use super::given::{host, needed, text, url};
use crate::probe::ProbeError;
use crate::settings::Given;

/// The Supabase project references in the settings, by variable name.
fn refs(given: &Given) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let project_of_host = |host: &str| {
        let first = host.split('.').find(|part| *part != "db")?;
        (host.ends_with(".supabase.co") || host.ends_with(".supabase.com")).then(|| first.to_owned())
    };
    if let Some(project) = text(given, "SUPABASE_PROJECT_REF") {
        found.push(("SUPABASE_PROJECT_REF", project.to_owned()));
    }
    if let Some(project) = url(given, "SUPABASE_URL").and_then(|url| project_of_host(url.host_str()?)) {
        found.push(("SUPABASE_URL", project));
    }
    if let Some(database) = url(given, "DATABASE_URL") {
        let host = host(&database);
        if host.ends_with(".pooler.supabase.com") {
            if let Some((_, project)) = database.username().split_once('.') {
                found.push(("DATABASE_URL", project.to_owned()));
            }
        } else if let Some(project) = project_of_host(&host) {
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

/// The Supabase project reference, if a setting contains one.
pub(in crate::probe) fn project_ref(given: &Given) -> Option<String> {
    refs(given).into_iter().next().map(|(_, project)| project)
}

pub(super) fn project_refs(given: &Given) -> Result<Vec<String>, ProbeError> {
    let refs = refs(given);
    if refs.len() < 2 {
        return Err(ProbeError::Missing("fewer than two settings contain a Supabase project reference".to_owned()));
    }
    let mut distinct: Vec<&str> = refs.iter().map(|(_, project)| project.as_str()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() == 1 {
        return Ok(Vec::new());
    }
    Ok(refs.iter().map(|(name, project)| format!("{name} belongs to project {project}")).collect())
}

/// The claims of a JWT, without verifying its signature.
fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

pub(super) fn is_server_key(key: &str) -> bool {
    key.starts_with("sb_secret_") || claims(key).is_some_and(|claims| claims["role"] == "service_role")
}

fn is_browser_key(key: &str) -> bool {
    key.starts_with("sb_publishable_") || claims(key).is_some_and(|claims| claims["role"] == "anon")
}

/// The Supabase keys that are set, by variable name.
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

pub(super) fn key_roles(given: &Given) -> Result<Vec<String>, ProbeError> {
    let wrong = keys(given)?.into_iter().filter_map(|(name, key)| {
        let server = name == "SUPABASE_SERVICE_ROLE_KEY";
        if server && is_browser_key(key) {
            Some(format!("{name} is a browser key: row level security would hide all rows from the worker"))
        } else if !server && is_server_key(key) {
            Some(format!("{name} is a server key: anyone who sees it can read and write everything"))
        } else if is_server_key(key) || is_browser_key(key) {
            None
        } else {
            Some(format!("{name} is neither a JWT with a role nor an sb_ key"))
        }
    });
    Ok(wrong.collect())
}

pub(super) fn keys_valid(given: &Given) -> Result<Vec<String>, ProbeError> {
    let now = jiff::Timestamp::now().as_second();
    let dated: Vec<(&str, i64)> =
        keys(given)?.into_iter().filter_map(|(name, key)| Some((name, claims(key)?["exp"].as_i64()?))).collect();
    if dated.is_empty() {
        return Err(ProbeError::Missing("no key has an expiry date: keys of the new kind do not expire".to_owned()));
    }
    let wrong = dated.into_iter().filter(|(_, ends)| *ends <= now).map(|(name, ends)| {
        let day =
            jiff::Timestamp::from_second(ends).map_or_else(|_| ends.to_string(), |at| at.strftime("%F").to_string());
        format!("{name} expired on {day}")
    });
    Ok(wrong.collect())
}

pub(super) fn keys_new(given: &Given) -> Result<Vec<String>, ProbeError> {
    let old = keys(given)?.into_iter().filter(|(_, key)| key.starts_with("eyJ"));
    Ok(old.map(|(name, _)| format!("{name} is a legacy JWT")).collect())
}

pub(super) fn session_mode(given: &Given) -> Result<Vec<String>, ProbeError> {
    let database = needed(given, "DATABASE_URL")?;
    let transaction = database.port() == Some(6543);
    Ok(if transaction { vec![format!("DATABASE_URL: {}:6543", host(&database))] } else { Vec::new() })
}

pub(super) fn pooler_user(given: &Given) -> Result<Vec<String>, ProbeError> {
    let database = needed(given, "DATABASE_URL")?;
    if !host(&database).ends_with(".pooler.supabase.com") {
        return Err(ProbeError::Missing("DATABASE_URL is not the address of Supabase's shared pooler".to_owned()));
    }
    let has_project =
        database.username().split_once('.').is_some_and(|(role, project)| !role.is_empty() && !project.is_empty());
    Ok(if has_project { Vec::new() } else { vec![format!("DATABASE_URL has user `{}`", database.username())] })
}
