//! Sets up a scenario run: documents, embeddings mock, tables and queues, connections, proxies, worker environment.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::clients::ServiceClients;
use super::deadline::Deadline;
use super::document_ids::DocumentIds;
use super::documents::{self, Document};
use super::harness::{Harness, ScenarioError};
use super::jobs::JobBuilder;
use super::other_queues::OtherQueues;
use super::pressure::PressureMeter;
use super::scheduler::{LaunchConfig, Proxies};
use crate::redaction;
use crate::services::http::Http;
use crate::services::postgres::Postgres;
use crate::services::queue::QueueClient;
use crate::settings::{Contract, Creates, Endpoints, SupabaseEndpoint};
use crate::spec::Scenario;
use crate::stack::jina::{JinaConfig, JinaMock};
use crate::stack::postgrest::{Postgrest, Program};
use crate::stack::{kill_with_harness, quote_identifier};
use crate::worker::{RunningHook, WorkerEnv, WorkerError, free_port};

/// Deadline of `shakedown setup`.
const SETUP_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval of polling while the `prepare` hook runs.
const PREPARE_POLL: Duration = Duration::from_millis(10);

/// What a scenario run has before its first worker starts.
pub(super) struct Setup {
    pub(super) documents: Vec<Document>,
    pub(super) builder: JobBuilder,
    pub(super) clients: Arc<ServiceClients>,
    pub(super) proxies: Proxies,
    pub(super) launch: LaunchConfig,
    /// Secrets that the worker must not print, by variable.
    pub(super) secrets: Vec<(String, SecretString)>,
    /// The API of Supabase, as long as the worker may use it.
    pub(super) supabase: Option<Postgrest>,
}

impl Setup {
    pub(super) async fn prepare(name: &str, scenario: &Scenario, harness: &Harness) -> Result<Self, ScenarioError> {
        let documents = documents::create(&scenario.documents, harness.seed).map_err(ScenarioError::Spec)?;
        let contract = &harness.contract;
        // Migrations create their table without looking whether it is there.
        let prepares = contract.worker.prepare.is_some() && !contract.worker.creates.contains(&Creates::Table);
        let first: &[Creates] = if prepares { &[Creates::Table] } else { &[] };
        let mut clients = connect(scenario, harness, first).await?;
        clients.ids = DocumentIds::new(contract.queue.document.id, &documents);
        let clients = Arc::new(clients);
        let (proxies, proxied_endpoints) = Proxies::for_scenario(scenario, &clients.endpoints).await?;
        let secrets = worker_secrets(&proxied_endpoints);
        proxied_endpoints.learn();
        // What the contract takes from the environment is not shown, whatever its name.
        redaction::learn(harness.variables.iter().map(|(name, value)| (name.as_str(), value)));
        let mut supabase = start_postgrest(&proxied_endpoints, harness).await?;
        let worker_env = WorkerEnv {
            endpoints: proxied_endpoints,
            supabase: supabase.as_ref().map(|started| started.endpoint().clone()),
            scenario: scenario.env.clone(),
            variables: harness.variables.clone(),
            sidecar_port: if harness.contract.worker.sidecars.is_empty() { None } else { Some(free_port()?) },
        };
        run_prepare_hook(name, &worker_env, harness).await?;
        if prepares && !has_table(&clients).await? {
            set_up(&clients.endpoints, contract, &harness.shakedown).await?;
        }
        if let Some(supabase) = supabase.as_mut().filter(|_| prepares) {
            supabase.reload().await?;
        }
        let launch = LaunchConfig {
            contract: Arc::clone(contract),
            worker_env,
            grace: contract.worker.shutdown_grace.with_variables(&scenario.env),
            directory: harness.directory.clone(),
            name: format!("worker-{name}"),
            ledger: harness.ledger.clone(),
        };
        let builder = JobBuilder::new(contract, &harness.directory, name, scenario.producer_clock_s).await?;
        Ok(Self { documents, builder, clients, proxies, launch, secrets, supabase })
    }
}

/// Starts PostgREST, or its stand-in, if the contract names Supabase's API. It uses the connections that faults of
/// Postgres affect.
async fn start_postgrest(endpoints: &Endpoints, harness: &Harness) -> Result<Option<Postgrest>, ScenarioError> {
    if !harness.contract.worker.names_supabase() {
        return Ok(None);
    }
    let schemas = [endpoints.names.schema().to_owned()];
    let started = match Program::installed() {
        Some(program) => {
            Postgrest::start(program, &endpoints.postgres, &schemas, (&harness.directory, &harness.ledger)).await?
        }
        None => Postgrest::start_stand_in(&endpoints.postgres, &schemas)?,
    };
    let SupabaseEndpoint { anon_key, service_key, .. } = started.endpoint();
    redaction::learn([("SUPABASE_ANON_KEY", anon_key), ("SUPABASE_SERVICE_ROLE_KEY", service_key)]);
    Ok(Some(started))
}

/// Shorter passwords are not looked for in the output: they would match unrelated text.
const MIN_SECRET: usize = 8;

/// Secrets that a worker must not print, with the name of their variable: whole URLs, and the passwords in them.
fn worker_secrets(endpoints: &Endpoints) -> Vec<(String, SecretString)> {
    let variables = endpoints.environment().into_iter().filter(|variable| variable.secret);
    let values = variables.map(|variable| (variable.name.to_owned(), variable.value));
    let passwords =
        [("the password in REDIS_URL", "redis.password"), ("the password in DATABASE_URL", "postgres.password")]
            .into_iter()
            .filter_map(|(name, place)| Some((name.to_owned(), endpoints.place(place)?)))
            .filter(|(_, password)| password.len() >= MIN_SECRET)
            .map(|(name, password)| (name, password.into()));
    values.chain(passwords).collect()
}

/// Whether the table of documents exists.
async fn has_table(clients: &ServiceClients) -> Result<bool, ScenarioError> {
    let name = clients.endpoints.names.table.split('.').map(quote_identifier).collect::<Vec<_>>().join(".");
    let query = format!("select to_regclass('{}') is not null as is_there", name.replace('\'', "''"));
    let rows = clients.postgres.rows(&query).await?;
    Ok(rows.first().is_some_and(|row| row["is_there"] == true))
}

/// Starts the embeddings mock, runs `shakedown setup` except for what is `later`, and connects to the services.
async fn connect(scenario: &Scenario, harness: &Harness, later: &[Creates]) -> Result<ServiceClients, ScenarioError> {
    let mut endpoints = harness.endpoints.clone();
    let mock = JinaMock::start(JinaConfig {
        model: endpoints.jina.model.clone(),
        dimensions: endpoints.jina.dimensions,
        seed: harness.seed,
        behaviours: scenario.jina_at_start.clone(),
        ..JinaConfig::default()
    })
    .await?;
    endpoints.jina = mock.endpoint();
    set_up_without(later, &endpoints, &harness.contract, &harness.shakedown).await?;
    let names = &endpoints.names;
    let others = OtherQueues::open(&harness.contract, &endpoints).await?;
    let grace = harness.contract.worker.shutdown_grace.with_variables(&scenario.env);
    Ok(ServiceClients {
        queue: QueueClient::open(&endpoints.redis, &names.queue, &names.prefix).await?,
        postgres: Postgres::connect_alone(&endpoints.postgres).await?,
        qdrant: Http::qdrant(&endpoints.qdrant)?,
        endpoints,
        mock,
        contract: Arc::clone(&harness.contract),
        behaviours: scenario.jina.iter().map(|behaviour| behaviour.for_grace(grace)).collect(),
        stack: harness.stack.clone(),
        others,
        ids: DocumentIds::default(),
        queue_events: Mutex::default(),
    })
}

/// Creates queue, table and collection with `shakedown setup`, except those that the worker creates itself.
///
/// # Errors
/// The command cannot be started, takes too long, or fails.
pub async fn set_up(endpoints: &Endpoints, contract: &Contract, shakedown: &Path) -> Result<(), ScenarioError> {
    set_up_without(&[], endpoints, contract, shakedown).await
}

/// Like [`set_up`], without what is created `later`.
async fn set_up_without(
    later: &[Creates],
    endpoints: &Endpoints,
    contract: &Contract,
    shakedown: &Path,
) -> Result<(), ScenarioError> {
    let mut command = tokio::process::Command::new(shakedown);
    command.args(["setup", "--worker", "--format", "json"]).stdin(Stdio::null()).kill_on_drop(true);
    kill_with_harness(&mut command);
    for resource in contract.worker.creates.iter().chain(later) {
        command.args(["--without", resource.word()]);
    }
    if let Some(vector) = &contract.evidence.qdrant.vector {
        command.args(["--vector", vector]);
    }
    for variable in endpoints.environment() {
        command.env(variable.name, variable.value.expose_secret());
    }
    let failed = |how: String, output: String| ScenarioError::Setup { how, output };
    let output = tokio::time::timeout(SETUP_TIMEOUT, command.output())
        .await
        // A worker cannot slow it down, only a busy machine can.
        .map_err(|_| ScenarioError::Spec(format!("`shakedown setup` took longer than {} s", SETUP_TIMEOUT.as_secs())))?
        .map_err(|error| failed("it could not be started".to_owned(), error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(failed(crate::stack::in_words(output.status), text))
}

/// Runs the `prepare` hook of the contract. On a machine that is too busy it has more time, and if that is not enough the
/// worker is not to blame.
async fn run_prepare_hook(name: &str, worker_env: &WorkerEnv, harness: &Harness) -> Result<(), ScenarioError> {
    let Some(hook) = &harness.contract.worker.prepare else { return Ok(()) };
    let environment = worker_env.environment(&harness.contract, 0).map_err(|place| WorkerError::NoValue { place })?;
    let name = format!("prepare-{name}");
    let running = RunningHook::start("prepare", hook, environment, &harness.directory, &name, &harness.ledger)?;
    let mut meter = PressureMeter::start();
    let deadline = Deadline { began: meter.pressure(), limit: hook.within };
    loop {
        if let Some(result) = running.result() {
            return Ok(result?);
        }
        meter.measure(|| running.processes());
        let pressure = meter.pressure();
        if deadline.is_over(&pressure, Duration::ZERO) {
            let is_short = deadline.is_short(&pressure) || pressure.is_starved();
            return Err(if is_short {
                ScenarioError::PrepareTooBusy(pressure.to_string())
            } else {
                running.too_late().into()
            });
        }
        tokio::time::sleep(PREPARE_POLL).await;
    }
}
