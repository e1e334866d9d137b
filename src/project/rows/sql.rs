//! Statements of SQL, in files and in the texts of the sources, read by a parser of SQL.

use sqlparser::ast::{
    AlterTableOperation, Assignment, AssignmentTarget, ColumnOption, Expr, ObjectName, OnConflictAction, OnInsert,
    SetExpr, Statement, TableConstraint, TableFactor, TableObject, Value as SqlValue,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::table::Column;

/// What stands where a template puts in the name of something.
pub(super) const HOLE: &str = "shakedown_hole";

/// What a statement says about a table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The name of the table, without its schema.
    pub(super) table: String,
    pub(super) columns: Vec<Column>,
    /// Texts that the statement writes, with their columns.
    pub(super) texts: Vec<(String, String)>,
    /// Whether it creates the table.
    pub(super) creates: bool,
}

/// What the statements of a text say. What cannot be parsed says nothing.
pub(super) fn statements(text: &str) -> Vec<Said> {
    let dialect = PostgreSqlDialect {};
    // One statement that the parser does not know must not hide the others.
    let parsed = Parser::parse_sql(&dialect, text).unwrap_or_else(|_| {
        text.split(';').filter_map(|one| Parser::parse_sql(&dialect, one).ok()).flatten().collect()
    });
    parsed.iter().filter_map(said).collect()
}

/// A text of SQL from a source, with parameters and holes as the parser knows them; `None` if it is no such statement.
pub(super) fn prepared(pieces: &[Option<&str>]) -> Option<String> {
    let first = pieces.iter().flatten().next()?.trim_start().to_lowercase();
    let known = ["insert into", "update ", "create table", "delete from", "alter table", "select "];
    if !known.iter().any(|start| first.starts_with(start)) {
        return None;
    }
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Some(piece) => piece.split("{}").enumerate().for_each(|(number, part)| {
                if number > 0 {
                    text.push_str(filler(&text));
                }
                text.push_str(&parameters(part));
            }),
            None => text.push_str(filler(&text)),
        }
    }
    Some(text)
}

/// What stands for a hole behind this text: a name where one must be, otherwise nothing.
fn filler(before: &str) -> &'static str {
    let last = before.trim_end().rsplit([' ', '\n', '\t']).next().unwrap_or_default().to_lowercase();
    let wants = matches!(last.as_str(), "into" | "update" | "from" | "table" | "join" | "exists" | "where");
    if wants || last.ends_with([',', '(', '=', '.', '"']) { HOLE } else { "" }
}

/// `%s` and `%(name)s`, the parameters of Python's drivers, as Postgres has them.
fn parameters(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let named = after.strip_prefix('(').and_then(|named| named.split_once(")s"));
        if let Some((_, after)) = named {
            out.push_str("$1");
            rest = after;
        } else if let Some(after) = after.strip_prefix('s') {
            out.push_str("$1");
            rest = after;
        } else {
            out.push('%');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

fn said(statement: &Statement) -> Option<Said> {
    match statement {
        Statement::CreateTable(create) => {
            let mut columns: Vec<Column> = create
                .columns
                .iter()
                .map(|column| {
                    let primary =
                        column.options.iter().any(|option| matches!(option.option, ColumnOption::PrimaryKey(_)));
                    Column { name: column.name.value.clone(), property: None, primary }
                })
                .collect();
            for constraint in &create.constraints {
                if let TableConstraint::PrimaryKey(key) = constraint
                    && let [only] = key.columns.as_slice()
                {
                    let name = only.column.expr.to_string().replace('"', "");
                    columns.iter_mut().filter(|column| column.name == name).for_each(|column| column.primary = true);
                }
            }
            Some(Said { table: last(&create.name)?, columns, creates: true, ..Said::default() })
        }
        Statement::AlterTable(alter) => {
            let added = alter.operations.iter().filter_map(|operation| match operation {
                AlterTableOperation::AddColumn { column_def, .. } => Some(Column::named(&column_def.name.value)),
                _ => None,
            });
            Some(Said { table: last(&alter.name)?, columns: added.collect(), ..Said::default() })
        }
        Statement::Insert(insert) => {
            let TableObject::TableName(name) = &insert.table else { return None };
            let columns: Vec<String> = insert.columns.iter().filter_map(last).collect();
            let mut texts = Vec::new();
            if let Some(SetExpr::Values(values)) = insert.source.as_deref().map(|query| query.body.as_ref()) {
                for row in &values.rows {
                    let written = columns.iter().zip(&row.content);
                    texts.extend(written.filter_map(|(column, value)| Some((column.clone(), text_of(value)?))));
                }
            }
            if let Some(OnInsert::OnConflict(conflict)) = &insert.on
                && let OnConflictAction::DoUpdate(update) = &conflict.action
            {
                texts.extend(
                    assigned(&update.assignments).filter_map(|(column, value)| Some((column, text_of(value)?))),
                );
            }
            let columns = columns.iter().map(|name| Column::named(name)).collect();
            Some(Said { table: last(name)?, columns, texts, creates: false })
        }
        Statement::Update(update) => {
            let TableFactor::Table { name, .. } = &update.table.relation else { return None };
            let columns = assigned(&update.assignments).map(|(column, _)| Column::named(&column)).collect();
            let texts = assigned(&update.assignments).filter_map(|(column, value)| Some((column, text_of(value)?)));
            Some(Said { table: last(name)?, columns, texts: texts.collect(), creates: false })
        }
        _ => None,
    }
}

fn assigned(assignments: &[Assignment]) -> impl Iterator<Item = (String, &Expr)> {
    assignments.iter().filter_map(|assignment| match &assignment.target {
        AssignmentTarget::ColumnName(name) => Some((last(name)?, &assignment.value)),
        AssignmentTarget::Tuple(_) => None,
    })
}

/// The last part of a name.
fn last(name: &ObjectName) -> Option<String> {
    Some(name.0.last()?.as_ident()?.value.clone())
}

fn text_of(value: &Expr) -> Option<String> {
    match value {
        Expr::Value(value) => match &value.value {
            SqlValue::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        Expr::Cast { expr, .. } => text_of(expr),
        _ => None,
    }
}
