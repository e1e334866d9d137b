//! Workers that exit when no jobs wait, and are started again when there are some.

use super::super::harness::ScenarioError;
use super::FaultScheduler;

impl FaultScheduler {
    /// Removes the workers that have exited because no jobs waited, if the contract permits that.
    pub(in crate::scenario) fn remove_idle(&mut self) {
        self.context.pool.remove_idle();
    }

    /// Does what the platform of a worker does that exits when it is idle: starts one when jobs wait and none runs, unless
    /// a fault keeps it down.
    pub(super) async fn start_for_waiting_jobs(&mut self) -> Result<(), ScenarioError> {
        if !self.context.pool.exits_when_idle() {
            return Ok(());
        }
        self.remove_idle();
        let is_kept_down = self.planned.iter().any(|planned| planned.is_active() && planned.worker_fault().is_some());
        // While Redis does not answer, the platform does not know of jobs either.
        if !is_kept_down
            && self.context.pool.running.is_empty()
            && self.context.clients.takeable().await.is_ok_and(|jobs| jobs > 0)
        {
            self.context.pool.start()?;
        }
        Ok(())
    }
}
