//! How many lines of a report are left: what a failing worker prints fits two screens.

use super::style::{Extent, Style};

/// The lines of two screens.
const TWO_SCREENS: usize = 100;

/// The lines that are left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room(usize);

impl Room {
    /// Two screens, or as much as there is for the whole report.
    pub(super) const fn of(style: Style) -> Self {
        Self(if matches!(style.extent, Extent::Full) { usize::MAX } else { TWO_SCREENS })
    }

    /// At most `lines` of what is left.
    pub(super) fn at_most(self, lines: usize, style: Style) -> Self {
        if style.extent == Extent::Full { self } else { Self(self.0.min(lines)) }
    }

    /// Whether `text` fits.
    pub(super) fn fits(self, text: &[u8]) -> bool {
        lines(text) <= self.0
    }

    /// Uses up the lines of `text`.
    pub(super) fn take(&mut self, text: &[u8]) {
        self.0 = self.0.saturating_sub(lines(text));
    }
}

fn lines(text: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', text).count()
}
