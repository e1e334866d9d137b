//! The sidecars of the contract: they are ready before the first worker starts, and end after the last one.

use std::time::Duration;

use tokio::time::Instant;

use super::harness::ScenarioError;
use super::scheduler::LaunchConfig;
use crate::worker::Sidecar;

/// Interval of polling until a sidecar is ready.
const READY_POLL: Duration = Duration::from_millis(20);

/// The running sidecars of a scenario.
pub(super) struct Sidecars(#[expect(dead_code, reason = "dropping it ends the processes")] Vec<Sidecar>);

impl Sidecars {
    /// Starts the sidecars of the contract one after the other, each when the one before is ready.
    pub(super) async fn start(launch: &LaunchConfig) -> Result<Self, ScenarioError> {
        let contract = &launch.contract;
        let mut running = Vec::new();
        for (number, sidecar) in contract.worker.sidecars.iter().enumerate() {
            let name = format!("sidecar-{}-{}", number + 1, launch.name);
            let place = (launch.directory.as_path(), name.as_str());
            let sidecar = Sidecar::start(sidecar, contract, &launch.worker_env, place, &launch.ledger)?;
            let within = contract.worker.ready_within;
            let deadline = Instant::now() + within;
            while !sidecar.is_ready().await? {
                if Instant::now() >= deadline {
                    return Err(sidecar.failed(format!("was not ready within {} s", within.as_secs_f64())).into());
                }
                tokio::time::sleep(READY_POLL).await;
            }
            running.push(sidecar);
        }
        Ok(Self(running))
    }
}
