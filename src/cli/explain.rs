//! `shakedown explain CASE`: what a case means, without running anything. With --all, a page of all of them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use super::Common;
use super::failure::Failure;
use crate::outcome::Exit;
use crate::report::source::format_source;
use crate::runner::Selection;
use crate::settings::Settings;
use crate::spec::{Case, Check, Suites};

/// Say what a case means: what is done, what must then hold, why, and how to mend it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The case's id, or a glob over ids
    #[arg(required_unless_present = "all", value_name = "CASE")]
    case: Vec<String>,
    /// Every case, suite by suite
    #[arg(long, conflicts_with = "case")]
    all: bool,
    /// How: terminal, or markdown with a heading for each case, which links can point at
    #[arg(long, value_name = "FORMAT", default_value = "terminal")]
    format: Page,
    /// Directory of suites to read instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    suites: Option<PathBuf>,
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Page {
    /// For people at a terminal.
    Terminal,
    /// A page of documentation.
    Markdown,
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
    // What is run only by its name is explained all the same.
    let chosen: Vec<&Case> =
        suites.cases.iter().map(std::sync::Arc::as_ref).filter(|case| args.all || selection.chooses(case)).collect();
    let text = match args.format {
        Page::Terminal => chosen.iter().map(|case| explain(case, &suites)).collect::<Vec<_>>().join("\n"),
        Page::Markdown => page(&chosen, &suites),
    };
    // A reader that closed the pipe has seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(Exit::Ok)
}

/// A page with a heading for each case, by its id alone: a link to it stays right when its title changes.
fn page(chosen: &[&Case], suites: &Suites) -> String {
    let mut text = format!(
        "# Cases\n\n{} requirements, as `shakedown explain --all --format markdown` tells them. \
         Suite version `{}`.\n",
        chosen.len(),
        suites.version
    );
    for suite in &suites.suites {
        let cases: Vec<&&Case> = chosen.iter().filter(|case| case.suite == suite.name).collect();
        if cases.is_empty() {
            continue;
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "\n## {}: {}\n", suite.name, suite.title);
        for case in cases {
            let verbs: Vec<String> = case.verbs.iter().map(|verb| format!("`shakedown {}`", verb.word())).collect();
            let _ = write!(
                text,
                "\n### {}\n\n**{}** ({}, judged by {})\n\n{}\n\n**Remedy.** {}\n\n**Source.** {}\n\n```text\n",
                case.id,
                case.title,
                case.level.to_string().to_uppercase(),
                verbs.join(" and "),
                case.why,
                case.remedy,
                format_source(&case.source)
            );
            for (word, what) in done(case, suites) {
                let _ = writeln!(text, "{word:<10} {what}");
            }
            text.push_str("```\n");
        }
    }
    text
}

/// What is done and wanted, line by line.
fn done(case: &Case, suites: &Suites) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    match &case.check {
        Check::Probe(probe, matchers) => {
            lines.push(("looks at", probe.to_string()));
            lines.extend(matchers.iter().map(|matcher| ("wants", matcher.to_string())));
        }
        Check::Scenario(name, demands) => {
            if let Some(scenario) = suites.scenarios.get(name) {
                if *name != case.id {
                    lines.push(("scenario", format!("{name}: {}", scenario.title)));
                }
                lines.extend(scenario.words());
                if scenario.baseline.is_some() {
                    let baseline = "with a observations over the same documents on which nothing goes wrong";
                    lines.push(("compared", baseline.to_owned()));
                }
            }
            lines.extend(demands.iter().map(|demand| ("wants", demand.to_string())));
        }
    }
    lines
}

fn explain(case: &Case, suites: &Suites) -> String {
    let mut text = format!("{}  ({}, suite {})\n{}\n\n", case.id, case.level, case.suite, case.title);
    let mut line = |word: &str, what: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {word:<10} {what}");
    };
    for (word, what) in &done(case, suites) {
        line(word, what);
    }
    line("why", &case.why);
    line("remedy", &case.remedy);
    line("source", &format_source(&case.source));
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
