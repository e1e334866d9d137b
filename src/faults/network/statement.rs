//! Kinds of statements of SQL.

use crate::spec::Statements;

/// What a statement does, as far as faults distinguish statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::faults) enum Statement {
    Insert,
    Update,
    Delete,
    /// It changes rows in another way.
    OtherWrite,
    Read,
    /// It begins or ends a transaction, or concerns the session.
    Other,
}

impl Statement {
    pub(super) const fn is_among(self, statements: Statements) -> bool {
        match statements {
            Statements::Writes => !matches!(self, Self::Read | Self::Other),
            Statements::Inserts => matches!(self, Self::Insert),
            Statements::Updates => matches!(self, Self::Update),
            Statements::Deletes => matches!(self, Self::Delete),
            Statements::Reads => matches!(self, Self::Read),
        }
    }
}
