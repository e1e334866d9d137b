//! The moments at which faults and overlapping steps begin.

use std::time::Instant;

use crate::spec::{Milestone, When};

/// A moment of a scenario run that is waited for.
#[derive(Debug, Clone, Copy)]
pub(in crate::scenario) struct Moment {
    pub(super) at: When,
    /// Since when the point of the pipeline that it counts from is reached.
    pub(super) reached: Option<Instant>,
}

impl Moment {
    pub(in crate::scenario) const fn new(at: When) -> Self {
        Self { at, reached: None }
    }

    /// The count that it waits for.
    pub(super) const fn milestone(&self) -> Option<Milestone> {
        match self.at {
            When::Count(_, milestone, _) => Some(milestone),
            _ => None,
        }
    }
}
