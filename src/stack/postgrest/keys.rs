//! The keys of a Supabase project: JSON web tokens that name a role, made for one run.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::stack::random::random_word;

/// How long the keys are valid, in seconds: longer than any run.
const VALID: u64 = 7 * 24 * 3600;

/// The keys, and the secret that signs them.
#[derive(Debug, Clone)]
pub struct SupabaseKeys {
    /// The key of the role `anon`, which is public in a web application.
    pub anon: SecretString,
    /// The key of the role `service_role`, which row level security does not bind.
    pub service: SecretString,
    secret: SecretString,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    role: String,
    iat: u64,
    exp: u64,
}

impl SupabaseKeys {
    /// New keys.
    #[must_use]
    pub fn generate() -> Self {
        let secret = SecretString::from(random_word(40));
        let now = u64::try_from(chrono::Utc::now().timestamp()).unwrap_or_default();
        let key = |role: &str| {
            let claims = Claims { iss: "supabase".to_owned(), role: role.to_owned(), iat: now, exp: now + VALID };
            let signed = EncodingKey::from_secret(secret.expose_secret().as_bytes())
                .and_then(|signing| encode(&Header::new(Algorithm::HS256), &claims, &signing));
            // Signing by HMAC does not fail; without a key every request is refused.
            SecretString::from(signed.unwrap_or_default())
        };
        Self { anon: key("anon"), service: key("service_role"), secret }
    }

    /// The role that a token names, or why the token is not valid.
    pub(super) fn role(&self, token: &str) -> Result<String, String> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_aud = false;
        let read = DecodingKey::from_secret(self.secret.expose_secret().as_bytes())
            .and_then(|verifying| decode::<Claims>(token, &verifying, &validation));
        read.map(|token| token.claims.role).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_role_and_a_key_of_another_run_is_refused() {
        let (keys, others) = (SupabaseKeys::generate(), SupabaseKeys::generate());
        assert_eq!(keys.role(keys.anon.expose_secret()), Ok("anon".to_owned()));
        assert_eq!(keys.role(keys.service.expose_secret()), Ok("service_role".to_owned()));
        assert!(keys.role(others.service.expose_secret()).is_err());
        assert!(keys.role("not a token").is_err());
    }
}
