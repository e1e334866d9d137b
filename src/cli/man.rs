//! `shakedown man`: the manual, generated from the command line definition.

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::Cli;
use super::failure::Failure;
use super::print::print;
use crate::outcome::Exit;

/// Print the manual page, or write a page for each verb
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory to write all pages to, such as ~/.local/share/man/man1; created if it is missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let Some(directory) = &args.out else {
        let mut page = Vec::new();
        Man::new(with_tables_as_paragraphs(Cli::command())).render(&mut page).map_err(Failure::harness)?;
        print(&String::from_utf8_lossy(&page));
        return Ok(Exit::Ok);
    };
    let count = write(directory).map_err(|error| {
        Failure::usage(format!(
            "cannot write the manual to `{}`: {error}; choose a writable directory",
            directory.display()
        ))
    })?;
    print(&format!("{count} pages in {}\n", directory.display()));
    Ok(Exit::Ok)
}

/// Makes a paragraph of each line of a table in a description; otherwise the page would join the lines.
fn with_tables_as_paragraphs(command: Command) -> Command {
    let about = command.get_long_about().map(ToString::to_string);
    let command = match about.filter(|about| about.contains("  ")) {
        Some(about) => {
            let line = |line: &str| if line.contains("  ") { format!("\n{line}\n") } else { format!("{line}\n") };
            command.long_about(about.lines().map(line).collect::<String>())
        }
        None => command,
    };
    command.mut_subcommands(with_tables_as_paragraphs)
}

/// Writes a page for every verb; returns their number.
fn write(directory: &Path) -> std::io::Result<usize> {
    std::fs::create_dir_all(directory)?;
    // The pages replace `help`.
    let mut whole = with_tables_as_paragraphs(Cli::command()).disable_help_subcommand(true);
    whole.build();
    write_page(&whole, directory)
}

fn write_page(command: &Command, directory: &Path) -> std::io::Result<usize> {
    Man::new(command.clone()).generate_to(directory)?;
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    verbs.map(|verb| write_page(verb, directory)).try_fold(1, |count, more| Ok(count + more?))
}
