//! Removes what a run created under its own names. What cannot be removed becomes a note of the report.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use crate::outcome::Events;
use crate::settings::Endpoints;
use crate::stack::drop_names;

/// The failures of the clean-up of a run: progress while the run goes on, and notes of its report.
#[derive(Debug, Default)]
pub(super) struct CleanUpFailures(Mutex<Vec<String>>);

impl CleanUpFailures {
    /// Removes everything under the names of `endpoints`. Returns whether nothing is left. A service that does not answer
    /// is given up after a few seconds. `remedy` is added to each error: how to remove the data later.
    pub(super) async fn remove_names(&self, endpoints: &Endpoints, remedy: &str, events: &Events) -> bool {
        let errors = drop_names(endpoints, &endpoints.names).await.err().unwrap_or_default();
        let with_remedy: Vec<String> = errors.iter().map(|error| format!("{error}{remedy}")).collect();
        self.add(&with_remedy, events);
        errors.is_empty()
    }

    /// Adds each error, and sends it as a note.
    pub(super) fn add(&self, errors: &[impl Display], events: &Events) {
        for error in errors {
            let note = format!("clean-up failed: {error}");
            events.note(&note);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(note);
        }
    }

    /// The notes of all failures so far.
    pub(super) fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
