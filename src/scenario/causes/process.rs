//! What the workers' processes show.

use std::time::Duration;

use super::super::observations::Observations;
use super::run_cause::Sighting;
use crate::spec::Target;

/// A worker ended without being told to.
pub(super) fn died(observations: &Observations) -> Option<Sighting> {
    observations.workers.died.as_ref().map(|how| Sighting::of_run(format!("the worker {how}")))
}

/// The same with code 0, as a worker does that has nothing to do.
pub(super) fn exited(observations: &Observations) -> Option<Sighting> {
    let how = observations.workers.died.as_ref().filter(|how| how.ends_with("code 0"))?;
    let counts = observations.queue.counts;
    let waiting = counts.waiting + counts.prioritized + counts.delayed;
    Some(Sighting::of_run(format!("the worker {how}; {waiting} jobs were waiting in the end")))
}

/// The same by a signal.
pub(super) fn killed(observations: &Observations) -> Option<Sighting> {
    let how = observations.workers.died.as_ref().filter(|how| how.starts_with("was killed by "))?;
    Some(Sighting::of_run(format!("the worker {how}")).about(how.clone()))
}

/// A worker got SIGTERM before it took jobs, and did not exit with code 0.
pub(super) fn stopped_during_start(observations: &Observations) -> Option<Sighting> {
    let events = &observations.workers.events;
    for (place, event) in events.iter().enumerate().filter(|(_, event)| event.what.starts_with("received SIGTERM")) {
        let is_its = |other: &&super::super::WorkerEvent| other.worker == event.worker;
        if events[..place].iter().filter(is_its).any(|other| other.what == "takes jobs") {
            continue;
        }
        let Some(end) = events[place + 1..].iter().find(is_its) else { continue };
        if end.what == "exited with code 0" || end.what == "takes jobs" {
            continue;
        }
        let after = end.at_ms - event.at_ms;
        let seen =
            format!("worker {} got SIGTERM before it took jobs, and {} after {after} ms", event.worker, end.what);
        return Some(Sighting::of_run(seen).about(end.what.clone()));
    }
    None
}

/// A worker without open jobs did not end after SIGTERM, while every service was there.
pub(super) fn hangs_on_close(observations: &Observations) -> Option<Sighting> {
    let workers = &observations.workers;
    let hung = hung_exits(observations).find(|(_, targets)| targets.is_empty()).map(|(how, _)| how);
    let at_the_end = || {
        let hangs = workers.died.is_none() && workers.ended.is_none() && observations.queue.counts.active == 0;
        hangs.then(|| format!("the worker did not end within {} s of SIGTERM", workers.grace.as_secs()))
    };
    hung.or_else(at_the_end).map(Sighting::of_run)
}

/// A worker without open jobs did not end after SIGTERM, while a service was broken.
pub(super) fn hangs_without_service(observations: &Observations) -> Option<Sighting> {
    let (how, targets) = hung_exits(observations).find(|(_, targets)| !targets.is_empty())?;
    let names = targets.iter().map(|target| target.word()).collect::<Vec<_>>().join(" and ");
    Some(Sighting::of_run(format!("the worker {how}, while {names} was broken")).about(names))
}

/// The workers that had to be killed although they left no job active: how they ended, and what was broken meanwhile.
fn hung_exits(observations: &Observations) -> impl Iterator<Item = (String, Vec<Target>)> + '_ {
    let exits = observations.workers.exits.iter();
    let hung = exits.filter(|exit| exit.killed && exit.left.as_ref().is_some_and(Vec::is_empty));
    hung.map(|exit| (exit.how.clone(), broken_between(observations, exit.signalled, exit.signalled + exit.after)))
}

/// The services that were broken during a part of the run.
fn broken_between(observations: &Observations, from: Duration, until: Duration) -> Vec<Target> {
    let overlaps = |began: Option<Duration>, ended: Option<Duration>| {
        began.is_some_and(|began| began < until) && ended.is_none_or(|ended| ended > from)
    };
    let faults = observations.faults.iter().filter(|fault| overlaps(fault.began, fault.ended));
    let mut targets: Vec<Target> = faults.flat_map(|fault| fault.targets.iter().copied()).collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}
