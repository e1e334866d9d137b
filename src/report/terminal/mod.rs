//! The report for people: a line for each suite, the causes, then the problems that no cause explains, the gravest next to
//! the prompt.

mod causes;
mod groups;
mod room;
mod style;
mod text;

use std::collections::BTreeSet;
use std::io::{self, Write};

use console::Style as Paint;
use serde_json::Value;

use super::plain;
use crate::guide::catalogue::format_source;
use crate::outcome::{CaseRecord, Report, RunVerdict, Timeline, Totals, Word};
use groups::Problem;
use room::Room;
pub use style::{Extent, Style};
pub(crate) use text::wrapped;
use text::{cut, shortened, wide};

const LABEL: usize = 11;
/// Columns before the text beside a label.
const BESIDE: usize = 6 + LABEL + 1;
/// More reasons to skip cases are counted.
const MAX_SKIPPED: usize = 6;
/// With more cases to run again, their suites are named.
const MAX_FLAGS: usize = 12;
/// In a group of more cases with one reason, details are printed for the first alone.
const DETAILED: usize = 3;

/// Writes `report` for a terminal.
pub fn render(report: &Report, style: Style, out: &mut impl Write) -> io::Result<()> {
    let report = &plain(report);
    if style.extent == Extent::Verdict {
        return verdict(report, style, out);
    }
    let id_column = id_column(report, style);
    let block = |write: &dyn Fn(&mut Vec<u8>) -> io::Result<()>| {
        let mut text = Vec::new();
        write(&mut text).map(|()| text)
    };
    let suites = match style.extent {
        Extent::Usual | Extent::Full => block(&|out| suites(report, style, out))?,
        _ => Vec::new(),
    };
    let cases = match style.extent {
        Extent::Full => block(&|out| every_case(report, id_column, style, out))?,
        _ => block(&|out| skipped(report, style, out))?,
    };
    let about = block(&|out| about_the_run(report, style, out))?;
    let end = block(&|out| {
        result(report, style, out)?;
        rerun(report, style, out)
    })?;
    let mut room = Room::of(style);
    for text in [&suites, &cases, &about, &end] {
        room.take(text);
    }
    let causes = causes::causes(report, id_column, style, &mut room)?;
    let problems = problems(report, id_column, style, &mut room)?;
    // What happened in a scenario takes a screen: it is shown if there is room for it.
    let mut happened = Vec::new();
    let mut unshown = 0_usize;
    for timeline in &report.timelines {
        let text = block(&|out| events(timeline, style, out))?;
        if room.fits(&text) {
            room.take(&text);
            happened.extend(text);
        } else {
            unshown += 1;
        }
    }
    if unshown > 0 {
        let more =
            format!("what happened in {unshown} scenarios: `--verbose`, `--report html=PATH` and `--bundle DIR`");
        writeln!(happened, "\n{}", style.paint(&cut(&more, style.width), Paint::new().dim()))?;
    }
    for text in [suites, causes, cases, happened, about, problems, end] {
        out.write_all(&text)?;
    }
    Ok(())
}

/// The problems that no cause explains, the gravest last. What there is no room for is shortened, then counted.
fn problems(report: &Report, id_column: usize, style: Style, room: &mut Room) -> io::Result<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut left_out = 0;
    for problem in groups::problems(report).iter().rev() {
        let mut whole = b"\n".to_vec();
        describe(problem, (report.gate.strict, id_column), style, &mut whole)?;
        let mut short = Vec::new();
        for case in &problem.cases {
            line(case, id_column, style, &mut short)?;
        }
        let mut first = b"\n".to_vec();
        if let Some((gravest, others)) = problem.cases.split_last() {
            describe(&Problem { cases: vec![*gravest] }, (report.gate.strict, id_column), style, &mut first)?;
            let more = format!("{} more cases for the same reason: `--verbose` lists them", others.len());
            writeln!(first, "      {}", style.paint(&cut(&more, style.room(6)), Paint::new().dim()))?;
        }
        let part = [whole, short, first].into_iter().find(|part| room.fits(part));
        left_out += if part.is_none() { problem.cases.len() } else { 0 };
        let part = part.unwrap_or_default();
        room.take(&part);
        parts.push(part);
    }
    if left_out > 0 {
        let more = format!("{left_out} more cases did not pass: `--verbose` and the other formats have them");
        parts.push(format!("\n{}\n", style.paint(&cut(&more, style.width), Paint::new().dim())).into_bytes());
    }
    Ok(parts.into_iter().rev().flatten().collect())
}

/// The totals, the comparison and the verdict of the run.
fn result(report: &Report, style: Style, out: &mut impl Write) -> io::Result<()> {
    writeln!(out)?;
    if let Some(comparison) = &report.gate.comparison {
        let colour = if comparison.holds() { Paint::new().green() } else { Paint::new().red().bold() };
        hanging(&comparison.sentence(), &colour, style, out)?;
    }
    let noun = if report.totals.cases == 1 { "case" } else { "cases" };
    writeln!(out, "{} {noun}: {}", report.totals.cases, counts(&report.totals, style))?;
    verdict(report, style, out)
}

/// The counts of each verdict, such as `5 pass, 1 skip`.
fn counts(totals: &Totals, style: Style) -> String {
    let counts: Vec<String> = Word::ALL
        .iter()
        .filter(|word| totals.count(**word) > 0)
        .map(|word| style.paint(&format!("{} {word}", totals.count(*word)), colour(*word)))
        .collect();
    counts.join(", ")
}

/// The names of the suites, in the order of the report.
fn suite_names(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for case in &report.cases {
        if !names.contains(&case.suite.as_str()) {
            names.push(&case.suite);
        }
    }
    names
}

/// One line for each suite.
fn suites(report: &Report, style: Style, out: &mut impl Write) -> io::Result<()> {
    let names = suite_names(report);
    if names.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style.paint("suites", Paint::new().bold()))?;
    let longest = names.iter().map(|name| wide(name)).max().unwrap_or(0);
    for name in names {
        let totals = Totals::from_cases(report.cases.iter().filter(|case| case.suite == name));
        writeln!(out, "  {name:<longest$}  {}", counts(&totals, style))?;
    }
    Ok(())
}

/// One line for each case, suite by suite; with the evidence of what passed.
fn every_case(report: &Report, id_column: usize, style: Style, out: &mut impl Write) -> io::Result<()> {
    for name in suite_names(report) {
        writeln!(out, "\n{}", style.paint(name, Paint::new().bold()))?;
        for case in report.cases.iter().filter(|case| case.suite == name) {
            let word = case.verdict.word();
            let whole = line(case, id_column, style, out)?;
            if word == Word::Pass {
                if !whole {
                    item("title", &case.title, style, out)?;
                }
                evidence(case, style, out)?;
            }
            if let (Word::Skip, Some(reason)) = (word, case.verdict.reason()) {
                item("found", reason, style, out)?;
            }
        }
    }
    Ok(())
}

/// One line for each reason to skip cases.
fn skipped(report: &Report, style: Style, out: &mut impl Write) -> io::Result<()> {
    let groups = groups::skipped(report);
    if groups.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let more = groups.len().saturating_sub(MAX_SKIPPED);
    for group in groups.into_iter().take(MAX_SKIPPED) {
        for (number, line) in wrapped(&group.sentence(), style.room(6)).iter().enumerate() {
            writeln!(out, "{}{line}", if number == 0 { "  – " } else { "      " })?;
        }
    }
    if more > 0 {
        writeln!(out, "  – {more} more reasons to skip cases: `--verbose` has them")?;
    }
    Ok(())
}

/// What a reader should know of the run, before the problems.
fn about_the_run(report: &Report, style: Style, out: &mut impl Write) -> io::Result<()> {
    writeln!(out)?;
    for note in &report.notes {
        let label = style.paint("note:", Paint::new().bold());
        for (number, line) in wrapped(note, style.room(6)).iter().enumerate() {
            writeln!(out, "{} {line}", if number == 0 { label.as_str() } else { "     " })?;
        }
    }
    for file in &report.files {
        hanging(&format!("{} {} ({})", file.action, file.path, file.purpose), &Paint::new(), style, out)?;
    }
    if report.coverage.filtered_out > 0 {
        writeln!(out, "{} cases were left out by filters", report.coverage.filtered_out)?;
    }
    if report.gate.attempts > 1 {
        let flaky = report.cases.iter().filter(|case| case.flaky).count();
        writeln!(out, "{} attempts of every case, {flaky} flaky", report.gate.attempts)?;
    }
    if let Some(shard) = &report.gate.shard {
        writeln!(out, "shard {shard}: the other shards are separate runs")?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a duration to one decimal")]
    let seconds = report.duration_ms as f64 / 1000.0;
    writeln!(out, "{seconds:.1} s, provider {}, seed {}", report.provider, report.seed)
}

/// Cases with one reason: the reason once, then the cases; `strict` as in the run.
fn describe(
    problem: &Problem,
    (strict, id_column): (bool, usize),
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    let several = problem.cases.len() > 1;
    let shared = problem.shared_reason().filter(|_| several);
    if let Some(reason) = shared {
        let text = format!("{} cases: {reason}", problem.cases.len());
        hanging(&text, &Paint::new().bold(), style, out)?;
    }
    let mut printed = BTreeSet::new();
    for (number, case) in problem.cases.iter().enumerate() {
        let whole = line(case, id_column, style, out)?;
        if number > 0 && shared.is_some() && problem.cases.len() > DETAILED && style.extent != Extent::Full {
            continue;
        }
        if !whole {
            item("title", &case.title, style, out)?;
        }
        if let (None, Some(reason)) = (shared, case.verdict.reason()) {
            item("found", reason, style, out)?;
        }
        details(case, strict, &mut printed, style, out)?;
    }
    Ok(())
}

/// Evidence, why and remedy of a case; what `printed` has already is not repeated.
fn details<'a>(
    case: &'a CaseRecord,
    strict: bool,
    printed: &mut BTreeSet<(&'static str, &'a str)>,
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    let word = case.verdict.word();
    let brief = style.extent == Extent::Usual && (word == Word::Waived || (word == Word::Warn && !strict));
    if !brief {
        evidence(case, style, out)?;
        if printed.insert(("why", &case.why)) {
            item("why", &case.why, style, out)?;
        }
    }
    if printed.insert(("remedy", &case.remedy)) {
        item("remedy", &case.remedy, style, out)?;
    }
    if !brief && printed.insert(("source", &case.source)) {
        item("source", &format_source(&case.source), style, out)?;
    }
    Ok(())
}

fn evidence(case: &CaseRecord, style: Style, out: &mut impl Write) -> io::Result<()> {
    for evidence in &case.evidence {
        let seen = match &evidence.seen {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let wanted = evidence.wanted.as_ref().map_or_else(String::new, |wanted| format!(" (wanted {wanted})"));
        item("evidence", &format!("{}: {}{wanted}", evidence.what, shortened(&seen, 400)), style, out)?;
    }
    Ok(())
}

/// The verdict of the run, and how many cases it is based on.
fn verdict(report: &Report, style: Style, out: &mut impl Write) -> io::Result<()> {
    let paint = match report.verdict {
        RunVerdict::Conformant => Paint::new().green().bold(),
        RunVerdict::NotConformant => Paint::new().red().bold(),
        RunVerdict::Inconclusive => Paint::new().yellow().bold(),
    };
    let strict = if report.gate.strict { " (strict: warnings fail)" } else { "" };
    let verdict = report.verdict.to_string();
    let sentence = format!("{verdict}{strict}: {}", report.coverage.sentence());
    for (number, line) in wrapped(&sentence, style.room(2)).iter().enumerate() {
        match line.strip_prefix(&verdict) {
            Some(rest) if number == 0 => writeln!(out, "{}{rest}", style.paint(&verdict, paint.clone()))?,
            _ => writeln!(out, "  {line}")?,
        }
    }
    Ok(())
}

/// The command that runs exactly those cases again that keep the run from being conformant.
fn rerun(report: &Report, style: Style, out: &mut impl Write) -> io::Result<()> {
    let again = |case: &&CaseRecord| match case.verdict.word() {
        Word::Fail | Word::Unknown => true,
        Word::Warn => report.gate.strict,
        _ => false,
    };
    let flags: Vec<String> = report.cases.iter().filter(again).map(|case| format!("--case '{}'", case.id)).collect();
    let Some(command) = style.rerun.filter(|_| !flags.is_empty()) else { return Ok(()) };
    let mut flags = flags;
    if flags.len() > MAX_FLAGS && style.extent != Extent::Full {
        let suites: BTreeSet<&str> = report.cases.iter().filter(again).map(|case| case.suite.as_str()).collect();
        flags = suites.into_iter().map(|suite| format!("--case '{suite}.*'")).collect();
        writeln!(out, "run the suites of these cases again:")?;
    } else {
        writeln!(out, "run these cases again:")?;
    }
    let mut text = format!("  {command}");
    for flag in flags {
        if wide(&text) + 1 + wide(&flag) + 2 > style.width {
            writeln!(out, "{text} \\")?;
            "   ".clone_into(&mut text);
        }
        text = format!("{text} {flag}");
    }
    writeln!(out, "{text}")
}

/// The columns of the longest id, at most half of the width.
fn id_column(report: &Report, style: Style) -> usize {
    report.cases.iter().map(|case| wide(&case.id)).max().unwrap_or(0).min(style.width / 2)
}

/// The line of a case; false when its title had to be cut.
fn line(case: &CaseRecord, longest: usize, style: Style, out: &mut impl Write) -> io::Result<bool> {
    let word = case.verdict.word();
    let symbol = word.symbol();
    let painted = style.paint(&format!("{symbol} {word:<7}"), colour(word));
    let took = format!("{} ms", case.duration_ms);
    // Blanks, symbol, word and level before the id, and two blanks on both sides of the title.
    let room = style.width.saturating_sub(19 + longest.max(wide(&case.id)) + 4 + took.len());
    let title = cut(&case.title, room);
    let level = style.paint(&format!("{:<6}", case.level), Paint::new().dim());
    let took = style.paint(&took, Paint::new().dim());
    if title.is_empty() {
        writeln!(out, "  {painted} {level} {}  {took}", case.id)?;
    } else {
        writeln!(out, "  {painted} {level} {:<longest$}  {title}  {took}", case.id)?;
    }
    Ok(title == case.title)
}

/// A label and a text beside it.
fn item(label: &str, text: &str, style: Style, out: &mut impl Write) -> io::Result<()> {
    let mut first = true;
    for line in wrapped(text, style.room(BESIDE)) {
        let label = if std::mem::take(&mut first) { label } else { "" };
        writeln!(out, "      {} {line}", style.paint(&format!("{label:<LABEL$}"), Paint::new().bold()))?;
    }
    Ok(())
}

/// A text whose lines are indented, except the first.
fn hanging(text: &str, paint: &Paint, style: Style, out: &mut impl Write) -> io::Result<()> {
    for (number, line) in wrapped(text, style.room(2)).iter().enumerate() {
        writeln!(out, "{}{}", if number == 0 { "" } else { "  " }, style.paint(line, paint.clone()))?;
    }
    Ok(())
}

/// The events of a scenario in which a case did not pass.
fn events(timeline: &Timeline, style: Style, out: &mut impl Write) -> io::Result<()> {
    let heading = format!("what happened in {}", timeline.scenario);
    writeln!(out, "\n{}", style.paint(&heading, Paint::new().bold()))?;
    for line in wrapped(&timeline.title, style.room(2)) {
        writeln!(out, "  {}", style.paint(&line, Paint::new().dim()))?;
    }
    let (shown, left_out) = timeline.shown();
    for line in shown.lines() {
        // One line each: the other formats have the whole text.
        writeln!(out, "  {}", cut(&line, style.room(2)))?;
    }
    if left_out > 0 {
        let more = format!("{left_out} more events: `--report json=PATH` and `--bundle DIR` have them");
        for line in wrapped(&more, style.room(2)) {
            writeln!(out, "  {}", style.paint(&line, Paint::new().dim()))?;
        }
    }
    Ok(())
}

fn colour(word: Word) -> Paint {
    match word {
        Word::Pass => Paint::new().green(),
        Word::Fail => Paint::new().red().bold(),
        Word::Warn => Paint::new().yellow(),
        Word::Skip => Paint::new().dim(),
        Word::Unknown => Paint::new().magenta(),
        Word::Waived => Paint::new().cyan(),
    }
}
