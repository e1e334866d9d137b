//! The table of environment variables: `shakedown env`, validation and suggestions read it.

mod entries;
mod entry;
pub(super) mod telemetry;

use super::suggest::similar;
pub use entries::TABLE;
pub use entry::{Entry, Kind, Need, Secrecy};

/// The entry called `name`.
#[must_use]
pub fn entry(name: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.name == name)
}

/// The known name that is most similar to `name`, if any is; for a `NAME_FILE`, the file form of the variable.
#[must_use]
pub fn nearest(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let forms = TABLE.iter().filter(|entry| !entry.hidden).flat_map(|entry| {
        let file = upper.ends_with("_FILE").then(|| format!("{}_FILE", entry.name));
        [Some(entry.name.to_owned()), file].into_iter().flatten()
    });
    similar(&upper, forms)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::settings::value;

    #[test]
    fn names_are_unique_and_never_end_in_file() {
        let names: BTreeSet<_> = TABLE.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), TABLE.len());
        assert!(names.iter().all(|name| !name.ends_with("_FILE")));
    }

    #[test]
    fn the_entries_of_a_group_are_together() {
        let mut groups: Vec<&str> = TABLE.iter().map(|entry| entry.group).collect();
        groups.dedup();
        let unique: BTreeSet<_> = groups.iter().collect();
        assert_eq!(unique.len(), groups.len(), "{groups:?}");
    }

    #[test]
    fn every_entry_has_a_meaning_and_an_example() {
        for entry in TABLE {
            assert!(!entry.meaning.is_empty() && !entry.group.is_empty() && !entry.needs.is_empty(), "{}", entry.name);
            assert!(entry.hidden || !entry.example.is_empty(), "{} has no example", entry.name);
        }
    }

    #[test]
    fn defaults_and_examples_are_valid_values() {
        for entry in TABLE.iter().filter(|entry| !entry.hidden) {
            for text in [entry.default, Some(entry.example)].into_iter().flatten() {
                assert_eq!(value::problem(entry, text), None, "{}={text}", entry.name);
            }
        }
    }

    #[test]
    fn a_misspelt_name_finds_the_most_similar_one() {
        assert_eq!(nearest("SHAKEDOWN_PROFIL").as_deref(), Some("SHAKEDOWN_PROFILE"));
        assert_eq!(nearest("SHAKEDOWN_SEDE").as_deref(), Some("SHAKEDOWN_SEED"));
        assert_eq!(nearest("JINA_APIKEY_FILE").as_deref(), Some("JINA_API_KEY_FILE"));
        assert_eq!(nearest("ZZZ"), None);
    }
}
