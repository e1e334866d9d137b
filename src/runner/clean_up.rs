//! Removes what a run created under its own names; errors become notes of the run.

use crate::outcome::Events;
use crate::settings::Endpoints;
use crate::stack::drop_names;

/// Removes everything under the names of `endpoints`; whether nothing is left.
pub(super) async fn remove_names(endpoints: &Endpoints, events: &Events) -> bool {
    let errors = drop_names(endpoints, &endpoints.names).await.err().unwrap_or_default();
    note_errors(&errors, events);
    errors.is_empty()
}

/// Makes each error a note.
pub(super) fn note_errors(errors: &[impl std::fmt::Display], events: &Events) {
    for error in errors {
        events.note(format!("clean-up failed: {error}"));
    }
}
