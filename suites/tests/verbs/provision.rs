//! `shakedown plan` and `shakedown setup` of a desired state, and `shakedown queue`, as somebody meets them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use shakedown::settings::docker_host;
use shakedown::stack::engine_answers;

use crate::provision_sandbox::{COLLECTION, DESCRIBED, ProvisionSandbox, said};
use crate::support::groups::{self, Group};
use crate::support::harness::{Test, TestStack, on_one_stack, runtime};

const TESTS: &[(&str, Test)] = &[
    ("a_queue_is_counted_and_tended_as_bullmq_5_does", crate::queue_care::beside_node_5),
    ("a_queue_is_counted_and_tended_as_bullmq_6_does", crate::queue_care::beside_node_6),
    ("a_second_run_changes_nothing", twice),
    ("each_drift_is_planned_and_mended", drifts),
    ("a_collection_is_replaced_and_keeps_its_points", replaced),
    ("points_that_cannot_be_carried_over_are_not_lost_unasked", discarded),
    ("a_run_that_is_killed_after_any_step_is_gone_on_with", killed),
    ("a_replacement_that_is_killed_after_any_step_is_gone_on_with", killed_while_replacing),
    ("two_runs_at_once_do_not_disturb_each_other", at_once),
    ("points_that_are_overwritten_meanwhile_are_seen_before_the_switch", crate::collection_swap::overwritten),
    (
        "a_replacement_that_was_killed_before_the_switch_sees_what_was_overwritten_since",
        crate::collection_swap::overwritten_after_a_kill,
    ),
    ("jobs_have_the_options_that_are_described_and_others_are_drift", job_options),
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
        others.extend(groups::trials("provision", &[(parity, crate::setup_steps::alike)]));
    } else {
        others.push(groups::ignored("provision", parity, "no Docker engine here"));
    }
    on_one_stack("provision", &tests, others)
}

fn pending(changes: &[String]) -> Vec<&str> {
    changes.iter().filter(|change| !change.starts_with("drift ")).map(String::as_str).collect()
}

fn twice(stack: &TestStack) {
    let yard = ProvisionSandbox::new(stack, "twice", DESCRIBED);
    let (code, changes) = yard.plan();
    assert_eq!((code, pending(&changes).len()), (4, 11), "{changes:#?}");
    assert_eq!(yard.redis(&["EXISTS", "bull:NAME:meta"]), 0, "a plan only reads");
    let first = yard.set_up(&[]);
    for step in ["queue created", "role created", "migrations changed", "collection created", "file created"] {
        assert!(first.contains(step), "{step} in {first}");
    }
    let path = fs::canonicalize(yard.desk.path("work/worker.json")).unwrap();
    assert!(first.contains(path.to_str().unwrap()), "{first}");
    assert_eq!(yard.plan(), (0, Vec::new()));
    let state = yard.state();
    let second = yard.set_up(&[]);
    assert!(!second.contains(" created ") && !second.contains(" changed "), "{second}");
    assert_eq!(yard.state(), state);
}

/// What is broken, and what the plan says of it.
type Drift = (fn(&ProvisionSandbox), &'static str);

/// Drifts that do not get in each other's way, in the order of the plan; those in the last row but one are not mended.
const DRIFTS: &[Drift] = &[
    (
        |yard| {
            yard.redis(&["HSET", "bull:NAME:meta", "concurrency", "9"]);
        },
        "change queue bull:NAME: concurrency: 9 → 4, rate limit max: 10",
    ),
    (
        |yard| {
            yard.redis(&["HDEL", "bull:NAME:meta", "max"]);
        },
        "",
    ),
    (|yard| yard.sql("drop extension pgcrypto"), "create extension pgcrypto: "),
    (|yard| yard.sql("alter role NAME nologin"), "change role NAME: login"),
    (
        |yard| yard.write("migrations/20260102000000_more.sql", "create table public.more (id int);"),
        "change migrations migrations: 20260102000000_more.sql",
    ),
    (
        |yard| yard.sql("alter table public.docs disable row level security"),
        "change rls public.docs: row level security: on",
    ),
    (|yard| yard.sql("revoke insert on public.docs from NAME"), "change grant NAME on public.docs: insert"),
    (
        |yard| yard.sql("grant delete on public.docs to NAME"),
        "drift grant NAME on public.docs: also has delete, not described in shakedown.toml",
    ),
    (
        |yard| {
            yard.qdrant("PATCH", "/collections/NAME", json!({ "hnsw_config": { "m": 8 } }));
        },
        "change collection NAME: hnsw m: 8 → 16",
    ),
    (
        |yard| {
            yard.qdrant("DELETE", "/collections/NAME/index/chunk_index?wait=true", Value::Null);
            yard.qdrant(
                "PUT",
                "/collections/NAME/index?wait=true",
                json!({ "field_name": "chunk_index", "field_schema": "keyword" }),
            );
        },
        "change index chunk_index of NAME: type: keyword → integer; the index is rebuilt",
    ),
    (
        |yard| {
            yard.qdrant("DELETE", "/collections/NAME/index/document_id?wait=true", Value::Null);
        },
        "create index document_id of NAME: keyword",
    ),
    (
        |yard| {
            yard.qdrant("PUT", "/collections/NAME-other", json!({ "vectors": { "size": 4, "distance": "Dot" } }));
            yard.qdrant(
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
        |yard| {
            yard.qdrant(
                "PUT",
                "/collections/NAME/index?wait=true",
                json!({ "field_name": "more", "field_schema": "float" }),
            );
        },
        "drift index more of NAME: float, not described in shakedown.toml",
    ),
    (|yard| fs::remove_file(yard.desk.path("work/worker.json")).unwrap(), "create file WORK/worker.json: "),
];

fn drifts(stack: &TestStack) {
    let yard = ProvisionSandbox::new(stack, "drifts", DESCRIBED);
    yard.set_up(&[]);
    let size = fs::metadata(yard.desk.path("work/worker.json")).unwrap().len();
    for (break_it, _) in DRIFTS {
        break_it(&yard);
    }
    let work = fs::canonicalize(yard.desk.path("work")).unwrap().display().to_string();
    let mut wanted: Vec<String> = DRIFTS
        .iter()
        .filter(|(_, says)| !says.is_empty())
        .map(|(_, says)| says.replace("NAME", &yard.name).replace("WORK", &work))
        .collect();
    wanted.last_mut().unwrap().push_str(&format!("{size} bytes"));
    assert_eq!(yard.plan(), (4, wanted.clone()));
    yard.set_up(&[]);
    wanted.retain(|change| change.starts_with("drift "));
    assert_eq!(yard.plan(), (0, wanted), "all is mended but what is not to be touched");

    // A file that says something else is left alone, until it is told to be overwritten.
    yard.write("worker.json", "mine");
    assert_eq!(yard.plan().0, 0);
    yard.set_up(&[]);
    assert_eq!(fs::read_to_string(yard.desk.path("work/worker.json")).unwrap(), "mine");
    yard.set_up(&["--force"]);
    assert_eq!(fs::metadata(yard.desk.path("work/worker.json")).unwrap().len(), size);

    // A queue of which nothing is left is made anew.
    yard.redis(&["DEL", "bull:NAME:meta"]);
    let (code, changes) = yard.plan();
    assert!(code == 4 && changes.iter().any(|change| change.starts_with("create queue")), "{changes:?}");
    // A description of no stack, and none that can be read.
    yard.describe("");
    let (code, text) = yard.run(&["plan"]);
    assert!(code == 2 && text.contains("has no [desired]"), "{text}");
}

fn replaced(stack: &TestStack) {
    let yard = ProvisionSandbox::new(stack, "replaced", COLLECTION);
    yard.set_up(&[]);
    yard.store(300);
    yard.describe(&COLLECTION.replace("size = 4", "size = 4\ndistance = \"Dot\""));
    let (code, changes) = yard.plan();
    assert!(
        code == 4 && changes[0].starts_with("re-create collection replaced: distance: Cosine → Dot, 300 points"),
        "{changes:?}"
    );
    let before = yard.state();
    let (code, text) = yard.run(&["setup"]);
    assert!(code == 2 && text.contains("--yes") && text.contains("is a collection, not an alias"), "{text}");
    assert_eq!(yard.state(), before, "nothing was changed unasked");

    // The name of a collection becomes an alias; from then on it is switched.
    for (distance, target) in [("Dot", "replaced-1"), ("Euclid", "replaced-2")] {
        yard.describe(&COLLECTION.replace("size = 4", &format!("size = 4\ndistance = \"{distance}\"")));
        yard.set_up(&["--yes"]);
        assert_eq!(yard.plan(), (0, Vec::new()));
        assert_eq!(yard.alias("NAME").as_deref(), Some(target));
        assert_eq!(yard.alias("NAME-live").as_deref(), Some(target));
        assert_eq!(yard.points("NAME"), 300);
    }
    assert_eq!(yard.points("NAME-1"), 300, "what an alias stood for stays");
    let point = yard.qdrant("GET", "/collections/NAME/points/7", Value::Null);
    assert_eq!(point["result"]["payload"], json!({ "document_id": "d7" }));
}

fn job_options(stack: &TestStack) {
    let yard = ProvisionSandbox::new(stack, "joboptions", "");
    let described = "[desired.queue]\nname = \"NAME\"\n[desired.queue.job]\nattempts = 7\n\
                     backoff = { type = \"exponential\", delay = 1000, jitter = 0.5 }\nkeep_completed = { age = \"1h\" }\n";
    yard.describe(described);
    yard.set_up(&[]);
    yard.write("one.txt", "One.");
    let (code, text) = yard.run(&["ingest", "one.txt"]);
    assert_eq!(code, 0, "{text}");
    let ids = yard.redis(&["LRANGE", "bull:NAME:wait", "0", "-1"]);
    let options = yard.redis(&["HGET", &format!("bull:NAME:{}", ids[0].as_str().unwrap()), "opts"]);
    let options: Value = serde_json::from_str(options.as_str().unwrap()).unwrap();
    assert_eq!(options["attempts"], 7, "{options}");
    assert_eq!(options["backoff"], json!({ "type": "exponential", "delay": 1000, "jitter": 0.5 }));
    assert_eq!(options["removeOnComplete"], json!({ "age": 3600 }));
    assert_eq!(yard.plan(), (0, Vec::new()), "what waits has what is described");

    // What is said of this job counts before what is described of all; and others say other things.
    yard.describe(&format!("{described}[queue]\njob = {{ name = \"ingest-document\", data = {{ documentId = \"{{{{document.id}}}}\" }}, attempts = 2 }}\n"));
    yard.write("two.txt", "Two.");
    assert_eq!(yard.run(&["ingest", "two.txt"]).0, 0);
    yard.redis(&["HSET", "bull:NAME:delayed-one", "opts", "{\"attempts\":7,\"delay\":5}"]);
    yard.redis(&["ZADD", "bull:NAME:delayed", "1", "delayed-one"]);
    let (code, changes) = yard.plan();
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
    let yard = ProvisionSandbox::new(stack, "composefiles", "[desired.files]\ncompose = \"local/services.yaml\"\n");
    let place = fs::canonicalize(yard.desk.path("work")).unwrap().join("local");
    let (code, changes) = yard.plan();
    assert_eq!((code, changes.len()), (4, 7), "{changes:#?}");
    assert!(!place.exists(), "a plan only reads");
    let text = yard.set_up(&[]);
    for file in ["services.yaml", ".env", ".gitignore", "postgres/shape.sql", "bull-board/server.js"] {
        assert!(text.contains(&format!("file created {}", place.join(file).display())), "{file} in {text}");
    }
    let secrets = fs::read_to_string(place.join(".env")).unwrap();
    let secret = secrets.lines().last().unwrap().split_once('=').unwrap().1.to_owned();
    assert!(secret.len() > 20 && !text.contains(&secret));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(place.join(".env")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(yard.plan(), (0, Vec::new()));
    assert_eq!(yard.run(&["compose", "--check", "local/services.yaml"]).0, 0);

    // Somebody's own: a compose file is left until it is told to be overwritten, secrets and what git ignores always are.
    yard.write("local/services.yaml", "mine");
    yard.write("local/.env", "REDIS_PASSWORD=mine\nPOSTGRES_PASSWORD=mine\n");
    yard.write("local/.gitignore", "*.log\n");
    let (code, changes) = yard.plan();
    assert_eq!(code, 0);
    for part in ["has different content; --force", "begins with QDRANT_API_KEY=", "begins with .env"] {
        assert!(
            changes.iter().any(|change| change.starts_with("drift file ") && change.contains(part)),
            "{changes:#?}"
        );
    }
    yard.set_up(&["--force"]);
    assert!(fs::read_to_string(place.join("services.yaml")).unwrap().contains("services:"));
    assert_eq!(fs::read_to_string(place.join(".gitignore")).unwrap(), "*.log\n");
    assert_eq!(fs::read_to_string(place.join(".env")).unwrap(), "REDIS_PASSWORD=mine\nPOSTGRES_PASSWORD=mine\n");
}

fn discarded(stack: &TestStack) {
    let yard = ProvisionSandbox::new(stack, "discarded", COLLECTION);
    yard.set_up(&[]);
    yard.store(3);
    let before = yard.state();
    yard.describe(&COLLECTION.replace("size = 4", "size = 8"));
    let (code, text) = yard.run(&["setup", "--yes"]);
    assert!(code == 2 && text.contains("--discard") && text.contains("3 points"), "{text}");
    assert_eq!(yard.state(), before, "nothing was changed unasked");
    yard.set_up(&["--yes", "--discard"]);
    assert_eq!((yard.plan().0, yard.points("NAME")), (0, 0));
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
        let yard = ProvisionSandbox::new(stack, &format!("{name}{writes}"), described);
        prepare(&yard);
        let mut command = yard.command(&[&["setup"], arguments].concat());
        let killed = command.env("SHAKEDOWN_DEFECT", format!("setup-ends-after-{writes}")).output().unwrap();
        if killed.status.success() {
            assert_eq!(yard.state(), wanted);
            return writes - 1;
        }
        assert_eq!(killed.status.code(), Some(137), "{:?}", said(&killed));
        yard.set_up(arguments);
        assert_eq!(yard.state(), wanted, "after {writes} writes");
    }
    unreachable!()
}

/// Each run is killed after its first write, and the next one goes on, until one has nothing left to write: so each step is
/// once the last one before the end.
fn killed(stack: &TestStack) {
    let clean = ProvisionSandbox::new(stack, "killed0", DESCRIBED);
    clean.set_up(&[]);
    let wanted = clean.state();
    let yard = ProvisionSandbox::new(stack, "killed1", DESCRIBED);
    let mut writes = 0;
    loop {
        let mut command = yard.command(&["setup"]);
        let run = command.env("SHAKEDOWN_DEFECT", "setup-ends-after-1").output().unwrap();
        if run.status.success() {
            break;
        }
        assert_eq!(run.status.code(), Some(137), "after {writes} writes: {:?}", said(&run));
        writes += 1;
    }
    assert_eq!(writes, 12, "the steps, and the layout of the queue");
    assert_eq!(yard.state(), wanted);
    assert_eq!(yard.plan(), (0, Vec::new()));
}

fn killed_while_replacing(stack: &TestStack) {
    let prepare = |yard: &ProvisionSandbox| {
        yard.qdrant("PUT", "/collections/NAME", json!({ "vectors": { "size": 4, "distance": "Cosine" } }));
        let live = json!({ "create_alias": { "alias_name": "NAME-live", "collection_name": "NAME" } });
        yard.qdrant("POST", "/collections/aliases", json!({ "actions": [live] }));
        yard.store(300);
        yard.describe(&COLLECTION.replace("size = 4", "size = 4\ndistance = \"Dot\""));
    };
    let writes = killed_after_each(stack, "replacing", COLLECTION, prepare, &["--yes"]);
    assert!(writes >= 8, "there are as many steps, and not {writes}");
}

fn at_once(stack: &TestStack) {
    let yard = ProvisionSandbox::new(stack, "atonce", DESCRIBED);
    let both = |arguments: &[&str]| {
        let runs = [yard.begin(arguments), yard.begin(arguments)];
        for run in runs {
            let (code, text) = said(&run.wait_with_output().unwrap());
            assert_eq!(code, 0, "{text}");
        }
        assert_eq!(yard.plan(), (0, Vec::new()));
    };
    both(&["setup"]);
    yard.store(300);
    yard.describe(&DESCRIBED.replace("size = 4", "size = 4\ndistance = \"Dot\""));
    both(&["setup", "--yes", "--force"]);
    assert_eq!(yard.points("NAME"), 300);
}

fn denied(stack: &TestStack) {
    // Redis: a user who may look.
    let yard = ProvisionSandbox::new(stack, "denied", DESCRIBED);
    yard.redis(&[
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
    let (code, text) = said(&yard.command(&["setup"]).env("REDIS_URL", url.as_str()).output().unwrap());
    assert_eq!(code, 3, "{text}");
    for part in ["bullmq queue failed", "'hsetnx'", "ACL SETUSER", "postgres state skipped bullmq queue failed"] {
        assert!(text.contains(part) && !text.contains("the-secret"), "{part} in {text}");
    }
    assert_eq!(yard.plan().1.len(), 11, "nothing was made");

    // Postgres: a role that may connect.
    yard.sql("create role denied_looker login password 'the-secret'");
    let mut url = url::Url::parse(stack.stack.endpoints().postgres.url.expose_secret()).unwrap();
    url.set_path("denied");
    url.set_username("denied_looker").unwrap();
    url.set_password(Some("the-secret")).unwrap();
    let (code, text) = said(&yard.command(&["setup"]).env("DATABASE_URL", url.as_str()).output().unwrap());
    assert_eq!(code, 3, "{text}");
    for part in ["bullmq queue created", "permission denied", "grant create on", "qdrant state skipped"] {
        assert!(text.contains(part) && !text.contains("the-secret"), "{part} in {text}");
    }
    let (code, changes) = yard.plan();
    assert_eq!((code, changes.len()), (4, 10), "all but the queue is still to be made: {changes:?}");

    // Qdrant: a key that may only read.
    let mut server = std::process::Command::new(crate::support::harness::SHAKEDOWN)
        .args(["qdrant", "--http-port", "0", "--grpc-port", "0"])
        .arg("--storage")
        .arg(yard.desk.path("data").join("qdrant"))
        .env("QDRANT_API_KEY", "the-secret-key")
        .env("QDRANT_READ_ONLY_API_KEY", "the-secret-eye")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let bound: Value = serde_json::from_str(&line).unwrap();
    yard.describe(COLLECTION);
    let address = bound["http"].as_str().unwrap_or_default().to_owned();
    let mut command = yard.command(&["setup"]);
    command.env("QDRANT_URL", format!("http://{address}")).env("QDRANT_API_KEY", "the-secret-eye");
    let (code, text) = said(&command.output().unwrap());
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(code, 3, "{line} {text}");
    for part in ["qdrant collection failed", "403", "QDRANT_API_KEY is read-only"] {
        assert!(text.contains(part) && !text.contains("the-secret"), "{part} in {text}");
    }
}
