//! Checks of the settings against each other, which no single service can do.

mod addresses;
mod given;
mod secrets;
mod supabase;

use self::addresses::{certificate_checked, encrypted, keys_encrypted, one_environment, other_hosts, qdrant_ports};
use self::given::text;
use self::secrets::{blanks, committed, placeholders, public};
pub(super) use self::supabase::project_ref;
use self::supabase::{key_roles, keys_new, keys_valid, pooler_user, project_refs, session_mode};
use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::settings::Given;
use crate::spec::{ConsistencyProbe, Rule};

/// Largest vector sizes of Jina's models (suites/FAILURES.md#jina.dimensions).
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
            "a throwaway stack uses the harness's own settings; run `shakedown check` to check yours".into(),
        )
    })?;
    let rule = probe.rule;
    // Git and files may block for a while.
    tokio::task::spawn_blocking(move || evaluate(rule, &given))
        .await
        .map_err(|error| ProbeError::Undecided(error.to_string()))?
}

fn evaluate(rule: Rule, given: &Given) -> Result<Observation, ProbeError> {
    let (what, wrong) = match rule {
        Rule::OneEnvironment => ("settings of different environments", one_environment(given)),
        Rule::ProjectRef => ("settings of different Supabase projects", project_refs(given)?),
        Rule::Encrypted => ("services reached without encryption", encrypted(given)?),
        Rule::KeysEncrypted => ("keys sent without encryption", keys_encrypted(given)),
        Rule::NoPlaceholders => ("well-known or placeholder secrets", placeholders(given)),
        Rule::NoBlanks => ("values enclosed in whitespace or quotation marks", blanks(given)),
        Rule::NotCommitted => ("secrets in files tracked by Git", committed(given)?),
        Rule::NotPublic => ("secrets in variables exposed to browsers", public(given)),
        Rule::ModelDimensions => ("vector sizes that the model does not support", model_dimensions(given)?),
        Rule::QdrantPorts => ("inconsistent Qdrant addresses", qdrant_ports(given)?),
        Rule::SupabaseKeyRoles => ("Supabase keys in the wrong variable", key_roles(given)?),
        Rule::SupabaseKeysValid => ("expired Supabase keys", keys_valid(given)?),
        Rule::SupabaseKeysNew => ("legacy Supabase keys", keys_new(given)?),
        Rule::SessionMode => ("addresses of a pooler in transaction mode", session_mode(given)?),
        Rule::PoolerUser => ("user names that the pooler cannot route", pooler_user(given)?),
        Rule::OneAddress => ("variables with a different host than the URL", other_hosts(given)),
        Rule::CertificateChecked => ("servers whose certificate is not verified", certificate_checked(given)?),
    };
    let mut observation = Observation::new(what, wrong);
    observation.also.push(Evidence::seen("profile", given.profile));
    Ok(observation)
}

fn model_dimensions(given: &Given) -> Result<Vec<String>, ProbeError> {
    let (Some(model), Some(wanted)) = (text(given, "JINA_MODEL"), text(given, "EMBEDDING_DIMENSIONS")) else {
        return Err(ProbeError::Missing("JINA_MODEL or EMBEDDING_DIMENSIONS is not set".to_owned()));
    };
    // The longest matching prefix: v5-text-nano is not v5-text-small.
    let known = MODEL_DIMENSIONS.iter().filter(|(name, _)| model.starts_with(name)).max_by_key(|(name, _)| name.len());
    let Some((_, most)) = known else {
        return Err(ProbeError::Undecided(format!("the vector sizes of {model} are unknown")));
    };
    let wanted: u64 = wanted.parse().unwrap_or_default();
    Ok(if wanted >= 1 && wanted <= *most {
        Vec::new()
    } else {
        vec![format!("{model} supports at most {most} dimensions, not {wanted}")]
    })
}
