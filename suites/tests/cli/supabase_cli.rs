//! The Supabase CLI as judge of how migrations and exposed tables are judged: what it pushes is found in order, what it
//! refuses is found amiss, and what its advisors say of tables is what `shakedown check` says.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "where the CLI is is no setting of the program")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use secrecy::ExposeSecret;
use serde_json::Value;
use shakedown::services::postgres::Postgres;
use shakedown::stack::ProviderKind;

use crate::support::cli_sandbox::CliSandbox;
use crate::support::harness::{TestStack, runtime};

/// Migrations as people write them: quotes and comments with semicolons in them, blocks, several scripts, both kinds of
/// line ends, and what cannot stand in a transaction.
const CORPUS: &[(&str, &str)] = &[
    (
        "20240101000000_harbour.sql",
        "-- a comment; with a semicolon\n\
         /* another; /* nested; */ one */\n\
         create table public.harbour (id int primary key, name text default 'a;b''c', note text default E'\\';');\n\
         create function public.tide() returns text language plpgsql set search_path = '' as $body$\n\
         begin\n  return 'high; and low';\nend;\n$body$;\n\
         do $$ begin perform 1; end $$;\n\
         create type public.level as enum ('low', 'high');\n\
         alter table public.harbour enable row level security;\n\
         create policy \"all; may read\" on public.harbour for select to anon using (true);\n",
    ),
    (
        "20240102000000_names.sql",
        "create index concurrently harbour_name on public.harbour (name);\r\n-- été; 港 🚢\r\nselect '港;';\r\n",
    ),
    ("20240103000000_no_end.sql", "alter table public.harbour add column depth numeric"),
    (
        "20240104000000_quotes.sql",
        "comment on table public.harbour is $$it's a \\ backslash; and 'quotes'$$;\n\
         create function public.deep() returns text language sql set search_path = '' as $outer$\n\
           select $inner$a;b$inner$::text; -- not the end;\n\
         $outer$;\n\
         insert into public.harbour (id, name) values (1, E'it\\'s; \\\\'), (2, 'c:\\dir;');\n\
         /* the end; */\n",
    ),
];

/// Where `scripts/install clients` has put the CLI.
fn cli() -> Option<PathBuf> {
    Some(crate::support::client_packages::home("supabase").join("node_modules/.bin/supabase"))
        .filter(|cli| cli.is_file())
}

struct Project {
    sandbox: CliSandbox,
    cli: PathBuf,
    stack: TestStack,
}

impl Project {
    /// The database's URL, of another database than the usual one if one is named.
    fn url(&self, database: &str) -> String {
        let mut url = url::Url::parse(self.stack.stack.endpoints().postgres.url.expose_secret()).unwrap();
        url.set_path(database);
        url.to_string()
    }

    /// What the CLI says, and whether it did what it was asked to.
    fn supabase(&self, arguments: &[&str]) -> (bool, String) {
        self.supabase_on("postgres", arguments)
    }

    fn supabase_on(&self, database: &str, arguments: &[&str]) -> (bool, String) {
        let url = format!("--remote={}?sslmode=disable", self.url(database));
        let output = Command::new(&self.cli)
            .args(arguments)
            .arg(url)
            .current_dir(self.sandbox.path("work"))
            .env("HOME", self.sandbox.path("state"))
            .env("SUPABASE_TELEMETRY_DISABLED", "1")
            .env("CI", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.success(), printed.concat())
    }

    /// The cases that are not passed, with what was seen.
    fn check(&self, cases: &[&str]) -> Vec<(String, Value)> {
        let mut command = self.sandbox.command(&["check", "--quiet", "--format", "json"]);
        for case in cases {
            command.args(["--case", case]);
        }
        for variable in self.stack.stack.endpoints().environment() {
            command.env(variable.name, variable.value.expose_secret());
        }
        let output = command.output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let judged = report["cases"].as_array().unwrap();
        assert!(judged.len() >= cases.len(), "{report:#}");
        let wrong = judged.iter().filter(|case| case["verdict"] != "pass");
        wrong.map(|case| (case["id"].as_str().unwrap().to_owned(), case["evidence"][0]["seen"].clone())).collect()
    }

    fn db(&self, database: &str, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command(&[&["db"], arguments].concat());
        command.env("DATABASE_URL", self.url(database));
        command
    }

    /// The exit code, and the output.
    fn ours(&self, database: &str, arguments: &[&str]) -> (i32, String) {
        let output = self.db(database, arguments).output().unwrap();
        let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        let words: Vec<&str> = printed.split_whitespace().filter(|word| *word != "│").collect();
        (output.status.code().unwrap(), words.join(" "))
    }

    /// What is recorded, as JSON.
    fn recorded(&self, database: &str) -> Value {
        let query = "select version, name, array_to_json(statements) as statements from \
                     supabase_migrations.schema_migrations order by 1";
        let output = self.db(database, &["query", query, "--format", "json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    fn migrations(&self) -> Vec<(String, Value)> {
        self.check(&["postgres.migrations-*"])
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.sandbox.path("work/supabase/migrations").join(file), text).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.sandbox.path("work/supabase/migrations").join(file)).unwrap();
    }

    fn sql(&self, statements: &str) {
        runtime().block_on(async {
            let postgres = Postgres::connect(&self.stack.stack.endpoints().postgres).await.unwrap();
            postgres.execute(statements).await.unwrap();
            postgres.close().await;
        });
    }
}

/// One text, or each of a list.
fn texts(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::String(text) => [text.clone()].into(),
        _ => BTreeSet::new(),
    }
}

#[test]
fn migrations_and_exposed_tables_are_judged_as_the_supabase_cli_judges_them() {
    let Some(cli) = cli() else {
        assert!(std::env::var_os("CI").is_none(), "the Supabase CLI is not there: run scripts/install clients");
        println!("left out: the Supabase CLI is not installed here; scripts/install clients installs it");
        return;
    };
    let sandbox = CliSandbox::new();
    fs::create_dir_all(sandbox.path("work/supabase/migrations")).unwrap();
    let stack = runtime().block_on(TestStack::launch(ProviderKind::Native, "supabase-cli"));
    let project = Project { sandbox, cli, stack };
    migrations(&project);
    same_result_as_supabase(&project);
    failing(&project);
    side_by_side(&project);
    reading(&project);
    advisors(&project);
    assert_eq!(runtime().block_on(project.stack.stop()), Vec::<String>::new());
}

fn migrations(project: &Project) {
    for (file, text) in CORPUS {
        project.write(file, text);
    }
    let (pushed, printed) = project.supabase(&["db", "push", "--yes"]);
    assert!(pushed, "{printed}");
    assert_eq!(project.migrations(), [], "what the CLI has pushed is in order");

    // Edited afterwards: the CLI compares versions alone, and sees nothing.
    let (file, text) = CORPUS[0];
    project.write(file, &text.replace("high; and low", "low; and high"));
    let (ended, printed) = project.supabase(&["db", "push", "--yes"]);
    assert!(ended && printed.contains("up to date"), "{printed}");
    let [(case, seen)] = project.migrations().try_into().unwrap();
    assert_eq!((case.as_str(), texts(&seen)), ("postgres.migrations-unedited", [file.to_owned()].into()));
    project.write(file, text);

    // Not applied yet.
    project.write("20240106000000_later.sql", "select 1;");
    let (_, printed) = project.supabase(&["db", "push", "--dry-run"]);
    assert!(printed.contains("20240106000000_later.sql"), "{printed}");
    let [(case, seen)] = project.migrations().try_into().unwrap();
    assert_eq!(case, "postgres.migrations-applied");
    assert_eq!(texts(&seen), ["20240106000000_later.sql".to_owned()].into());
    project.remove("20240106000000_later.sql");

    // Older than the newest one: refused.
    project.write("20240101120000_between.sql", "select 1;");
    let (pushed, printed) = project.supabase(&["db", "push", "--yes"]);
    assert!(!pushed, "{printed}");
    let wrong: Vec<String> = project.migrations().into_iter().map(|(case, _)| case).collect();
    assert_eq!(wrong, ["postgres.migrations-applied", "postgres.migrations-in-order"]);
    project.remove("20240101120000_between.sql");

    // Applied from elsewhere: refused.
    project
        .sql("insert into supabase_migrations.schema_migrations (version, name) values ('20240105000000', 'by_hand')");
    let (pushed, printed) = project.supabase(&["db", "push", "--yes"]);
    assert!(!pushed, "{printed}");
    let [(case, seen)] = project.migrations().try_into().unwrap();
    assert_eq!(case, "postgres.migrations-known");
    assert_eq!(texts(&seen), ["20240105000000_by_hand".to_owned()].into());
    project.sql("delete from supabase_migrations.schema_migrations where version = '20240105000000'");
    assert_eq!(project.migrations(), []);
}

/// What `shakedown db migrate` records is what the CLI records, statement by statement, and each goes on after the other.
fn same_result_as_supabase(project: &Project) {
    project.sql("create database ours");
    let (code, printed) = project.ours("ours", &["migrations"]);
    assert!(code == 1 && printed.contains("20240104000000 quotes pending"), "{printed}");
    let (code, printed) = project.ours("ours", &["migrate", "--dry-run"]);
    assert!(code == 0 && printed.contains("would apply 20240101000000_harbour.sql"), "{printed}");
    let (code, printed) = project.ours("ours", &["migrate"]);
    assert!(code == 0, "{printed}");
    assert!(printed.contains("20240102000000_names.sql: 2 statements, statement by statement"), "{printed}");
    let (theirs, ours) = (project.recorded("postgres"), project.recorded("ours"));
    assert_eq!(theirs.as_array().unwrap().len(), CORPUS.len());
    assert_eq!(theirs, ours);
    let (pushed, printed) = project.supabase_on("ours", &["db", "push", "--yes"]);
    assert!(pushed && printed.contains("up to date"), "{printed}");
    assert_eq!(project.ours("postgres", &["migrate"]), (0, "nothing is pending".to_owned()));
    assert_eq!(project.ours("postgres", &["migrations"]).0, 0);
    // One after the other, in turn.
    project.write("20240201000000_theirs.sql", "create table public.theirs (id int primary key);");
    assert!(project.supabase_on("ours", &["db", "push", "--yes"]).0);
    project.write("20240202000000_ours.sql", "create table public.ours (id int primary key);");
    let (code, printed) = project.ours("ours", &["migrate"]);
    assert!(code == 0 && printed.contains("20240202000000_ours.sql") && !printed.contains("theirs"), "{printed}");
    let (_, printed) = project.supabase_on("ours", &["db", "push", "--dry-run"]);
    assert!(printed.contains("up to date"), "{printed}");
    project.remove("20240201000000_theirs.sql");
    // What only the database has, and what comes too late, are refused by both.
    let (code, printed) = project.ours("ours", &["migrate"]);
    assert!(code == 1 && printed.contains("20240201000000"), "{printed}");
    project.write("20240201000000_theirs.sql", "create table public.theirs (id int primary key);");
    project.write("20240201120000_late.sql", "select 1;");
    let (code, printed) = project.ours("ours", &["migrate"]);
    assert!(code == 1 && printed.contains("20240201120000_late.sql") && printed.contains("--include-all"), "{printed}");
    assert_eq!(project.ours("ours", &["migrate", "--include-all"]).0, 0);
    assert_eq!(project.ours("ours", &["migrations"]).0, 0);
    for file in ["20240201000000_theirs.sql", "20240202000000_ours.sql", "20240201120000_late.sql"] {
        project.remove(file);
    }
}

/// A statement that fails is named by file and line, and nothing of its file is left.
fn failing(project: &Project) {
    project.sql("create database failing");
    let text =
        "create table public.half (id int);\n\n-- the depth\nalter table public.half\n  add column depth nonsense;\n";
    project.write("20240301000000_half.sql", text);
    let (code, printed) = project.ours("failing", &["migrate"]);
    assert!(code == 1 && printed.contains("20240301000000_half.sql:5"), "{printed}");
    assert!(printed.contains("nonsense") && printed.contains("nothing of this file was applied"), "{printed}");
    let (_, printed) = project.ours("failing", &["query", "select to_regclass('public.half') as half"]);
    assert_eq!(printed, "half -");
    let (_, printed) = project.ours("failing", &["migrations"]);
    assert!(
        printed.contains("20240104000000 quotes applied") && printed.contains("20240301000000 half pending"),
        "{printed}"
    );
    // Mended, it goes on where it stopped.
    project.write("20240301000000_half.sql", "create table public.half (id int);");
    assert_eq!(project.ours("failing", &["migrate"]).0, 0);
    project.remove("20240301000000_half.sql");
}

/// Of two runners one brings the migrations in, and the other finds nothing to do.
fn side_by_side(project: &Project) {
    project.sql("create database race");
    project.write("20240401000000_slow.sql", "select pg_sleep(1); create table public.once (id int);");
    let start = || project.db("race", &["migrate"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut printed: Vec<(bool, String)> = [start(), start()]
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
        })
        .collect();
    printed.sort_by_key(|(_, text)| text.len());
    assert!(printed.iter().all(|(success, _)| *success), "{printed:?}");
    assert_eq!(printed[0].1, "nothing is pending\n");
    assert!(printed[1].1.contains("20240401000000_slow.sql"), "{printed:?}");
    project.remove("20240401000000_slow.sql");
}

/// Questions write nothing unless they may.
fn reading(project: &Project) {
    for text in ["delete from public.harbour", "select 1; commit; delete from public.harbour"] {
        let (code, printed) = project.ours("postgres", &["query", text]);
        assert!(code == 2 && printed.contains("nothing was sent"), "{printed}");
    }
    assert_eq!(project.ours("postgres", &["query", "select count(*) as rows from public.harbour"]).1, "rows 2");
    assert_eq!(project.ours("postgres", &["query", "--write", "delete from public.harbour where id = 2"]).0, 0);
    assert_eq!(project.ours("postgres", &["query", "select count(*) as rows from public.harbour"]).1, "rows 1");
    let (code, printed) = project.ours("postgres", &["tables"]);
    assert!(code == 0 && printed.contains("public harbour table 4 true 1"), "{printed}");
    let (code, printed) = project.ours("postgres", &["new", "Add harbour masters"]);
    assert!(code == 0 && printed.contains("_add_harbour_masters.sql"), "{printed}");
    fs::remove_file(printed.strip_prefix("created ").unwrap()).unwrap();
    let (code, printed) = project.ours("postgres", &["query", "select wrong"]);
    assert!(code == 1 && printed.contains("42703"), "{printed}");
}

/// What the CLI's advisor of this name says is amiss, as `schema.name`.
fn advised(project: &Project, advisor: &str) -> BTreeSet<String> {
    let (_, printed) = project.supabase(&["db", "advisors", "--output", "json"]);
    let Some(list) = printed.find('[') else { return BTreeSet::new() };
    let mut list = serde_json::Deserializer::from_str(&printed[list..]).into_iter::<Vec<Value>>();
    let list = list.next().unwrap_or_else(|| panic!("{printed}")).unwrap_or_else(|error| panic!("{error}: {printed}"));
    list.iter()
        .filter(|advice| advice["name"] == advisor)
        .map(|advice| {
            let part = |name: &str| advice["metadata"][name].as_str().unwrap_or_default().to_owned();
            format!("{}.{}", part("schema"), part("name"))
        })
        .collect()
}

fn advisors(project: &Project) {
    const RLS: (&str, &str) = ("rls_disabled_in_public", "postgres.exposed-rls");
    const FUNCTIONS: (&str, &str) = ("function_search_path_mutable", "postgres.definer-functions");
    let both = |(advisor, case): (&str, &str)| {
        let ours = project.check(&[case]).iter().flat_map(|(_, seen)| texts(seen)).collect::<BTreeSet<_>>();
        (advised(project, advisor), ours)
    };
    assert_eq!(both(RLS), (BTreeSet::new(), BTreeSet::new()));
    assert_eq!(both(FUNCTIONS), (BTreeSet::new(), BTreeSet::new()));
    project.sql(
        "create table public.open (id int); grant select on public.open to anon; \
         create function public.lender() returns int language sql security definer as 'select 1'; \
         grant execute on function public.lender() to anon",
    );
    let open: BTreeSet<String> = ["public.open".to_owned()].into();
    assert_eq!(both(RLS), (open.clone(), open));
    let lender: BTreeSet<String> = ["public.lender".to_owned()].into();
    assert_eq!(both(FUNCTIONS), (lender.clone(), lender));
    project.sql("drop table public.open; drop function public.lender()");
}
