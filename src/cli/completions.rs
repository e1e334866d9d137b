//! `shakedown completions`: completion scripts for shells.

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::print::print;
use crate::outcome::Exit;

/// Print a completion script for your shell
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Your shell
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut offered(), "shakedown", &mut script);
    print(&String::from_utf8_lossy(&script));
    Exit::Ok
}

/// The command line without hidden verbs, which the generators would offer too.
fn offered() -> Command {
    let whole = Cli::command();
    Command::new("shakedown")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .args(whole.get_arguments().cloned())
        .subcommands(whole.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned())
}
