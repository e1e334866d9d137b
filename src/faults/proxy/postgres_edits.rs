//! Statements that Postgres refuses because of a fault, in the simple and in the extended protocol.
//!
//! A message is a letter, a length and a body; the first message of a client has no letter (PostgreSQL's
//! frontend/backend protocol, version 3). A query is replaced by the execution of a prepared statement that does not
//! exist, an execution of a portal by that of one that does not exist. Encrypted bytes pass unread.

use std::collections::HashMap;

use super::frames::{Framing, Rest};
use super::mark::MARK;
use crate::faults::network::{ActiveFaults, Statement};
use crate::spec::SqlState;

/// A letter and a length.
const HEADER: usize = 5;
/// How much of a message is looked at: enough for the names of statements and the beginning of a text.
const LOOKED_AT: usize = 16 * 1024;
/// The first message of a client: its length and a code.
const STARTUP: usize = 8;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
/// The major version of the protocol, in the upper half of the code.
const VERSION: u32 = 3;

/// The messages of a client.
#[derive(Debug, Default)]
pub(super) struct StatementReader {
    phase: Phase,
    /// Prepared statements by name.
    prepared: HashMap<Vec<u8>, Statement>,
    /// Portals by name.
    portals: HashMap<Vec<u8>, Statement>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Start,
    Messages,
    /// Encrypted, or no protocol that is known.
    Opaque,
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// The length of a message with its letter; at least that of a header.
fn whole(header: &[u8]) -> usize {
    (number(&header[1..]) as usize).saturating_add(1).max(HEADER)
}

fn message(letter: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&[letter], length.to_be_bytes().as_slice(), body].concat()
}

/// The texts that end with a zero at the beginning of a body.
fn texts(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == 0)
}

impl Framing for StatementReader {
    fn needed(&self, kept: &[u8]) -> Option<usize> {
        match self.phase {
            Phase::Opaque => None,
            Phase::Start => Some(STARTUP),
            Phase::Messages if kept.len() < HEADER => Some(HEADER),
            Phase::Messages => {
                let is_read = matches!(kept[0], b'Q' | b'P' | b'B' | b'E' | b'C');
                Some(if is_read { whole(kept).min(LOOKED_AT) } else { HEADER })
            }
        }
    }

    fn decide(&mut self, kept: &[u8], faults: &ActiveFaults, out: &mut Vec<u8>) -> Rest {
        if self.phase == Phase::Start {
            out.extend_from_slice(kept);
            let (length, code) = (number(kept) as usize, number(&kept[4..]));
            self.phase = match code {
                SSL_REQUEST | GSS_REQUEST => Phase::Start,
                _ if code >> 16 == VERSION => Phase::Messages,
                _ => Phase::Opaque,
            };
            return Rest::passes(if self.phase == Phase::Messages { length.saturating_sub(kept.len()) } else { 0 });
        }
        let rest = Rest::passes(whole(kept).saturating_sub(kept.len()));
        if let Some(replacement) = self.replaced(kept[0], &kept[HEADER..], faults) {
            out.extend(replacement);
            return Rest { is_dropped: true, ..rest };
        }
        out.extend_from_slice(kept);
        rest
    }
}

impl StatementReader {
    /// What takes the place of a message, if a fault meets it.
    fn replaced(&mut self, letter: u8, body: &[u8], faults: &ActiveFaults) -> Option<Vec<u8>> {
        let mut texts = texts(body);
        let first = texts.next().unwrap_or_default();
        match letter {
            b'P' => {
                self.prepared.insert(first.to_vec(), kind(texts.next().unwrap_or_default()));
                None
            }
            b'B' => {
                let statement = self.prepared.get(texts.next().unwrap_or_default());
                let statement = statement.copied().unwrap_or(Statement::Other);
                self.portals.insert(first.to_vec(), statement);
                None
            }
            b'C' => {
                match first.split_first() {
                    Some((b'S', name)) => self.prepared.remove(name),
                    Some((b'P', name)) => self.portals.remove(name),
                    _ => None,
                };
                None
            }
            b'E' => {
                let statement = *self.portals.get(first)?;
                let state = faults.sql_error(statement)?;
                // The name of the portal, and no limit of rows.
                Some(message(b'E', format!("{MARK}{}\0\0\0\0\0", state.text()).as_bytes()))
            }
            b'Q' => {
                let state = faults.sql_error(kind(first))?;
                Some(message(b'Q', format!("EXECUTE \"{MARK}{}\"\0", state.text()).as_bytes()))
            }
            _ => None,
        }
    }
}

/// What a text of SQL does: what changes rows counts, wherever it stands.
fn kind(text: &[u8]) -> Statement {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let kinds = text.split(';').map(statement_kind);
    let reads = |kind: &Statement| matches!(kind, Statement::Read | Statement::Other);
    let all: Vec<Statement> = kinds.collect();
    let write = all.iter().find(|kind| !reads(kind));
    *write.or_else(|| all.iter().find(|kind| **kind == Statement::Read)).unwrap_or(&Statement::Other)
}

fn statement_kind(text: &str) -> Statement {
    let verb = |word: &str| match word {
        "insert" => Some(Statement::Insert),
        "update" => Some(Statement::Update),
        "delete" => Some(Statement::Delete),
        "merge" | "truncate" | "copy" => Some(Statement::OtherWrite),
        _ => None,
    };
    let lines = text.lines().map(|line| line.split_once("--").map_or(line, |(before, _)| before));
    let text: String = lines.collect::<Vec<_>>().join(" ");
    let mut words =
        text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty());
    match words.next() {
        // A part of it may change rows.
        Some("with") => words.find_map(verb).unwrap_or(Statement::Read),
        Some("select" | "table" | "values" | "fetch") => Statement::Read,
        Some(word) => verb(word).unwrap_or(Statement::Other),
        None => Statement::Other,
    }
}

/// The messages of a server.
#[derive(Debug, Default)]
pub(super) struct AnswerEditor {
    phase: Phase,
    has_ended: bool,
}

impl AnswerEditor {
    /// Whether the server has reported an error that ends the connection.
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended
    }
}

impl Framing for AnswerEditor {
    fn needed(&self, kept: &[u8]) -> Option<usize> {
        match self.phase {
            Phase::Opaque => None,
            // The answer to a client that asked for encryption is one letter.
            Phase::Start if kept.first().is_none_or(|letter| matches!(letter, b'N' | b'S' | b'G')) => Some(1),
            _ if kept.len() < HEADER => Some(HEADER),
            _ if kept[0] == b'E' => Some(whole(kept).min(LOOKED_AT)),
            _ => Some(HEADER),
        }
    }

    fn decide(&mut self, kept: &[u8], _faults: &ActiveFaults, out: &mut Vec<u8>) -> Rest {
        if self.phase == Phase::Start && kept.len() == 1 {
            if kept[0] != b'N' {
                self.phase = Phase::Opaque;
            }
            out.extend_from_slice(kept);
            return Rest::passes(0);
        }
        self.phase = Phase::Messages;
        let rest = Rest::passes(whole(kept).saturating_sub(kept.len()));
        if kept[0] == b'E'
            && let Some(state) = marked(&kept[HEADER..])
        {
            out.extend(error(state));
            self.has_ended |= state.is_fatal();
            // Nothing follows an error that ends the connection.
            return Rest { bytes: if state.is_fatal() { usize::MAX } else { rest.bytes }, is_dropped: true };
        }
        out.extend_from_slice(kept);
        rest
    }
}

/// The error that the name in an error's text stands for.
fn marked(body: &[u8]) -> Option<SqlState> {
    let at = memchr::memmem::find(body, MARK.as_bytes())? + MARK.len();
    let state = std::str::from_utf8(body.get(at..at + 5)?).ok()?;
    SqlState::try_from(state.to_owned()).ok()
}

fn error(state: SqlState) -> Vec<u8> {
    let severity = if state.is_fatal() { "FATAL" } else { "ERROR" };
    let fields = format!("S{severity}\0V{severity}\0C{}\0M{}\0\0", state.text(), state.message());
    message(b'E', fields.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rstest::rstest;

    use super::super::frames::Frames;
    use super::*;
    use crate::faults::network::testing::refusing;

    fn startup() -> Vec<u8> {
        [&[0, 0, 0, 10, 0, 3, 0, 0][..], b"u\0"].concat()
    }

    fn ssl_request() -> Vec<u8> {
        [8_u32.to_be_bytes(), SSL_REQUEST.to_be_bytes()].concat()
    }

    fn bind(portal: &str, statement: &str) -> Vec<u8> {
        message(b'B', format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes())
    }

    fn parse(name: &str, text: &str) -> Vec<u8> {
        message(b'P', format!("{name}\0{text}\0\0\0").as_bytes())
    }

    fn execute(portal: &str) -> Vec<u8> {
        message(b'E', format!("{portal}\0\0\0\0\0").as_bytes())
    }

    fn edited(framing: impl Framing, faults: &ActiveFaults, bytes: &[u8], size: usize) -> Vec<u8> {
        let mut frames = Frames::new(framing);
        let mut out: Vec<u8> = bytes.chunks(size).flat_map(|part| frames.edit(faults, part)).collect();
        out.extend(frames.finish());
        out
    }

    #[rstest]
    fn the_second_write_is_refused_and_all_else_passes(#[values(1, 3, 64, 1 << 20)] size: usize) {
        let insert = format!("insert into t values ('{}')", "x".repeat(40_000));
        let before = [
            ssl_request(),
            startup(),
            message(b'p', b"secret\0"),
            message(b'Q', b"select 1\0"),
            parse("s1", "with a as (select 1) update t set x = 1"),
            bind("", "s1"),
            message(b'D', b"P\0"),
            execute(""),
            message(b'S', b""),
        ]
        .concat();
        let after = [message(b'Q', b"commit\0"), bind("", "s1"), execute(""), message(b'X', b"")].concat();
        let sent = [before.clone(), message(b'Q', format!("{insert}\0").as_bytes()), after.clone()].concat();
        let refused = message(b'Q', b"EXECUTE \"shakedown_fault_40001\"\0");
        let faults = refusing("{ sql_error = { sqlstate = \"40001\", from = 2, times = 1 } }");
        assert!(edited(StatementReader::default(), &faults, &sent, size) == [before, refused, after].concat());
        assert_eq!(faults.active[0].effect.connections(), 1);
    }

    #[test]
    fn an_execution_is_replaced_by_one_that_the_server_refuses() {
        let sent = [startup(), parse("", "delete from t"), bind("p", ""), execute("p"), message(b'S', b"")];
        let faults = refusing("{ sql_error = { sqlstate = \"55P03\", statements = \"deletes\" } }");
        let mut wanted = sent.clone();
        wanted[3] = message(b'E', b"shakedown_fault_55P03\0\0\0\0\0");
        assert_eq!(edited(StatementReader::default(), &faults, &sent.concat(), 7), wanted.concat());
    }

    #[test]
    fn encrypted_bytes_pass() {
        let insert = message(b'Q', b"insert into t values (1)\0");
        let sent = [ssl_request(), [&[22, 3, 1, 0, 5, 1, 0, 0][..], &insert].concat()].concat();
        let faults = refusing("{ sql_error = { sqlstate = \"40001\" } }");
        assert_eq!(edited(StatementReader::default(), &faults, &sent, 5), sent);
        let answered = [b"S".to_vec(), message(b'E', b"Mportal \"shakedown_fault_40001\" does not exist\0\0")].concat();
        assert_eq!(edited(AnswerEditor::default(), &faults, &answered, 5), answered);
    }

    #[rstest]
    fn the_servers_refusal_gets_the_meant_error(#[values(1, 4, 64, 1 << 20)] size: usize) {
        let unknown = message(b'E', b"SERROR\0C34000\0Mportal \"shakedown_fault_40P01\" does not exist\0\0");
        let other = message(b'E', b"SERROR\0C23505\0Mduplicate key\0\0");
        let head = [b"N".to_vec(), message(b'R', &[0; 4]), message(b'D', &vec![b'E'; 20_000])].concat();
        let sent = [head.clone(), unknown, message(b'Z', b"E"), other.clone()].concat();
        let error = message(b'E', b"SERROR\0VERROR\0C40P01\0Mdeadlock detected\0\0");
        let faults = Arc::new(ActiveFaults::default());
        let answered = edited(AnswerEditor::default(), &faults, &sent, size);
        assert!(answered == [head, error, message(b'Z', b"E"), other].concat());
    }

    #[test]
    fn nothing_follows_an_error_that_ends_the_connection() {
        let unknown = message(b'E', b"SERROR\0Mportal \"shakedown_fault_08006\" does not exist\0\0");
        let sent = [message(b'R', &[0; 4]), unknown, message(b'Z', b"I")].concat();
        let mut frames = Frames::new(AnswerEditor::default());
        let answered = frames.edit(&ActiveFaults::default(), &sent);
        assert!(answered.ends_with(b"SFATAL\0VFATAL\0C08006\0Mconnection failure\0\0") && frames.framing().has_ended());
    }

    #[rstest]
    #[case("INSERT INTO t VALUES (1)", Statement::Insert)]
    #[case(" -- a remark\n update t set x = 1", Statement::Update)]
    #[case("(select 1)", Statement::Read)]
    #[case("with a as (insert into t values (1) returning x) select x from a", Statement::Insert)]
    #[case("with a as (select 1) select * from a", Statement::Read)]
    #[case("begin; delete from t; commit", Statement::Delete)]
    #[case("copy t from stdin", Statement::OtherWrite)]
    #[case("commit", Statement::Other)]
    #[case("set statement_timeout = 0", Statement::Other)]
    #[case("", Statement::Other)]
    fn statements_are_distinguished(#[case] text: &str, #[case] wanted: Statement) {
        assert_eq!(kind(text.as_bytes()), wanted, "{text}");
    }
}
