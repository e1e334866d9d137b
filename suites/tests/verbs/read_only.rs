//! What runs without leave to write writes nothing: SQL in hundreds of spellings, Redis commands, HTTP requests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use secrecy::ExposeSecret;
use shakedown::operations::database;
use shakedown::services::ServiceError;
use shakedown::services::postgres::Postgres;
use shakedown::services::postgres_session::SessionError;
use shakedown::services::redis::Redis;
use shakedown::settings::PostgresEndpoint;
use url::Url;

use crate::support::cli_sandbox::CliSandbox;
use crate::support::groups::Group;
use crate::support::harness::{Test, TestStack, on_one_stack, runtime};

const TESTS: &[(&str, Test)] = &[
    ("no_spelling_of_a_write_reaches_postgres", spellings),
    ("every_volatile_function_of_the_server_is_classified", volatile_functions),
    ("the_transaction_refuses_what_the_parser_permits", second_barrier),
    ("db_query_prints_what_postgres_prints", prints),
    ("db_query_names_the_flag_that_permits_a_write", names_the_flag),
    ("a_suite_that_writes_without_saying_so_is_refused", refused_suites),
];

/// Reading without leave to write.
pub fn group() -> Group {
    on_one_stack("read_only", TESTS, Vec::new())
}

/// Statements that write, leave something, or leave the database.
const WRITES: &[&str] = &[
    "insert into guard.rows values (2)",
    "update guard.rows set id = 3",
    "delete from guard.rows",
    "truncate guard.rows",
    "merge into guard.rows r using (values (1)) as v(id) on r.id = v.id when matched then delete",
    "create table guard.made (id int)",
    "create temporary table made (id int)",
    "select * into guard.made from guard.rows",
    "drop table guard.rows",
    "alter table guard.rows add column made int",
    "create function guard.made() returns int language sql as 'select 1'",
    "do $$ begin delete from guard.rows; end $$",
    "do $$ begin perform pg_advisory_lock(7); end $$",
    "call guard.clear()",
    "select guard.clear_all()",
    "select * from guard.clear_all()",
    "with gone as (delete from guard.rows returning id) select * from gone",
    "with new as (insert into guard.rows values (2) returning id) select * from new",
    "explain analyze delete from guard.rows",
    "copy guard.rows from program 'echo 9'",
    "copy (select 1) to program 'touch FILE'",
    "copy (select 1) to 'FILE'",
    "select lo_export(lo_from_bytea(0, 'x'), 'FILE')",
    "select lo_create(0)",
    "select nextval('guard.counter')",
    "select setval('guard.counter', 90)",
    "select pg_advisory_lock(7)",
    "select pg_advisory_lock_shared(7)",
    "select pg_try_advisory_lock(7)",
    "select set_config('application_name', 'made', false)",
    "set application_name = 'made'",
    "set role postgres",
    "set session authorization postgres",
    "listen made",
    "notify made",
    "select pg_notify('made', 'x')",
    "lock table guard.rows",
    "select * from guard.rows for update",
    "prepare made as select 1",
    "declare made cursor with hold for select 1",
    "vacuum guard.rows",
    "analyze guard.rows",
    "reindex table guard.rows",
    "comment on table guard.rows is 'made'",
    "grant select on guard.rows to public",
    "create role made",
    "alter system set work_mem = '5MB'",
    "alter database postgres set work_mem = '5MB'",
    "select query_to_xml('delete from guard.rows returning 1', true, true, '')",
    "select pg_reload_conf()",
    "select pg_read_file('postgresql.conf')",
    "select pg_ls_dir('.')",
    "select pg_logical_emit_message(false, 'made', 'x')",
    "select pg_create_physical_replication_slot('made')",
    "checkpoint",
    "discard all",
    // A comment for Postgres, and the begin of a text for a lexer that takes `||--` for an operator.
    "select 'a' ||-- '\n1, nextval($n$guard.counter$n$) -- '",
    "select E'a'\n'b\\', ', nextval($n$guard.counter$n$) -- '",
];

/// Ways to run a statement in spite of a read-only transaction, or to hide it. `W` is the statement.
const SPELLINGS: &[&str] = &[
    "W",
    "/* a comment */ -- another\nW",
    "commit; W",
    "commit; begin read write; W; commit",
    "rollback; begin; W; commit",
    "select 1; W",
    "W; select 1",
    "set transaction read write; W",
    "set session characteristics as transaction read write; commit; W",
    "select 1) as answer; commit; W; select * from (select 1",
    "commit and chain; W; commit",
    "savepoint a; set transaction read write; W; release a",
    "explain analyze W",
    "begin; begin; W; commit; commit",
    "with a as (W) select * from a",
    "prepare transaction 'made'; W",
    "select 1 /* ; */; reset all; commit; W",
    "do $do$ begin set transaction read write; execute $x$W$x$; end $do$",
    "do $do$ begin commit; execute $x$W$x$; commit; end $do$",
    "select query_to_xml($x$W$x$, true, true, '')",
];

const SCHEMA: &str = "create schema guard; create table guard.rows (id int); insert into guard.rows values (1); \
    create sequence guard.counter; \
    create function guard.clear_all() returns int language plpgsql as $$ begin delete from guard.rows; return 1; end $$; \
    create procedure guard.clear() language plpgsql as $$ begin delete from guard.rows; commit; end $$";

/// Everything that a write could have changed, as one text.
const STATE: &str = "select json_build_object(
    'rows', (select json_agg(id) from guard.rows),
    'counter', (select json_agg(last_value) from guard.counter),
    'relations', (select json_agg(oid::text || relname || relacl::text) from pg_class where relnamespace <> 'pg_toast'::regnamespace and relnamespace not in (select oid from pg_namespace where nspname like 'pg_%temp%')),
    'columns', (select count(*) from pg_attribute where attrelid = 'guard.rows'::regclass),
    'functions', (select count(*) from pg_proc),
    'roles', (select count(*) from pg_roles),
    'settings', (select count(*) from pg_db_role_setting),
    'comments', (select count(*) from pg_description),
    'objects', (select count(*) from pg_largeobject_metadata),
    'locks', (select count(*) from pg_locks where locktype = 'advisory'),
    'cursors', (select count(*) from pg_cursors),
    'slots', (select count(*) from pg_replication_slots),
    'prepared', (select count(*) from pg_prepared_xacts),
    'listening', (select count(*) from pg_stat_activity where query ilike 'listen%')
)::text as state";

async fn state(postgres: &Postgres) -> serde_json::Value {
    postgres.rows(STATE).await.unwrap()[0].clone()
}

fn spellings(stack: &TestStack) {
    let endpoint = &stack.prepared("guard").postgres;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("made");
    // The server's user must be able to write the file if nothing stops it.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(directory.path(), open).unwrap();
    runtime().block_on(async {
        let owner = Postgres::connect(endpoint).await.unwrap();
        owner.execute(SCHEMA).await.unwrap();
        let before = state(&owner).await;
        let reader = Postgres::connect_to_read(endpoint).await.unwrap();
        let mut tried = 0;
        for write in WRITES {
            for spelling in SPELLINGS {
                let text = spelling.replace('W', write).replace("FILE", &file.display().to_string());
                tried += 2;
                // A statement may be permitted and refused by the server, or be a text: what counts is the state.
                let query = database::query(endpoint, &text, false).await;
                let batch = reader.read_all(&["select 1 as one".to_owned(), text.clone()]).await;
                assert!(batch[0].is_ok(), "one query of a batch spoils another: {text}");
                assert!(query.is_err() || batch[1].is_ok(), "the two ways disagree: {text}: {:?}", batch[1]);
                assert!(query.is_err(), "accepted: {text}");
            }
            assert_eq!(state(&owner).await, before, "changed by a spelling of {write}");
            assert!(!file.exists(), "the server wrote a file for {write}");
        }
        assert!(tried >= 200, "{tried}");
        // The premise: without the barriers, the statement writes.
        owner.execute("delete from guard.rows").await.unwrap();
        assert_ne!(state(&owner).await, before);
        reader.close().await;
        owner.execute("drop schema guard cascade").await.unwrap();
        owner.close().await;
    });
}

/// A function of a new version of Postgres, or of a module that comes with it, must be classified before it is trusted.
fn volatile_functions(stack: &TestStack) {
    let text = include_str!("../../../fixtures/postgres-functions.toml");
    let groups: BTreeMap<String, BTreeMap<String, Vec<String>>> = toml::from_str(text).unwrap();
    let known: BTreeSet<&str> = groups.values().flat_map(BTreeMap::values).flatten().map(String::as_str).collect();
    let endpoint = &stack.stack.endpoints().postgres;
    let mut url = Url::parse(endpoint.url.expose_secret()).unwrap();
    url.set_path("/volatile_functions");
    let modules = PostgresEndpoint { url: url.to_string().into() };
    runtime().block_on(async {
        let owner = Postgres::connect(endpoint).await.unwrap();
        owner.execute("create database volatile_functions").await.unwrap();
        let server = Postgres::connect(&modules).await.unwrap();
        server.execute(ALL_MODULES).await.unwrap();
        let rows = server.rows(VOLATILE).await.unwrap();
        server.close().await;
        owner.execute("drop database volatile_functions with (force)").await.unwrap();
        owner.close().await;
        let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
        assert!(names.len() > 200, "{}", names.len());
        let unknown: Vec<&&str> = names.iter().filter(|name| !known.contains(**name)).collect();
        assert!(unknown.is_empty(), "classify them in fixtures/postgres-functions.toml: {unknown:?}");
    });
}

/// Creates the modules that are installed; not each can be.
const ALL_MODULES: &str = "do $$ declare name text; begin
    for name in select e.name from pg_available_extensions e loop
        begin execute format('create extension if not exists %I cascade', name); exception when others then null; end;
    end loop;
end $$";

/// Volatile functions of Postgres and of the modules that its authors publish with it.
const VOLATILE: &str = "select distinct p.proname::text as name from pg_proc p
    left join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
    left join pg_extension e on e.oid = d.refobjid
    where p.provolatile = 'v' and p.prokind in ('f', 'p')
    and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype, 'language_handler'::regtype)
    and (p.oid < 16384 or e.extname in (
        'adminpack', 'amcheck', 'autoinc', 'bloom', 'btree_gin', 'btree_gist', 'citext', 'cube', 'dblink', 'dict_int',
        'dict_xsyn', 'earthdistance', 'file_fdw', 'fuzzystrmatch', 'hstore', 'intagg', 'intarray', 'isn', 'lo', 'ltree',
        'old_snapshot', 'pageinspect', 'pg_buffercache', 'pg_freespacemap', 'pg_logicalinspect', 'pg_prewarm',
        'pg_stat_statements', 'pg_surgery', 'pg_trgm', 'pg_visibility', 'pg_walinspect', 'pgcrypto', 'pgrowlocks',
        'pgstattuple', 'postgres_fdw', 'seg', 'sslinfo', 'tablefunc', 'tsm_system_rows', 'tsm_system_time', 'unaccent',
        'uuid-ossp', 'xml2'))
    order by 1";

/// A function of the user's that writes is not known to the parser: the server refuses it.
fn second_barrier(stack: &TestStack) {
    let endpoint = &stack.prepared("barrier").postgres;
    runtime().block_on(async {
        let owner = Postgres::connect(endpoint).await.unwrap();
        owner.execute(&SCHEMA.replace("guard", "barrier")).await.unwrap();
        let text = "select barrier.clear_all()";
        match database::query(endpoint, text, false).await {
            Err(SessionError::Refused { code, .. }) => assert_eq!(code, "25006", "read_only_sql_transaction"),
            other => panic!("{other:?}"),
        }
        let reader = Postgres::connect_to_read(endpoint).await.unwrap();
        let read = reader.read_all(&[text.to_owned()]).await;
        assert!(
            matches!(&read[0], Err(ServiceError::Refused { detail, .. }) if detail.contains("read-only")),
            "{read:?}"
        );
        // The session of `db query` is read-only as well.
        let shown = database::query(endpoint, "show default_transaction_read_only", false).await.unwrap();
        assert_eq!(shown.rows, [[Some("on".to_owned())]]);
        // With leave to write, it writes.
        database::query(endpoint, text, true).await.unwrap();
        assert_eq!(owner.rows("select count(*) as rows from barrier.rows").await.unwrap()[0]["rows"], 0);
        reader.close().await;
        owner.execute("drop schema barrier cascade").await.unwrap();
        owner.close().await;
    });
}

fn db_query(stack: &TestStack, arguments: &[&str]) -> (i32, String, String) {
    let sandbox = CliSandbox::new();
    let mut command = sandbox.command(&[&["db", "query"], arguments].concat());
    command.env("DATABASE_URL", stack.stack.endpoints().postgres.url.expose_secret());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn prints(stack: &TestStack) {
    let query = "select 1 as one, null as none, 'a b' as text, array[1, 2] as list, '{\"a\": 1}'::jsonb as json, \
                 timestamptz '2026-01-02 03:04:05+00' at time zone 'utc' as at, 1.50 as number, 2 as one -- the end";
    let (code, out, _) = db_query(stack, &[query, "--format", "json"]);
    let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 0);
    let row = &rows[0];
    for (column, value) in [("text", "a b"), ("list", "{1,2}"), ("json", "{\"a\": 1}"), ("number", "1.50")] {
        assert_eq!(row[column], value, "{column}");
    }
    assert_eq!((&row["none"], &row["at"]), (&serde_json::Value::Null, &"2026-01-02 03:04:05".into()));
    let (_, out, _) = db_query(stack, &["select 1 as same, 2 as same"]);
    assert_eq!(out, "same  same\n1     2\n");
    for query in ["show server_version", "explain select 1", "select id from pg_roles where false", "values (1), (2);"]
    {
        let (code, out, err) = db_query(stack, &[query]);
        assert!(code == 0 && !out.is_empty() || query.starts_with("select id"), "{query}: {out}{err}");
    }
}

fn names_the_flag(stack: &TestStack) {
    let (code, out, err) = db_query(stack, &["delete from pg_catalog.pg_class"]);
    assert_eq!((code, out.as_str()), (2, ""));
    for part in ["DELETE is not a statement that only reads", "nothing was sent", "--write"] {
        assert!(err.split_whitespace().collect::<Vec<_>>().join(" ").contains(part), "{part}: {err}");
    }
}

fn refused_suites(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let endpoints = stack.prepared("refused");
    let suite = |probe: &str| {
        format!(
            "suite = \"mine\"\ntitle = \"t\"\n[[case]]\nid = \"mine.one\"\ntitle = \"One\"\nlevel = \"must\"\n{probe}\n\
             expect = {{ answers = true }}\nwhy = \"w\"\nremedy = \"r\"\nsource = \"s\"\n"
        )
    };
    let directory = sandbox.path("work/suites");
    fs::create_dir_all(&directory).unwrap();
    for (probe, part) in [
        (
            "probe.sql.query = \"select 1) as answer; commit; create table made (id int); select * from (select 1\"",
            "parsed",
        ),
        ("probe.sql = { query = \"select 1\", before = [\"create table made (id int)\"] }", "before"),
        ("probe.redis.command = [\"SET\", \"made\", \"1\"]", "SET may write"),
        ("probe.http = { service = \"qdrant\", method = \"PUT\", path = \"/collections/made\" }", "PUT may write"),
        (
            "probe.http = { service = \"qdrant\", path = \"/\", after = [{ method = \"PUT\", path = \"/collections/made\" }] }",
            "after",
        ),
    ] {
        fs::write(directory.join("mine.toml"), suite(probe)).unwrap();
        for arguments in [&["check", "--suites", "suites"][..], &["suites", "lint", "suites"]] {
            let mut command = sandbox.command(arguments);
            for variable in endpoints.environment() {
                command.env(variable.name, variable.value.expose_secret());
            }
            let output = command.output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
            assert!(text.contains(part) && text.contains("mine.toml:7"), "{arguments:?}: {text}");
        }
    }
    runtime().block_on(async {
        let redis = Redis::connect(&endpoints.redis).await.unwrap();
        assert_eq!(redis.command(&["EXISTS", "made"]).await.unwrap(), 0);
    });
}
