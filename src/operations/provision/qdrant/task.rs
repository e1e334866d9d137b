//! How the difference of a collection is removed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::shape::Shape;

/// How a change is made.
#[derive(Debug, Clone)]
pub(in crate::operations::provision) enum Task {
    /// A missing collection.
    Create { name: String, body: Value },
    /// Settings that can change in place.
    Patch { name: String, body: Value },
    /// A payload index; one of another type is deleted first.
    Index { collection: String, field: String, kind: String, replaces: bool },
    /// Alias changes, in one request.
    Aliases(Vec<Value>),
    /// A new collection that replaces this one.
    Rebuild(Rebuild),
}

/// A new collection to create in place of one that cannot be changed.
#[derive(Debug, Clone)]
pub(in crate::operations::provision) struct Rebuild {
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) indexes: BTreeMap<String, String>,
    pub(super) aliases: Vec<String>,
}
