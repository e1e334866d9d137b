//! What a variable teaches: whether it is a secret, and which parts of its value are.

use base64::Engine as _;
use serde_json::Value;
use url::Url;

use super::names::{Hint, STRONG, STRONG_KEYS, WEAK, hint, words};
use super::{address, ordinary, shapes};

/// A secret text, with the variable that it is the whole value of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Secret {
    pub(super) name: Option<String>,
    pub(super) text: String,
    /// Whether it is ordinary text, which is masked only as the password of a URL.
    pub(super) only_in_urls: bool,
}

/// Whether a text is surely the name of a secret field, and not the beginning of a secret that contains `=`.
fn is_field(name: &str) -> bool {
    let known = |word: &String| {
        let lists = [STRONG, WEAK, STRONG_KEYS, &["client", "id", "sas", "user", "x"]];
        lists.iter().any(|list| list.contains(&word.as_str()))
    };
    hint(name).is_some() && words(name).iter().all(known)
}

/// Whether a variable is secret by its name or by its value.
pub(super) fn is_secret_variable(name: &str, value: &str) -> bool {
    let by_name = match hint(name) {
        Some(Hint::Strong) => !ordinary::is_path(value),
        Some(Hint::Weak) => !ordinary::is_path(value) && !ordinary::reads_like_a_name(value),
        None => false,
    };
    by_name || shapes::contains_secret(value)
}

/// The secrets in the value of a variable that is secret.
pub(super) fn secrets_of(name: &str, value: &str) -> Vec<Secret> {
    let mut lesson = Lesson { name, found: Vec::new() };
    lesson.value(value.trim());
    lesson.found
}

struct Lesson<'a> {
    name: &'a str,
    found: Vec<Secret>,
}

impl Lesson<'_> {
    fn value(&mut self, value: &str) {
        if is_address(value) {
            self.url(value);
        } else if let Some(json) = container(value) {
            self.json("", &json);
            if self.found.is_empty() {
                self.secret(Some(self.name.to_owned()), value);
            }
        } else if let Some((scheme, credentials)) = authorization(value) {
            self.authorization(scheme, credentials);
        } else {
            let pairs: Vec<&str> = pairs(value).filter(|(key, _)| is_field(key)).map(|(_, value)| value).collect();
            if pairs.is_empty() {
                self.secret(Some(self.name.to_owned()), value);
            }
            for value in pairs {
                match authorization(value) {
                    Some((scheme, credentials)) => self.authorization(scheme, credentials),
                    None => self.secret(None, value),
                }
            }
        }
    }

    fn secret(&mut self, name: Option<String>, text: &str) {
        if !ordinary::is_ordinary_value(text) {
            self.found.push(Secret { name, text: text.to_owned(), only_in_urls: false });
        }
    }

    /// The password, a token in the place of the user, and secret parameters.
    fn url(&mut self, text: &str) {
        let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let Ok(url) = Url::parse(text) else {
            // A password that is not escaped makes the URL invalid.
            if let Some((user, password)) = user_info(text) {
                self.credentials(user, password);
            }
            return;
        };
        if let Some(password) = url.password() {
            self.credentials(url.username(), &decoded(password));
            if let Some((user, password)) = user_info(text) {
                self.credentials(user, password);
            }
        } else if address::is_token(&url) {
            self.secret(None, &decoded(url.username()));
        }
        for (_, value) in url.query_pairs().filter(|(key, _)| address::is_secret_parameter(key)) {
            self.secret(None, &value);
        }
        if hint(self.name).is_some() {
            for segment in url.path_segments().into_iter().flatten().filter(|segment| ordinary::is_random(segment)) {
                self.secret(None, segment);
            }
        }
    }

    /// A password that equals the user name, as `postgres` often does, is in every message with the user name.
    fn credentials(&mut self, user: &str, password: &str) {
        if user == password || ordinary::is_ordinary_value(password) {
            self.found.push(Secret { name: None, text: password.to_owned(), only_in_urls: true });
        } else {
            self.secret(None, password);
        }
    }

    fn authorization(&mut self, scheme: &str, credentials: &str) {
        self.secret(Some(self.name.to_owned()), credentials);
        if scheme.eq_ignore_ascii_case("basic")
            && let Ok(decoded) = base64::engine::general_purpose::STANDARD.decode(credentials)
            && let Ok(text) = String::from_utf8(decoded)
            && let Some((user, password)) = text.split_once(':')
        {
            self.credentials(user, password);
        }
    }

    /// The texts under secret names, and those that are random.
    fn json(&mut self, key: &str, value: &Value) {
        match value {
            Value::String(text)
                if hint(key).is_some() || ordinary::is_random(text) || shapes::contains_secret(text) =>
            {
                self.secret(None, text);
            }
            Value::Array(items) => {
                for item in items {
                    self.json(key, item);
                }
            }
            Value::Object(fields) => {
                for (key, value) in fields {
                    self.json(key, value);
                }
            }
            _ => {}
        }
    }
}

/// Whether a value is the address of something, and not a secret that contains `://`.
fn is_address(value: &str) -> bool {
    const SCHEMES: [&str; 18] = [
        "amqp",
        "amqps",
        "file",
        "ftp",
        "grpc",
        "http",
        "https",
        "mongodb",
        "mongodb+srv",
        "mysql",
        "nats",
        "postgres",
        "postgresql",
        "redis",
        "rediss",
        "s3",
        "tcp",
        "unix",
    ];
    let scheme = value.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    scheme.is_some_and(|scheme| SCHEMES.contains(&scheme.as_str())) && !value.contains(char::is_whitespace)
}

/// A JSON object or array.
fn container(value: &str) -> Option<Value> {
    value.starts_with(['{', '[']).then(|| serde_json::from_str(value).ok()).flatten()
}

/// The user and the password between `://` and the last `@`, as they were written.
fn user_info(url: &str) -> Option<(&str, &str)> {
    url.split_once("://")?.1.rsplit_once('@')?.0.split_once(':')
}

/// The scheme and the credentials of a header.
fn authorization(value: &str) -> Option<(&str, &str)> {
    let (scheme, credentials) = value.split_once(' ')?;
    let known = ["basic", "bearer", "token", "digest", "apikey"];
    known.contains(&scheme.to_ascii_lowercase().as_str()).then_some((scheme, credentials.trim()))
}

/// The pairs of a list such as `api-key=a,b=c`, `Server=h;Password=p` or `host=h password=p`.
fn pairs(value: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts = value.split([',', ';', '&', '\n']).flat_map(|part| {
        // The parameters of libpq are separated by blanks, but a header has blanks within.
        let several = part.matches('=').count() > 1;
        if several { part.split(' ').collect() } else { vec![part] }
    });
    parts.filter_map(|part| {
        let (key, value) = part.split_once(['=', ':'])?;
        let key = key.trim();
        let is_name =
            !key.is_empty() && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-. ".contains(letter));
        is_name.then(|| (key, value.trim().trim_matches(['"', '\''])))
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("DB_PASS", "x1y2z3")]
    #[case("ADMIN_PWD", "x1y2z3")]
    #[case("GH_PAT", "x1y2z3")]
    #[case("SSH_PASSPHRASE", "correct horse")]
    #[case("AUTH_HEADER", "Bearer x1y2z3")]
    #[case("SESSION_COOKIE", "sid=x1y2z3")]
    #[case("MY_JWT", "x1y2z3")]
    #[case("PGPASSWORD", "x1y2z3")]
    #[case("dbPass", "x1y2z3")]
    #[case("clientSecret", "x1y2z3")]
    #[case("my_api_key", "x")]
    #[case("SENTRY_DSN", "https://0123456789abcdef@h/1")]
    #[case("PRIVATE", "x1y2z3")]
    #[case("BROKER", "amqp://u:p-1-2-3@h/")]
    #[case("X", "ghp_0123456789abcdefghij0123456789abcdef")]
    fn a_variable_is_secret_by_its_name_or_its_value(#[case] name: &str, #[case] value: &str) {
        assert!(is_secret_variable(name, value));
    }

    #[rstest]
    #[case("PWD", "/home/u")]
    #[case("PATH", "/bin")]
    #[case("SEARCH_URL", "http://h/")]
    #[case("BROKER", "amqp://u@h/")]
    #[case("REDIS_KEY_PREFIX", "bull")]
    #[case("SESSION_DRIVER", "redis")]
    #[case("SSH_AUTH_SOCK", "/tmp/agent.1")]
    #[case("TOKEN_PLACE", "/run/secrets/token")]
    #[case("MONKEY", "x1y2z3")]
    #[case("TOKENIZER", "cl100k_base")]
    #[case("COMPATIBILITY", "x1y2z3")]
    #[case("AUTH", "scram-login")]
    #[case("PUBLIC_KEY", "x1y2z3")]
    fn a_variable_of_another_name_is_not(#[case] name: &str, #[case] value: &str) {
        assert!(!is_secret_variable(name, value));
    }

    #[rstest]
    #[case::plain("N", "geheim-0815", &[("N", "geheim-0815")])]
    #[case::url("REDIS_URL", "redis://u:a%40geheim@h:1/0", &[("", "a@geheim"), ("", "a%40geheim")])]
    #[case::an_invalid_url("DATABASE_URL", "postgres://u:ge/he#im@h/d", &[("", "ge/he#im")])]
    #[case::the_user_is_the_password("DATABASE_URL", "postgres://geheim-1:geheim-1@h/d", &[])]
    #[case::a_parameter("QDRANT_URL", "https://h/?token=geheim-0815&x=1", &[("", "geheim-0815")])]
    #[case::a_token_as_user("SENTRY_DSN", "https://0123456789abcdef@h/1", &[("", "0123456789abcdef")])]
    #[case::a_header("AUTH_HEADER", "Bearer geheim-0815", &[("AUTH_HEADER", "geheim-0815")])]
    #[case::basic("A", "Basic dTpnZWhlaW0tMDgxNQ==", &[("A", "dTpnZWhlaW0tMDgxNQ=="), ("", "geheim-0815")])]
    #[case::headers("H", "api-key=geheim-0815,x=y", &[("", "geheim-0815")])]
    #[case::no_url("K", "x://geheim-0815", &[("K", "x://geheim-0815")])]
    #[case::json_without_fields("K", "[\"a-b-c-d-e\"]", &[("K", "[\"a-b-c-d-e\"]")])]
    #[case::no_headers("K", "1Gy1uApwd=s", &[("K", "1Gy1uApwd=s")])]
    #[case::a_connection_string("C", "host=h user=u password=geheim-0815", &[("", "geheim-0815")])]
    #[case::json("J", r#"{"type": "service_account", "private_key": "geheim-0815"}"#, &[("", "geheim-0815")])]
    #[case::ordinary("DB_PASS", "postgres", &[])]
    #[case::a_number("MAX_TOKENS", "1024000", &[])]
    fn the_secret_parts_of_a_value_are_learned(
        #[case] name: &str,
        #[case] value: &str,
        #[case] wanted: &[(&str, &str)],
    ) {
        let found = secrets_of(name, value);
        let found: Vec<(&str, &str)> = found
            .iter()
            .filter(|it| !it.only_in_urls)
            .map(|it| (it.name.as_deref().unwrap_or_default(), it.text.as_str()))
            .collect();
        assert_eq!(found, wanted);
    }
}
