//! `.env.example` and `.env`: names of variables. Values of examples show what kind of address a variable has, and are
//! never shown; those of `.env` are not even read.

use std::collections::BTreeMap;
use std::path::Path;

use crate::project::place::Place;
use crate::project::sources::Sources;

/// A variable in such a file.
#[derive(Clone)]
pub struct Example {
    /// Where.
    pub place: Place,
    /// The value in an example. It may be a secret: never print it.
    pub(crate) value: Option<String>,
}

impl std::fmt::Debug for Example {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Example").field("place", &self.place).field("value", &"…").finish()
    }
}

/// The variables of all such files; examples come first.
pub(super) fn examples(sources: &Sources) -> BTreeMap<String, Example> {
    let is_example = |path: &Path| path.file_name().is_some_and(|name| name != ".env");
    let mut paths: Vec<&Path> = sources
        .files
        .keys()
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(".env")))
        .map(std::path::PathBuf::as_path)
        .collect();
    paths.sort_by_key(|path| (!is_example(path), path.components().count()));
    let mut found = BTreeMap::new();
    for path in paths {
        for (number, line) in sources.text_of(path).unwrap_or_default().lines().enumerate() {
            let line = line.trim().strip_prefix("export ").unwrap_or(line.trim());
            let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
            let name = name.trim();
            if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
                continue;
            }
            let value = value.trim().trim_matches(['"', '\'']).to_owned();
            let value = Some(value).filter(|value| is_example(path) && !value.is_empty());
            found.entry(name.to_owned()).or_insert_with(|| Example { place: Place::new(path, number + 1), value });
        }
    }
    found
}
