//! The tests of premises: each is written as in a suite, and evaluated over runs made by hand.

use serde::Deserialize;

use super::super::jobs::job_id;
use super::super::testing::TestRun;
use super::evaluate;
use super::seen::Seen;
use crate::services::queue::QueueEvent;
use crate::spec::Premise;

/// A premise as a suite writes it, such as `{ jobs_in_work = 2 }`.
///
/// A test says first which run meets it, then which one does not.
pub(super) fn premise(written: &str) -> Check {
    #[derive(Deserialize)]
    struct Written {
        premise: Premise,
    }
    let written: Written = toml::from_str(&format!("premise = {written}")).unwrap();
    Check { premise: written.premise }
}

#[must_use = "a premise without a run that meets it is not tested"]
pub(super) struct Check {
    premise: Premise,
}

#[must_use = "a premise without a run that does not meet it is not tested"]
pub(super) struct Met(Check);

pub(super) struct Tested(Check);

impl Check {
    fn seen(&self, run: &TestRun) -> Seen {
        evaluate(&self.premise, &run.assessment())
    }

    #[track_caller]
    pub(super) fn met_by(self, run: &TestRun, seen: &str) -> Met {
        assert_eq!(self.seen(run), Seen::new(true, seen));
        Met(self)
    }
}

impl Met {
    #[track_caller]
    pub(super) fn unmet_by(self, run: &TestRun, seen: &str) -> Tested {
        let tested = Tested(self.0);
        tested.unmet_by(run, seen);
        tested
    }
}

impl Tested {
    #[track_caller]
    pub(super) fn unmet_by(&self, run: &TestRun, seen: &str) -> &Self {
        assert_eq!(self.0.seen(run), Seen::new(false, seen));
        self
    }

    #[track_caller]
    pub(super) fn impossible_by(&self, run: &TestRun, seen: &str) -> &Self {
        assert_eq!(self.0.seen(run), Seen::impossible(seen));
        self
    }

    #[track_caller]
    pub(super) fn met_by(&self, run: &TestRun, seen: &str) -> &Self {
        assert_eq!(self.0.seen(run), Seen::new(true, seen));
        self
    }
}

impl TestRun {
    /// The run with these events of jobs of its first step: the time in milliseconds, the document and the event.
    pub(super) fn with_events(&self, events: &[(i64, &str, &str)]) -> Self {
        self.edit(|seen| {
            seen.queue.events = events.iter().map(|(at, id, what)| event(*at, job_id(0, id), what)).collect();
        })
    }

    /// The run with these events of jobs of one document: the time in milliseconds, the step from 0 and the event.
    pub(super) fn with_events_of(&self, document: &str, events: &[(i64, usize, &str)]) -> Self {
        let event = |(at, step, what): &(i64, usize, &str)| event(*at, job_id(*step, document), what);
        self.edit(|seen| seen.queue.events = events.iter().map(event).collect())
    }
}

fn event(at: i64, job: String, what: &str) -> (i64, QueueEvent) {
    (at, QueueEvent { id: format!("{at}-0"), what: what.to_owned(), job: Some(job), detail: None })
}
