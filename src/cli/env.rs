//! `shakedown env`: list the variables, with or without their values.

use super::failure::Failure;
use super::print::try_print;
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
        return try_print(&text).map(|()| Exit::Ok).map_err(Failure::harness);
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
    try_print(&text).map_err(Failure::harness)?;
    settings.check()?;
    Ok(Exit::Ok)
}
