//! A directory of its own for each test, and what the engine holds before and after it.

use std::collections::{BTreeSet, HashMap};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use shakedown::outcome::Events;
use shakedown::settings::docker_host;
use shakedown::stack::{ProcessId, ProviderKind, Stack, StackOptions};
use tempfile::TempDir;
use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptions, ListVolumesOptionsBuilder,
};

use super::Outcome;
use crate::support::harness::{SHAKEDOWN, runtime};

pub(super) struct Place(pub(super) TempDir);

impl Place {
    pub(super) fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(place.path().join("data")).unwrap();
        Self(place)
    }

    pub(super) fn options(&self, run: &str) -> StackOptions {
        let mut options = StackOptions::new(run, SHAKEDOWN);
        options.data_dir = Some(self.0.path().join("data"));
        options.state_dir = self.0.path().join("state/shakedown");
        options
    }

    pub(super) async fn stack(&self, run: &str) -> Stack {
        Stack::start(ProviderKind::Containers, self.options(run), &Events::silent()).await.unwrap()
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(SHAKEDOWN);
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("SHAKEDOWN_DATA_DIR", self.0.path().join("data"))
            .env("XDG_STATE_HOME", self.0.path().join("state"))
            .env_remove("SHAKEDOWN_STATE_DIR")
            .env_remove("GITHUB_STEP_SUMMARY")
            .env_remove("GITHUB_ACTIONS");
        command
    }

    /// `shakedown run` over few cases.
    pub(super) fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = self.command(&["run", "--suite", "redis", "--format", "short"]);
        command.args(arguments).envs(environment.iter().copied()).output().unwrap()
    }

    /// Fails unless `shakedown run --provider containers` ends with 3 and says all of `words`; nothing may be left.
    pub(super) fn refused(&self, arguments: &[&str], environment: &[(&str, &str)], words: &[&str]) -> Outcome {
        let output = self.run(&[&["--provider", "containers", "--quiet"], arguments].concat(), environment);
        // A terminal's width breaks lines anywhere.
        let printed: Vec<_> = String::from_utf8_lossy(&output.stderr).split_whitespace().map(str::to_owned).collect();
        let printed = printed.join(" ").replace(" │ ", " ");
        if output.status.code() != Some(3) {
            return Err(format!("{:?}: {printed}", output.status).into());
        }
        for word in words {
            if !printed.contains(word) {
                return Err(format!("`{word}` is not in: {printed}").into());
            }
        }
        for directory in ["data", "state/shakedown/runs"] {
            let left = std::fs::read_dir(self.0.path().join(directory)).map_or(0, Iterator::count);
            if left > 0 {
                return Err(format!("something is left in {directory}").into());
            }
        }
        Ok(())
    }
}

// --- what is there -----------------------------------------------------------------------------------

pub(super) fn docker() -> Docker {
    Docker::connect_with_host(&docker_host()).unwrap()
}

/// Whether a container belongs to another harness that is still running.
fn is_foreign(labels: Option<&HashMap<String, String>>) -> bool {
    let harness = labels.and_then(|labels| labels.get("shakedown.harness"));
    let harness: Option<serde_json::Value> = harness.and_then(|text| serde_json::from_str(text).ok());
    let process = harness.and_then(|harness| serde_json::from_value::<ProcessId>(harness["process"].clone()).ok());
    process.is_some_and(|process| process.pid != nix::unistd::getpid().as_raw() && process.is_alive())
}

/// Containers of ours or of a harness that is gone, networks, and volumes that no container uses.
pub(super) async fn everything() -> BTreeSet<String> {
    everything_but(is_foreign).await
}

async fn everything_but(foreign: fn(Option<&HashMap<String, String>>) -> bool) -> BTreeSet<String> {
    let docker = docker();
    let filters = HashMap::from([("label".to_owned(), vec!["shakedown.run".to_owned()])]);
    let list = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let containers = docker.list_containers(Some(list)).await.unwrap();
    let networks = docker.list_networks(None::<ListNetworksOptions>).await.unwrap();
    let unused = HashMap::from([("dangling".to_owned(), vec!["true".to_owned()])]);
    let list = ListVolumesOptionsBuilder::new().filters(&unused).build();
    let volumes = docker.list_volumes(Some(list)).await.unwrap();
    let containers = containers
        .into_iter()
        .filter(|found| !foreign(found.labels.as_ref()))
        .map(|found| format!("container {:?} {:?}", found.names, found.id));
    let networks = networks.into_iter().map(|found| format!("network {:?}", found.name));
    let volumes = volumes.volumes.unwrap_or_default().into_iter().map(|found| format!("volume {}", found.name));
    containers.chain(networks).chain(volumes).collect()
}

/// Fails when there is something that was not there before; the engine may take a moment to forget.
pub(super) fn nothing_new(before: &BTreeSet<String>) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let after = runtime().block_on(everything());
        let left: Vec<_> = after.difference(before).collect();
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("left behind: {left:?}").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Containers of every harness, also of one that was started by a test and runs.
pub(super) async fn ours() -> BTreeSet<String> {
    everything_but(|_| false).await.into_iter().filter(|line| line.starts_with("container")).collect()
}

pub(super) async fn redis(url: &str) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    redis::cmd("PING").query_async::<String>(&mut connection).await?;
    Ok(connection)
}
