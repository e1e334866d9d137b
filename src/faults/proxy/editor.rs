//! Edits the bytes of one direction of a connection: single requests are refused, and the others pass unchanged.
//!
//! A request that a fault meets is replaced by one that the service refuses because a name is unknown; the name says with
//! which error the answer is replaced. The service answers it in its turn, so that pipelines and transactions stay right,
//! and nothing needs to be known of the requests before it.

use super::frames::Frames;
use super::postgres_edits::{AnswerEditor, StatementReader};
use super::redis_edits::{CommandReader, ReplyEditor};
use crate::faults::Direction;
use crate::faults::network::ActiveFaults;

/// The protocol of a service whose requests can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Postgres,
    Redis,
}

/// The editor of one direction.
#[derive(Debug)]
pub(super) enum Editor {
    Statements(Frames<StatementReader>),
    Answers(Frames<AnswerEditor>),
    Commands(Frames<CommandReader>),
    Replies(ReplyEditor),
}

impl Editor {
    pub(super) fn new(protocol: Protocol, way: Direction) -> Self {
        match (protocol, way) {
            (Protocol::Postgres, Direction::Up) => Self::Statements(Frames::new(StatementReader::default())),
            (Protocol::Postgres, _) => Self::Answers(Frames::new(AnswerEditor::default())),
            (Protocol::Redis, Direction::Up) => Self::Commands(Frames::new(CommandReader::default())),
            (Protocol::Redis, _) => Self::Replies(ReplyEditor::default()),
        }
    }

    /// What takes the place of `bytes`. The beginning of a message may be held back until the rest of it arrives.
    pub(super) fn edit(&mut self, faults: &ActiveFaults, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Statements(frames) => frames.edit(faults, bytes),
            Self::Answers(frames) => frames.edit(faults, bytes),
            Self::Commands(frames) => frames.edit(faults, bytes),
            Self::Replies(replies) => replies.edit(bytes),
        }
    }

    /// Whether the sender closes the connection after what was edited.
    pub(super) const fn has_ended(&self) -> bool {
        match self {
            Self::Answers(frames) => frames.framing().has_ended(),
            _ => false,
        }
    }

    /// What was held back, once the sender has closed.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        match self {
            Self::Statements(frames) => frames.finish(),
            Self::Answers(frames) => frames.finish(),
            Self::Commands(frames) => frames.finish(),
            Self::Replies(replies) => replies.finish(),
        }
    }
}
