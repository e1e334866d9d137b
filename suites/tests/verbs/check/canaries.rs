//! What `check --canary` writes: it is removed again, however the check ends, or named.

use std::process::Stdio;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use shakedown::services::http::Http;
use shakedown::services::postgres::Postgres;
use shakedown::services::redis::Redis;
use shakedown::settings::Endpoints;

use super::reads::Recorders;
use super::{check, end, judged, verdicts};
use crate::support::cli_sandbox::CliSandbox;
use crate::support::harness::{TestStack, runtime};

/// Everything there is, of every service.
pub fn contents(endpoints: &Endpoints) -> Vec<String> {
    runtime().block_on(async {
        let mut all = Redis::connect(&endpoints.redis).await.unwrap().scan("*").await.unwrap();
        let postgres = Postgres::connect(&endpoints.postgres).await.unwrap();
        let query = "select nspname || '.' || coalesce(relname, '') as name from pg_namespace n left join pg_class c on \
                     c.relnamespace = n.oid where nspname !~ '^(pg_|information_schema)' order by 1";
        all.extend(postgres.rows(query).await.unwrap().iter().map(|row| row["name"].to_string()));
        postgres.close().await;
        let http = Http::qdrant(&endpoints.qdrant).unwrap();
        let collections = http.call("GET", "/collections", None).await.unwrap();
        all.extend(collections["result"]["collections"].as_array().unwrap().iter().map(|one| one["name"].to_string()));
        all.sort();
        all
    })
}

/// Whether something was written to each of the services.
fn wrote(recorders: &Recorders) -> (bool, bool) {
    let redis =
        recorders.redis.redis().iter().any(|words| ["EVALSHA", "EVAL"].contains(&words[0].to_uppercase().as_str()));
    (redis, recorders.qdrant.requests().iter().any(|(method, _, _)| method == "PUT"))
}

pub(super) fn removed(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let whole = stack.prepared("canary");
    let before = contents(&whole);
    let mut recorded = whole.clone();
    let recorders = Recorders::before(&mut recorded);
    let (code, report) = judged(&mut check(&sandbox, &recorded, &["--canary"]));
    assert_eq!(code, 0, "{:?}", verdicts(&report));
    assert_eq!(wrote(&recorders), (true, true), "no canary wrote anything");
    for (method, path, _) in recorders.qdrant.requests() {
        let reads = method == "GET" || path.ends_with("/points/query");
        assert!(reads || path.starts_with("/collections/sd-"), "a write outside of its own names: {method} {path}");
    }
    assert_eq!(contents(&whole), before);
}

/// A check that is killed cannot remove anything; `clean` and the next check do.
pub(super) fn killed(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let whole = stack.prepared("killed");
    let before = contents(&whole);
    let mut recorded = whole.clone();
    let recorders = Recorders::before(&mut recorded);
    let mut left_something = false;
    for by_clean in [true, false, true] {
        let mut child = check(&sandbox, &recorded, &["--canary", "--quiet"]).stdout(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while contents(&whole) == before {
            assert!(Instant::now() < deadline, "no canary wrote anything");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let is_left = contents(&whole) != before;
        left_something |= is_left;
        let mut command = if by_clean {
            // Without the variables of the services nothing is removed there, and what is left is named.
            let output = sandbox.command(&["clean"]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(!is_left || text.contains("schema sd_") && text.contains("DATABASE_URL"), "{text}");
            assert!(!is_left || output.status.code() == Some(3), "{text}");
            let mut command = sandbox.command(&["clean"]);
            for variable in recorded.environment() {
                command.env(variable.name, variable.value.expose_secret());
            }
            command
        } else {
            check(&sandbox, &recorded, &["--canary", "--quiet", "--case", "redis.writable"])
        };
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(!is_left || text.contains("removing keys sd-"), "{text}");
        assert_eq!(contents(&whole), before, "{text}");
        // Nothing is left to say.
        let output = sandbox.command(&["clean"]).output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).contains("sd_")), (Some(0), false));
    }
    assert!(left_something, "no check was killed while its data was there");
    drop(recorders);
}

pub(super) fn interrupted(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let whole = stack.prepared("ctrl-c");
    let before = contents(&whole);
    let mut recorded = whole.clone();
    let recorders = Recorders::before(&mut recorded);
    let mut child = check(&sandbox, &recorded, &["--canary", "--quiet"]).stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while wrote(&recorders) != (true, true) {
        assert!(Instant::now() < deadline, "no canary wrote anything");
        std::thread::sleep(Duration::from_millis(5));
    }
    end(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(contents(&whole), before);
}

/// Runs one statement on the stack.
fn execute(stack: &TestStack, statement: &str) {
    runtime().block_on(async {
        let postgres = Postgres::connect(&stack.stack.endpoints().postgres).await.unwrap();
        postgres.execute(statement).await.unwrap();
        postgres.close().await;
    });
}

/// A server without its synchronous replica: every commit waits for it.
pub(super) fn hanging(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let whole = stack.prepared("hanging");
    let before = contents(&whole);
    execute(stack, "alter system set synchronous_standby_names = 'nobody'");
    execute(stack, "select pg_reload_conf()");
    let begun = Instant::now();
    let arguments = ["--canary", "--case", "postgres.canary", "--case", "redis.writable", "--timeout", "3s"];
    let (code, report) = judged(&mut check(&sandbox, &whole, &arguments));
    let took = begun.elapsed();
    execute(stack, "alter system reset synchronous_standby_names");
    execute(stack, "select pg_reload_conf()");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let verdicts = verdicts(&report);
    assert_eq!((code, verdicts["postgres.canary"].0.as_str()), (3, "unknown"), "{verdicts:?}");
    assert_eq!(verdicts["redis.writable"].0, "pass");
    let notes = report["notes"].as_array().unwrap();
    let is_named = |note: &serde_json::Value| {
        let note = note.as_str().unwrap_or_default();
        note.starts_with("clean-up failed: postgres: cannot remove table sd_") && note.contains("`shakedown clean`")
    };
    assert!(notes.iter().any(is_named), "{notes:?}");

    let mut command = sandbox.command(&["clean"]);
    for variable in whole.environment() {
        command.env(variable.name, variable.value.expose_secret());
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("removing keys sd-"), "{text}");
    assert_eq!(contents(&whole), before);
}
