//! Admits scenario runs by how busy the machine is: while every CPU is taken, one more worker makes all others slower and
//! ends no sooner itself.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::stack::cpu_pressure;

/// So many scenario runs are always admitted.
const ALWAYS: usize = 2;
/// A machine is taken if some thread waited for a CPU in this part of the time.
const TAKEN: f64 = 0.8;
/// The time over which this is measured. A worker that was just admitted shows in it.
const WINDOW: Duration = Duration::from_millis(250);
/// Interval of asking again.
const POLL: Duration = Duration::from_millis(50);

/// The scenario runs that are admitted, and how busy the machine is.
#[derive(Debug, Default)]
pub(super) struct Admission(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// When the pressure was read, and what it was.
    read: Option<(Instant, Duration)>,
}

/// A scenario run that is admitted until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted<'a>(&'a Admission);

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.state().running -= 1;
    }
}

impl State {
    /// Whether one more scenario run is admitted, at `now` with this pressure of the CPUs since the machine started.
    fn admits(&mut self, now: Instant, pressure: Option<Duration>) -> bool {
        let Some(pressure) = pressure.filter(|_| self.running >= ALWAYS) else {
            self.running += 1;
            return true;
        };
        let Some((read, before)) = self.read else {
            self.read = Some((now, pressure));
            return false;
        };
        let elapsed = now.saturating_duration_since(read);
        if elapsed < WINDOW {
            return false;
        }
        self.read = Some((now, pressure));
        let part = pressure.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64();
        // A measurement from long ago says nothing about this moment.
        let admits = part < TAKEN && elapsed < 4 * WINDOW;
        self.running += usize::from(admits);
        admits
    }
}

impl Admission {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more scenario run is admitted.
    pub(super) async fn admit(&self) -> Admitted<'_> {
        while !self.state().admits(Instant::now(), cpu_pressure()) {
            tokio::time::sleep(POLL).await;
        }
        Admitted(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a further scenario run is admitted after each window, in which some thread waited for so long.
    fn admitted(running: usize, waited_ms: &[u64]) -> Vec<bool> {
        let mut state = State { running, read: None };
        let (mut now, mut pressure) = (Instant::now(), Duration::from_secs(100));
        assert!(!state.admits(now, Some(pressure)), "nothing was measured yet");
        waited_ms
            .iter()
            .map(|waited| {
                now += WINDOW;
                pressure += Duration::from_millis(*waited);
                state.admits(now, Some(pressure))
            })
            .collect()
    }

    #[test]
    fn scenario_runs_are_admitted_while_a_cpu_is_free() {
        assert_eq!(admitted(ALWAYS, &[10, 190, 240, 250, 20]), [true, true, false, false, true]);
    }

    #[test]
    fn a_few_scenario_runs_are_always_admitted() {
        let mut state = State::default();
        let busy = Some(Duration::from_secs(100));
        let admitted: Vec<bool> = (0..3).map(|_| state.admits(Instant::now(), busy)).collect();
        assert_eq!(admitted, [true, true, false]);
    }

    #[test]
    fn every_scenario_run_is_admitted_where_nothing_is_measured() {
        let mut state = State { running: 20, read: None };
        assert!(state.admits(Instant::now(), None));
    }

    #[tokio::test]
    async fn a_scenario_run_that_ends_makes_room() {
        let admission = Admission::default();
        let both = (admission.admit().await, admission.admit().await);
        assert_eq!(admission.state().running, 2);
        drop(both);
        assert_eq!(admission.state().running, 0);
    }
}
