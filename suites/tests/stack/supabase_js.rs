//! The stand-in for PostgREST, as supabase-js sees it: `fixtures/clients/supabase-js`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use shakedown::services::postgres::Postgres;
use shakedown::settings::PostgresEndpoint;
use shakedown::stack::postgrest::{Postgrest, Program};
use shakedown::stack::{Ledger, ProviderKind};

use crate::support::harness::{TestStack, runtime};

const TABLE: &str = "create table public.notes (id text primary key, size integer check (size > 0), text text, \
                     tags text[], meta jsonb); alter table public.notes enable row level security; \
                     grant select on public.notes to anon; create schema hidden";

/// What each step of the session yields: its status, and the data or the code of the error.
fn wanted() -> Vec<(&'static str, u64, Value)> {
    let a = json!({ "id": "a", "size": 10, "meta": { "kind": "it's" } });
    let b = json!([{ "id": "b", "size": null, "text": "o'clock \\ back", "tags": null, "meta": null }]);
    vec![
        ("insert", 201, Value::Null),
        ("insert and select", 201, json!({ "id": "c", "text": "three" })),
        ("duplicate", 409, json!("23505")),
        ("upsert", 201, a),
        ("upsert without change", 201, Value::Null),
        ("select", 200, json!([{ "id": "a", "size": 10 }, { "id": "c", "size": 3 }])),
        ("filters", 200, json!([{ "id": "a" }])),
        ("or", 200, json!([{ "id": "b" }, { "id": "c" }])),
        ("not", 200, json!([{ "id": "c" }])),
        ("json and arrays", 200, json!([{ "id": "a", "kind": "it's" }])),
        ("count", 200, json!(3)),
        ("range", 206, json!([{ "id": "b" }])),
        ("update", 200, b),
        ("update of none", 200, json!([])),
        ("maybe", 200, Value::Null),
        ("single of none", 406, json!("PGRST116")),
        ("delete", 200, json!([{ "id": "c" }])),
        ("injection", 200, json!([])),
        ("unknown table", 404, json!("PGRST205")),
        ("unknown column", 400, json!("PGRST204")),
        ("wrong type", 400, json!("22P02")),
        ("check", 400, json!("23514")),
        ("other schema", 406, json!("PGRST106")),
        ("embedding", 400, json!("PGRST100")),
        ("anon", 200, json!([])),
        ("anon inserts", 401, json!("42501")),
        ("other key", 401, json!("PGRST301")),
        (
            "rest",
            200,
            json!([{ "id": "a", "size": 10, "text": null }, { "id": "b", "size": null, "text": "o'clock \\ back" }]),
        ),
    ]
}

#[test]
fn supabase_js_finds_what_it_expects_of_postgrest() {
    let packages = crate::support::client_packages::home("supabase-js");
    assert!(packages.join("installed").is_file(), "supabase-js is not installed: run scripts/install clients");
    runtime().block_on(async {
        let stack = TestStack::launch(ProviderKind::Native, "postgrest").await;
        let endpoint = &stack.stack.endpoints().postgres;
        let postgres = Postgres::connect_alone(endpoint).await.unwrap();
        postgres.execute(TABLE).await.unwrap();
        let postgrest = Postgrest::start_stand_in(endpoint, &[]).unwrap();
        let supabase = postgrest.endpoint();
        let session = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/clients/supabase-js/session.mjs");
        let output = tokio::process::Command::new("node")
            .arg(session)
            .env("PACKAGES", &packages)
            .env("SUPABASE_URL", &supabase.url)
            .env("SERVICE_KEY", supabase.service_key.expose_secret())
            .env("ANON_KEY", supabase.anon_key.expose_secret())
            .output()
            .await
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let steps: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let seen: Vec<(&str, u64, Value)> = steps
            .iter()
            .map(|step| {
                let name = step["name"].as_str().unwrap();
                let result = match (name, &step["error"]) {
                    ("count", _) => &step["count"],
                    (_, Value::Null) => &step["data"],
                    (_, error) => &error["code"],
                };
                (name, step["status"].as_u64().unwrap(), result.clone())
            })
            .collect();
        assert_eq!(seen, wanted(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(steps[11]["count"], 3, "the number of all rows of a range");
        postgres.close().await;
        drop(postgrest);
        assert_eq!(stack.stop().await, Vec::<String>::new());
    });
}

/// A program that is started and asked as PostgREST is. It becomes ready at the third question.
const PROGRAM: &str = r"
const http = require('node:http'), crypto = require('node:crypto');
if (process.argv[2] === '--version') { console.log('PostgREST 12.2.3'); process.exit(0); }
const env = process.env;
if (env.PGRST_DB_URI.includes('unreachable')) { console.error('no connection to the database'); process.exit(1); }
let questions = 0;
http.createServer((request, response) => {
  response.writeHead(request.url === '/ready' && ++questions > 2 ? 200 : 503).end();
}).listen(Number(env.PGRST_ADMIN_SERVER_PORT), env.PGRST_SERVER_HOST);
http.createServer((request, response) => {
  const [head, claims, signature] = (request.headers.authorization ?? '').replace('Bearer ', '').split('.');
  const right = crypto.createHmac('sha256', env.PGRST_JWT_SECRET).update(`${head}.${claims}`).digest('base64url');
  let body = '';
  request.on('data', (part) => { body += part; }).on('end', () => {
    response.writeHead(201, { 'content-type': 'application/json', 'content-range': '0-0/*' });
    response.end(JSON.stringify({
      pid: process.pid, path: request.url, method: request.method, body, prefer: request.headers.prefer,
      role: signature === right && JSON.parse(Buffer.from(claims, 'base64url')).role,
      database: env.PGRST_DB_URI, schemas: env.PGRST_DB_SCHEMAS, anon: env.PGRST_DB_ANON_ROLE,
    }));
  });
}).listen(Number(env.PGRST_SERVER_PORT), env.PGRST_SERVER_HOST);
";

/// `postgrest` in `directory`: a script that runs [`PROGRAM`].
fn installed_in(directory: &Path) -> Program {
    let (source, script) = (directory.join("program.js"), directory.join("postgrest"));
    std::fs::write(&source, PROGRAM).unwrap();
    let node = shakedown::settings::search_path().iter().map(|place| place.join("node")).find(|path| path.is_file());
    let text = format!("#!/bin/sh\nexec {} {} \"$@\"\n", node.unwrap().display(), source.display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    Program::find(&["/nowhere".into(), directory.to_owned()]).unwrap()
}

fn database(host: &str) -> PostgresEndpoint {
    PostgresEndpoint { url: format!("postgres://u:p@{host}:5432/d").into() }
}

#[test]
fn an_installed_postgrest_is_served_as_supabase_serves_it() {
    let place = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(place.path(), "postgrest").unwrap();
    let program = installed_in(place.path());
    assert_eq!(program.version(), "12.2.3");
    assert_eq!(Postgrest::record(Some(&program)).kind, "postgrest");
    let client = reqwest::Client::new();
    let pid = runtime().block_on(async {
        let (schemas, files) = (["app".to_owned()], (place.path(), &ledger));
        let mut postgrest = Postgrest::start(&program, &database("h"), &schemas, files).await.unwrap();
        let url = format!("{}/rest/v1/notes?select=id", postgrest.endpoint().url);
        let key = postgrest.endpoint().service_key.clone();
        let ask = async || {
            let request = client.post(&url).header("apikey", key.expose_secret()).header("prefer", "return=minimal");
            let answer = request.body("[1]").send().await.unwrap();
            assert_eq!((answer.status().as_u16(), &answer.headers()["content-range"] == "0-0/*"), (201, true));
            answer.json::<Value>().await.unwrap()
        };
        let mut seen = ask().await;
        let first = seen["pid"].take();
        let wanted = json!({
            "pid": null, "path": "/notes?select=id", "method": "POST", "body": "[1]", "prefer": "return=minimal",
            "role": "service_role", "database": "postgres://u:p@h:5432/d", "schemas": "public,app", "anon": "anon",
        });
        assert_eq!(seen, wanted);
        assert_eq!(client.get(&url).send().await.unwrap().status().as_u16(), 401);
        postgrest.reload().await.unwrap();
        let second = ask().await["pid"].take();
        assert_ne!(first, second, "it was not started again");
        [first, second].map(|pid| pid.as_i64().unwrap())
    });
    for pid in pid {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is still there");
    }
}

#[test]
fn a_postgrest_that_ends_is_reported_with_its_log() {
    let place = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(place.path(), "postgrest").unwrap();
    let program = installed_in(place.path());
    let unreachable = database("unreachable");
    let started = Postgrest::start(&program, &unreachable, &[], (place.path(), &ledger));
    let error = runtime().block_on(started).unwrap_err().to_string();
    assert!(error.contains("postgrest exited with code 1 before it was ready"), "{error}");
    assert!(error.contains("no connection to the database"), "{error}");
}
