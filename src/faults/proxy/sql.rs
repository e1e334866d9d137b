//! What a Postgres refuses, and whether it was left with a transaction open, read from what passes by on its way to the
//! client: the `SQLSTATE` of each error, and the state in which it waits for the next question.
//!
//! Its messages are a letter, a length and a body; an error's body is a list of fields, each a letter and a text that
//! ends with a zero; `Z` says that it is ready, and whether within a transaction (PostgreSQL's frontend/backend protocol,
//! version 3). What is encrypted is not understood.

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

/// What was said.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    /// The `SQLSTATE` of each error.
    pub(super) errors: Vec<String>,
    /// Whether a transaction is open now, where the server has said that it is ready.
    pub(super) in_transaction: Option<bool>,
}

/// A letter and a length.
const HEADER: usize = 5;
/// The longest error that is kept until its rest comes.
const KEPT: usize = 16 * 1024;

/// What one connection's server says.
#[derive(Debug, Default)]
pub(super) enum Messages {
    /// Nothing was said yet. The first word may answer a client that asked for encryption.
    #[default]
    Silent,
    /// What has not been read to its end, and how many bytes to leave out.
    Open(Vec<u8>, usize),
    /// Encrypted from here on.
    Closed,
}

impl Messages {
    /// Reads what passes; gives what is known with it.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Heard {
        let mut heard = Heard::default();
        if matches!(self, Self::Silent) {
            let Some(first) = bytes.first() else { return heard };
            *self = if matches!(first, b'S' | b'G') { Self::Closed } else { Self::Open(Vec::new(), 0) };
            if *first == b'N' {
                // No encryption: whatever comes next is the first message.
                bytes = &bytes[1..];
            }
        }
        let Self::Open(held, leave) = self else { return heard };
        let left_out = bytes.len().min(*leave);
        *leave -= left_out;
        held.extend_from_slice(&bytes[left_out..]);
        let mut at = 0;
        while let Some(header) = held.get(at..at + HEADER) {
            let (letter, length) = (header[0], u32::from_be_bytes([header[1], header[2], header[3], header[4]]));
            // The length counts itself, not the letter.
            let whole = (length as usize).saturating_add(1).max(HEADER);
            let here = held.len() - at;
            if here < whole && matches!(letter, b'E' | b'Z') && whole <= KEPT {
                break;
            }
            match (letter, held.get(at + HEADER..at + whole)) {
                (b'E', Some(body)) => heard.errors.extend(state(body)),
                (b'Z', Some(body)) => heard.in_transaction = Some(body != b"I"),
                _ => {}
            }
            *leave = whole.saturating_sub(here);
            at += whole.min(here);
        }
        held.drain(..at);
        heard
    }
}

/// The field `C` of an error.
fn state(body: &[u8]) -> Option<String> {
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

    fn talk() -> Vec<u8> {
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
    fn errors_are_found_however_the_bytes_are_cut() {
        let talk = talk();
        for size in [1, 2, 3, 5, 7, 64, 4096, talk.len()] {
            let mut messages = Messages::default();
            let heard: Vec<Heard> = talk.chunks(size).map(|part| messages.read(part)).collect();
            let states: Vec<&String> = heard.iter().flat_map(|heard| &heard.errors).collect();
            assert_eq!(states, ["25006", "53300"], "in pieces of {size}");
            // Of two in one piece the later one holds.
            let open: Vec<bool> = heard.iter().filter_map(|heard| heard.in_transaction).collect();
            assert!(open == [true, false] || (size > 5 && open == [false]), "{open:?} in pieces of {size}");
        }
    }

    #[test]
    fn what_is_encrypted_is_not_understood() {
        let mut messages = Messages::default();
        assert_eq!(messages.read(b"S"), Heard::default());
        assert_eq!(messages.read(&talk()[1..]), Heard::default());
        assert!(matches!(messages, Messages::Closed));
    }
}
