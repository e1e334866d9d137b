//! One service in a container: started, probed, disturbed, removed.

use std::time::{Duration, Instant};

use futures::StreamExt;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::models::{ContainerState, NetworkConnectRequest, NetworkDisconnectRequest};
use testcontainers::bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptionsBuilder, LogsOptionsBuilder, StartContainerOptions,
};
use tokio::sync::Mutex;

use super::engine::error_text;
use super::launch::{LaunchContext, LaunchError, READY_TIMEOUT, launch};
use super::plan::Plan;
use super::sweep::remove_container;
use crate::outcome::{Event, Events, ServiceRecord, ServiceStatus};
use crate::stack::error::StackError;
use crate::stack::ports::ReservedPort;
use crate::stack::ready::{ConsecutiveCount, Readiness};

/// How long an orderly shutdown may take before the service is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How often another port is tried after one that the engine could not publish.
const PORT_ATTEMPTS: u32 = 5;
/// The pause between two readiness probes, and between two checks whether the container still runs.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How many of the last lines of the log an error shows.
const LOG_LINES: &str = "20";

/// A service and its container.
#[derive(Debug)]
pub(in crate::stack) struct ContainerService {
    plan: Plan,
    id: String,
    context: LaunchContext,
    /// The networks that it was disconnected from.
    disconnected: Mutex<Vec<String>>,
}

impl ContainerService {
    /// Starts the plan for the reserved ports and waits until the service is ready.
    pub(super) async fn start(
        context: &LaunchContext,
        events: &Events,
        begun: Instant,
        ports: Vec<ReservedPort>,
        plan: impl Fn(&[u16]) -> Plan,
    ) -> Result<(Self, ServiceRecord), StackError> {
        Self::launch(context, events, ports, plan).await?.wait_ready(events, begun).await
    }

    /// Creates and starts the container of the plan for the reserved ports.
    pub(super) async fn launch(
        context: &LaunchContext,
        events: &Events,
        mut reserved: Vec<ReservedPort>,
        plan: impl Fn(&[u16]) -> Plan,
    ) -> Result<Self, StackError> {
        let requested = reserved.iter().any(|port| port.requested);
        let mut attempt = 1;
        loop {
            let ports: Vec<u16> = reserved.drain(..).map(ReservedPort::release).collect();
            let plan = plan(&ports);
            let service = plan.service().name();
            match launch(context, &plan).await {
                Ok(id) => return Ok(Self { plan, id, context: context.clone(), disconnected: Mutex::default() }),
                Err(LaunchError::Port(_)) if !requested && attempt < PORT_ATTEMPTS => {
                    attempt += 1;
                    events.note(format!("{service}: the engine could not publish a port; trying another"));
                    reserved = ports.iter().map(|_| ReservedPort::reserve(service, None)).collect::<Result<_, _>>()?;
                }
                Err(LaunchError::Port(reason)) => {
                    return Err(StackError::NoPublishedPort { service, attempts: attempt, reason });
                }
                Err(LaunchError::Other(error)) => return Err(error),
            }
        }
    }

    /// Waits until the service is ready; returns it with its record.
    pub(super) async fn wait_ready(self, events: &Events, begun: Instant) -> Result<(Self, ServiceRecord), StackError> {
        self.until_ready().await?;
        let after = begun.elapsed();
        let record = self.record(after).await;
        let (name, version) = (record.name.clone(), record.version.clone());
        events.send(Event::ServiceReady { service: name, version, after });
        Ok((self, record))
    }

    /// Takes over a container that an earlier run left running; `None` if it does not run or answer.
    pub(super) async fn adopt(context: &LaunchContext, id: String, plan: Plan) -> Option<(Self, ServiceRecord)> {
        let begun = Instant::now();
        let service = Self { plan, id, context: context.clone(), disconnected: Mutex::default() };
        if service.state().await.ok()?.running != Some(true) {
            return None;
        }
        service.plan.readiness.probe().await.ok()?;
        let record = service.record(begun.elapsed()).await;
        Some((service, record))
    }

    /// The readiness probe, which holds the URL of the service.
    pub(super) fn readiness(&self) -> &Readiness {
        &self.plan.readiness
    }

    /// Its published ports, in the order of the container ports of the plan.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.plan.ports.iter().map(|(_, outside)| *outside).collect()
    }

    /// The id of the container.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    async fn record(&self, after: Duration) -> ServiceRecord {
        // It has just answered three times. If it does not answer now, the record lacks its version.
        let facts = self.plan.readiness.facts().await.unwrap_or_default();
        let mut parameters = facts.parameters;
        parameters.insert("memory_limit_mb".to_owned(), self.context.memory_mb.to_string());
        ServiceRecord {
            name: self.plan.service().name().to_owned(),
            status: ServiceStatus::Ready,
            version: facts.version,
            endpoint: self.plan.readiness.public_address(),
            kind: self.plan.image.to_string(),
            ready_after_ms: Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            parameters,
        }
    }

    /// Shuts it down in an orderly way, starts it again with the same data and ports, and waits until it is ready.
    pub(in crate::stack) async fn restart(&self) -> Result<(), StackError> {
        self.signal(self.plan.stop_signal).await?;
        if !self.wait_stopped(STOP_TIMEOUT).await? {
            self.kill().await?;
        }
        self.run().await
    }

    /// Sends SIGKILL and waits until it is gone. Does nothing if it does not run.
    pub(in crate::stack) async fn kill(&self) -> Result<(), StackError> {
        if self.state().await?.running != Some(true) {
            return Ok(());
        }
        self.signal("SIGKILL").await?;
        self.wait_stopped(STOP_TIMEOUT).await.map(drop)
    }

    /// Starts it again after a kill and waits until it is ready. Does nothing if it runs.
    pub(in crate::stack) async fn start_again(&self) -> Result<(), StackError> {
        if self.state().await?.running == Some(true) { Ok(()) } else { self.run().await }
    }

    /// Freezes it: connections stay open, but nothing answers.
    pub(in crate::stack) async fn pause(&self) -> Result<(), StackError> {
        self.context
            .engine
            .docker
            .pause_container(&self.id)
            .await
            .map_err(|error| self.engine_error("pause the container", &error))
    }

    /// Resumes it and waits until it answers again.
    pub(in crate::stack) async fn resume(&self) -> Result<(), StackError> {
        let resumed = self.context.engine.docker.unpause_container(&self.id).await;
        resumed.map_err(|error| self.engine_error("resume the container", &error))?;
        self.until_ready().await
    }

    /// Disconnects it from its networks: packets are lost without an error on either side.
    pub(in crate::stack) async fn disconnect(&self) -> Result<(), StackError> {
        let mut disconnected = self.disconnected.lock().await;
        for network in self.networks().await? {
            let request = NetworkDisconnectRequest { container: self.id.clone(), force: Some(true) };
            let result = self.context.engine.docker.disconnect_network(&network, request).await;
            result.map_err(|error| self.engine_error("disconnect the container from its network", &error))?;
            disconnected.push(network);
        }
        Ok(())
    }

    /// Connects it to its networks again and waits until it answers.
    pub(in crate::stack) async fn reconnect(&self) -> Result<(), StackError> {
        let mut disconnected = self.disconnected.lock().await;
        while let Some(network) = disconnected.last() {
            let request = NetworkConnectRequest { container: self.id.clone(), endpoint_config: None };
            let connected = self.context.engine.docker.connect_network(network, request).await;
            connected.map_err(|error| self.engine_error("reconnect the container to its network", &error))?;
            disconnected.pop();
        }
        self.until_ready().await
    }

    /// The pid of its main process, if the engine runs on this machine.
    pub(in crate::stack) async fn pid(&self) -> Option<i32> {
        let pid = self.state().await.ok()?.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0)?;
        self.context.engine.host.starts_with("unix://").then_some(pid)
    }

    /// Removes it with its volumes. The error names what could not be removed.
    pub(super) async fn remove(&self) -> Result<(), String> {
        let removed = remove_container(&self.context.engine.docker, &self.id).await;
        removed.map_err(|reason| format!("container of {}: {reason}", self.plan.service()))
    }

    async fn run(&self) -> Result<(), StackError> {
        let started = self.context.engine.docker.start_container(&self.id, None::<StartContainerOptions>).await;
        started.map_err(|error| self.engine_error("start the container again", &error))?;
        self.until_ready().await
    }

    async fn signal(&self, signal: &str) -> Result<(), StackError> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        match self.context.engine.docker.kill_container(&self.id, Some(options)).await {
            Ok(()) => Ok(()),
            // It has already exited.
            Err(DockerError::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
            Err(error) => Err(self.engine_error("send the container a signal", &error)),
        }
    }

    /// Waits until it has stopped; returns whether it has.
    async fn wait_stopped(&self, timeout: Duration) -> Result<bool, StackError> {
        let deadline = Instant::now() + timeout;
        while self.state().await?.running == Some(true) {
            if Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(true)
    }

    /// Probes until the service has answered three times in a row. Fails at once if its container stops.
    async fn until_ready(&self) -> Result<(), StackError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut consecutive = ConsecutiveCount::default();
        loop {
            let reason = match self.plan.readiness.probe().await {
                Ok(start_id) if consecutive.record_answer(&start_id) => return Ok(()),
                Ok(_) => continue,
                Err(reason) => reason,
            };
            consecutive.reset();
            let state = self.state().await?;
            if state.running != Some(true) {
                return Err(self.died(&state).await);
            }
            if Instant::now() > deadline {
                let service = self.plan.service().name();
                let (seconds, log) = (READY_TIMEOUT.as_secs(), self.log_tail().await);
                return Err(StackError::NotReady { service, seconds, reason, log });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn died(&self, state: &ContainerState) -> StackError {
        let code = state.exit_code.unwrap_or_default();
        let (how, hint) = if state.oom_killed == Some(true) {
            let how = format!("ran out of memory and was killed (container limit: {} MiB)", self.context.memory_mb);
            (how, "; raise the limit with SHAKEDOWN_CONTAINER_MEMORY_MB")
        } else {
            (format!("exited with code {code}"), "; its image must behave like the pinned one")
        };
        StackError::Died {
            service: format!("{} ({})", self.plan.service(), self.plan.image),
            how,
            hint,
            log: self.log_tail().await,
        }
    }

    async fn state(&self) -> Result<ContainerState, StackError> {
        let deadline = Instant::now() + STOP_TIMEOUT;
        loop {
            match self.context.engine.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await {
                Ok(found) => return Ok(found.state.unwrap_or_default()),
                // Podman reports the state `stopped`, unknown to Docker, while it cleans up after a container.
                Err(DockerError::JsonDataError { .. } | DockerError::JsonSerdeError { .. })
                    if Instant::now() < deadline =>
                {
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                Err(error) => return Err(self.engine_error("inspect the container", &error)),
            }
        }
    }

    async fn networks(&self) -> Result<Vec<String>, StackError> {
        let found = self.context.engine.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await;
        let found = found.map_err(|error| self.engine_error("inspect the container", &error))?;
        let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        Ok(networks.into_keys().collect())
    }

    async fn log_tail(&self) -> String {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(LOG_LINES).build();
        let lines: Vec<String> = self
            .context
            .engine
            .docker
            .logs(&self.id, Some(options))
            .filter_map(|line| async { line.ok().map(|line| line.to_string().trim_end().to_owned()) })
            .collect()
            .await;
        lines.join("\n")
    }

    fn engine_error(&self, action: &'static str, error: &DockerError) -> StackError {
        self.plan.engine_error(action, error_text(error))
    }
}
