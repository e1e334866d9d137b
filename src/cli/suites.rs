//! `shakedown suites lint`: report every error in a directory of suites.

use std::path::{Path, PathBuf};

use super::Common;
use super::failure::Failure;
use super::print::{note, print};
use crate::outcome::Exit;
use crate::spec::Suites;

/// Work with your own suites
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check a directory of suites, and print every error with its place
    Lint {
        /// The directory [default: `SHAKEDOWN_SUITES`]
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

pub(super) fn run(args: &Args, common: &Common) -> Result<Exit, Failure> {
    let What::Lint { directory } = &args.what;
    let directory = match directory {
        Some(directory) => directory.clone(),
        None => super::load(common.source())?
            .path("SHAKEDOWN_SUITES")
            .ok_or_else(|| Failure::usage("no directory of suites: pass DIR, or set SHAKEDOWN_SUITES"))?,
    };
    let wrong = Suites::lint(&directory)?;
    if !wrong.is_empty() {
        for error in &wrong {
            note(&error.to_string());
        }
        return Err(Failure::usage(format!("{} with errors", count(wrong.len(), "file"))));
    }
    let suites = Suites::from_directory(&directory)?;
    print(&format!("{}\n", summary(&suites, &directory)));
    Ok(Exit::Ok)
}

fn summary(suites: &Suites, directory: &Path) -> String {
    format!(
        "{} with {} and {} in {}: no errors",
        count(suites.suites.len(), "suite"),
        count(suites.cases.len(), "case"),
        count(suites.scenarios.len(), "scenario"),
        directory.display()
    )
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
