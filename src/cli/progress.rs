//! Progress on standard error while a run goes on: a bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::outcome::{CaseRecord, Event, Word};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A bar that redraws itself.
    Bar,
    /// One line for each thing worth a line.
    Plain,
    /// Nothing.
    Quiet,
}

impl Style {
    /// The style that suits standard error.
    pub(super) fn for_stderr(quiet: bool) -> Self {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Bar,
            (false, false) => Self::Plain,
        }
    }
}

/// Follows the events of a run until the sender is gone.
pub(super) async fn follow(mut events: UnboundedReceiver<Event>, style: Style) {
    let bar = if style == Style::Bar { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.enable_steady_tick(Duration::from_millis(100));
    let mut running: Vec<String> = Vec::new();
    while let Some(event) = events.recv().await {
        if style == Style::Quiet {
            continue;
        }
        match event {
            Event::Provider { name, reason } => say(&bar, style, &format!("stack: {name} ({reason})")),
            Event::ServiceReady { service, version, after } => {
                say(&bar, style, &format!("  {service:<9} {version:<10} ready after {:>5} ms", after.as_millis()));
            }
            Event::StackReady { after } => say(&bar, style, &format!("stack ready after {} ms", after.as_millis())),
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
                    say(&bar, style, &finished(&record));
                }
            }
            Event::Note { text } => bar.set_message(text),
            Event::Remark { text } => say(&bar, style, &format!("  {text}")),
            Event::TearingDown => bar.set_message("removing everything"),
            Event::TornDown { left } => {
                for left in left {
                    say(&bar, style, &format!("could not remove {left}"));
                }
            }
        }
    }
    bar.finish_and_clear();
}

fn finished(record: &CaseRecord) -> String {
    format!("{} {}: {}", record.verdict.word(), record.id, record.verdict.reason().unwrap_or_default())
}

fn say(bar: &ProgressBar, style: Style, text: &str) {
    if style == Style::Bar {
        bar.println(text);
    } else {
        // Nobody to tell is no reason to stop.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}
