//! The report for people: one line a case; for what is not a pass the evidence, the cause and the remedy.

use std::io::{self, Write};

use console::Style as Paint;
use serde_json::Value;

use crate::outcome::{CaseRecord, Report, RunVerdict, Timeline, Word};

/// How to render.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour.
    pub colours: bool,
    /// Columns.
    pub width: usize,
    /// Only what is not a pass.
    pub short: bool,
}

const LABEL: usize = 11;

/// Writes `report` for a terminal.
pub fn render(report: &Report, style: Style, out: &mut impl Write) -> io::Result<()> {
    let paint = |text: &str, paint: Paint| paint.force_styling(style.colours).apply_to(text).to_string();
    let longest = report.cases.iter().map(|case| case.id.chars().count()).max().unwrap_or(0);
    let mut suite = "";
    for case in &report.cases {
        if style.short && case.verdict.word() == Word::Pass {
            continue;
        }
        if case.suite != suite {
            suite = &case.suite;
            writeln!(out, "\n{}", paint(suite, Paint::new().bold()))?;
        }
        line(case, longest, style, out)?;
        if case.verdict.word() != Word::Pass {
            details(case, style, out)?;
        }
    }
    for timeline in &report.timelines {
        happened(timeline, style, out)?;
    }
    writeln!(out)?;
    for note in &report.notes {
        writeln!(out, "{} {note}", paint("note:", Paint::new().bold()))?;
    }
    for file in &report.files {
        writeln!(out, "{} {} ({})", file.action, file.path, file.purpose)?;
    }
    let counts: Vec<String> = Word::ALL
        .iter()
        .filter(|word| report.totals.count(**word) > 0)
        .map(|word| paint(&format!("{} {word}", report.totals.count(*word)), colour(*word)))
        .collect();
    let noun = if report.totals.cases == 1 { "case" } else { "cases" };
    writeln!(out, "{} {noun}: {}", report.totals.cases, counts.join(", "))?;
    if report.coverage.filtered_out > 0 {
        writeln!(out, "{} cases were left out by filters", report.coverage.filtered_out)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a duration to one decimal")]
    let seconds = report.duration_ms as f64 / 1000.0;
    writeln!(out, "{seconds:.1} s, provider {}, seed {}", report.provider, report.seed)?;
    let verdict = match report.verdict {
        RunVerdict::Conformant => Paint::new().green().bold(),
        RunVerdict::NotConformant => Paint::new().red().bold(),
        RunVerdict::Inconclusive => Paint::new().yellow().bold(),
    };
    if report.gate.attempts > 1 {
        let flaky = report.cases.iter().filter(|case| case.flaky).count();
        writeln!(out, "{} attempts of every case, {flaky} flaky", report.gate.attempts)?;
    }
    if let Some(shard) = &report.gate.shard {
        writeln!(out, "shard {shard}: the other parts are other runs")?;
    }
    if let Some(comparison) = &report.gate.comparison {
        let colour = if comparison.holds() { Paint::new().green() } else { Paint::new().red().bold() };
        writeln!(out, "{}", paint(&comparison.sentence(), colour))?;
    }
    let strict = if report.gate.strict { " (strict: warnings fail)" } else { "" };
    writeln!(out, "{}{strict}: {}", paint(&report.verdict.to_string(), verdict), report.coverage.sentence())
}

fn line(case: &CaseRecord, longest: usize, style: Style, out: &mut impl Write) -> io::Result<()> {
    let word = case.verdict.word();
    let symbol = word.symbol();
    let painted = colour(word).force_styling(style.colours).apply_to(format!("{symbol} {word:<7}"));
    let dim = Paint::new().dim().force_styling(style.colours);
    let room = style.width.saturating_sub(longest + 30).max(20);
    let title = shortened(&case.title, room);
    let level = dim.apply_to(format!("{:<6}", case.level)).to_string();
    let took = dim.apply_to(format!("{} ms", case.duration_ms)).to_string();
    writeln!(out, "  {painted} {level} {:<longest$}  {title}  {took}", case.id)
}

/// A label and a text beside it.
fn item(label: &str, text: &str, style: Style, out: &mut impl Write) -> io::Result<()> {
    let bold = Paint::new().bold().force_styling(style.colours);
    let mut first = true;
    for line in wrapped(text, style.width.saturating_sub(LABEL + 6).max(40)) {
        let label = if std::mem::take(&mut first) { label } else { "" };
        writeln!(out, "      {} {line}", bold.apply_to(format!("{label:<LABEL$}")))?;
    }
    Ok(())
}

/// What happened in a scenario that went wrong, and what that usually means.
fn happened(timeline: &Timeline, style: Style, out: &mut impl Write) -> io::Result<()> {
    let bold = Paint::new().bold().force_styling(style.colours);
    let dim = Paint::new().dim().force_styling(style.colours);
    writeln!(out, "\n{}", bold.apply_to(format!("what happened in {}", timeline.scenario)))?;
    for line in wrapped(&timeline.title, style.width.saturating_sub(2).max(40)) {
        writeln!(out, "  {}", dim.apply_to(line))?;
    }
    for diagnosis in &timeline.diagnoses {
        item("seen", &diagnosis.seen, style, out)?;
        item("means", &diagnosis.means, style, out)?;
        item("remedy", &diagnosis.remedy, style, out)?;
        item("source", &diagnosis.source, style, out)?;
    }
    let (shown, left_out) = timeline.shown();
    for line in shown.lines() {
        writeln!(out, "  {}", shortened(&line, style.width.saturating_sub(2).max(60)))?;
    }
    if left_out > 0 {
        let more = format!("{left_out} more moments: `--report json=PATH` and `--bundle DIR` have them");
        writeln!(out, "  {}", dim.apply_to(more))?;
    }
    Ok(())
}

fn details(case: &CaseRecord, style: Style, out: &mut impl Write) -> io::Result<()> {
    let mut item = |label: &str, text: &str| item(label, text, style, out);
    if let Some(reason) = case.verdict.reason() {
        item("found", reason)?;
    }
    if matches!(case.verdict.word(), Word::Skip) {
        return Ok(());
    }
    for evidence in &case.evidence {
        let seen = match &evidence.seen {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let wanted = evidence.wanted.as_ref().map_or_else(String::new, |wanted| format!(" (wanted {wanted})"));
        item("evidence", &format!("{}: {}{wanted}", evidence.what, shortened(&seen, 400)))?;
    }
    item("why", &case.why)?;
    item("remedy", &case.remedy)?;
    item("source", &case.source)
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

/// `text` cut to `room` characters, with the number of those that are left out.
fn shortened(text: &str, room: usize) -> String {
    let count = text.chars().count();
    if count <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
    if room < 100 { format!("{kept}…") } else { format!("{kept}… ({} more)", count - room + 1) }
}

/// Lines of at most `width` characters, broken at spaces; line breaks of the text are kept.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            // A control character in evidence must not move the cursor.
            line.extend(word.chars().map(|character| if character.is_control() { '\u{FFFD}' } else { character }));
        }
        lines.push(line);
    }
    lines
}
