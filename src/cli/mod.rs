//! The command line: arguments, verbs, terminal output. The only room that prints.

mod bundle;
mod case_selection;
mod check;
mod clean;
mod completions;
mod compose;
mod confirm;
mod db;
mod env;
mod explain;
mod failure;
mod gate;
mod github;
mod guide;
mod ingest;
mod init;
mod man;
mod output;
mod peer;
mod plan;
mod print;
mod progress;
mod provision;
mod proxy;
#[cfg(feature = "embedded-qdrant")]
mod qdrant;
mod queue;
mod report;
mod rerun;
mod run;
mod schema;
mod serve;
mod setup;
mod signals;
mod stack;
mod started;
mod steps;
mod suites;
mod terminal;
mod trace_export;
mod up;
mod worker;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::outcome::Exit;
use crate::redaction::printable;
use crate::settings::{Ignored, Settings, SettingsError, Source};
use failure::Failure;

/// Tests whether an ingestion worker loses documents when services fail, and checks that a stack is set up correctly
///
/// Exit codes: 0 conformant, or the verb did what you asked; 1 not conformant; 2 bad usage or configuration;
/// 3 inconclusive, or the harness failed; 4 changes are pending (`plan`); 130 interrupted. `shakedown guide` has more.
#[derive(Debug, Parser)]
#[command(name = "shakedown", version, propagate_version = true, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// Flags that every verb takes.
#[derive(Debug, Clone, clap::Args)]
struct Common {
    /// Profile in shakedown.toml: development, staging or production
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
    /// Path of shakedown.toml [default: the one in this directory]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Let .env and shakedown.toml of this directory decide which programs and suites run; `run` does so anyway
    #[arg(long, global = true)]
    trust: bool,
}

impl Common {
    /// The sources of the settings, with these flags.
    fn source(&self) -> Source {
        let (config, profile) = (self.config.clone(), self.profile.clone());
        Source { config, profile, trusted: self.trust, ..Source::process() }
    }
}

/// Reads the settings, and names on standard error what was not used because the working directory is not trusted.
fn load(source: Source) -> Result<Settings, SettingsError> {
    let settings = Settings::load(source)?;
    for Ignored { name, origin } in settings.ignored() {
        print::note(&format!(
            "ignored {name} ({origin}): it decides what runs here; pass --trust, or set \
             SHAKEDOWN_TRUST=1 in the environment, if you trust the files of this directory"
        ));
    }
    Ok(settings)
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(check::Args),
    Run(run::Args),
    Serve(serve::Args),
    Explain(explain::Args),
    Guide(guide::Args),
    Suites(suites::Args),
    Init(init::Args),
    Up(up::Args),
    Env(env::Args),
    Plan(provision::Args),
    Setup(setup::Args),
    Db(db::Args),
    Queue(queue::Args),
    Ingest(ingest::Args),
    Clean(clean::Args),
    Compose(compose::Args),
    Proxy(proxy::Args),
    Worker(worker::Args),
    #[command(hide = true)]
    Peer(peer::Args),
    #[cfg(feature = "embedded-qdrant")]
    Qdrant(qdrant::Args),
    Schema(schema::Args),
    Report(report::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Parses the arguments, runs the verb, and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::from(main_with(std::env::args_os()))
}

/// The same with other arguments; the first one is the program's name.
pub fn main_with<A: Into<std::ffi::OsString> + Clone>(arguments: impl IntoIterator<Item = A>) -> u8 {
    // First of all, so that no message contains a secret of the environment.
    crate::settings::learn_process_environment();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version also arrive here. An argument may be a secret or control the terminal.
            let text = error.to_string();
            let _ = match print::shown(&printable(&text)) {
                shown if shown == text => error.print(),
                shown if error.use_stderr() => write!(std::io::stderr(), "{shown}"),
                shown => write!(std::io::stdout(), "{shown}"),
            };
            return if error.use_stderr() { Exit::Usage.code() } else { Exit::Ok.code() };
        }
    };
    // Two dependencies bring a cryptographic provider each, so one must be chosen. A second call changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match &cli.verb {
        Verb::Run(_) | Verb::Init(_) => crate::runner::runtime(),
        _ => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
    };
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            failure::print(&miette::miette!("cannot create the asynchronous runtime: {error}"));
            return Exit::Inconclusive.code();
        }
    };
    let outcome = runtime.block_on(dispatch(cli));
    // A thread that blocks on standard input or on a dead disk must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    // What a worker has started and left, also without its mark, became a child of this process.
    for left in crate::stack::end_descendants() {
        print::note(&format!("could not remove: {left}"));
    }
    match outcome {
        Ok(exit) => exit.code(),
        Err(failure) => {
            failure::print(&failure.report);
            failure.exit.code()
        }
    }
}

async fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let common = &cli.common;
    Ok(match cli.verb {
        Verb::Check(args) => return Box::pin(check::run(args, common)).await,
        Verb::Run(args) => return Box::pin(run::run(args, common)).await,
        Verb::Serve(args) => return Box::pin(serve::run(args, common)).await,
        Verb::Explain(args) => return explain::run(&args, common),
        Verb::Guide(args) => return guide::run(&args),
        Verb::Suites(args) => return suites::run(&args, common),
        Verb::Init(args) => return Box::pin(init::run(args, common)).await,
        Verb::Up(args) => return up::run(args, common).await,
        Verb::Env(args) => env::run(&args, common.source())?,
        Verb::Plan(args) => return Box::pin(provision::run(args, common)).await,
        Verb::Setup(args) => return Box::pin(setup::run(args, common)).await,
        Verb::Db(args) => return Box::pin(db::run(args, common)).await,
        Verb::Queue(args) => return Box::pin(queue::run(args, common)).await,
        Verb::Ingest(args) => ingest::run(args, common.source()).await?,
        Verb::Clean(args) => clean::run(args, common).await?,
        Verb::Proxy(args) => return proxy::run(args).await,
        Verb::Compose(args) => return compose::run(&args, common),
        Verb::Worker(args) => return worker::run(args, common).await,
        Verb::Peer(args) => return peer::run(args).await,
        #[cfg(feature = "embedded-qdrant")]
        Verb::Qdrant(args) => return qdrant::run(args).await,
        Verb::Schema(args) => schema::run(&args)?,
        Verb::Report(args) => return report::run(&args),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => return man::run(&args),
    })
}

#[cfg(test)]
mod tests;
