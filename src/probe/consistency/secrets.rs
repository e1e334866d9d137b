//! Secrets in the wrong place: placeholders, files tracked by Git, variables of browsers.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::given::{decoded, is_near};
use super::supabase::is_server_key;
use crate::probe::ProbeError;
use crate::settings::Given;

/// Prefixes of variables that bundlers include in browser code.
const PUBLIC_PREFIXES: [&str; 6] = ["NEXT_PUBLIC_", "VITE_", "REACT_APP_", "NUXT_PUBLIC_", "PUBLIC_", "EXPO_PUBLIC_"];

/// Passwords and keys from documentation, and common passwords.
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

pub(super) fn placeholders(given: &Given) -> Vec<String> {
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
            // A well-known password is acceptable on the machine's own address.
            Some(url) if !is_near(&url) && url.password().is_some_and(|password| is_known(&decoded(password))) => {
                wrong.push(format!("the password in {name}"));
            }
            // An unreplaced placeholder is wrong on any address.
            Some(url) if unfilled(&decoded(url.password().unwrap_or_default())) => {
                wrong.push(format!("the password in {name}"));
            }
            None if is_known(secret) => wrong.push(name.to_owned()),
            _ => {}
        }
    }
    wrong
}

pub(super) fn blanks(given: &Given) -> Vec<String> {
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

/// Shorter secrets could be found by chance.
const LEAST_SECRET: usize = 12;

/// The texts of a secret to search for: for a URL, its password, decoded and encoded; else the whole value.
fn search_texts(secret: &SecretString) -> Vec<String> {
    let secret = secret.expose_secret();
    let mut search_texts = match Url::parse(secret) {
        Ok(url) => {
            let written = url.password().unwrap_or_default().to_owned();
            vec![decoded(&written), written]
        }
        Err(_) => vec![secret.to_owned()],
    };
    search_texts.dedup();
    search_texts.retain(|text| text.chars().count() >= LEAST_SECRET);
    search_texts
}

pub(super) fn committed(given: &Given) -> Result<Vec<String>, ProbeError> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(&given.directory)
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| ProbeError::Missing(format!("cannot run git: {error}")))?;
    if !listed.status.success() {
        let directory = given.directory.display();
        return Err(ProbeError::Missing(format!("{directory} is not a Git repository")));
    }
    let secrets: Vec<(&str, String)> = given
        .secrets()
        .flat_map(|(name, secret)| search_texts(secret).into_iter().map(move |text| (name, text)))
        .collect();
    let (mut wrong, mut unread) = (Vec::new(), Vec::new());
    for file in listed.stdout.split(|byte| *byte == 0).filter(|file| !file.is_empty()) {
        let file = String::from_utf8_lossy(file);
        let path = given.directory.join(&*file);
        let found = match secrets_in(&path, &secrets) {
            Ok(found) => found,
            // A tracked file may be deleted in the working tree.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                unread.push(format!("{file}: {error}"));
                continue;
            }
        };
        wrong.extend(found.into_iter().map(|name| format!("{name} in {file}")));
    }
    // Findings are reported in any case; "none" is certain only if every file was read.
    match unread.first() {
        Some(first) if wrong.is_empty() => Err(ProbeError::Undecided(format!(
            "{} file(s) tracked by Git cannot be read; the first is {first}",
            unread.len()
        ))),
        _ => Ok(wrong),
    }
}

/// Bytes of a file that are searched at once.
const PAGE: usize = 1 << 20;

/// The names of the secrets that a file of any size contains.
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
        // A secret may start at the end of this page and end in the next one.
        page.drain(..page.len().saturating_sub(longest));
    }
}

pub(super) fn public(given: &Given) -> Vec<String> {
    let secrets: Vec<(&str, String)> = given
        .secrets()
        .filter(|(name, _)| *name != "SUPABASE_ANON_KEY")
        .flat_map(|(name, secret)| search_texts(secret).into_iter().map(move |text| (name, text)))
        .collect();
    let mut wrong = Vec::new();
    for (variable, value) in &given.environment {
        if !PUBLIC_PREFIXES.iter().any(|prefix| variable.starts_with(prefix)) {
            continue;
        }
        let value = value.expose_secret();
        let same = secrets.iter().find(|(_, secret)| value.contains(secret.as_str())).map(|(name, _)| *name);
        if let Some(name) = same {
            wrong.push(format!("{variable} contains {name}"));
        } else if is_server_key(value) {
            wrong.push(format!("{variable} contains a Supabase server key"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;

    use super::*;

    #[test]
    fn an_unreadable_tracked_file_makes_the_result_undecided() {
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
        // Not even root can read a link to itself.
        std::os::unix::fs::symlink("round", directory.path().join("round")).unwrap();
        git(&["add", "round"]);
        match committed(&given) {
            Err(ProbeError::Undecided(why)) => assert!(why.contains("1 file") && why.contains("round"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}
