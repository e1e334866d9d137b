//! The report for people: one line a case; for what is not a pass the evidence, the cause and the remedy.

use std::io::{self, Write};

use console::Style as Paint;
use serde_json::Value;

use crate::outcome::{CaseRecord, Report, RunVerdict, Timeline, Word};

/// How much is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extent {
    /// The line with the verdict of the run.
    Verdict,
    /// Only what is not a pass.
    Short,
    /// Every case; of what is not a pass the evidence, the cause and the remedy.
    #[default]
    Usual,
    /// Also the evidence of what passed.
    Full,
}

/// How to render.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour.
    pub colours: bool,
    /// Columns. Text is wrapped to fit; what cannot be broken, such as a URL, may be longer.
    pub width: usize,
    /// How much is told.
    pub extent: Extent,
}

impl Style {
    fn paint(self, text: &str, paint: Paint) -> String {
        paint.force_styling(self.colours).apply_to(text).to_string()
    }

    /// The columns that are left after `taken` of them; never so few that nothing can be read.
    fn room(self, taken: usize) -> usize {
        self.width.saturating_sub(taken).max(20)
    }
}

const LABEL: usize = 11;
/// Columns before the text beside a label.
const BESIDE: usize = 6 + LABEL + 1;

/// Writes `report` for a terminal.
pub fn render(report: &Report, style: Style, out: &mut impl Write) -> io::Result<()> {
    if style.extent == Extent::Verdict {
        return verdict(report, style, out);
    }
    let longest = report.cases.iter().map(|case| wide(&case.id)).max().unwrap_or(0);
    let mut suite = "";
    for case in &report.cases {
        let passed = case.verdict.word() == Word::Pass;
        if style.extent == Extent::Short && passed {
            continue;
        }
        if case.suite != suite {
            suite = &case.suite;
            writeln!(out, "\n{}", style.paint(suite, Paint::new().bold()))?;
        }
        let whole = line(case, longest.min(style.width / 2), style, out)?;
        if !passed || style.extent == Extent::Full {
            if !whole && case.verdict.word() != Word::Skip {
                item("title", &case.title, style, out)?;
            }
            details(case, style, out)?;
        }
    }
    for timeline in &report.timelines {
        happened(timeline, style, out)?;
    }
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
    let counts: Vec<String> = Word::ALL
        .iter()
        .filter(|word| report.totals.count(**word) > 0)
        .map(|word| style.paint(&format!("{} {word}", report.totals.count(*word)), colour(*word)))
        .collect();
    let noun = if report.totals.cases == 1 { "case" } else { "cases" };
    writeln!(out, "{} {noun}: {}", report.totals.cases, counts.join(", "))?;
    if report.coverage.filtered_out > 0 {
        writeln!(out, "{} cases were left out by filters", report.coverage.filtered_out)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a duration to one decimal")]
    let seconds = report.duration_ms as f64 / 1000.0;
    writeln!(out, "{seconds:.1} s, provider {}, seed {}", report.provider, report.seed)?;
    if report.gate.attempts > 1 {
        let flaky = report.cases.iter().filter(|case| case.flaky).count();
        writeln!(out, "{} attempts of every case, {flaky} flaky", report.gate.attempts)?;
    }
    if let Some(shard) = &report.gate.shard {
        writeln!(out, "shard {shard}: the other parts are other runs")?;
    }
    if let Some(comparison) = &report.gate.comparison {
        let colour = if comparison.holds() { Paint::new().green() } else { Paint::new().red().bold() };
        hanging(&comparison.sentence(), &colour, style, out)?;
    }
    verdict(report, style, out)
}

/// The verdict of the run, and what it rests on.
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

/// A text of which every line but the first is indented.
fn hanging(text: &str, paint: &Paint, style: Style, out: &mut impl Write) -> io::Result<()> {
    for (number, line) in wrapped(text, style.room(2)).iter().enumerate() {
        writeln!(out, "{}{}", if number == 0 { "" } else { "  " }, style.paint(line, paint.clone()))?;
    }
    Ok(())
}

/// What happened in a scenario that went wrong, and what that usually means.
fn happened(timeline: &Timeline, style: Style, out: &mut impl Write) -> io::Result<()> {
    let heading = format!("what happened in {}", timeline.scenario);
    writeln!(out, "\n{}", style.paint(&heading, Paint::new().bold()))?;
    for line in wrapped(&timeline.title, style.room(2)) {
        writeln!(out, "  {}", style.paint(&line, Paint::new().dim()))?;
    }
    for diagnosis in &timeline.diagnoses {
        item("seen", &diagnosis.seen, style, out)?;
        item("means", &diagnosis.means, style, out)?;
        item("remedy", &diagnosis.remedy, style, out)?;
        item("source", &diagnosis.source, style, out)?;
    }
    let (shown, left_out) = timeline.shown();
    for line in shown.lines() {
        // One line each: when is what matters, and the other formats have all of what.
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
    if case.verdict.word() == Word::Pass {
        return Ok(());
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
    format!("{kept}… ({} more)", count - room + 1)
}

/// `text` as one line of at most `room` columns; nothing when they are too few to tell anything.
fn cut(text: &str, room: usize) -> String {
    let mut kept = harmless(text);
    if wide(&kept) <= room {
        return kept;
    }
    if room < 8 {
        return String::new();
    }
    while wide(&kept) >= room {
        kept.pop();
    }
    kept.truncate(kept.trim_end().len());
    kept + "…"
}

/// The columns that a text takes.
fn wide(text: &str) -> usize {
    console::measure_text_width(text)
}

/// A control character in what somebody said must not move the cursor, nor give colours.
fn harmless(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{FFFD}' } else { character }).collect()
}

/// Lines of at most `width` columns, broken at spaces; line breaks of the text are kept. What is longer than a line is
/// broken anywhere, but for addresses and paths: those are there to be copied.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let mut word = harmless(word);
            if !line.is_empty() && wide(&line) + 1 + wide(&word) > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            while wide(&word) > width && !word.contains("://") && !word.starts_with('/') {
                let rest = word.split_off(fitting(&word, width));
                lines.push(std::mem::replace(&mut word, rest));
            }
            line.push_str(&word);
        }
        lines.push(line);
    }
    lines
}

/// The length in bytes of the longest beginning of `word` that takes at most `width` columns; never nothing.
fn fitting(word: &str, width: usize) -> usize {
    let mut taken = 0;
    let mut buffer = [0; 4];
    for (place, character) in word.char_indices() {
        taken += wide(character.encode_utf8(&mut buffer));
        if taken > width && place > 0 {
            return place;
        }
    }
    word.len()
}
