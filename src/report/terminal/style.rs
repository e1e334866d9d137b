//! How to render for a terminal.

use console::Style as Paint;

/// How much to print.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extent {
    /// The line with the verdict of the run.
    Verdict,
    /// Only what did not pass.
    Short,
    /// A line for each suite; evidence, cause and remedy of what did not pass.
    #[default]
    Usual,
    /// Also a line for each case, with the evidence of those that passed.
    Full,
}

/// How to render.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style<'a> {
    /// Whether to colour.
    pub colours: bool,
    /// Columns. Text is wrapped to fit; what cannot be broken, such as a URL, may be longer.
    pub width: usize,
    /// How much to print.
    pub extent: Extent,
    /// The command that runs the same suites in the same way, to which `--case` flags are added; none if it is unknown.
    pub rerun: Option<&'a str>,
}

impl Style<'_> {
    pub(super) fn paint(self, text: &str, paint: Paint) -> String {
        paint.force_styling(self.colours).apply_to(text).to_string()
    }

    /// The columns that remain beside `taken`; at least 20.
    pub(super) fn room(self, taken: usize) -> usize {
        self.width.saturating_sub(taken).max(20)
    }
}
