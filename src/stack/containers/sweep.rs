//! Removing containers by their labels: for the signal handler, the panic hook, `shakedown clean` and the next run.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::future::join_all;
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::models::ContainerSummary;
use testcontainers::bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};

use super::engine::{Engine, client, error_text};
use super::labels::{self, HarnessState};

/// The timeout of a whole removal.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A creation that was in progress when its run ended is complete after this time.
const STRAGGLER_DELAY: Duration = Duration::from_millis(300);

/// Removes every container that carries `mark`. Blocks. Returns what could not be removed, one line each.
pub(in crate::stack) fn remove_marked(host: &str, mark: &str) -> Vec<String> {
    let (engine, mark) = (host.to_owned(), mark.to_owned());
    let removed = blocking(async move {
        let docker = client(&engine).map_err(|error| error_text(&error))?;
        let mut left = Vec::new();
        // Two passes: the engine may still be creating a container that the interrupted run requested.
        for pass in 0..2 {
            if pass == 1 {
                tokio::time::sleep(STRAGGLER_DELAY).await;
            }
            let found = list(&docker, &format!("{}={mark}", labels::MARK)).await.map_err(|error| error_text(&error))?;
            left = remove(&docker, &found).await;
        }
        Ok(left)
    });
    removed.unwrap_or_else(|reason| vec![format!("containers of the engine at {host}: {reason}")])
}

/// The containers of one run, and what the sweep did with them.
#[derive(Debug)]
pub(super) struct SweptRun {
    /// The id of the run.
    pub(super) run: String,
    /// The names of its containers.
    pub(super) names: Vec<String>,
    /// What was done.
    pub(super) outcome: SweepOutcome,
}

/// What a sweep did with the containers of a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SweepOutcome {
    /// Removed, or would be in a dry run. Lists what could not be removed.
    Removed(Vec<String>),
    /// Not touched, with the reason.
    Skipped(&'static str),
}

/// Which containers a sweep removes.
#[derive(Debug, Clone, Copy)]
pub(super) struct SweepFilter {
    /// Only containers of at least this age.
    pub(super) older_than: Duration,
    /// Also containers that were kept on purpose.
    pub(super) include_kept: bool,
    /// Remove nothing.
    pub(super) dry_run: bool,
}

/// Removes the containers of runs whose harness is dead.
pub(super) async fn sweep(engine: &Engine, filter: SweepFilter) -> Result<Vec<SweptRun>, String> {
    let found = list(&engine.docker, labels::RUN).await.map_err(|error| error_text(&error))?;
    let mut runs: BTreeMap<String, Vec<ContainerSummary>> = BTreeMap::new();
    for container in found {
        let run = container.labels.as_ref().and_then(|labels| labels.get(labels::RUN)).cloned().unwrap_or_default();
        runs.entry(run).or_default().push(container);
    }
    let mut swept = Vec::new();
    for (run, containers) in runs {
        let labels = containers.iter().find_map(|container| container.labels.as_ref());
        let skip = match labels.map(labels::harness_state) {
            Some(HarnessState::Dead(age)) if age >= filter.older_than => None,
            Some(HarnessState::Retained) if filter.include_kept => None,
            Some(HarnessState::Dead(_)) => Some("its harness died only recently"),
            Some(HarnessState::Alive) => Some("its harness is still running"),
            Some(HarnessState::Retained) => Some("kept on purpose; `shakedown clean --kept` removes it"),
            Some(HarnessState::Elsewhere) | None => Some("started on another machine or in another container"),
        };
        let names = containers.iter().map(name).collect();
        let outcome = match skip {
            Some(reason) => SweepOutcome::Skipped(reason),
            None if filter.dry_run => SweepOutcome::Removed(Vec::new()),
            None => SweepOutcome::Removed(remove(&engine.docker, &containers).await),
        };
        swept.push(SweptRun { run, names, outcome });
    }
    Ok(swept)
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
        remove_container(docker, id).await.err().map(|reason| format!("container {}: {reason}", name(container)))
    });
    join_all(removals).await.into_iter().flatten().collect()
}

/// Removes a container with its volumes, running or not. A container that is gone or being removed is not an error.
pub(super) async fn remove_container(docker: &Docker, id: &str) -> Result<(), String> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(id, Some(options)).await {
        Ok(()) => Ok(()),
        Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        Err(DockerError::DockerResponseServerError { status_code: 409, message })
            if message.contains("already in progress") =>
        {
            Ok(())
        }
        Err(error) => Err(error_text(&error)),
    }
}

/// Runs `work` to completion on its own thread: callers are signal handlers, panic hooks and `Drop`.
fn blocking<T: Send + 'static>(work: impl Future<Output = Result<T, String>> + Send + 'static) -> Result<T, String> {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(async {
            tokio::time::timeout(TIMEOUT, work)
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())))
        })
    });
    thread.join().unwrap_or_else(|_| Err("the removal panicked".to_owned()))
}
