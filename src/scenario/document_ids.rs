//! The ids by which the worker knows the documents of a scenario. Everywhere else a document has its name.

use std::collections::BTreeMap;

use super::documents::Document;
use crate::settings::DocumentId;

/// The names of the documents by the ids of the worker.
#[derive(Debug, Clone, Default)]
pub(super) struct DocumentIds(BTreeMap<String, String>);

impl DocumentIds {
    /// The ids of this kind for `documents`.
    pub(super) fn new(kind: DocumentId, documents: &[Document]) -> Self {
        match kind {
            // The id is the name.
            DocumentId::Text => Self::default(),
            DocumentId::Uuid | DocumentId::Integer => {
                Self(documents.iter().map(|document| (kind.of(&document.id), document.id.clone())).collect())
            }
        }
    }

    /// The name of the document with this id; an unknown id is its own name.
    pub(super) fn name(&self, id: &str) -> String {
        self.0.get(id).map_or_else(|| id.to_owned(), Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_the_worker_leads_back_to_the_name_of_its_document() {
        let document = Document { id: "a/b.md".to_owned(), text: String::new(), rejected: false };
        for kind in [DocumentId::Text, DocumentId::Uuid, DocumentId::Integer] {
            let ids = DocumentIds::new(kind, std::slice::from_ref(&document));
            assert_eq!(ids.name(&kind.of("a/b.md")), "a/b.md", "{kind:?}");
            assert_eq!(ids.name("unknown"), "unknown", "an orphan keeps its id");
        }
    }
}
