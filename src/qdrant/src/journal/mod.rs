//! The journal: every change is written here before it is applied, so that a killed process loses none.
//!
//! The engine keeps a log of its own but does not replay it when it opens a collection, so what was not flushed would
//! be lost. One `write` to this file survives the death of the process (not of the machine) and costs far less than a
//! flush. After each flush of the engine, the journal starts over.
//!
//! The file begins with [`MAGIC`]. A record is its length (`u32`, little endian), a checksum of the length (`u32`), a
//! checksum of the body (`u64`), and the body: a kind and the change, dense upserts in a packed form and everything
//! else as the engine's own JSON. A record of its own marks a change that the engine rejected, and the change is not
//! repeated.
//!
//! A kill can only truncate the last record: it was never acknowledged, and is dropped. A record that fails its
//! checksum for any other reason is damaged, and the file is refused: to drop the record and those behind it would lose
//! acknowledged changes. Files of format 1 had no checksums; they can still be read.

mod pack;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use qdrant_edge::{PointInsertOperations, PointOperations, UpdateOperation};

use pack::{pack_points, take_chunk, take_length, unpack_points};

/// The first bytes of the file; as the length of a first record of format 1 they would be above a gigabyte.
const MAGIC: &[u8; 8] = b"SHKDJRN2";
/// Bytes before the body of a record.
const HEAD: usize = 16;
const KIND_JSON: u8 = 0;
const KIND_UPSERT: u8 = 1;
/// The body is the index of a record in the file whose change was rejected.
const KIND_REFUSED: u8 = 2;

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// Bytes of complete records in the file and of the header; 0 for a file without header.
    length: u64,
    /// Records in the file.
    records: u64,
    /// Whether there may be bytes behind `length`.
    torn: bool,
}

impl Journal {
    /// Opens or creates the journal at `path`; returns it with its changes, in order. After a file of format 1 with
    /// changes, [`Self::clear`] must come before [`Self::append`].
    ///
    /// # Errors
    /// The file cannot be opened or read, or is damaged; the text names the place.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<UpdateOperation>)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let split = if bytes.starts_with(MAGIC) { split_record } else { split_record_of_format_1 };
        let start = if bytes.starts_with(MAGIC) { MAGIC.len() } else { 0 };
        let damaged = |rest: &[u8], what: &str| {
            let place = bytes.len() - rest.len();
            io::Error::new(io::ErrorKind::InvalidData, format!("{what} at byte {place}"))
        };
        let mut entries = Vec::new();
        let mut rest = bytes.get(start..).unwrap_or_default();
        if !MAGIC.starts_with(&bytes) {
            while let Some((body, after)) = split(rest).map_err(|what| damaged(rest, what))? {
                entries.push(Some(
                    decode(body).map_err(|error| damaged(rest, &format!("a record is unreadable ({error})")))?,
                ));
                rest = after;
            }
        }
        let records = entries.len() as u64;
        let refused: Vec<usize> = entries
            .iter()
            .filter_map(|entry| match entry {
                Some(Entry::Refused(number)) => usize::try_from(*number).ok(),
                _ => None,
            })
            .collect();
        for number in refused {
            if let Some(entry) = entries.get_mut(number) {
                *entry = None;
            }
        }
        let operations: Vec<_> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| match entry {
                Entry::Change(operation) => Some(*operation),
                Entry::Refused(_) => None,
            })
            .collect();
        let length = if start > 0 { (bytes.len() - rest.len()) as u64 } else { 0 };
        Ok((Self { file, length, records, torn: true }, operations))
    }

    /// Writes `count` records (made by [`encode`]) at once; returns the index of the first.
    ///
    /// # Errors
    /// The disk is full or broken; the journal is then unchanged.
    pub(super) fn append(&mut self, records: &[u8], count: usize) -> io::Result<u64> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        // Until the write completes, a part of it may be in the file.
        self.torn = true;
        if self.length == 0 {
            self.file.write_all_at(MAGIC, 0)?;
            self.length = MAGIC.len() as u64;
        }
        self.file.write_all_at(records, self.length).inspect_err(|_| {
            // If this fails, the next change tries again.
            self.torn = self.file.set_len(self.length).is_err();
        })?;
        self.torn = false;
        self.length += records.len() as u64;
        let first = self.records;
        self.records += count as u64;
        Ok(first)
    }

    /// Records that the change with that index was rejected.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub(super) fn refuse(&mut self, number: u64) -> io::Result<()> {
        let mut record = vec![0; HEAD];
        record.push(KIND_REFUSED);
        record.extend_from_slice(&number.to_le_bytes());
        seal(&mut record)?;
        self.append(&record, 1).map(|_| ())
    }

    /// Bytes since the journal last started over.
    #[must_use]
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Starts over: the engine has everything on disk.
    ///
    /// # Errors
    /// The file cannot be shortened.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        // To zero length, not to the header: the file may be of format 1.
        self.file.set_len(0)?;
        (self.length, self.records, self.torn) = (0, 0, false);
        Ok(())
    }
}

/// The content of a record.
enum Entry {
    Change(Box<UpdateOperation>),
    Refused(u64),
}

/// The body of a record and the rest behind it, or the damage of the record.
type Split<'a> = Result<Option<(&'a [u8], &'a [u8])>, &'static str>;

/// `None` for a truncated record, and at the end.
fn split_record(bytes: &[u8]) -> Split<'_> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
    let (lengths, check) = head.split_at(8);
    let (length, length_check) = lengths.split_at(4);
    if short(fingerprint(length)).to_le_bytes() != length_check {
        return Err("the length of a record is damaged");
    }
    let Some((body, rest)) = take_length(&mut &*length).and_then(|length| rest.split_at_checked(length)) else {
        return Ok(None);
    };
    if fingerprint(body).to_le_bytes() != check {
        return Err("a record is damaged");
    }
    Ok(Some((body, rest)))
}

fn split_record_of_format_1(bytes: &[u8]) -> Split<'_> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    // A damaged header must not pass for a truncated record.
    if rest.first().is_some_and(|kind| ![KIND_JSON, KIND_UPSERT].contains(kind)) {
        return Err("a record is damaged");
    }
    Ok(rest.split_at_checked(u32::from_le_bytes(*length) as usize))
}

/// A checksum of `bytes`: it detects any change within eight aligned bytes, and all but one in 2^64 of the others.
fn fingerprint(bytes: &[u8]) -> u64 {
    // An odd factor, so that every step is reversible and loses nothing: 2^64 divided by the golden ratio.
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let step = |state: u64, word: u64| (state ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let (words, tail) = bytes.as_chunks::<8>();
    let state = words.iter().fold(bytes.len() as u64, |state, word| step(state, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    step(step(state, u64::from_le_bytes(last)), FACTOR)
}

/// Both halves of a checksum in one.
fn short(check: u64) -> u32 {
    let [low, high] = [check, check >> 32].map(|half| u32::try_from(half & u64::from(u32::MAX)).unwrap_or_default());
    low ^ high
}

/// Fills in the header of `record`, which has its body.
fn seal(record: &mut [u8]) -> io::Result<()> {
    let (head, body) = record.split_at_mut(HEAD);
    let length = u32::try_from(body.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?.to_le_bytes();
    head[..4].copy_from_slice(&length);
    head[4..8].copy_from_slice(&short(fingerprint(&length)).to_le_bytes());
    head[8..].copy_from_slice(&fingerprint(body).to_le_bytes());
    Ok(())
}

/// Appends the record of `operation` to `out`. What this accepts, [`Journal::open`] can read: the packed form is made so,
/// and JSON is read again, because it has no infinite numbers and because its reader has a limit on nesting.
///
/// # Errors
/// The change is larger than 4 GiB, or cannot be written as JSON or read back; `out` is then unchanged.
pub(super) fn encode(operation: &UpdateOperation, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    let packed = match operation {
        UpdateOperation::PointOperation(PointOperations::UpsertPoints(PointInsertOperations::PointsList(points))) => {
            out.push(KIND_UPSERT);
            pack_points(points, out)
        }
        _ => None,
    };
    let written = if packed.is_none() {
        out.truncate(start + HEAD);
        out.push(KIND_JSON);
        let written = serde_json::to_writer(&mut *out, operation).map_err(io::Error::from);
        written.and_then(|()| decode(&out[start + HEAD..]).map(|_| ()).map_err(io::Error::other))
    } else {
        Ok(())
    };
    written.and_then(|()| seal(&mut out[start..])).inspect_err(|_| out.truncate(start))
}

fn decode(body: &[u8]) -> Result<Entry, String> {
    let short = || "its end is missing".to_owned();
    let (kind, mut body) = body.split_first().ok_or_else(short)?;
    let operation = match *kind {
        KIND_JSON => serde_json::from_slice(body).map_err(|error| error.to_string())?,
        KIND_UPSERT => {
            let points = unpack_points(&mut body).ok_or_else(|| "its points are malformed".to_owned())?;
            UpdateOperation::PointOperation(PointOperations::UpsertPoints(PointInsertOperations::PointsList(points)))
        }
        KIND_REFUSED => {
            let number = take_chunk(&mut body).ok_or_else(short)?;
            return Ok(Entry::Refused(u64::from_le_bytes(*number)));
        }
        kind => return Err(format!("its kind {kind} is unknown")),
    };
    Ok(Entry::Change(Box::new(operation)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use qdrant_edge::external::uuid::Uuid;
    use qdrant_edge::{Filter, PointId, PointStructPersisted, VectorPersisted, VectorStructPersisted};

    fn upsert(ids: &[u64]) -> UpdateOperation {
        let points = ids
            .iter()
            .map(|id| PointStructPersisted {
                id: PointId::NumId(*id),
                vector: VectorStructPersisted::Single(vec![0.25, -1.0]),
                payload: serde_json::from_str(r#"{"text":"größe","n":3}"#).ok(),
            })
            .collect();
        UpdateOperation::PointOperation(PointOperations::UpsertPoints(PointInsertOperations::PointsList(points)))
    }

    fn deletion() -> UpdateOperation {
        UpdateOperation::PointOperation(PointOperations::DeletePointsByFilter(Filter::new()))
    }

    fn named() -> UpdateOperation {
        let point = PointStructPersisted {
            id: PointId::Uuid(Uuid::from_u128(7)),
            vector: VectorStructPersisted::Named([("a".to_owned(), VectorPersisted::Dense(vec![1.0]))].into()),
            payload: None,
        };
        UpdateOperation::PointOperation(PointOperations::UpsertPoints(PointInsertOperations::PointsList(vec![point])))
    }

    fn sparse() -> UpdateOperation {
        let vector = VectorPersisted::new_sparse(vec![3], vec![0.5]);
        let point = PointStructPersisted {
            id: PointId::NumId(1),
            vector: VectorStructPersisted::Named([("s".to_owned(), vector)].into()),
            payload: None,
        };
        UpdateOperation::PointOperation(PointOperations::UpsertPoints(PointInsertOperations::PointsList(vec![point])))
    }

    fn record(operation: &UpdateOperation) -> Vec<u8> {
        let mut record = Vec::new();
        encode(operation, &mut record).expect("encodable");
        record
    }

    /// A file of this format with these records.
    fn file(records: &[Vec<u8>]) -> Vec<u8> {
        [MAGIC.as_slice(), &records.concat()].concat()
    }

    fn place() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal");
        (directory, path)
    }

    #[test]
    fn records_are_read_back_in_order() {
        let (_directory, path) = place();
        let all = [upsert(&[1, 2]), deletion(), named(), sparse()];
        let (mut journal, found) = Journal::open(&path).expect("a new journal");
        assert!(found.is_empty());
        for operation in &all {
            journal.append(&record(operation), 1).expect("written");
        }
        drop(journal);
        let (mut journal, found) = Journal::open(&path).expect("the same journal");
        assert_eq!(found, all);
        journal.clear().expect("cleared");
        drop(journal);
        assert!(Journal::open(&path).expect("the same journal").1.is_empty());
    }

    #[test]
    fn a_file_truncated_anywhere_keeps_its_complete_records_and_accepts_more() {
        let (_directory, path) = place();
        let whole = file(&[record(&upsert(&[1])), record(&deletion())]);
        let first = MAGIC.len() + record(&upsert(&[1])).len();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).expect("written");
            let (mut journal, found) = Journal::open(&path).expect("readable");
            let expected = if length < first { vec![] } else { vec![upsert(&[1])] };
            assert_eq!(found, expected, "cut at {length}");
            journal.append(&record(&named()), 1).expect("written");
            drop(journal);
            let expected: Vec<_> = expected.into_iter().chain([named()]).collect();
            assert_eq!(Journal::open(&path).expect("readable").1, expected, "cut at {length}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_record_is_refused() {
        let (_directory, path) = place();
        let whole = file(&[record(&upsert(&[1])), record(&deletion())]);
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1 << (place % 8);
            std::fs::write(&path, damaged).expect("written");
            let error = Journal::open(&path).expect_err("refused");
            assert!(error.to_string().contains("damaged at byte "), "{error}");
        }
    }

    #[test]
    fn a_rejected_change_is_not_replayed() {
        let (_directory, path) = place();
        let (mut journal, _) = Journal::open(&path).expect("a new journal");
        let both = [record(&upsert(&[1])), record(&deletion())].concat();
        assert_eq!(journal.append(&both, 2).expect("written"), 0);
        journal.refuse(0).expect("written");
        assert_eq!(journal.append(&record(&named()), 1).expect("written"), 3);
        drop(journal);
        assert_eq!(Journal::open(&path).expect("readable").1, [deletion(), named()]);
    }

    /// A point with a payload of `levels` levels.
    fn deep(levels: usize) -> UpdateOperation {
        let payload = (1..levels).fold(serde_json::json!({}), |inner, _| serde_json::json!({ "a": inner }));
        let mut operation = upsert(&[1]);
        if let UpdateOperation::PointOperation(PointOperations::UpsertPoints(PointInsertOperations::PointsList(
            points,
        ))) = &mut operation
        {
            points[0].payload = serde_json::from_value(payload).ok();
        }
        operation
    }

    #[test]
    fn a_change_that_cannot_be_read_back_is_not_accepted() {
        let (_directory, path) = place();
        let infinite = VectorPersisted::new_sparse(vec![3], vec![f32::INFINITY]);
        let point = PointStructPersisted {
            id: PointId::NumId(1),
            vector: VectorStructPersisted::Named([("s".to_owned(), infinite)].into()),
            payload: None,
        };
        let points = PointInsertOperations::PointsList(vec![point]);
        let infinite = UpdateOperation::PointOperation(PointOperations::UpsertPoints(points));
        let mut out = record(&deletion());
        let before = out.clone();
        for operation in [infinite, deep(126), deep(200)] {
            encode(&operation, &mut out).expect_err("refused");
            assert_eq!(out, before);
        }
        let deepest = deep(crate::depth::PAYLOAD_DEPTH);
        encode(&deepest, &mut out).expect("accepted");
        Journal::open(&path).expect("a new journal").0.append(&out, 2).expect("written");
        assert_eq!(Journal::open(&path).expect("readable").1, [deletion(), deepest]);
    }

    #[test]
    fn an_unreadable_record_is_named_with_its_place_and_the_reason() {
        let (_directory, path) = place();
        let mut unreadable = vec![0; HEAD];
        unreadable.extend_from_slice(b"\0{\"unknown\":1}");
        seal(&mut unreadable).expect("sealed");
        let first = record(&upsert(&[1]));
        std::fs::write(&path, file(&[first.clone(), unreadable])).expect("written");
        let error = Journal::open(&path).expect_err("refused").to_string();
        assert!(error.starts_with("a record is unreadable ("), "{error}");
        assert!(error.ends_with(&format!(" at byte {}", MAGIC.len() + first.len())), "{error}");
    }

    #[test]
    fn a_file_of_format_1_is_read() {
        let (_directory, path) = place();
        let old = |operation: &UpdateOperation| {
            let record = record(operation);
            [&record[..4], &record[HEAD..]].concat()
        };
        let torn = &old(&upsert(&[2]))[..9];
        std::fs::write(&path, [&old(&upsert(&[1])), &old(&deletion()), torn].concat()).expect("written");
        let (mut journal, found) = Journal::open(&path).expect("readable");
        assert_eq!(found, [upsert(&[1]), deletion()]);
        journal.clear().expect("cleared");
        journal.append(&record(&named()), 1).expect("written");
        drop(journal);
        assert_eq!(Journal::open(&path).expect("readable").1, [named()]);
    }
}
