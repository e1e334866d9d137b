//! `shakedown env`: list the variables, with or without their values.

use std::io::Write as _;

use super::failure::Failure;
use crate::outcome::Exit;
use crate::settings::{self, Source};

/// List the environment variables; with --resolved also their values and origins
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Show the value and the origin of each variable; secrets are masked
    #[arg(long)]
    resolved: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A Markdown table
    #[default]
    Markdown,
    /// A complete .env.example
    Dotenv,
    /// JSON
    Json,
}

/// Prints the list. With `--resolved`, an invalid value gives exit code 2.
pub(super) fn run(args: &Args, source: Source) -> Result<Exit, Failure> {
    if !args.resolved {
        let text = match args.format {
            Format::Markdown => settings::markdown(),
            Format::Dotenv => settings::dotenv(),
            Format::Json => format!("{:#}\n", settings::json()),
        };
        return print(&text).map(|()| Exit::Ok);
    }
    let settings = super::load(source)?;
    let rows = settings.resolved();
    let text = match args.format {
        Format::Markdown => settings::resolved_markdown(settings.profile(), &rows),
        Format::Json => format!("{:#}\n", settings::resolved_json(settings.profile(), &rows)),
        Format::Dotenv => {
            let remedy = "--resolved masks secrets, so its output cannot be a .env file: use --format markdown or json";
            return Err(Failure::usage(remedy));
        }
    };
    print(&text)?;
    settings.check()?;
    Ok(Exit::Ok)
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Failure::harness)
}
