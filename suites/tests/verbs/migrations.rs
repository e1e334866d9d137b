//! `shakedown db migrate` and `db migrations` with files as people commit them: nothing is lost without a word, nothing
//! waits without a word and a limit, and what cannot be applied is named with file and line before anything is applied.

use std::fs;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use shakedown::services::postgres::Postgres;
use shakedown::settings::PostgresEndpoint;

use crate::support::cli_sandbox::CliSandbox;
use crate::support::groups::Group;
use crate::support::harness::{Test, TestStack, on_one_stack, runtime};

const TESTS: &[(&str, Test)] = &[
    ("files_that_cannot_be_applied_are_named_and_nothing_is_applied", unusable),
    ("files_with_other_names_are_named", left_out),
    ("what_a_file_leaves_in_the_session_does_not_reach_the_next", session_state),
    ("rows_after_a_copy_are_copied", copies),
    ("an_error_in_rows_is_named_with_its_row", copy_error),
    ("a_lock_of_others_is_named_and_waited_for_within_a_limit", locked),
    ("an_index_that_could_not_be_built_is_named_until_it_is_dropped", invalid_index),
    ("a_new_value_of_an_enum_needs_a_file_of_its_own", enum_value),
];

/// Migrations.
pub fn group() -> Group {
    on_one_stack("migrations", TESTS, Vec::new())
}

/// A database of its own, and a directory of migrations.
struct Project {
    cli: CliSandbox,
    endpoint: PostgresEndpoint,
    database: Postgres,
}

impl Project {
    fn new(stack: &TestStack, name: &str, files: &[(&str, &[u8])]) -> Self {
        let admin = &stack.stack.endpoints().postgres;
        let mut url = url::Url::parse(admin.url.expose_secret()).unwrap();
        url.set_path(name);
        let endpoint = PostgresEndpoint { url: url.to_string().into() };
        let database = runtime().block_on(async {
            let admin = Postgres::connect_alone(admin).await.unwrap();
            admin.execute(&format!("create database {name}")).await.unwrap();
            Postgres::connect_alone(&endpoint).await.unwrap()
        });
        let cli = CliSandbox::new();
        let project = Self { cli, endpoint, database };
        fs::create_dir_all(project.cli.path("work/supabase/migrations")).unwrap();
        for (file, content) in files {
            project.write(file, content);
        }
        project
    }

    fn write(&self, file: &str, content: &[u8]) {
        fs::write(self.cli.path("work/supabase/migrations").join(file), content).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = self.cli.command(arguments);
        let output = command.env("DATABASE_URL", self.endpoint.url.expose_secret()).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let words = text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        (output.status.code().unwrap(), words)
    }

    fn rows(&self, query: &str) -> Vec<Value> {
        runtime().block_on(self.database.rows(query)).unwrap()
    }

    fn sql(&self, statement: &str) {
        runtime().block_on(self.database.execute(statement)).unwrap();
    }

    /// The versions that the database records.
    fn applied(&self) -> Vec<String> {
        let there = self.rows("select to_regclass('supabase_migrations.schema_migrations') is not null as there");
        if there[0]["there"] == false {
            return Vec::new();
        }
        let rows = self.rows("select version from supabase_migrations.schema_migrations order by version");
        rows.iter().map(|row| row["version"].as_str().unwrap().to_owned()).collect()
    }
}

/// Files beside a good one, and what is said of them.
type Unusable = (&'static [(&'static str, &'static [u8])], &'static str);

const UNUSABLE: &[Unusable] = &[
    (
        &[("20260102000000_a.sql", b"create table a ();"), ("20260102000000_b.sql", b"create table b ();")],
        "20260102000000_a.sql and 20260102000000_b.sql have the same version 20260102000000",
    ),
    (
        &[("20260102000000_a.sql", b"create table a (b text);\ninsert into a values ('D\xfcsseldorf');")],
        "20260102000000_a.sql:2: the byte 0xFC at offset 49 is not UTF-8",
    ),
    (&[("20260102000000_a.sql", b"\xff\xfes\x00e\x00l\x00")], "20260102000000_a.sql:1: the file is UTF-16"),
    (
        &[("20260102000000_a.sql", b"-- a dump\n\\restrict abc\nset statement_timeout = 0;")],
        "20260102000000_a.sql:2: `\\restrict` is a command of psql, and not SQL: remove the line; nothing was applied",
    ),
    (
        &[("20260102000000_a.sql", b"copy (select 1) to stdout;")],
        "20260102000000_a.sql:1: COPY … TO STDOUT prints rows",
    ),
];

fn unusable(stack: &TestStack) {
    for (number, (files, wanted)) in UNUSABLE.iter().enumerate() {
        let project = Project::new(stack, &format!("unusable{number}"), files);
        project.write("20260101000000_good.sql", b"create table good ();");
        for arguments in [&["db", "migrate"] as &[&str], &["db", "migrate", "--dry-run"]] {
            let (code, said) = project.run(arguments);
            assert_eq!(code, 2, "{said}");
            assert!(said.contains(wanted), "{said}");
        }
        assert_eq!(project.applied(), Vec::<String>::new());
        let tables = project.rows("select tablename from pg_tables where schemaname = 'public'");
        assert_eq!(tables, Vec::<Value>::new());
    }
}

fn left_out(stack: &TestStack) {
    let project = Project::new(
        stack,
        "left_out",
        &[
            ("20260101000000_one.sql", b"create table one (id int);"),
            ("20260102000000-two.sql", b"create table two (id int);"),
            ("add_three.sql", b"create table three (id int);"),
            ("README.md", b"# Migrations"),
        ],
    );
    let (code, said) = project.run(&["db", "migrate"]);
    assert_eq!(code, 0, "{said}");
    for file in ["20260102000000-two.sql", "add_three.sql"] {
        assert!(said.contains(&format!("left out {file}: not a migration, because its name is not VERSION_NAME.sql")));
    }
    assert!(!said.contains("README"), "{said}");
    let (code, said) = project.run(&["db", "migrate", "--format", "json"]);
    let printed: Value = serde_json::from_str(&said).unwrap();
    let left_out = json!(["20260102000000-two.sql", "add_three.sql"]);
    assert_eq!((code, &printed["left_out"], &printed["migrations"]), (0, &left_out, &json!([])));
    let (code, said) = project.run(&["db", "migrations"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("- add_three.sql not a migration"), "{said}");
}

fn session_state(stack: &TestStack) {
    let project = Project::new(
        stack,
        "session_state",
        &[
            (
                "20260101000000_dump.sql",
                b"SET statement_timeout = 0;\nSELECT pg_catalog.set_config('search_path', '', false);\n\
                  SET row_security = off;\nCREATE TABLE public.harbour (id bigint primary key);",
            ),
            ("20260102000000_tags.sql", b"create table tags (id bigint references harbour (id));"),
            ("20260103000000_role.sql", b"set role service_role; set session authorization anon;"),
            ("20260104000000_more.sql", b"create table more (id int);"),
        ],
    );
    let (code, said) = project.run(&["db", "migrate"]);
    assert_eq!((code, project.applied().len()), (0, 4), "{said}");
    // A second run finds nothing, and each file has the recorded statements.
    assert_eq!(project.run(&["db", "migrations"]).0, 0);
}

fn copies(stack: &TestStack) {
    let text = b"create table public.kinds (id int primary key, label text);\n\
                 COPY public.kinds (id, label) FROM stdin;\n1\tmanual\n2\tfaq; and 'more\n3\t\\N\n\\.\n\
                 create table public.after_copy (id int);\ncopy public.after_copy from stdin with (format csv);\n7\n";
    let project = Project::new(stack, "copies", &[("20260101000000_seed.sql", text)]);
    let begun = Instant::now();
    let (code, said) = project.run(&["db", "migrate", "--wait", "20"]);
    assert_eq!(code, 0, "{said}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    let labels = project.rows("select label from public.kinds order by id");
    assert_eq!(labels, [json!({ "label": "manual" }), json!({ "label": "faq; and 'more" }), json!({ "label": null })]);
    assert_eq!(project.rows("select id from public.after_copy"), [json!({ "id": 7 })]);
    assert_eq!(project.run(&["db", "migrations"]).0, 0, "the rows are a part of the record");
}

fn copy_error(stack: &TestStack) {
    let text = b"create table public.kinds (id int);\ncopy public.kinds from stdin;\n1\ntwo\n\\.\n";
    let project = Project::new(stack, "copy_error", &[("20260101000000_seed.sql", text)]);
    let (code, said) = project.run(&["db", "migrate"]);
    assert_eq!((code, project.applied()), (1, Vec::new()), "{said}");
    assert!(said.contains("20260101000000_seed.sql:2: invalid input syntax for type integer"), "{said}");
    assert!(said.contains("COPY kinds, line 2, column id"), "{said}");
    assert_eq!(project.rows("select 1 as x from pg_tables where tablename = 'kinds'"), Vec::<Value>::new());
}

fn locked(stack: &TestStack) {
    let project = Project::new(stack, "locked", &[("20260101000000_a.sql", b"alter table busy add column b int;")]);
    project.sql("create table busy (a int)");
    let held = runtime().block_on(async {
        let other = Postgres::connect_alone(&project.endpoint).await.unwrap();
        other.execute("begin; set application_name = 'report'; select * from busy").await.unwrap();
        other
    });
    let (code, said) = project.run(&["db", "migrate", "--wait", "4"]);
    assert_eq!((code, project.applied()), (1, Vec::new()), "{said}");
    assert!(said.contains("20260101000000_a.sql:1 waits for a lock, which is held by pid "), "{said}");
    assert!(said.contains("of report, in a transaction for"), "{said}");
    assert!(said.contains("canceling statement due to lock timeout"), "{said}");
    assert!(said.contains("try again when it has ended, or wait longer with --wait"), "{said}");
    drop(held);
    // Nearly the same: the lock is given back in time.
    let held = runtime().block_on(async {
        let other = Postgres::connect_alone(&project.endpoint).await.unwrap();
        other.execute("begin; lock table busy in access exclusive mode").await.unwrap();
        other
    });
    let url = project.endpoint.url.expose_secret();
    let arguments = ["db", "migrate", "--wait", "60"];
    let mut waiting = project.cli.command(&arguments).env("DATABASE_URL", url).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while project.rows("select 1 as x from pg_locks where not granted and locktype = 'relation'").is_empty() {
        assert!(Instant::now() < deadline, "it does not wait");
        std::thread::sleep(Duration::from_millis(20));
    }
    runtime().block_on(held.execute("commit")).unwrap();
    assert!(waiting.wait().unwrap().success());
    assert_eq!(project.applied(), ["20260101000000"]);
}

fn invalid_index(stack: &TestStack) {
    let index = b"create unique index concurrently if not exists one_of_each on twice (a);";
    let project = Project::new(stack, "invalid_index", &[("20260101000000_a.sql", index)]);
    project.sql("create table twice (a int); insert into twice values (1), (1)");
    let (code, said) = project.run(&["db", "migrate"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("it left the invalid index public.one_of_each behind: run `drop index public.one_of_each`"));
    project.sql("delete from twice");
    // Postgres takes the invalid index for the one that is wanted.
    let (code, said) = project.run(&["db", "migrate"]);
    assert_eq!((code, project.applied()), (1, Vec::new()), "{said}");
    assert!(said.contains("20260101000000_a.sql:1: the index public.one_of_each is invalid"), "{said}");
    project.sql("drop index one_of_each");
    let (code, said) = project.run(&["db", "migrate"]);
    assert_eq!((code, project.applied().len()), (0, 1), "{said}");
}

fn enum_value(stack: &TestStack) {
    let text = b"create type level as enum ('low');\ncreate table t (l level);\n";
    let project = Project::new(stack, "enum_value", &[("20260101000000_a.sql", text)]);
    assert_eq!(project.run(&["db", "migrate"]).0, 0);
    let both = b"alter type level add value 'high';\ninsert into t values ('high');\n";
    project.write("20260102000000_b.sql", both);
    let (code, said) = project.run(&["db", "migrate"]);
    assert_eq!((code, project.applied().len()), (1, 1), "{said}");
    assert!(said.contains("20260102000000_b.sql:2: unsafe use of new value"), "{said}");
    assert!(said.contains("put ALTER TYPE … ADD VALUE into a file of its own, before this one"), "{said}");
}
