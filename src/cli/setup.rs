//! `shakedown setup`: create what `[desired]` describes, or the queue, table and collection of a worker.

use super::Common;
use super::failure::Failure;
use super::print::{Format, print};
use super::provision::{self, Agreed};
use super::steps::{as_json, as_text, exit_of};
use crate::operations::provision::{Wanted, prepare};
use crate::outcome::Exit;
use crate::settings::Need;

/// Create what [desired] in shakedown.toml describes, or the queue, table and collection that a worker needs
///
/// With [desired] it makes the changes that `shakedown plan` lists, in order of dependency, and asks before it replaces
/// something. A second run changes nothing. Exit codes: 0 everything exists; 1 something has another shape, or a
/// migration failed; 2 wrong credentials or settings, or refused without --yes; 3 a service failed or did not answer.
/// After an error, the next run resumes it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Do not create this; can be repeated
    #[arg(long, value_name = "WHAT", value_enum)]
    without: Vec<Without>,
    /// Name of the collection's vector, if it has one
    #[arg(long, value_name = "NAME")]
    vector: Option<String>,
    /// Create what a worker needs, and ignore [desired]
    #[arg(long)]
    worker: bool,
    #[command(flatten)]
    agreed: Agreed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Without {
    /// The table of documents; its schema is still created
    Table,
    /// The collection of chunks
    Collection,
}

/// Sets up the stack that the environment names, and prints what each step did.
pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let settings = super::load(common.source())?;
    let for_worker = args.worker || !args.without.is_empty() || args.vector.is_some();
    if let Some(desired) = settings.desired().filter(|_| !for_worker) {
        return provision::set_up(&settings, desired, args.agreed, args.format).await;
    }
    let endpoints = settings.endpoints_for(Need::Setup)?;
    let wanted = Wanted {
        table: !args.without.contains(&Without::Table),
        collection: !args.without.contains(&Without::Collection),
        vector: args.vector,
    };
    let steps = Box::pin(prepare(&endpoints, &wanted)).await;
    print(&match args.format {
        Format::Text => steps.iter().map(as_text).collect(),
        Format::Json => as_json(&steps),
    });
    exit_of(steps)
}
