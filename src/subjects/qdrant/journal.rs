//! The journal: every change is written here before it is applied, so that a killed process loses none.
//!
//! The engine keeps a log of its own but does not read it back when it opens a collection, so what was
//! not flushed would be gone. One `write` to this file survives the death of the process (not of the
//! machine) and costs far less than a flush. Once the engine has flushed, the journal starts over.
//!
//! A record is its length (`u32`, little endian), a kind, and the change: dense upserts in a packed form,
//! everything else as the engine's own JSON.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use qdrant_edge::external::uuid::Uuid;
use qdrant_edge::{
    Payload, PointId, PointInsertOperations, PointOperations, PointStructPersisted, UpdateOperation, VectorPersisted,
    VectorStructPersisted,
};

const KIND_JSON: u8 = 0;
const KIND_UPSERT: u8 = 1;

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// Bytes of whole records in the file.
    length: u64,
}

impl Journal {
    /// Opens or makes the journal at `path` and returns it with the changes that it holds, in order.
    ///
    /// A record that was cut short by the death of the process was never acknowledged, and is dropped.
    ///
    /// # Errors
    /// The file cannot be opened or read, or holds something that is no journal.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<UpdateOperation>)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut operations = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((record, after)) = split_record(rest) {
            operations.push(decode(record).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{} holds an unreadable record", path.display()))
            })?);
            rest = after;
        }
        let length = (bytes.len() - rest.len()) as u64;
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok((Self { file, length }, operations))
    }

    /// Writes `records` (made with [`encode`]) in one go.
    ///
    /// # Errors
    /// The disk is full or broken; the journal is then as it was before.
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(records) {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
            return Err(error);
        }
        self.length += records.len() as u64;
        Ok(())
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
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.length = 0;
        Ok(())
    }
}

fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Appends the record of `operation` to `out`.
///
/// # Errors
/// The change is larger than 4 GiB or cannot be written as JSON; `out` is then as it was.
pub(super) fn encode(operation: &UpdateOperation, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let packed = match operation {
        UpdateOperation::PointOperation(PointOperations::UpsertPoints(PointInsertOperations::PointsList(points))) => {
            out.push(KIND_UPSERT);
            pack_points(points, out)
        }
        _ => None,
    };
    let result = if packed.is_none() {
        out.truncate(start + 4);
        out.push(KIND_JSON);
        serde_json::to_writer(&mut *out, operation).map_err(io::Error::from)
    } else {
        Ok(())
    };
    let length = u32::try_from(out.len() - start - 4).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge));
    match (result, length) {
        (Ok(()), Ok(length)) => {
            out[start..start + 4].copy_from_slice(&length.to_le_bytes());
            Ok(())
        }
        (Err(error), _) | (_, Err(error)) => {
            out.truncate(start);
            Err(error)
        }
    }
}

fn decode(record: &[u8]) -> Option<UpdateOperation> {
    let (kind, mut body) = record.split_first()?;
    match *kind {
        KIND_JSON => serde_json::from_slice(body).ok(),
        KIND_UPSERT => {
            let points = unpack_points(&mut body)?;
            Some(UpdateOperation::PointOperation(PointOperations::UpsertPoints(PointInsertOperations::PointsList(
                points,
            ))))
        }
        _ => None,
    }
}

/// `None` when a point has more than dense vectors.
fn pack_points(points: &[PointStructPersisted], out: &mut Vec<u8>) -> Option<()> {
    put_length(points.len(), out)?;
    for point in points {
        match point.id {
            PointId::NumId(id) => {
                out.push(0);
                out.extend_from_slice(&id.to_le_bytes());
            }
            PointId::Uuid(id) => {
                out.push(1);
                out.extend_from_slice(id.as_bytes());
            }
        }
        match &point.vector {
            VectorStructPersisted::Single(vector) => {
                out.push(0);
                put_floats(vector, out)?;
            }
            VectorStructPersisted::Named(vectors) => {
                out.push(1);
                put_length(vectors.len(), out)?;
                for (name, vector) in vectors {
                    let VectorPersisted::Dense(vector) = vector else { return None };
                    put_bytes(name.as_bytes(), out)?;
                    put_floats(vector, out)?;
                }
            }
            VectorStructPersisted::MultiDense(_) => return None,
        }
        match &point.payload {
            None => out.push(0),
            Some(payload) => {
                out.push(1);
                let start = out.len();
                out.extend_from_slice(&[0; 4]);
                serde_json::to_writer(&mut *out, payload).ok()?;
                let length = u32::try_from(out.len() - start - 4).ok()?;
                out[start..start + 4].copy_from_slice(&length.to_le_bytes());
            }
        }
    }
    Some(())
}

fn unpack_points(bytes: &mut &[u8]) -> Option<Vec<PointStructPersisted>> {
    let count = take_length(bytes)?;
    (0..count)
        .map(|_| {
            let id = match take_byte(bytes)? {
                0 => PointId::NumId(u64::from_le_bytes(*take_chunk(bytes)?)),
                1 => PointId::Uuid(Uuid::from_bytes(*take_chunk(bytes)?)),
                _ => return None,
            };
            let vector = match take_byte(bytes)? {
                0 => VectorStructPersisted::Single(take_floats(bytes)?),
                1 => {
                    let count = take_length(bytes)?;
                    let vectors = (0..count).map(|_| {
                        let name = String::from_utf8(take_bytes(bytes)?.to_vec()).ok()?;
                        Some((name, VectorPersisted::Dense(take_floats(bytes)?)))
                    });
                    VectorStructPersisted::Named(vectors.collect::<Option<_>>()?)
                }
                _ => return None,
            };
            let payload = match take_byte(bytes)? {
                0 => None,
                _ => Some(serde_json::from_slice::<Payload>(take_bytes(bytes)?).ok()?),
            };
            Some(PointStructPersisted { id, vector, payload })
        })
        .collect()
}

fn put_length(length: usize, out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
    Some(())
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    put_length(bytes.len(), out)?;
    out.extend_from_slice(bytes);
    Some(())
}

fn put_floats(values: &[f32], out: &mut Vec<u8>) -> Option<()> {
    put_length(values.len(), out)?;
    out.reserve(values.len() * 4);
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
    Some(())
}

fn take_chunk<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (chunk, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(chunk)
}

fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    take_chunk::<1>(bytes).map(|[byte]| *byte)
}

fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(*take_chunk(bytes)?) as usize)
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_length(bytes)?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn take_floats(bytes: &mut &[u8]) -> Option<Vec<f32>> {
    let length = take_length(bytes)?;
    let (taken, rest) = bytes.split_at_checked(length.checked_mul(4)?)?;
    *bytes = rest;
    Some(taken.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use qdrant_edge::Filter;

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

    #[test]
    fn what_was_written_is_read_back_in_order() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal");
        let all = [upsert(&[1, 2]), deletion(), named(), sparse()];
        let (mut journal, found) = Journal::open(&path).expect("a new journal");
        assert!(found.is_empty());
        for operation in &all {
            let mut record = Vec::new();
            encode(operation, &mut record).expect("encodable");
            journal.append(&record).expect("written");
        }
        drop(journal);
        let (mut journal, found) = Journal::open(&path).expect("the same journal");
        assert_eq!(found, all);
        journal.clear().expect("cleared");
        drop(journal);
        assert!(Journal::open(&path).expect("the same journal").1.is_empty());
    }

    #[test]
    fn a_record_that_was_cut_short_is_dropped_and_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal");
        let mut record = Vec::new();
        encode(&upsert(&[1]), &mut record).expect("encodable");
        let mut torn = record.clone();
        torn.extend_from_slice(&record[..record.len() - 3]);
        std::fs::write(&path, torn).expect("written");
        let (mut journal, found) = Journal::open(&path).expect("readable");
        assert_eq!(found, [upsert(&[1])]);
        journal.append(&record).expect("written");
        drop(journal);
        assert_eq!(Journal::open(&path).expect("readable").1, [upsert(&[1]), upsert(&[1])]);
    }
}
