//! Tables and columns: models of ORMs, migrations, statements of SQL, calls of supabase-js; and the texts that the
//! worker writes as the status of a row.

mod prisma;
mod sql;
mod table;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use table::{Column, Table};

use super::place::Place;
use super::sources::{At, Sources};
use super::syntax::{Kind, Role};
use super::value::Value;

/// The rows that the project writes.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Tables as often as they are named.
    pub tables: Vec<Table>,
    /// Texts that are written as a status, with the name of the column or property.
    pub statuses: Vec<(String, String, Place)>,
    /// A statement in the sources that creates a table.
    pub created: Vec<(String, Place)>,
}

/// Names of a column with the status of a document.
pub const STATUS: &[&str] =
    &["status", "state", "ingestion_status", "ingestionStatus", "processing_status", "processingStatus"];

impl Sources {
    /// The tables of all sources, and the texts that are written as a status.
    pub(super) fn rows(&self) -> Rows {
        let mut rows = Rows::default();
        rows.tables.extend(self.drizzle());
        rows.tables.extend(self.sqlalchemy());
        rows.tables.extend(self.alembic());
        rows.tables.extend(self.supabase());
        self.sql_files(&mut rows);
        self.sql_texts(&mut rows);
        self.statuses(&mut rows);
        rows
    }

    fn drizzle(&self) -> Vec<Table> {
        let table = |call: At<'_>| {
            let arguments = call.arguments();
            let name = arguments.first()?.value();
            let columns = arguments.get(1)?.entries().into_iter().map(|(property, value)| {
                let calls: Vec<At<'_>> = value.descendants().filter(|at| at.is(Kind::Call)).collect();
                let primary = calls.iter().any(|at| at.callee() == Some("primaryKey"));
                // The innermost call has the name, if it differs from the property.
                let first =
                    calls.iter().rfind(|at| at.role(Role::Function).is_some_and(|function| function.is(Kind::Name)));
                let named = first.and_then(|at| at.arguments().first()?.literal());
                Column { name: named.unwrap_or_else(|| property.clone()), property: Some(property), primary }
            });
            Some(Table { name, columns: columns.collect(), place: call.place(), defined: true })
        };
        self.calls_of(&["pgTable"]).into_iter().filter_map(table).collect()
    }

    fn sqlalchemy(&self) -> Vec<Table> {
        let classes = self.of_kinds(&[Kind::Class]).into_iter();
        let table = |class: At<'_>| {
            let own = |at: &At<'_>| at.is(Kind::Bind) && at.class() == Some(class) && at.functions().next().is_none();
            let binds: Vec<At<'_>> = class.descendants().filter(own).collect();
            let named = binds.iter().find(|at| at.role(Role::Target).is_some_and(|at| at.text() == "__tablename__"))?;
            let columns = binds.iter().filter_map(|bind| {
                let property = bind.role(Role::Target)?.text().to_owned();
                let call = bind
                    .role(Role::Value)
                    .map(At::bare)
                    .filter(|value| matches!(value.callee(), Some("mapped_column" | "Column" | "Field")));
                let mapped = bind.role(Role::Type).is_some_and(|declared| declared.text().starts_with("Mapped"));
                if call.is_none() && !mapped {
                    return None;
                }
                let name = call.and_then(|call| call.arguments().first()?.literal());
                let primary = call.and_then(|call| call.option(&["primary_key"])).is_some_and(|at| at.text() == "True");
                Some(Column { name: name.unwrap_or_else(|| property.clone()), property: Some(property), primary })
            });
            Some(Table {
                name: named.role(Role::Value)?.value(),
                columns: columns.collect(),
                place: named.place(),
                defined: true,
            })
        };
        classes.filter_map(table).collect()
    }

    fn alembic(&self) -> Vec<Table> {
        let table = |call: At<'_>| {
            let arguments = call.arguments();
            let columns = arguments.iter().filter(|at| at.callee() == Some("Column")).filter_map(|column| {
                let primary = column.option(&["primary_key"]).is_some_and(|at| at.text() == "True");
                Some(Column { name: column.arguments().first()?.literal()?, property: None, primary })
            });
            let columns = columns.collect();
            Some(Table { name: arguments.first()?.value(), columns, place: call.place(), defined: true })
        };
        self.calls_of(&["create_table"]).into_iter().filter_map(table).collect()
    }

    /// `.from("documents").upsert({…})` of supabase-js, `.table("documents")` of supabase-py.
    fn supabase(&self) -> Vec<Table> {
        let table = |call: At<'_>| {
            let root = At { id: 0, ..call };
            let name = call.arguments().first()?.value()?;
            // The chain of calls that follows.
            let chain: Vec<At<'_>> = call
                .ancestors()
                .take_while(|at| matches!(at.kind(), Kind::Member | Kind::Call))
                .filter(|at| at.is(Kind::Call))
                .collect();
            let writes = chain.iter().any(|at| matches!(at.callee(), Some("insert" | "upsert" | "update" | "delete")));
            if !writes || !root.text().contains("supabase") {
                return None;
            }
            let columns = chain.iter().flat_map(|at| at.arguments().into_iter().flat_map(At::entries));
            let mut columns: Vec<Column> = columns.map(|(name, _)| Column::named(&name)).collect();
            // What a row is found by.
            let equal = chain.iter().filter(|at| matches!(at.callee(), Some("eq" | "match")));
            columns.extend(equal.filter_map(|at| at.arguments().first()?.literal()).map(|name| Column::named(&name)));
            Some(Table { name: Some(name), columns, place: call.place(), defined: false })
        };
        self.calls_of(&["from", "from_", "table"]).into_iter().filter_map(table).collect()
    }

    fn sql_files(&self, rows: &mut Rows) {
        for path in self.files.keys() {
            let is = |ending: &str| path.extension().is_some_and(|extension| extension == ending);
            if !is("sql") && !is("prisma") {
                continue;
            }
            let Some(text) = self.text_of(path) else { continue };
            if is("prisma") {
                rows.tables.extend(prisma::models(path, &text));
                continue;
            }
            for said in sql::statements(&text) {
                let place = line_of(path, &text, &said.table);
                let name = Some(Value::Text(said.table));
                rows.tables.push(Table { name, columns: said.columns, place, defined: said.creates });
            }
        }
    }

    fn sql_texts(&self, rows: &mut Rows) {
        for at in self.of_kinds(&[Kind::Text]) {
            // A concatenated text is read as a whole.
            if at.parent().is_some_and(|parent| parent.is(Kind::Text)) {
                continue;
            }
            let pieces = at.pieces();
            let texts: Vec<Option<&str>> = pieces.iter().map(|piece| piece.as_deref().ok()).collect();
            let Some(text) = sql::prepared(&texts) else { continue };
            let hole = pieces.iter().find_map(|piece| piece.as_ref().err()).and_then(|at| at.value());
            for said in sql::statements(&text) {
                let name = if said.table == sql::HOLE { hole.clone() } else { Some(Value::Text(said.table.clone())) };
                if said.creates {
                    rows.created.push((said.table, at.place()));
                }
                for (column, text) in said.texts {
                    if STATUS.contains(&column.as_str()) {
                        rows.statuses.push((column, text, at.place()));
                    }
                }
                rows.tables.push(Table { name, columns: said.columns, place: at.place(), defined: said.creates });
            }
        }
    }

    /// Texts that are passed or assigned as a status.
    fn statuses(&self, rows: &mut Rows) {
        let text = |at: At<'_>| at.value().and_then(|value| Some(value.text()?.to_owned()));
        for at in self.of_kinds(&[Kind::Pair, Kind::Bind, Kind::Call]) {
            match at.kind() {
                Kind::Pair => {
                    let key = at.role(Role::Key).and_then(At::key).filter(|key| STATUS.contains(&key.as_str()));
                    let Some((key, value)) = key.zip(at.role(Role::Value)) else { continue };
                    // `ok ? "ready" : "failed"` has two.
                    let both = [Role::Then, Role::Else].map(|role| value.bare().role(role));
                    let values = std::iter::once(Some(value)).chain(both).flatten();
                    rows.statuses.extend(values.filter_map(|value| Some((key.clone(), text(value)?, at.place()))));
                }
                Kind::Bind => {
                    let target = at.role(Role::Target).filter(|target| target.is(Kind::Member));
                    let name = target.and_then(|target| target.path().last().copied());
                    let Some(name) = name.filter(|name| STATUS.contains(name)) else { continue };
                    rows.statuses
                        .extend(at.role(Role::Value).and_then(text).map(|text| (name.to_owned(), text, at.place())));
                }
                Kind::Call => {
                    let arguments = at.arguments();
                    if !arguments.iter().any(|argument| argument.literal().is_some()) {
                        continue;
                    }
                    let Some(function) = at.called().filter(|function| function.is(Kind::Function)) else { continue };
                    for (parameter, argument) in function.parameters().into_iter().zip(arguments) {
                        let name = parameter.parameter_name().text();
                        if STATUS.contains(&name)
                            && let Some(text) = text(argument)
                        {
                            rows.statuses.push((name.to_owned(), text, at.place()));
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// The line of a file that names the table.
fn line_of(path: &Path, text: &str, table: &str) -> Place {
    let line = text.lines().position(|line| line.contains(table)).map_or(1, |line| line + 1);
    Place::new(path, line)
}
