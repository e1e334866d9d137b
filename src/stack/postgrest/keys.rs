//! The keys of a Supabase project: JSON web tokens (RFC 7519) that name a role, made for one run.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::stack::random::random_word;

/// How long the keys are valid, in seconds: longer than any run.
const VALID: i64 = 7 * 24 * 3600;

/// The keys of one run.
#[derive(Debug, Clone)]
pub struct SupabaseKeys {
    /// The key of the role `anon`, which is public in a web application.
    pub anon: SecretString,
    /// The key of the role `service_role`, which row level security does not bind.
    pub service: SecretString,
    /// What they are signed with.
    secret: SecretString,
}

impl SupabaseKeys {
    /// New keys, signed with a new secret.
    #[must_use]
    pub fn generate() -> Self {
        let secret = random_word(40);
        let now = chrono::Utc::now().timestamp();
        let claims = |role: &str| json!({ "iss": "supabase", "role": role, "iat": now, "exp": now + VALID });
        let (anon, service) = (signed(&claims("anon"), &secret), signed(&claims("service_role"), &secret));
        Self { anon, service, secret: secret.into() }
    }

    /// What the keys are signed with, by HMAC with SHA-256.
    pub(super) const fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// The role of a token, which is one of the two keys.
    pub(super) fn role(&self, token: &str) -> Option<&'static str> {
        let is = |key: &SecretString| bool::from(key.expose_secret().as_bytes().ct_eq(token.as_bytes()));
        if is(&self.service) { Some("service_role") } else { is(&self.anon).then_some("anon") }
    }
}

/// A token with these claims, signed by HMAC with SHA-256.
fn signed(claims: &Value, secret: &str) -> SecretString {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let content = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    // A key of any length is accepted.
    let signature = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map(|mut signature| {
        signature.update(content.as_bytes());
        URL_SAFE_NO_PAD.encode(signature.finalize().into_bytes())
    });
    format!("{content}.{}", signature.unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's hmac module.
    #[test]
    fn a_token_is_signed_as_rfc_7519_says() {
        let token = signed(&json!({ "role": "anon" }), "a secret");
        assert_eq!(
            token.expose_secret(),
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb2xlIjoiYW5vbiJ9.azoqmc5tO6m50Bt6YiResv3Suql-E6S1wVes_Ge2EOw"
        );
    }

    #[test]
    fn a_key_names_its_role_and_a_key_of_another_run_none() {
        let (keys, others) = (SupabaseKeys::generate(), SupabaseKeys::generate());
        assert_eq!(keys.role(keys.anon.expose_secret()), Some("anon"));
        assert_eq!(keys.role(keys.service.expose_secret()), Some("service_role"));
        assert_eq!(keys.role(others.service.expose_secret()), None);
    }
}
