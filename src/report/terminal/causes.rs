//! The causes: each once with its evidence and remedy, and a line for each case that it explains.

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use console::Style as Paint;

use super::groups::explained;
use super::room::Room;
use super::text::{cut, wrapped};
use super::{Extent, Style, counts, details, item, line};
use crate::guide::catalogue::format_source;
use crate::outcome::{Cause, Report, Totals};

/// The lines that the causes may take, of those of the report.
const MAX_LINES: usize = 55;
/// How many cases of a cause have a line of their own.
const MAX_CASES: usize = 6;

/// The section with the causes; empty if there are none.
pub(super) fn causes(report: &Report, id_column: usize, style: Style, room: &mut Room) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    if report.causes.is_empty() {
        return Ok(out);
    }
    writeln!(out, "\n{}", style.paint("causes", Paint::new().bold()))?;
    let mut own = room.at_most(MAX_LINES, style);
    for (place, cause) in report.causes.iter().enumerate() {
        let mut heading = Vec::new();
        title(place + 1, cause, style, &mut heading)?;
        let mut whole = heading.clone();
        describe(report, cause, style, &mut whole)?;
        let without_cases = whole.clone();
        cases(report, place + 1, id_column, style, &mut whole)?;
        let part = [whole, without_cases].into_iter().find(|part| own.fits(part)).unwrap_or(heading);
        own.take(&part);
        out.extend(part);
    }
    room.take(&out);
    Ok(out)
}

/// The number of a cause and its sentence.
fn title(number: usize, cause: &Cause, style: Style, out: &mut Vec<u8>) -> io::Result<()> {
    for (place, line) in wrapped(&cause.sentence, style.room(6)).iter().enumerate() {
        let label = if place == 0 { format!("{number:>3}  ") } else { "     ".to_owned() };
        writeln!(out, "{label}{}", style.paint(line, Paint::new().bold()))?;
    }
    Ok(())
}

/// What a cause explains, what was seen, and what helps.
fn describe(report: &Report, cause: &Cause, style: Style, out: &mut Vec<u8>) -> io::Result<()> {
    let its = report.cases.iter().filter(|case| cause.cases.contains(&case.id));
    let totals = Totals::from_cases(its);
    let noun = if totals.cases == 1 { "case" } else { "cases" };
    let plain = Style { colours: false, ..style };
    item("explains", &format!("{} {noun}: {}", totals.cases, counts(&totals, plain)), style, out)?;
    for line in &cause.evidence {
        item("evidence", line, style, out)?;
    }
    item("remedy", &cause.remedy, style, out)?;
    for library in &cause.libraries {
        item("", &format!("{}: {}", library.library, library.remedy), style, out)?;
    }
    item("source", &format_source(&cause.source), style, out)
}

/// One line for each case that the cause explains, the gravest first; with `--verbose` also its details.
fn cases(report: &Report, number: usize, id_column: usize, style: Style, out: &mut Vec<u8>) -> io::Result<()> {
    let cases = explained(report, number);
    let is_full = style.extent == Extent::Full;
    let shown = if is_full || cases.len() <= MAX_CASES + 1 { cases.len() } else { MAX_CASES };
    let mut printed = BTreeSet::new();
    for case in cases.iter().take(shown) {
        let because = report.because(case).unwrap_or_default();
        let mut short = (*case).clone();
        short.title = because;
        line(&short, id_column, style, out)?;
        if is_full {
            item("title", &case.title, style, out)?;
            if let Some(reason) = case.verdict.reason() {
                item("found", reason, style, out)?;
            }
            details(case, report.gate.strict, &mut printed, style, out)?;
        }
    }
    if shown < cases.len() {
        let more = format!("{} more cases because of cause {number}: `--verbose` lists them", cases.len() - shown);
        writeln!(out, "    {}", style.paint(&cut(&more, style.room(4)), Paint::new().dim()))?;
    }
    Ok(())
}
