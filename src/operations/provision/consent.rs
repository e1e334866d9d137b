//! What setup may change, and how many writes it has made.

/// What the user has agreed to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Consent {
    /// Collections may be replaced.
    pub replace: bool,
    /// Points that cannot be converted may be lost.
    pub discard: bool,
    /// Files may be overwritten.
    pub force: bool,
}

/// Counts writes, so that tests can end the process after any of them.
#[derive(Debug, Default)]
pub struct WriteCounter {
    done: u32,
    end_after: Option<u32>,
}

impl WriteCounter {
    /// Ends the process after this many writes, or never.
    #[must_use]
    pub const fn ending_after(end_after: Option<u32>) -> Self {
        Self { done: 0, end_after }
    }

    /// Counts a write.
    pub(super) fn count(&mut self) {
        self.done += 1;
        if self.end_after == Some(self.done) {
            // Like a kill: without report or clean-up.
            std::process::exit(137);
        }
    }
}
