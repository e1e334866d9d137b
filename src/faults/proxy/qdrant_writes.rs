//! Whether clients wait for changes of points, read from the bytes that pass to and from Qdrant (FAILURES
//! qdrant.wait-false).
//!
//! Over REST the request shows it (`wait=true`), because the answer may be compressed. Over gRPC the answer shows it
//! (`Completed` or only `Acknowledged`): each message of a `DATA` frame is decoded as the answer to a change. Encrypted
//! bytes count as nothing.

use prost::Message as _;
use qdrant_client::qdrant::{PointsOperationResponse, UpdateStatus};

use crate::faults::Direction;

/// Changes of points.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Writes {
    /// Changes that were answered once they were applied.
    pub awaited: u64,
    /// Changes that were answered when they were received.
    pub not_awaited: u64,
}

impl Writes {
    /// All changes.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.awaited + self.not_awaited
    }

    /// The sum of both.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self { awaited: self.awaited + more.awaited, not_awaited: self.not_awaited + more.not_awaited }
    }
}

/// The longest piece that is kept until the rest of it arrives: answers to changes and request lines are a few dozen
/// bytes.
const MAX_KEPT: usize = 1024;
/// Length of a frame's header in HTTP/2: length, type, flags, stream.
const FRAME_HEADER: usize = 9;
/// Length of a message's header in gRPC: compressed or not, length.
const MESSAGE_HEADER: usize = 5;
/// The type of a frame that carries data.
const DATA: u8 = 0;
/// The type of the frame that every HTTP/2 server begins with.
const SETTINGS: u8 = 4;

/// One direction of one connection.
#[derive(Debug)]
pub(super) enum WriteParser {
    /// Not enough has passed to know the protocol.
    Unknown(Direction, Vec<u8>),
    /// Requests over HTTP/1.
    Requests(Vec<u8>),
    /// Frames of HTTP/2 from the server: the beginning of a frame that is incomplete, and how many bytes to skip.
    Frames(Vec<u8>, usize),
    /// Nothing that is counted.
    Ignored,
}

impl WriteParser {
    pub(super) const fn new(way: Direction) -> Self {
        Self::Unknown(way, Vec::new())
    }

    /// Reads the next bytes. Returns the changes that they complete.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Writes {
        let mut writes = Writes::default();
        if let Self::Unknown(way, first) = self {
            first.extend_from_slice(bytes);
            if first.len() < 4 {
                return writes;
            }
            let first = std::mem::take(first);
            *self = match *way {
                Direction::Up if first.starts_with(b"PRI ") => Self::Ignored,
                Direction::Up => Self::Requests(Vec::new()),
                _ if first[3] == SETTINGS => Self::Frames(Vec::new(), 0),
                _ => Self::Ignored,
            };
            return self.read(&first);
        }
        match self {
            Self::Requests(kept) => read_requests(kept, bytes, &mut writes),
            Self::Frames(kept, skip) => read_frames(kept, skip, bytes, &mut writes),
            Self::Unknown(..) | Self::Ignored => {}
        }
        writes
    }
}

/// Looks for request lines. A string in JSON has no line break, so none is mistaken for a request line.
fn read_requests(kept: &mut Vec<u8>, bytes: &[u8], writes: &mut Writes) {
    const PATH: &[u8] = b" /collections/";
    const VERSION: &[u8] = b" HTTP/1.1\r\n";
    kept.extend_from_slice(bytes);
    let mut done = kept.len().saturating_sub(PATH.len() + 4);
    for at in memchr::memmem::find_iter(kept, PATH) {
        let rest = &kept[at + PATH.len()..];
        let near = &rest[..rest.len().min(MAX_KEPT)];
        let Some(end) = memchr::memmem::find(near, VERSION) else {
            if near.len() < MAX_KEPT {
                // The rest of the line arrives later.
                done = done.min(at.saturating_sub(4));
                break;
            }
            continue;
        };
        let method = &kept[..at];
        let Ok(target) = std::str::from_utf8(&near[..end]) else { continue };
        let changes = method.ends_with(b"PUT") || method.ends_with(b"POST");
        match is_awaited(target).filter(|_| changes) {
            Some(true) => writes.awaited += 1,
            Some(false) => writes.not_awaited += 1,
            None => {}
        }
        done = done.max(at + PATH.len() + end);
    }
    kept.drain(..done);
}

/// Whether a request asks to wait; `None` for one that does not change points. `target` is what follows
/// `/collections/`.
fn is_awaited(target: &str) -> Option<bool> {
    const CHANGES: [&str; 8] = [
        "points",
        "points/delete",
        "points/payload",
        "points/payload/delete",
        "points/payload/clear",
        "points/vectors",
        "points/vectors/delete",
        "points/batch",
    ];
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (_, path) = path.split_once('/')?;
    CHANGES.contains(&path.trim_end_matches('/')).then(|| query.split('&').any(|part| part == "wait=true"))
}

fn read_frames(kept: &mut Vec<u8>, skip: &mut usize, bytes: &[u8], writes: &mut Writes) {
    let skipped = (*skip).min(bytes.len());
    *skip -= skipped;
    kept.extend_from_slice(&bytes[skipped..]);
    let mut at = 0;
    while let Some(header) = kept.get(at..at + FRAME_HEADER) {
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let (kind, whole) = (header[3], FRAME_HEADER + length);
        if kind != DATA || length > MAX_KEPT {
            let there = kept.len() - at;
            *skip = whole.saturating_sub(there);
            at += whole.min(there);
            continue;
        }
        let Some(frame) = kept.get(at + FRAME_HEADER..at + whole) else { break };
        match update_status(frame) {
            Some(UpdateStatus::Acknowledged) => writes.not_awaited += 1,
            Some(UpdateStatus::Completed) => writes.awaited += 1,
            _ => {}
        }
        at += whole;
    }
    kept.drain(..at);
}

/// The status of a change, if the frame is the answer to one.
fn update_status(frame: &[u8]) -> Option<UpdateStatus> {
    let (header, message) = frame.split_at_checked(MESSAGE_HEADER)?;
    if header[0] != 0 || message.is_empty() {
        return None;
    }
    let answer = PointsOperationResponse::decode(message).ok()?;
    UpdateStatus::try_from(answer.result?.status).ok()
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use qdrant_client::qdrant::{CountResponse, CountResult, UpdateResult};
    use rstest::rstest;

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    fn message(message: &impl Message) -> Vec<u8> {
        let body = message.encode_to_vec();
        [&[0][..], &u32::try_from(body.len()).unwrap_or(0).to_be_bytes(), &body].concat()
    }

    fn update(status: UpdateStatus) -> Vec<u8> {
        let result = UpdateResult { operation_id: Some(7), status: status.into() };
        message(&PointsOperationResponse { result: Some(result), time: 0.01, usage: None })
    }

    fn whole(way: Direction, bytes: &[u8], piece: usize) -> Writes {
        let mut parser = WriteParser::new(way);
        bytes.chunks(piece).map(|piece| parser.read(piece)).fold(Writes::default(), Writes::and)
    }

    #[rstest]
    fn requests_are_distinguished_wherever_they_are_split(#[values(1, 3, 17, 64, 4096)] piece: usize) {
        let text = concat!(
            "PUT /collections/a/points?wait=true HTTP/1.1\r\nhost: x\r\n\r\n",
            r#"{"text":"PUT /collections/a/points HTTP/1.1\r\n"}"#,
            "POST /collections/a/points/delete?ordering=weak HTTP/1.1\r\n\r\n{}",
            "PUT /collections/a/points HTTP/1.1\r\n\r\n{}",
            "POST /collections/a/points/query HTTP/1.1\r\n\r\n{}",
            "GET /collections/a/points HTTP/1.1\r\n\r\n",
            "POST /collections/a/points/payload?timeout=3&wait=true HTTP/1.1\r\n\r\n{}",
        );
        assert_eq!(whole(Direction::Up, text.as_bytes(), piece), Writes { awaited: 2, not_awaited: 2 });
    }

    #[rstest]
    fn grpc_answers_are_distinguished_wherever_they_are_split(#[values(1, 9, 31, 4096)] piece: usize) {
        let count = CountResponse { result: Some(CountResult { count: 1 }), time: 0.1, usage: None };
        let bytes = [
            frame(SETTINGS, &[0; 12]),
            frame(1, b"headers"),
            frame(DATA, &update(UpdateStatus::Completed)),
            frame(DATA, &[1; 5000]),
            frame(DATA, &message(&count)),
            frame(DATA, &update(UpdateStatus::Acknowledged)),
            frame(DATA, &update(UpdateStatus::Completed)),
        ]
        .concat();
        assert_eq!(whole(Direction::Down, &bytes, piece), Writes { awaited: 2, not_awaited: 1 });
    }
}
