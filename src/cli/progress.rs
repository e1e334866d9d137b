//! Progress of a run on standard error: a bar on a terminal, plain lines elsewhere and in CI logs.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;

use super::print::{note_styled, shown};
use super::terminal::Terminal;
use crate::outcome::{CaseRecord, Event, Word};
use crate::redaction::printable_line;
use crate::report::terminal::wrapped;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A bar that redraws itself.
    Bar,
    /// One line for each notable event.
    Plain,
    /// Nothing.
    Quiet,
}

impl Style {
    /// The style for standard error.
    pub(super) fn for_stderr(quiet: bool) -> Self {
        match (quiet, Terminal::stderr().redraws) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Bar,
            (false, false) => Self::Plain,
        }
    }
}

/// Shows the events of a run until the sender is dropped.
pub(super) async fn follow(mut events: UnboundedReceiver<Event>, style: Style) {
    let bar = if style == Style::Bar { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.enable_steady_tick(Duration::from_millis(100));
    let mut running: Vec<String> = Vec::new();
    while let Some(event) = events.recv().await {
        if style == Style::Quiet {
            continue;
        }
        match event {
            Event::Provider { name, reason } => print_line(&bar, style, &format!("stack: {name} ({reason})")),
            Event::ServiceReady { service, version, after } => {
                print_line(
                    &bar,
                    style,
                    &format!("  {service:<9} {version:<10} ready after {:>5} ms", after.as_millis()),
                );
            }
            Event::StackReady { after } => {
                print_line(&bar, style, &format!("stack ready after {} ms", after.as_millis()));
            }
            Event::Planned { cases } => {
                bar.set_length(cases as u64);
                if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}") {
                    bar.set_style(style);
                }
            }
            Event::CaseStarted { id } => {
                running.push(id);
                bar.set_message(running.join(" "));
            }
            Event::CaseFinished { record } => {
                running.retain(|id| *id != record.id);
                bar.inc(1);
                bar.set_message(running.join(" "));
                if !matches!(record.verdict.word(), Word::Pass | Word::Skip) {
                    print_line(&bar, style, &finished(&record));
                }
            }
            Event::Note { text } => bar.set_message(printable_line(&shown(&text)).into_owned()),
            Event::Remark { text } => print_line(&bar, style, &format!("  {text}")),
            Event::TearingDown => bar.set_message("removing everything"),
            Event::TornDown { left } => {
                for left in left {
                    print_line(&bar, style, &format!("could not remove {left}"));
                }
            }
        }
    }
    bar.finish_and_clear();
}

fn finished(record: &CaseRecord) -> String {
    format!("{} {}: {}", record.verdict.word(), record.id, record.verdict.reason().unwrap_or_default())
}

fn print_line(bar: &ProgressBar, style: Style, text: &str) {
    let lines = lines(&shown(text), Terminal::stderr().width);
    if style == Style::Bar {
        for line in lines {
            bar.println(line);
        }
    } else {
        note_styled(&lines.join("\n"));
    }
}

/// The text as lines of `width` columns, indented except for the first; one line if the width is unknown.
fn lines(text: &str, width: Option<usize>) -> Vec<String> {
    const INDENT: &str = "    ";
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(INDENT.len()).max(20));
    let words = text.trim_start_matches(' ');
    let first = &text[..text.len() - words.len()];
    let indent = |number: usize| if number == 0 { first } else { INDENT };
    wrapped(words, room).iter().enumerate().map(|(number, line)| format!("{}{line}", indent(number))).collect()
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn a_line_that_is_too_long_is_wrapped_and_indented() {
        let text = "fail redis.answers: redis at redis://127.0.0.1:1/0 is unreachable";
        assert_eq!(lines(text, None), [text]);
        assert_eq!(lines(text, Some(200)), [text]);
        let wanted = ["fail redis.answers: redis at", "    redis://127.0.0.1:1/0 is", "    unreachable"];
        assert_eq!(lines(text, Some(32)), wanted);
        let ready = "  redis     8.0.1      ready after   239 ms";
        assert_eq!(lines(ready, Some(80)), [ready]);
    }
}
