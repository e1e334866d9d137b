//! The labels of every container that we create, and how they show whether the harness is dead.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::stack::process_id::{ProcessId, system_id};

/// The run's id.
pub(super) const RUN: &str = "shakedown.run";
/// The mark of the ledger, which is unique to a run.
pub(super) const MARK: &str = "shakedown.mark";
/// The service.
pub(super) const SERVICE: &str = "shakedown.service";
const HARNESS: &str = "shakedown.harness";
const STARTED: &str = "shakedown.started";
const RETENTION: &str = "shakedown.retention";

/// What happens to containers at the end of their run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stack) enum Retention {
    /// They are removed.
    Remove,
    /// `--keep`: they stay for inspection.
    Keep,
    /// `--reuse`: they stay warm for the next run.
    Warm,
}

impl Retention {
    const fn name(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Keep => "keep",
            Self::Warm => "warm",
        }
    }
}

/// A harness and the system on which its pid is valid.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Harness {
    process: ProcessId,
    /// Boot id and pid namespace: elsewhere the same pid is another process.
    system: String,
}

/// The labels of the container of a worker, which is removed at the end of the run.
#[must_use]
pub fn container_labels(run: &str, mark: &str) -> BTreeMap<String, String> {
    run_labels(run, mark, Retention::Remove)
}

/// The labels of every container of `run`, whose ledger has `mark`.
pub(super) fn run_labels(run: &str, mark: &str, retention: Retention) -> BTreeMap<String, String> {
    let harness = Harness { process: ProcessId::own(), system: system_id() };
    // Serialising a struct of strings and numbers cannot fail.
    let harness = serde_json::to_string(&harness).unwrap_or_default();
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    [
        (RUN, run.to_owned()),
        (MARK, mark.to_owned()),
        (HARNESS, harness),
        (STARTED, started.as_secs().to_string()),
        (RETENTION, retention.name().to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The state of the harness of a container, according to the labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HarnessState {
    /// It runs.
    Alive,
    /// It is dead; the duration is the age of the container.
    Dead(Duration),
    /// It runs, or ran, on another machine or in another container: its state cannot be seen from here.
    Elsewhere,
    /// The container is meant to outlive its harness.
    Retained,
}

/// Reads the state of the harness from the labels of a container.
pub(super) fn harness_state(labels: &HashMap<String, String>) -> HarnessState {
    if labels.get(RETENTION).is_some_and(|name| name != Retention::Remove.name()) {
        return HarnessState::Retained;
    }
    let harness: Option<Harness> = labels.get(HARNESS).and_then(|text| serde_json::from_str(text).ok());
    match harness {
        Some(harness) if harness.system != system_id() => HarnessState::Elsewhere,
        Some(harness) if harness.process.is_alive() => HarnessState::Alive,
        Some(_) => {
            let started = labels.get(STARTED).and_then(|text| text.parse().ok()).unwrap_or_default();
            let then = SystemTime::UNIX_EPOCH + Duration::from_secs(started);
            HarnessState::Dead(SystemTime::now().duration_since(then).unwrap_or_default())
        }
        None => HarnessState::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(retention: Retention) -> HashMap<String, String> {
        run_labels("r1", "r1-abc", retention).into_iter().collect()
    }

    #[test]
    fn labels_distinguish_a_live_harness_from_a_dead_one_and_a_foreign_one() {
        let mut labels = labels(Retention::Remove);
        assert_eq!(harness_state(&labels), HarnessState::Alive);
        let dead = Harness { process: ProcessId { pid: 1, started: "never".to_owned() }, system: system_id() };
        labels.insert(HARNESS.to_owned(), serde_json::to_string(&dead).unwrap());
        labels.insert(STARTED.to_owned(), "0".to_owned());
        assert!(matches!(harness_state(&labels), HarnessState::Dead(age) if age > Duration::from_secs(3600)));
        let foreign = Harness { system: "another boot".to_owned(), ..dead };
        labels.insert(HARNESS.to_owned(), serde_json::to_string(&foreign).unwrap());
        assert_eq!(harness_state(&labels), HarnessState::Elsewhere);
        labels.remove(HARNESS);
        assert_eq!(harness_state(&labels), HarnessState::Elsewhere);
    }

    #[test]
    fn retained_containers_never_count_as_dead() {
        assert_eq!(harness_state(&labels(Retention::Keep)), HarnessState::Retained);
        assert_eq!(harness_state(&labels(Retention::Warm)), HarnessState::Retained);
    }
}
