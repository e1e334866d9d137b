//! What a job can say of its document besides its text and address.

use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::queue::DocumentId;

impl DocumentId {
    /// The id by which the worker knows the document `name`: the same for the same name.
    #[must_use]
    pub fn of(self, name: &str) -> String {
        match self {
            Self::Text => name.to_owned(),
            Self::Uuid => uuid_of(name),
            Self::Integer => integer_of(name).to_string(),
        }
    }

    /// The id of the document `name` as a value of a job.
    fn value(self, name: &str) -> Value {
        match self {
            Self::Integer => integer_of(name).into(),
            Self::Text | Self::Uuid => self.of(name).into(),
        }
    }
}

/// The value of a placeholder that follows from the name and the text of a document; `None` for other placeholders.
#[must_use]
pub fn document_place(place: &str, kind: DocumentId, name: &str, text: &str) -> Option<Value> {
    Some(match place {
        "document.id" => kind.value(name),
        "document.text" => text.into(),
        "document.uuid" => uuid_of(name).into(),
        "document.name" => file_name(name).into(),
        "document.mime" => if is_markdown(name) { "text/markdown" } else { "text/plain" }.into(),
        "document.bytes" => text.len().into(),
        "document.sha256" => hex(&Sha256::digest(text.as_bytes())).into(),
        _ => return None,
    })
}

fn uuid_of(name: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string()
}

/// A positive number of at most 31 bits, which every integer column of Postgres can hold.
fn integer_of(name: &str) -> u32 {
    let digest = Sha256::digest(name.as_bytes());
    let bits = digest.iter().take(4).fold(0, |bits: u32, byte| (bits << 8) | u32::from(*byte));
    (bits >> 1).max(1)
}

/// The last part of the name, with an extension.
fn file_name(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains('.') { last.to_owned() } else { format!("{last}.txt") }
}

fn is_markdown(name: &str) -> bool {
    std::path::Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("md"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_has_an_id_of_each_kind() {
        assert_eq!(DocumentId::Text.of("a/b.md"), "a/b.md");
        assert_eq!(DocumentId::Uuid.of("a/b.md").len(), 36);
        assert_eq!(DocumentId::Integer.of("a/b.md").parse::<i32>().map(|id| id > 0), Ok(true));
        let names = || (0..5000).map(|number| format!("generated-{number:04}"));
        let integers: BTreeSet<String> = names().map(|name| DocumentId::Integer.of(&name)).collect();
        assert_eq!(integers.len(), 5000, "no two documents of a scenario share an integer");
    }

    #[test]
    fn a_job_can_describe_the_file_of_its_document() {
        let place = |place: &str, name: &str| document_place(place, DocumentId::Integer, name, "abc");
        assert!(place("document.id", "a").unwrap().is_u64());
        assert_eq!(place("document.name", "near-ids/log 1"), Some(json!("log 1.txt")));
        assert_eq!(place("document.name", "near-ids/log.md"), Some(json!("log.md")));
        assert_eq!(place("document.mime", "near-ids/log.md"), Some(json!("text/markdown")));
        assert_eq!(place("document.mime", "generated-0001"), Some(json!("text/plain")));
        assert_eq!(place("document.bytes", "a"), Some(json!(3)));
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(place("document.sha256", "a"), Some(json!(sha256)));
        assert_eq!(place("document.url", "a"), None);
    }
}
