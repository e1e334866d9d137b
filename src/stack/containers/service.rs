//! One service as a container: made, started, waited for, disturbed, removed.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use futures::StreamExt;
use secrecy::ExposeSecret;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::models::{
    ContainerState, HostConfig, NetworkConnectRequest, NetworkDisconnectRequest, PortBinding,
};
use testcontainers::bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptionsBuilder, LogsOptionsBuilder, StartContainerOptions,
};
use testcontainers::core::IntoContainerPort;
use testcontainers::core::client::ClientError;
use testcontainers::runners::AsyncRunner;
use testcontainers::{CopyTargetOptions, GenericImage, ImageExt, TestcontainersError};
use tokio::sync::Mutex;

use super::engine::{Engine, words};
use super::labels;
use super::plan::Plan;
use super::sweep::remove_one;
use crate::outcome::{Event, Events, ServiceRecord, ServiceStatus};
use crate::stack::ports::Held;
use crate::stack::ready::{ConsecutiveCount, Readiness};
use crate::stack::{Service, StackError, public_address, random_word};

/// How long a container may take to become ready: Supabase's image runs its migrations first.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a service may take to end politely before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How often a port that the engine cannot have is replaced by another one.
const ATTEMPTS: u32 = 5;
/// Between two questions whether a service is ready, and whether its container still runs.
const PAUSE: Duration = Duration::from_millis(20);
/// How many of the last lines of its log an error shows.
const TAIL: &str = "20";

/// What all containers of a run share.
#[derive(Debug, Clone)]
pub(super) struct LaunchContext {
    pub(super) engine: Engine,
    pub(super) run: String,
    pub(super) labels: BTreeMap<String, String>,
    /// The most memory that each may use, in MiB.
    pub(super) memory_mb: u64,
}

/// A service and the container that it runs in.
#[derive(Debug)]
pub(in crate::stack) struct ContainerService {
    plan: Plan,
    id: String,
    context: LaunchContext,
    /// The networks from which it was cut off.
    cut_off: Mutex<Vec<String>>,
}

impl ContainerService {
    /// Starts what `plan` says for the given ports and waits until it is ready.
    pub(super) async fn start(
        context: &LaunchContext,
        events: &Events,
        begun: Instant,
        held: Vec<Held>,
        plan: impl Fn(&[u16]) -> Plan,
    ) -> Result<(Self, ServiceRecord), StackError> {
        Self::launch(context, events, held, plan).await?.ready(events, begun).await
    }

    /// Creates and starts what `plan` says for the given ports.
    pub(super) async fn launch(
        context: &LaunchContext,
        events: &Events,
        mut held: Vec<Held>,
        plan: impl Fn(&[u16]) -> Plan,
    ) -> Result<Self, StackError> {
        let wanted = held.iter().any(|held| held.wanted);
        let mut attempt = 1;
        loop {
            let ports: Vec<u16> = held.drain(..).map(Held::release).collect();
            let plan = plan(&ports);
            let name = plan.service.name();
            match launch(context, &plan).await {
                Ok(id) => return Ok(Self { plan, id, context: context.clone(), cut_off: Mutex::default() }),
                Err(Refused::Port(_)) if !wanted && attempt < ATTEMPTS => {
                    attempt += 1;
                    events.note(format!("{name}: the engine could not have a port; trying another"));
                    held = ports.iter().map(|_| Held::hold(name, None)).collect::<Result<_, _>>()?;
                }
                Err(Refused::Port(reason)) => {
                    return Err(StackError::NoPublishedPort { service: name, attempts: attempt, reason });
                }
                Err(Refused::Otherwise(error)) => return Err(error),
            }
        }
    }

    /// Waits until it is ready, and gives it back with what it says about itself.
    pub(super) async fn ready(self, events: &Events, begun: Instant) -> Result<(Self, ServiceRecord), StackError> {
        self.until_ready().await?;
        let after = begun.elapsed();
        let record = self.record(after).await;
        let (name, version) = (record.name.clone(), record.version.clone());
        events.say(Event::ServiceReady { service: name, version, after });
        Ok((self, record))
    }

    /// One that an earlier run left running; `None` when it is not, or does not answer.
    pub(super) async fn adopt(context: &LaunchContext, id: String, plan: Plan) -> Option<(Self, ServiceRecord)> {
        let begun = Instant::now();
        let service = Self { plan, id, context: context.clone(), cut_off: Mutex::default() };
        if service.state().await.ok()?.running != Some(true) {
            return None;
        }
        service.plan.readiness.ask().await.ok()?;
        let record = service.record(begun.elapsed()).await;
        Some((service, record))
    }

    /// How readiness is asked for; holds the service's URL.
    pub(super) fn readiness(&self) -> &Readiness {
        &self.plan.readiness
    }

    /// Its ports outside, in the order of those inside.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.plan.ports.iter().map(|(_, outside)| *outside).collect()
    }

    /// The container's id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    async fn record(&self, after: Duration) -> ServiceRecord {
        // It has just answered three times: should it not answer now, the record lacks its version.
        let facts = self.plan.readiness.facts().await.unwrap_or_default();
        let mut parameters = facts.parameters;
        parameters.insert("memory_limit_mb".to_owned(), self.context.memory_mb.to_string());
        ServiceRecord {
            name: self.plan.service.name().to_owned(),
            status: ServiceStatus::Ready,
            version: facts.version,
            endpoint: public_address(&self.plan.readiness),
            kind: self.plan.image.to_string(),
            ready_after_ms: Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            parameters,
        }
    }

    /// Ends it politely, starts it again over the same data and ports, waits until it is ready.
    pub(in crate::stack) async fn restart(&self) -> Result<(), StackError> {
        self.signal(self.plan.polite).await?;
        if !self.ended(GRACE).await? {
            self.kill().await?;
        }
        self.run().await
    }

    /// SIGKILL; returns when it is gone. Nothing happens when it does not run.
    pub(in crate::stack) async fn kill(&self) -> Result<(), StackError> {
        if self.state().await?.running != Some(true) {
            return Ok(());
        }
        self.signal("SIGKILL").await?;
        self.ended(GRACE).await.map(drop)
    }

    /// Starts it again after a kill; waits until it is ready. Nothing happens when it runs.
    pub(in crate::stack) async fn start_again(&self) -> Result<(), StackError> {
        if self.state().await?.running == Some(true) { Ok(()) } else { self.run().await }
    }

    /// Freezes it: connections stay open and nothing answers.
    pub(in crate::stack) async fn pause(&self) -> Result<(), StackError> {
        self.context.engine.docker.pause_container(&self.id).await.map_err(|error| self.refusal("pause it", &error))
    }

    /// Lets it go on; waits until it answers again.
    pub(in crate::stack) async fn resume(&self) -> Result<(), StackError> {
        let resumed = self.context.engine.docker.unpause_container(&self.id).await;
        resumed.map_err(|error| self.refusal("let it go on", &error))?;
        self.until_ready().await
    }

    /// Takes it off its networks: packets are lost, and nobody is told.
    pub(in crate::stack) async fn disconnect(&self) -> Result<(), StackError> {
        let mut cut_off = self.cut_off.lock().await;
        for network in self.networks().await? {
            let request = NetworkDisconnectRequest { container: self.id.clone(), force: Some(true) };
            let cut = self.context.engine.docker.disconnect_network(&network, request).await;
            cut.map_err(|error| self.refusal("take it off its network", &error))?;
            cut_off.push(network);
        }
        Ok(())
    }

    /// Puts it back on the networks from which it was taken; waits until it answers again.
    pub(in crate::stack) async fn reconnect(&self) -> Result<(), StackError> {
        let mut cut_off = self.cut_off.lock().await;
        while let Some(network) = cut_off.last() {
            let request = NetworkConnectRequest { container: self.id.clone(), endpoint_config: None };
            let connected = self.context.engine.docker.connect_network(network, request).await;
            connected.map_err(|error| self.refusal("put it back on its network", &error))?;
            cut_off.pop();
        }
        self.until_ready().await
    }

    /// The pid of its main process, where the engine's processes are this machine's.
    pub(in crate::stack) async fn pid(&self) -> Option<i32> {
        let pid = self.state().await.ok()?.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0)?;
        self.context.engine.host.starts_with("unix://").then_some(pid)
    }

    /// Removes it with its volumes; the error says what could not be removed.
    pub(super) async fn remove(&self) -> Result<(), String> {
        let removed = remove_one(&self.context.engine.docker, &self.id).await;
        removed.map_err(|reason| format!("container of {}: {reason}", self.plan.service))
    }

    async fn run(&self) -> Result<(), StackError> {
        let started = self.context.engine.docker.start_container(&self.id, None::<StartContainerOptions>).await;
        started.map_err(|error| self.refusal("start it again", &error))?;
        self.until_ready().await
    }

    async fn signal(&self, signal: &str) -> Result<(), StackError> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        match self.context.engine.docker.kill_container(&self.id, Some(options)).await {
            Ok(()) => Ok(()),
            // It ended by itself in the meantime.
            Err(DockerError::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
            Err(error) => Err(self.refusal("send it a signal", &error)),
        }
    }

    /// Waits until it has ended; tells whether it has.
    async fn ended(&self, patience: Duration) -> Result<bool, StackError> {
        let deadline = Instant::now() + patience;
        while self.state().await?.running == Some(true) {
            if Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(true)
    }

    /// Asks until the service has answered three times in a row; fails at once when its container ends.
    async fn until_ready(&self) -> Result<(), StackError> {
        let deadline = Instant::now() + PATIENCE;
        let mut consecutive = ConsecutiveCount::default();
        loop {
            let reason = match self.plan.readiness.ask().await {
                Ok(incarnation) if consecutive.answered(&incarnation) => return Ok(()),
                Ok(_) => continue,
                Err(reason) => reason,
            };
            consecutive.broken();
            let state = self.state().await?;
            if state.running != Some(true) {
                return Err(self.died(&state).await);
            }
            if Instant::now() > deadline {
                let service = self.plan.service.name();
                let (seconds, log) = (PATIENCE.as_secs(), self.log_tail().await);
                return Err(StackError::NotReady { service, seconds, reason, log });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn died(&self, state: &ContainerState) -> StackError {
        let code = state.exit_code.unwrap_or_default();
        let (how, hint) = if state.oom_killed == Some(true) {
            let how = format!("was killed for lack of memory (its container may use {} MiB)", self.context.memory_mb);
            (how, "; give it more with SHAKEDOWN_CONTAINER_MEMORY_MB")
        } else {
            (format!("exited with code {code}"), "; its image must behave like the pinned one")
        };
        StackError::Died {
            service: format!("{} ({})", self.plan.service, self.plan.image),
            how,
            hint,
            log: self.log_tail().await,
        }
    }

    async fn state(&self) -> Result<ContainerState, StackError> {
        let deadline = Instant::now() + GRACE;
        loop {
            match self.context.engine.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await {
                Ok(found) => return Ok(found.state.unwrap_or_default()),
                // While it cleans up after a container, Podman calls it `stopped`, a word that Docker does not have.
                Err(DockerError::JsonDataError { .. } | DockerError::JsonSerdeError { .. })
                    if Instant::now() < deadline =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(self.refusal("look at it", &error)),
            }
        }
    }

    async fn networks(&self) -> Result<Vec<String>, StackError> {
        let found = self.context.engine.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await;
        let found = found.map_err(|error| self.refusal("look at it", &error))?;
        let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        Ok(networks.into_keys().collect())
    }

    async fn log_tail(&self) -> String {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(TAIL).build();
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

    fn refusal(&self, what: &'static str, error: &DockerError) -> StackError {
        Engine::refusal(self.plan.service.name(), what, error)
    }
}

/// Why a container could not be started.
enum Refused {
    /// The engine could not publish a port.
    Port(String),
    /// Anything else.
    Otherwise(StackError),
}

/// Creates a container and starts it; gives its id. One that was made and did not start is removed again.
async fn launch(context: &LaunchContext, plan: &Plan) -> Result<String, Refused> {
    let service = plan.service.name();
    let name = format!("shakedown-{}-{service}-{}", context.run, random_word(6).to_lowercase());
    let (repository, tag) = plan.image.parts();
    let image = plan
        .ports
        .iter()
        .fold(GenericImage::new(repository, tag), |image, (inside, _)| image.with_exposed_port(inside.tcp()));
    let bindings: HashMap<String, Option<Vec<PortBinding>>> = plan
        .ports
        .iter()
        .map(|(inside, outside)| {
            let address = Some(context.engine.publish.to_owned());
            (
                format!("{inside}/tcp"),
                Some(vec![PortBinding { host_ip: address, host_port: Some(outside.to_string()) }]),
            )
        })
        .collect();
    let memory = i64::try_from(context.memory_mb * 1024 * 1024).unwrap_or(i64::MAX);
    let mut request = image
        .with_container_name(&name)
        .with_labels(&context.labels)
        .with_label(labels::SERVICE, service)
        .with_startup_timeout(PATIENCE)
        .with_cmd(plan.command.clone())
        .with_host_config_modifier(move |host: &mut HostConfig| {
            host.port_bindings = Some(bindings.clone());
            host.publish_all_ports = Some(false);
            host.memory = Some(memory);
            // No more with swap than without: a limit is a limit.
            host.memory_swap = Some(memory);
        });
    for (name, value) in &plan.environment {
        request = request.with_env_var(*name, value.expose_secret());
    }
    for (path, text) in &plan.files {
        request = request
            .with_copy_to(CopyTargetOptions::new(*path).with_mode(0o644), text.expose_secret().as_bytes().to_vec());
    }
    match request.start().await {
        Ok(container) => {
            let id = container.id().to_owned();
            // It would remove itself when dropped, whatever `--keep` says, and panic outside a runtime. The labels and
            // the ledger see to it.
            std::mem::forget(container);
            Ok(id)
        }
        Err(error) => {
            // It may have been made and not started. Should it stay, the ledger finds it by its labels.
            let _ = remove_one(&context.engine.docker, &name).await;
            Err(refused(plan.service, plan, error))
        }
    }
}

fn refused(service: Service, plan: &Plan, error: TestcontainersError) -> Refused {
    let otherwise = |what, error: &DockerError| Refused::Otherwise(Engine::refusal(service.name(), what, error));
    match error {
        TestcontainersError::Client(ClientError::StartContainer(error)) => {
            let said = words(&error);
            if is_about_ports(&said) { Refused::Port(said) } else { otherwise("start a container", &error) }
        }
        TestcontainersError::Client(ClientError::CreateContainer(error)) => otherwise("make a container", &error),
        TestcontainersError::Client(ClientError::PullImage { err, .. }) => {
            Refused::Otherwise(super::image_error(service, &plan.image, &words(&err)))
        }
        other => Refused::Otherwise(StackError::Engine {
            service: service.name(),
            what: "start a container",
            reason: other.to_string(),
        }),
    }
}

/// Whether an engine's words say that a port could not be had, in Docker's, containerd's and Podman's spelling.
fn is_about_ports(said: &str) -> bool {
    ["port is already allocated", "address already in use", "ports are not available", "all ports are allocated"]
        .iter()
        .any(|words| said.contains(words))
}
