//! What the name of a variable or of a field says about its value.

/// Words of names whose values are secret. A name is split at `_`, `-`, `.` and before capital letters.
pub(super) const STRONG: &[&str] = &[
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "passphrases",
    "pass",
    "pwd",
    "secret",
    "secrets",
    "token",
    "tokens",
    "credential",
    "credentials",
    "creds",
    "apikey",
    "apikeys",
    "jwt",
];

/// Words of names whose values are secret unless they read like a name of something, such as `redis-cluster`.
pub(super) const WEAK: &[&str] =
    &["key", "keys", "pat", "auth", "authorization", "cookie", "cookies", "bearer", "dsn", "session", "private"];

/// Words that make a key a secret one: `api_key`.
pub(super) const STRONG_KEYS: &[&str] = &[
    "access",
    "account",
    "admin",
    "anon",
    "api",
    "auth",
    "encryption",
    "license",
    "master",
    "private",
    "role",
    "secret",
    "service",
    "shared",
    "signing",
    "ssh",
    "storage",
];

/// Last words of names that describe a secret and are none: `REDIS_KEY_PREFIX`, `TOKEN_TTL`.
const DESCRIPTIONS: &[&str] = &[
    "algorithm",
    "age",
    "alg",
    "backend",
    "bus",
    "class",
    "count",
    "dir",
    "directory",
    "domain",
    "driver",
    "enabled",
    "expiry",
    "file",
    "format",
    "host",
    "kind",
    "length",
    "lifetime",
    "limit",
    "manager",
    "max",
    "minutes",
    "ms",
    "hours",
    "days",
    "seconds",
    "method",
    "mode",
    "name",
    "path",
    "port",
    "prefix",
    "provider",
    "region",
    "scope",
    "scopes",
    "size",
    "sock",
    "socket",
    "store",
    "suffix",
    "timeout",
    "ttl",
    "type",
    "user",
    "username",
    "version",
];

/// Variables of shells and desktops that have a secret's word in their name.
const PUBLIC: &[&str] = &[
    "PWD",
    "OLDPWD",
    "XAUTHORITY",
    "DESKTOP_SESSION",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_SESSION_ID",
    "XDG_SESSION_CLASS",
    "XDG_SESSION_DESKTOP",
    "TERM_SESSION_ID",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// How much a name says about its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    /// The value is a secret.
    Strong,
    /// The value is a secret if it does not read like a name.
    Weak,
}

/// What a name of a variable or of a field says; `None` if nothing.
pub(super) fn hint(name: &str) -> Option<Hint> {
    let words = words(name);
    let last = words.last()?.as_str();
    if PUBLIC.contains(&name) || DESCRIPTIONS.contains(&last) || name.to_ascii_lowercase().ends_with("public_key") {
        return None;
    }
    let ends = |word: &str, end: &str| word.ends_with(end) && !["bypass", "compass"].contains(&word);
    let is_key = |pair: &[String]| STRONG_KEYS.contains(&pair[0].as_str()) && pair[1].starts_with("key");
    if words.iter().any(|word| STRONG.iter().any(|strong| ends(word, strong))) || words.windows(2).any(is_key) {
        return Some(Hint::Strong);
    }
    words.iter().any(|word| WEAK.contains(&word.as_str())).then_some(Hint::Weak)
}

/// The words of a name, in lower case.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for character in name.chars() {
        let separates = !character.is_alphanumeric();
        if separates || (lower && character.is_uppercase()) {
            words.push(String::new());
        }
        lower = character.is_lowercase();
        if let (false, Some(word)) = (separates, words.last_mut()) {
            word.extend(character.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
