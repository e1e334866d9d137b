//! Projects that no ordinary author writes: broken, huge, endless, or full of secrets.

use std::fs;

use super::{Answers, Written, written};
use crate::project::Project;

const WORKER: &str = "import { Worker } from 'bullmq';\nnew Worker('docs', async (job) => job.data.text);\n";

#[test]
fn a_file_with_a_syntax_error_is_read_around_it_and_named() {
    let text = format!("{WORKER}\nfunction broken( {{ [ }}\nconst url = process.env.QDRANT_URL;\n");
    let project = Written::of(&[("package.json", r#"{"dependencies":{"bullmq":"5"}}"#), ("worker.ts", &text)]);
    assert_eq!(project.contract.queue.name.as_deref(), Some("docs"));
    let notes = Project::read(project.directory.path()).unwrap().notes;
    assert!(notes.iter().any(|note| note.starts_with("worker.ts:4: syntax error")), "{notes:?}");
}

#[test]
fn a_huge_file_and_a_binary_one_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("worker.js"), WORKER).unwrap();
    // 50 MB, without taking the room.
    let huge = fs::File::create(directory.path().join("bundle.js")).unwrap();
    huge.set_len(50 << 20).unwrap();
    fs::write(directory.path().join("binary.js"), b"new Worker('x', y)\0\xff\xfe").unwrap();
    fs::write(directory.path().join("latin.py"), b"# \xe9\nimport os\nos.environ['REDIS_URL']").unwrap();
    fs::write(directory.path().join("package.json"), b"{ not json").unwrap();
    let (_, contract) = written(directory.path(), directory.path(), Answers::None);
    assert_eq!(contract.queue.name.as_deref(), Some("docs"));
    let notes = Project::read(directory.path()).unwrap().notes;
    assert_eq!(notes, ["bundle.js: larger than 1 MiB, not read"]);
}

#[cfg(unix)]
#[test]
fn a_circle_of_links_ends_and_files_of_others_are_not_the_workers() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("worker.js"), WORKER).unwrap();
    std::os::unix::fs::symlink(".", at("self")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("gone.js")).unwrap();
    let foreign = "import { Worker } from 'bullmq'; new Worker('foreign', f); process.env.FOREIGN_URL";
    for name in ["node_modules/x", "dist", ".venv/lib", "venv/lib", ".git", "ignored"] {
        fs::create_dir_all(at(name)).unwrap();
        fs::write(at(name).join("a.js"), foreign).unwrap();
    }
    fs::write(at(".gitignore"), "ignored/\n").unwrap();
    let project = Project::read(directory.path()).unwrap();
    assert_eq!(project.jobs.workers.len(), 1, "{:?}", project.jobs.workers);
    assert!(project.variables.is_empty(), "{:?}", project.variables);
}

#[test]
fn no_secret_of_an_environment_file_or_of_a_default_is_written_or_printed() {
    let project = Written::of(&[
        ("package.json", r#"{"dependencies":{"bullmq":"5"},"scripts":{"start":"node worker.js"}}"#),
        (
            "worker.js",
            &format!(
                "{WORKER}process.env.JINA_API_KEY ?? 'sk-in-the-source'; process.env.STRIPE_TOKEN || 'tok-in-the-source';"
            ),
        ),
        (
            ".env",
            "JINA_API_KEY=sk-of-dotenv\nDATABASE_URL=postgres://me:pass-of-dotenv@db/x\nOWN_SECRET=own-of-dotenv\n",
        ),
        (".env.example", "REDIS_URL=redis://:pass-of-example@localhost:6379\nOPENAI_API_KEY=sk-of-example\n"),
        (
            "compose.yaml",
            "services:\n  worker:\n    build: .\n    environment:\n      QDRANT_API_KEY: key-of-compose\n",
        ),
    ]);
    let everything = project.everything();
    for secret in ["in-the-source", "of-dotenv", "of-example", "of-compose"] {
        assert!(!everything.contains(secret), "`{secret}` in:\n{everything}");
    }
    assert!(everything.contains("STRIPE_TOKEN") && project.env("REDIS_URL").as_deref() == Some("{{redis.url}}"));
    let debug = format!("{:?}", Project::read(project.directory.path()).unwrap().manifests);
    assert!(!debug.contains("of-example") && !debug.contains("of-dotenv"), "{debug}");
}

#[test]
fn a_name_with_quotes_braces_and_line_breaks_stays_a_text() {
    let name = r#"a"b{{c}}\nd"#;
    let worker =
        format!("import {{ Worker }} from 'bullmq';\nnew Worker('{name}', async (job) => job.data['x \"y\" = 1']);\n");
    let project = Written::of(&[("package.json", r#"{"dependencies":{"bullmq":"5"}}"#), ("worker.js", &worker)]);
    assert_eq!(project.contract.queue.name.as_deref(), Some("a\"b{{c}}\nd"));
}

#[test]
fn what_is_nested_ten_thousand_times_does_not_overflow_the_stack() {
    let deep =
        |open: &str, inside: &str, close: &str| format!("{}{inside}{}", open.repeat(10_000), close.repeat(10_000));
    for expression in [
        deep("(", "job.data", ")"),
        deep("", "job.data", ".a"),
        deep("", "job.data", " || y"),
        deep("", "process.env.X", " ?? y"),
        deep("", "job.name === 'x'", " && y"),
        deep("f(", "job.data", ")"),
        deep("[", "job.data", "]"),
        deep("{a:", "job.data", "}"),
        deep("async () => ", "job.data", ""),
    ] {
        let worker = format!(
            "import {{ Worker }} from 'bullmq';\nnew Worker('docs', async (job) => {{ const x = {expression}; if ({expression}) {{ job.data.text }} }});\n"
        );
        let project = Written::of(&[("package.json", r#"{"dependencies":{"bullmq":"5"}}"#), ("worker.js", &worker)]);
        assert_eq!(project.contract.queue.name.as_deref(), Some("docs"), "{}", &expression[..20]);
    }
}

#[test]
fn functions_that_call_each_other_end() {
    let mut worker = "import { Worker } from 'bullmq';\nnew Worker('docs', async (job) => f0(job.data));\n".to_owned();
    for number in 0..2000 {
        worker.push_str(&format!(
            "function f{number}(data) {{ data.text; f{}(data); f{number}(data); }}\n",
            (number + 1) % 2000
        ));
    }
    let project = Written::of(&[("package.json", r#"{"dependencies":{"bullmq":"5"}}"#), ("worker.js", &worker)]);
    assert!(project.contract.queue.job.data.contains_key("text"));
}
