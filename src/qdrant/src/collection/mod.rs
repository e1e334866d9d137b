//! A collection: its configuration, its shard, its writer. All reads and writes of REST and gRPC pass here, so the
//! protocols cannot differ.

mod existence;
mod shape;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use qdrant_edge::{EdgeShard, Filter, OperationResult, PayloadIndexInfo, PointId, UpdateOperation};
use serde::{Deserialize, Serialize};

use super::config::{Config, UpdateCollection};
use super::error::Error;
use super::rate::Rate;
use super::shard::Shard;
use super::strict::{Indexes, StrictMode};
use super::writer::{Health, Policy, Writer};
pub(super) use existence::{Existence, META_FILE, SHARD_DIRECTORY, begin, clear, existence};

const JOURNAL_FILE: &str = "journal";
/// How long the removal of a collection waits for requests and an optimisation that still use it.
const READERS: Duration = Duration::from_mins(1);

/// The stored settings of a collection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Its name. The directory has another name, so that any name is possible.
    pub name: String,
    /// Its configuration.
    pub config: Config,
    /// Its payload indexes.
    #[serde(default)]
    pub indexes: Indexes,
    /// Directory of the collection that this one replaced; if it still exists, it is garbage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// Configuration that the shard is being switched to; after a kill the shard has either one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Config>,
}

impl Meta {
    /// The settings stored in `directory`. Blocking.
    ///
    /// # Errors
    /// The file is missing or damaged; the text names it.
    pub(super) fn load(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(META_FILE);
        let failed = |error: &dyn std::fmt::Display| Error::Internal(format!("{}: {error}", path.display()));
        let text = fs::read(&path).map_err(|error| failed(&error))?;
        serde_json::from_slice(&text).map_err(|error| failed(&error))
    }
}

/// The result of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    /// Number of the change.
    pub operation: u64,
    /// Whether the client waited; otherwise the change is only in the journal.
    pub waited: bool,
}

/// State of a collection as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    /// Idle.
    Green,
    /// Segments are being rewritten.
    Yellow,
    /// The last optimisation failed with this text.
    Red(String),
}

/// The description of a collection for clients.
#[derive(Debug)]
pub(super) struct Description {
    /// State of the optimiser.
    pub status: Status,
    /// Points, approximately.
    pub points: usize,
    /// Vectors in a graph, approximately.
    pub indexed_vectors: usize,
    /// Segments of the engine.
    pub segments: usize,
    /// Settings.
    pub config: Config,
    /// Payload indexes by field.
    pub indexes: BTreeMap<String, PayloadIndexInfo>,
}

/// An open collection.
#[derive(Debug)]
pub(super) struct Collection {
    directory: PathBuf,
    meta: RwLock<Meta>,
    pub(super) shard: Arc<Shard>,
    health: Arc<Health>,
    writer: Writer,
    /// Rate limit of reads.
    pub(super) reads: Rate,
    /// Rate limit of writes.
    pub(super) writes: Rate,
}

impl Collection {
    /// Creates a collection in `directory`, which must not exist. Blocking.
    ///
    /// # Errors
    /// The engine rejects the configuration, or the disk fails; nothing is left behind.
    pub(super) fn create(directory: &Path, name: &str, config: Config) -> Result<Self, Error> {
        let made = Self::make(directory, name, config);
        if made.is_err() {
            let _ = clear(directory);
        }
        made
    }

    fn make(directory: &Path, name: &str, config: Config) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::Internal(format!("{}: {error}", directory.display()));
        let shard_directory = directory.join(SHARD_DIRECTORY);
        begin(directory)?;
        fs::create_dir_all(&shard_directory).map_err(failed)?;
        let shard = Shard::create(&shard_directory, config.engine())?;
        let meta = Meta { name: name.to_owned(), config, indexes: Indexes::new(), replaces: None, pending: None };
        // Written last: the collection exists from here on.
        save(directory, &meta)?;
        existence::complete(directory);
        Self::start(directory.to_owned(), meta, shard)
    }

    /// Opens the collection in `directory` and repeats what an earlier process did not flush. Blocking.
    ///
    /// # Errors
    /// A file is missing or damaged; the text says which.
    pub(super) fn open(directory: PathBuf) -> Result<Self, Error> {
        let meta = Meta::load(&directory)?;
        let (meta, shard) = shape::open(&directory, meta)?;
        Self::start(directory, meta, shard)
    }

    fn start(directory: PathBuf, meta: Meta, shard: Shard) -> Result<Self, Error> {
        let shard = Arc::new(shard);
        let health = Arc::new(Health::default());
        let policy = policy(&meta.config);
        let writer = Writer::start(Arc::clone(&shard), Arc::clone(&health), &directory.join(JOURNAL_FILE), policy)?;
        let (reads, writes) = (Rate::new("Read"), Rate::new("Write"));
        let collection = Self { directory, meta: RwLock::new(meta), shard, health, writer, reads, writes };
        collection.set_rates();
        Ok(collection)
    }

    /// Its name, configuration and indexes.
    #[must_use]
    pub(super) fn meta(&self) -> Meta {
        self.with_meta(Meta::clone)
    }

    pub(super) fn with_meta<T>(&self, read: impl FnOnce(&Meta) -> T) -> T {
        read(&self.meta.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the stored settings.
    pub(super) fn change_meta(&self, change: impl FnOnce(&mut Meta) -> Result<(), Error>) -> Result<(), Error> {
        let mut meta = self.meta.write().unwrap_or_else(PoisonError::into_inner);
        let mut new = meta.clone();
        change(&mut new)?;
        save(&self.directory, &new)?;
        *meta = new;
        Ok(())
    }

    /// Applies new settings.
    ///
    /// # Errors
    /// As [`Config::update`], or the engine or the disk fails; the settings are then unchanged.
    pub(super) async fn update(&self, request: UpdateCollection) -> Result<(), Error> {
        let before = self.with_meta(|meta| meta.config.clone());
        self.change_meta(|meta| meta.config.update(request))?;
        let config = self.with_meta(|meta| meta.config.clone());
        if let Err(error) = self.apply(&before, &config).await {
            self.change_meta(|meta| {
                meta.config = before;
                Ok(())
            })?;
            return Err(error);
        }
        self.writer.set_policy(policy(&config));
        self.set_rates();
        Ok(())
    }

    /// Switches the engine to `config`.
    async fn apply(&self, before: &Config, config: &Config) -> Result<(), Error> {
        let shard = Arc::clone(&self.shard);
        let engine = config.engine();
        if before.storage() != config.storage() {
            return self.writer.exclusively(move || shard.reopen(engine)).await;
        }
        blocking(move || {
            shard.call("changing settings", |shard| {
                shard.set_hnsw_config(engine.hnsw_config)?;
                for (name, params) in &engine.vectors {
                    if let Some(hnsw) = params.hnsw_config {
                        shard.set_vector_hnsw_config(name, hnsw)?;
                    }
                }
                shard.set_optimizers_config(engine.optimizers)
            })
        })
        .await
    }

    fn set_rates(&self) {
        let rates = self.with_meta(|meta| meta.config.strict_mode_config.as_ref().map(StrictMode::rates));
        let (reads, writes) = rates.unwrap_or_default();
        self.reads.set(reads);
        self.writes.set(writes);
    }

    /// Counts, settings and indexes, and the state of the optimiser.
    ///
    /// # Errors
    /// The engine failed.
    pub(super) async fn describe(self: &Arc<Self>) -> Result<Description, Error> {
        let info = self.read("describing", |shard| Ok(shard.info())).await?;
        let status = match self.health.failure() {
            Some(failure) => Status::Red(failure),
            None if self.health.is_optimizing() => Status::Yellow,
            None => Status::Green,
        };
        let meta = self.meta();
        let counts: BTreeMap<String, usize> =
            info.payload_schema.iter().map(|(key, index)| (key.to_string(), index.points)).collect();
        let indexes = meta.indexes.into_iter().map(|(field, schema)| {
            let points = counts.get(&field).copied().unwrap_or_default();
            (field, PayloadIndexInfo::new(schema, points))
        });
        Ok(Description {
            status,
            points: info.points_count,
            indexed_vectors: info.indexed_vectors_count,
            segments: info.segments_count,
            config: meta.config,
            indexes: indexes.collect(),
        })
    }

    /// Runs an engine call on a blocking thread.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        what: &'static str,
        call: impl FnOnce(&EdgeShard) -> OperationResult<T> + Send + 'static,
    ) -> Result<T, Error> {
        let shard = Arc::clone(&self.shard);
        blocking(move || shard.call(what, call)).await
    }

    pub(super) fn strict(&self, check: impl FnOnce(&StrictMode, &Indexes) -> Result<(), Error>) -> Result<(), Error> {
        self.with_meta(|meta| meta.config.strict_mode_config.as_ref().map_or(Ok(()), |it| check(it, &meta.indexes)))
    }

    /// Checks that the collection has a vector called `name` (empty for the unnamed one).
    ///
    /// # Errors
    /// The vector does not exist.
    pub(super) fn check_vector_name(&self, name: &str) -> Result<(), Error> {
        let known =
            self.with_meta(|meta| meta.config.params.vectors.get(name).is_some() || meta.config.has_sparse(name));
        if known { Ok(()) } else { Err(Error::no_vector(name)) }
    }

    pub(super) async fn write(&self, operation: UpdateOperation, waited: bool) -> Result<Written, Error> {
        Ok(Written { operation: self.writer.write(operation, waited).await?, waited })
    }

    /// Flushes and ends the writer. Blocking.
    pub(super) fn close(&self) {
        self.writer.stop();
        self.writer.join();
    }

    /// Removes the collection from view at once; [`Self::remove`] frees the disk.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn forget(&self) -> Result<(), Error> {
        existence::forget(&self.directory)
    }

    /// Closes and removes the files once the last reader is gone. Blocking; call [`Self::forget`] first.
    pub(super) fn remove(self: Arc<Self>) {
        self.close();
        let directory = self.directory.clone();
        // The engine flushes when it is dropped and panics if its files are gone, so drop it first.
        let deadline = Instant::now() + READERS;
        if let Some(collection) = last(self, deadline) {
            let Self { shard, writer, .. } = collection;
            drop(writer);
            drop(last(shard, deadline));
        }
        if let Err(error) = clear(&directory) {
            tracing::warn!(directory = %directory.display(), %error, "cannot remove the files of a deleted collection");
        }
    }
}

/// Waits until this is the only owner of `shared`; `None` after the deadline.
fn last<T>(mut shared: Arc<T>, deadline: Instant) -> Option<T> {
    loop {
        match Arc::try_unwrap(shared) {
            Ok(inner) => return Some(inner),
            Err(_) if Instant::now() > deadline => return None,
            Err(again) => shared = again,
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The points that a change affects.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Selection {
    /// By id.
    Ids(Vec<PointId>),
    /// By filter.
    Filter(Filter),
}

/// Runs `call` on a blocking thread.
///
/// # Errors
/// Those of `call`; a panic becomes [`Error::Internal`].
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(call).await.map_err(|error| Error::Internal(error.to_string()))?
}

fn policy(config: &Config) -> Policy {
    let kilobytes = config.optimizer_config.indexing_threshold.unwrap_or(10_000) as u64;
    // A threshold of 0 disables the index, but deleted points are still cleaned up.
    let bytes = if kilobytes == 0 { u64::MAX } else { kilobytes.saturating_mul(1024) };
    Policy { after_bytes: (!config.never_optimizes()).then_some(bytes) }
}

/// Writes `value` atomically: a reader sees the old or the new file.
pub(super) fn save_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Internal(format!("{}: {error}", path.display()));
    let text = serde_json::to_vec_pretty(value).map_err(|error| failed(&error))?;
    replace_file(path, &text)
}

fn replace_file(path: &Path, text: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(text))
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|error| Error::Internal(format!("{}: {error}", path.display())))
}

/// Stores `meta`, if the next start can read it.
fn save(directory: &Path, meta: &Meta) -> Result<(), Error> {
    let text = serde_json::to_vec_pretty(meta).map_err(|error| Error::Internal(error.to_string()))?;
    serde_json::from_slice::<Meta>(&text)
        .map_err(|error| Error::BadInput(format!("the settings of the collection could not be read back: {error}")))?;
    replace_file(&directory.join(META_FILE), &text)
}
