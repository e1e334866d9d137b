//! `shakedown man`: the manual, made from the same command line.

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::Cli;
use super::failure::Failure;
use super::shown::print;
use crate::outcome::Exit;

/// Print the manual page, or write the whole manual, a page for each verb
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory for all pages, such as ~/.local/share/man/man1; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let Some(directory) = &args.out else {
        let mut page = Vec::new();
        Man::new(set(Cli::command())).render(&mut page).map_err(Failure::harness)?;
        print(&String::from_utf8_lossy(&page));
        return Ok(Exit::Ok);
    };
    let count = write(directory).map_err(|error| {
        Failure::usage(format!(
            "the manual cannot be written to `{}`: {error}; choose a directory that is writable",
            directory.display()
        ))
    })?;
    print(&format!("{count} pages in {}\n", directory.display()));
    Ok(Exit::Ok)
}

/// The same with a paragraph for each line of a table in a description: a page would run them together.
fn set(command: Command) -> Command {
    let told = command.get_long_about().map(ToString::to_string);
    let command = match told.filter(|told| told.contains("  ")) {
        Some(told) => {
            let line = |line: &str| if line.contains("  ") { format!("\n{line}\n") } else { format!("{line}\n") };
            command.long_about(told.lines().map(line).collect::<String>())
        }
        None => command,
    };
    command.mut_subcommands(set)
}

/// Writes the page of every verb; gives how many there are.
fn write(directory: &Path) -> std::io::Result<usize> {
    std::fs::create_dir_all(directory)?;
    // `help` says what the pages say.
    let mut whole = set(Cli::command()).disable_help_subcommand(true);
    whole.build();
    write_page(&whole, directory)
}

fn write_page(command: &Command, directory: &Path) -> std::io::Result<usize> {
    Man::new(command.clone()).generate_to(directory)?;
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    verbs.map(|verb| write_page(verb, directory)).try_fold(1, |count, more| Ok(count + more?))
}
