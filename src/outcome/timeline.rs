//! The timeline of a scenario: events of all sources on one clock.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The source of an event; events at the same time are sorted in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Track {
    /// A fault was injected or reverted.
    Fault,
    /// A worker was started, was asked to exit, or exited.
    Process,
    /// A connection of a worker to a service.
    Connection,
    /// A request to the embeddings API.
    Request,
    /// A state change of a job.
    Job,
    /// A line of a worker's output.
    Output,
}

impl Track {
    /// Every track, in order.
    pub const ALL: [Self; 6] = [Self::Fault, Self::Process, Self::Connection, Self::Request, Self::Job, Self::Output];

    /// Its name in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Process => "process",
            Self::Connection => "connection",
            Self::Request => "request",
            Self::Job => "job",
            Self::Output => "output",
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEvent {
    /// Start, in milliseconds since the scenario's workers took jobs; negative before that.
    pub at_ms: i64,
    /// End, for an event with a duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// The source of the event.
    pub track: Track,
    /// The service, worker or document of the event.
    pub subject: String,
    /// What happened.
    pub what: String,
}

/// A document that a verdict refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AffectedDocument {
    /// Its id.
    pub document: String,
    /// The outcome of the document, as in the assessment.
    pub outcome: String,
    /// The observations behind the outcome.
    pub why: String,
}

/// Number of events of a track that were omitted because there were too many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// The track.
    pub track: Track,
    /// Number of omitted events.
    pub count: usize,
}

/// Completed jobs and failed requests per interval. Unlike the list of events it is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Start of the first interval, on the clock of the events.
    pub from_ms: i64,
    /// Length of an interval in milliseconds; at least 1.
    pub step_ms: u64,
    /// Completed jobs in each interval.
    pub completed: Vec<u32>,
    /// Requests to the embeddings API that failed or got no response, in each interval.
    pub refused: Vec<u32>,
}

/// Most intervals of a progress.
const STEPS: i64 = 120;

impl Progress {
    /// Counts these times per interval; `None` if there are none.
    #[must_use]
    pub fn from_times(completed: &[i64], refused: &[i64]) -> Option<Self> {
        let all = || completed.iter().chain(refused).copied();
        let (first, last) = (all().min()?.min(0), all().max()?);
        let span = last.saturating_sub(first).saturating_add(1);
        let step = span.div_euclid(STEPS) + i64::from(span % STEPS != 0);
        let place = |at: i64| usize::try_from(at.saturating_sub(first) / step).unwrap_or(0);
        let count = |times: &[i64]| {
            let mut counts = vec![0; place(last) + 1];
            for at in times {
                counts[place(*at)] += 1;
            }
            counts
        };
        Some(Self {
            from_ms: first,
            step_ms: step.unsigned_abs(),
            completed: count(completed),
            refused: count(refused),
        })
    }
}

/// The timeline of a scenario with a case that did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    /// The scenario.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// The cases that did not pass.
    pub cases: Vec<String>,
    /// Duration in milliseconds.
    pub length_ms: u64,
    /// The documents with a wrong outcome.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<AffectedDocument>,
    /// The events, in order of time.
    pub events: Vec<TimelineEvent>,
    /// Omitted events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Progress over time; absent in reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// Most events in a text format.
const SHOWN: usize = 30;
/// Most state changes of one job in a text format.
const STATES: usize = 3;

impl Timeline {
    /// The timeline with only its most relevant events, in order of time, and the number of omitted events.
    #[must_use]
    pub fn shown(&self) -> (Self, usize) {
        let rank = |event: &TimelineEvent| match event.track {
            Track::Fault | Track::Process => 0,
            Track::Job => 1,
            Track::Request if !event.what.contains("answered 200") => 2,
            Track::Output => 3,
            Track::Connection => 4,
            Track::Request => 5,
        };
        // The last states of a job are the most relevant ones.
        let mut later: BTreeMap<&str, usize> = BTreeMap::new();
        let mut events: Vec<&TimelineEvent> = self
            .events
            .iter()
            .rev()
            .filter(|event| {
                let count = later.entry(&event.subject).or_default();
                *count += usize::from(event.track == Track::Job);
                event.track != Track::Job || *count <= STATES
            })
            .collect();
        events.reverse();
        events.sort_by_key(|event| rank(event));
        events.truncate(SHOWN);
        events.sort_by_key(|event| (event.at_ms, event.track));
        let left_out: usize = self.left_out.iter().map(|left| left.count).sum();
        let left_out = left_out + self.events.len() - events.len();
        (Self { events: events.into_iter().cloned().collect(), ..self.clone() }, left_out)
    }

    /// Its events as lines of text that start with the time in seconds.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        #[expect(clippy::cast_precision_loss, reason = "a time of a few minutes in milliseconds")]
        let seconds = |ms: i64| ms as f64 / 1000.0;
        self.events.iter().map(move |event| {
            let TimelineEvent { at_ms, until_ms, track, subject, what } = event;
            let until = until_ms.map_or(String::new(), |until| format!(", until {:.3} s", seconds(until)));
            format!("{:>9.3} s  {:<10} {subject}: {what}{until}", seconds(*at_ms), track.word())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_every_event_once_in_at_most_120_intervals() {
        let completed: Vec<i64> = (0..1000).map(|number| number * 37).collect();
        let progress = Progress::from_times(&completed, &[-40, 36_963]).unwrap();
        assert_eq!(progress.from_ms, -40);
        assert!(progress.completed.len() <= 120 && progress.completed.len() == progress.refused.len());
        assert_eq!((progress.completed.iter().sum::<u32>(), progress.refused.iter().sum::<u32>()), (1000, 2));
        assert_eq!(Progress::from_times(&[], &[]), None);
        let one = Progress::from_times(&[0], &[]).unwrap();
        assert_eq!((one.step_ms, one.completed, one.refused), (1, vec![1], vec![0]));
        // Times in a report may be arbitrary.
        let all = Progress::from_times(&[i64::MIN, i64::MAX], &[0]).unwrap();
        assert_eq!(all.completed.iter().sum::<u32>(), 2);
    }
}
