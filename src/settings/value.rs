//! Checks one value against its entry, and masks secrets.

use url::Url;

use super::origin::Origin;
use super::pairs;
use super::suggest::similar;
use super::table::{Entry, Kind, Secrecy};
use crate::redaction::{MASK, masked_address};

/// What is wrong with `text` as a value of `entry`, and the remedy; `None` if it is valid.
///
/// Neither text repeats the value.
pub(super) fn problem(entry: &Entry, text: &str) -> Option<(String, String)> {
    let found = kind_problem(entry.kind, text).or_else(|| {
        let is_blank = |c: char| c.is_whitespace() || c.is_control();
        (entry.secrecy == Secrecy::Yes && entry.kind != Kind::Headers && text.contains(is_blank))
            .then(|| "it contains whitespace or a control character, which a key never does".to_owned())
    })?;
    let remedy = format!("expected: {}; for example {}={}", entry.kind.describe(), entry.name, entry.example);
    Some((found, remedy))
}

fn kind_problem(kind: Kind, text: &str) -> Option<String> {
    match kind {
        Kind::Url(schemes) => url_problem(schemes, text),
        Kind::Integer { min, max } | Kind::Milliseconds { min, max } => match text.parse::<u64>() {
            Ok(number) if number < min => Some(format!("it is below {min}")),
            Ok(number) if number > max => Some(format!("it is above {max}")),
            Ok(_) => None,
            Err(_) => Some("it is not a whole number".to_owned()),
        },
        Kind::Text | Kind::Path => text.contains(['\n', '\0']).then(|| "it contains a line break".to_owned()),
        Kind::Pairs => pairs::problem(text),
        Kind::Headers => pairs::header_problem(text),
        Kind::Name { without } => {
            if text.contains(char::is_whitespace) {
                Some("it contains whitespace".to_owned())
            } else {
                text.chars().find(|c| without.contains(*c)).map(|c| format!("it contains `{c}`"))
            }
        }
        Kind::Table => {
            let identifier = |part: &str| {
                part.len() <= 63
                    && part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            let is_valid = text.split_once('.').is_some_and(|(schema, table)| identifier(schema) && identifier(table));
            (!is_valid).then(|| "it is not in the form `schema.table`".to_owned())
        }
        Kind::Choice(words) => (!words.contains(&text)).then(|| {
            let suggestion = similar(text, words.iter().map(|word| (*word).to_owned()));
            suggestion.map_or_else(
                || "it is not one of the allowed values".to_owned(),
                |word| format!("did you mean `{word}`?"),
            )
        }),
        Kind::Switch => switch(text).is_none().then(|| "it is not a switch".to_owned()),
    }
}

fn url_problem(schemes: &[&str], text: &str) -> Option<String> {
    match Url::parse(text) {
        Err(error) => Some(format!("it is not a URL ({error})")),
        Ok(url) if !schemes.contains(&url.scheme()) => {
            Some(format!("its scheme is `{}`: expected {}", url.scheme(), schemes.join(" or ")))
        }
        // For Postgres the parameter `host` may hold the directory of a Unix socket.
        Ok(url) if url.host_str().is_none_or(str::is_empty) && !url.query_pairs().any(|(key, _)| key == "host") => {
            Some("it has no host".to_owned())
        }
        Ok(_) => None,
    }
}

/// Reads a switch; `None` if `text` means neither on nor off.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// `text` for display, if it came from `origin`: a value that was read from another file or variable is masked, except
/// for the address in a URL.
pub(super) fn shown_from(entry: &Entry, text: &str, origin: &Origin) -> String {
    match (origin.is_indirect(), entry.kind) {
        (false, _) => shown(entry, text),
        (true, Kind::Url(_)) => masked_address(text).unwrap_or_else(|| MASK.to_owned()),
        (true, _) => MASK.to_owned(),
    }
}

/// `text` for display: secrets and passwords in URLs are masked.
#[must_use]
pub fn shown(entry: &Entry, text: &str) -> String {
    match (entry.secrecy, entry.kind) {
        // The last characters of a header list may be most of a key.
        (Secrecy::Yes, Kind::Headers) => MASK.to_owned(),
        (Secrecy::Yes, _) => masked(text),
        (Secrecy::Password, _) => masked_address(text).unwrap_or_else(|| MASK.to_owned()),
        (Secrecy::No, Kind::Url(_)) => masked_address(text).unwrap_or_else(|| text.to_owned()),
        (Secrecy::No, _) => text.to_owned(),
    }
}

/// A long key keeps its last four characters, so that two keys can be told apart; a short one is masked completely.
fn masked(secret: &str) -> String {
    let count = secret.chars().count();
    if count > 20 {
        secret.chars().skip(count - 4).fold(MASK.to_owned(), |text, c| text + c.encode_utf8(&mut [0; 4]))
    } else {
        MASK.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::settings::table::entry;

    #[rstest]
    #[case("REDIS_URL", "127.0.0.1:6379", "not a URL")]
    #[case("REDIS_URL", "http://127.0.0.1", "scheme is `http`")]
    #[case("DATABASE_URL", "mysql://u:p@h/d", "scheme is `mysql`")]
    #[case("EMBEDDING_DIMENSIONS", "0", "below 1")]
    #[case("EMBEDDING_DIMENSIONS", "1k", "not a whole number")]
    #[case("QUEUE_NAME", "a:b", "contains `:`")]
    #[case("DOCUMENTS_TABLE", "documents", "not in the form `schema.table`")]
    #[case("DOCUMENTS_TABLE", "public.documents; drop table x", "not in the form `schema.table`")]
    #[case("EMBED_ENCODING", "base46", "did you mean `base64`?")]
    #[case("SHAKEDOWN_KEEP", "maybe", "it is not a switch")]
    #[case("JINA_API_KEY", "jina_abc\n", "contains a line break")]
    #[case("JINA_API_KEY", "jina abc", "whitespace or a control")]
    fn an_invalid_value_is_refused_with_its_problem_and_remedy(
        #[case] name: &str,
        #[case] text: &str,
        #[case] wanted: &str,
    ) {
        let (problem, remedy) = problem(entry(name).unwrap(), text).unwrap();
        assert!(problem.contains(wanted), "{problem}");
        assert!(remedy.contains(name), "{remedy}");
    }

    #[test]
    fn postgres_may_be_behind_a_unix_socket() {
        assert_eq!(problem(entry("DATABASE_URL").unwrap(), "postgres:///d?host=/run/postgresql"), None);
        assert!(problem(entry("DATABASE_URL").unwrap(), "postgres:///d").is_some());
    }

    #[rstest]
    #[case("REDIS_URL", "redis://:hunter2@h:1/0", "redis://:********@h:1/0")]
    #[case("REDIS_URL", "redis://h:1", "redis://h:1")]
    #[case("REDIS_URL", "hunter2", "********")]
    #[case("DATABASE_URL", "postgres://u:hunter2@h/d?sslmode=require", "postgres://u:********@h/d?sslmode=require")]
    #[case("DATABASE_URL", "postgres://h/d?user=u&password=hunter2", "postgres://h/d?user=u&password=********")]
    #[case("QDRANT_URL", "https://u:hunter2@h:6333", "https://u:********@h:6333")]
    #[case("JINA_API_KEY", "hunter2", "********")]
    #[case("JINA_API_KEY", "jina_0123456789abcdef0123", "********0123")]
    fn secrets_are_masked(#[case] name: &str, #[case] text: &str, #[case] wanted: &str) {
        let shown = shown(entry(name).unwrap(), text);
        assert_eq!(shown, wanted);
        assert!(!shown.contains("hunter2"));
    }
}
