//! The command line: arguments, verbs, terminal. The only room that prints.

mod clean;
mod compose;
mod env;
mod explain;
mod failure;
mod gate;
mod github;
mod ingest;
mod plan;
mod progress;
mod proxy;
#[cfg(feature = "embedded-qdrant")]
mod qdrant;
mod run;
mod schema;
mod setup;
mod signals;
mod stack;
mod up;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::outcome::Exit;
use crate::settings::Source;
use failure::Failure;

/// Does this worker lose a document when things break? Is this stack set up right?
///
/// Exit codes: 0 conformant, or the verb did what it was asked; 1 not conformant; 2 bad usage or configuration;
/// 3 inconclusive, or the harness could not judge; 130 interrupted.
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
    /// Profile of shakedown.toml: development, staging or production
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
    /// The shakedown.toml to read instead of the one in this directory
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Common {
    /// The sources of settings, with these flags.
    fn source(&self) -> Source {
        Source { config: self.config.clone(), profile: self.profile.clone(), ..Source::process() }
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Args),
    Explain(explain::Args),
    Up(up::Args),
    Env(env::Args),
    Setup(setup::Args),
    Ingest(ingest::Args),
    Clean(clean::Args),
    Compose(compose::Args),
    Proxy(proxy::Args),
    Worker(worker::Args),
    #[cfg(feature = "embedded-qdrant")]
    Qdrant(qdrant::Args),
    Schema(schema::Args),
}

/// Parses the arguments, runs the verb, and gives its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and are no errors.
            let _ = error.print();
            return if error.use_stderr() { code(Exit::Usage) } else { code(Exit::Ok) };
        }
    };
    // Two crates of the tree each bring a cryptographic provider; one has to be named. A second call changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            failure::print(&miette::miette!("no asynchronous runtime could be made: {error}"));
            return code(Exit::Inconclusive);
        }
    };
    let outcome = runtime.block_on(dispatch(cli));
    // A thread that blocks on standard input or on a dead disk must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    match outcome {
        Ok(exit) => code(exit),
        Err(failure) => {
            failure::print(&failure.report);
            code(failure.exit)
        }
    }
}

async fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let common = &cli.common;
    Ok(match cli.verb {
        Verb::Run(args) => return Box::pin(run::run(args, common)).await,
        Verb::Explain(args) => return explain::run(&args, common),
        Verb::Up(args) => return up::run(args, common).await,
        Verb::Env(args) => env::run(&args, common.source())?,
        Verb::Setup(args) => setup::run(args, common.source()).await?,
        Verb::Ingest(args) => ingest::run(args, common.source()).await?,
        Verb::Clean(args) => clean::run(args).await?,
        Verb::Proxy(args) => return proxy::run(args).await,
        Verb::Compose(args) => return compose::run(&args, common),
        Verb::Worker(args) => return worker::run(args, common).await,
        #[cfg(feature = "embedded-qdrant")]
        Verb::Qdrant(args) => return qdrant::run(args).await,
        Verb::Schema(args) => schema::run(&args)?,
    })
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit.code())
}
