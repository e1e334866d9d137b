//! The storage directory: its lock, its collections, their names and aliases.

mod claim;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;

use uuid::Uuid;

use super::collection::{Collection, Existence, META_FILE, Meta, blocking, clear, existence, save_json};
use super::config::Config;
use super::disk::check_room;
use super::error::{Error, ServeError};
use claim::{COLLECTIONS, claim, upgrade};

const ALIASES: &str = "aliases.json";
/// Holds the server's peer id.
const PEER: &str = "peer.json";
/// Longest collection name, as in Qdrant.
const NAME_LIMIT: usize = 255;

/// All collections of a server.
#[derive(Debug)]
pub(super) struct Storage {
    root: PathBuf,
    collections: RwLock<BTreeMap<String, Arc<Collection>>>,
    aliases: RwLock<BTreeMap<String, String>>,
    /// Names of collections being created.
    reserved: Mutex<BTreeSet<String>>,
    /// Removals running in the background.
    removals: Mutex<Vec<thread::JoinHandle<()>>>,
    /// Held until the storage is closed; a lingering connection must not keep it.
    lock: Mutex<Option<File>>,
    /// Whether the server is stopping: a collection that is not found may then exist.
    closed: AtomicBool,
    peer: u64,
}

impl Storage {
    /// Opens the directory, and creates it if missing. Blocking.
    ///
    /// # Errors
    /// The directory belongs to another program, is damaged, in use, or cannot be written; the error names it and the
    /// remedy.
    pub(super) fn open(root: &Path) -> Result<Self, ServeError> {
        let (lock, format) = claim(root)?;
        let failed = |reason: String| ServeError::Storage {
            path: root.display().to_string(),
            reason,
            remedy: "restore it from a copy, or start with an empty directory",
        };
        check_room(root, 0).map_err(|error| ServeError::Storage {
            path: root.display().to_string(),
            reason: error.to_string(),
            remedy: "free some space, or choose a directory on another disk",
        })?;
        let mut collections = BTreeMap::new();
        let mut aliases = BTreeMap::new();
        if let Ok(text) = fs::read(root.join(ALIASES)) {
            aliases = serde_json::from_slice(&text).map_err(|error| failed(format!("{ALIASES}: {error}")))?;
        }
        let entries = fs::read_dir(root.join(COLLECTIONS)).map_err(|error| failed(error.to_string()))?;
        let directories = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
        let directories = directories.map_err(|error| failed(error.to_string()))?;
        let broken = |directory: &Path, error: Error| failed(format!("collection in {}: {error}", directory.display()));
        let mut replaced = BTreeSet::new();
        for directory in directories.iter().filter(|directory| existence(directory) == Existence::Whole) {
            replaced.extend(Meta::load(directory).map_err(|error| broken(directory, error))?.replaces);
        }
        let mut whole = Vec::new();
        for directory in directories {
            let name = directory.file_name().unwrap_or_default().to_string_lossy();
            match existence(&directory) {
                Existence::Whole if !replaced.contains(name.as_ref()) => whole.push(directory),
                // Format 1 does not distinguish the two.
                Existence::Damaged if format > 1 => {
                    let missing = format!("{} is missing", directory.join(META_FILE).display());
                    return Err(broken(&directory, Error::Internal(missing)));
                }
                _ => {
                    // The remains of an interrupted creation, recovery or removal.
                    if let Err(error) = clear(&directory) {
                        tracing::warn!(directory = %directory.display(), %error, "cannot remove the remains of a collection");
                    }
                }
            }
        }
        // Before anything is written that format 1 does not have.
        upgrade(root, format)?;
        for directory in whole {
            let collection = Collection::open(directory.clone()).map_err(|error| broken(&directory, error))?;
            collections.insert(collection.meta().name, Arc::new(collection));
        }
        let peer = if let Ok(text) = fs::read(root.join(PEER)) {
            serde_json::from_slice(&text).map_err(|error| failed(format!("{PEER}: {error}")))?
        } else {
            // 53 bits, so that clients that parse numbers as floating point keep it exact.
            let peer = rand::random::<u64>() >> 11;
            save_json(&root.join(PEER), &peer).map_err(|error| failed(error.to_string()))?;
            peer
        };
        let storage = Self {
            root: root.to_owned(),
            collections: RwLock::new(collections),
            aliases: RwLock::new(aliases),
            reserved: Mutex::default(),
            removals: Mutex::default(),
            lock: Mutex::new(Some(lock)),
            closed: AtomicBool::new(false),
            peer,
        };
        storage.remove_unfinished();
        Ok(storage)
    }

    /// The directory.
    #[must_use]
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The server's peer id.
    #[must_use]
    pub(super) fn peer_id(&self) -> u64 {
        self.peer
    }

    /// The names of all collections, sorted.
    #[must_use]
    pub(super) fn names(&self) -> Vec<String> {
        self.collections.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// All aliases with their collections.
    #[must_use]
    pub(super) fn aliases(&self) -> BTreeMap<String, String> {
        self.aliases.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The collection with that name or alias.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn get(&self, name: &str) -> Result<Arc<Collection>, Error> {
        let collections = self.collections.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(collection) = collections.get(name) {
            return Ok(Arc::clone(collection));
        }
        let aliases = self.aliases.read().unwrap_or_else(PoisonError::into_inner);
        let target = aliases.get(name).and_then(|name| collections.get(name));
        match target {
            Some(collection) => Ok(Arc::clone(collection)),
            None => self.check_open().and(Err(Error::no_collection(name))),
        }
    }

    /// Rejects work once the server is stopping.
    ///
    /// # Errors
    /// It is.
    pub(super) fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::Unavailable("the server is stopping".to_owned()));
        }
        Ok(())
    }

    /// Creates a collection.
    ///
    /// # Errors
    /// The name is invalid or taken, the engine rejects the configuration, or the disk fails.
    pub(super) async fn create(self: &Arc<Self>, name: String, config: Config) -> Result<(), Error> {
        check_name(&name)?;
        let storage = Arc::clone(self);
        blocking(move || {
            let _reservation = storage.reserve(&name)?;
            storage.check_open()?;
            check_room(&storage.root, 0)?;
            let directory = storage.new_directory();
            let collection = Arc::new(Collection::create(&directory, &name, config)?);
            storage.collections.write().unwrap_or_else(PoisonError::into_inner).insert(name, collection);
            Ok(())
        })
        .await
    }

    /// A directory for a new collection; it does not exist yet.
    pub(super) fn new_directory(&self) -> PathBuf {
        self.root.join(COLLECTIONS).join(Uuid::new_v4().to_string())
    }

    /// Replaces `old` with the shard in `directory`, or makes it the collection `name`. Blocking.
    ///
    /// # Errors
    /// The shard is damaged or does not fit `meta`, the name is invalid or taken, or `old` was removed meanwhile;
    /// everything is then unchanged.
    pub(super) fn replace(
        &self,
        name: &str,
        old: Option<&Arc<Collection>>,
        directory: &Path,
        meta: Meta,
    ) -> Result<(), Error> {
        let (name, _reservation) = if let Some(old) = old {
            let name = old.meta().name;
            (name.clone(), self.reserve_name(name)?)
        } else {
            check_name(name)?;
            (name.to_owned(), self.reserve(name)?)
        };
        self.check_open()?;
        let place = old.and_then(|old| old.directory().file_name());
        let replaces = place.map(|place| place.to_string_lossy().into_owned());
        let meta = Meta { name: name.clone(), replaces, ..meta };
        let new = Arc::new(Collection::adopt(directory.to_owned(), meta).map_err(not_restorable)?);
        let mut collections = self.collections.write().unwrap_or_else(PoisonError::into_inner);
        let current = collections.get(&name);
        let unchanged = match (current, old) {
            (Some(current), Some(old)) => Arc::ptr_eq(current, old),
            (None, None) => true,
            _ => false,
        };
        if !unchanged {
            drop(collections);
            new.forget()?;
            self.remove_later(new);
            return Err(Error::no_collection(&name));
        }
        if let Some(old) = collections.insert(name, new) {
            drop(collections);
            if let Err(error) = old.forget() {
                tracing::warn!(%error, "files of a replaced collection stay until the next start");
            }
            self.remove_later(old);
        }
        Ok(())
    }

    fn remove_later(&self, collection: Arc<Collection>) {
        let mut removals = self.removals.lock().unwrap_or_else(PoisonError::into_inner);
        removals.retain(|removal| !removal.is_finished());
        let started = thread::Builder::new().name("removal".to_owned()).spawn(move || collection.remove());
        removals.extend(started.inspect_err(|error| tracing::warn!(%error, "files stay until the next start")));
    }

    fn reserve_name(&self, name: String) -> Result<Reservation<'_>, Error> {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if !reserved.insert(name.clone()) {
            return Err(Error::AlreadyExists(format!("Collection `{name}` already exists!")));
        }
        Ok(Reservation { storage: self, name })
    }

    fn reserve(&self, name: &str) -> Result<Reservation<'_>, Error> {
        let taken = || Error::AlreadyExists(format!("Collection `{name}` already exists!"));
        let reservation = self.reserve_name(name.to_owned())?;
        if self.collections.read().unwrap_or_else(PoisonError::into_inner).contains_key(name) {
            return Err(taken());
        }
        if self.aliases.read().unwrap_or_else(PoisonError::into_inner).contains_key(name) {
            return Err(Error::BadInput(format!(
                "Can't create collection with name {name}. Alias with the same name already exists"
            )));
        }
        Ok(reservation)
    }

    /// Removes a collection; `false` if it does not exist. Its files are removed in the background.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) async fn delete(self: &Arc<Self>, name: String) -> Result<bool, Error> {
        let storage = Arc::clone(self);
        blocking(move || {
            let removed = {
                let mut collections = storage.collections.write().unwrap_or_else(PoisonError::into_inner);
                let Some(collection) = collections.get(&name) else { return Ok(false) };
                collection.forget()?;
                collections.remove(&name)
            };
            storage.change_aliases(|aliases| {
                aliases.retain(|_, target| *target != name);
                Ok(())
            })?;
            if let Some(collection) = removed {
                storage.remove_later(collection);
            }
            Ok(true)
        })
        .await
    }

    /// Changes aliases atomically.
    ///
    /// # Errors
    /// The error of `change`, or the disk fails.
    fn change_aliases(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut aliases = self.aliases.write().unwrap_or_else(PoisonError::into_inner);
        let mut new = aliases.clone();
        change(&mut new)?;
        if new != *aliases {
            save_json(&self.root.join(ALIASES), &new)?;
            *aliases = new;
        }
        Ok(())
    }

    /// Creates, deletes and renames aliases atomically. Blocking.
    ///
    /// # Errors
    /// A collection or alias does not exist, an alias has the name of a collection, or the disk fails.
    pub(super) fn apply_aliases(&self, changes: Vec<AliasChange>) -> Result<(), Error> {
        let missing = |alias: &str| Error::NotFound(format!("Alias {alias} does not exists!"));
        let names: BTreeSet<String> = self.names().into_iter().collect();
        let check_new = |alias: &str| {
            if names.contains(alias) {
                return Err(Error::AlreadyExists(format!("Collection `{alias}` already exists!")));
            }
            check_name(alias)
        };
        self.change_aliases(|aliases| {
            for change in changes {
                match change {
                    AliasChange::Create { collection, alias } => {
                        if !names.contains(&collection) {
                            return Err(Error::no_collection(&collection));
                        }
                        check_new(&alias)?;
                        aliases.insert(alias, collection);
                    }
                    AliasChange::Delete { alias } => {
                        // Deleting a missing alias is not an error, as in Qdrant.
                        aliases.remove(&alias);
                    }
                    AliasChange::Rename { old, new } => {
                        check_new(&new)?;
                        let collection = aliases.remove(&old).ok_or_else(|| missing(&old))?;
                        aliases.insert(new, collection);
                    }
                }
            }
            Ok(())
        })
    }

    /// Flushes and closes all collections concurrently, waits for removals, and releases the directory. Blocking.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let collections = std::mem::take(&mut *self.collections.write().unwrap_or_else(PoisonError::into_inner));
        thread::scope(|scope| {
            for collection in collections.into_values() {
                scope.spawn(move || {
                    collection.close();
                    drop(collection);
                });
            }
        });
        let removals = std::mem::take(&mut *self.removals.lock().unwrap_or_else(PoisonError::into_inner));
        for removal in removals {
            if removal.join().is_err() {
                tracing::warn!("a removal panicked");
            }
        }
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// A change of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AliasChange {
    /// Points an alias to a collection; moves an existing alias.
    Create {
        /// The collection.
        collection: String,
        /// The alias.
        alias: String,
    },
    /// Deletes an alias.
    Delete {
        /// The alias.
        alias: String,
    },
    /// Renames an alias.
    Rename {
        /// The old alias.
        old: String,
        /// The new alias.
        new: String,
    },
}

/// A name that is reserved until this is dropped.
struct Reservation<'a> {
    storage: &'a Storage,
    name: String,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.storage.reserved.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// The files of a shard come from a client, so the client is wrong if the engine cannot open them.
fn not_restorable(error: Error) -> Error {
    match error {
        Error::Internal(reason) => Error::BadRequest(format!("Snapshot is damaged or not from this server: {reason}")),
        other => other,
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let bad = |why: String| Err(Error::Invalid(format!("Validation error in path parameters: [name: {why}]")));
    if name.is_empty() || name.len() > NAME_LIMIT {
        return bad(format!("value \"{name}\" invalid, must be from 1 to {NAME_LIMIT} characters long"));
    }
    let forbidden = ['<', '>', ':', '"', '/', '\\', '|', '?', '*', '\0', '\u{1f}'];
    match name.chars().find(|character| forbidden.contains(character)) {
        Some(character) => bad(format!("collection name cannot contain \"{character}\" char")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_qdrant_does() {
        assert_eq!(check_name("documents-1"), Ok(()));
        assert!(check_name("").is_err());
        assert!(check_name("a/b").is_err());
        assert!(check_name(&"x".repeat(256)).is_err());
    }
}
