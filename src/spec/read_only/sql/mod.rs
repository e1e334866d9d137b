//! Which SQL only reads. The statement is parsed, and its tokens are checked as well: the parser may know less than
//! Postgres of where a function can stand.

mod functions;
mod quotes;

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Ident, ObjectName, Query, SetExpr, Statement, TableFactor, Visit as _, Visitor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use self::functions::{effect, takes_row};
use super::refusal::NotReadOnly;

/// The kind of a statement that only reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlKind {
    /// SELECT, VALUES or WITH: it can be a subquery.
    Query,
    /// EXPLAIN or SHOW.
    Other,
}

/// Deepest nesting of a statement.
const MAX_DEPTH: usize = 100;
/// Longest statement, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Most words and symbols of a statement. A chain such as `1 + 1 + 1` is a deep tree, which the parser does not limit.
const MAX_TOKENS: usize = 10_000;

/// Refuses SQL that is not one statement which only reads.
///
/// Permitted are SELECT, VALUES, WITH, EXPLAIN of these, and SHOW, without functions that act outside of the
/// transaction: on files, other servers, other sessions, or the session itself.
///
/// # Errors
/// The text has several statements, a statement that writes, or cannot be parsed.
pub fn check_sql(text: &str) -> Result<SqlKind, NotReadOnly> {
    if text.len() > MAX_BYTES {
        return Err(NotReadOnly::new(format!("the SQL is longer than {MAX_BYTES} bytes")));
    }
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location().map_err(unreadable)?;
    check_tokens(text, &tokens)?;
    check_statement(tokens)
}

/// Parses tokens as one statement and refuses it unless all its parts only read.
fn check_statement(tokens: Vec<TokenWithSpan>) -> Result<SqlKind, NotReadOnly> {
    let statements = Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(MAX_DEPTH)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(unreadable)?;
    let [statement] = statements.as_slice() else {
        return Err(NotReadOnly::new(format!("the SQL has {} statements instead of one", statements.len())));
    };
    match statement.visit(&mut Inspector) {
        ControlFlow::Break(reason) => Err(reason),
        ControlFlow::Continue(()) if matches!(statement, Statement::Query(_)) => Ok(SqlKind::Query),
        ControlFlow::Continue(()) => Ok(SqlKind::Other),
    }
}

fn unreadable(error: impl std::fmt::Display) -> NotReadOnly {
    NotReadOnly::new(format!("the SQL cannot be parsed as one statement: {error}"))
}

/// Refuses what the tokens alone show: quotes that Postgres may read otherwise, and functions wherever they stand.
fn check_tokens(text: &str, tokens: &[TokenWithSpan]) -> Result<(), NotReadOnly> {
    let tokens_only: Vec<&Token> = tokens.iter().map(|token| &token.token).collect();
    if tokens_only.windows(3).any(is_unicode_escape) {
        return Err(NotReadOnly::new("identifiers with Unicode escapes (U&\"…\") are not supported"));
    }
    if !quotes::is_read_alike(text, tokens) {
        return Err(NotReadOnly::new(
            "the SQL can be read in two ways: write a space before each comment, each E'…' on one line, and no $1",
        ));
    }
    let is_space = |token: &Token| matches!(token, Token::Whitespace(_));
    let tokens: Vec<&Token> = tokens_only.into_iter().filter(|token| !is_space(token)).collect();
    if tokens.len() > MAX_TOKENS {
        return Err(NotReadOnly::new(format!("the SQL has more than {MAX_TOKENS} words and symbols")));
    }
    for (index, token) in tokens.iter().enumerate() {
        let Token::Word(word) = token else { continue };
        let name = folded(&word.value, word.quote_style);
        let (is_qualified, schema) = match tokens[..index] {
            [.., Token::Word(schema), Token::Period] => (true, Some(folded(&schema.value, schema.quote_style))),
            [.., Token::Period] => (true, None),
            _ => (false, None),
        };
        // Postgres takes `row.name` for `name(row)` if there is no such column.
        if tokens.get(index + 1) == Some(&&Token::LParen) || is_qualified && takes_row(&name) {
            check_function(schema.as_deref(), &name)?;
        }
    }
    Ok(())
}

/// Whether three tokens are `U&"…"`, which the parser reads as a name, an operator and another name.
fn is_unicode_escape(tokens: &[&Token]) -> bool {
    let [Token::Word(prefix), Token::Ampersand, Token::Word(name)] = tokens else { return false };
    prefix.value.eq_ignore_ascii_case("u") && name.quote_style.is_some()
}

/// A name as Postgres compares it.
fn folded(name: &str, quote: Option<char>) -> String {
    if quote.is_some() { name.to_owned() } else { name.to_lowercase() }
}

fn check_function(schema: Option<&str>, function: &str) -> Result<(), NotReadOnly> {
    match effect(schema, function) {
        Some(effect) => Err(NotReadOnly::new(format!("the function {function} {effect}"))),
        None => Ok(()),
    }
}

/// Visits every part of a statement and stops at the first that may write.
struct Inspector;

impl Visitor for Inspector {
    type Break = NotReadOnly;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<NotReadOnly> {
        match statement {
            Statement::Query(_) | Statement::ShowVariable { .. } => ControlFlow::Continue(()),
            Statement::Explain { statement, .. } if matches!(**statement, Statement::Query(_)) => {
                ControlFlow::Continue(())
            }
            other => {
                let text = other.to_string();
                let verb = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
                ControlFlow::Break(NotReadOnly::new(format!("{verb} is not a statement that only reads")))
            }
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<NotReadOnly> {
        if !query.locks.is_empty() {
            return ControlFlow::Break(NotReadOnly::new("SELECT … FOR UPDATE or FOR SHARE locks rows"));
        }
        into_table(&query.body)
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<NotReadOnly> {
        match table {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => check_call(name),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<NotReadOnly> {
        match expression {
            Expr::Function(function) => check_call(&function.name),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Refuses SELECT … INTO, which creates a table.
fn into_table(body: &SetExpr) -> ControlFlow<NotReadOnly> {
    match body {
        SetExpr::Select(select) if select.into.is_some() => {
            ControlFlow::Break(NotReadOnly::new("SELECT … INTO creates a table"))
        }
        SetExpr::SetOperation { left, right, .. } => {
            into_table(left)?;
            into_table(right)
        }
        _ => ControlFlow::Continue(()),
    }
}

fn check_call(name: &ObjectName) -> ControlFlow<NotReadOnly> {
    let folded = |ident: &Ident| folded(&ident.value, ident.quote_style);
    let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident()).map(folded).collect();
    let Some((function, schemas)) = parts.split_last() else { return ControlFlow::Continue(()) };
    match check_function(schemas.last().map(String::as_str), function) {
        Err(reason) => ControlFlow::Break(reason),
        Ok(()) => ControlFlow::Continue(()),
    }
}

#[cfg(test)]
mod grammar;
#[cfg(test)]
mod tests;
