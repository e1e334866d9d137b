use std::collections::BTreeMap;

use proptest::prelude::*;
use rstest::rstest;

use super::grammar::Grammar;
use super::*;

/// Functions of every kind of effect.
const EFFECTS: &[&str] = &[
    "pg_read_file",
    "pg_ls_dir",
    "lo_export",
    "dblink",
    "http",
    "http_post",
    "net.http_get",
    "cron.schedule",
    "pgmq.read",
    "pg_advisory_lock",
    "pg_terminate_backend",
    "pg_notify",
    "pg_logical_emit_message",
    "nextval",
    "set_config",
    "query_to_xml",
    "heap_force_kill",
];

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
#[case("select * from a for no key update", "cannot be parsed")]
#[case("select ('GET', 'http://a', null, null, null)::http_request . \"http\"", "another server")]
#[case("select 'a' ||-- '\n'b', pg_read_file('c') -- '", "two ways")]
#[case("select $1", "two ways")]
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

/// Statements that write where Postgres accepts them as a part of another.
const WRITES: &[&str] = &[
    "insert into a values (1) returning *",
    "insert into a select * from b on conflict do nothing returning 1",
    "update a set b = 1 returning *",
    "delete from a using b where a.id = b.id returning a.*",
    "merge into a using b on a.id = b.id when matched then delete returning a.*",
    "with c as (select 1) delete from a returning *",
    "select * from a for update",
    "select * from a for update of a skip locked",
    "(select * from a for share nowait) union all select 1",
    "select 1 into a",
    "select 1 into temporary a from b",
    "select pg_advisory_lock(1)",
];

/// Parses without the check of tokens.
fn check_parsed(text: &str) -> Result<SqlKind, NotReadOnly> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location().map_err(unreadable)?;
    check_statement(tokens)
}

/// Forms in which the parser does not know that an expression can stand, so that it refuses every use.
#[rstest]
#[case("select concat(variadic CALL)")]
#[case("select xmlelement(name a, CALL)")]
#[case("select xmlserialize(content CALL as text)")]
#[case("select json_value('{}', '$.a' returning int default CALL on empty)")]
#[case("select json_query('{}', '$.a' passing CALL as b)")]
#[case("select substring(CALL similar 'a' escape 'b')")]
#[case("select CALL is document")]
#[case("select 1 between symmetric CALL and 2")]
#[case("select (CALL).*")]
#[case("select collation for (CALL)")]
#[case("select 1 from t fetch first (CALL) rows only")]
#[case("with recursive a as (select 1) search depth first by b set c select CALL")]
#[case("select sum(1) over (order by 1 range between CALL preceding and 1 following exclude ties)")]
#[case("select 1 from t tablesample bernoulli (10) repeatable (CALL)")]
#[case("select 1 from rows from (unnest(array[1]), CALL) as r")]
#[case("select 1 from CALL as (a int)")]
fn a_form_that_the_parser_does_not_know_is_refused(#[case] form: &str) {
    let error = check_sql(&form.replace("CALL", "pg_notify('a', 'b')")).unwrap_err().to_string();
    assert!(error.contains("notification"), "{error}");
    let error = check_sql(&form.replace("CALL", "random()")).unwrap_err().to_string();
    assert!(error.contains("cannot be parsed"), "{error}");
}

/// Long statements without nesting: the parser's limit of depth does not see them.
#[rstest]
#[case("select 1", " union all select 1")]
#[case("select 1", "+1")]
#[case("select 1", "::int")]
#[case("select a", "[1]")]
#[case("select a", ".a")]
#[case("select true", " and true")]
#[case("select * from a", " cross join a")]
#[case("select a", " is null")]
#[case("select a", " collate b")]
#[case("select a", "||f(1)")]
#[case("select 1 in (1", ",1")]
fn a_long_statement_does_not_overflow_the_stack(#[case] start: &str, #[case] part: &str) {
    let text = start.to_owned() + &part.repeat((MAX_BYTES - 20) / part.len());
    check_sql(&text).unwrap_err();
    let longest = start.to_owned() + &part.repeat(MAX_TOKENS / 6);
    assert_eq!(check_sql(&longest).is_ok(), !start.contains('('), "{part}");
    let text = start.to_owned() + &part.repeat(100) + if start.ends_with("(1") { ")" } else { "" };
    check_sql(&text).unwrap();
}

#[test]
fn the_table_of_functions_agrees_with_the_classification() {
    let text = include_str!("../../../../fixtures/postgres-functions.toml");
    let groups: BTreeMap<String, BTreeMap<String, Vec<String>>> = toml::from_str(text).unwrap();
    for (group, lists) in &groups {
        assert!(lists.len() == 2 && lists.values().all(|names| names.len() > 20), "{group}");
        for (list, names) in lists {
            for name in names {
                let is_refused = check_sql(&format!("select {name}()")).is_err();
                assert_eq!(is_refused, list == "refused", "{group}: {name}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 8, failure_persistence: None, max_global_rejects: u32::MAX, ..ProptestConfig::default() })]

    #[test]
    fn a_function_with_an_effect_is_refused_wherever_it_stands(seed: u64, place: usize) {
        let mut grammar = Grammar::new(seed);
        let statement = grammar.statement();
        let text = statement.with(None, "");
        prop_assert_eq!(check_sql(&text).err(), None, "{}", text);
        let function = *grammar.one_of(EFFECTS);
        let text = statement.with(Some(place % statement.places()), &grammar.call(function));
        let name = function.rsplit('.').next().unwrap();
        // The tokens and the parsed statement are checked independently.
        for result in [check_sql(&text), check_parsed(&text)] {
            let error = result.expect_err(&text).to_string();
            prop_assert!(error.contains(&format!("the function {name} ")), "{}: {}", text, error);
        }
    }

    #[test]
    fn a_statement_that_writes_is_refused_wherever_it_stands(seed: u64, place: usize) {
        let mut grammar = Grammar::new(seed);
        let statement = grammar.statement();
        prop_assume!(statement.queries() > 0);
        let write = *grammar.one_of(WRITES);
        let text = statement.with_query(place % statement.queries(), write);
        let error = check_sql(&text).expect_err(&text).to_string();
        prop_assert!(!error.contains("parsed") && !error.contains("two ways"), "{}: {}", text, error);
    }
}
