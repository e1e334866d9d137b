//! Snapshots: copies of a collection, or of everything, as files to keep, fetch and restore.
//!
//! They are in `snapshots/{collection}` of the storage directory, each with a checksum file, and outlive their
//! collection. A snapshot is written and restored in a temporary place and moved at the end, so that a failure or a
//! kill changes nothing.

mod archive;
mod source;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::collection::{Collection, begin, blocking, clear};
use super::disk::{check_room, used};
use super::error::Error;
use super::storage::Storage;
use source::SNAPSHOTS;
pub(super) use source::{Checksum, Location};

/// Directory for unfinished files, below the storage directory.
const UNFINISHED: &str = "unfinished";
/// Suffix of snapshot names.
const EXTENSION: &str = "snapshot";
/// Suffix of the files with checksums, after the snapshot's name.
const CHECKSUM: &str = ".checksum";
/// Longest name of a snapshot in bytes: file systems allow 255 for a name, and that of the checksum is longer.
const NAME_LIMIT: usize = 255 - CHECKSUM.len();
/// Digits of the digest in the name of a snapshot that cannot have the whole name of its collection.
const DIGEST_DIGITS: usize = 16;

/// The description of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Description {
    /// Its name.
    pub name: String,
    /// Creation time, in UTC.
    pub creation_time: Option<NaiveDateTime>,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// The owner of snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// One collection, by its name or alias.
    Collection(String),
    /// All collections.
    Full,
}

/// The manifest of a snapshot of everything.
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
    /// The collection does not exist, or the disk fails.
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

    /// Creates a snapshot of `scope`.
    ///
    /// # Errors
    /// The collection does not exist, or the disk is full.
    pub(super) async fn create_snapshot(self: &Arc<Self>, scope: Scope) -> Result<Description, Error> {
        let time = Utc::now().format("%Y-%m-%d-%H-%M-%S").to_string();
        match &scope {
            Scope::Collection(name) => {
                let collection = self.get(name)?;
                let name = snapshot_name(&collection.meta().name, self.peer_id(), &time);
                let file = self.pack(&collection).await?;
                self.keep_snapshot(file, scope, name).await
            }
            Scope::Full => {
                let mut parts = Vec::new();
                for name in self.names() {
                    // A collection that is deleted meanwhile is skipped.
                    let Ok(collection) = self.get(&name) else { continue };
                    let file = snapshot_name(&name, self.peer_id(), &time);
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

    /// Moves a finished file to its place, and writes its checksum.
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
            // First, so that a snapshot never has the checksum of an earlier one of its name.
            fs::write(checksum_path(&path), checksum).map_err(failed)?;
            file.persist(&path).map_err(|error| failed(error.error))?;
            describe(&path)
        })
        .await
    }

    /// A new temporary file; it is removed when dropped.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub(super) fn unfinished(&self) -> Result<NamedTempFile, Error> {
        let directory = self.root().join(UNFINISHED);
        let made = fs::create_dir_all(&directory).and_then(|()| NamedTempFile::new_in(&directory));
        made.map_err(|error| Error::Internal(format!("{}: {error}", directory.display())))
    }

    /// Removes unfinished files of an earlier process. Blocking.
    pub(super) fn remove_unfinished(&self) {
        // Usually there are none; files that cannot be removed only take space.
        let _ = fs::remove_dir_all(self.root().join(UNFINISHED));
    }

    /// The open file of a snapshot, and its size.
    ///
    /// # Errors
    /// The collection or the snapshot does not exist.
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
    /// The collection or the snapshot does not exist.
    pub(super) async fn delete_snapshot(self: &Arc<Self>, scope: Scope, name: String) -> Result<(), Error> {
        let storage = Arc::clone(self);
        blocking(move || {
            let path = storage.snapshot_path(&scope, &name)?;
            fs::remove_file(&path).map_err(|_| no_snapshot(&name))?;
            // An uploaded snapshot of another server may have none.
            let _ = fs::remove_file(checksum_path(&path));
            Ok(())
        })
        .await
    }

    /// Restores the collection `name` from the snapshot at `location`; creates the collection if it does not exist.
    ///
    /// # Errors
    /// The snapshot cannot be fetched, has another checksum, is damaged, or does not fit the collection; the collection
    /// is then unchanged.
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

    /// As [`Self::recover`], from an uploaded file with the client's name `sent`; keeps the file.
    ///
    /// # Errors
    /// As [`Self::recover`]; the file is then not kept.
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

    /// Unpacks `archive` in a temporary place, opens it, and replaces the collection with it.
    fn restore(self: &Arc<Self>, name: &str, archive: &Path) -> Result<(), Error> {
        let directory = self.new_directory();
        begin(&directory)?;
        let mut meta = archive::unpack(archive, &directory)?;
        let old = self.get(name).ok();
        let fits = match &old {
            None => meta.config.check(),
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
        // As directories these names are others.
        let dots = name == "." || name == "..";
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

/// The name of a new snapshot. A collection's name may be as long as a file's; then its beginning and its digest stand
/// for it.
fn snapshot_name(collection: &str, peer: u64, time: &str) -> String {
    let end = format!("-{peer}-{time}.{EXTENSION}");
    let room = NAME_LIMIT - end.len();
    if collection.len() <= room {
        return format!("{collection}{end}");
    }
    let mut digest = archive::hex(&Sha256::digest(collection));
    digest.truncate(DIGEST_DIGITS);
    let beginning = &collection[..collection.floor_char_boundary(room - DIGEST_DIGITS - 1)];
    format!("{beginning}-{digest}{end}")
}

/// Checks the file name under which a client uploads a snapshot.
///
/// # Errors
/// No file can have it.
pub(super) fn check_file_name(name: &str) -> Result<(), Error> {
    if name.len() > NAME_LIMIT || name.contains('\0') {
        return Err(Error::BadRequest(format!(
            "Invalid file name of the snapshot: it must have at most {NAME_LIMIT} bytes and no NUL"
        )));
    }
    Ok(())
}

fn no_snapshot(name: &str) -> Error {
    Error::NotFound(format!("Snapshot {name} not found"))
}

fn checksum_path(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(CHECKSUM);
    path.into()
}

fn describe(path: &Path) -> Result<Description, Error> {
    let failed = |error: std::io::Error| Error::Internal(format!("{}: {error}", path.display()));
    let metadata = fs::metadata(path).map_err(failed)?;
    // Not every file system stores the creation time.
    let time = metadata.created().or_else(|_| metadata.modified()).ok().map(DateTime::<Utc>::from);
    let time = time.and_then(|time| DateTime::from_timestamp(time.timestamp(), 0));
    Ok(Description {
        name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        creation_time: time.map(|time| time.naive_utc()),
        size: metadata.len(),
        checksum: fs::read_to_string(checksum_path(path)).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_of_the_longest_collection_name_has_a_file_name() {
        let time = "2026-11-30-10-00-00";
        assert_eq!(snapshot_name("documents", 7, time), format!("documents-7-{time}.snapshot"));
        for collection in ["x".repeat(255), "ä".repeat(127)] {
            let name = snapshot_name(&collection, u64::MAX, time);
            assert!(checksum_path(Path::new(&name)).as_os_str().len() <= 255, "{name}");
            assert!(collection.starts_with(&name[..150]), "{name}");
            let other = format!("{}y", &collection[..collection.floor_char_boundary(253)]);
            assert_ne!(snapshot_name(&other, u64::MAX, time), name);
        }
    }
}
