//! The sections of the contract as they are written, and how the keys of a file go over those of a preset.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::{Spanned, Value};

use crate::settings::contract::{
    Backoff, Creates, DocumentId, Dropped, Idle, Order, PointIds, PostgresEvidence, Whitespace,
};

/// The sections of the contract.
#[derive(Default)]
pub(in crate::settings) struct WrittenContract {
    pub(in crate::settings) worker: Option<Spanned<WrittenWorker>>,
    pub(in crate::settings) queue: Option<WrittenQueue>,
    pub(in crate::settings) evidence: Option<Spanned<WrittenEvidence>>,
    pub(in crate::settings) chunks: Option<Spanned<WrittenChunks>>,
    pub(in crate::settings) embeddings: Option<WrittenEmbeddings>,
}

/// What a preset says: the sections of a contract that follow from a library alone.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenPreset {
    pub(super) exit_codes: Option<Spanned<Vec<i32>>>,
    pub(super) qdrant: Option<Spanned<WrittenQdrant>>,
    pub(super) chunks: Option<Spanned<WrittenChunks>>,
    pub(super) embeddings: Option<WrittenEmbeddings>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct WrittenWorker {
    pub(super) preset: Option<Spanned<String>>,
    pub(super) command: Option<Spanned<Vec<String>>>,
    pub(super) image: Option<Spanned<String>>,
    pub(super) cwd: Option<PathBuf>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    pub(super) ready: WrittenReady,
    pub(super) ready_within: Option<Spanned<String>>,
    pub(super) shutdown_grace: Option<Spanned<Value>>,
    #[serde(default)]
    pub(super) idle: Idle,
    pub(super) exit_codes: Option<Spanned<Vec<i32>>>,
    pub(super) timeout_factor: Option<Spanned<f64>>,
    pub(super) replicas: Option<Spanned<usize>>,
    #[serde(default)]
    pub(super) creates: Vec<Creates>,
    pub(super) build: Option<WrittenHook>,
    pub(super) prepare: Option<WrittenHook>,
    #[serde(default)]
    pub(super) sidecar: Vec<WrittenSidecar>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct WrittenSidecar {
    pub(super) command: Spanned<Vec<String>>,
    pub(super) cwd: Option<PathBuf>,
    pub(super) ready: Option<Spanned<WrittenReady>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenHook {
    pub(super) command: Spanned<Vec<String>>,
    pub(super) cwd: Option<PathBuf>,
    pub(super) within: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WrittenReady {
    #[default]
    Queue,
    Log(Spanned<String>),
    Http(Spanned<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct WrittenQueue {
    pub(super) name: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) job: Option<WrittenJob>,
    pub(super) reingest: Option<WrittenJob>,
    pub(super) delete: Option<WrittenJob>,
    pub(super) document: Option<WrittenDocument>,
    pub(super) before: Option<WrittenBefore>,
    #[serde(default)]
    pub(super) children: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct WrittenDocument {
    #[serde(default)]
    pub(super) id: DocumentId,
    pub(super) order: Option<Spanned<Order>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct WrittenBefore {
    pub(super) sql: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenJob {
    pub(super) queue: Option<Spanned<String>>,
    pub(super) name: String,
    pub(super) data: BTreeMap<String, Spanned<Value>>,
    pub(super) attempts: Option<u32>,
    pub(super) backoff: Option<Spanned<Backoff>>,
    #[serde(default)]
    pub(super) options: BTreeMap<String, Spanned<Value>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct WrittenEvidence {
    pub(super) qdrant: Option<Spanned<WrittenQdrant>>,
    pub(super) postgres: Option<Spanned<PostgresEvidence>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct WrittenQdrant {
    pub(super) collection: Option<String>,
    pub(super) vector: Option<String>,
    pub(super) document: Option<Spanned<String>>,
    pub(super) chunk: Option<Spanned<String>>,
    pub(super) offset: Option<Spanned<String>>,
    pub(super) text: Option<Spanned<String>>,
    pub(super) version: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) filter: BTreeMap<Spanned<String>, serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct WrittenChunks {
    pub(super) tokens: Option<Spanned<Value>>,
    pub(super) characters: Option<Spanned<Value>>,
    pub(super) overlap: Option<Spanned<Value>>,
    pub(super) whitespace: Option<Whitespace>,
    pub(super) drops: Option<Vec<Dropped>>,
    pub(super) ids: Option<PointIds>,
    #[serde(default)]
    pub(super) embedded: WrittenEmbedded,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenEmbedded {
    pub(super) newlines: Option<Newlines>,
    pub(super) prefix: Option<bool>,
}

/// What becomes of the newlines of a text that is embedded.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Newlines {
    Space,
    Kept,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct WrittenEmbeddings {
    pub(super) task: Option<Spanned<String>>,
    pub(super) setup_texts: Option<Vec<String>>,
}

impl WrittenQdrant {
    /// These keys, and those of `below` that are not set.
    pub(super) fn over(self, below: Self) -> Self {
        // A chunk that is told apart by an index needs no offset.
        let offset = if self.chunk.is_some() { self.offset } else { self.offset.or(below.offset) };
        let chunk = if offset.is_some() { self.chunk } else { self.chunk.or(below.chunk) };
        Self {
            collection: self.collection.or(below.collection),
            vector: self.vector.or(below.vector),
            document: self.document.or(below.document),
            chunk,
            offset,
            text: self.text.or(below.text),
            version: self.version.or(below.version),
            filter: if self.filter.is_empty() { below.filter } else { self.filter },
        }
    }
}

impl WrittenChunks {
    /// These keys, and those of `below` that are not set.
    pub(super) fn over(self, below: Self) -> Self {
        let has_size = self.tokens.is_some() || self.characters.is_some();
        let size = |own: Option<Spanned<Value>>, below| if has_size { own } else { below };
        Self {
            tokens: size(self.tokens, below.tokens),
            characters: size(self.characters, below.characters),
            overlap: self.overlap.or(below.overlap),
            whitespace: self.whitespace.or(below.whitespace),
            drops: self.drops.or(below.drops),
            ids: self.ids.or(below.ids),
            embedded: WrittenEmbedded {
                newlines: self.embedded.newlines.or(below.embedded.newlines),
                prefix: self.embedded.prefix.or(below.embedded.prefix),
            },
        }
    }
}

impl WrittenEmbeddings {
    /// These keys, and those of `below` that are not set.
    pub(super) fn over(self, below: Self) -> Self {
        Self { task: self.task.or(below.task), setup_texts: self.setup_texts.or(below.setup_texts) }
    }
}
