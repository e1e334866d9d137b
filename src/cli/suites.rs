//! `shakedown suites lint`: whether a directory of suites can be read, told file by file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::Common;
use super::failure::Failure;
use crate::outcome::Exit;
use crate::settings::Settings;
use crate::spec::Suites;

/// Look after suites of one's own
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Say whether every suite of a directory can be read, and where one cannot
    Lint {
        /// The directory; `SHAKEDOWN_SUITES` when absent
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

pub(super) fn run(args: &Args, common: &Common) -> Result<Exit, Failure> {
    let What::Lint { directory } = &args.what;
    let directory = match directory {
        Some(directory) => directory.clone(),
        None => Settings::load(common.source())?
            .path("SHAKEDOWN_SUITES")
            .ok_or_else(|| Failure::usage("no directory of suites is named: give one, or set SHAKEDOWN_SUITES"))?,
    };
    let wrong = Suites::lint(&directory)?;
    if !wrong.is_empty() {
        for error in &wrong {
            // Nobody to tell is no reason to fail otherwise.
            let _ = writeln!(std::io::stderr(), "{error}");
        }
        return Err(Failure::usage(format!("{} of the suites cannot be read", count(wrong.len(), "file"))));
    }
    let suites = Suites::from_directory(&directory)?;
    // A reader that closed the pipe has seen enough.
    let _ = writeln!(std::io::stdout(), "{}", told(&suites, &directory));
    Ok(Exit::Ok)
}

fn told(suites: &Suites, directory: &Path) -> String {
    format!(
        "{} with {} and {} in {}: all can be read",
        count(suites.suites.len(), "suite"),
        count(suites.cases.len(), "case"),
        count(suites.scenarios.len(), "scenario"),
        directory.display()
    )
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
