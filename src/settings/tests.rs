use std::path::{Path, PathBuf};
use std::time::Duration;

use rstest::rstest;
use secrecy::ExposeSecret;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Source {
    Source {
        environment: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Source::default()
    }
}

/// A source with these variables, this `shakedown.toml` and this `.env`, in a temporary directory.
fn project(pairs: &[(&str, &str)], config: &str, dotenv: &str) -> (tempfile::TempDir, Source) {
    let directory = tempfile::tempdir().unwrap();
    let mut source = environment(pairs);
    std::fs::write(directory.path().join("shakedown.toml"), config).unwrap();
    std::fs::write(directory.path().join(".env"), dotenv).unwrap();
    source.config = Some(directory.path().join("shakedown.toml"));
    source.dotenv = Some(directory.path().join(".env"));
    (directory, source)
}

fn refusal(source: Source) -> String {
    Settings::load(source).expect_err("should be refused").to_string()
}

fn refused_config(config: &str) -> String {
    let (directory, source) = project(&[], config, "");
    refusal(source).replace(&format!("{}/", directory.path().display()), "")
}

#[test]
fn without_any_source_there_are_the_defaults() {
    let settings = Settings::load(Source::default()).unwrap();
    assert_eq!(settings.get("QUEUE_NAME"), Some("ingest"));
    assert_eq!(settings.u32("EMBEDDING_DIMENSIONS").unwrap(), 1024);
    assert_eq!(settings.duration("WORKER_LOCK_MS").unwrap(), Duration::from_secs(30));
    assert_eq!(settings.profile(), "development");
    assert_eq!(settings.origin("QUEUE_NAME"), Some(&Origin::Default));
}

#[test]
fn flag_beats_environment_beats_dotenv_beats_profile_beats_default() {
    let config = "[profile.development.env]\nQUEUE_NAME = \"profile\"\n";
    let given = |flag: bool, env: bool, dotenv: bool, profile: bool| {
        let environment: &[_] = if env { &[("QUEUE_NAME", "environment")] } else { &[] };
        let dotenv = if dotenv { "\nQUEUE_NAME=dotenv\n" } else { "" };
        let (_directory, source) = project(environment, if profile { config } else { "" }, dotenv);
        let settings = Settings::load(source.flag("QUEUE_NAME", flag.then_some("flag"))).unwrap();
        format!("{} from {}", settings.get("QUEUE_NAME").unwrap(), settings.origin("QUEUE_NAME").unwrap())
    };
    assert_eq!(given(true, true, true, true), "flag from flag");
    assert_eq!(given(false, true, true, true), "environment from environment");
    assert_eq!(given(false, false, true, true), "dotenv from .env line 2");
    assert_eq!(given(false, false, false, true), "profile from profile development");
    assert_eq!(given(false, false, false, false), "ingest from default");
}

#[test]
fn an_empty_value_counts_as_not_set() {
    let (_directory, source) = project(&[("QUEUE_NAME", "")], "", "QUEUE_NAME=dotenv");
    assert_eq!(Settings::load(source).unwrap().get("QUEUE_NAME"), Some("dotenv"));
}

#[test]
fn a_file_holds_the_value_and_loses_its_last_newline() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "k-123\n").unwrap();
    let settings = Settings::load(environment(&[("QDRANT_API_KEY_FILE", file.to_str().unwrap())])).unwrap();
    assert_eq!(settings.secret("QDRANT_API_KEY").unwrap().expose_secret(), "k-123");
    assert_eq!(settings.origin("QDRANT_API_KEY").unwrap().to_string(), format!("environment, file {}", file.display()));
}

#[test]
fn a_variable_and_its_file_at_once_are_refused() {
    let text = refusal(environment(&[("JINA_API_KEY", "secret-1"), ("JINA_API_KEY_FILE", "/nowhere")]));
    assert!(text.contains("JINA_API_KEY and JINA_API_KEY_FILE are both set (environment)"), "{text}");
    assert!(!text.contains("secret-1"), "{text}");
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_its_variable() {
    let text = refusal(environment(&[("JINA_API_KEY_FILE", "/nowhere/key")]));
    assert!(text.contains("cannot read /nowhere/key, named by JINA_API_KEY_FILE"), "{text}");
    assert!(text.contains("remedy: "), "{text}");
}

#[rstest]
#[case("SHAKEDOWN_SEDE", "did you mean SHAKEDOWN_SEED?")]
#[case("SHAKEDOWN_PROVIDER_FIEL", "did you mean SHAKEDOWN_PROVIDER")]
#[case("SHAKEDOWN_ZZ", "`shakedown env` lists every variable")]
fn an_unknown_shakedown_variable_is_refused(#[case] name: &str, #[case] wanted: &str) {
    let from_environment = refusal(environment(&[(name, "1")]));
    assert!(from_environment.contains(&format!("unknown variable {name} (from environment)")));
    assert!(from_environment.contains(wanted), "{from_environment}");
    let (_directory, source) = project(&[], "", &format!("A=1\n{name}=1\n"));
    assert!(refusal(source).contains("(from .env line 2)"));
}

#[test]
fn a_variable_set_twice_in_dotenv_is_refused_and_others_are_left_alone() {
    let (_directory, source) = project(&[], "", "FOO=1\nFOO=2\nQUEUE_NAME=a\nQUEUE_NAME=b\n");
    let text = refusal(source);
    assert!(text.contains("QUEUE_NAME is set twice"), "{text}");
    assert!(text.contains("lines 3 and 4"), "{text}");
    assert!(!text.contains("FOO"), "{text}");
}

#[test]
fn shakedown_variables_are_checked_at_once_and_others_when_they_are_used() {
    let text = refusal(environment(&[("SHAKEDOWN_PROVIDER", "docker"), ("SHAKEDOWN_PROFILE", "prodcution")]));
    assert!(
        text.contains("SHAKEDOWN_PROVIDER is `docker` (from environment): it is not one of the allowed values"),
        "{text}"
    );
    assert!(text.contains("did you mean `production`?"), "{text}");

    let settings = Settings::load(environment(&[("DATABASE_URL", "mysql://root:hunter2@h/d")])).unwrap();
    let text = settings.validate(Need::Setup).unwrap_err().to_string();
    assert!(
        text.contains("DATABASE_URL is `mysql://root:********@h/d` (from environment): its scheme is `mysql`"),
        "{text}"
    );
    assert!(settings.validate(Need::Ingest).is_ok());
}

#[test]
fn a_variable_that_is_not_utf8_is_refused() {
    let source = Source { not_unicode: vec!["QUEUE_NAME".to_owned(), "LS_COLORS".to_owned()], ..Source::default() };
    let text = refusal(source);
    assert!(text.contains("QUEUE_NAME is not valid UTF-8"), "{text}");
    assert!(!text.contains("LS_COLORS"), "{text}");
}

#[test]
fn all_missing_variables_are_reported_together_with_examples() {
    let text = Settings::load(Source::default()).unwrap().endpoints().unwrap_err().to_string();
    for name in ["REDIS_URL", "DATABASE_URL", "QDRANT_URL", "JINA_API_KEY"] {
        assert!(text.contains(&format!("{name} is not set")) && text.contains(&format!("{name}=")), "{text}");
    }
    assert!(!text.contains("QUEUE_NAME"));
}

const STACK: &[(&str, &str)] = &[
    ("REDIS_URL", "redis://:hunter2@h:6379"),
    ("DATABASE_URL", "postgres://u:hunter2@h/d"),
    ("QDRANT_URL", "http://h:6333/"),
    ("JINA_API_KEY", "hunter2-hunter2-hunter2"),
];

#[test]
fn endpoints_come_from_the_variables() {
    let settings = Settings::load(environment(STACK)).unwrap();
    let endpoints = settings.endpoints().unwrap();
    assert_eq!(endpoints.qdrant.url, "http://h:6333");
    assert_eq!(endpoints.qdrant.grpc_url, "http://h:6334");
    assert_eq!(endpoints.names.table, "public.documents");
    assert_eq!(endpoints.jina.base_url, "https://api.jina.ai/v1");
    assert!(!format!("{settings:?}{endpoints:?}{:?}", settings.resolved()).contains("hunter2@"));
}

#[rstest]
#[case("https://x.cloud.qdrant.io", Some("https://x.cloud.qdrant.io:6334"))]
#[case("http://127.0.0.1:41234", None)]
fn the_grpc_port_is_derived_only_from_the_default_port(#[case] url: &str, #[case] grpc: Option<&str>) {
    let mut source = environment(STACK);
    source.environment.insert("QDRANT_URL".to_owned(), url.to_owned());
    let endpoints = Settings::load(source).unwrap().endpoints();
    match grpc {
        Some(grpc) => assert_eq!(endpoints.unwrap().qdrant.grpc_url, grpc),
        None => assert!(endpoints.unwrap_err().to_string().contains("QDRANT_GRPC_URL is not set")),
    }
}

#[test]
fn a_key_is_required_only_for_jina_itself() {
    let mut source = environment(&STACK[..3]);
    assert!(Settings::load(source.clone()).unwrap().endpoints().is_err());
    assert!(Settings::load(source.clone()).unwrap().endpoints_for(Need::Setup).is_ok());
    source.environment.insert("JINA_BASE_URL".to_owned(), "http://127.0.0.1:9/v1".to_owned());
    assert!(Settings::load(source).unwrap().endpoints().unwrap().jina.api_key.is_none());
}

#[test]
fn a_profile_sets_values_files_and_references() {
    let config = r#"
[profile.staging.env]
QDRANT_URL = "https://q.example:6333"
EMBEDDING_DIMENSIONS = 512
REDIS_URL_FILE = "redis.url"
JINA_API_KEY = { from = "STAGING_JINA_KEY" }
QDRANT_API_KEY = { from = "NOWHERE" }
DATABASE_URL = { from = "STAGING_DB" }
CHUNK_TOKENIZER = "tokenizer.json"
"#;
    let (directory, mut source) = project(&[("STAGING_JINA_KEY", "jina_x")], config, "");
    std::fs::write(directory.path().join("redis.url"), "redis://:p@h\n").unwrap();
    source.profile = Some("staging".to_owned());
    let settings = Settings::load(source).unwrap();
    assert_eq!(settings.u32("EMBEDDING_DIMENSIONS").unwrap(), 512);
    assert_eq!(settings.secret("REDIS_URL").unwrap().expose_secret(), "redis://:p@h");
    assert_eq!(settings.secret("JINA_API_KEY").unwrap().expose_secret(), "jina_x");
    assert_eq!(settings.origin("JINA_API_KEY").unwrap().to_string(), "profile staging, variable STAGING_JINA_KEY");
    assert_eq!(settings.path("CHUNK_TOKENIZER").unwrap(), directory.path().join("tokenizer.json"));
    assert!(settings.secret("QDRANT_API_KEY").is_none());
    let text = settings.endpoints().unwrap_err().to_string();
    assert!(text.contains("reads it from STAGING_DB, which is not set"), "{text}");
}

#[rstest]
#[case("[profle.staging]\n", "shakedown.toml:1:2: unknown field `profle`\n  remedy: did you mean `profile`?")]
#[case("[profile.stagign.env]\n", "shakedown.toml:1:10: unknown field `stagign`\n  remedy: did you mean `staging`?")]
#[case(
    "[profile.staging.env]\nQDRANT_ULR = \"x\"",
    "shakedown.toml:2:1: unknown variable QDRANT_ULR\n  remedy: did you mean QDRANT_URL?"
)]
#[case("[profile.staging.env]\nJINA_API_KEY = \"hunter2\"", "shakedown.toml:2:16: JINA_API_KEY is a secret")]
#[case(
    "[profile.staging.env]\nREDIS_URL = \"redis://:hunter2@h\"",
    "shakedown.toml:2:13: REDIS_URL contains a password"
)]
#[case(
    "[profile.staging.env]\nEMBEDDING_DIMENSIONS = \"many\"",
    "shakedown.toml:2:24: EMBEDDING_DIMENSIONS is `many`: it is not a whole number"
)]
#[case(
    "[profile.staging.env]\nSHAKEDOWN_PROFILE = \"production\"",
    "shakedown.toml:2:1: SHAKEDOWN_PROFILE selects the profile"
)]
#[case("[profile.staging.env]\nQUEUE_NAME = [1]", "shakedown.toml:2:14: unsupported kind of value for QUEUE_NAME")]
#[case("[worker]\ncommand = []", "shakedown.toml:2:11: the worker's command is empty")]
#[case("[worker]\ncomand = [\"x\"]", "shakedown.toml:2:1: unknown field `comand`\n  remedy: did you mean `command`?")]
#[case("[worker]\ncommand = [\"x\"]\nenv = { R = \"{{redis.ulr}}\" }", "did you mean `{{redis.url}}`?")]
#[case(
    "[worker]\ncommand = [\"x\"]\nenv = { JINA_API_KEY = \"hunter2\" }",
    "shakedown.toml:3:24: JINA_API_KEY is a secret"
)]
#[case(
    "[worker]\ncommand = [\"x\"]\nready = { log = \"(\" }",
    "shakedown.toml:3:17: `log` is not a valid regular expression"
)]
#[case("[worker]\ncommand = [\"x\"]\nready = \"queu\"", "did you mean `queue`?")]
#[case("[worker]\ncommand = [\"x\"]\nshutdown_grace = \"10\"", "shakedown.toml:3:18: invalid duration `10`")]
#[case(
    "[worker]\ncommand = [\"x\"]\nshutdown_grace = { variabel = \"G\" }",
    "shakedown.toml:3:18: invalid `shutdown_grace`"
)]
#[case(
    "[worker]\ncommand = [\"psql\", \"{{postgres.url}}\"]",
    "shakedown.toml:2:11: placeholders in a command are not replaced: `{{postgres.url}}`"
)]
#[case("[queue.job]\nname = \"n\"\ndata = { a = \"{{document.txet}}\" }", "did you mean `{{document.text}}`?")]
#[case(
    "[queue.job]\nname = \"n\"\ndata = {}\nbackoff = { type = \"fixed\", delay = 1, jitter = 2.0 }",
    "`jitter` is not between 0 and 1"
)]
#[case("[evidence.qdrant]\nchunk = \"c\"", "`qdrant` does not name the field with a document's id")]
#[case("[evidence.postgres]\nid = \"i\"\nstatus = \"s\"\ndone = \"d\"", "does not describe the points in Qdrant")]
#[case(
    "[worker]\nimage = \"w:1\"\n[queue.job]\nname = \"n\"\ndata = { file = \"{{document.path}}\" }",
    "a worker in a container cannot read the harness's files\n  remedy: pass documents as {{document.text}}"
)]
#[case(
    "[worker]\ncommand = [\"x\"]\nenv = { R = \"{{queue.nmae}}\" }",
    "known placeholders: redis.url, redis.host, redis.port"
)]
#[case("[worker]\ncwd = \"app\"", "the worker has neither `command` nor `image`")]
#[case("[worker]\ncommand = [\"x\"]\ntimeout_factor = 0.0", "shakedown.toml:3:18: `timeout_factor` is 0")]
#[case("[worker]\ncommand = [\"x\"]\nreplicas = 0", "shakedown.toml:3:12: `replicas` is 0")]
#[case("[worker]\ncommand = [\"x\"]\nbuild = { command = [] }", "the command is empty")]
#[case("[worker]\ncommand = [\"x\"]\ncreates = [\"tables\"]", "did you mean `table`?")]
#[case(
    "[[waive]]\ncase = \"a.b\"\nreason = \"\"\nexpires = \"2027-01-31\"",
    "shakedown.toml:3:10: the waiver for `a.b` has an empty reason"
)]
#[case(
    "[[waive]]\ncase = \"a.b\"\nreason = \"r\"\nexpires = \"2027-02-30\"",
    "shakedown.toml:4:11: invalid date `2027-02-30` in the waiver for `a.b`"
)]
#[case("[[waive]]\ncase = \"a.b\"\nexpires = \"2027-01-31\"", "missing field `reason`")]
#[case(
    "[worker]\ncommand = [\"x\"]\npatience = 2.0",
    "shakedown.toml:3:1: `patience` is now `timeout_factor`\n  remedy: rename the key"
)]
#[case("[worker]\ncommand = [\"x\"]\nmakes = [\"table\"]", "shakedown.toml:3:1: `makes` is now `creates`")]
#[case("[queue]\npatience = 2.0", "shakedown.toml:2:1: unknown field `patience`\n  remedy: use one of: ")]
#[case("[worker\n", "shakedown.toml:1:8: ")]
fn an_invalid_file_is_refused_at_its_place(#[case] config: &str, #[case] wanted: &str) {
    let text = refused_config(config);
    assert!(text.contains(wanted), "wanted: {wanted}\ngot: {text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_whole_file_is_read() {
    let config = r#"
[worker]
command = ["node", "dist/worker.js"]
cwd = "app"
env = { REDIS_URL = "{{redis.url}}", JINA_API_KEY = "{{jina.key}}", OTHER = "{{env.OTHER_SECRET}}", PLAIN = "1" }
ready = { log = "ready$" }
shutdown_grace = "1500ms"
[queue]
name = "ingest"
job = { name = "ingest-document", data = { documentId = "{{document.id}}", deep = { text = "{{document.text}}", n = 1 } }, attempts = 5, backoff = { type = "exponential", delay = 200, jitter = 0.5 } }
[evidence]
qdrant = { collection = "documents", document = "document_id", chunk = "chunk_index", text = "text" }
postgres = { table = "documents", id = "id", status = "status", done = "ready" }
[[waive]]
case = "redis.persistence"
reason = "a cache"
expires = 2027-01-31
"#;
    let mut variables = STACK.to_vec();
    variables.push(("OTHER_SECRET", "o"));
    let (directory, source) = project(&variables, config, "");
    let settings = Settings::load(source).unwrap();
    let contract = settings.config().contract.as_ref().unwrap();
    let worker = &contract.worker;
    assert_eq!(worker.cwd, directory.path().join("app"));
    assert_eq!(worker.shutdown_grace, Grace::Fixed(Duration::from_millis(1500)));
    assert!(matches!(&worker.ready, Ready::Log(pattern) if pattern.as_str() == "ready$"));
    assert_eq!(settings.variables_of_worker().unwrap()["OTHER_SECRET"].expose_secret(), "o");
    let endpoints = settings.endpoints().unwrap();
    let filled = worker.env["REDIS_URL"].fill(|place| endpoints.place(place)).unwrap();
    assert_eq!(filled, "redis://:hunter2@h:6379");

    let job = &contract.queue.job;
    assert_eq!(job.attempts, Some(5));
    assert_eq!(job.backoff.unwrap().kind, BackoffKind::Exponential);
    let data = job.data["deep"].fill(&|place| Some(format!("<{place}>").into())).unwrap();
    assert_eq!(data, serde_json::json!({ "text": "<document.text>", "n": 1 }));
    assert_eq!(contract.evidence.qdrant.chunk.as_deref(), Some("chunk_index"));
    assert_eq!(settings.config().waivers[0].expires.to_string(), "2027-01-31");
}

#[test]
fn a_requested_file_must_exist() {
    let source = Source { config: Some(PathBuf::from("/nowhere/shakedown.toml")), ..Source::default() };
    assert!(refusal(source).contains("cannot read /nowhere/shakedown.toml"));
}

#[test]
fn all_problems_are_reported_together() {
    let (_directory, mut source) = project(&[("SHAKEDOWN_SEDE", "1")], "[[waive]]\ncase=1", "what");
    source.profile = Some("prod".to_owned());
    let text = refusal(source);
    assert_eq!(text.matches("remedy").count(), 3, "{text}");
}

#[test]
fn the_state_directory_follows_xdg() {
    let state_dir = |pairs: &[(&str, &str)]| Settings::load(environment(pairs)).unwrap().state_dir();
    assert_eq!(state_dir(&[("HOME", "/home/a")]), Path::new("/home/a/.local/state/shakedown"));
    assert_eq!(state_dir(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "/s")]), Path::new("/s/shakedown"));
    assert_eq!(state_dir(&[("HOME", "/home/a"), ("SHAKEDOWN_STATE_DIR", "/d")]), Path::new("/d"));
}

/// A checkout may contain a `.env` and a `shakedown.toml` of a stranger.
#[test]
fn files_of_the_directory_decide_what_runs_only_if_they_are_trusted() {
    let config = "[profile.development.env]\nSHAKEDOWN_REDIS_SERVER = \"./evil\"\nQUEUE_NAME = \"theirs\"\n";
    let dotenv = "SHAKEDOWN_SUITES=evil\nSHAKEDOWN_TRUST=1\nQUEUE_PREFIX=theirs\n";
    let names = |settings: &Settings| {
        settings.ignored().iter().map(|ignored| format!("{} ({})", ignored.name, ignored.origin)).collect::<Vec<_>>()
    };
    let (_directory, source) = project(&[], config, dotenv);
    let settings = Settings::load(source.clone()).unwrap();
    assert_eq!((settings.path("SHAKEDOWN_SUITES"), settings.path("SHAKEDOWN_REDIS_SERVER")), (None, None));
    // What decides nothing of the kind is used.
    assert_eq!((settings.get("QUEUE_NAME"), settings.get("QUEUE_PREFIX")), (Some("theirs"), Some("theirs")));
    let ignored = names(&settings);
    for part in ["SHAKEDOWN_SUITES (.env line 1)", "SHAKEDOWN_TRUST (.env line 2)", "SHAKEDOWN_REDIS_SERVER (profile"] {
        assert!(ignored.iter().any(|line| line.starts_with(part)), "{part} in {ignored:?}");
    }
    for trusting in [Source { trusted: true, ..source.clone() }, {
        let mut source = source.clone();
        source.environment.insert("SHAKEDOWN_TRUST".to_owned(), "1".to_owned());
        source
    }] {
        let settings = Settings::load(trusting).unwrap();
        assert!(settings.path("SHAKEDOWN_SUITES").is_some() && settings.path("SHAKEDOWN_REDIS_SERVER").is_some());
        assert_eq!(names(&settings), Vec::<String>::new());
    }
    // The environment itself is trusted.
    let (_directory, source) = project(&[("SHAKEDOWN_SUITES", "mine")], "", dotenv);
    assert_eq!(Settings::load(source).unwrap().path("SHAKEDOWN_SUITES"), Some("mine".into()));
}

/// `QUEUE_NAME_FILE=/etc/shadow` in a `.env` must not print that file, nor `{ from = "…" }` a key of the environment.
#[test]
fn values_that_a_setting_only_points_to_are_never_shown() {
    let config = "[profile.development.env]\nQDRANT_COLLECTION = { from = \"AWS_SECRET_ACCESS_KEY\" }\n\
                  SHAKEDOWN_JOBS = { from = \"AWS_SECRET_ACCESS_KEY\" }\n";
    let (directory, mut source) = project(&[("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")], config, "");
    let secret = directory.path().join("shadow");
    std::fs::write(&secret, "root:hunter2hunter2").unwrap();
    let dotenv = format!("QUEUE_NAME_FILE={0}\nSHAKEDOWN_SEED_FILE={0}\n", secret.display());
    std::fs::write(source.dotenv.clone().unwrap(), &dotenv).unwrap();
    let text = refusal(source.clone());
    assert!(text.contains("SHAKEDOWN_SEED") && text.contains("SHAKEDOWN_JOBS") && !text.contains("hunter2"), "{text}");
    std::fs::write(source.dotenv.clone().unwrap(), dotenv.replace("SHAKEDOWN_SEED_FILE", "QUEUE_PREFIX_FILE")).unwrap();
    source.flags.insert("SHAKEDOWN_JOBS", "1".to_owned());
    let settings = Settings::load(source).unwrap();
    let rows = settings.resolved();
    let row = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
    for name in ["QUEUE_NAME", "QUEUE_PREFIX", "QDRANT_COLLECTION"] {
        assert!(row(name).secret && row(name).value == crate::redaction::MASK, "{name} is {}", row(name).value);
    }
    let given = Given::from_settings(&settings, directory.path().to_owned());
    assert!(given.secrets().any(|(name, _)| name == "QDRANT_COLLECTION"));
    // The error for an invalid value does not repeat it either.
    assert!(!settings.check().map_or_else(|error| error.to_string(), |()| String::new()).contains("hunter2"));
}

#[test]
fn resolved_rows_show_origins_and_no_secret() {
    let settings = Settings::load(environment(STACK)).unwrap();
    let rows = settings.resolved();
    let row = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
    assert_eq!(row("REDIS_URL").value, "redis://:********@h:6379");
    assert_eq!(row("JINA_API_KEY").value, "********ter2");
    assert_eq!(row("QDRANT_GRPC_URL").origin, "default, from QDRANT_URL");
    assert_eq!(row("SUPABASE_URL").origin, "not set");
    assert!(!resolved_markdown("development", &rows).contains("hunter2"));
}

#[test]
fn the_example_file_is_valid() {
    let (_directory, source) = project(&[], "", &dotenv());
    let settings = Settings::load(source).unwrap();
    settings.check().unwrap();
    assert!(settings.endpoints_for(Need::Setup).is_ok());
    // The optional ones are accepted too once their comment sign is taken away.
    let all: String = dotenv()
        .lines()
        .map(|line| {
            let bare =
                line.strip_prefix("# ").filter(|rest| rest.split('=').next().is_some_and(|name| entry(name).is_some()));
            format!("{}\n", bare.unwrap_or(line))
        })
        .collect();
    let (_directory, mut source) = project(&[], "", &all);
    source.flags.insert("SHAKEDOWN_CONFIG", source.config.clone().unwrap().display().to_string());
    let settings = Settings::load(source.clone()).unwrap();
    let unused: Vec<_> = settings.ignored().iter().map(|ignored| ignored.name).collect();
    let wanted: Vec<_> = TABLE.iter().filter(|entry| entry.needs_trust && entry.name != "SHAKEDOWN_CONFIG").collect();
    assert_eq!(unused.len(), wanted.len(), "{unused:?}");
    source.trusted = true;
    let settings = Settings::load(source).unwrap();
    settings.check().unwrap();
    assert!(TABLE.iter().all(|entry| entry.hidden || settings.secret(entry.name).is_some()));
}

#[test]
fn every_variable_is_in_every_format() {
    let (markdown, dotenv, json) = (markdown(), dotenv(), json());
    for entry in TABLE.iter().filter(|entry| !entry.hidden) {
        assert!(markdown.contains(&format!("| `{}` |", entry.name)));
        assert!(dotenv.contains(&format!("{}=", entry.name)));
        assert!(json.as_array().unwrap().iter().any(|item| item["name"] == entry.name));
    }
}
