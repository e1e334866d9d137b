//! The vectors of a collection: their number, and how they are added and removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use qdrant_edge::{
    Condition, CountRequest, CreateVectorName, DeleteVectorName, EdgeConfig, Filter, HasVectorCondition,
    UpdateOperation, VectorNameConfig, VectorNameOperations,
};
use serde_json::Value;

use super::{Collection, Meta, SHARD_DIRECTORY, Written, save, save_json};
use crate::config::Config;
use crate::error::Error;
use crate::shard::{Shard, manifest};

/// File of a segment with, among others, its vectors.
const SEGMENT_FILE: &str = "segment.json";
/// Key of the vectors in that file.
const VECTOR_MAPS: [&str; 2] = ["/config/vector_data", "/config/sparse_vector_data"];
/// Prefixes of the directories of a segment's vector, before a dash and its name.
const VECTOR_DIRECTORIES: [&str; 2] = ["vector_storage", "vector_index"];

/// Opens the shard below `directory`. An interrupted addition of a vector is undone, an interrupted removal is
/// completed; neither was acknowledged otherwise.
///
/// # Errors
/// The shard is damaged; the text names the place.
pub(super) fn open(directory: &Path, mut meta: Meta) -> Result<(Meta, Shard), Error> {
    let path = directory.join(SHARD_DIRECTORY);
    if let Some(pending) = meta.pending.take() {
        let (old, new) = (meta.config.engine(), pending.engine());
        if names(&new).is_subset(&names(&old)) {
            meta.config = pending;
        }
        // The files of vectors are removed too.
        manifest::forget(&path)?;
        settle(&path, &names(&old).symmetric_difference(&names(&new)).copied().collect::<Vec<_>>())?;
        save(directory, &meta)?;
    }
    let shard = Shard::open(&path, meta.config.engine())?;
    Ok((meta, shard))
}

/// Removes the vectors `unsettled` from every segment of the shard in `shard`: only some segments may have them.
fn settle(shard: &Path, unsettled: &[&str]) -> Result<(), Error> {
    let segments = shard.join("segments");
    let failed = |path: &Path, error: &dyn std::fmt::Display| Error::Internal(format!("{}: {error}", path.display()));
    for entry in fs::read_dir(&segments).map_err(|error| failed(&segments, &error))?.flatten() {
        let path = entry.path().join(SEGMENT_FILE);
        let Ok(text) = fs::read(&path) else { continue };
        let mut state: Value = serde_json::from_slice(&text).map_err(|error| failed(&path, &error))?;
        for map in VECTOR_MAPS {
            if let Some(map) = state.pointer_mut(map).and_then(Value::as_object_mut) {
                map.retain(|name, _| !unsettled.contains(&name.as_str()));
            }
        }
        save_json(&path, &state)?;
        for (kind, name) in VECTOR_DIRECTORIES.iter().flat_map(|kind| unsettled.iter().map(move |name| (kind, name))) {
            // Usually there is none.
            let _ = fs::remove_dir_all(entry.path().join(format!("{kind}-{name}")));
        }
    }
    Ok(())
}

fn names(config: &EdgeConfig) -> BTreeSet<&str> {
    config.vectors.keys().chain(config.sparse_vectors.keys()).map(String::as_str).collect()
}

impl Collection {
    /// Makes a collection from a shard that already is in `directory`. Blocking.
    ///
    /// # Errors
    /// The shard is damaged or does not fit `meta`; it is not a collection then.
    pub(crate) fn adopt(directory: PathBuf, meta: Meta) -> Result<Self, Error> {
        let shard = Shard::open(&directory.join(SHARD_DIRECTORY), meta.config.engine())?;
        save(&directory, &meta)?;
        super::existence::complete(&directory);
        Self::start(directory, meta, shard)
    }

    /// The approximate number of points with each vector, by name.
    ///
    /// # Errors
    /// The engine failed.
    pub(crate) async fn count_vectors(self: &Arc<Self>) -> Result<BTreeMap<String, usize>, Error> {
        let config = self.with_meta(|meta| meta.config.clone());
        let dense = config.params.vectors.iter().map(|(name, _)| name.to_owned());
        let names: Vec<String> =
            dense.chain(config.params.sparse_vectors.into_iter().flatten().map(|it| it.0)).collect();
        self.read("counting", move |shard| {
            let count = |name: String| {
                let filter = Filter::new_must(Condition::HasVector(HasVectorCondition::from(name.clone())));
                Ok((name, shard.count(CountRequest { filter: Some(filter), exact: false })?))
            };
            names.into_iter().map(count).collect()
        })
        .await
    }

    /// The directory of its files.
    #[must_use]
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs `call` while everything is flushed and nothing is written or optimised.
    ///
    /// # Errors
    /// Those of `call`; or flushing failed, or the collection is closing.
    pub(crate) async fn exclusively<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.writer.exclusively(call).await
    }

    /// Adds a vector called `name` to the collection; adding the same one again changes nothing.
    ///
    /// # Errors
    /// The name is invalid or taken by another vector, or the disk is full.
    pub(crate) async fn create_vector_name(
        self: &Arc<Self>,
        name: String,
        vector: VectorNameConfig,
        waited: bool,
    ) -> Result<Written, Error> {
        let create = CreateVectorName { vector_name: name.clone(), config: vector.clone() };
        let operation = VectorNameOperations::CreateVectorName(create);
        self.reshape(move |config| config.add_vector(&name, &vector), operation, waited).await
    }

    /// Removes the vector called `name` from the collection, if there is one.
    ///
    /// # Errors
    /// The disk is full.
    pub(crate) async fn delete_vector_name(self: &Arc<Self>, name: String, waited: bool) -> Result<Written, Error> {
        let operation = VectorNameOperations::DeleteVectorName(DeleteVectorName { vector_name: name.clone() });
        let change = move |config: &mut Config| {
            config.remove_vector(&name);
            Ok(())
        };
        self.reshape(change, operation, waited).await
    }

    /// Gives the shard another shape. Bypasses the journal, because opening the shard needs its shape.
    async fn reshape(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Config) -> Result<(), Error> + Send + 'static,
        operation: VectorNameOperations,
        waited: bool,
    ) -> Result<Written, Error> {
        let collection = Arc::clone(self);
        let reshaped = self.exclusively(move || {
            let mut meta = collection.meta.write().unwrap_or_else(PoisonError::into_inner);
            let mut config = meta.config.clone();
            change(&mut config)?;
            if names(&meta.config.engine()) != names(&config.engine()) {
                let pending = Meta { pending: Some(config.clone()), ..meta.clone() };
                save(&collection.directory, &pending)?;
                collection.shard.expect_changes()?;
                let operation = UpdateOperation::VectorNameOperation(operation);
                let changed = collection.shard.call("changing vectors", |shard| shard.update(operation));
                if let Err(error) = changed.and_then(|()| collection.shard.flush()) {
                    save(&collection.directory, &meta)?;
                    return Err(error);
                }
                let new = Meta { config, ..meta.clone() };
                save(&collection.directory, &new)?;
                *meta = new;
            }
            Ok(collection.health.next_operation())
        });
        Ok(Written { operation: reshaped.await?, waited })
    }
}
