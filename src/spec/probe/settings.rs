//! Probes of settings.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// A setting by its variable's name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvProbe {
    /// The variable. The value of a secret is matched but never shown.
    pub variable: String,
    /// Which fact is the value.
    #[serde(default)]
    pub yields: EnvYield,
    /// Whether the variable is optional: the case is skipped if it is not set.
    #[serde(default)]
    pub optional: bool,
}

/// What a probe of a setting yields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EnvYield {
    /// The setting's value.
    #[default]
    Value,
    /// What is wrong with the setting, as text: it is not set, or does not have the required form.
    Problem,
}

/// A rule over several settings; yields the violations, one per line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyProbe {
    /// The rule.
    pub rule: Rule,
}

/// A rule over several settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// No host name says staging while another says production.
    OneEnvironment,
    /// The project reference is the same in every Supabase setting that has it: URLs, users, keys.
    ProjectRef,
    /// In the production profile, and to addresses of other machines, every connection is encrypted.
    Encrypted,
    /// No key is sent unencrypted to another machine.
    KeysEncrypted,
    /// No value is an example from documentation or a well-known default password.
    NoPlaceholders,
    /// No value is surrounded by quotation marks, blanks or line breaks.
    NoBlanks,
    /// No secret is in a file of the working directory that Git tracks.
    NotCommitted,
    /// No secret is in a variable that bundlers publish to browsers (`NEXT_PUBLIC_`, `VITE_`, …).
    NotPublic,
    /// The model supports the configured size of vectors.
    ModelDimensions,
    /// Qdrant's REST and gRPC addresses are two ports of one host.
    QdrantPorts,
    /// Supabase keys have the right role: the secret key on the server, the public key in the browser.
    SupabaseKeyRoles,
    /// Supabase's legacy keys are not expired.
    SupabaseKeysValid,
    /// Supabase keys are of the new kind, which can be rotated one at a time.
    SupabaseKeysNew,
    /// The database is reached directly or through its pooler in session mode, not in transaction mode (port 6543).
    SessionMode,
    /// On a pooler, the user name contains the project reference.
    PoolerUser,
    /// The server's certificate is verified, not only requested.
    CertificateChecked,
    /// No variable such as `REDIS_HOST` or `PGHOST` names another host than the URL.
    OneAddress,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneEnvironment => "no mix of staging and production",
            Self::ProjectRef => "one Supabase project",
            Self::Encrypted => "encrypted connections to other machines",
            Self::KeysEncrypted => "keys are sent over encrypted connections only",
            Self::NoPlaceholders => "no example values or default passwords",
            Self::NoBlanks => "no quotation marks or blanks around values",
            Self::NotCommitted => "no secret in a file that Git tracks",
            Self::NotPublic => "no secret in a variable for browsers",
            Self::ModelDimensions => "the model supports the size of vectors",
            Self::QdrantPorts => "Qdrant's REST and gRPC addresses are ports of one host",
            Self::SupabaseKeyRoles => "Supabase keys have the right role",
            Self::SupabaseKeysValid => "Supabase's legacy keys are not expired",
            Self::SupabaseKeysNew => "Supabase keys are of the new kind",
            Self::SessionMode => "no pooler in transaction mode",
            Self::PoolerUser => "the user of a pooler contains the project reference",
            Self::CertificateChecked => "certificates are verified",
            Self::OneAddress => "host variables agree with the URLs",
        })
    }
}
