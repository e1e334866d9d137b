//! Which SQL only reads. The statement is parsed; nothing is decided by its text.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, ObjectName, Query, SetExpr, Statement, TableFactor, Visit as _, Visitor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::NotReadOnly;

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

/// Refuses SQL that is not one statement which only reads.
///
/// Permitted are SELECT, VALUES, WITH, EXPLAIN of these, and SHOW, without functions that act outside of the
/// transaction: on files, other servers, other sessions, or the session itself.
///
/// # Errors
/// The text has several statements, a statement that writes, or cannot be parsed.
pub fn check_sql(text: &str) -> Result<SqlKind, NotReadOnly> {
    if text.len() > MAX_BYTES {
        return Err(refused(format!("the SQL is longer than {MAX_BYTES} bytes")));
    }
    let dialect = PostgreSqlDialect {};
    let unreadable = |error: String| refused(format!("the SQL cannot be parsed as one statement: {error}"));
    let tokens = Tokenizer::new(&dialect, text).tokenize().map_err(|error| unreadable(error.to_string()))?;
    check_identifiers(&tokens)?;
    let statements = Parser::new(&dialect)
        .with_recursion_limit(MAX_DEPTH)
        .with_tokens(tokens)
        .parse_statements()
        .map_err(|error| unreadable(error.to_string()))?;
    let [statement] = statements.as_slice() else {
        return Err(refused(format!("the SQL has {} statements instead of one", statements.len())));
    };
    match statement.visit(&mut Inspector) {
        ControlFlow::Break(reason) => Err(reason),
        ControlFlow::Continue(()) if matches!(statement, Statement::Query(_)) => Ok(SqlKind::Query),
        ControlFlow::Continue(()) => Ok(SqlKind::Other),
    }
}

fn refused(reason: impl Into<String>) -> NotReadOnly {
    NotReadOnly(reason.into())
}

/// Refuses identifiers with Unicode escapes (`U&"…"`): the parser reads them as a name, an operator and another name.
fn check_identifiers(tokens: &[Token]) -> Result<(), NotReadOnly> {
    let is_escape = |window: &[Token]| {
        let [Token::Word(prefix), Token::Ampersand, Token::Word(name)] = window else { return false };
        prefix.value.eq_ignore_ascii_case("u") && name.quote_style.is_some()
    };
    if tokens.windows(3).any(is_escape) {
        return Err(refused("identifiers with Unicode escapes (U&\"…\") are not supported"));
    }
    Ok(())
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
                ControlFlow::Break(refused(format!("{verb} is not a statement that only reads")))
            }
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<NotReadOnly> {
        if !query.locks.is_empty() {
            return ControlFlow::Break(refused("SELECT … FOR UPDATE or FOR SHARE locks rows"));
        }
        into_table(&query.body)
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<NotReadOnly> {
        match table {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => check_function(name),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<NotReadOnly> {
        match expression {
            Expr::Function(function) => check_function(&function.name),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Refuses SELECT … INTO, which creates a table.
fn into_table(body: &SetExpr) -> ControlFlow<NotReadOnly> {
    match body {
        SetExpr::Select(select) if select.into.is_some() => {
            ControlFlow::Break(refused("SELECT … INTO creates a table"))
        }
        SetExpr::SetOperation { left, right, .. } => {
            into_table(left)?;
            into_table(right)
        }
        _ => ControlFlow::Continue(()),
    }
}

fn check_function(name: &ObjectName) -> ControlFlow<NotReadOnly> {
    let parts: Vec<String> = name
        .0
        .iter()
        .filter_map(|part| part.as_ident())
        .map(|part| if part.quote_style.is_some() { part.value.clone() } else { part.value.to_lowercase() })
        .collect();
    let Some((function, schemas)) = parts.split_last() else { return ControlFlow::Continue(()) };
    let in_schema = schemas.last().and_then(|schema| SCHEMAS.iter().find(|(known, _)| known == schema));
    let effect = in_schema.or_else(|| FUNCTIONS.iter().find(|(pattern, _)| matches_pattern(function, pattern)));
    match effect {
        Some((_, effect)) if !EXCEPTIONS.contains(&function.as_str()) => {
            ControlFlow::Break(refused(format!("the function {function} {effect}")))
        }
        _ => ControlFlow::Continue(()),
    }
}

/// Whether a name matches a pattern, in which `*` at an end stands for any text.
fn matches_pattern(name: &str, pattern: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(part), Some(_)) => name.contains(part.trim_end_matches('*')),
        (Some(end), None) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == pattern,
    }
}

/// Functions with an effect that a read-only transaction does not prevent or undo, by pattern, with the effect.
///
/// From the chapter *Functions and Operators* of Postgres' documentation, and from those of its supplied modules.
const FUNCTIONS: &[(&str, &str)] = &[
    ("lo_*", "reads or writes large objects and files"),
    ("loread", "reads large objects"),
    ("lowrite", "writes large objects"),
    ("pg_read_*", "reads files of the server"),
    ("pg_stat_file", "reads files of the server"),
    ("pg_ls_*", "reads directories of the server"),
    ("pg_file_*", "writes files of the server"),
    ("pg_logdir_ls", "reads directories of the server"),
    ("dblink*", "opens a connection to another server"),
    ("postgres_fdw_*", "changes connections to other servers"),
    ("http", "sends a request to another server"),
    ("http_*", "sends a request to another server"),
    ("pg_advisory_*", "takes or releases a lock of the session"),
    ("pg_try_advisory_*", "takes a lock of the session"),
    ("pg_terminate_backend", "ends another session"),
    ("pg_cancel_backend", "cancels the query of another session"),
    ("pg_reload_conf", "changes the server"),
    ("pg_rotate_logfile*", "changes the server"),
    ("pg_log_*", "writes to the server's log"),
    ("pg_logical_*", "writes to the write-ahead log"),
    ("pg_replication_*", "changes replication"),
    ("pg_create_*", "changes the server"),
    ("pg_drop_*", "changes the server"),
    ("pg_copy_*", "changes replication"),
    ("pg_sync_*", "changes replication"),
    ("pg_switch_*", "changes the server"),
    ("pg_promote", "changes the server"),
    ("pg_wal_replay_pause", "changes the server"),
    ("pg_wal_replay_resume", "changes the server"),
    ("pg_backup_*", "changes the server"),
    ("pg_start_backup", "changes the server"),
    ("pg_stop_backup", "changes the server"),
    ("pg_export_snapshot", "writes a file of the server"),
    ("pg_import_*", "writes to the catalogue"),
    ("pg_notify", "sends a notification"),
    ("pg_prewarm", "changes the server's caches"),
    ("pg_buffercache_evict*", "changes the server's caches"),
    ("pg_stat_reset*", "resets statistics"),
    ("pg_stat_statements_reset", "resets statistics"),
    ("pg_stat_clear_*", "resets statistics"),
    ("pg_stat_force_*", "changes statistics"),
    ("pg_restore_*", "changes statistics"),
    ("pg_clear_*", "changes statistics"),
    ("brin_*", "changes an index"),
    ("gin_clean_pending_list", "changes an index"),
    ("nextval", "changes a sequence"),
    ("setval", "changes a sequence"),
    ("set_config", "changes the session"),
    ("setseed", "changes the session"),
    ("query_to_xml*", "runs SQL that is given as a text"),
    ("cursor_to_xml*", "runs SQL that is given as a text"),
    ("ts_stat", "runs SQL that is given as a text"),
    ("ts_rewrite", "runs SQL that is given as a text"),
    ("crosstab*", "runs SQL that is given as a text"),
    ("connectby", "runs SQL that is given as a text"),
    ("xpath_table", "runs SQL that is given as a text"),
];

/// Functions that match a pattern of [`FUNCTIONS`] and only read.
const EXCEPTIONS: &[&str] = &["pg_replication_origin_progress", "pg_replication_origin_session_progress"];

/// Schemas of extensions whose functions act on other servers or on jobs.
const SCHEMAS: &[(&str, &str)] = &[
    ("net", "sends a request to another server (pg_net)"),
    ("cron", "changes scheduled jobs (pg_cron)"),
    ("pgmq", "changes a queue (pgmq)"),
    ("dblink", "opens a connection to another server"),
];

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("select 1")]
    #[case("select 1;")]
    #[case("-- a comment\nselect ';' as a, $$;$$ as b /* ; */")]
    #[case("with a as (select 1) select * from a")]
    #[case("values (1), (2)")]
    #[case("select count(*) from generate_series(1, 10) as t(n) where n > 3 group by n having count(*) > 1")]
    #[case("select embedding <=> '[1,2]'::vector as distance from documents order by 1 limit 3")]
    #[case("select to_regclass('public.a') is not null, current_setting('server_version_num')::int")]
    fn a_query_is_permitted(#[case] text: &str) {
        assert_eq!(check_sql(text).unwrap(), SqlKind::Query);
    }

    #[rstest]
    #[case("explain select 1")]
    #[case("explain (analyze, buffers) select 1")]
    #[case("show server_version")]
    fn another_reading_statement_is_permitted(#[case] text: &str) {
        assert_eq!(check_sql(text).unwrap(), SqlKind::Other);
    }

    #[rstest]
    #[case("", "0 statements")]
    #[case("select 1; delete from a", "2 statements")]
    #[case("select 1) as answer; commit; create table a (b int); select (1", "cannot be parsed")]
    #[case("delete from a", "DELETE is not")]
    #[case("explain analyze delete from a", "EXPLAIN is not")]
    #[case("with a as (delete from b returning *) select * from a", "DELETE is not")]
    #[case("with a as (insert into b values (1) returning *) select * from a", "INSERT is not")]
    #[case("select 1 into a", "INTO")]
    #[case("select * from a for update", "locks rows")]
    #[case("copy a to program 'id'", "COPY is not")]
    #[case("do $$ begin delete from a; end $$", "")]
    #[case("set transaction read write", "SET is not")]
    #[case("commit and chain", "COMMIT is not")]
    #[case("select pg_read_file('/etc/passwd')", "reads files")]
    #[case("select PG_CATALOG.\"pg_read_file\"('/etc/passwd')", "reads files")]
    #[case("select * from pg_ls_dir('.')", "reads directories")]
    #[case("select * from dblink('host=x', 'select 1') as t(a int)", "another server")]
    #[case("select lo_export(1, '/tmp/a')", "files")]
    #[case("select 1 where exists (select pg_advisory_lock(1))", "lock of the session")]
    #[case("select set_config('transaction_read_only', 'off', false)", "changes the session")]
    #[case("select query_to_xml('delete from a', true, true, '')", "given as a text")]
    #[case("select U&\"pg\\005fread_file\"('/etc/passwd')", "Unicode escapes")]
    #[case("select net.http_get('http://a')", "another server")]
    #[case("select 1 from lateral (select pg_notify('a', 'b')) as x", "notification")]
    fn another_statement_is_refused(#[case] text: &str, #[case] reason: &str) {
        let error = check_sql(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn deep_nesting_is_refused_without_an_overflow() {
        let text = format!("select {}1{}", "(".repeat(50_000), ")".repeat(50_000));
        check_sql(&text).unwrap_err();
        let text = format!("select {}1", "- ".repeat(100_000));
        check_sql(&text).unwrap_err();
    }
}
