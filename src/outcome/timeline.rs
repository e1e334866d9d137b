//! What happened in one scenario, on one clock, and what that usually means.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a event is about; in this order they stand beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Track {
    /// Something was broken on purpose.
    Fault,
    /// A worker was started, told to end, or ended.
    Process,
    /// A connection of a worker to a service.
    Connection,
    /// A request to the embeddings API.
    Request,
    /// A job changed its state.
    Job,
    /// A line of a worker's output.
    Output,
}

impl Track {
    /// Every track, in order.
    pub const ALL: [Self; 6] = [Self::Fault, Self::Process, Self::Connection, Self::Request, Self::Job, Self::Output];

    /// Its word in reports.
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

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEvent {
    /// When it began, in milliseconds since the scenario's workers took jobs; before that it is negative.
    pub at_ms: i64,
    /// When it ended, where it lasted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// What it is about.
    pub track: Track,
    /// Whose it is: a service, a worker, a document.
    pub subject: String,
    /// What happened.
    pub what: String,
}

/// A document that a verdict speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AffectedDocument {
    /// Its id.
    pub document: String,
    /// What became of it, in the ledger's words.
    pub outcome: String,
    /// What speaks for that.
    pub why: String,
}

/// What was seen usually means this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnosis {
    /// What it rests on: a line of output, the state of a job.
    pub seen: String,
    /// What that usually means.
    pub means: String,
    /// How to mend it.
    pub remedy: String,
    /// Where that is known from.
    pub source: String,
}

/// Moments of one track that were left out, for there were too many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// The track.
    pub track: Track,
    /// How many.
    pub count: usize,
}

/// How much was done, and how often in vain, in equal steps of time. Unlike the events it leaves nothing out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Where the first step begins, on the clock of the events.
    pub from_ms: i64,
    /// How long a step is, in milliseconds; at least 1.
    pub step_ms: u64,
    /// Jobs that were completed in each step.
    pub completed: Vec<u32>,
    /// Requests to the embeddings API that were answered with an error, or not at all, in each step.
    pub refused: Vec<u32>,
}

/// Steps of a progress at most.
const STEPS: i64 = 120;

impl Progress {
    /// Counts what happened at these times; nothing when nothing did.
    #[must_use]
    pub fn of(completed: &[i64], refused: &[i64]) -> Option<Self> {
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

/// What happened in a scenario of which a case was not passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    /// The scenario.
    pub scenario: String,
    /// What it is about.
    pub title: String,
    /// The cases that were not passed.
    pub cases: Vec<String>,
    /// Milliseconds from its beginning to its end.
    pub length_ms: u64,
    /// What was seen usually means this; the likeliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnoses: Vec<Diagnosis>,
    /// The documents that are not where they belong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<AffectedDocument>,
    /// What happened, in the order of time.
    pub events: Vec<TimelineEvent>,
    /// What was left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// How much was done, and when; of reports of earlier versions it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// Moments that a reader of text is shown.
const SHOWN: usize = 30;
/// Changes of state of one job that a reader of text is shown.
const STATES: usize = 3;

impl Timeline {
    /// The events that tell most, in the order of time, and how many are left out.
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
        // Of one job its last states tell most.
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

    /// Its events as lines of text, the time in seconds in front.
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
    fn a_pace_counts_everything_once_in_at_most_a_hundred_and_twenty_steps() {
        let completed: Vec<i64> = (0..1000).map(|number| number * 37).collect();
        let progress = Progress::of(&completed, &[-40, 36_963]).unwrap();
        assert_eq!(progress.from_ms, -40);
        assert!(progress.completed.len() <= 120 && progress.completed.len() == progress.refused.len());
        assert_eq!((progress.completed.iter().sum::<u32>(), progress.refused.iter().sum::<u32>()), (1000, 2));
        assert_eq!(Progress::of(&[], &[]), None);
        let one = Progress::of(&[0], &[]).unwrap();
        assert_eq!((one.step_ms, one.completed, one.refused), (1, vec![1], vec![0]));
        // A report may have been written by anybody.
        let all = Progress::of(&[i64::MIN, i64::MAX], &[0]).unwrap();
        assert_eq!(all.completed.iter().sum::<u32>(), 2);
    }
}
