//! Snapshots: copies of a collection, or of everything, as files that can be kept, fetched and restored.
//!
//! They lie in `snapshots/{collection}` below the storage directory, each with its checksum beside it, and stay
//! when the collection is deleted. A snapshot is written and restored beside what exists and takes its place at
//! the end, so that a failure or a kill changes nothing.

mod archive;
mod source;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::collection::{Collection, begin, blocking, clear};
use super::disk::{check_room, used};
use super::error::Error;
use super::storage::Storage;
pub(super) use source::{Checksum, Location};

/// Directory of all snapshots, below the storage directory.
const SNAPSHOTS: &str = "snapshots";
/// Directory for unfinished files, below the storage directory.
const UNFINISHED: &str = "unfinished";
/// How names of snapshots end.
const EXTENSION: &str = "snapshot";

/// A snapshot as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Description {
    /// Its name.
    pub name: String,
    /// When it was made, in UTC.
    pub creation_time: Option<NaiveDateTime>,
    /// Bytes.
    pub size: u64,
    /// SHA-256, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// Whose snapshots are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those of one collection, by its name or alias.
    Collection(String),
    /// Those of everything.
    Full,
}

/// What a snapshot of everything says about its parts.
#[derive(Serialize)]
struct FullConfig {
    /// File of each collection.
    collections_mapping: BTreeMap<String, String>,
    /// Collection of each alias.
    collections_aliases: BTreeMap<String, String>,
}

impl Storage {
    /// The snapshots of `scope`, by name.
    ///
    /// # Errors
    /// There is no such collection, or the disk fails.
    pub(super) async fn list_snapshots(self: &Arc<Self>, scope: Scope) -> Result<Vec<Description>, Error> {
        let storage = Arc::clone(self);
        blocking(move || {
            let directory = storage.snapshot_directory(&scope)?;
            let Ok(entries) = fs::read_dir(&directory) else { return Ok(Vec::new()) };
            let files = entries.flatten().map(|entry| entry.path());
            let snapshots = files.filter(|path| path.is_file() && path.extension().is_some_and(|it| it == EXTENSION));
            let mut found = snapshots.map(|path| describe(&path)).collect::<Result<Vec<_>, _>>()?;
            found.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(found)
        })
        .await
    }

    /// Makes a snapshot of `scope`.
    ///
    /// # Errors
    /// There is no such collection, or the disk is full.
    pub(super) async fn create_snapshot(self: &Arc<Self>, scope: Scope) -> Result<Description, Error> {
        let time = Utc::now().format("%Y-%m-%d-%H-%M-%S");
        match &scope {
            Scope::Collection(name) => {
                let collection = self.get(name)?;
                let name = format!("{}-{}-{time}.{EXTENSION}", collection.meta().name, self.peer_id());
                let file = self.pack(&collection).await?;
                self.keep_snapshot(file, scope, name).await
            }
            Scope::Full => {
                let mut parts = Vec::new();
                for name in self.names() {
                    // A collection that is deleted meanwhile is not part of it.
                    let Ok(collection) = self.get(&name) else { continue };
                    let file = format!("{name}-{}-{time}.{EXTENSION}", self.peer_id());
                    parts.push((name, file, self.pack(&collection).await?));
                }
                let storage = Arc::clone(self);
                let file = blocking(move || storage.pack_full(parts)).await?;
                self.keep_snapshot(file, scope, format!("full-snapshot-{time}.{EXTENSION}")).await
            }
        }
    }

    async fn pack(self: &Arc<Self>, collection: &Arc<Collection>) -> Result<NamedTempFile, Error> {
        let storage = Arc::clone(self);
        let directory = collection.directory().to_owned();
        let file = blocking(move || {
            let file = storage.unfinished()?;
            check_room(file.path(), used(&directory))?;
            Ok(file)
        });
        let file = file.await?;
        let path = file.path().to_owned();
        let packed = Arc::clone(collection);
        collection.exclusively(move || archive::pack(packed.directory(), &packed.meta(), &path)).await?;
        Ok(file)
    }

    fn pack_full(&self, parts: Vec<(String, String, NamedTempFile)>) -> Result<NamedTempFile, Error> {
        let file = self.unfinished()?;
        let failed = |error: std::io::Error| Error::Internal(format!("writing {}: {error}", file.path().display()));
        let mut tar = tar::Builder::new(file.as_file());
        let mut config = FullConfig { collections_mapping: BTreeMap::new(), collections_aliases: self.aliases() };
        for (collection, name, mut part) in parts {
            tar.append_file(&name, part.as_file_mut()).map_err(failed)?;
            config.collections_mapping.insert(collection, name);
        }
        let text = serde_json::to_vec_pretty(&config).map_err(|error| Error::Internal(error.to_string()))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "config.json", text.as_slice()).map_err(failed)?;
        tar.finish().map_err(failed)?;
        drop(tar);
        Ok(file)
    }

    /// Gives a finished file its place, and writes its checksum beside it.
    async fn keep_snapshot(
        self: &Arc<Self>,
        file: NamedTempFile,
        scope: Scope,
        name: String,
    ) -> Result<Description, Error> {
        let storage = Arc::clone(self);
        blocking(move || {
            let directory = storage.snapshot_directory(&scope)?;
            let path = directory.join(&name);
            let failed = |error: std::io::Error| Error::Internal(format!("{}: {error}", path.display()));
            let checksum = File::open(file.path()).and_then(|file| archive::digest(&mut BufReader::new(file)));
            let checksum = checksum.map_err(failed)?;
            fs::create_dir_all(&directory).map_err(failed)?;
            // First, so that a snapshot never has the checksum of another of its name.
            fs::write(checksum_path(&path), checksum).map_err(failed)?;
            file.persist(&path).map_err(|error| failed(error.error))?;
            describe(&path)
        })
        .await
    }

    /// A new file for something unfinished; it is removed when dropped.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub(super) fn unfinished(&self) -> Result<NamedTempFile, Error> {
        let directory = self.root().join(UNFINISHED);
        let made = fs::create_dir_all(&directory).and_then(|()| NamedTempFile::new_in(&directory));
        made.map_err(|error| Error::Internal(format!("{}: {error}", directory.display())))
    }

    /// Removes what an earlier process did not finish. Blocking.
    pub(super) fn remove_unfinished(&self) {
        // Usually there is nothing; what cannot be removed only takes room.
        let _ = fs::remove_dir_all(self.root().join(UNFINISHED));
    }

    /// The open file of a snapshot, and its size.
    ///
    /// # Errors
    /// There is no such collection or snapshot.
    pub(super) async fn open_snapshot(self: &Arc<Self>, scope: Scope, name: String) -> Result<(File, u64), Error> {
        let storage = Arc::clone(self);
        blocking(move || {
            let path = storage.snapshot_path(&scope, &name)?;
            let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
            opened.map(|(size, file)| (file, size)).map_err(|_| no_snapshot(&name))
        })
        .await
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// There is no such collection or snapshot.
    pub(super) async fn delete_snapshot(self: &Arc<Self>, scope: Scope, name: String) -> Result<(), Error> {
        let storage = Arc::clone(self);
        blocking(move || {
            let path = storage.snapshot_path(&scope, &name)?;
            fs::remove_file(&path).map_err(|_| no_snapshot(&name))?;
            // An uploaded snapshot of another server need not have one.
            let _ = fs::remove_file(checksum_path(&path));
            Ok(())
        })
        .await
    }

    /// Makes the collection `name` what it was in the snapshot at `location`; makes it if there is none.
    ///
    /// # Errors
    /// The snapshot cannot be fetched, has another checksum, is damaged, or does not fit the collection;
    /// the collection is then as it was.
    pub(super) async fn recover(
        self: &Arc<Self>,
        name: String,
        location: Location,
        checksum: Option<Checksum>,
        key: Option<String>,
    ) -> Result<(), Error> {
        let file = self.fetch(location, key.as_deref()).await?;
        let storage = Arc::clone(self);
        let path = file.path().to_owned();
        blocking(move || {
            checksum.map_or(Ok(()), |checksum| {
                checksum.verify(&path, |expected, found| {
                    Error::BadInput(format!("Snapshot checksum mismatch: expected {expected}, got {found}"))
                })
            })?;
            storage.restore(&name, &path)
        })
        .await
    }

    /// As [`Self::recover`], from a file that was sent under the name `sent`; keeps the file.
    ///
    /// # Errors
    /// As there; the file is then not kept.
    pub(super) async fn recover_upload(
        self: &Arc<Self>,
        name: String,
        file: NamedTempFile,
        sent: String,
        checksum: Option<Checksum>,
    ) -> Result<(), Error> {
        let storage = Arc::clone(self);
        let target = name.clone();
        let file = blocking(move || {
            checksum.map_or(Ok(()), |checksum| {
                checksum.verify(file.path(), |expected, found| {
                    Error::BadRequest(format!("Checksum mismatch: expected: {expected}, actual: {found}"))
                })
            })?;
            storage.restore(&target, file.path())?;
            Ok(file)
        });
        let file = file.await?;
        self.keep_snapshot(file, Scope::Collection(name), sent).await.map(|_| ())
    }

    /// Unpacks `archive` beside everything else, opens it, and puts it in the place of the collection.
    fn restore(self: &Arc<Self>, name: &str, archive: &Path) -> Result<(), Error> {
        let directory = self.new_directory();
        begin(&directory)?;
        let mut meta = archive::unpack(archive, &directory)?;
        let old = self.get(name).ok();
        let fits = match &old {
            None => Ok(()),
            Some(old) => {
                let current = old.meta();
                let fits = current.config.params.vectors == meta.config.params.vectors;
                let refusal = format!(
                    "Snapshot is not compatible with existing collection: Collection vectors: {:?} Snapshot Vectors: {:?}",
                    current.config.params.vectors, meta.config.params.vectors
                );
                meta.config = current.config;
                if fits { Ok(()) } else { Err(Error::BadInput(refusal)) }
            }
        };
        let put = fits.and_then(|()| self.replace(name, old.as_ref(), &directory, meta));
        if put.is_err() {
            let _ = clear(&directory);
        }
        put
    }

    fn snapshot_directory(&self, scope: &Scope) -> Result<PathBuf, Error> {
        let all = self.root().join(SNAPSHOTS);
        let Scope::Collection(name) = scope else { return Ok(all) };
        let name = self.get(name)?.meta().name;
        // A collection may be called `..`, which as a directory is another one.
        let dots = name.bytes().all(|byte| byte == b'.');
        Ok(all.join(if dots { name.replace('.', "%2E") } else { name }))
    }

    fn snapshot_path(&self, scope: &Scope, name: &str) -> Result<PathBuf, Error> {
        let directory = self.snapshot_directory(scope)?;
        let mut parts = Path::new(name).components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(part)), None) if part == name => Ok(directory.join(name)),
            _ => Err(no_snapshot(name)),
        }
    }
}

fn no_snapshot(name: &str) -> Error {
    Error::NotFound(format!("Snapshot {name} not found"))
}

fn checksum_path(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".checksum");
    path.into()
}

fn describe(path: &Path) -> Result<Description, Error> {
    let failed = |error: std::io::Error| Error::Internal(format!("{}: {error}", path.display()));
    let metadata = fs::metadata(path).map_err(failed)?;
    // Not every file system knows when a file was made.
    let time = metadata.created().or_else(|_| metadata.modified()).ok().map(DateTime::<Utc>::from);
    let time = time.and_then(|time| DateTime::from_timestamp(time.timestamp(), 0));
    Ok(Description {
        name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        creation_time: time.map(|time| time.naive_utc()),
        size: metadata.len(),
        checksum: fs::read_to_string(checksum_path(path)).ok(),
    })
}
