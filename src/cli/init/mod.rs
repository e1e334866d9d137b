//! `shakedown init`: reads the project in a directory, writes a contract that says where each line comes from, and tries
//! the contract with one document.

mod answers;
mod choices;
mod evidence;
mod names;
mod page;
mod preflight;
mod queue;
#[cfg(test)]
mod tests;
mod worker;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::Common;
use super::failure::Failure;
use super::print::print;
use super::stack::StackArgs;
use crate::outcome::Exit;
use crate::project::Project;
use answers::Answers;
use page::Page;

/// Write a shakedown.toml for the worker in this directory, say what was read and what was guessed, and try it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of the worker
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,
    /// Overwrite an existing shakedown.toml
    #[arg(long)]
    force: bool,
    /// Ask nothing, also on a terminal
    #[arg(long)]
    no_questions: bool,
    /// Do not try the contract with one document
    #[arg(long)]
    no_preflight: bool,
    #[command(flatten)]
    stack: StackArgs,
}

/// Writes the file and runs the preflight.
pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let path = args.directory.join("shakedown.toml");
    if !args.directory.is_dir() {
        return Err(Failure::usage(format!("`{}` is not a directory", args.directory.display())));
    }
    if path.exists() && !args.force {
        let remedy = "remove it, or overwrite it with --force";
        return Err(Failure::usage(format!("`{}` already exists: {remedy}", path.display())));
    }
    let project = Project::read(&args.directory)
        .map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", args.directory.display())))?;
    let mut answers = if args.no_questions { Answers::None } else { Answers::of_process() };
    let page = contract(&project, &args.directory, &mut answers);
    write(&path, &page.text, args.force)
        .map_err(|error| Failure::usage(format!("cannot write `{}`: {error}", path.display())))?;
    let absolute = std::path::absolute(&path).unwrap_or(path);
    print(&summary(&absolute, &project, &page));
    if args.no_preflight {
        print("\nnext: read it, then `shakedown run --dry-run`, then `shakedown run`\n");
        return Ok(Exit::Ok);
    }
    preflight::run(&project, &absolute, args.stack.onto(common.source().trusted())).await
}

/// The contract for a project.
fn contract(project: &Project, directory: &Path, answers: &mut Answers) -> Page {
    let mut page = Page::default();
    page.raw(
        "# How Shakedown starts this worker, gives it jobs and reads its results. The comments say where each value was read;\n\
         # check what is guessed. `shakedown run --dry-run` prints a summary, `shakedown guide worker` explains every key.",
    );
    worker::write(project, directory, &mut page, answers);
    queue::write(project, &mut page, answers);
    evidence::write(project, &mut page, answers);
    page
}

/// What was read, guessed and left out.
fn summary(path: &Path, project: &Project, page: &Page) -> String {
    let mut text = format!("created {}\n", path.display());
    let mut list = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            text.push_str(&format!("\n{title}:\n"));
            text.extend(lines.iter().map(|line| format!("  - {line}\n")));
        }
    };
    list("read", &page.read);
    list("guessed", &page.guessed);
    list("not read", &project.notes);
    text
}

/// Writes the file; without `force` none that appeared meanwhile is overwritten.
fn write(path: &Path, text: &str, force: bool) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.open(path)?.write_all(text.as_bytes())
}
