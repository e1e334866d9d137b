//! What every container of ours is labelled with, and how to tell from it whether its harness is dead.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::stack::proc::ProcessId;

/// The run's id.
pub(super) const RUN: &str = "shakedown.run";
/// The ledger's mark, which no other run shares.
pub(super) const MARK: &str = "shakedown.mark";
/// The service.
pub(super) const SERVICE: &str = "shakedown.service";
const HARNESS: &str = "shakedown.harness";
const STARTED: &str = "shakedown.started";
const STAYS: &str = "shakedown.stays";

/// Why containers outlive their run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stack) enum Retention {
    /// They do not.
    No,
    /// `--keep`: left for somebody to look at.
    Kept,
    /// `--reuse`: warm for the next run.
    Warm,
}

impl Retention {
    const fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Kept => "kept",
            Self::Warm => "warm",
        }
    }
}

/// A harness, and the system in which its pid means something.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Harness {
    process: ProcessId,
    /// Boot and pid namespace: in another one, the same pid is another process.
    system: String,
}

fn system() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_else(|_| Path::new("?").to_owned());
    format!("{} {}", boot.trim(), namespace.display())
}

/// The labels of a worker's container: it goes when its harness does.
#[must_use]
pub fn container_labels(run: &str, mark: &str) -> BTreeMap<String, String> {
    of(run, mark, Retention::No)
}

/// The labels of everything that `mark`'s run makes.
pub(super) fn of(run: &str, mark: &str, stays: Retention) -> BTreeMap<String, String> {
    let harness = Harness { process: ProcessId::own(), system: system() };
    // A struct of strings and numbers is always JSON.
    let harness = serde_json::to_string(&harness).unwrap_or_default();
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    [
        (RUN, run.to_owned()),
        (MARK, mark.to_owned()),
        (HARNESS, harness),
        (STARTED, started.as_secs().to_string()),
        (STAYS, stays.word().to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// What the labels of a container say of its harness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It runs.
    Alive,
    /// It is gone; so long ago the container was made.
    Dead(Duration),
    /// It runs, or ran, on another machine or in another container: that cannot be seen from here.
    Elsewhere,
    /// The container is meant to outlive it.
    Retention,
}

/// Reads them.
pub(super) fn state(labels: &HashMap<String, String>) -> State {
    if labels.get(STAYS).is_some_and(|word| word != Retention::No.word()) {
        return State::Retention;
    }
    let harness: Option<Harness> = labels.get(HARNESS).and_then(|text| serde_json::from_str(text).ok());
    match harness {
        Some(harness) if harness.system != system() => State::Elsewhere,
        Some(harness) if harness.process.is_alive() => State::Alive,
        Some(_) => {
            let started = labels.get(STARTED).and_then(|text| text.parse().ok()).unwrap_or_default();
            let then = SystemTime::UNIX_EPOCH + Duration::from_secs(started);
            State::Dead(SystemTime::now().duration_since(then).unwrap_or_default())
        }
        None => State::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(stays: Retention) -> HashMap<String, String> {
        of("r1", "r1-abc", stays).into_iter().collect()
    }

    #[test]
    fn the_labels_tell_a_live_harness_from_a_dead_one_and_from_a_stranger() {
        let mut labels = labels(Retention::No);
        assert_eq!(state(&labels), State::Alive);
        let dead = Harness { process: ProcessId { pid: 1, started: "never".to_owned() }, system: system() };
        labels.insert(HARNESS.to_owned(), serde_json::to_string(&dead).unwrap());
        labels.insert(STARTED.to_owned(), "0".to_owned());
        assert!(matches!(state(&labels), State::Dead(age) if age > Duration::from_secs(3600)));
        let stranger = Harness { system: "another boot".to_owned(), ..dead };
        labels.insert(HARNESS.to_owned(), serde_json::to_string(&stranger).unwrap());
        assert_eq!(state(&labels), State::Elsewhere);
        labels.remove(HARNESS);
        assert_eq!(state(&labels), State::Elsewhere);
    }

    #[test]
    fn what_is_meant_to_stay_is_never_called_dead() {
        assert_eq!(state(&labels(Retention::Kept)), State::Retention);
        assert_eq!(state(&labels(Retention::Warm)), State::Retention);
    }
}
