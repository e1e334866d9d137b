//! Messages of a Postgres server, read as they pass to the client: the `SQLSTATE` of each error, and whether the server
//! waits for the next statement within a transaction.
//!
//! A message is a letter, a length and a body. The body of an error is a list of fields, each a letter and a text that
//! ends with a zero; `Z` reports that the server is ready, and whether within a transaction (PostgreSQL's
//! frontend/backend protocol, version 3). Encrypted bytes are not read.

use std::collections::BTreeMap;

/// How many errors there were, by `SQLSTATE`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct SqlErrors(BTreeMap<String, u64>);

impl SqlErrors {
    pub(super) fn count(&self, state: &str) -> u64 {
        self.0.get(state).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, state: String) {
        *self.0.entry(state).or_default() += 1;
    }
}

/// What the server reported.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Reported {
    /// The `SQLSTATE` of each error.
    pub(super) errors: Vec<String>,
    /// Whether a transaction is open now, if the server has reported that it is ready.
    pub(super) in_transaction: Option<bool>,
}

/// A letter and a length.
const HEADER: usize = 5;
/// The longest error that is kept until the rest of it arrives.
const MAX_KEPT: usize = 16 * 1024;

/// The messages of one connection's server.
#[derive(Debug, Default)]
pub(super) enum ServerMessages {
    /// Nothing was sent yet. The first byte may answer a client that asked for encryption.
    #[default]
    Start,
    /// The beginning of a message that is incomplete, and how many bytes to skip.
    Plain(Vec<u8>, usize),
    /// Encrypted from here on.
    Encrypted,
}

impl ServerMessages {
    /// Reads the next bytes. Returns what they complete.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Reported {
        let mut reported = Reported::default();
        if matches!(self, Self::Start) {
            let Some(first) = bytes.first() else { return reported };
            *self = if matches!(first, b'S' | b'G') { Self::Encrypted } else { Self::Plain(Vec::new(), 0) };
            if *first == b'N' {
                // No encryption: the first message follows.
                bytes = &bytes[1..];
            }
        }
        let Self::Plain(kept, skip) = self else { return reported };
        let skipped = bytes.len().min(*skip);
        *skip -= skipped;
        kept.extend_from_slice(&bytes[skipped..]);
        let mut at = 0;
        while let Some(header) = kept.get(at..at + HEADER) {
            let (letter, length) = (header[0], u32::from_be_bytes([header[1], header[2], header[3], header[4]]));
            // The length includes itself, not the letter.
            let whole = (length as usize).saturating_add(1).max(HEADER);
            let here = kept.len() - at;
            if here < whole && matches!(letter, b'E' | b'Z') && whole <= MAX_KEPT {
                break;
            }
            match (letter, kept.get(at + HEADER..at + whole)) {
                (b'E', Some(body)) => reported.errors.extend(sqlstate(body)),
                (b'Z', Some(body)) => reported.in_transaction = Some(body != b"I"),
                _ => {}
            }
            *skip = whole.saturating_sub(here);
            at += whole.min(here);
        }
        kept.drain(..at);
        reported
    }
}

/// The field `C` of an error.
fn sqlstate(body: &[u8]) -> Option<String> {
    let field = body.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C"))?;
    String::from_utf8(field.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(letter: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[letter], length.to_be_bytes().as_slice(), body].concat()
    }

    fn conversation() -> Vec<u8> {
        let refused = b"SERROR\0VERROR\0C25006\0Mcannot execute UPDATE in a read-only transaction\0\0";
        [
            b"N".to_vec(),
            message(b'R', &[0, 0, 0, 0]),
            message(b'D', &vec![b'E'; 40_000]),
            message(b'E', refused),
            message(b'Z', b"T"),
            message(b'D', b"a row"),
            message(b'Z', b"I"),
            message(b'E', b"SFATAL\0C53300\0Msorry, too many clients already\0\0"),
        ]
        .concat()
    }

    #[test]
    fn errors_are_found_however_the_bytes_are_split() {
        let conversation = conversation();
        for size in [1, 2, 3, 5, 7, 64, 4096, conversation.len()] {
            let mut messages = ServerMessages::default();
            let reports: Vec<Reported> = conversation.chunks(size).map(|part| messages.read(part)).collect();
            let states: Vec<&String> = reports.iter().flat_map(|report| &report.errors).collect();
            assert_eq!(states, ["25006", "53300"], "in pieces of {size}");
            // Of two states in one piece the later one counts.
            let open: Vec<bool> = reports.iter().filter_map(|report| report.in_transaction).collect();
            assert!(open == [true, false] || (size > 5 && open == [false]), "{open:?} in pieces of {size}");
        }
    }

    #[test]
    fn encrypted_bytes_are_not_read() {
        let mut messages = ServerMessages::default();
        assert_eq!(messages.read(b"S"), Reported::default());
        assert_eq!(messages.read(&conversation()[1..]), Reported::default());
        assert!(matches!(messages, ServerMessages::Encrypted));
    }
}
