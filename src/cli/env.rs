//! `shakedown env`: every variable, or what each is set to.

use std::io::Write as _;

use super::failure::Failure;
use crate::outcome::Exit;
use crate::settings::{self, Settings, Source};

/// List every environment variable, or with --resolved what each is set to and why
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How to write the list
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Show each variable's value and where it comes from; secrets are masked
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

/// Prints the list. With `--resolved`, values that no verb would accept make exit code 2.
pub(super) fn run(args: &Args, source: Source) -> Result<Exit, Failure> {
    if !args.resolved {
        let text = match args.format {
            Format::Markdown => settings::markdown(),
            Format::Dotenv => settings::dotenv(),
            Format::Json => format!("{:#}\n", settings::json()),
        };
        return print(&text).map(|()| Exit::Ok);
    }
    let settings = Settings::load(source)?;
    let rows = settings.resolved();
    let text = match args.format {
        Format::Markdown => settings::resolved_markdown(settings.profile(), &rows),
        Format::Json => format!("{:#}\n", settings::resolved_json(settings.profile(), &rows)),
        Format::Dotenv => {
            let remedy = "--resolved masks secrets, so its output is no .env file: use --format markdown or json";
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
