//! `shakedown setup`: queue, table and collection.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::json;

use super::failure::Failure;
use super::shown::Format;
use crate::outcome::Exit;
use crate::settings::{Need, Settings, Source};
use crate::subjects::setup::{self, Outcome, Step, Wanted};

/// Prepare queue, table and collection; a second time changes nothing
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How to write the steps
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// What somebody else makes; may be given several times
    #[arg(long, value_name = "WHAT", value_enum)]
    without: Vec<Without>,
    /// Name of the collection's vector, where it has one
    #[arg(long, value_name = "NAME")]
    vector: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Without {
    /// The table of documents; its schema is made all the same
    Table,
    /// The collection of chunks
    Collection,
}

/// Prepares the stack that the environment names, and says what each step did.
///
/// Exit code 0 when all is there, 1 when something has another shape, 2 for wrong credentials or settings, 3 when a
/// service did not do its part.
pub(super) async fn run(args: Args, source: Source) -> Result<Exit, Failure> {
    let settings = Settings::load(source)?;
    let endpoints = settings.endpoints_for(Need::Setup)?;
    let wanted = Wanted {
        table: !args.without.contains(&Without::Table),
        collection: !args.without.contains(&Without::Collection),
        vector: args.vector,
    };
    let steps = setup::prepare(&endpoints, &wanted).await;
    let text = match args.format {
        Format::Text => text(&steps),
        Format::Json => format!("{:#}\n", json!({ "steps": steps.iter().map(Step::json).collect::<Vec<_>>() })),
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(Failure::harness)?;
    let failed = steps.into_iter().find_map(|step| match step.outcome {
        Outcome::Failed(error) => Some(error),
        _ => None,
    });
    match failed {
        None => Ok(Exit::Ok),
        Some(error) => {
            let remedy = error.remedy().map_or_else(String::new, |remedy| format!("\n  remedy: {remedy}"));
            Err(Failure { exit: error.exit(), report: miette::miette!("{error}{remedy}") })
        }
    }
}

fn text(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        // The error itself follows on standard error.
        if matches!(step.outcome, Outcome::Failed(_)) {
            let _ = writeln!(text, "{:<9} {:<11} failed", step.service, step.name);
        } else {
            let _ = writeln!(text, "{step}");
        }
        for note in &step.notes {
            let _ = writeln!(text, "{:<21} note: {note}", "");
        }
    }
    text
}
