//! What a collection consists of: its vectors, how many there are, and how they come and go as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use qdrant_edge::{
    Condition, CountRequest, CreateVectorName, DeleteVectorName, EdgeConfig, Filter, HasVectorCondition,
    UpdateOperation, VectorNameConfig, VectorNameOperations,
};

use super::{Collection, Meta, SHARD_DIRECTORY, Written, save};
use crate::subjects::qdrant::config::Config;
use crate::subjects::qdrant::error::Error;
use crate::subjects::qdrant::shard::Shard;

/// Opens the shard below `directory`, with whichever configuration it has if a change was cut short.
///
/// # Errors
/// The shard is damaged, or was killed between two of its segments; the text says which.
pub(super) fn open(directory: &Path, mut meta: Meta) -> Result<(Meta, Shard), Error> {
    let path = directory.join(SHARD_DIRECTORY);
    let opened = Shard::open(&path, meta.config.engine());
    let Some(pending) = meta.pending.take() else { return Ok((meta, opened?)) };
    let shard = match opened {
        Ok(shard) => shard,
        Err(error) => {
            let shard = Shard::open(&path, pending.engine()).map_err(|_| error)?;
            meta.config = pending;
            shard
        }
    };
    save(directory, &meta)?;
    Ok((meta, shard))
}

fn names(config: &EdgeConfig) -> BTreeSet<&str> {
    config.vectors.keys().chain(config.sparse_vectors.keys()).map(String::as_str).collect()
}

impl Collection {
    /// Makes a collection of a shard that lies in `directory` already. Blocking.
    ///
    /// # Errors
    /// The shard is damaged or does not fit `meta`; it is then no collection yet.
    pub(in crate::subjects::qdrant) fn adopt(directory: PathBuf, meta: Meta) -> Result<Self, Error> {
        let shard = Shard::open(&directory.join(SHARD_DIRECTORY), meta.config.engine())?;
        save(&directory, &meta)?;
        Self::start(directory, meta, shard)
    }

    /// How many points have each vector, by its name, approximately.
    ///
    /// # Errors
    /// The engine failed.
    pub(in crate::subjects::qdrant) async fn count_vectors(self: &Arc<Self>) -> Result<BTreeMap<String, usize>, Error> {
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

    /// Where its files are.
    #[must_use]
    pub(in crate::subjects::qdrant) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs `call` while everything is flushed and nothing is written or optimised.
    ///
    /// # Errors
    /// Those of `call`; or flushing failed, or the collection is closing.
    pub(in crate::subjects::qdrant) async fn exclusively<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.writer.exclusively(call).await
    }

    /// Adds a vector called `name` to the collection; adding the same one again changes nothing.
    ///
    /// # Errors
    /// The name is unfit or taken by another vector, or the disk is full.
    pub(in crate::subjects::qdrant) async fn create_vector_name(
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
    pub(in crate::subjects::qdrant) async fn delete_vector_name(
        self: &Arc<Self>,
        name: String,
        waited: bool,
    ) -> Result<Written, Error> {
        let operation = VectorNameOperations::DeleteVectorName(DeleteVectorName { vector_name: name.clone() });
        let change = move |config: &mut Config| {
            config.remove_vector(&name);
            Ok(())
        };
        self.reshape(change, operation, waited).await
    }

    /// Gives the shard another shape. Past the journal, because opening the shard needs its shape already.
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
