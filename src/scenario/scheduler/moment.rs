//! The moments at which faults and overlapping steps begin.

use std::time::Instant;

use super::FaultScheduler;
use super::planned::Planned;
use crate::spec::{Milestone, When};

/// A moment of a scenario run that is waited for.
#[derive(Debug, Clone, Copy)]
pub(in crate::scenario) struct Moment {
    at: When,
    /// Since when the point of the pipeline that it counts from is reached.
    reached: Option<Instant>,
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

impl FaultScheduler {
    /// The counts that faults of this step wait for.
    pub(super) fn milestones(&self) -> impl Iterator<Item = Milestone> {
        self.planned_in_step().filter(|planned| planned.is_pending()).filter_map(|planned| planned.moment.milestone())
    }

    /// By how much a count has grown since the step began; `None` when it cannot be read at the moment.
    async fn count_since(&self, milestone: Milestone) -> Option<u64> {
        let before = self.before.get(&milestone).copied().unwrap_or(0);
        Some(self.context.clients.count(milestone).await.ok()?.saturating_sub(before))
    }

    /// Whether a moment has come; `share` of the jobs have ended.
    pub(in crate::scenario) async fn has_come(&self, moment: &mut Moment, share: f64) -> bool {
        match moment.at {
            When::Share(wanted) => share >= wanted,
            When::After(time) => self.step_began.elapsed() >= time,
            When::Count(wanted, milestone, later) => {
                if moment.reached.is_none() && self.count_since(milestone).await.is_some_and(|count| count >= wanted) {
                    moment.reached = Some(Instant::now());
                }
                moment.reached.is_some_and(|reached| reached.elapsed() >= later)
            }
            When::Into(time, other) => self.planned.get(other - 1).is_some_and(|other: &Planned| {
                let began = other.began.filter(|_| other.is_active());
                began.is_some_and(|began| self.elapsed() >= began + time)
            }),
        }
    }
}
