//! `shakedown explain CASE`: what a case means, without running anything.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use super::Common;
use super::failure::Failure;
use crate::outcome::Exit;
use crate::runner::Selection;
use crate::settings::Settings;
use crate::spec::{Case, Check, Suites};

/// Say what a case means: what is done, what must then hold, why, and how to mend it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The case's id, or a glob over ids
    #[arg(required = true, value_name = "CASE")]
    case: Vec<String>,
    /// Directory of suites to read instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    suites: Option<PathBuf>,
}

/// Prints the cases.
pub(super) fn run(args: &Args, common: &Common) -> Result<Exit, Failure> {
    let source = common.source().flag("SHAKEDOWN_SUITES", args.suites.as_ref().map(|path| path.display().to_string()));
    let settings = Settings::load(source)?;
    let suites = match settings.path("SHAKEDOWN_SUITES") {
        Some(directory) => Suites::from_directory(&directory)?,
        None => Suites::builtin()?,
    };
    let selection = Selection::new(&[], &args.case, None)?.with_slow(true);
    selection.check(&suites)?;
    let chosen = suites.cases.iter().filter(|case| selection.chooses(case));
    let texts: Vec<String> = chosen.map(|case| explain(case, &suites)).collect();
    // A reader that closed the pipe has seen enough.
    let _ = std::io::stdout().write_all(texts.join("\n").as_bytes());
    Ok(Exit::Ok)
}

fn explain(case: &Case, suites: &Suites) -> String {
    let mut text = format!("{}  ({}, suite {})\n{}\n\n", case.id, case.level, case.suite, case.title);
    let mut line = |word: &str, what: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {word:<10} {what}");
    };
    match &case.check {
        Check::Probe(probe, matchers) => {
            line("looks at", &probe.to_string());
            for matcher in matchers {
                line("wants", &matcher.to_string());
            }
        }
        Check::Scenario(name, demands) => {
            if let Some(scenario) = suites.scenarios.get(name) {
                if *name != case.id {
                    line("scenario", &format!("{name}: {}", scenario.title));
                }
                scenario.words().iter().for_each(|(word, what)| line(word, what));
                if scenario.calm.is_some() {
                    line("compared", "with a voyage over the same documents on which nothing goes wrong");
                }
            }
            for demand in demands {
                line("wants", &demand.to_string());
            }
        }
    }
    line("why", &case.why);
    line("remedy", &case.remedy);
    line("source", &case.source);
    if !case.requires.is_empty() {
        line("after", &case.requires.join(", "));
    }
    let needs: Vec<&str> = case.needs.iter().map(|need| need.word()).collect();
    if !needs.is_empty() {
        line("needs", &format!("a stack with: {}", needs.join(", ")));
    }
    if case.is_slow() {
        line("note", "takes minutes: runs with --slow, or when named by its id");
    }
    if case.is_by_name() {
        line("note", "runs when its suite or itself is named: it fetches what it needs from npm and PyPI first");
    }
    text
}
