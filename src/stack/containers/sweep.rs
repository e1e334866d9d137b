//! Removing containers by their labels: from a signal handler, a panic hook, `shakedown clean` and the next run.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::future::join_all;
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::models::ContainerSummary;
use testcontainers::bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};

use super::engine::{Engine, connect, words};
use super::labels::{self, State};

/// How long all of a removal may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A request to make a container that was under way when its run ended is through after this long.
const STRAGGLER: Duration = Duration::from_millis(300);

/// Removes every container that carries `mark`; blocks. Says what could not be removed, one line each.
pub(in crate::stack) fn remove_marked(host: &str, mark: &str) -> Vec<String> {
    let (engine, mark) = (host.to_owned(), mark.to_owned());
    let removed = blocking(async move {
        let docker = connect(&engine).map_err(|error| words(&error))?;
        let mut left = Vec::new();
        // Two looks: the engine may still be making one that was asked for before the run was cut short.
        for look in 0..2 {
            if look == 1 {
                tokio::time::sleep(STRAGGLER).await;
            }
            let found = list(&docker, &format!("{}={mark}", labels::MARK)).await.map_err(|error| words(&error))?;
            left = remove(&docker, &found).await;
        }
        Ok(left)
    });
    removed.unwrap_or_else(|reason| vec![format!("containers of the engine at {host}: {reason}")])
}

/// Containers of one run.
#[derive(Debug)]
pub(super) struct Labelled {
    /// The run's id.
    pub(super) run: String,
    /// Their names.
    pub(super) names: Vec<String>,
    /// What became of them.
    pub(super) fate: Fate,
}

/// What became of labelled containers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Removed, or would be; what could not be removed is listed.
    Removed(Vec<String>),
    /// Left alone, and why.
    LeftAlone(&'static str),
}

/// What to do about labelled containers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sweep {
    /// Only those at least this old.
    pub(super) older_than: Duration,
    /// Also those that were meant to stay.
    pub(super) kept_too: bool,
    /// Touch nothing.
    pub(super) dry: bool,
}

/// Removes the containers of runs whose harness is dead.
pub(super) async fn sweep(engine: &Engine, sweep: Sweep) -> Result<Vec<Labelled>, String> {
    let found = list(&engine.docker, labels::RUN).await.map_err(|error| words(&error))?;
    let mut runs: BTreeMap<String, Vec<ContainerSummary>> = BTreeMap::new();
    for container in found {
        let run = container.labels.as_ref().and_then(|labels| labels.get(labels::RUN)).cloned().unwrap_or_default();
        runs.entry(run).or_default().push(container);
    }
    let mut labelled = Vec::new();
    for (run, containers) in runs {
        let state = containers.iter().filter_map(|container| container.labels.as_ref()).map(labels::state).next();
        let fate = match state {
            Some(State::Dead(age)) if age >= sweep.older_than => None,
            Some(State::Retention) if sweep.kept_too => None,
            Some(State::Dead(_)) => Some("its harness is dead, but not for long"),
            Some(State::Alive) => Some("still going on"),
            Some(State::Retention) => Some("kept on purpose; `shakedown clean --kept` removes it"),
            Some(State::Elsewhere) | None => Some("started on another machine or in another container"),
        };
        let names = containers.iter().map(name).collect();
        let fate = match fate {
            Some(reason) => Fate::LeftAlone(reason),
            None if sweep.dry => Fate::Removed(Vec::new()),
            None => Fate::Removed(remove(&engine.docker, &containers).await),
        };
        labelled.push(Labelled { run, names, fate });
    }
    Ok(labelled)
}

/// The containers, running or not, that carry `label`.
async fn list(docker: &Docker, label: &str) -> Result<Vec<ContainerSummary>, DockerError> {
    let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
    docker.list_containers(Some(ListContainersOptionsBuilder::new().all(true).filters(&filters).build())).await
}

fn name(container: &ContainerSummary) -> String {
    let name = container.names.iter().flatten().next().map(|name| name.trim_start_matches('/').to_owned());
    name.or_else(|| container.id.clone()).unwrap_or_default()
}

async fn remove(docker: &Docker, containers: &[ContainerSummary]) -> Vec<String> {
    let removals = containers.iter().map(|container| async move {
        let id = container.id.as_deref()?;
        remove_one(docker, id).await.err().map(|reason| format!("container {}: {reason}", name(container)))
    });
    join_all(removals).await.into_iter().flatten().collect()
}

/// Removes a container with its volumes, running or not; one that is gone, or going, is no error.
pub(super) async fn remove_one(docker: &Docker, id: &str) -> Result<(), String> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(id, Some(options)).await {
        Ok(()) => Ok(()),
        Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        Err(DockerError::DockerResponseServerError { status_code: 409, message })
            if message.contains("already in progress") =>
        {
            Ok(())
        }
        Err(error) => Err(words(&error)),
    }
}

/// Runs `work` to its end on a thread of its own: callers are signal handlers, panic hooks and `Drop`.
fn blocking<T: Send + 'static>(work: impl Future<Output = Result<T, String>> + Send + 'static) -> Result<T, String> {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(async {
            tokio::time::timeout(PATIENCE, work)
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
        })
    });
    thread.join().unwrap_or_else(|_| Err("the removal panicked".to_owned()))
}
