//! `shakedown serve`: health, metrics and a status page of an environment, looked at on a schedule.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Common;
use super::chosen::ChosenArgs;
use super::failure::Failure;
use super::gate::time;
use super::traced::Traced;
use crate::outcome::Exit;
use crate::runner::EnvironmentCheck;
use crate::serve::{Access, History, Intervals, StatusStore, Store, Watch, routes};
use crate::settings::Settings;

/// Look at an environment on a schedule, and serve its health, metrics and a status page
///
/// What `shakedown check` judges is judged again and again, by reading, and every service is asked every other second
/// whether it answers. Requests are answered from what was found: they never touch a service. SIGHUP reads the settings
/// again; SIGINT and SIGTERM end it.
///
/// /                      the status page
/// /health/live           the process runs
/// /health/ready          503 unless no MUST fails and every service answers
/// /health                everything, as application/health+json
/// /health/SERVICE        one service, such as redis, bullmq, postgres, supabase, qdrant, jina
/// /metrics               for Prometheus
/// /report, /report.json  the last check's report
/// /events                an event whenever something changes
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Where to listen; anything but this machine's own address is for everybody who can reach it
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Between two checks, at least 1s
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = intervals)]
    every: Duration,
    /// Between two questions whether a service answers, at least 200ms
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = pulse)]
    pulse: Duration,
    /// The file that keeps the history, or none; serve.redb in the state directory when nobody says
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// The variable that holds a token which every request but /health/live must carry, as bearer token or, in a browser,
    /// as the password
    #[arg(long, value_name = "NAME")]
    token_env: Option<String>,
    /// Where bull-board is, to be linked from the status page
    #[arg(long, value_name = "URL", value_parser = url)]
    bull_board: Option<String>,
    #[command(flatten)]
    chosen: ChosenArgs,
}

fn intervals(text: &str) -> Result<Duration, String> {
    at_least(text, Duration::from_secs(1), "1s")
}

fn pulse(text: &str) -> Result<Duration, String> {
    at_least(text, Duration::from_millis(200), "200ms")
}

fn at_least(text: &str, least: Duration, shown: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time < least { Err(format!("`{text}` is too often; write {shown} or more")) } else { Ok(time) }
}

fn url(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.password().is_none() => Ok(text.to_owned()),
        _ => {
            Err("it is no address of a page; write for instance http://127.0.0.1:3000, without credentials".to_owned())
        }
    }
}

/// How long connections may take to end, once everything is to end.
const GRACE: Duration = Duration::from_secs(3);

pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let mut checkup = load(&args, common)?;
    let traced = Traced::telling(&checkup.settings, "shakedown", Box::new(|text| say(&format!("note: {text}"))))?;
    checkup.trace = traced.trace().clone();
    let checkup = Arc::new(checkup);
    let token = match &args.token_env {
        Some(name) => Some(token(&checkup, name)?),
        None => None,
    };
    let (store, history) = history(&args, &checkup.settings)?;
    let listener = tokio::net::TcpListener::bind(args.listen).await.map_err(|error| {
        Failure::usage(format!(
            "--listen {} cannot be listened on: {error}; choose another address or port",
            args.listen
        ))
    })?;
    let address = listener.local_addr().map_err(Failure::harness)?;
    let intervals = Intervals { check: args.every, pulse: args.pulse };
    let status_store = StatusStore::with_history(&checkup, intervals, history);
    let access = Access { token, bull_board: args.bull_board.clone(), ..Access::default() };
    let ending = access.ending.clone();
    let served = axum::serve(listener, routes(status_store.clone(), access))
        .with_graceful_shutdown(ending.clone().cancelled_owned());
    let mut served = tokio::spawn(served.into_future());
    let mut watch = Watch::start(checkup, status_store.clone(), store.clone());
    say(&format!("serving http://{address}/ ; Ctrl-C ends it"));
    if !address.ip().is_loopback() && args.token_env.is_none() {
        say("everybody who can reach this address can read it: --token-env NAME asks for a token");
    }
    loop {
        tokio::select! {
            ended = &mut served => {
                watch.end().await;
                let why = match ended {
                    Ok(Ok(())) => "it ended by itself".to_owned(),
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                return Err(Failure::harness(format!("requests are no longer served: {why}")));
            }
            again = signals.next() => {
                if !again {
                    break;
                }
                match load(&args, common) {
                    Ok(mut checkup) => {
                        checkup.trace = traced.trace().clone();
                        let checkup = Arc::new(checkup);
                        watch.end().await;
                        status_store.refit(&checkup);
                        status_store.note("settings", None);
                        watch = Watch::start(checkup, status_store.clone(), store.clone());
                        say("the settings were read again");
                    }
                    Err(failure) => {
                        let text = format!("the settings could not be read again, and the old ones stay: {}", failure.report);
                        say(&text);
                        status_store.note("settings", Some(text));
                    }
                }
            }
        }
    }
    ending.cancel();
    watch.end().await;
    // Whoever does not let go is left behind.
    let _ = tokio::time::timeout(GRACE, &mut served).await;
    served.abort();
    if let Some(lost) = traced.end_within(GRACE).await {
        say(&format!("note: {lost}"));
    }
    say("ended");
    Ok(Exit::Ok)
}

/// Says a line to whoever started it.
fn say(text: &str) {
    // Nobody to tell is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The settings, and what is judged by them.
fn load(args: &Args, common: &Common) -> Result<EnvironmentCheck, Failure> {
    args.chosen.load(common, false, None)?.some()?.checkup()
}

fn token(checkup: &EnvironmentCheck, name: &str) -> Result<secrecy::SecretString, Failure> {
    use secrecy::ExposeSecret as _;
    let token = checkup.given.environment.get(name).filter(|token| !token.expose_secret().trim().is_empty());
    token.cloned().ok_or_else(|| {
        Failure::usage(format!("--token-env names {name}, which is not set or empty: set it, or leave the flag out"))
    })
}

fn history(args: &Args, settings: &Settings) -> Result<(Option<Arc<Store>>, History), Failure> {
    let path = match &args.history {
        Some(path) if path.as_os_str() == "none" => return Ok((None, History::default())),
        Some(path) => path.clone(),
        None => settings.state_dir().join("serve.redb"),
    };
    let (store, history) = Store::open(&path).map_err(Failure::usage)?;
    Ok((Some(Arc::new(store)), history))
}

/// Being asked to end, or to read the settings again.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::harness(format!("signals cannot be received: {error}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// True for SIGHUP, false for the others.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => false,
            _ = self.terminate.recv() => false,
            _ = self.hang_up.recv() => true,
        }
    }
}
