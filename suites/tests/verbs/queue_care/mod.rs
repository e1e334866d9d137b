//! `shakedown queue` beside BullMQ for Node, 5 and 6, on the same queue: they count alike after each verb, and no job is
//! lost when each goes on where the other stopped. bull-board, which shows such queues to people, counts as both do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use shakedown::settings::cache_dir;

use crate::support::cli_sandbox::CliSandbox;
use crate::support::harness::TestStack;

/// Creates jobs in every state: completed and failed ones by a worker of its own, the others by adding them.
const SEED: &str = "
  const worker = new Worker(name, async job => { if (job.name === 'bad') throw new Error('on purpose'); }, { connection, prefix });
  let ended = 0;
  const over = new Promise(done => {
    const one = () => { ended += 1; if (ended === 5) done(); };
    worker.on('completed', one); worker.on('failed', one);
  });
  for (const job of ['good', 'bad', 'good', 'bad', 'good']) await queue.add(job, {});
  await over; await worker.close();
  for (let i = 0; i < 4; i++) await queue.add('later', {}, { delay: 3600000 });
  for (let i = 0; i < 3; i++) await queue.add('first', {}, { priority: 7 });
  const flow = new FlowProducer({ connection, prefix });
  await flow.add({ name: 'parent', queueName: name, children: [{ name: 'child', queueName: name }] });
  await flow.close();
  for (let i = 0; i < 6; i++) await queue.add('next', {});
";

/// Where a BullMQ of this major version is installed: where the interop suite has put it, or a place made now.
fn modules(major: u8) -> PathBuf {
    let peers = std::fs::read_dir(cache_dir().join("peers")).into_iter().flatten().flatten();
    let prefix = format!("node-{major}-");
    let made = peers.map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(&prefix) && path.join("node_modules/bullmq").is_dir()
    });
    made.unwrap_or_else(|| {
        let version = if major == 5 { "bullmq-5.81" } else { "bullmq-6.7" };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/peers/node").join(version);
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(version);
        std::fs::create_dir_all(&place).unwrap();
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(source.join(file), place.join(file)).unwrap();
        }
        let installed = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&place).output();
        assert!(installed.unwrap().status.success(), "npm ci in {}", place.display());
        place
    })
}

/// Begins one of the jobs that wait, and leaves it so, as a worker that was killed would.
const HOLD: &str = "
  const held = new Worker(name, null, { connection, prefix });
  if (!await held.getNextJob('a token', { block: false })) throw new Error('there is no job to begin');
  await held.close(true);
";

struct Both<'a> {
    sandbox: CliSandbox,
    stack: &'a TestStack,
    modules: PathBuf,
    name: String,
}

impl Both<'_> {
    fn redis(&self) -> String {
        self.stack.stack.endpoints().redis.url.expose_secret().to_owned()
    }

    /// Lets Node do something with the queue; gives BullMQ's counts, and whether it is paused.
    fn node(&self, script: &str) -> Value {
        self.node_in(&self.modules, "", "queue", script)
    }

    /// What bull-board's adapter of the queue counts, for its pages.
    fn board(&self, home: &Path) -> Value {
        let import = "import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';";
        self.node_in(home, import, "new BullMQAdapter(queue)", "")["counts"].take()
    }

    /// The same with the packages of a directory; `counter` is what is asked for the counts.
    fn node_in(&self, modules: &Path, import: &str, counter: &str, script: &str) -> Value {
        let text = format!(
            "import {{ FlowProducer, Queue, Worker }} from 'bullmq'; {import}
             const url = new URL(process.env.REDIS_URL);
             const connection = {{ host: url.hostname, port: Number(url.port), username: decodeURIComponent(url.username) || undefined,
               password: decodeURIComponent(url.password) || undefined, db: Number(url.pathname.slice(1) || 0), maxRetriesPerRequest: null }};
             const [name, prefix] = [process.env.QUEUE_NAME, 'care'];
             const queue = new Queue(name, {{ connection, prefix }});
             await queue.waitUntilReady();
             {script}
             console.log(JSON.stringify({{ counts: await ({counter}).getJobCounts(), paused: await queue.isPaused() }}));
             await queue.close();"
        );
        let output = Command::new("node")
            .args(["--input-type=module", "-e", &text])
            .current_dir(modules)
            .env("REDIS_URL", self.redis())
            .env("QUEUE_NAME", &self.name)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command(&[&["queue"], arguments].concat());
        command.env("REDIS_URL", self.redis()).env("QUEUE_NAME", &self.name).env("QUEUE_PREFIX", "care");
        command
    }

    /// The exit code, and the output.
    fn ours(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments).output().unwrap();
        let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (
            output.status.code().unwrap(),
            printed.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" "),
        )
    }

    fn done(&self, arguments: &[&str]) {
        let (code, printed) = self.ours(arguments);
        assert_eq!(code, 0, "{arguments:?}: {printed}");
    }

    fn status(&self) -> Value {
        let output = self.command(&["status", "--format", "json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Both count alike; gives the counts.
    fn agree(&self, after: &str) -> Value {
        let (mut node, ours) = (self.node(""), self.status());
        // BullMQ 6 has no such list any more, and does not count it.
        let counts = node["counts"].as_object_mut().unwrap();
        counts.entry("paused").or_insert(json!(0));
        assert_eq!(ours["counts"], node["counts"], "after {after}");
        assert_eq!(ours["paused"], node["paused"], "after {after}");
        ours["counts"].clone()
    }
}

/// Jobs that wait in whichever list.
fn waiting(counts: &Value) -> u64 {
    ["waiting", "paused"].iter().map(|state| counts[*state].as_u64().unwrap()).sum()
}

fn beside_node(stack: &TestStack, major: u8) {
    let both = Both { sandbox: CliSandbox::new(), stack, modules: modules(major), name: format!("care{major}") };
    let (code, printed) = both.ours(&["status"]);
    assert!(code == 2 && printed.contains(&format!("has no queue care{major} with the prefix care")), "{printed}");
    assert_eq!(both.status()["exists"], false, "looking makes nothing");

    both.node(SEED);
    let counts = both.agree("seeding");
    let wanted = json!({ "waiting": 7, "paused": 0, "prioritized": 3, "delayed": 4, "active": 0, "waiting-children": 1,
        "completed": 3, "failed": 2 });
    assert_eq!(counts, wanted);

    // We pause, Node adds and resumes.
    both.done(&["pause"]);
    assert_eq!(waiting(&both.agree("pause")), 7);
    both.node("await queue.add('late', {});");
    assert_eq!(waiting(&both.agree("pause and add")), 8);
    assert_eq!(both.node("await queue.resume();")["counts"]["waiting"], 8, "no job is lost when Node resumes");

    // Node pauses, we let the failed ones wait again, Node resumes.
    both.node("await queue.pause();");
    let (code, printed) = both.ours(&["retry-failed", "--dry-run"]);
    assert!(code == 0 && printed.contains("would move 2 jobs from failed to waiting"), "{printed}");
    assert_eq!(both.status()["counts"]["failed"], 2);
    both.done(&["retry-failed"]);
    assert_eq!(both.agree("retry-failed")["failed"], 0);
    assert_eq!(both.node("await queue.resume();")["counts"]["waiting"], 10, "no job is lost when Node resumes");

    // Node pauses and adds, we resume.
    both.node("await queue.pause(); await queue.add('later still', {});");
    both.done(&["resume"]);
    assert_eq!(both.agree("resume")["waiting"], 11);
    let (code, printed) = both.ours(&["resume"]);
    assert!(code == 0 && printed.contains("nothing to do"), "{printed}");

    // A destructive verb asks for confirmation, and without a terminal it cannot ask.
    for verb in [&["drain"][..], &["clean", "--state", "completed"]] {
        let (code, printed) = both.ours(verb);
        assert!(code == 2 && printed.contains("--yes"), "{printed}");
    }
    both.done(&["drain", "--delayed", "--dry-run"]);
    assert_eq!(waiting(&both.status()["counts"]), 11);
    both.done(&["drain", "--yes"]);
    let counts = both.agree("drain");
    assert_eq!((&counts["waiting"], &counts["prioritized"], &counts["delayed"]), (&json!(0), &json!(0), &json!(4)));
    both.done(&["clean", "--state", "completed", "--older-than", "1h", "--yes"]);
    assert_eq!(both.status()["counts"]["completed"], counts["completed"]);
    both.done(&["clean", "--state", "completed", "--limit", "1", "--yes"]);
    assert_eq!(both.status()["counts"]["completed"].as_u64(), counts["completed"].as_u64().map(|all| all - 1));
    both.done(&["clean", "--state", "delayed", "--yes"]);
    assert_eq!(both.agree("clean of delayed jobs")["delayed"], 0);
}

pub fn beside_node_5(stack: &TestStack) {
    beside_node(stack, 5);
}

pub fn beside_node_6(stack: &TestStack) {
    beside_node(stack, 6);
}

fn beside_board(stack: &TestStack, major: u8) {
    let home = board_home().unwrap();
    let both = Both { sandbox: CliSandbox::new(), stack, modules: modules(major), name: format!("board{major}") };
    both.node(&format!("{SEED} {HOLD}"));
    let counts = both.agree("seeding");
    let wanted = json!({ "waiting": 6, "paused": 0, "prioritized": 3, "delayed": 4, "active": 1, "waiting-children": 1,
        "completed": 3, "failed": 2 });
    assert_eq!(counts, wanted);
    assert_eq!(both.board(&home), wanted);

    both.node("await queue.pause();");
    let counts = both.agree("pause");
    assert_eq!(waiting(&counts), 6);
    // BullMQ 5 keeps the jobs of a paused queue in a list of their own, BullMQ 6 where they were.
    assert_eq!(counts["paused"], if major == 5 { 6 } else { 0 });
    assert_eq!(both.board(&home), counts);
}

/// Where `scripts/install clients` put bull-board.
pub fn board_home() -> Option<PathBuf> {
    let board = crate::support::client_packages::home("board");
    board.join("installed").exists().then_some(board)
}

pub fn beside_board_5(stack: &TestStack) {
    beside_board(stack, 5);
}

pub fn beside_board_6(stack: &TestStack) {
    beside_board(stack, 6);
}
