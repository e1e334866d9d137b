//! The place of a key in `shakedown.toml`, for what is found out about the contract after it was read.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::settings::error::Place;

/// The place of the value of `keys` in the file at `path`, such as `["queue", "name"]`. If the file has no such key, the
/// place of the innermost table that it has of them; else of `[worker]`.
#[must_use]
pub fn contract_place(path: &Path, keys: &[&str]) -> Place {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let (document, _) = DeTable::parse_recoverable(&text);
    let of = |keys: &[&str]| innermost(document.get_ref(), keys).map(Spanned::span);
    let span = of(keys).or_else(|| of(&["worker"])).unwrap_or(0..0);
    Place::from_span(path, &text, span)
}

fn innermost<'a, 'i>(table: &'a DeTable<'i>, keys: &[&str]) -> Option<&'a Spanned<DeValue<'i>>> {
    let (first, rest) = keys.split_first()?;
    let (_, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == *first)?;
    match value.get_ref() {
        DeValue::Table(inside) => innermost(inside, rest).or(Some(value)),
        _ => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(&["queue", "name"], 4)]
    #[case(&["queue", "job", "data"], 5)]
    #[case(&["queue", "prefix"], 3)]
    #[case(&["evidence", "postgres", "status"], 9)]
    #[case(&["evidence", "qdrant", "text"], 7)]
    #[case(&["chunks"], 1)]
    fn a_key_has_the_place_of_its_value_or_of_its_table(#[case] keys: &[&str], #[case] line: usize) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shakedown.toml");
        let text = "[worker]\ncommand = [\"w\"]\n[queue]\nname = \"q\"\njob = { name = \"j\", data = { id = \"x\" } }\n\
                    [evidence]\nqdrant = { document = \"d\" }\n[evidence.postgres]\nstatus = \"s\"\n";
        std::fs::write(&path, text).unwrap();
        assert_eq!(contract_place(&path, keys).line, line);
    }

    #[test]
    fn a_file_that_is_gone_has_a_place_all_the_same() {
        assert_eq!(contract_place(Path::new("no-such-file.toml"), &["queue"]).line, 1);
    }
}
