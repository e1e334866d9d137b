//! Creating a container through `testcontainers` and its modules.
//!
//! Each service starts from its module (`Redis`, `Postgres`) or, where there is none, from `GenericImage` (Qdrant).
//! These defaults of the modules are replaced:
//! - **Image and tag** (`redis:5.0`, `postgres:11-alpine`): the pinned or configured image, exactly as it was written.
//! - **Ready conditions** (lines in the log): none. Readiness is probed with the protocol of the service, three times
//!   in a row, because an image may start its server several times and because logs differ between images.
//! - **Command**: Redis gets the configuration file that sets its password. For Postgres the module replaces the
//!   command of the image by `-c fsync=off`, which would drop the configuration of Supabase's image; here the command
//!   of the image stays and options are appended.
//! - **Credentials**: the module's password is `postgres`; each run has a random one. The module also sets
//!   `POSTGRES_USER` and `POSTGRES_DB`; the values of the image are kept, because Supabase's image needs its own.
//! - **Ports**: the published port is chosen by us and bound to one address instead of to all of them.
//! - **Removal**: the handle of `testcontainers` is forgotten; see [`create_and_start`].

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use secrecy::ExposeSecret;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::models::{HostConfig, PortBinding};
use testcontainers::core::IntoContainerPort;
use testcontainers::core::client::ClientError;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, CopyTargetOptions, GenericImage, Image, ImageExt, TestcontainersError};
use testcontainers_modules::postgres::Postgres;
use testcontainers_modules::redis::Redis;

use super::engine::{Engine, error_text};
use super::image_set::image_error;
use super::labels::{self, Retention};
use super::plan::{Module, Plan};
use super::sweep::remove_container;
use crate::stack::error::StackError;
use crate::stack::random::random_word;

/// How long a container may take to become ready. Supabase's image runs its migrations first.
pub(super) const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// What all containers of a run share.
#[derive(Debug, Clone)]
pub(super) struct LaunchContext {
    pub(super) engine: Engine,
    pub(super) run: String,
    pub(super) retention: Retention,
    pub(super) labels: BTreeMap<String, String>,
    /// The memory limit of each container in MiB.
    pub(super) memory_mb: u64,
}

impl LaunchContext {
    /// The context of `run`, whose ledger has `mark`.
    pub(super) fn new(engine: &Engine, run: &str, mark: &str, retention: Retention, memory_mb: u64) -> Self {
        let labels = labels::run_labels(run, mark, retention);
        Self { engine: engine.clone(), run: run.to_owned(), retention, labels, memory_mb }
    }
}

/// Why a container could not be started.
pub(super) enum LaunchError {
    /// The engine could not publish a port.
    Port(String),
    /// Anything else.
    Other(StackError),
}

/// Creates and starts the container of `plan`; returns its id. A container that was created but did not start is
/// removed again.
pub(super) async fn launch(context: &LaunchContext, plan: &Plan) -> Result<String, LaunchError> {
    match &plan.module {
        Module::Redis => create_and_start(context, plan, Redis::default()).await,
        Module::Postgres { user, database, password } => {
            let image =
                Postgres::default().with_user(user).with_db_name(database).with_password(password.expose_secret());
            create_and_start(context, plan, image).await
        }
        Module::Qdrant => {
            let (repository, tag) = plan.image.parts();
            create_and_start(context, plan, GenericImage::new(repository, tag)).await
        }
    }
}

async fn create_and_start<I: Image>(context: &LaunchContext, plan: &Plan, image: I) -> Result<String, LaunchError> {
    let service = plan.service().name();
    let name = format!("shakedown-{}-{service}-{}", context.run, random_word(6).to_lowercase());
    match request(context, plan, &name, image).start().await {
        Ok(container) => {
            let id = container.id().to_owned();
            // Its drop would remove the container despite `--keep`, and panic outside a runtime. The ledger and the
            // labels are what clean-up relies on.
            std::mem::forget(container);
            Ok(id)
        }
        Err(error) => {
            // The container may exist without having started. If this removal fails, the ledger finds it by its labels.
            let _ = remove_container(&context.engine.docker, &name).await;
            Err(launch_error(plan, error))
        }
    }
}

/// The request for `plan`, starting from `image`.
fn request<I: Image>(context: &LaunchContext, plan: &Plan, name: &str, image: I) -> ContainerRequest<I> {
    let (repository, tag) = plan.image.parts();
    let publish = context.engine.publish;
    let bindings: HashMap<String, Option<Vec<PortBinding>>> = plan
        .ports
        .iter()
        .map(|(inside, outside)| {
            let binding = PortBinding { host_ip: Some(publish.to_owned()), host_port: Some(outside.to_string()) };
            (format!("{inside}/tcp"), Some(vec![binding]))
        })
        .collect();
    let memory = i64::try_from(context.memory_mb * 1024 * 1024).unwrap_or(i64::MAX);
    let mut request = image
        .with_name(repository)
        .with_tag(tag)
        .with_ready_conditions(Vec::new())
        .with_cmd(plan.command.clone())
        .with_container_name(name)
        .with_labels(&context.labels)
        .with_label(labels::SERVICE, plan.service().name())
        .with_startup_timeout(READY_TIMEOUT)
        .with_host_config_modifier(move |host: &mut HostConfig| {
            host.port_bindings = Some(bindings.clone());
            host.publish_all_ports = Some(false);
            host.memory = Some(memory);
            // The same limit with swap: the container cannot swap to get around it.
            host.memory_swap = Some(memory);
        });
    for (inside, outside) in &plan.ports {
        // This exposes the port; the modifier above adds the address.
        request = request.with_mapped_port(*outside, inside.tcp());
    }
    for (name, value) in &plan.environment {
        request = request.with_env_var(*name, value.expose_secret());
    }
    for (path, text) in &plan.files {
        request = request
            .with_copy_to(CopyTargetOptions::new(*path).with_mode(0o644), text.expose_secret().as_bytes().to_vec());
    }
    request
}

fn launch_error(plan: &Plan, error: TestcontainersError) -> LaunchError {
    let other = |action, error: &DockerError| LaunchError::Other(plan.engine_error(action, error_text(error)));
    match error {
        TestcontainersError::Client(ClientError::StartContainer(error)) => {
            let message = error_text(&error);
            if is_port_conflict(&message) { LaunchError::Port(message) } else { other("start a container", &error) }
        }
        TestcontainersError::Client(ClientError::CreateContainer(error)) => other("create a container", &error),
        TestcontainersError::Client(ClientError::PullImage { err, .. }) => {
            LaunchError::Other(image_error(plan.service(), &plan.image, &error_text(&err)))
        }
        error => LaunchError::Other(plan.engine_error("start a container", error.to_string())),
    }
}

/// Whether an error of the engine is about a port that it could not publish, as Docker, containerd and Podman spell it.
fn is_port_conflict(message: &str) -> bool {
    ["port is already allocated", "address already in use", "ports are not available", "all ports are allocated"]
        .iter()
        .any(|text| message.contains(text))
}

#[cfg(test)]
mod tests {
    use testcontainers::bollard::Docker;

    use super::*;
    use crate::stack::containers::image_set::PostgresImage;
    use crate::stack::containers::images::ImageRef;
    use crate::stack::containers::plan;

    fn context() -> LaunchContext {
        let docker = Docker::connect_with_host("tcp://127.0.0.1:1").unwrap();
        let engine = Engine {
            docker,
            host: "tcp://127.0.0.1:1".to_owned(),
            publish: "127.0.0.1",
            reach: "127.0.0.1".to_owned(),
        };
        LaunchContext::new(&engine, "run", "mark", Retention::Remove, 64)
    }

    fn environment<I: Image>(request: &ContainerRequest<I>) -> BTreeMap<String, String> {
        request.env_vars().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    #[test]
    fn the_redis_module_gets_our_image_command_and_no_log_condition() {
        let context = context();
        let image = ImageRef::new(Some("host:5000/redis:8@sha256:ab"), "");
        let plan = plan::redis(&context.engine, image, &"secret".into(), 7000);
        let request = request(&context, &plan, "name", Redis::default());
        assert_eq!(request.descriptor(), "host:5000/redis:8@sha256:ab");
        assert_eq!(request.cmd().collect::<Vec<_>>(), ["redis-server", "/etc/shakedown-redis.conf"]);
        assert!(request.ready_conditions().is_empty());
        assert_eq!(request.labels()[labels::SERVICE], "redis");
    }

    #[test]
    fn the_postgres_module_keeps_the_command_user_and_database_of_the_image() {
        let context = context();
        let image = PostgresImage {
            reference: ImageRef::new(Some("supabase/postgres:17"), ""),
            command: vec!["postgres".to_owned(), "-D".to_owned(), "/etc/postgresql".to_owned()],
            user: "supabase_admin".to_owned(),
            database: "postgres".to_owned(),
        };
        let plan = plan::postgres(&context.engine, &image, &"secret".into(), 50, 7001);
        let Module::Postgres { user, database, password } = &plan.module else { panic!("not the Postgres module") };
        let module = Postgres::default().with_user(user).with_db_name(database).with_password(password.expose_secret());
        let request = request(&context, &plan, "name", module);
        assert_eq!(request.descriptor(), "supabase/postgres:17");
        let command: Vec<_> = request.cmd().collect();
        assert_eq!(command[..3], ["postgres", "-D", "/etc/postgresql"]);
        assert!(command.contains(&"max_connections=50".into()) && command.contains(&"fsync=off".into()), "{command:?}");
        let environment = environment(&request);
        assert_eq!(environment["POSTGRES_USER"], "supabase_admin");
        assert_eq!(environment["POSTGRES_DB"], "postgres");
        assert_eq!(environment["POSTGRES_PASSWORD"], "secret");
        assert!(request.ready_conditions().is_empty());
        assert!(!format!("{plan:?}").contains("secret\""), "a secret is in the debug text");
    }
}
