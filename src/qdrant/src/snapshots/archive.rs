//! The format of a snapshot: a tar file with a collection's settings, the files of its shard, and last a list of those
//! files with their digests. An archive without the list, or that differs from it, is damaged.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::collection::{META_FILE, Meta, SHARD_DIRECTORY, clear};
use crate::disk::check_room;
use crate::error::Error;

/// The last file of an archive.
const LIST: &str = "files.json";
/// The format version, for writing and reading.
const FORMAT: u32 = 1;
/// Bytes per read.
const CHUNK: usize = 64 * 1024;
/// Largest settings, list or header (with long names and the map of a sparse file) to read into memory.
const TEXT_LIMIT: u64 = 64 * 1024 * 1024;
/// Most files and directories in an archive.
const ENTRY_LIMIT: usize = 100_000;
/// Most bytes in the holes of all files together: they take no space in the archive, but time to write. The engine's
/// files have holes of up to 32 MiB, one for each vector of a segment and one for its payloads.
const HOLE_LIMIT: u64 = 16 * 1024 * 1024 * 1024;

/// The files of an archive.
#[derive(Debug, Default, Serialize, Deserialize)]
struct List {
    format: u32,
    /// SHA-256 by path.
    files: BTreeMap<String, String>,
}

/// Writes the shard in `directory` with the settings `meta` to `target`. Blocking; the files must not change meanwhile.
///
/// # Errors
/// The disk is full or broken.
pub(super) fn pack(directory: &Path, meta: &Meta, target: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Internal(format!("writing {}: {error}", target.display()));
    let mut tar = tar::Builder::new(BufWriter::new(File::create(target).map_err(failed)?));
    let mut list = List { format: FORMAT, ..List::default() };
    let text = serde_json::to_vec_pretty(meta).map_err(|error| Error::Internal(error.to_string()))?;
    append_text(&mut tar, META_FILE, &text).map_err(failed)?;
    list.files.insert(META_FILE.to_owned(), hex(&Sha256::digest(&text)));
    append_directory(&mut tar, &directory.join(SHARD_DIRECTORY), SHARD_DIRECTORY, &mut list).map_err(failed)?;
    let text = serde_json::to_vec_pretty(&list).map_err(|error| Error::Internal(error.to_string()))?;
    append_text(&mut tar, LIST, &text).map_err(failed)?;
    tar.into_inner().and_then(|mut file| file.flush()).map_err(failed)
}

fn append_text<W: Write>(tar: &mut tar::Builder<W>, name: &str, text: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, text)
}

fn append_directory<W: Write>(
    tar: &mut tar::Builder<W>,
    directory: &Path,
    name: &str,
    list: &mut List,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let file_name = file_name.to_string_lossy();
        let name = format!("{name}/{file_name}");
        if entry.file_type()?.is_dir() {
            // Half-built and half-removed segments do not belong to the shard.
            if file_name == "temp_segments" || file_name.ends_with(".deleted") {
                continue;
            }
            tar.append_dir(&name, entry.path())?;
            append_directory(tar, &entry.path(), &name, list)?;
        } else {
            let mut file = File::open(entry.path())?;
            let digest = digest(&mut file)?;
            file.seek(SeekFrom::Start(0))?;
            // Preserves holes, of which the engine's files have many.
            tar.append_file(&name, &mut file)?;
            list.files.insert(name, digest);
        }
    }
    Ok(())
}

/// Unpacks `archive` into `target`, which must not exist, except for the settings, which are returned. Blocking.
///
/// # Errors
/// The archive is damaged or not one of this server, or the disk is full; `target` is then removed.
pub(super) fn unpack(archive: &Path, target: &Path) -> Result<Meta, Error> {
    let unpacked = try_unpack(archive, target);
    if unpacked.is_err() {
        let _ = clear(target);
    }
    unpacked
}

fn try_unpack(archive: &Path, target: &Path) -> Result<Meta, Error> {
    let failed = |error: io::Error| Error::Internal(format!("unpacking to {}: {error}", target.display()));
    let file = File::open(archive).map_err(failed)?;
    fs::create_dir_all(target).map_err(failed)?;
    check_room(target, file.metadata().map_err(failed)?.len())?;
    let budget = Rc::new(Cell::new(TEXT_LIMIT));
    let mut tar = tar::Archive::new(Budgeted { source: BufReader::new(file), budget: Rc::clone(&budget) });
    let mut bounds = Bounds::default();
    let mut found = BTreeMap::new();
    let (mut meta, mut list) = (None, None);
    let mut entries = tar.entries().map_err(|error| damaged(&error))?;
    loop {
        budget.set(TEXT_LIMIT);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(|error| damaged(&error))?;
        budget.set(u64::MAX);
        bounds.admit(&entry)?;
        let path = entry.path().map_err(|error| damaged(&error))?.into_owned();
        let name = safe_name(&path)?;
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            fs::create_dir_all(target.join(&name)).map_err(|error| unwritable(&name, &error))?;
        } else if !kind.is_file() && !kind.is_gnu_sparse() {
            return Err(damaged(&format!("{name} is neither file nor directory")));
        } else if name == META_FILE || name == LIST {
            let mut text = Vec::new();
            (&mut entry).take(TEXT_LIMIT).read_to_end(&mut text).map_err(|error| damaged(&error))?;
            if name == LIST {
                list = Some(serde_json::from_slice::<List>(&text).map_err(|error| damaged(&error))?);
            } else {
                meta = Some(serde_json::from_slice(&text).map_err(|error| damaged(&error))?);
                found.insert(name, hex(&Sha256::digest(&text)));
            }
        } else {
            let path = target.join(&name);
            fs::create_dir_all(path.parent().unwrap_or(target)).map_err(|error| unwritable(&name, &error))?;
            let file = File::create(&path).map_err(|error| unwritable(&name, &error))?;
            let digest = write_file(&mut entry, file, &path)?;
            found.insert(name, digest);
        }
    }
    let list: List = list.ok_or_else(|| damaged(&"this server did not create it, or its end is missing"))?;
    if list.format != FORMAT {
        return Err(damaged(&format!("it has format {}, but this program reads format {FORMAT}", list.format)));
    }
    if let Some((name, _)) = list.files.iter().find(|(name, digest)| found.get(*name) != Some(*digest)) {
        return Err(damaged(&format!("{name} is missing or has another digest")));
    }
    if let Some(name) = found.keys().find(|name| !list.files.contains_key(*name)) {
        return Err(damaged(&format!("{name} is not in its list of files")));
    }
    meta.ok_or_else(|| damaged(&format!("{META_FILE} is missing")))
}

/// The path of an entry, if it stays below the target: the settings, the list, or a file of the shard.
fn safe_name(path: &Path) -> Result<String, Error> {
    let parts: Option<Vec<&str>> = path
        .components()
        .map(|part| match part {
            Component::Normal(part) => part.to_str(),
            _ => None,
        })
        .collect();
    match parts {
        Some(parts) if parts == [META_FILE] || parts == [LIST] || parts.first() == Some(&SHARD_DIRECTORY) => {
            Ok(parts.join("/"))
        }
        _ => Err(damaged(&format!("{} is not a valid file name in a snapshot", path.display()))),
    }
}

fn damaged(reason: &dyn std::fmt::Display) -> Error {
    Error::BadRequest(format!("Snapshot is damaged or not from this server: {reason}"))
}

/// The error for an entry that no file or directory can be made for: its name is at fault, or the disk.
fn unwritable(name: &str, error: &io::Error) -> Error {
    use io::ErrorKind::{AlreadyExists, InvalidFilename, InvalidInput, IsADirectory, NotADirectory};
    match error.kind() {
        AlreadyExists | InvalidFilename | InvalidInput | IsADirectory | NotADirectory => {
            damaged(&format!("{name}: {error}"))
        }
        _ => Error::Internal(format!("unpacking {name}: {error}")),
    }
}

/// What an archive has had so far of what is limited.
#[derive(Debug, Default)]
struct Bounds {
    entries: usize,
    holes: u64,
}

impl Bounds {
    /// Counts an entry.
    ///
    /// # Errors
    /// With it the archive exceeds a limit; the text names the limit.
    fn admit<R: Read>(&mut self, entry: &tar::Entry<'_, R>) -> Result<(), Error> {
        self.entries += 1;
        if self.entries > ENTRY_LIMIT {
            return Err(damaged(&format!("it has more than {ENTRY_LIMIT} entries")));
        }
        let stored = entry.header().entry_size().map_err(|error| damaged(&error))?;
        self.holes = self.holes.saturating_add(entry.size().saturating_sub(stored));
        if self.holes > HOLE_LIMIT {
            let holes = self.holes;
            return Err(damaged(&format!("its files have holes of {holes} bytes; the limit is {HOLE_LIMIT} bytes")));
        }
        Ok(())
    }
}

/// A source that can be read only as far as the budget reaches: tar reads a header into memory whatever its size.
struct Budgeted<R> {
    source: R,
    budget: Rc<Cell<u64>>,
}

impl<R: Read> Read for Budgeted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let budget = self.budget.get();
        if budget == 0 && !buffer.is_empty() {
            return Err(io::Error::other(format!("a header is larger than the limit of {TEXT_LIMIT} bytes")));
        }
        let length = buffer.len().min(usize::try_from(budget).unwrap_or(usize::MAX));
        let read = self.source.read(&mut buffer[..length])?;
        self.budget.set(budget - read as u64);
        Ok(read)
    }
}

/// Copies `source` to the new `file`, with holes for zeros; returns its digest. `path` is for errors.
fn write_file(source: &mut impl Read, mut file: File, path: &Path) -> Result<String, Error> {
    let failed = |error: io::Error| Error::Internal(format!("writing {}: {error}", path.display()));
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut length = 0;
    loop {
        let read = source.read(&mut chunk).map_err(|error| damaged(&error))?;
        if read == 0 {
            break;
        }
        let bytes = &chunk[..read];
        digest.update(bytes);
        length += read as u64;
        if bytes.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Start(length)).map_err(failed)?;
        } else {
            file.write_all(bytes).map_err(failed)?;
        }
    }
    file.set_len(length).map_err(failed)?;
    Ok(hex(&digest.finalize()))
}

/// SHA-256 of the rest of `source`, in hexadecimal. Blocking.
///
/// # Errors
/// It cannot be read.
pub(super) fn digest(source: &mut impl Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match source.read(&mut chunk)? {
            0 => return Ok(hex(&digest.finalize())),
            read => digest.update(&chunk[..read]),
        }
    }
}

/// `bytes` in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_outside_of_the_target_are_rejected() {
        for name in ["../x", "/etc/passwd", "shard/../../x", "other/x", "", "./collection.json"] {
            assert!(safe_name(Path::new(name)).is_err(), "{name}");
        }
        assert_eq!(safe_name(Path::new("shard/wal/open-1")), Ok("shard/wal/open-1".to_owned()));
        assert_eq!(safe_name(Path::new("collection.json")), Ok("collection.json".to_owned()));
    }

    #[test]
    fn a_link_in_an_archive_is_rejected_and_nothing_is_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let archive = directory.path().join("archive");
        let mut tar = tar::Builder::new(File::create(&archive).expect("made"));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "shard/link", "/etc/passwd").expect("appended");
        tar.into_inner().expect("finished");
        let target = directory.path().join("target");
        let error = unpack(&archive, &target).unwrap_err();
        assert!(error.to_string().contains("neither file nor directory"), "{error}");
        assert!(!target.exists());
    }

    /// Unpacks an archive with these bytes; nothing of it is kept.
    fn refusal(archive: &[u8]) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("archive");
        fs::write(&path, archive).expect("written");
        let target = directory.path().join("target");
        let error = unpack(&path, &target).expect_err("refused");
        assert!(matches!(error, Error::BadRequest(_)), "{error}");
        assert!(!target.exists());
        error.to_string()
    }

    /// The header of an entry of this kind that has `size` bytes in the archive.
    fn header(name: &str, kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).expect("a path");
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header
    }

    #[test]
    fn a_sparse_file_that_is_mostly_holes_is_refused_at_once() {
        let real: u64 = 1 << 62;
        let mut sparse = header("shard/file", tar::EntryType::GNUSparse, 0);
        let gnu = sparse.as_gnu_mut().expect("GNU");
        gnu.set_real_size(real);
        gnu.sparse[0].set_offset(real);
        gnu.sparse[0].set_length(0);
        sparse.set_cksum();
        let began = std::time::Instant::now();
        let error = refusal(sparse.as_bytes());
        assert!(error.contains(&format!("holes of {real} bytes; the limit is {HOLE_LIMIT} bytes")), "{error}");
        assert!(began.elapsed() < std::time::Duration::from_secs(1));
    }

    #[test]
    fn an_archive_with_too_many_entries_is_refused() {
        let mut directory = header("shard/a", tar::EntryType::Directory, 0);
        directory.set_cksum();
        let error = refusal(&directory.as_bytes().repeat(ENTRY_LIMIT + 1));
        assert!(error.contains("more than 100000 entries"), "{error}");
    }

    #[test]
    fn a_header_larger_than_the_limit_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("archive");
        let mut name = header("././@LongLink", tar::EntryType::GNULongName, 8 * TEXT_LIMIT);
        name.set_cksum();
        fs::write(&path, name.as_bytes()).expect("written");
        File::options().write(true).open(&path).and_then(|file| file.set_len(9 * TEXT_LIMIT)).expect("extended");
        let error = unpack(&path, &directory.path().join("target")).expect_err("refused");
        assert!(error.to_string().contains(&format!("the limit of {TEXT_LIMIT} bytes")), "{error}");
    }

    #[test]
    fn a_name_that_no_file_can_have_is_refused_as_a_damage_of_the_archive() {
        let mut file = header("shard/a", tar::EntryType::Regular, 0);
        file.set_cksum();
        let mut below = header("shard/a/b", tar::EntryType::Regular, 0);
        below.set_cksum();
        let error = refusal(&[file.as_bytes().as_slice(), below.as_bytes()].concat());
        assert!(error.contains("shard/a/b: "), "{error}");
    }

    #[test]
    fn holes_stay_holes_and_the_digest_counts_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let mut bytes = vec![0; 3 * CHUNK];
        bytes[CHUNK] = 7;
        let file = File::create(&path).expect("made");
        let written = write_file(&mut bytes.as_slice(), file, &path).expect("written");
        assert_eq!(fs::read(&path).expect("readable"), bytes);
        assert_eq!(written, hex(&Sha256::digest(&bytes)));
    }
}
