//! The report as Markdown, for job summaries and hand-overs.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, context};
use serde_json::{Value, json};

use super::{plain, worst_first};
use crate::guide::catalogue::format_source;
use crate::outcome::{CaseRecord, Cause, Report, Timeline, Word};

const TEMPLATE: &str = include_str!("templates/report.md.j2");

/// Writes `report` as Markdown.
pub fn render(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let report = &plain(report);
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(io::Error::other)?;
    environment.set_syntax(syntax);
    environment.add_filter("cell", |text: String| cell(&text));
    environment.add_filter("code", |text: String| code(&text));
    environment.add_template("report", TEMPLATE).map_err(io::Error::other)?;
    let template = environment.get_template("report").map_err(io::Error::other)?;
    let mut suites: Vec<(&str, Vec<&CaseRecord>)> = Vec::new();
    for case in &report.cases {
        match suites.iter_mut().find(|(name, _)| *name == case.suite) {
            Some((_, cases)) => cases.push(case),
            None => suites.push((&case.suite, vec![case])),
        }
    }
    let problems: Vec<Value> = worst_first(report).into_iter().map(|case| problem(case, report)).collect();
    let suites: Vec<Value> = suites
        .into_iter()
        .map(|(name, cases)| {
            let passed = cases.iter().filter(|case| case.verdict.word() == Word::Pass).count();
            json!({ "name": name, "cases": cases, "passed": passed, "total": cases.len() })
        })
        .collect();
    let text = template
        .render(context! {
            report => Serde(report),
            coverage => report.coverage.sentence(),
            suites => Serde(suites),
            causes => Serde(report.causes.iter().map(cause).collect::<Vec<_>>()),
            problems => Serde(problems),
            timelines => Serde(report.timelines.iter().map(happened).collect::<Vec<_>>()),
            steps => next_steps(report),
        })
        .map_err(io::Error::other)?;
    writeln!(out, "{}", text.trim_end())
}

fn cause(cause: &Cause) -> Value {
    json!({
        "sentence": cause.sentence,
        "evidence": cause.evidence,
        "remedy": cause.remedy,
        "libraries": cause.libraries,
        "source": format_source(&cause.source),
        "cases": cause.cases,
    })
}

fn problem(case: &CaseRecord, report: &Report) -> Value {
    json!({
        "because": report.because(case),
        "id": case.id,
        "title": case.title,
        "verdict": case.verdict.word(),
        "level": case.level,
        "reason": case.verdict.reason(),
        "why": case.why,
        "remedy": case.remedy,
        "source": format_source(&case.source),
        "evidence": case.evidence.iter().map(|evidence| {
            let seen = evidence.seen.as_str().map_or_else(|| evidence.seen.to_string(), ToOwned::to_owned);
            json!({ "what": evidence.what, "seen": seen, "wanted": evidence.wanted })
        }).collect::<Vec<_>>(),
    })
}

fn happened(timeline: &Timeline) -> Value {
    let (shown, left_out) = timeline.shown();
    json!({
            "scenario": timeline.scenario,
            "title": timeline.title,
            "cases": timeline.cases,
            "documents": timeline.documents,
    // A fence in the text must not end the code block.
            "lines": shown.lines().map(|line| line.replace('`', "'")).collect::<Vec<_>>(),
            "left_out": left_out,
        })
}

fn next_steps(report: &Report) -> Vec<String> {
    let causes = report.causes.iter().enumerate().map(|(place, cause)| {
        format!("Remove cause {}, which explains {} cases: {}", place + 1, cause.cases.len(), cause.remedy)
    });
    let mut steps: Vec<String> = causes.collect();
    let unexplained = worst_first(report).into_iter().filter(|case| report.cause_numbers(case).is_empty());
    let cases = unexplained.map(|case| match case.verdict.word() {
        Word::Unknown => {
            format!("Find out why `{}` is unknown: {}", case.id, case.verdict.reason().unwrap_or_default())
        }
        _ => format!("Fix `{}` ({}): {}", case.id, case.level, case.remedy),
    });
    steps.extend(cases);
    steps.extend(report.notes.iter().cloned());
    if report.coverage.is_partial() {
        steps.push(format!(
            "Run the {} MUST cases that were skipped: the reason of each names what is missing.",
            report.coverage.must_skipped
        ));
    }
    if steps.is_empty() {
        steps.push(
            "Add it to CI: `shakedown run --report junit=shakedown.xml` fails the job by its exit code.".to_owned(),
        );
        steps.push(
            "Keep the JSON report, and compare the next run with it: `shakedown run --baseline REPORT`.".to_owned(),
        );
    }
    steps
}

/// Text for a table cell or a heading: one line, without markup other than code between backticks.
pub(super) fn cell(text: &str) -> String {
    let line: Vec<&str> = text.split_whitespace().collect();
    let line = line.join(" ");
    let kept: String = line.chars().take(300).collect();
    let kept = if kept.len() < line.len() { format!("{kept}…") } else { kept };
    // Code cannot end with an escape of a pipe, and several backticks in a row begin other code than one.
    let is_code = kept.matches('`').count() % 2 == 0 && !kept.contains("``") && !kept.contains("\\|");
    let kept = if is_code { kept } else { kept.replace('`', "'") };
    let part = |(number, part): (usize, &str)| if number % 2 == 1 { part.replace('|', "\\|") } else { escaped(part) };
    kept.split('`').enumerate().map(part).collect::<Vec<_>>().join("`")
}

/// Text between backticks.
fn code(text: &str) -> String {
    let line: Vec<&str> = text.split_whitespace().collect();
    // In a table, a backslash before the escape of a pipe would end the cell.
    line.join(" ").replace('`', "'").replace("\\|", "\\ |").replace('|', "\\|")
}

/// Text in which links, images, HTML and the ends of table cells are only characters.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => shown.push_str("&lt;"),
            '\\' | '|' | '[' | ']' => shown.extend(['\\', character]),
            other => shown.push(other),
        }
    }
    shown
}
