//! `shakedown plan` and `shakedown setup` of a desired state, and `shakedown queue`, as processes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use shakedown::settings::docker_host;
use shakedown::stack::engine_answers;

use crate::provision_sandbox::{COLLECTION, DESCRIBED, ProvisionSandbox, code_and_text};
use crate::support::groups::{self, Group};
use crate::support::harness::{Test, TestStack, on_one_stack, runtime};

const TESTS: &[(&str, Test)] = &[
    ("a_queue_is_counted_and_changed_as_bullmq_5_does", crate::queue_care::beside_node_5),
    ("a_queue_is_counted_and_changed_as_bullmq_6_does", crate::queue_care::beside_node_6),
    ("a_second_run_changes_nothing", twice),
    ("each_drift_is_planned_and_corrected", drifts),
    ("a_collection_is_replaced_and_keeps_its_points", replaced),
    ("points_that_cannot_be_copied_are_lost_only_with_discard", discarded),
    ("the_next_run_resumes_a_run_that_was_killed_after_any_step", killed),
    ("the_next_run_resumes_a_replacement_that_was_killed_after_any_step", killed_while_replacing),
    ("two_concurrent_runs_do_not_disturb_each_other", at_once),
    (
        "points_that_are_overwritten_during_a_replacement_are_found_before_the_switch",
        crate::collection_swap::overwritten,
    ),
    (
        "a_replacement_that_was_killed_before_the_switch_finds_points_that_were_overwritten_since",
        crate::collection_swap::overwritten_after_a_kill,
    ),
    ("jobs_have_the_described_options_and_other_options_are_drift", job_options),
    ("the_files_of_the_compose_tool_are_written_once", compose_files),
    ("setup_for_a_worker_takes_the_same_steps_each_time", crate::setup_steps::for_a_worker),
    ("a_missing_permission_is_named", denied),
];

/// These need bull-board.
const BOARD: &[(&str, Test)] = &[
    ("bull_board_counts_a_queue_of_bullmq_5_as_we_do", crate::queue_care::beside_board_5),
    ("bull_board_counts_a_queue_of_bullmq_6_as_we_do", crate::queue_care::beside_board_6),
];

/// `shakedown plan`, `setup` and `queue`.
pub fn group() -> Group {
    let mut tests = TESTS.to_vec();
    let mut others = Vec::new();
    if crate::queue_care::board_home().is_some() {
        tests.extend(BOARD);
    } else {
        let why = "bull-board is not installed here: scripts/install clients";
        others.extend(BOARD.iter().map(|(name, _)| groups::ignored("provision", name, why)));
    }
    let parity = "containers_are_set_up_in_the_same_steps_as_processes";
    let engine = runtime().block_on(engine_answers(&docker_host(), Duration::from_secs(5)));
    if engine.is_ok() {
        others.extend(groups::trials("provision", &[(parity, crate::setup_steps::same_result_on_both_providers)]));
    } else {
        others.push(groups::ignored("provision", parity, "no Docker engine here"));
    }
    on_one_stack("provision", &tests, others)
}

fn pending(changes: &[String]) -> Vec<&str> {
    changes.iter().filter(|change| !change.starts_with("drift ")).map(String::as_str).collect()
}

fn twice(stack: &TestStack) {
    let sandbox = ProvisionSandbox::new(stack, "twice", DESCRIBED);
    let (code, changes) = sandbox.plan();
    assert_eq!((code, pending(&changes).len()), (4, 11), "{changes:#?}");
    assert_eq!(sandbox.redis(&["EXISTS", "bull:NAME:meta"]), 0, "a plan only reads");
    let first = sandbox.set_up(&[]);
    for step in ["queue created", "role created", "migrations changed", "collection created", "file created"] {
        assert!(first.contains(step), "{step} in {first}");
    }
    let path = fs::canonicalize(sandbox.cli.path("work/worker.json")).unwrap();
    assert!(first.contains(path.to_str().unwrap()), "{first}");
    assert_eq!(sandbox.plan(), (0, Vec::new()));
    let state = sandbox.state();
    let second = sandbox.set_up(&[]);
    assert!(!second.contains(" created ") && !second.contains(" changed "), "{second}");
    assert_eq!(sandbox.state(), state);
}

/// What is broken, and what the plan says of it.
type Drift = (fn(&ProvisionSandbox), &'static str);

/// Drifts that do not get in each other's way, in the order of the plan; those in the last row but one are not mended.
const DRIFTS: &[Drift] = &[
    (
        |sandbox| {
            sandbox.redis(&["HSET", "bull:NAME:meta", "concurrency", "9"]);
        },
        "change queue bull:NAME: concurrency: 9 → 4, rate limit max: 10",
    ),
    (
        |sandbox| {
            sandbox.redis(&["HDEL", "bull:NAME:meta", "max"]);
        },
        "",
    ),
    (|sandbox| sandbox.sql("drop extension pgcrypto"), "create extension pgcrypto: "),
    (|sandbox| sandbox.sql("alter role NAME nologin"), "change role NAME: login"),
    (
        |sandbox| sandbox.write("migrations/20260102000000_more.sql", "create table public.more (id int);"),
        "change migrations migrations: 20260102000000_more.sql",
    ),
    (
        |sandbox| sandbox.sql("alter table public.docs disable row level security"),
        "change rls public.docs: row level security: on",
    ),
    (|sandbox| sandbox.sql("revoke insert on public.docs from NAME"), "change grant NAME on public.docs: insert"),
    (
        |sandbox| sandbox.sql("grant delete on public.docs to NAME"),
        "drift grant NAME on public.docs: also has delete, not described in shakedown.toml",
    ),
    (
        |sandbox| {
            sandbox.qdrant("PATCH", "/collections/NAME", json!({ "hnsw_config": { "m": 8 } }));
        },
        "change collection NAME: hnsw m: 8 → 16",
    ),
    (
        |sandbox| {
            sandbox.qdrant("DELETE", "/collections/NAME/index/chunk_index?wait=true", Value::Null);
            sandbox.qdrant(
                "PUT",
                "/collections/NAME/index?wait=true",
                json!({ "field_name": "chunk_index", "field_schema": "keyword" }),
            );
        },
        "change index chunk_index of NAME: type: keyword → integer; the index is rebuilt",
    ),
    (
        |sandbox| {
            sandbox.qdrant("DELETE", "/collections/NAME/index/document_id?wait=true", Value::Null);
        },
        "create index document_id of NAME: keyword",
    ),
    (
        |sandbox| {
            sandbox.qdrant("PUT", "/collections/NAME-other", json!({ "vectors": { "size": 4, "distance": "Dot" } }));
            sandbox.qdrant(
                "POST",
                "/collections/aliases",
                json!({ "actions": [
            { "delete_alias": { "alias_name": "NAME-live" } },
            { "create_alias": { "alias_name": "NAME-live", "collection_name": "NAME-other" } },
        ] }),
            );
        },
        "change alias NAME-live: NAME-other → NAME",
    ),
    (
        |sandbox| {
            sandbox.qdrant(
                "PUT",
                "/collections/NAME/index?wait=true",
                json!({ "field_name": "more", "field_schema": "float" }),
            );
        },
        "drift index more of NAME: float, not described in shakedown.toml",
    ),
    (|sandbox| fs::remove_file(sandbox.cli.path("work/worker.json")).unwrap(), "create file WORK/worker.json: "),
];

fn drifts(stack: &TestStack) {
    let sandbox = ProvisionSandbox::new(stack, "drifts", DESCRIBED);
    sandbox.set_up(&[]);
    let size = fs::metadata(sandbox.cli.path("work/worker.json")).unwrap().len();
    for (break_it, _) in DRIFTS {
        break_it(&sandbox);
    }
    let work = fs::canonicalize(sandbox.cli.path("work")).unwrap().display().to_string();
    let mut wanted: Vec<String> = DRIFTS
        .iter()
        .filter(|(_, says)| !says.is_empty())
        .map(|(_, says)| says.replace("NAME", &sandbox.name).replace("WORK", &work))
        .collect();
    wanted.last_mut().unwrap().push_str(&format!("{size} bytes"));
    assert_eq!(sandbox.plan(), (4, wanted.clone()));
    sandbox.set_up(&[]);
    wanted.retain(|change| change.starts_with("drift "));
    assert_eq!(sandbox.plan(), (0, wanted), "all is mended but what is not to be touched");

    // A file with other content stays, unless overwriting is requested.
    sandbox.write("worker.json", "mine");
    assert_eq!(sandbox.plan().0, 0);
    sandbox.set_up(&[]);
    assert_eq!(fs::read_to_string(sandbox.cli.path("work/worker.json")).unwrap(), "mine");
    sandbox.set_up(&["--force"]);
    assert_eq!(fs::metadata(sandbox.cli.path("work/worker.json")).unwrap().len(), size);

    // A queue of which nothing is left is made anew.
    sandbox.redis(&["DEL", "bull:NAME:meta"]);
    let (code, changes) = sandbox.plan();
    assert!(code == 4 && changes.iter().any(|change| change.starts_with("create queue")), "{changes:?}");
    // A description of no stack, and none that can be read.
    sandbox.describe("");
    let (code, text) = sandbox.run(&["plan"]);
    assert!(code == 2 && text.contains("has no [desired]"), "{text}");
}

fn replaced(stack: &TestStack) {
    let sandbox = ProvisionSandbox::new(stack, "replaced", COLLECTION);
    sandbox.set_up(&[]);
    sandbox.store(300);
    sandbox.describe(&COLLECTION.replace("size = 4", "size = 4\ndistance = \"Dot\""));
    let (code, changes) = sandbox.plan();
    assert!(
        code == 4 && changes[0].starts_with("re-create collection replaced: distance: Cosine → Dot, 300 points"),
        "{changes:?}"
    );
    let before = sandbox.state();
    let (code, text) = sandbox.run(&["setup"]);
    assert!(code == 2 && text.contains("--yes") && text.contains("is a collection, not an alias"), "{text}");
    assert_eq!(sandbox.state(), before, "nothing was changed unasked");

    // The name of a collection becomes an alias; from then on it is switched.
    for (distance, target) in [("Dot", "replaced-1"), ("Euclid", "replaced-2")] {
        sandbox.describe(&COLLECTION.replace("size = 4", &format!("size = 4\ndistance = \"{distance}\"")));
        sandbox.set_up(&["--yes"]);
        assert_eq!(sandbox.plan(), (0, Vec::new()));
        assert_eq!(sandbox.alias("NAME").as_deref(), Some(target));
        assert_eq!(sandbox.alias("NAME-live").as_deref(), Some(target));
        assert_eq!(sandbox.points("NAME"), 300);
    }
    assert_eq!(sandbox.points("NAME-1"), 300, "what an alias stood for stays");
    let point = sandbox.qdrant("GET", "/collections/NAME/points/7", Value::Null);
    assert_eq!(point["result"]["payload"], json!({ "document_id": "d7" }));
}

fn job_options(stack: &TestStack) {
    let sandbox = ProvisionSandbox::new(stack, "joboptions", "");
    let described = "[desired.queue]\nname = \"NAME\"\n[desired.queue.job]\nattempts = 7\n\
                     backoff = { type = \"exponential\", delay = 1000, jitter = 0.5 }\nkeep_completed = { age = \"1h\" }\n";
    sandbox.describe(described);
    sandbox.set_up(&[]);
    sandbox.write("one.txt", "One.");
    let (code, text) = sandbox.run(&["ingest", "one.txt"]);
    assert_eq!(code, 0, "{text}");
    let ids = sandbox.redis(&["LRANGE", "bull:NAME:wait", "0", "-1"]);
    let options = sandbox.redis(&["HGET", &format!("bull:NAME:{}", ids[0].as_str().unwrap()), "opts"]);
    let options: Value = serde_json::from_str(options.as_str().unwrap()).unwrap();
    assert_eq!(options["attempts"], 7, "{options}");
    assert_eq!(options["backoff"], json!({ "type": "exponential", "delay": 1000, "jitter": 0.5 }));
    assert_eq!(options["removeOnComplete"], json!({ "age": 3600 }));
    assert_eq!(sandbox.plan(), (0, Vec::new()), "what waits has what is described");

    // The options of this job override the described defaults; other jobs have other options.
    sandbox.describe(&format!("{described}[queue]\njob = {{ name = \"ingest-document\", data = {{ documentId = \"{{{{document.id}}}}\" }}, attempts = 2 }}\n"));
    sandbox.write("two.txt", "Two.");
    assert_eq!(sandbox.run(&["ingest", "two.txt"]).0, 0);
    sandbox.redis(&["HSET", "bull:NAME:delayed-one", "opts", "{\"attempts\":7,\"delay\":5}"]);
    sandbox.redis(&["ZADD", "bull:NAME:delayed", "1", "delayed-one"]);
    let (code, changes) = sandbox.plan();
    assert_eq!(
        (code, changes),
        (
            0,
            vec![
                "drift jobs bull:joboptions: 1 of 3 waiting jobs were added with another attempts: 2 instead of 7, \
                 1 of 3 waiting jobs were added with another backoff: nothing instead of \
                 {\"type\":\"exponential\",\"delay\":1000,\"jitter\":0.5}, \
                 1 of 3 waiting jobs were added with another removeOnComplete: nothing instead of {\"age\":3600}"
                    .to_owned()
            ]
        )
    );
}

fn compose_files(stack: &TestStack) {
    let sandbox = ProvisionSandbox::new(stack, "composefiles", "[desired.files]\ncompose = \"local/services.yaml\"\n");
    let place = fs::canonicalize(sandbox.cli.path("work")).unwrap().join("local");
    let (code, changes) = sandbox.plan();
    assert_eq!((code, changes.len()), (4, 8), "{changes:#?}");
    assert!(!place.exists(), "a plan only reads");
    let text = sandbox.set_up(&[]);
    for file in ["services.yaml", ".env", ".gitignore", "postgres/shape.sql", "bull-board/server.js"] {
        assert!(text.contains(&format!("file created {}", place.join(file).display())), "{file} in {text}");
    }
    let secrets = fs::read_to_string(place.join(".env")).unwrap();
    let secret = secrets.lines().last().unwrap().split_once('=').unwrap().1.to_owned();
    assert!(secret.len() > 20 && !text.contains(&secret));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(place.join(".env")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(sandbox.plan(), (0, Vec::new()));
    assert_eq!(sandbox.run(&["compose", "--check", "local/services.yaml"]).0, 0);

    // Files of the user: a compose file stays unless overwriting is requested; `.env` and `.gitignore` always stay.
    sandbox.write("local/services.yaml", "mine");
    sandbox.write("local/.env", "REDIS_PASSWORD=mine\nPOSTGRES_PASSWORD=mine\n");
    sandbox.write("local/.gitignore", "*.log\n");
    let (code, changes) = sandbox.plan();
    assert_eq!(code, 0);
    for part in ["has different content; --force", "begins with QDRANT_API_KEY=", "begins with .env"] {
        assert!(
            changes.iter().any(|change| change.starts_with("drift file ") && change.contains(part)),
            "{changes:#?}"
        );
    }
    sandbox.set_up(&["--force"]);
    assert!(fs::read_to_string(place.join("services.yaml")).unwrap().contains("services:"));
    assert_eq!(fs::read_to_string(place.join(".gitignore")).unwrap(), "*.log\n");
    assert_eq!(fs::read_to_string(place.join(".env")).unwrap(), "REDIS_PASSWORD=mine\nPOSTGRES_PASSWORD=mine\n");
}

fn discarded(stack: &TestStack) {
    let sandbox = ProvisionSandbox::new(stack, "discarded", COLLECTION);
    sandbox.set_up(&[]);
    sandbox.store(3);
    let before = sandbox.state();
    sandbox.describe(&COLLECTION.replace("size = 4", "size = 8"));
    let (code, text) = sandbox.run(&["setup", "--yes"]);
    assert!(code == 2 && text.contains("--discard") && text.contains("3 points"), "{text}");
    assert_eq!(sandbox.state(), before, "nothing was changed unasked");
    sandbox.set_up(&["--yes", "--discard"]);
    assert_eq!((sandbox.plan().0, sandbox.points("NAME")), (0, 0));
}

/// Kills `setup` after one write, after two, and so on, until it is done before that; goes on after each, and compares
/// with what a run that was not killed has left.
fn killed_after_each(
    stack: &TestStack,
    name: &str,
    described: &str,
    prepare: fn(&ProvisionSandbox),
    arguments: &[&str],
) -> u32 {
    let clean = ProvisionSandbox::new(stack, &format!("{name}0"), described);
    prepare(&clean);
    clean.set_up(arguments);
    let wanted = clean.state();
    for writes in 1.. {
        let sandbox = ProvisionSandbox::new(stack, &format!("{name}{writes}"), described);
        prepare(&sandbox);
        let mut command = sandbox.command(&[&["setup"], arguments].concat());
        let killed = command.env("SHAKEDOWN_DEFECT", format!("setup-ends-after-{writes}")).output().unwrap();
        if killed.status.success() {
            assert_eq!(sandbox.state(), wanted);
            return writes - 1;
        }
        assert_eq!(killed.status.code(), Some(137), "{:?}", code_and_text(&killed));
        sandbox.set_up(arguments);
        assert_eq!(sandbox.state(), wanted, "after {writes} writes");
    }
    unreachable!()
}

/// Each run is killed after its first write, and the next one goes on, until one has nothing left to write: so each step is
/// once the last one before the end.
fn killed(stack: &TestStack) {
    let clean = ProvisionSandbox::new(stack, "killed0", DESCRIBED);
    clean.set_up(&[]);
    let wanted = clean.state();
    let sandbox = ProvisionSandbox::new(stack, "killed1", DESCRIBED);
    let mut writes = 0;
    loop {
        let mut command = sandbox.command(&["setup"]);
        let run = command.env("SHAKEDOWN_DEFECT", "setup-ends-after-1").output().unwrap();
        if run.status.success() {
            break;
        }
        assert_eq!(run.status.code(), Some(137), "after {writes} writes: {:?}", code_and_text(&run));
        writes += 1;
    }
    assert_eq!(writes, 12, "the steps, and the layout of the queue");
    assert_eq!(sandbox.state(), wanted);
    assert_eq!(sandbox.plan(), (0, Vec::new()));
}

fn killed_while_replacing(stack: &TestStack) {
    let prepare = |sandbox: &ProvisionSandbox| {
        sandbox.qdrant("PUT", "/collections/NAME", json!({ "vectors": { "size": 4, "distance": "Cosine" } }));
        let live = json!({ "create_alias": { "alias_name": "NAME-live", "collection_name": "NAME" } });
        sandbox.qdrant("POST", "/collections/aliases", json!({ "actions": [live] }));
        sandbox.store(300);
        sandbox.describe(&COLLECTION.replace("size = 4", "size = 4\ndistance = \"Dot\""));
    };
    let writes = killed_after_each(stack, "replacing", COLLECTION, prepare, &["--yes"]);
    assert!(writes >= 8, "there are as many steps, and not {writes}");
}

fn at_once(stack: &TestStack) {
    let sandbox = ProvisionSandbox::new(stack, "atonce", DESCRIBED);
    let both = |arguments: &[&str]| {
        let runs = [sandbox.begin(arguments), sandbox.begin(arguments)];
        for run in runs {
            let (code, text) = code_and_text(&run.wait_with_output().unwrap());
            assert_eq!(code, 0, "{text}");
        }
        assert_eq!(sandbox.plan(), (0, Vec::new()));
    };
    both(&["setup"]);
    sandbox.store(300);
    sandbox.describe(&DESCRIBED.replace("size = 4", "size = 4\ndistance = \"Dot\""));
    both(&["setup", "--yes", "--force"]);
    assert_eq!(sandbox.points("NAME"), 300);
}

fn denied(stack: &TestStack) {
    // Redis: a user who may look.
    let sandbox = ProvisionSandbox::new(stack, "denied", DESCRIBED);
    sandbox.redis(&[
        "ACL",
        "SETUSER",
        "looker",
        "on",
        ">the-secret",
        "~*",
        "+@read",
        "+ping",
        "+info",
        "+client",
        "+hello",
    ]);
    let mut url = url::Url::parse(stack.stack.endpoints().redis.url.expose_secret()).unwrap();
    url.set_username("looker").unwrap();
    url.set_password(Some("the-secret")).unwrap();
    let (code, text) = code_and_text(&sandbox.command(&["setup"]).env("REDIS_URL", url.as_str()).output().unwrap());
    assert_eq!(code, 3, "{text}");
    for part in ["bullmq queue failed", "'hsetnx'", "ACL SETUSER", "postgres state skipped bullmq queue failed"] {
        assert!(text.contains(part) && !text.contains("the-secret"), "{part} in {text}");
    }
    assert_eq!(sandbox.plan().1.len(), 11, "nothing was made");

    // Postgres: a role that may connect.
    sandbox.sql("create role denied_looker login password 'the-secret'");
    let mut url = url::Url::parse(stack.stack.endpoints().postgres.url.expose_secret()).unwrap();
    url.set_path("denied");
    url.set_username("denied_looker").unwrap();
    url.set_password(Some("the-secret")).unwrap();
    let (code, text) = code_and_text(&sandbox.command(&["setup"]).env("DATABASE_URL", url.as_str()).output().unwrap());
    assert_eq!(code, 3, "{text}");
    for part in ["bullmq queue created", "permission denied", "grant create on", "qdrant state skipped"] {
        assert!(text.contains(part) && !text.contains("the-secret"), "{part} in {text}");
    }
    let (code, changes) = sandbox.plan();
    assert_eq!((code, changes.len()), (4, 10), "all but the queue is still to be made: {changes:?}");

    // Qdrant: a key that may only read.
    let mut server = std::process::Command::new(crate::support::harness::SHAKEDOWN)
        .args(["qdrant", "--http-port", "0", "--grpc-port", "0"])
        .arg("--storage")
        .arg(sandbox.cli.path("data").join("qdrant"))
        .env("QDRANT_API_KEY", "the-secret-key")
        .env("QDRANT_READ_ONLY_API_KEY", "the-secret-eye")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let bound: Value = serde_json::from_str(&line).unwrap();
    sandbox.describe(COLLECTION);
    let address = bound["http"].as_str().unwrap_or_default().to_owned();
    let mut command = sandbox.command(&["setup"]);
    command.env("QDRANT_URL", format!("http://{address}")).env("QDRANT_API_KEY", "the-secret-eye");
    let (code, text) = code_and_text(&command.output().unwrap());
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(code, 3, "{line} {text}");
    for part in ["qdrant collection failed", "403", "QDRANT_API_KEY is read-only"] {
        assert!(text.contains(part) && !text.contains("the-secret"), "{part} in {text}");
    }
}
