//! A binary form of dense upserts: they are most of what is written, and JSON is slow for numbers.

use qdrant_edge::external::uuid::Uuid;
use qdrant_edge::{Payload, PointId, PointStructPersisted, VectorPersisted, VectorStructPersisted};

use crate::depth::is_payload_too_deep;

/// Appends `points` to `out`; `None` if a point has other than dense vectors, or a payload that is nested too deeply to be
/// read back.
pub(super) fn pack_points(points: &[PointStructPersisted], out: &mut Vec<u8>) -> Option<()> {
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
            Some(payload) if is_payload_too_deep(payload) => return None,
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

/// Reads the points at the beginning of `bytes` and advances it; `None` if there are none.
pub(super) fn unpack_points(bytes: &mut &[u8]) -> Option<Vec<PointStructPersisted>> {
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

/// Takes the first `N` bytes.
pub(super) fn take_chunk<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (chunk, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(chunk)
}

fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    take_chunk::<1>(bytes).map(|[byte]| *byte)
}

/// Takes the length at the beginning.
pub(super) fn take_length(bytes: &mut &[u8]) -> Option<usize> {
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
