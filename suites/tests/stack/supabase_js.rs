//! The stand-in for PostgREST, as supabase-js sees it: `fixtures/clients/supabase-js`.

use std::path::Path;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use shakedown::services::postgres::Postgres;
use shakedown::stack::ProviderKind;
use shakedown::stack::postgrest::Postgrest;

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
        let postgrest = Postgrest::start(endpoint, &[]).unwrap();
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
