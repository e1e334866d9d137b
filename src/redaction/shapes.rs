//! Secrets that are recognised by their shape: tokens of vendors, private keys, passwords in URLs, and values under
//! names such as `password`.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::known::Known;

use super::mask::{Found, MASK};
use super::names::Hint;
use super::{names, ordinary};

/// A kind of token: a regular expression, and where its form is described.
type Token = (&'static str, &'static str);

/// A public catalogue of tokens, for vendors that do not describe theirs.
const CATALOGUE: &str = "https://github.com/gitleaks/gitleaks/blob/master/config/gitleaks.toml";

/// Tokens that begin with a mark of their vendor, and other texts that are secret by their form.
const TOKENS: &[Token] = &[
    (r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?", "https://www.rfc-editor.org/rfc/rfc7519"),
    (
        r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----\s*(?:[A-Za-z0-9+/=]+\s*)*(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----)?",
        "https://www.rfc-editor.org/rfc/rfc7468",
    ),
    (r"(?:[A-Za-z0-9+/=]{16,}\s+)+-----END [A-Z ]*PRIVATE KEY-----", "https://www.rfc-editor.org/rfc/rfc7468"),
    (
        r"gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}",
        "https://docs.github.com/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
    ),
    (r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat)-[A-Za-z0-9_-]{16,}", "https://docs.gitlab.com/security/tokens/"),
    (r"sk-(?:[a-z]+-)*[A-Za-z0-9_-]{20,}", CATALOGUE),
    (r"jina_[A-Za-z0-9]{16,}", "https://jina.ai/embeddings/"),
    (r"sb_secret_[A-Za-z0-9_-]{10,}|sbp_[a-z0-9_]{20,}", "https://supabase.com/docs/guides/api/api-keys"),
    (r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{16,}", "https://docs.stripe.com/keys"),
    (r"xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{10,}", "https://docs.slack.dev/authentication/tokens/"),
    (
        r"hooks\.slack\.com/services/[A-Za-z0-9/]{16,}",
        "https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/",
    ),
    (r"discord(?:app)?\.com/api/webhooks/[0-9]+/[A-Za-z0-9_-]{16,}", CATALOGUE),
    (r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html"),
    (r"AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}", CATALOGUE),
    (r"npm_[A-Za-z0-9]{30,}", "https://github.blog/changelog/2021-09-23-npm-has-a-new-access-token-format/"),
    (r"pypi-[A-Za-z0-9_-]{50,}", "https://pypi.org/help/#apitoken"),
    (r"hf_[A-Za-z0-9]{30,}", "https://huggingface.co/docs/hub/security-tokens"),
    (r"hv[sbr]\.[A-Za-z0-9_-]{20,}", "https://developer.hashicorp.com/vault/docs/concepts/tokens"),
    (r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{16,}", CATALOGUE),
    (r"do[opr]_v1_[a-f0-9]{32,}", "https://docs.digitalocean.com/reference/api/create-personal-access-token/"),
    (r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}", CATALOGUE),
    (r"shp(?:at|ca|pa|ss)_[a-f0-9]{32}", CATALOGUE),
    (r"gl(?:sa|c)_[A-Za-z0-9_=]{32,}", "https://grafana.com/docs/grafana/latest/administration/service-accounts/"),
    (r"sntry[su]_[A-Za-z0-9_=+/]{20,}", CATALOGUE),
    (r"\bdapi[a-f0-9]{32}\b|\blin_api_[A-Za-z0-9]{30,}|\bpul-[a-f0-9]{40}\b|\bNRAK-[A-Z0-9]{27}\b", CATALOGUE),
    (r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b", "https://core.telegram.org/bots/features#botfather"),
];

/// All kinds of tokens as one expression.
static TOKEN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let all: Vec<&str> = TOKENS.iter().map(|(expression, _)| *expression).collect();
    // Boundaries of ASCII words: with those of Unicode, a text with one other character takes fifty times as long.
    Regex::new(&all.join("|").replace(r"\b", r"(?-u:\b)")).ok()
});

/// `scheme://user:password@`.
static PASSWORD_IN_URL: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@:"'<>\\]*:([^\s/?#@"'<>\\]+)@"#).ok());

/// A secret's word at the end of a name, a separator, perhaps the scheme of a header, and a value.
static ASSIGNMENT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i)(?P<word>pass|pwd|secret|token|key|pat|auth|cookie|jwt|bearer|credential|creds|dsn|session|private)",
        r#"(?P<rest>[a-z0-9_-]{0,16})["'\\]{0,4}(?:[ \t]*(?:=>|:=|:|=)[ \t]*|[ \t]+(?P<blank>))["'\\]{0,4}"#,
        r"(?P<scheme>(?:bearer|basic|token|digest|apikey)[ \t]+)?",
        r#"(?P<value>[^\s"'<>&,;(){}\[\]\\`]+)"#,
    ))
    .ok()
});

/// Names after which a value follows without a separator: SQL, the settings of Redis, the scheme of a header.
const SPOKEN: &[&str] = &["password", "passwd", "requirepass", "masterauth", "bearer"];

/// Adds the secrets in `text` to `found`; `known` has the passwords that are masked in URLs alone.
pub(super) fn find(text: &str, known: &Known, found: &mut Vec<Found>) {
    let mut add = |place: Range<usize>| found.push(Found { place, shown: None });
    for token in TOKEN.iter().flat_map(|token| token.find_iter(text)) {
        add(token.range());
    }
    for password in PASSWORD_IN_URL.iter().flat_map(|url| url.captures_iter(text)).filter_map(|url| url.get(1)) {
        if known.is_password(password.as_str()) || !is_placeholder(password.as_str()) {
            add(password.range());
        }
    }
    for assignment in ASSIGNMENT.iter().flat_map(|assignment| assignment.captures_iter(text)) {
        if let Some(place) = assigned(text, &assignment) {
            add(place);
        }
    }
}

/// The place of the value of an assignment, if it is a secret.
fn assigned(text: &str, assignment: &Captures<'_>) -> Option<Range<usize>> {
    let (word, rest) = (assignment.name("word")?, assignment.name("rest")?);
    let is_letter = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
    let before = &text[..word.start()];
    let start = before.trim_end_matches(is_letter).len();
    let name = text[start..rest.end()].trim_matches(['-', '.']);
    let value = assignment.name("value")?;
    let kept = if text[value.end()..].starts_with(['"', '\'', '\\']) {
        value.as_str()
    } else {
        value.as_str().trim_end_matches(['.', '!', '?', ':', '…', '|'])
    };
    let spoken = SPOKEN.contains(&name.to_ascii_lowercase().as_str());
    let hint = match (assignment.name("blank"), assignment.name("scheme")) {
        (Some(_), _) if spoken => Hint::Strong,
        (Some(_), _) if !text[start..].starts_with("--") => return None,
        (None, Some(_)) => Hint::Strong,
        _ => names::hint(name)?,
    };
    let in_query =
        hint == Hint::Strong && before[..start].ends_with(['?', '&']) && text[..value.start()].ends_with('=');
    let secret = if in_query { !is_placeholder(kept) && kept.len() > 3 } else { looks_secret(hint, kept) };
    secret.then(|| value.start()..value.start() + kept.len())
}

/// Whether a value under a name with this hint is a secret, and not a placeholder, a count or a name.
fn looks_secret(hint: Hint, value: &str) -> bool {
    // The password of a URL is found by its own expression; `a::b` is a path of a programming language.
    if value.starts_with(':') || value.contains("://") || value.contains("::") || value.contains(MASK) {
        return false;
    }
    if is_placeholder(value) || ordinary::is_ordinary_value(value) || ordinary::reads_like_a_name(value) {
        return false;
    }
    match hint {
        Hint::Weak => ordinary::is_random_from(value, 12),
        Hint::Strong => {
            let special = value.contains(['!', '#', '^', '~', '$', '%', '*']) && value.contains(char::is_alphanumeric);
            let capitals = value.chars().filter(char::is_ascii_uppercase).count();
            let mixed =
                value.len() >= 20 && (4..value.len()).contains(&capitals) && !value.contains(['/', ':', '.', '_']);
            special || mixed || (ordinary::is_random_from(value, 6) && !is_algorithm(value))
        }
    }
}

/// Whether the value of a JSON field is a secret by the name of the field.
pub(super) fn is_secret_field(name: &str, value: &str) -> bool {
    names::hint(name).is_some_and(|hint| looks_secret(hint, value))
}

/// Whether a value contains a token of a vendor, or is a URL with a password.
pub(super) fn contains_secret(value: &str) -> bool {
    let is_match =
        |expression: &Option<Regex>| expression.as_ref().is_some_and(|expression| expression.is_match(value));
    is_match(&TOKEN) || is_match(&PASSWORD_IN_URL)
}

/// Whether a value stands for a secret, as in examples and in text that is masked already.
fn is_placeholder(value: &str) -> bool {
    const WORDS: [&str; 10] =
        ["password", "passwd", "pass", "secret", "pwd", "pw", "p", "your-password", "token", "key"];
    let name = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
    value == MASK
        || value.chars().all(|character| "*x.…X".contains(character))
        || value.starts_with(['<', '{'])
        || value.starts_with("%s")
        || value.strip_prefix('$').is_some_and(|rest| {
            let rest = rest.trim_start_matches('$');
            rest.starts_with(['{', '(']) || !rest.trim_start_matches(name).contains(char::is_alphanumeric)
        })
        || WORDS.iter().any(|word| word.eq_ignore_ascii_case(value))
}

/// Names of algorithms, which mix letters and digits.
fn is_algorithm(value: &str) -> bool {
    const NAMES: [&str; 9] = ["argon2", "base64", "ed25519", "hmac", "sha1", "sha2", "sha3", "sha5", "scram"];
    let value = value.to_ascii_lowercase();
    value.len() < 24 && NAMES.iter().any(|name| value.contains(name))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::jwt("eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2lnbmF0dXJl is sent", "******** is sent")]
    #[case::a_cut_jwt("eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIj…", "********…")]
    #[case::github("x ghp_0123456789abcdefABCDEF x", "x ******** x")]
    #[case::openai("sk-proj-0123456789abcdefABCDEF", "********")]
    #[case::a_password_in_a_url("at postgres://u:postgres@h/d", "at postgres://u:********@h/d")]
    #[case::a_parameter("GET /x?token=abcdef&a=1", "GET /x?token=********&a=1")]
    #[case::a_header("Authorization: Bearer abcdef0123", "Authorization: Bearer ********")]
    #[case::another_header("api-key: 0123abcd", "api-key: ********")]
    #[case::bearer("sent bearer abcdef0123 to", "sent bearer ******** to")]
    #[case::json(r#"{"password": "hunter2!"}"#, r#"{"password": "********"}"#)]
    #[case::json_within_json(r#"{\"apiKey\":\"abcd1234\"}"#, r#"{\"apiKey\":\"********\"}"#)]
    #[case::sql("create role r password 'x1y2z3'", "create role r password '********'")]
    #[case::a_flag("run --api-token x1y2z3 --n 1", "run --api-token ******** --n 1")]
    #[case::redis("requirepass x1y2z3", "requirepass ********")]
    #[case::pem(
        "a\n-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\nAoIBAQ==\n-----END PRIVATE KEY-----\nb",
        "a\n********\nb"
    )]
    #[case::the_end_of_a_pem("MIIEvQIBADANBgkqhkiG\n-----END PRIVATE KEY-----", "********")]
    fn a_secret_is_recognised_by_its_shape(#[case] text: &str, #[case] shown: &str) {
        let redactor = super::super::Redactor::default();
        assert_eq!(redactor.redact(text), shown);
        assert_eq!(redactor.redact(shown), shown, "masking twice");
    }

    #[rstest]
    #[case("max_tokens: 1024")]
    #[case("key: bull:sd-1a2b3c4d-run:meta")]
    #[case("key = f81d4fae-7dec-11d0-a765-00a0c91e6bf6")]
    #[case("auth: none")]
    #[case("token count")]
    #[case("password authentication failed for user \"postgres\"")]
    #[case("password_encryption: scram-sha-256")]
    #[case("token: jina-embeddings-v3")]
    #[case("password: Option<SecretString>")]
    #[case("redis://:$REDIS_PASSWORD@h, redis://:{{redis.password}}@h and redis://:****@h")]
    #[case("postgres://user:password@host/db")]
    #[case("api_key=%s token=$(cat file) secret: ${SECRET}")]
    #[case("the bearer of the session: nobody")]
    #[case("http://127.0.0.1:6333/collections/a@b")]
    #[case("let token = Tokens::Cl100k; f(&SecretString::from(x))")]
    #[case("requirepass $$REDIS_PASSWORD")]
    #[case("keyspace: db0, monkey: x1y2z3a4b5c6d7")]
    fn ordinary_text_is_left_as_it_is(#[case] text: &str) {
        assert_eq!(super::super::Redactor::default().redact(text), text);
    }

    #[test]
    fn the_expressions_are_valid_and_every_token_has_its_source() {
        assert!(TOKEN.is_some() && PASSWORD_IN_URL.is_some() && ASSIGNMENT.is_some());
        for (expression, source) in TOKENS {
            assert!(Regex::new(expression).is_ok() && source.starts_with("https://"), "{expression}");
        }
    }
}
