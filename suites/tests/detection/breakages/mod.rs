//! Proof that every case can fail: each case runs on a stack that is broken in one way, and must name the reason. The ways
//! are tables in `fixtures/breakages/`; `fixtures/defects/` proves the cases that judge a worker.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use shakedown::outcome::{Events, Level, Word};
use shakedown::runner::{self, RunOptions, Selection};
use shakedown::services::http::Http;
use shakedown::services::postgres::Postgres;
use shakedown::services::redis::Redis;
use shakedown::settings::{Endpoints, Given, Settings, Source};
use shakedown::spec::{Suites, Template, Verb};
use shakedown::stack::{ProviderKind, names_for};
use tempfile::TempDir;
use url::Url;

use self::table::{Breakage, example_of_the_page, planted, read};
use crate::support::groups::{self, Group};
use crate::support::harness::{SHAKEDOWN, TestStack, runtime};

/// What the names of the trials begin with.
const NAME: &str = "breakages";

/// Breaks the stack in one way at a time; the case that judges it must notice.
pub fn group() -> Group {
    let breakages = read();
    let suites = Suites::builtin().unwrap();
    let mut trials = vec![Trial::test(groups::name(NAME, "every_case_has_a_breakage"), {
        let mut covered: BTreeSet<String> = breakages.iter().map(|breakage| breakage.case.clone()).collect();
        covered.extend(planted());
        // What is run by name only is proved by the tests of its suite.
        covered.extend(suites.cases.iter().filter(|case| case.is_by_name()).map(|case| case.id.clone()));
        let known: BTreeSet<String> = suites.cases.iter().map(|case| case.id.clone()).collect();
        move || {
            let missing: Vec<_> = known.difference(&covered).collect();
            let unknown: Vec<_> = covered.difference(&known).collect();
            if missing.is_empty() && unknown.is_empty() {
                return Ok(());
            }
            Err(format!("cases without a breakage: {missing:?}; breakages without a case: {unknown:?}").into())
        }
    })];
    let stack: Arc<Mutex<Option<TestStack>>> = Arc::default();
    let suites = Arc::new(suites);
    let rows = breakages.into_iter().map(|breakage| (breakage.title(), breakage, Arc::clone(&suites)));
    let (with_example, example) = example_of_the_page();
    let example = (format!("{} (suites/README.md)", example.case), example, Arc::new(with_example));
    for (number, (title, breakage, suites)) in rows.chain([example]).enumerate() {
        let stack = Arc::clone(&stack);
        trials.push(Trial::test(groups::name(NAME, title), move || {
            // One stack for all, and one breakage at a time: most disturb a whole service.
            let mut stack = stack.lock().unwrap_or_else(PoisonError::into_inner);
            runtime().block_on(async {
                if stack.is_none() {
                    *stack = Some(TestStack::launch(ProviderKind::Native, "breakages").await);
                }
                let stack = stack.as_ref().expect("it was launched above");
                Box::pin(prove(&suites, &breakage, number, stack)).await
            })
        }));
    }
    Group::with_end(NAME, trials, move |_| {
        let left =
            stack.lock().unwrap_or_else(PoisonError::into_inner).take().map(|stack| runtime().block_on(stack.stop()));
        assert_eq!(left.unwrap_or_default(), Vec::<String>::new(), "something could not be removed");
    })
}

/// Breaks the stack, evaluates the case and restores the stack. The verdict must be the case's own failure, for the reason
/// that the table names.
async fn prove(suites: &Suites, breakage: &Breakage, number: usize, stack: &TestStack) -> Result<(), Failed> {
    let run = format!("b{number}");
    let mut whole = stack.stack.endpoints().clone();
    whole.names = names_for(&run, "run");
    shakedown::scenario::set_up(&whole, &stack.options(&run).contract, Path::new(SHAKEDOWN))
        .await
        .map_err(|error| error.to_string())?;
    let secured = match &breakage.tls {
        Some(certificate) => {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = crate::support::certificates::params(&[&certificate.name], 2000, certificate.until);
            crate::support::certificates::serve(&params.self_signed(&key).unwrap(), &key, certificate.postgres).await
        }
        None => String::new(),
    };
    let pooler = match &breakage.pooler {
        Some(mode) => Some(crate::support::pgbouncer::PgBouncer::start(&whole.postgres.url, mode).await),
        None => None,
    };
    let pooled = pooler.as_ref().map(|pooler| pooler.address.clone()).unwrap_or_default();
    let template = template(&whole, secured, pooled);
    let mut options = stack.options(&run);
    // What an earlier breakage was refused is no sign of this one.
    Redis::connect(&whole.redis).await?.command(&["CONFIG", "RESETSTAT"]).await?;
    let mut broken = whole.clone();
    let redirected = redirect(breakage, &template, &mut broken).await?;
    disturb(breakage, &template, &whole, stack).await?;
    if let Some(script) = &breakage.setup {
        options.shakedown = fake_shakedown(&stack.directory(), number, script);
    }
    let (project, _supabase) = project(breakage, &template, &broken).await?;
    options.given = project.as_ref().map(|(_, given)| Arc::new(given.clone()));
    options.endpoints = Some(broken);
    let selection = Selection::new(&[], std::slice::from_ref(&breakage.case), None).unwrap();
    let report = runner::run(suites, &selection, &stack.stack, &options, &Events::silent()).await;
    let others = if breakage.is_one_thing() {
        other_failures(suites, breakage, &template, &options, stack).await
    } else {
        Ok(BTreeSet::new())
    };
    drop(redirected);
    restore(breakage, &template, &whole, stack).await?;
    let others = others?;

    let case = report.cases.first().ok_or("there is no such case")?;
    let usual = if case.level == Level::Must { Word::Fail } else { Word::Warn };
    let wanted = breakage.verdict.clone().unwrap_or_else(|| usual.to_string());
    let (seen, reason) = (case.verdict.word(), case.verdict.reason().unwrap_or_default());
    if seen.as_str() != wanted {
        return Err(format!("the verdict is {seen}, wanted {wanted}: {reason}\n{:#?}", case.evidence).into());
    }
    if !reason.contains(&template.fill(&breakage.says).unwrap()) {
        return Err(format!("failed for another reason than `{}`: {reason}", breakage.says).into());
    }
    if breakage.is_one_thing() && others != breakage.also {
        return Err(format!("other cases notice it too: {others:?}, wanted {:?}", breakage.also).into());
    }
    Ok(())
}

/// What is red on a stack in order: an empty collection, and the Redis that Debian ships.
const ALWAYS: [&str; 2] = ["qdrant.has-points", "redis.version-current"];
/// What depends on how busy the machine is.
const TIMED: [&str; 6] =
    ["redis.latency", "supabase.latency", "jina.latency", "qdrant.search-median", "qdrant.search-p99", "redis.clock"];

/// The other cases of `shakedown check` that do not pass.
async fn other_failures(
    suites: &Suites,
    breakage: &Breakage,
    template: &Template,
    options: &RunOptions,
    stack: &TestStack,
) -> Result<BTreeSet<String>, Failed> {
    let selection = Selection::new(&[], &[], None).unwrap().for_verb(Verb::Check).only_reading(true);
    let mut options = options.clone();
    let endpoints = options.endpoints.clone().ok_or("the endpoints are set above")?;
    let breakage = Breakage { given: Some(breakage.given.clone().unwrap_or_default()), ..breakage.clone() };
    let (project, _supabase) = project(&breakage, template, &endpoints).await?;
    options.given = project.as_ref().map(|(_, given)| Arc::new(given.clone()));
    options.jobs = 256;
    let report = runner::run(suites, &selection, &stack.stack, &options, &Events::silent()).await;
    let red = report.cases.into_iter().filter(|judged| matches!(judged.verdict.word(), Word::Fail | Word::Warn));
    let known = |id: &str| id == breakage.case || ALWAYS.contains(&id) || TIMED.contains(&id);
    Ok(red.map(|judged| judged.id).filter(|id| !known(id)).collect())
}

/// The user's project: its directory and its settings, if the row sets any.
async fn project(
    breakage: &Breakage,
    template: &Template,
    endpoints: &Endpoints,
) -> Result<(Option<(TempDir, Given)>, Option<crate::support::fake_servers::FakeServer>), Failed> {
    let Some(given) = &breakage.given else { return Ok((None, None)) };
    let mut environment: BTreeMap<String, String> = endpoints
        .environment()
        .into_iter()
        .map(|variable| (variable.name.to_owned(), variable.value.expose_secret().to_owned()))
        .collect();
    let server = match &breakage.answers.supabase {
        Some(answers) => {
            let server = crate::support::fake_servers::http(answers.clone()).await;
            for name in ["SUPABASE_URL", "SUPABASE_MANAGEMENT_URL"] {
                environment.insert(name.to_owned(), format!("http://{}", server.address()));
            }
            Some(server)
        }
        None => None,
    };
    for (name, value) in given {
        environment.insert(name.clone(), template.fill(value)?);
    }
    environment.retain(|_, value| !value.is_empty());
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in &breakage.files {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    for arguments in [["init", "--quiet"], ["add", "--all"]] {
        let git = std::process::Command::new("git").args(arguments).current_dir(&directory).status();
        assert!(git.is_ok_and(|status| status.success()), "git is needed");
    }
    let source = Source { environment, profile: breakage.profile.clone(), ..Source::default() };
    let settings = Settings::load(source).map_err(|error| error.to_string())?;
    let given = Given::from_settings(&settings, directory.path().to_owned());
    Ok((Some((directory, given)), server))
}

/// Placeholders of the tables: addresses, secrets and names.
fn template(endpoints: &Endpoints, secured: String, pooled: String) -> Template {
    let url = |secret: &SecretString| Url::parse(secret.expose_secret()).unwrap();
    let address = |url: &Url| format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let (redis, postgres) = (url(&endpoints.redis.url), url(&endpoints.postgres.url));
    Template::new([
        ("redis.address", address(&redis)),
        ("redis.password", redis.password().unwrap_or_default().to_owned()),
        ("postgres.address", address(&postgres)),
        ("postgres.port", postgres.port().unwrap().to_string()),
        ("qdrant.url", endpoints.qdrant.url.clone()),
        ("qdrant.address", endpoints.qdrant.url.trim_start_matches("http://").to_owned()),
        ("postgres.password", postgres.password().unwrap_or_default().to_owned()),
        ("queue.name", endpoints.names.queue.clone()),
        ("queue.keys", format!("{}:{}:", endpoints.names.prefix, endpoints.names.queue)),
        ("collection", endpoints.names.collection.clone()),
        ("table", endpoints.names.table.clone()),
        ("tls.address", secured),
        ("pooler.address", pooled),
    ])
}

/// Points endpoints to other addresses; the returned fake servers run until they are dropped.
async fn redirect(
    breakage: &Breakage,
    template: &Template,
    endpoints: &mut Endpoints,
) -> Result<Vec<crate::support::fake_servers::FakeServer>, Failed> {
    for (service, value) in &breakage.endpoint {
        let value = template.fill(value)?;
        match service.as_str() {
            "redis" => endpoints.redis.url = value.into(),
            "postgres" => endpoints.postgres.url = value.into(),
            "qdrant" => endpoints.qdrant.url = value,
            "qdrant_grpc" => endpoints.qdrant.grpc_url = value,
            "qdrant_key" => endpoints.qdrant.api_key = Some(value.into()),
            "jina" => endpoints.jina.base_url = value,
            "jina_key" => endpoints.jina.api_key = Some(value.into()),
            other => return Err(format!("there is no endpoint `{other}`").into()),
        }
    }
    let mut alive = Vec::new();
    if let Some(answers) = &breakage.answers.redis {
        let server = crate::support::fake_servers::redis(answers.clone()).await;
        endpoints.redis.url = format!("redis://{}/0", server.address()).into();
        alive.push(server);
    }
    for (answers, base) in
        [(&breakage.answers.qdrant, &mut endpoints.qdrant.url), (&breakage.answers.jina, &mut endpoints.jina.base_url)]
    {
        let Some(answers) = answers else { continue };
        let filled = answers
            .iter()
            .map(|answer| {
                Ok(crate::support::fake_servers::Answer { path: template.fill(&answer.path)?, ..answer.clone() })
            })
            .collect::<Result<Vec<_>, Failed>>()?;
        let server = crate::support::fake_servers::http(filled).await;
        *base = format!("http://{}", server.address());
        alive.push(server);
    }
    Ok(alive)
}

async fn disturb(breakage: &Breakage, template: &Template, whole: &Endpoints, stack: &TestStack) -> Result<(), Failed> {
    commands(&breakage.redis, template, whole).await?;
    if let Some(statements) = &breakage.sql {
        let postgres = Postgres::connect(&whole.postgres).await?;
        postgres.execute(&template.fill(statements)?).await?;
        postgres.close().await;
    }
    if let Some(query) = &breakage.settles_sql {
        settles(query, whole).await?;
    }
    let http = Http::qdrant(&whole.qdrant)?;
    for request in &breakage.qdrant {
        let body = request.body.as_ref().map(|body| template.fill_json(body)).transpose()?;
        http.call(&request.method, &template.fill(&request.path)?, body.as_ref()).await?;
    }
    if let Some(mock) = stack.stack.jina() {
        let behaviours = breakage.jina.iter().map(|value| serde_json::from_value(value.clone()));
        mock.behave(behaviours.collect::<Result<_, _>>()?);
    }
    Ok(())
}

/// Waits until `query` yields true: Postgres reads its configuration again in its own time.
async fn settles(query: &str, whole: &Endpoints) -> Result<(), Failed> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let postgres = Postgres::connect(&whole.postgres).await?;
        let rows = postgres.rows(query).await?;
        postgres.close().await;
        let settled =
            rows.first().and_then(Value::as_object).and_then(|row| row.values().next()).and_then(Value::as_bool);
        if settled == Some(true) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("`{query}` did not become true").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn restore(breakage: &Breakage, template: &Template, whole: &Endpoints, stack: &TestStack) -> Result<(), Failed> {
    if let Some(mock) = stack.stack.jina() {
        mock.behave(Vec::new());
    }
    if !breakage.restore.redis.is_empty() {
        // Without a password in force, the usual URL is refused; the connection that restores it has none.
        let mut endpoint = whole.clone();
        if Redis::connect(&whole.redis).await.is_err() {
            let mut url = Url::parse(whole.redis.url.expose_secret())?;
            let _ = url.set_password(None);
            let _ = url.set_username("");
            endpoint.redis.url = url.to_string().into();
        }
        commands(&breakage.restore.redis, template, &endpoint).await?;
    }
    if let Some(statements) = &breakage.restore.sql {
        let postgres = Postgres::connect(&whole.postgres).await?;
        postgres.execute(&template.fill(statements)?).await?;
        postgres.close().await;
        settles("select count(*) = 0 from pg_hba_file_rules where auth_method = 'trust' and type = 'host'", whole)
            .await?;
    }
    Ok(())
}

async fn commands(commands: &[Vec<String>], template: &Template, endpoints: &Endpoints) -> Result<(), Failed> {
    if commands.is_empty() {
        return Ok(());
    }
    let redis = Redis::connect(&endpoints.redis).await?;
    for words in commands {
        let words = words.iter().map(|word| template.fill(word)).collect::<Result<Vec<_>, _>>()?;
        redis.command(&words).await?;
    }
    Ok(())
}

/// A program that is not `shakedown`.
fn fake_shakedown(directory: &Path, number: usize, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(format!("fake-shakedown-{number}"));
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}
