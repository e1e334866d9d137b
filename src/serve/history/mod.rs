//! The past of each service in blocks of 15 minutes, and its incidents.
//!
//! Callers pass the time; nothing here reads the clock.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Status;

/// Length of a block.
pub const BLOCK_MS: i64 = 15 * 60 * 1000;
/// Blocks of a day.
pub(super) const BLOCKS: usize = 96;
/// Blocks are kept for a week.
const BLOCKS_KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// Ended incidents are kept for 30 days,
const INCIDENTS_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// and no more than these.
pub(super) const INCIDENTS_KEPT: usize = 500;

/// The results of a service in 15 minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Number of passes.
    pub pass: u32,
    /// Number of warnings.
    pub warn: u32,
    /// Number of failures: no answer, or a MUST that failed.
    pub fail: u32,
    /// Number of measured answers.
    pub answers: u32,
    /// Sum of their times, in microseconds.
    pub sum_us: u64,
    /// Longest time, in microseconds.
    pub longest_us: u64,
}

impl Block {
    /// The worst status; none without a result.
    #[must_use]
    pub const fn status(&self) -> Option<Status> {
        match (self.fail, self.warn, self.pass) {
            (1.., _, _) => Some(Status::Fail),
            (0, 1.., _) => Some(Status::Warn),
            (0, 0, 1..) => Some(Status::Pass),
            (0, 0, 0) => None,
        }
    }

    /// The average time of an answer in milliseconds; none without an answer.
    #[must_use]
    pub fn mean_ms(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a quarter of an hour")]
        (self.answers > 0).then(|| self.sum_us as f64 / f64::from(self.answers) / 1000.0)
    }

    fn add(&mut self, status: Status, latency_us: Option<u64>) {
        let count = match status {
            Status::Pass => &mut self.pass,
            Status::Warn => &mut self.warn,
            Status::Fail => &mut self.fail,
        };
        *count = count.saturating_add(1);
        if let Some(latency) = latency_us {
            self.answers = self.answers.saturating_add(1);
            self.sum_us = self.sum_us.saturating_add(latency);
            self.longest_us = self.longest_us.max(latency);
        }
    }
}

/// A period in which a case failed or a service did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number; later ones have higher numbers.
    pub id: u64,
    /// The service.
    pub service: String,
    /// The case that failed; none when the service did not answer.
    pub case: Option<String>,
    /// The reason at its start.
    pub reason: String,
    /// When it began, in milliseconds since 1970.
    pub from_ms: i64,
    /// When it ended; none while it lasts.
    pub until_ms: Option<i64>,
}

/// The changes since the last save.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) blocks: Vec<((String, i64), Block)>,
    pub(super) incidents: Vec<Incident>,
    /// Blocks that begin earlier are deleted.
    pub(super) oldest_ms: i64,
    /// Incidents that are deleted.
    pub(super) forgotten: Vec<u64>,
}

/// The blocks of all services, and all incidents.
#[derive(Debug, Clone, Default)]
pub struct History {
    blocks: BTreeMap<(String, i64), Block>,
    incidents: BTreeMap<u64, Incident>,
    changed_blocks: BTreeSet<(String, i64)>,
    changed_incidents: BTreeSet<u64>,
    forgotten: Vec<u64>,
    oldest_ms: i64,
}

impl History {
    /// The history that a file has.
    pub(super) fn from_parts(blocks: BTreeMap<(String, i64), Block>, incidents: BTreeMap<u64, Incident>) -> Self {
        Self { blocks, incidents, ..Self::default() }
    }

    /// Adds a result of `service`, with the microseconds that the answer took.
    pub fn add_result(&mut self, now_ms: i64, service: &str, status: Status, latency_us: Option<u64>) {
        let key = (service.to_owned(), now_ms - now_ms.rem_euclid(BLOCK_MS));
        self.blocks.entry(key.clone()).or_default().add(status, latency_us);
        self.changed_blocks.insert(key);
    }

    /// Opens or ends the incident of a case, or without a case that of the service. `wrong` is the reason of a failure.
    pub fn update_incident(&mut self, now_ms: i64, service: &str, case: Option<&str>, wrong: Option<&str>) {
        let open = self.incidents.values_mut().find(|incident| {
            incident.until_ms.is_none() && incident.service == service && incident.case.as_deref() == case
        });
        match (open, wrong) {
            (None, Some(reason)) => {
                let id = self.incidents.keys().next_back().map_or(1, |last| last + 1);
                let (service, case, reason) = (service.to_owned(), case.map(str::to_owned), reason.to_owned());
                self.incidents.insert(id, Incident { id, service, case, reason, from_ms: now_ms, until_ms: None });
                self.changed_incidents.insert(id);
            }
            (Some(incident), None) => {
                incident.until_ms = Some(now_ms.max(incident.from_ms));
                self.changed_incidents.insert(incident.id);
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// Ends the incidents of cases and services that are no longer checked.
    pub fn end_others(&mut self, now_ms: i64, is_checked: impl Fn(&str, Option<&str>) -> bool) {
        for incident in self.incidents.values_mut() {
            if incident.until_ms.is_none() && !is_checked(&incident.service, incident.case.as_deref()) {
                incident.until_ms = Some(now_ms.max(incident.from_ms));
                self.changed_incidents.insert(incident.id);
            }
        }
    }

    /// Deletes old blocks and surplus ended incidents; open incidents stay.
    pub fn prune(&mut self, now_ms: i64) {
        self.oldest_ms = now_ms - BLOCKS_KEPT_MS;
        let oldest = self.oldest_ms;
        self.blocks.retain(|(_, start), _| *start >= oldest);
        let ended: Vec<(u64, i64)> =
            self.incidents.values().filter_map(|incident| Some((incident.id, incident.until_ms?))).collect();
        let surplus = self.incidents.len().saturating_sub(INCIDENTS_KEPT);
        for (number, (id, until)) in ended.into_iter().enumerate() {
            if number < surplus || until < now_ms - INCIDENTS_KEPT_MS {
                self.incidents.remove(&id);
                self.changed_incidents.remove(&id);
                self.forgotten.push(id);
            }
        }
    }

    /// The last 24 h of a service, oldest first; the last block is the one that `now_ms` is in.
    #[must_use]
    pub fn day(&self, now_ms: i64, service: &str) -> Vec<(i64, Block)> {
        let last = now_ms - now_ms.rem_euclid(BLOCK_MS);
        (0..BLOCKS)
            .rev()
            .map(|back| {
                let start = last - i64::try_from(back).unwrap_or_default() * BLOCK_MS;
                (start, self.blocks.get(&(service.to_owned(), start)).copied().unwrap_or_default())
            })
            .collect()
    }

    /// Incidents that are open or ended after `since_ms`, the latest first.
    #[must_use]
    pub fn incidents(&self, since_ms: i64) -> Vec<&Incident> {
        self.incidents
            .values()
            .rev()
            .filter(|incident| incident.until_ms.is_none_or(|until| until >= since_ms))
            .collect()
    }

    /// The changes since the last call.
    pub(super) fn changes(&mut self) -> Changes {
        let blocks = std::mem::take(&mut self.changed_blocks).into_iter();
        let incidents = std::mem::take(&mut self.changed_incidents).into_iter();
        Changes {
            blocks: blocks.filter_map(|key| Some((key.clone(), *self.blocks.get(&key)?))).collect(),
            incidents: incidents.filter_map(|id| self.incidents.get(&id).cloned()).collect(),
            oldest_ms: self.oldest_ms,
            forgotten: std::mem::take(&mut self.forgotten),
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.blocks.len(), self.incidents.len())
    }
}

#[cfg(test)]
mod tests;
