//! Tables and columns.

use super::super::place::Place;
use super::super::value::Value;

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name in the database.
    pub name: String,
    /// Its name in the source, if that is another one.
    pub property: Option<String>,
    /// Whether it is the primary key.
    pub primary: bool,
}

impl Column {
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), property: None, primary: false }
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name; `None` if the source does not say.
    pub name: Option<Value>,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Where.
    pub place: Place,
    /// Whether this is its definition: a model, a migration or CREATE TABLE.
    pub defined: bool,
}
