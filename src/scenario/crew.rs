//! The worker of a voyage, the proxies between it and the services, and the faults that strike both at their time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::Url;

use super::voyage::ScenarioError;
use crate::faults::{Applied, Effect, NetworkFault, Proxy};
use crate::settings::Endpoints;
use crate::spec::{Breaks, Fault, Target, When, WorkerFault};
use crate::stack::Ledger;
use crate::worker::{Ended, Worker, WorkerCommand};

/// What a fault did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultRecord {
    /// What was broken, such as `cut of redis`.
    pub what: String,
    /// When it began and ended, since the step began; `None` when it never did.
    pub began: Option<Duration>,
    /// See [`FaultRecord::began`].
    pub ended: Option<Duration>,
    /// What it met, such as `3 connections, 120 bytes`.
    pub met: String,
    /// Whether it met anything: a fault that did not proves nothing.
    pub took_effect: bool,
}

/// How a worker is started.
pub(super) struct Berth {
    pub(super) command: WorkerCommand,
    pub(super) environment: Vec<(String, SecretString)>,
    pub(super) directory: PathBuf,
    pub(super) name: String,
    pub(super) ledger: Ledger,
}

enum State {
    Pending,
    Active { until: Option<Instant>, applied: Vec<(Target, Applied)> },
    Over,
}

struct Planned {
    fault: Fault,
    state: State,
    began: Option<Duration>,
    ended: Option<Duration>,
    effects: Vec<Arc<Effect>>,
    /// Whether a signal met a process that ran.
    met_process: bool,
}

/// The worker, its proxies and its faults.
pub(super) struct Crew {
    berth: Berth,
    worker: Option<Worker>,
    starts: usize,
    /// The output of workers that are gone.
    said: String,
    proxies: BTreeMap<Target, Vec<Proxy>>,
    planned: Vec<Planned>,
    begun: Instant,
}

/// Puts a proxy before every service that a fault is to strike; gives the endpoints for the worker.
pub(super) async fn proxies(
    faults: &[Fault],
    endpoints: &Endpoints,
) -> Result<(BTreeMap<Target, Vec<Proxy>>, Endpoints), ScenarioError> {
    let mut through = endpoints.clone();
    let mut proxies: BTreeMap<Target, Vec<Proxy>> = BTreeMap::new();
    for fault in faults {
        let Breaks::Network { on, .. } = &fault.breaks else { continue };
        for target in on {
            if proxies.contains_key(target) {
                continue;
            }
            let mut before = Vec::new();
            match target {
                Target::Redis => {
                    let url = detour(through.redis.url.expose_secret(), 6379, &mut before).await?;
                    through.redis.url = url.into();
                }
                Target::Postgres => {
                    let url = detour(through.postgres.url.expose_secret(), 5432, &mut before).await?;
                    through.postgres.url = url.into();
                }
                Target::Qdrant => {
                    through.qdrant.url = detour(&through.qdrant.url, 6333, &mut before).await?;
                    through.qdrant.grpc_url = detour(&through.qdrant.grpc_url, 6334, &mut before).await?;
                }
                Target::Jina => through.jina.base_url = detour(&through.jina.base_url, 80, &mut before).await?,
            }
            proxies.insert(*target, before);
        }
    }
    Ok((proxies, through))
}

/// `url`, by way of a new proxy.
async fn detour(url: &str, port: u16, before: &mut Vec<Proxy>) -> Result<String, ScenarioError> {
    // The URL may hold a password: it is in no message.
    let refuse = |what: &str| ScenarioError::Spec(format!("no proxy can stand before a service: {what}"));
    let mut there = Url::parse(url).map_err(|_| refuse("its URL cannot be read"))?;
    let host = there.host_str().ok_or_else(|| refuse("its URL names no host"))?;
    let upstream = format!("{host}:{}", there.port().unwrap_or(port));
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let proxy = Proxy::start(local, upstream, None).await.map_err(|error| refuse(&error.to_string()))?;
    let moved = there.set_host(Some("127.0.0.1")).is_ok() && there.set_port(Some(proxy.address().port())).is_ok();
    if !moved {
        return Err(refuse("its URL takes no other address"));
    }
    before.push(proxy);
    let text = there.to_string();
    // A base without a path is written without the slash that parsing adds.
    Ok(if url.ends_with('/') { text } else { text.trim_end_matches('/').to_owned() })
}

impl Crew {
    pub(super) fn sign_on(
        berth: Berth,
        faults: &[Fault],
        proxies: BTreeMap<Target, Vec<Proxy>>,
    ) -> Result<Self, ScenarioError> {
        let planned = faults.iter().map(|fault| Planned {
            fault: fault.clone(),
            state: State::Pending,
            began: None,
            ended: None,
            effects: Vec::new(),
            met_process: false,
        });
        let mut crew = Self {
            berth,
            worker: None,
            starts: 0,
            said: String::new(),
            proxies,
            planned: planned.collect(),
            begun: Instant::now(),
        };
        crew.start()?;
        Ok(crew)
    }

    fn start(&mut self) -> Result<(), ScenarioError> {
        self.starts += 1;
        let Berth { command, environment, directory, name, ledger } = &self.berth;
        let name = if self.starts == 1 { name.clone() } else { format!("{name}-{}", self.starts) };
        self.worker = Some(Worker::start(command, environment.clone(), directory, &name, ledger)?);
        Ok(())
    }

    /// From now on faults count their time.
    pub(super) fn set_sail(&mut self) {
        self.begun = Instant::now();
    }

    /// The worker that runs, unless a fault keeps it down.
    pub(super) fn worker(&self) -> Option<&Worker> {
        self.worker.as_ref()
    }

    /// How the worker ended, if it did so by itself.
    pub(super) fn died(&self) -> Option<String> {
        self.worker.as_ref().and_then(Worker::ended)
    }

    /// Whether no fault is in force. When all jobs have ended, what has not begun by then never will.
    pub(super) fn is_calm(&self) -> bool {
        !self.planned.iter().any(|planned| matches!(planned.state, State::Active { .. }))
    }

    /// Whether there is a connection that a cut would meet: between two requests there may be none.
    fn has_prey(&self, fault: &Fault) -> bool {
        match &fault.breaks {
            Breaks::Network { on, fault: NetworkFault::Cut, .. } if fault.lasts.is_none() => {
                on.iter().flat_map(|target| self.proxies.get(target).into_iter().flatten()).any(Proxy::has_prey)
            }
            _ => true,
        }
    }

    /// Begins and ends faults whose time has come; `share` of the jobs have ended.
    pub(super) async fn tick(&mut self, share: f64) -> Result<(), ScenarioError> {
        for place in 0..self.planned.len() {
            let now = Instant::now();
            let planned = &self.planned[place];
            match &planned.state {
                State::Pending => {
                    let due = match planned.fault.at {
                        When::Share(wanted) => share >= wanted,
                        When::After(time) => now - self.begun >= time,
                    };
                    // A cut strikes as soon as there is something to cut.
                    if due && self.has_prey(&planned.fault) {
                        self.begin(place).await?;
                    }
                }
                State::Active { until: Some(until), .. } if now >= *until => self.end(place)?,
                State::Active { .. } | State::Over => {}
            }
        }
        Ok(())
    }

    /// Ends every fault that is in force: there is no time for more.
    pub(super) fn calm(&mut self) -> Result<(), ScenarioError> {
        for place in 0..self.planned.len() {
            if matches!(self.planned[place].state, State::Active { .. }) {
                self.end(place)?;
            }
        }
        Ok(())
    }

    async fn begin(&mut self, place: usize) -> Result<(), ScenarioError> {
        let fault = self.planned[place].fault.clone();
        self.planned[place].began = Some(self.begun.elapsed());
        let until = fault.lasts.map(|lasts| Instant::now() + lasts.0);
        let mut applied = Vec::new();
        match &fault.breaks {
            Breaks::Network { on, fault: what, direction } => {
                let direction = direction.unwrap_or(what.usual_direction());
                let struck = on
                    .iter()
                    .flat_map(|target| self.proxies.get(target).into_iter().flatten().map(|proxy| (*target, proxy)));
                for (target, proxy) in struck {
                    if *what == NetworkFault::Cut && until.is_none() {
                        self.planned[place].effects.push(proxy.cut());
                    } else {
                        let struck = proxy.apply(*what, direction);
                        self.planned[place].effects.push(Arc::clone(&struck.effect));
                        applied.push((target, struck));
                    }
                }
                if applied.is_empty() {
                    self.planned[place].state = State::Over;
                    self.planned[place].ended = Some(self.begun.elapsed());
                    return Ok(());
                }
            }
            Breaks::Worker(what) => {
                self.planned[place].met_process = self.worker.as_ref().is_some_and(|worker| worker.ended().is_none());
                match what {
                    WorkerFault::Pause => self.worker.iter().for_each(Worker::pause),
                    WorkerFault::Kill => self.dismiss(),
                    WorkerFault::Terminate => {
                        if let Some(worker) = &self.worker {
                            worker.terminate().await;
                        }
                        self.dismiss();
                    }
                }
            }
        }
        self.planned[place].state = State::Active { until: until.or(Some(Instant::now())), applied };
        Ok(())
    }

    /// Ends the worker with SIGKILL, if it still runs, and keeps what it said.
    fn dismiss(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.said += &worker.output_after_kill();
        }
    }

    fn end(&mut self, place: usize) -> Result<(), ScenarioError> {
        let State::Active { applied, .. } = std::mem::replace(&mut self.planned[place].state, State::Over) else {
            return Ok(());
        };
        for (target, applied) in applied {
            // The handle knows its fault, whichever of the service's two proxies it is lifted from.
            lift(self.proxies.get(&target), applied);
        }
        if let Breaks::Worker(what) = &self.planned[place].fault.breaks {
            match what {
                WorkerFault::Pause => self.worker.iter().for_each(Worker::resume),
                WorkerFault::Kill | WorkerFault::Terminate => self.start()?,
            }
        }
        self.planned[place].ended = Some(self.begun.elapsed());
        Ok(())
    }

    /// What each fault did.
    pub(super) fn faults(&self) -> Vec<FaultRecord> {
        let record = |planned: &Planned| {
            let connections: u64 = planned.effects.iter().map(|effect| effect.connections()).sum();
            let bytes: u64 = planned.effects.iter().map(|effect| effect.bytes()).sum();
            let (met, took_effect) = match &planned.fault.breaks {
                Breaks::Network { .. } => (format!("{connections} connections, {bytes} bytes"), connections > 0),
                Breaks::Worker(_) if planned.met_process => ("a process that ran".to_owned(), true),
                Breaks::Worker(_) => ("no process that ran".to_owned(), false),
            };
            let (began, ended) = (planned.began, planned.ended);
            FaultRecord { what: planned.fault.to_string(), began, ended, met, took_effect }
        };
        self.planned.iter().map(record).collect()
    }

    /// When the last fault was over, since the step began.
    pub(super) fn calm_since(&self) -> Option<Duration> {
        self.planned.iter().filter_map(|planned| planned.ended).max()
    }

    /// Time since the step began.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Sends the worker home; says how it ended, unless it had to be killed.
    pub(super) async fn sign_off(&mut self) -> Option<Ended> {
        match &self.worker {
            Some(worker) => worker.terminate().await,
            None => None,
        }
    }

    /// All that every worker said.
    pub(super) fn said(&self) -> String {
        let last = self.worker.as_ref().map(Worker::output).unwrap_or_default();
        format!("{}{last}", self.said)
    }
}

/// Lifts a fault from the proxy that has it.
fn lift(proxies: Option<&Vec<Proxy>>, applied: Applied) {
    if let Some(proxy) = proxies.into_iter().flatten().find(|proxy| proxy.has(&applied)) {
        proxy.lift(applied);
    }
}
