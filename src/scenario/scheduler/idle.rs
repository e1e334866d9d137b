//! Workers that exit when no jobs wait, and are started again when there are some.

use super::super::harness::ScenarioError;
use super::FaultScheduler;
use super::planned::Planned;

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
        self.is_abandoned = false;
        if is_kept_down || !self.context.pool.running.is_empty() {
            return Ok(());
        }
        // While Redis does not answer, the platform does not know of jobs either.
        match self.context.clients.takeable().await {
            Ok(0) => self.is_abandoned = self.has_only_active_jobs().await,
            Ok(_) => {
                self.context.pool.start()?;
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Whether the jobs that have not ended are all active. Only a worker that runs would find them, as stalled.
    async fn has_only_active_jobs(&self) -> bool {
        let clients = &self.context.clients;
        let (Ok(open), Ok(active)) = (clients.open_jobs().await, clients.active().await) else { return false };
        open.pending > 0 && open.pending == active.len() as u64
    }

    /// Whether jobs are left that no worker will continue: they are active, no worker runs, and none will be started.
    pub(in crate::scenario) fn is_abandoned(&self) -> bool {
        let is_pending = |planned: &Planned| planned.is_in_step(self.step) && planned.is_pending();
        self.is_abandoned && self.is_idle() && !self.planned.iter().any(is_pending)
    }
}
