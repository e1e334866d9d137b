//! The containers provider: Redis, Postgres and Qdrant in containers of their own, started all at once.
//!
//! `testcontainers` makes and starts them; the engine is asked directly for everything after that. They carry
//! [`labels`] by which they are found again, however the run ended.

mod engine;
mod images;
mod labels;
mod plan;
mod service;
mod sweep;
mod warm;

use std::time::{Duration, Instant};

use secrecy::SecretString;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::core::client::ClientError;
use testcontainers::runners::AsyncRunner;
use testcontainers::{GenericImage, TestcontainersError};

use super::addresses::Addresses;
use super::ledger::{Entry, Ledger, Resource};
use super::ports::Held;
use super::ready::Readiness;
use super::{Service, StackError, StackOptions, random_word, shape};
use crate::outcome::{Event, Events, ServiceRecord};
pub(super) use engine::Engine;
use images::ImageRef;
pub use images::{Images, POSTGRES_IMAGE, QDRANT_IMAGE, REDIS_IMAGE};
use labels::Retention;
pub use labels::container_labels;
pub(super) use service::ContainerService;
use service::LaunchContext;
pub(super) use sweep::remove_marked;
use sweep::{Fate, Labelled, Sweep, sweep};

/// Runs that ended so long ago are cleaned up after by the next one.
const OLD: Duration = Duration::from_secs(3600);

/// Three services as containers.
#[derive(Debug)]
pub(super) struct Containers {
    redis: ContainerService,
    postgres: ContainerService,
    qdrant: ContainerService,
    run: String,
    stays: Retention,
    /// What the ledger knows them by, until they are removed.
    entry: Option<(Ledger, Entry)>,
}

/// The images of the three, once each is there.
struct ImageSet {
    redis: ImageRef,
    postgres: ImageRef,
    qdrant: ImageRef,
    /// What Postgres' image runs; options are added to it.
    postgres_command: Vec<String>,
}

/// The secrets of the three.
struct Secrets {
    redis: SecretString,
    postgres: SecretString,
    qdrant: SecretString,
}

impl Containers {
    /// Starts all three at once and waits until each is ready; or takes over those that an earlier run left warm.
    pub(super) async fn start(
        engine: Engine,
        options: &StackOptions,
        ledger: &Ledger,
        events: &Events,
    ) -> Result<(Self, Addresses, Vec<ServiceRecord>), StackError> {
        sweep_old(&engine, events).await;
        let images = ImageSet::resolve_images(&engine, options, events).await?;
        if options.reuse {
            return Box::pin(warm::start(&engine, options, &images, ledger, events)).await;
        }
        let stays = if options.keep { Retention::Kept } else { Retention::No };
        let entry = ledger.add(Resource::Containers { engine: engine.host.clone(), keep: options.keep })?;
        let secrets = Secrets::new();
        let launch = Self::launch(&engine, options, &images, &secrets, ledger.mark(), stays, events);
        match Box::pin(launch).await {
            Ok((mut containers, addresses, records)) => {
                containers.entry = Some((ledger.clone(), entry));
                Ok((containers, addresses, records))
            }
            Err(error) => {
                give_up(&engine, ledger, entry).await;
                Err(error)
            }
        }
    }

    /// Starts all three, with the given secrets and lifetime.
    async fn launch(
        engine: &Engine,
        options: &StackOptions,
        images: &ImageSet,
        secrets: &Secrets,
        mark: &str,
        stays: Retention,
        events: &Events,
    ) -> Result<(Self, Addresses, Vec<ServiceRecord>), StackError> {
        let context = LaunchContext {
            engine: engine.clone(),
            run: options.run.clone(),
            labels: labels::of(&options.run, mark, stays),
            memory_mb: options.container_memory_mb,
        };
        // All ports are held at once, so that no two services are given the same one.
        let hold = |service: Service, wanted| Held::hold(service.name(), wanted);
        let redis_port = hold(Service::Redis, options.ports.redis)?;
        let postgres_port = hold(Service::Postgres, options.ports.postgres)?;
        let http_port = hold(Service::Qdrant, options.ports.qdrant_http)?;
        let grpc_port = hold(Service::Qdrant, options.ports.qdrant_grpc)?;
        let begun = Instant::now();
        // Postgres prepares its data for longer than everything else takes together: its container is first in the
        // engine's queue, and the other two are made while it does so.
        let postgres = ContainerService::launch(&context, events, vec![postgres_port], |ports| {
            let command = images.postgres_command.clone();
            plan::postgres(
                engine,
                images.postgres.clone(),
                command,
                &secrets.postgres,
                options.postgres_connections,
                ports[0],
            )
        })
        .await?;
        let redis = ContainerService::start(&context, events, begun, vec![redis_port], |ports| {
            plan::redis(engine, images.redis.clone(), &secrets.redis, ports[0])
        });
        let postgres = async {
            let service = postgres.ready(events, begun).await?;
            if let Readiness::Postgres { url } = service.0.readiness() {
                shape::lay_down(url).await?;
            }
            Ok(service)
        };
        let qdrant = ContainerService::start(&context, events, begun, vec![http_port, grpc_port], |ports| {
            plan::qdrant(engine, images.qdrant.clone(), &secrets.qdrant, ports[0], ports[1])
        });
        let (redis, postgres, qdrant) = tokio::try_join!(redis, postgres, qdrant)?;
        Ok(Self::of(&options.run, stays, redis, postgres, qdrant))
    }

    fn of(
        run: &str,
        stays: Retention,
        redis: (ContainerService, ServiceRecord),
        postgres: (ContainerService, ServiceRecord),
        qdrant: (ContainerService, ServiceRecord),
    ) -> (Self, Addresses, Vec<ServiceRecord>) {
        let addresses = Addresses::of([&redis.0, &postgres.0, &qdrant.0].map(ContainerService::readiness));
        let records = vec![redis.1, postgres.1, qdrant.1];
        let (redis, postgres, qdrant) = (redis.0, postgres.0, qdrant.0);
        (Self { redis, postgres, qdrant, run: run.to_owned(), stays, entry: None }, addresses, records)
    }

    /// The container of `service`; `None` for what is not a container of this provider.
    pub(super) fn service(&self, service: Service) -> Option<&ContainerService> {
        match service {
            Service::Redis => Some(&self.redis),
            Service::Postgres => Some(&self.postgres),
            Service::Qdrant => Some(&self.qdrant),
            Service::Jina => None,
        }
    }

    /// Whether the next run gets others.
    pub(super) fn is_throwaway(&self) -> bool {
        self.stays != Retention::Warm
    }

    /// How to look at, and remove, what stays; `None` when nothing does.
    pub(super) fn retention_notice(&self) -> Option<String> {
        let label = format!("{}={}", labels::RUN, self.run);
        match self.stays {
            Retention::No => None,
            Retention::Kept => Some(format!(
                "`docker ps --filter label={label}` shows them; `docker rm -fv $(docker ps -aq --filter label={label})` \
                 or `shakedown clean --kept` removes them"
            )),
            Retention::Warm => Some("warm for the next --reuse; `shakedown clean --kept` removes them".to_owned()),
        }
    }

    /// Removes all three, unless they are to stay. Says what could not be removed.
    pub(super) async fn stop(&self) -> Vec<String> {
        if self.stays != Retention::No {
            return Vec::new();
        }
        let (redis, postgres, qdrant) = tokio::join!(self.redis.remove(), self.postgres.remove(), self.qdrant.remove());
        let left: Vec<String> = [redis, postgres, qdrant].into_iter().filter_map(Result::err).collect();
        if let Some((ledger, entry)) = self.entry.as_ref().filter(|_| left.is_empty()) {
            ledger.gone(*entry);
        }
        left
    }
}

impl ImageSet {
    /// Creates sure that all images are there: pulls, all at once, those that are not.
    async fn resolve_images(engine: &Engine, options: &StackOptions, events: &Events) -> Result<Self, StackError> {
        let images = &options.images;
        let redis = ImageRef::new(images.redis.as_deref(), REDIS_IMAGE);
        let postgres = ImageRef::new(images.postgres.as_deref(), POSTGRES_IMAGE);
        let qdrant = ImageRef::new(images.qdrant.as_deref(), QDRANT_IMAGE);
        let (_, postgres_command, _) = tokio::try_join!(
            there(engine, Service::Redis, &redis, events),
            there(engine, Service::Postgres, &postgres, events),
            there(engine, Service::Qdrant, &qdrant, events),
        )?;
        Ok(Self { redis, postgres, qdrant, postgres_command })
    }
}

impl Secrets {
    fn new() -> Self {
        let word = || SecretString::from(random_word(32));
        Self { redis: word(), postgres: word(), qdrant: word() }
    }
}

/// Creates sure that `image` is there; gives the command that it runs.
async fn there(
    engine: &Engine,
    service: Service,
    image: &ImageRef,
    events: &Events,
) -> Result<Vec<String>, StackError> {
    let look = || engine.docker.inspect_image(image.as_str());
    let found = match look().await {
        Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => {
            events.say(Event::Remark { text: format!("pulling {image}, which is not here yet") });
            let (repository, tag) = image.parts();
            match GenericImage::new(repository, tag).pull_image().await {
                Ok(_) => look().await,
                Err(TestcontainersError::Client(ClientError::PullImage { err, .. })) => {
                    return Err(image_error(service, image, &engine::words(&err)));
                }
                Err(other) => return Err(image_error(service, image, &other.to_string())),
            }
        }
        found => found,
    };
    let found = found.map_err(|error| Engine::refusal(service.name(), "look at its image", &error))?;
    Ok(found.config.and_then(|config| config.cmd).unwrap_or_default())
}

/// The error for an image that could not be had, by what the registry or the engine said.
fn image_error(service: Service, image: &ImageRef, said: &str) -> StackError {
    let lower = said.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let remedy = if says(&["toomanyrequests", "too many requests", "rate limit", "429"]) {
        "the registry limits how often it is asked: `docker login` first, name a mirror, or wait"
    } else if says(&["unauthorized", "denied", "authentication required", "no basic auth"]) {
        "the registry does not know this user, or there is no such image: `docker login`, or correct the name"
    } else if says(&["not found", "manifest unknown", "no such image", "invalid reference"]) {
        "the registry has no such image: correct the name or the tag"
    } else if says(&["no such host", "dial tcp", "timeout", "connection refused", "network is unreachable"]) {
        "the registry cannot be reached: pull the image where there is a network, or let `scripts/images` build stand-ins"
    } else {
        "pull it by hand to see more"
    };
    StackError::NoImage {
        service: service.name(),
        image: image.to_string(),
        reason: said.trim().to_owned(),
        remedy,
        variable: match service {
            Service::Postgres => "SHAKEDOWN_POSTGRES_IMAGE",
            Service::Qdrant => "SHAKEDOWN_QDRANT_IMAGE",
            Service::Redis | Service::Jina => "SHAKEDOWN_REDIS_IMAGE",
        },
    }
}

/// Whether an engine answers at `host` within `patience`.
///
/// # Errors
/// None does; the error says why, and what to do about it.
pub async fn engine_answers(host: &str, patience: Duration) -> Result<(), StackError> {
    Engine::at(host, patience).await.map(drop)
}

/// What [`clean_containers`] found of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanedContainers {
    /// The run's id.
    pub run: String,
    /// Names of its containers.
    pub names: Vec<String>,
    /// Why they were left alone; `None` when they were removed, or would be.
    pub left_alone: Option<&'static str>,
    /// What could not be removed, one line each.
    pub left: Vec<String>,
}

/// Removes the containers of runs whose harness is dead, whatever became of their ledgers, and with `kept_too` those
/// that `--keep` and `--reuse` left. With `dry_run` nothing is touched.
///
/// # Errors
/// No engine answers at `host`, or it does not list its containers.
pub async fn clean_containers(host: &str, kept_too: bool, dry_run: bool) -> Result<Vec<CleanedContainers>, StackError> {
    let engine = Engine::at(host, Duration::from_secs(2)).await?;
    let all = Sweep { older_than: Duration::ZERO, kept_too, dry: dry_run };
    let labelled = sweep(&engine, all).await.map_err(|reason| StackError::Engine {
        service: "shakedown",
        what: "list containers",
        reason,
    })?;
    let cleaned = labelled.into_iter().map(|Labelled { run, names, fate }| match fate {
        Fate::Removed(left) => CleanedContainers { run, names, left_alone: None, left },
        Fate::LeftAlone(reason) => CleanedContainers { run, names, left_alone: Some(reason), left: Vec::new() },
    });
    Ok(cleaned.collect())
}

/// Removes the containers of a run that could not be started; what stays is in the ledger.
async fn give_up(engine: &Engine, ledger: &Ledger, entry: Entry) {
    let (host, mark) = (engine.host.clone(), ledger.mark().to_owned());
    let removal = tokio::task::spawn_blocking(move || remove_marked(&host, &mark)).await;
    if removal.is_ok_and(|left| left.is_empty()) {
        ledger.gone(entry);
    }
}

/// Removes what runs left behind that died more than an hour ago. It is not this run's business if that fails.
async fn sweep_old(engine: &Engine, events: &Events) {
    let old = Sweep { older_than: OLD, kept_too: false, dry: false };
    for labelled in sweep(engine, old).await.unwrap_or_default() {
        if labelled.fate == Fate::Removed(Vec::new()) {
            let names = labelled.names.join(", ");
            let text = format!("removed what run {} left behind more than an hour ago: {names}", labelled.run);
            events.say(Event::Remark { text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_leads_to_the_right_remedy() {
        let image = ImageRef::new(Some("redis:8-alpine"), "");
        for (said, remedy) in [
            ("toomanyrequests: You have reached your unauthenticated pull rate limit", "limits how often"),
            ("manifest for redis:99 not found: manifest unknown", "correct the name or the tag"),
            ("pull access denied for nothing/here, repository does not exist", "docker login"),
            ("Get \"https://registry-1.docker.io/v2/\": dial tcp: no such host", "cannot be reached"),
        ] {
            let error = image_error(Service::Redis, &image, said).to_string();
            assert!(error.contains(remedy) && error.contains("SHAKEDOWN_REDIS_IMAGE"), "{error}");
        }
    }
}
