//! A stack with a description: its own names, database and `shakedown.toml`.

use std::fs;
use std::process::{Child, Command, Output, Stdio};

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use shakedown::services::http::Http;
use shakedown::services::postgres::Postgres;
use shakedown::services::redis::Redis;
use shakedown::settings::PostgresEndpoint;
use url::Url;

use crate::support::cli_sandbox::CliSandbox;
use crate::support::harness::{TestStack, runtime};

/// What is described, with NAME in place of the name.
pub const DESCRIBED: &str = r#"
[desired.queue]
name = "NAME"
events = 5000
concurrency = 4
rate_limit = { max = 10, per = "1s" }
[desired.queue.job]
attempts = 5
backoff = { type = "exponential", delay = 1000, jitter = 0.5 }
keep_completed = { age = "24h", count = 1000 }
[desired.postgres]
migrations = "migrations"
extensions = ["pgcrypto"]
rls = ["public.docs"]
[desired.postgres.roles.NAME]
password = "NAME_PASSWORD"
[[desired.postgres.grants]]
to = "NAME"
on = "public.docs"
rights = ["select", "insert"]
[desired.qdrant.collections.NAME]
size = 4
indexes = { document_id = "keyword", chunk_index = "integer" }
aliases = ["NAME-live"]
[desired.files]
worker = "worker.json"
"#;

/// What only the collection is about.
pub const COLLECTION: &str =
    "[desired.qdrant.collections.NAME]\nsize = 4\nindexes = { document_id = \"keyword\" }\naliases = [\"NAME-live\"]\n";

pub struct ProvisionSandbox<'a> {
    pub cli: CliSandbox,
    pub stack: &'a TestStack,
    pub name: String,
    pub redis: Redis,
    pub postgres: Postgres,
    pub qdrant: Http,
    database: String,
}

impl<'a> ProvisionSandbox<'a> {
    /// `name` is a word of lower-case letters and digits.
    pub fn new(stack: &'a TestStack, name: &str, described: &str) -> Self {
        let cli = CliSandbox::new();
        let endpoints = stack.stack.endpoints();
        let mut url = Url::parse(endpoints.postgres.url.expose_secret()).unwrap();
        let (redis, postgres) = runtime().block_on(async {
            let server = Postgres::connect(&endpoints.postgres).await.unwrap();
            // Where nothing of it is described, the one that is there will do.
            if described.contains("[desired.postgres]") {
                server.execute(&format!("create database {name}")).await.unwrap();
                url.set_path(name);
            }
            server.close().await;
            let own = PostgresEndpoint { url: url.to_string().into() };
            (Redis::connect(&endpoints.redis).await.unwrap(), Postgres::connect(&own).await.unwrap())
        });
        let qdrant = Http::qdrant(&endpoints.qdrant).unwrap();
        let (name, database) = (name.to_owned(), url.to_string());
        let sandbox = Self { cli, stack, name, redis, postgres, qdrant, database };
        fs::create_dir(sandbox.cli.path("work/migrations")).unwrap();
        sandbox.write("migrations/20260101000000_docs.sql", "create table public.docs (id text primary key);\n");
        sandbox.describe(described);
        sandbox
    }

    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.cli.path("work").join(file), text).unwrap();
    }

    pub fn describe(&self, text: &str) {
        self.write("shakedown.toml", &text.replace("NAME_PASSWORD", "ROLE_PASSWORD").replace("NAME", &self.name));
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.cli.command(arguments);
        for variable in self.stack.stack.endpoints().environment() {
            command.env(variable.name, variable.value.expose_secret());
        }
        command.env("DATABASE_URL", &self.database).env("QUEUE_NAME", &self.name).env("QUEUE_PREFIX", "bull");
        command.env("ROLE_PASSWORD", "the-secret-of-the-role");
        command
    }

    /// The exit code, and the output.
    pub fn run(&self, arguments: &[&str]) -> (i32, String) {
        code_and_text(&self.command(arguments).output().unwrap())
    }

    pub fn begin(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs `setup`, which has to succeed.
    pub fn set_up(&self, arguments: &[&str]) -> String {
        let (code, text) = self.run(&[&["setup"], arguments].concat());
        assert_eq!(code, 0, "{text}");
        assert!(!text.contains("the-secret"), "{text}");
        text
    }

    /// Exit code, and each change as one line: action, kind, what, details.
    pub fn plan(&self) -> (i32, Vec<String>) {
        let output = self.command(&["plan", "--format", "json"]).output().unwrap();
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let line = |change: &Value| {
            let details: Vec<&str> = change["details"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            let word = |key: &str| change[key].as_str().unwrap();
            format!("{} {} {}: {}", word("action"), word("kind"), word("what"), details.join(", "))
        };
        (output.status.code().unwrap(), plan["changes"].as_array().unwrap().iter().map(line).collect())
    }

    pub fn sql(&self, text: &str) {
        runtime().block_on(self.postgres.execute(&text.replace("NAME", &self.name))).unwrap();
    }

    pub fn redis(&self, words: &[&str]) -> Value {
        let words: Vec<String> = words.iter().map(|word| word.replace("NAME", &self.name)).collect();
        runtime().block_on(self.redis.command(&words)).unwrap()
    }

    pub fn qdrant(&self, method: &str, path: &str, body: impl Into<Value>) -> Value {
        let body: Value = body.into();
        let path = path.replace("NAME", &self.name);
        let body =
            (!body.is_null()).then(|| serde_json::from_str(&body.to_string().replace("NAME", &self.name)).unwrap());
        runtime().block_on(self.qdrant.call(method, &path, body.as_ref())).unwrap()
    }

    /// Stores so many points; the n-th has the payload `document_id: dn`.
    pub fn store(&self, count: u32) {
        let point =
            |n: u32| json!({ "id": n, "vector": [1.0, n, 0.0, 1.0], "payload": { "document_id": format!("d{n}") } });
        let points: Vec<Value> = (0..count).map(point).collect();
        self.qdrant("PUT", "/collections/NAME/points?wait=true", json!({ "points": points }));
    }

    pub fn points(&self, collection: &str) -> u64 {
        let answer = self.qdrant("POST", &format!("/collections/{collection}/points/count"), json!({ "exact": true }));
        answer["result"]["count"].as_u64().unwrap()
    }

    pub fn alias(&self, alias: &str) -> Option<String> {
        let aliases = self.qdrant("GET", "/aliases", Value::Null);
        let alias = alias.replace("NAME", &self.name);
        let mut rows = aliases["result"]["aliases"].as_array().unwrap().iter();
        Some(rows.find(|row| row["alias_name"] == alias)?["collection_name"].as_str().unwrap().to_owned())
    }

    /// Everything that is described, as it is in the services, with NAME in place of the name.
    pub fn state(&self) -> Value {
        let rows = |query: &str| runtime().block_on(self.postgres.rows(&query.replace("NAME", &self.name))).unwrap();
        let mut meta = self.redis(&["HGETALL", "bull:NAME:meta"]);
        if let Some(pairs) = meta.as_array_mut() {
            let mut fields: Vec<String> = pairs.chunks(2).map(|pair| format!("{}={}", pair[0], pair[1])).collect();
            fields.sort();
            meta = json!(fields);
        }
        let collections = self.qdrant("GET", "/collections", Value::Null);
        let named = |row: &Value| row["name"].as_str().unwrap_or_default().to_owned();
        let own = |name: &String| *name == self.name || name.starts_with(&format!("{}-", self.name));
        let mut names: Vec<String> =
            collections["result"]["collections"].as_array().unwrap().iter().map(named).filter(own).collect();
        names.sort();
        let describe = |name: &String| {
            let found = self.qdrant("GET", &format!("/collections/{name}"), Value::Null);
            let indexes: Vec<String> = found["result"]["payload_schema"].as_object().unwrap().keys().cloned().collect();
            json!([name, found["result"]["config"]["params"], indexes, self.points(name)])
        };
        let collections: Vec<Value> = names.iter().map(describe).collect();
        let aliases = self.qdrant("GET", "/aliases", Value::Null);
        let mut aliases: Vec<String> = aliases["result"]["aliases"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| own(&row["alias_name"].as_str().unwrap().to_owned()))
            .map(|row| format!("{}={}", row["alias_name"], row["collection_name"]))
            .collect();
        aliases.sort();
        let state = json!({
            "meta": meta,
            "extensions": rows("select extname from pg_extension order by 1"),
            "role": rows("select rolname, rolcanlogin from pg_roles where rolname = 'NAME'"),
            "tables": rows("select relname, relrowsecurity, relacl::text from pg_class where oid = to_regclass('public.docs')"),
            "migrations": rows("select to_regclass('supabase_migrations.schema_migrations') is not null as there"),
            "collections": collections,
            "aliases": aliases,
            "file": fs::read_to_string(self.cli.path("work/worker.json")).ok(),
        });
        serde_json::from_str(&state.to_string().replace(&self.name, "NAME")).unwrap()
    }
}

impl Drop for ProvisionSandbox<'_> {
    fn drop(&mut self) {
        runtime().block_on(self.postgres.close());
    }
}

/// The exit code, and the output in one line.
pub fn code_and_text(output: &Output) -> (i32, String) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "│").collect();
    (output.status.code().unwrap(), words.join(" "))
}
