//! When each job waited and when it was active, from the event stream of the queue.

use std::collections::{BTreeMap, BTreeSet};

use crate::services::queue::QueueEvent;

/// A span of time in milliseconds since the run began: from the first number up to the second.
pub(super) type Span = (i64, i64);

/// When each job waited and was active.
pub(super) struct JobHistory<'a> {
    waiting: BTreeMap<&'a str, Vec<Span>>,
    active: BTreeMap<&'a str, Vec<Span>>,
    /// When each job waited for its next attempt, or for its children.
    suspended: BTreeMap<&'a str, Vec<Span>>,
    /// When jobs stalled.
    pub(super) stalled: Vec<(i64, &'a str)>,
}

/// What the last event says about a job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Active,
    /// Delayed until the next attempt, or waiting for its children. The harness adds no delayed jobs.
    Suspended,
    /// Ended, or with no worker that works on it.
    Other,
}

impl<'a> JobHistory<'a> {
    /// From the entries of a queue's event stream, with their times.
    pub(super) fn new(events: &'a [(i64, QueueEvent)]) -> Self {
        let mut history =
            Self { waiting: BTreeMap::new(), active: BTreeMap::new(), suspended: BTreeMap::new(), stalled: Vec::new() };
        let mut states: BTreeMap<&str, (State, i64)> = BTreeMap::new();
        for (at, event) in events {
            let Some(job) = event.job.as_deref() else { continue };
            let state = match event.what.as_str() {
                "waiting" | "added" => State::Waiting,
                "active" => State::Active,
                "delayed" | "waiting-children" => State::Suspended,
                "completed" | "failed" | "stalled" | "removed" => State::Other,
                // Progress, for example, changes no state.
                _ => continue,
            };
            if event.what == "stalled" {
                history.stalled.push((*at, job));
            }
            if let Some((before, since)) = states.insert(job, (state, *at)) {
                // BullMQ adds a `waiting` event to every `added` one.
                if before == state {
                    states.insert(job, (state, since));
                } else {
                    history.record(job, before, (since, *at));
                }
            }
        }
        for (job, (state, since)) in states {
            history.record(job, state, (since, i64::MAX));
        }
        history
    }

    fn record(&mut self, job: &'a str, state: State, span: Span) {
        match state {
            State::Waiting => self.waiting.entry(job).or_default().push(span),
            State::Active => self.active.entry(job).or_default().push(span),
            State::Suspended => self.suspended.entry(job).or_default().push(span),
            State::Other => {}
        }
    }

    /// When a job was active.
    pub(super) fn spans_of(&self, job: &str) -> Vec<Span> {
        self.active.get(job).cloned().unwrap_or_default()
    }

    /// The jobs that are active at some time in `during`.
    pub(super) fn active_in(&self, during: Span) -> BTreeSet<&'a str> {
        jobs_in(&self.active, during)
    }

    /// The jobs that wait at some time in `during` for their next attempt, or for their children.
    pub(super) fn suspended_in(&self, during: Span) -> BTreeSet<&'a str> {
        jobs_in(&self.suspended, during)
    }

    /// The jobs that wait at some time in `during`.
    pub(super) fn waiting_in(&self, during: Span) -> BTreeSet<&'a str> {
        jobs_in(&self.waiting, during)
    }

    /// The most jobs that are active at the same time, and when that is first so.
    pub(super) fn peak(&self) -> (usize, i64) {
        let begins = self.active.values().flatten().map(|(began, _)| *began);
        begins.map(|at| (self.active_in((at, at)).len(), -at)).max().map_or((0, 0), |(count, at)| (count, -at))
    }

    /// The longest time that a job was active without a break, in milliseconds.
    pub(super) fn longest_active(&self) -> i64 {
        let ended = self.active.values().flatten().filter(|(_, ended)| *ended < i64::MAX);
        ended.map(|(began, ended)| ended - began).max().unwrap_or(0)
    }
}

/// The jobs with a span that has a moment in common with `during`. A span begins with its first moment and ends before its
/// last one.
fn jobs_in<'a>(spans: &BTreeMap<&'a str, Vec<Span>>, (from, until): Span) -> BTreeSet<&'a str> {
    let overlaps = |(began, ended): &Span| *began <= until && (*ended > from || (began == ended && *ended == from));
    spans.iter().filter(|(_, spans)| spans.iter().any(overlaps)).map(|(job, _)| *job).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::TestRun;
    use super::*;

    #[test]
    fn a_job_waits_is_active_and_ends() {
        let run = TestRun::two_documents().with_events(&[
            (0, "a.md", "added"),
            (0, "a.md", "waiting"),
            (1, "b.md", "added"),
            (10, "a.md", "active"),
            (15, "a.md", "progress"),
            (20, "b.md", "active"),
            (30, "a.md", "delayed"),
            (40, "a.md", "waiting"),
            (45, "a.md", "active"),
            (50, "b.md", "completed"),
        ]);
        let assessment = run.assessment();
        let history = JobHistory::new(&assessment.observations.queue.events);
        let counts = |at| (history.waiting_in((at, at)).len(), history.active_in((at, at)).len());
        let seen: Vec<(usize, usize)> = [5, 12, 25, 35, 42, 47, 60].into_iter().map(counts).collect();
        assert_eq!(seen, [(2, 0), (1, 1), (0, 2), (0, 1), (1, 1), (0, 2), (0, 1)]);
        assert_eq!(history.peak(), (2, 20));
        assert_eq!(history.longest_active(), 30, "a job that never ends has no length");
        assert_eq!(history.active_in((31, 44)).len(), 1, "a.md is not active between its attempts");
        assert_eq!((history.suspended_in((35, 35)).len(), history.suspended_in((42, 60)).len()), (1, 0));
    }
}
