//! No secret leaves the program, in whatever form it came in; and ordinary text leaves it as it came.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod planted;

use std::collections::HashSet;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};
use shakedown::outcome::Report;
use shakedown::redaction::Redactor;
use shakedown::report::terminal::{Extent, Style};
use shakedown::report::{self, Format, annotations, terminal};
use shakedown::spec::Suites;

use crate::support::cli_sandbox::CliSandbox;
use planted::{fill, leak, readings, rendered_runs, runs, secret, without_backslashes, without_entities};

/// How many texts with secrets are made; `SHAKEDOWN_REDACTION_INPUTS` overrides it.
const INPUTS: usize = 4_000;
const SEED: u64 = 20;

/// A report in which every text of foreign origin is `TEXT`.
fn template() -> Value {
    let case = |verdict: &str, level: &str| {
        json!({
            "id": "TEXT", "suite": "TEXT", "title": "TEXT", "level": level, "verdict": verdict, "reason": "TEXT",
            "evidence": [
                { "what": "TEXT", "seen": "TEXT", "wanted": "TEXT" },
                { "what": "TEXT", "seen": { "list": ["TEXT", 1, null], "TEXT": "TEXT" } },
            ],
            "why": "TEXT", "remedy": "TEXT", "source": "TEXT", "duration_ms": 3, "scenario": "TEXT", "causes": ["TEXT"],
        })
    };
    json!({
        "report_version": 3, "shakedown": "0", "suite_version": "TEXT", "run": "TEXT", "seed": 1, "profile": "TEXT",
        "provider": "TEXT", "provider_reason": "TEXT", "worker": "TEXT", "started_at": "2030-01-01T00:00:00Z",
        "duration_ms": 9, "verdict": "not conformant",
        "coverage": { "must_total": 3, "must_judged": 2, "must_skipped": 1, "must_unknown": 1, "filtered_out": 0 },
        "totals": { "cases": 5, "pass": 1, "fail": 1, "warn": 1, "skip": 1, "unknown": 1, "waived": 0 },
        "gate": { "shard": "TEXT", "comparison":
            { "baseline": "TEXT", "fixed": ["TEXT"], "worse": ["TEXT"], "new": ["TEXT"], "gone": ["TEXT"] } },
        "services": [{ "name": "TEXT", "status": "ready", "version": "TEXT", "endpoint": "TEXT", "kind": "TEXT",
            "parameters": { "TEXT": "TEXT" } }],
        "environment": [{ "name": "TEXT", "value": "TEXT", "origin": "TEXT", "secret": false }],
        "files": [{ "path": "TEXT", "action": "TEXT", "purpose": "TEXT" }],
        "notes": ["TEXT"],
        "causes": [{ "id": "TEXT", "sentence": "TEXT", "evidence": ["TEXT"], "remedy": "TEXT", "source": "TEXT",
            "libraries": [{ "library": "TEXT", "remedy": "TEXT" }], "cases": ["TEXT"] }],
        "cases": [case("pass", "must"), case("fail", "must"), case("warn", "should"), case("skip", "must"), case("unknown", "must")],
        "timelines": [{ "scenario": "TEXT", "title": "TEXT", "cases": ["TEXT"], "length_ms": 9,
            "documents": [{ "document": "TEXT", "outcome": "TEXT", "why": "TEXT" }],
            "events": [
                { "at_ms": 1, "track": "job", "subject": "TEXT", "what": "TEXT" },
                { "at_ms": 2, "track": "output", "subject": "TEXT", "what": "TEXT" },
            ] }],
    })
}

/// What every renderer makes of `report`.
fn rendered(report: &Report, html: bool) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut add = |name: String, write: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        all.push((name, String::from_utf8(out).unwrap()));
    };
    for format in [Format::Terminal, Format::Short, Format::Json, Format::Junit, Format::Markdown, Format::Html] {
        if format != Format::Html || html {
            add(format.to_string(), &|mut out| report::write(report, format, false, 80, &mut out));
        }
    }
    for extent in [Extent::Full, Extent::Verdict] {
        let style = Style { colours: true, width: 60, extent, rerun: Some("again") };
        add(format!("{extent:?}"), &|mut out| terminal::render(report, style, &mut out));
    }
    add("annotations".to_owned(), &|mut out| annotations::render(report, &mut out));
    all
}

/// What a reader of the format sees.
fn shown(name: &str, text: &str) -> String {
    match name {
        "json" => {
            let mut all = String::new();
            texts_of(&serde_json::from_str(text).unwrap(), &mut |text| all.push_str(&format!("{text}\u{0}")));
            all
        }
        "html" | "junit" | "markdown" => without_entities(text),
        "annotations" => percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned(),
        _ => text.to_owned(),
    }
}

fn inputs() -> usize {
    #[expect(clippy::disallowed_methods, reason = "a variable of this test alone")]
    std::env::var("SHAKEDOWN_REDACTION_INPUTS").ok().map_or(INPUTS, |count| count.parse().unwrap())
}

#[test]
fn no_renderer_shows_eight_characters_of_a_secret() {
    let mut random = StdRng::seed_from_u64(SEED);
    let template = template();
    let (mut texts, mut reports) = (0, 0);
    while texts < inputs() {
        let secrets: Vec<String> = (0..5).map(|_| secret(&mut random)).collect();
        let variables: Vec<SecretString> = secrets.iter().map(|secret| secret.as_str().into()).collect();
        let names = ["DB_PASS", "GH_PAT", "SSH_PASSPHRASE", "SESSION_COOKIE", "MY_JWT"];
        let redactor = Redactor::new(names.into_iter().zip(&variables));
        let (mut value, mut planted) = (template.clone(), Vec::new());
        fill(&mut value, &secrets, &mut planted, &mut random);
        let runs: HashSet<Vec<char>> = planted.iter().flat_map(|one| one.runs.clone()).collect();
        let mut report = report::json::read(&value.to_string()).unwrap();
        report.mask(&redactor);
        let mut found = Vec::new();
        texts_of(&serde_json::to_value(&report).unwrap(), &mut |text| {
            found
                .extend(readings(text).iter().filter_map(|text| leak(text, &runs)).map(|leak| (leak, text.to_owned())));
        });
        assert!(found.is_empty(), "{found:#?} of {secrets:#?}");
        let runs = rendered_runs(&runs);
        for (name, text) in rendered(&report, reports % 10 == 0) {
            if let Some(leak) = leak(&shown(&name, &text), &runs) {
                panic!("{name} shows {leak:?} of {secrets:#?}");
            }
        }
        texts += planted.len();
        reports += 1;
    }
    println!("{texts} texts in {reports} reports");
}

fn texts_of(value: &Value, each: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => each(text),
        Value::Array(items) => {
            for item in items {
                texts_of(item, each);
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                each(key);
                texts_of(value, each);
            }
        }
        _ => {}
    }
}

#[test]
fn every_renderer_masks_what_the_process_knows() {
    let mut random = StdRng::seed_from_u64(SEED + 1);
    let secrets: Vec<String> = (0..20).map(|_| secret(&mut random)).collect();
    let values: Vec<SecretString> = secrets.iter().map(|secret| secret.as_str().into()).collect();
    shakedown::redaction::learn(values.iter().map(|value| ("SECRET", value)));
    for _ in 0..10 {
        let (mut value, mut planted) = (template(), Vec::new());
        fill(&mut value, &secrets, &mut planted, &mut random);
        let runs: HashSet<Vec<char>> = planted.iter().flat_map(|one| one.runs.clone()).collect();
        let runs = rendered_runs(&runs);
        let report = report::json::read(&value.to_string()).unwrap();
        for (name, text) in rendered(&report, true) {
            assert_eq!(leak(&shown(&name, &text), &runs), None, "{name} of {secrets:#?}");
        }
    }
}

#[test]
fn ordinary_text_stays_as_it_is() {
    let mut random = StdRng::seed_from_u64(SEED + 2);
    let values: Vec<SecretString> = (0..100).map(|_| secret(&mut random).into()).collect();
    let common: Vec<SecretString> = [
        "postgres",
        "password",
        "secret",
        "true",
        "shakedown",
        "6379",
        "postgres://postgres:postgres@localhost/postgres",
    ]
    .map(SecretString::from)
    .into();
    let redactor = Redactor::new(values.iter().chain(&common).map(|value| ("SOME_SECRET", value)));
    let mut wrong = Vec::new();
    let mut check = |text: &str| {
        for line in text.lines().filter(|line| redactor.redact(line) != *line) {
            wrong.push((line.to_owned(), redactor.redact(line).into_owned()));
        }
    };
    let suites = Suites::builtin().unwrap();
    for case in &suites.cases {
        for text in [&case.id, &case.title, &case.why, &case.remedy, &case.source] {
            check(text);
        }
    }
    for topic in shakedown::guide::TOPICS {
        check(topic.text);
    }
    for entry in shakedown::guide::catalogue::entries() {
        check(entry.text);
    }
    for file in ["README.md", "CHANGELOG.md", "suites/README.md", "src/qdrant/README.md"] {
        check(&fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap());
    }
    // Where a dictionary is installed, every word of it.
    if let Ok(words) = fs::read_to_string("/usr/share/dict/words") {
        check(&words);
    }
    assert_eq!(wrong, []);
}

#[test]
fn text_for_markdown_and_junit_is_valid_whatever_was_said() {
    let hostile = "a\u{1b}[31m|b`c [x](http://evil) ![y](http://evil) <img src=x> \\| \u{202e}\u{0}\u{fffe} ::error::x ##[add-mask]y";
    let mut value = template();
    fill_with(&mut value, hostile);
    let report = report::json::read(&value.to_string()).unwrap();
    for (name, text) in rendered(&report, true) {
        let raw = |character: char| character == '\u{202e}' || character == '\0' || character == '\u{fffe}';
        assert!(name == "json" || !text.contains(raw), "{name}");
        assert!(name == "json" || !text.contains("\u{1b}[31m|"), "{name}");
    }
    let mut markdown = Vec::new();
    report::write(&report, Format::Markdown, false, 80, &mut markdown).unwrap();
    let markdown = String::from_utf8(markdown).unwrap();
    let options = pulldown_cmark::Options::ENABLE_TABLES;
    for event in pulldown_cmark::Parser::new_ext(&markdown, options) {
        use pulldown_cmark::{Event, Tag};
        let active = matches!(
            &event,
            Event::Start(Tag::Link { .. } | Tag::Image { .. } | Tag::HtmlBlock) | Event::Html(_) | Event::InlineHtml(_)
        );
        assert!(!active, "{event:?}");
    }
    let mut junit = Vec::new();
    report::write(&report, Format::Junit, false, 80, &mut junit).unwrap();
    let junit = String::from_utf8(junit).unwrap();
    assert!(junit.chars().all(|character| matches!(character, '\t' | '\n' | '\r') || !character.is_control()));
}

fn fill_with(value: &mut Value, text: &str) {
    match value {
        Value::String(field) if field == "TEXT" => text.clone_into(field),
        Value::Array(items) => {
            for item in items {
                fill_with(item, text);
            }
        }
        Value::Object(fields) => {
            for field in fields.values_mut() {
                fill_with(field, text);
            }
        }
        _ => {}
    }
}

/// Variables that a worker inherits. Every value is a secret by the name of its variable alone.
const INHERITED: [(&str, &str); 8] = [
    ("DB_PASS", "q7\"w\\e<r>%t&z!0815"),
    ("ADMIN_PWD", "tR4-uW8-xZ2-mK6"),
    ("GH_PAT", "pat-4711-0815-2342"),
    ("SSH_PASSPHRASE", "correct zebra 17 staple"),
    ("AUTH_HEADER", "Bearer q1w2e3r4t5z6u7i8"),
    ("SESSION_COOKIE", "sid=m9n8b7v6c5x4; theme=dark"),
    ("MY_JWT", "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2lnbmF0dXJlLW9mLTA4MTU"),
    ("BROKER_URL", "amqp://user:k3y-0f-br0ker@broker.example/"),
];

/// Prints every inherited secret plain, as JSON, in base64 and cut, and workflow commands and colours.
const CHATTY: &str = r#"
echo "::stop-commands::x"
printf '\033[31mred ##[add-mask]x\n'
for name in DB_PASS ADMIN_PWD GH_PAT SSH_PASSPHRASE AUTH_HEADER SESSION_COOKIE MY_JWT BROKER_URL; do
  eval "value=\$$name"
  printf 'plain %s\n' "$value"
  printf '%s' "$value" | sed 's/\\/\\\\/g; s/"/\\"/g; s/^/{"level":"error","value":"/; s/$/"}/'
  echo
  printf '%s' "$value" | base64
  printf 'user:%s' "$value" | base64
  printf 'start %s\n' "$(printf '%s' "$value" | head -c 12)"
  printf '%s end\n' "$(printf '%s' "$value" | tail -c 12)"
done
exit 3
"#;

#[test]
fn a_worker_that_prints_what_it_inherits_gives_nothing_away() {
    let sandbox = CliSandbox::new();
    let work = sandbox.path("work");
    fs::write(work.join("chatty.sh"), CHATTY).unwrap();
    fs::write(work.join("shakedown.toml"), "[worker]\ncommand = [\"sh\", \"chatty.sh\"]\n").unwrap();
    let mut command = sandbox.command(&[
        "run",
        "--no-preflight",
        "--provider",
        "native",
        "--case",
        "ingestion.delivered",
        "--bundle",
        "bundle",
    ]);
    for format in ["json", "html", "junit", "markdown", "terminal", "short"] {
        command.args(["--report", &format!("{format}=reports/report.{format}")]);
    }
    command.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", work.join("summary.md")).envs(INHERITED);
    let output = command.output().unwrap();
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert!(stdout.contains("plain $MY_JWT"), "{stdout}{stderr}");
    let mut seen = vec![("stdout".to_owned(), stdout), ("stderr".to_owned(), stderr)];
    for directory in ["bundle", "bundle/output", "reports", "."] {
        for entry in fs::read_dir(work.join(directory)).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_file() && !["chatty.sh", "shakedown.toml"].contains(&name.as_str()) {
                seen.push((name, String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned()));
            }
        }
    }
    assert!(seen.iter().any(|(_, text)| text.contains("\nplain $DB_PASS\n")), "no file has the whole output");
    assert!(seen.len() >= 15, "{:?}", seen.iter().map(|(name, _)| name).collect::<Vec<_>>());
    for (name, text) in &seen {
        for (variable, value) in INHERITED {
            let secret = value.trim_start_matches("Bearer ").trim_start_matches("sid=");
            let secret = secret.trim_end_matches("; theme=dark");
            let secret = secret.trim_start_matches("amqp://user:").trim_end_matches("@broker.example/");
            let encoded = [STANDARD.encode(value), STANDARD.encode(format!("user:{value}"))];
            let secrets = runs(secret);
            for text in [text, &without_entities(text), &without_backslashes(text)] {
                assert_eq!(leak(text, &secrets), None, "{name} shows {variable}");
                // The name of the scheme and of the field are not secret, nor is what base64 makes of them.
                for encoded in &encoded {
                    assert!(!text.contains(&encoded[..encoded.len() - 4]), "{name} shows {variable} in base64");
                }
            }
        }
        assert!(!text.contains('\u{1b}'), "{name} holds ESC");
    }
    for (name, text) in &seen[..2] {
        assert!(!text.contains("##["), "{name}: {text}");
        let mut commands = text.lines().filter(|line| line.trim_start().starts_with("::"));
        assert!(commands.all(|line| line.starts_with("::error ") || line.starts_with("::warning ")), "{name}: {text}");
    }
    sandbox.assert_clean();
}
