//! A moment at which the state of the pipeline is examined, and what was stored then.

use std::collections::BTreeSet;

use super::super::evidence::StoredCounts;
use super::super::jobs::document_of;
use super::history::Span;
use super::run::Run;
use super::seen::{Seen, counted};

/// A document with as many points takes more than one of the small batches that a scenario asks for.
const LARGE: usize = 16;

/// A moment or a time at which the state of the pipeline is examined.
pub(super) struct Moment<'a> {
    /// What happened, for messages.
    pub(super) what: String,
    pub(super) during: Span,
    pub(super) stored: Option<&'a StoredCounts>,
}

/// What was stored of a document at a moment.
pub(super) struct Stored<'a> {
    document: &'a str,
    pub(super) points: usize,
    /// Its points in the end, or in the baseline if these are more.
    all: usize,
    /// Whether its row said that it is stored.
    pub(super) is_done: bool,
    /// Whether its job was active.
    pub(super) is_active: bool,
}

impl Stored<'_> {
    /// Whether all of its points were stored.
    pub(super) const fn is_complete(&self) -> bool {
        self.points > 0 && self.points >= self.all
    }

    const fn is_partial(&self) -> bool {
        self.points > 0 && self.points < self.all
    }
}

impl<'a> Run<'a> {
    /// Whether a document was in the state of which `is_in` decides.
    pub(super) fn stored(&self, moment: &Moment<'_>, is_in: impl Fn(&Stored<'_>) -> bool) -> Seen {
        let Some(stored) = moment.stored else { return Seen::new(false, "what was stored then could not be read") };
        if let Some(seen) = self.stored_at(moment, stored).iter().find(|document| is_in(document)) {
            return Seen::new(true, format!("{} of {} points of {} were stored", seen.points, seen.all, seen.document));
        }
        let points = stored.points.values().sum::<usize>();
        let what = format!(
            "{} and {} of stored documents were there, and no document was in that state",
            counted(points, "point"),
            counted(stored.done.len(), "row")
        );
        Seen::new(false, what)
    }

    /// Whether a part of a document's points was stored. The moment is one at which the first points of a large document
    /// had just been seen: if all of them were there, the worker stores a document in one change.
    pub(super) fn part_of_points(&self, moment: &Moment<'_>) -> Seen {
        #[expect(clippy::redundant_closure_for_method_calls, reason = "the method has one lifetime, the closure any")]
        let seen = self.stored(moment, |document| document.is_partial());
        let Some(stored) = moment.stored.filter(|_| !seen.is_met) else { return seen };
        let is_large = |document: &Stored<'_>| document.is_complete() && document.all >= LARGE;
        let appeared = self.stored_at(moment, stored).into_iter().find(is_large);
        match appeared.filter(|_| !self.observations.timing.pressure.is_starved()) {
            Some(large) => Seen::impossible(format!("the {} points of {} appeared at once", large.all, large.document)),
            None => seen,
        }
    }

    /// What was stored of each document.
    fn stored_at(&self, moment: &Moment<'_>, stored: &StoredCounts) -> Vec<Stored<'a>> {
        let steps = self.observations.steps.iter();
        let documents: BTreeSet<&str> =
            steps.flat_map(|step| &step.documents).map(|document| document.id.as_str()).collect();
        let active: BTreeSet<&str> = self
            .jobs
            .active_in(moment.during)
            .into_iter()
            .filter_map(|job| document_of(job, documents.iter().copied()))
            .collect();
        let last = self.observations.last();
        let in_the_end = |document: &str| {
            let now = last.map_or(0, |step| step.snapshot.points_of(document).len());
            match now.max(self.assessment.baseline_points(document).map_or(0, <[_]>::len)) {
                // It was removed afterwards.
                0 => self.assessment.most_baseline_points(document),
                all => all,
            }
        };
        let one = |document: &'a str| Stored {
            document,
            points: stored.points.get(document).copied().unwrap_or(0),
            all: in_the_end(document),
            is_done: stored.done.contains(document),
            is_active: active.contains(document),
        };
        documents.into_iter().map(one).collect()
    }
}
