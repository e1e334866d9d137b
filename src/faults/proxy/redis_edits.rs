//! Commands that Redis refuses because of a fault.
//!
//! A command is an array of texts: `*2\r\n$3\r\nGET\r\n$1\r\na\r\n`, or a line (RESP, the protocol of Redis). One that
//! a fault meets is replaced by a command that does not exist. Encrypted bytes pass unread.

use super::frames::{Framing, Rest};
use super::mark::MARK;
use crate::faults::network::ActiveFaults;
use crate::spec::RedisError;

/// The longest line that is looked at.
const MAX_LINE: usize = 1024;
const END: &[u8] = b"\r\n";
/// What Redis answers to a command that it does not know begins with.
const UNKNOWN: &[u8] = b"-ERR unknown command ";

/// The commands of a client.
#[derive(Debug, Default)]
pub(super) struct CommandReader {
    /// How many texts of the command are to come, and whether they are dropped.
    texts: usize,
    is_dropped: bool,
    /// Encrypted, or no protocol that is known.
    is_opaque: bool,
}

/// A line that ends with `\r\n`, and what follows it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memmem::find(bytes, END)?;
    Some((&bytes[..at], &bytes[at + END.len()..]))
}

/// The number in a line such as `*3` or `$12`.
fn length(line: &[u8], letter: u8) -> Option<usize> {
    let (first, number) = line.split_first()?;
    if *first != letter {
        return None;
    }
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// The number of texts of a command that begins with `kept`, and its name; what is missing of them otherwise.
fn name(kept: &[u8]) -> Result<(usize, &[u8]), Missing> {
    let Some((first, rest)) = line(kept) else { return Err(Missing::Line) };
    let count = length(first, b'*').filter(|count| *count > 0).ok_or(Missing::Command)?;
    let Some((first, rest)) = line(rest) else { return Err(Missing::Line) };
    let length = length(first, b'$').filter(|length| *length < MAX_LINE).ok_or(Missing::Command)?;
    match rest.get(..length + END.len()) {
        Some(name) => Ok((count, &name[..length])),
        None => Err(Missing::Bytes(length + END.len() - rest.len())),
    }
}

enum Missing {
    /// The end of a line.
    Line,
    Bytes(usize),
    /// It is no array of texts.
    Command,
}

impl Framing for CommandReader {
    fn needed(&self, kept: &[u8]) -> Option<usize> {
        if self.is_opaque {
            return None;
        }
        let one_more = if kept.len() < MAX_LINE { kept.len() + 1 } else { kept.len() };
        if self.texts > 0 || kept.first().is_some_and(|letter| *letter != b'*') {
            // The length of the next text, or a command that is a line.
            return Some(if line(kept).is_some() { kept.len() } else { one_more });
        }
        match name(kept) {
            Ok(_) | Err(Missing::Command) => Some(kept.len()),
            Err(Missing::Line) => Some(one_more),
            Err(Missing::Bytes(bytes)) => Some(kept.len() + bytes),
        }
    }

    fn decide(&mut self, kept: &[u8], faults: &ActiveFaults, out: &mut Vec<u8>) -> Rest {
        if self.texts > 0 {
            if !self.is_dropped {
                out.extend_from_slice(kept);
            }
            self.texts -= 1;
            return match line(kept).and_then(|(first, _)| length(first, b'$')) {
                Some(length) => Rest { bytes: length + END.len(), is_dropped: self.is_dropped },
                None => self.give_up(),
            };
        }
        if let Ok((count, name)) = name(kept) {
            let error = faults.redis_error(name);
            (self.texts, self.is_dropped) = (count - 1, error.is_some());
            match error {
                Some(error) => {
                    let name = format!("{MARK}{error}");
                    out.extend(format!("*1\r\n${}\r\n{name}\r\n", name.len()).into_bytes());
                }
                None => out.extend_from_slice(kept),
            }
            return Rest::passes(0);
        }
        out.extend_from_slice(kept);
        // A command that is a line passes.
        if line(kept).is_some() && kept[0].is_ascii_alphabetic() { Rest::passes(0) } else { self.give_up() }
    }
}

impl CommandReader {
    const fn give_up(&mut self) -> Rest {
        self.is_opaque = true;
        Rest::passes(0)
    }
}

/// The replies of a server: those to commands that a fault has met get its error.
#[derive(Debug, Default)]
pub(super) struct ReplyEditor {
    /// What may be the beginning of such a reply.
    kept: Vec<u8>,
}

impl ReplyEditor {
    pub(super) fn edit(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.kept.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(self.kept.len());
        let mut done = 0;
        while let Some(found) = memchr::memmem::find(&self.kept[done..], UNKNOWN) {
            let at = done + found;
            out.extend_from_slice(&self.kept[done..at]);
            done = at;
            match line(&self.kept[at..]) {
                Some((first, _)) => {
                    match marked(first) {
                        Some(error) => out.extend(format!("-{error} {}", error.message()).into_bytes()),
                        None => out.extend_from_slice(first),
                    }
                    out.extend_from_slice(END);
                    done += first.len() + END.len();
                }
                None if self.kept.len() - at < MAX_LINE => {
                    self.kept.drain(..done);
                    return out;
                }
                None => {
                    out.extend_from_slice(UNKNOWN);
                    done += UNKNOWN.len();
                }
            }
        }
        let rest = &self.kept[done..];
        let begins = |length: &usize| UNKNOWN.starts_with(&rest[rest.len() - length..]);
        let held = (0..UNKNOWN.len().min(rest.len() + 1)).rev().find(begins).unwrap_or(0);
        out.extend_from_slice(&rest[..rest.len() - held]);
        let held = self.kept.len() - held;
        self.kept.drain(..held);
        out
    }

    pub(super) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.kept)
    }
}

/// The error that the name in a reply stands for.
fn marked(reply: &[u8]) -> Option<RedisError> {
    let name = &reply[memchr::memmem::find(reply, MARK.as_bytes())? + MARK.len()..];
    RedisError::ALL.into_iter().find(|error| name.starts_with(error.word().as_bytes()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::frames::Frames;
    use super::*;
    use crate::faults::network::testing::refusing;

    fn command(texts: &[&str]) -> Vec<u8> {
        let texts = texts.iter().map(|text| format!("${}\r\n{text}\r\n", text.len()));
        format!("*{}\r\n{}", texts.len(), texts.collect::<String>()).into_bytes()
    }

    fn edited(faults: &ActiveFaults, bytes: &[u8], size: usize) -> Vec<u8> {
        let mut frames = Frames::new(CommandReader::default());
        let mut out: Vec<u8> = bytes.chunks(size).flat_map(|part| frames.edit(faults, part)).collect();
        out.extend(frames.finish());
        out
    }

    #[rstest]
    fn a_script_in_a_pipeline_is_refused(#[values(1, 2, 7, 4096)] size: usize) {
        let long = "x\r\n$3\r\n".repeat(600);
        let script = command(&["evalsha", "abc", "1", "key", &long]);
        let head = [command(&["MULTI"]), command(&["HSET", "key", "field", &long]), b"PING\r\n".to_vec()].concat();
        let tail = [command(&["EXEC"]), command(&["EVALSHA", "abc", "0"])].concat();
        let faults = refusing("{ redis_error = { error = \"READONLY\", commands = \"scripts\", times = 1 } }");
        let refused = command(&["shakedown_fault_READONLY"]);
        let sent = [head.clone(), script, tail.clone()].concat();
        assert!(edited(&faults, &sent, size) == [head, refused, tail].concat());
        assert_eq!(faults.active[0].effect.connections(), 1);
    }

    #[test]
    fn what_is_no_command_passes() {
        let faults = refusing("{ redis_error = { error = \"OOM\", commands = \"all\" } }");
        for sent in [&[22, 3, 1, 0, 5, b'\r', b'\n'][..], b"*x\r\n$3\r\nSET\r\n", b"*1\r\n$3\r\nSE"] {
            assert_eq!(edited(&faults, sent, 3), sent);
        }
    }

    #[rstest]
    fn the_refusal_of_redis_gets_the_meant_error(#[values(1, 5, 30, 4096)] size: usize) {
        let mut replies = ReplyEditor::default();
        let sent = "+OK\r\n-ERR unknown command 'shakedown_fault_BUSY', with args beginning with: \r\n$5\r\n-ERR \r\n\
                    -ERR unknown command 'FOO', with args beginning with: \r\n:1\r\n";
        let mut answered: Vec<u8> = sent.as_bytes().chunks(size).flat_map(|part| replies.edit(part)).collect();
        answered.extend(replies.finish());
        let wanted = sent.replace(
            "ERR unknown command 'shakedown_fault_BUSY', with args beginning with: ",
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        );
        assert_eq!(String::from_utf8(answered).unwrap(), wanted);
    }
}
