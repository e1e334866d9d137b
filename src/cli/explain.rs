//! `shakedown explain CASE`: describe a case without running it; with `--all`, every case.

use std::fmt::Write as _;

use super::Common;
use super::case_selection::{SuitesArgs, read_suites};
use super::failure::Failure;
use super::print::print;
use crate::guide::catalogue::format_source;
use crate::outcome::Exit;
use crate::runner::Selection;
use crate::spec::{Case, Check, Suites};

/// Explain a case: what it does, what it expects, why, and how to fix a failure
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the case, or a glob
    #[arg(required_unless_present = "all", value_name = "CASE")]
    case: Vec<String>,
    /// Explain every case, suite by suite
    #[arg(long, conflicts_with = "case")]
    all: bool,
    /// Output format: terminal, or markdown with a heading for each case
    #[arg(long, value_name = "FORMAT", default_value = "terminal")]
    format: Page,
    #[command(flatten)]
    suites: SuitesArgs,
}

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Page {
    /// For people at a terminal.
    Terminal,
    /// A page of documentation.
    Markdown,
}

/// Prints the cases.
pub(super) fn run(args: &Args, common: &Common) -> Result<Exit, Failure> {
    let settings = super::load(args.suites.onto(common.source()))?;
    let suites = read_suites(&settings)?;
    let selection = Selection::new(&[], &args.case, None)?.with_slow(true);
    selection.check(&suites)?;
    // Cases that run only by name are explained too.
    let chosen: Vec<&Case> =
        suites.cases.iter().map(std::sync::Arc::as_ref).filter(|case| args.all || selection.chooses(case)).collect();
    let text = match args.format {
        Page::Terminal => chosen.iter().map(|case| explain(case, &suites)).collect::<Vec<_>>().join("\n"),
        Page::Markdown => page(&chosen, &suites),
    };
    print(&text);
    Ok(Exit::Ok)
}

/// A page with a heading for each case. The heading is the id alone, so that links stay valid when the title changes.
pub(super) fn page(chosen: &[&Case], suites: &Suites) -> String {
    let mut text = format!(
        "# Cases\n\n{} requirements, printed by `shakedown explain --all --format markdown`. \
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
                "\n### {}\n\n**{}** ({}, run by {})\n\n{}\n\n**Remedy.** {}\n\n**Source.** {}\n\n```text\n",
                case.id,
                case.title,
                case.level.to_string().to_uppercase(),
                verbs.join(" and "),
                case.why,
                case.remedy,
                format_source(&case.source)
            );
            for (word, what) in describe(case, suites) {
                let _ = writeln!(text, "{word:<10} {what}");
            }
            text.push_str("```\n");
        }
    }
    text
}

/// What the case does and expects, one line each.
fn describe(case: &Case, suites: &Suites) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    match &case.check {
        Check::Probe(probe, matchers) => {
            lines.push(("reads", probe.to_string()));
            lines.extend(matchers.iter().map(|matcher| ("expects", matcher.to_string())));
        }
        Check::Scenario(name, demands) => {
            if let Some(scenario) = suites.scenarios.get(name) {
                if *name != case.id {
                    lines.push(("scenario", format!("{name}: {}", scenario.title)));
                }
                lines.extend(scenario.words());
                if scenario.baseline.is_some() {
                    let baseline = "with a run over the same documents without faults";
                    lines.push(("compared", baseline.to_owned()));
                }
            }
            lines.extend(suites.premises(case).map(|premise| ("premise", premise.to_string())));
            lines.extend(demands.iter().map(|demand| ("expects", demand.to_string())));
        }
    }
    lines
}

pub(super) fn explain(case: &Case, suites: &Suites) -> String {
    let mut text = format!("{}  ({}, suite {})\n{}\n\n", case.id, case.level, case.suite, case.title);
    let mut line = |word: &str, what: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {word:<10} {what}");
    };
    for (word, what) in &describe(case, suites) {
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
        line("note", "takes minutes: runs with --slow, or when you name its id");
    }
    if case.is_by_name() {
        line("note", "runs only when you name it or its suite, because it downloads packages from npm and PyPI");
    }
    text
}
