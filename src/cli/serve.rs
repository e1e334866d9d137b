//! `shakedown serve`: check an environment on a schedule, and serve its health, metrics and a status page.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Common;
use super::case_selection::CaseArgs;
use super::failure::Failure;
use super::gate::time;
use super::print::note;
use super::trace_export::TraceExport;
use crate::outcome::Exit;
use crate::redaction;
use crate::runner::EnvironmentCheck;
use crate::serve::{
    Access, History, HistoryFile, Hosts, Intervals, ServerLimits, StatusStore, Watch, listen, parse_host, routes,
};
use crate::settings::Settings;

/// Check an environment on a schedule, and serve its health, metrics and a status page
///
/// Runs the cases of `shakedown check`, which only read, and probes every service every two seconds. Requests are
/// answered from the last results and never touch a service. SIGHUP reloads the settings; SIGINT and SIGTERM end it.
///
/// /                      the status page
/// /health/live           the process runs
/// /health/ready          200 if no MUST fails and every service answers, else 503
/// /health                all services and cases, as application/health+json
/// /health/SERVICE        one service, such as redis, bullmq, postgres, supabase, qdrant, jina
/// /metrics               metrics for Prometheus
/// /report, /report.json  the report of the last check
/// /events                a server-sent event for each change
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Address to listen on; anything but a loopback address is open to everyone who can reach it
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Name under which clients reach it, in addition to the address of --listen and localhost; can be repeated.
    /// Requests for other names are refused
    #[arg(long = "host", value_name = "NAME", value_parser = host)]
    hosts: Vec<url::Host>,
    /// Interval of the checks, at least 1s
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = intervals)]
    every: Duration,
    /// Interval of the probes that ask whether a service answers, at least 200ms
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = heartbeat)]
    heartbeat: Duration,
    /// File for the history, or `none` [default: serve.redb in the state directory]
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Name of the variable with the token that every request except /health/live must carry, as bearer token or, in a
    /// browser, as password
    #[arg(long, value_name = "NAME")]
    token_env: Option<String>,
    /// Address of bull-board, for a link on the status page
    #[arg(long, value_name = "URL", value_parser = url)]
    bull_board: Option<String>,
    #[command(flatten)]
    selected: CaseArgs,
}

fn intervals(text: &str) -> Result<Duration, String> {
    at_least(text, Duration::from_secs(1), "1s")
}

fn heartbeat(text: &str) -> Result<Duration, String> {
    at_least(text, Duration::from_millis(200), "200ms")
}

fn at_least(text: &str, least: Duration, minimum: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time < least { Err(format!("`{text}` is too short: expected {minimum} or more")) } else { Ok(time) }
}

fn url(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.password().is_none() => Ok(text.to_owned()),
        _ => Err("invalid URL: expected e.g. http://127.0.0.1:3000, without credentials".to_owned()),
    }
}

fn host(text: &str) -> Result<url::Host, String> {
    parse_host(text)
        .ok_or_else(|| "invalid host: expected a name or an address without port, e.g. status.example".into())
}

/// How long open connections may take to end at shutdown.
const GRACE: Duration = Duration::from_secs(3);

pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let mut check = load(&args, common)?;
    let trace_export =
        TraceExport::reporting(&check.settings, "shakedown", Box::new(|text| note(&format!("note: {text}"))))?;
    check.trace = trace_export.trace().clone();
    let check = Arc::new(check);
    let token = match &args.token_env {
        Some(name) => Some(token(&check, name)?),
        None => None,
    };
    let (file, history) = history(&args, &check.settings)?;
    let listener = tokio::net::TcpListener::bind(args.listen).await.map_err(|error| {
        Failure::usage(format!("cannot listen on {} (--listen): {error}; choose another address or port", args.listen))
    })?;
    let address = listener.local_addr().map_err(Failure::harness)?;
    let intervals = Intervals { check: args.every, heartbeat: args.heartbeat };
    let status_store = StatusStore::with_history(&check, intervals, history);
    let access = Access {
        token,
        hosts: Some(Hosts::new(address, &args.hosts)),
        bull_board: args.bull_board.clone(),
        ..Access::default()
    };
    let ending = access.ending.clone();
    let limits = ServerLimits::from_open_files();
    let mut served = tokio::spawn(listen(listener, routes(status_store.clone(), access), limits, ending.clone()));
    let mut watch = Watch::start(check, status_store.clone(), file.clone());
    note(&format!("serving http://{address}/ ; press Ctrl-C to stop"));
    if !address.ip().is_loopback() && args.token_env.is_none() {
        note("warning: everyone who can reach this address can read the status; set a token with --token-env NAME");
    }
    if let Some(files) = limits.low_files {
        note(&format!(
            "warning: the limit of open files is {files}, too low to reserve descriptors for probes; raise it with ulimit -n"
        ));
    }
    loop {
        tokio::select! {
            ended = &mut served => {
                watch.end().await;
                let why = ended.map_or_else(|error| error.to_string(), |()| "the server ended".to_owned());
                return Err(Failure::harness(format!("the HTTP server stopped: {why}")));
            }
            again = signals.next() => {
                if !again {
                    break;
                }
                match load(&args, common) {
                    Ok(mut check) => {
                        check.trace = trace_export.trace().clone();
                        let check = Arc::new(check);
                        watch.end().await;
                        status_store.replace_targets(&check);
                        status_store.note("settings", None);
                        watch = Watch::start(check, status_store.clone(), file.clone());
                        note("settings reloaded");
                    }
                    Err(failure) => {
                        let text = format!("could not reload the settings, so the old ones remain: {}", failure.report);
                        note(&text);
                        status_store.note("settings", Some(text));
                    }
                }
            }
        }
    }
    ending.cancel();
    watch.end().await;
    // Connections that do not end in time are dropped.
    let _ = tokio::time::timeout(GRACE, &mut served).await;
    served.abort();
    if let Some(lost) = trace_export.end_within(GRACE).await {
        note(&format!("note: {lost}"));
    }
    note("stopped");
    Ok(Exit::Ok)
}

/// The check that the settings and flags describe.
fn load(args: &Args, common: &Common) -> Result<EnvironmentCheck, Failure> {
    args.selected.load(common, false, None)?.require_cases()?.environment_check()
}

fn token(check: &EnvironmentCheck, name: &str) -> Result<secrecy::SecretString, Failure> {
    use secrecy::ExposeSecret as _;
    let token = check.given.environment.get(name).filter(|token| !token.expose_secret().trim().is_empty());
    redaction::learn(token.map(|token| (name, token)));
    token.cloned().ok_or_else(|| {
        Failure::usage(format!("--token-env names {name}, which is not set or is empty: set it, or omit the flag"))
    })
}

fn history(args: &Args, settings: &Settings) -> Result<(Option<Arc<HistoryFile>>, History), Failure> {
    let path = match &args.history {
        Some(path) if path.as_os_str() == "none" => return Ok((None, History::default())),
        Some(path) => path.clone(),
        None => settings.state_dir().join("serve.redb"),
    };
    let (file, history) = HistoryFile::open(&path).map_err(Failure::usage)?;
    Ok((Some(Arc::new(file)), history))
}

/// The signals that end the server or reload the settings.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::harness(format!("cannot install signal handlers: {error}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// True for SIGHUP, which reloads; false for the signals that end the server.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => false,
            _ = self.terminate.recv() => false,
            _ = self.hang_up.recv() => true,
        }
    }
}
