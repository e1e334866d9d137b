//! What happened in one scenario, on one clock, and what that usually means.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a moment is about; in this order they stand beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
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

impl Lane {
    /// Every lane, in order.
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
pub struct Moment {
    /// When it began, in milliseconds since the scenario's workers took jobs; before that it is negative.
    pub at_ms: i64,
    /// When it ended, where it lasted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// What it is about.
    pub lane: Lane,
    /// Whose it is: a service, a worker, a document.
    pub subject: String,
    /// What happened.
    pub what: String,
}

/// A document that a verdict speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Concerned {
    /// Its id.
    pub document: String,
    /// What became of it, in the ledger's words.
    pub fate: String,
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

/// Moments of one lane that were left out, for there were too many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// The lane.
    pub lane: Lane,
    /// How many.
    pub count: usize,
}

/// How much was done, and how often in vain, in equal steps of time. Unlike the moments it leaves nothing out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pace {
    /// Where the first step begins, on the clock of the moments.
    pub from_ms: i64,
    /// How long a step is, in milliseconds; at least 1.
    pub step_ms: u64,
    /// Jobs that were completed in each step.
    pub completed: Vec<u32>,
    /// Requests to the embeddings API that were answered with an error, or not at all, in each step.
    pub refused: Vec<u32>,
}

/// Steps of a pace at most.
const STEPS: i64 = 120;

impl Pace {
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
    pub documents: Vec<Concerned>,
    /// What happened, in the order of time.
    pub moments: Vec<Moment>,
    /// What was left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// How much was done, and when; of reports of earlier versions it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
}

/// Moments that a reader of text is shown.
const SHOWN: usize = 30;
/// Changes of state of one job that a reader of text is shown.
const STATES: usize = 3;

impl Timeline {
    /// The moments that tell most, in the order of time, and how many are left out.
    #[must_use]
    pub fn shown(&self) -> (Self, usize) {
        let rank = |moment: &Moment| match moment.lane {
            Lane::Fault | Lane::Process => 0,
            Lane::Job => 1,
            Lane::Request if !moment.what.contains("answered 200") => 2,
            Lane::Output => 3,
            Lane::Connection => 4,
            Lane::Request => 5,
        };
        // Of one job its last states tell most.
        let mut later: BTreeMap<&str, usize> = BTreeMap::new();
        let mut moments: Vec<&Moment> = self
            .moments
            .iter()
            .rev()
            .filter(|moment| {
                let count = later.entry(&moment.subject).or_default();
                *count += usize::from(moment.lane == Lane::Job);
                moment.lane != Lane::Job || *count <= STATES
            })
            .collect();
        moments.reverse();
        moments.sort_by_key(|moment| rank(moment));
        moments.truncate(SHOWN);
        moments.sort_by_key(|moment| (moment.at_ms, moment.lane));
        let left_out: usize = self.left_out.iter().map(|left| left.count).sum();
        let left_out = left_out + self.moments.len() - moments.len();
        (Self { moments: moments.into_iter().cloned().collect(), ..self.clone() }, left_out)
    }

    /// Its moments as lines of text, the time in seconds in front.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        #[expect(clippy::cast_precision_loss, reason = "a time of a few minutes in milliseconds")]
        let seconds = |ms: i64| ms as f64 / 1000.0;
        self.moments.iter().map(move |moment| {
            let Moment { at_ms, until_ms, lane, subject, what } = moment;
            let until = until_ms.map_or(String::new(), |until| format!(", until {:.3} s", seconds(until)));
            format!("{:>9.3} s  {:<10} {subject}: {what}{until}", seconds(*at_ms), lane.word())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_counts_everything_once_in_at_most_a_hundred_and_twenty_steps() {
        let completed: Vec<i64> = (0..1000).map(|number| number * 37).collect();
        let pace = Pace::of(&completed, &[-40, 36_963]).unwrap();
        assert_eq!(pace.from_ms, -40);
        assert!(pace.completed.len() <= 120 && pace.completed.len() == pace.refused.len());
        assert_eq!((pace.completed.iter().sum::<u32>(), pace.refused.iter().sum::<u32>()), (1000, 2));
        assert_eq!(Pace::of(&[], &[]), None);
        let one = Pace::of(&[0], &[]).unwrap();
        assert_eq!((one.step_ms, one.completed, one.refused), (1, vec![1], vec![0]));
        // A report may have been written by anybody.
        let all = Pace::of(&[i64::MIN, i64::MAX], &[0]).unwrap();
        assert_eq!(all.completed.iter().sum::<u32>(), 2);
    }
}
