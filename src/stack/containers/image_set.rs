//! The images of the three services: pulled if missing, and what Postgres' image is set to run.

use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::models::ImageInspect;
use testcontainers::core::client::ClientError;
use testcontainers::runners::AsyncRunner;
use testcontainers::{GenericImage, TestcontainersError};

use super::engine::{Engine, error_text};
use super::images::{ImageRef, POSTGRES_IMAGE, QDRANT_IMAGE, REDIS_IMAGE};
use crate::outcome::{Event, Events};
use crate::stack::error::StackError;
use crate::stack::options::StackOptions;
use crate::stack::service::Service;

/// The images of the three services; all of them are on the machine.
#[derive(Debug)]
pub(super) struct ImageSet {
    pub(super) redis: ImageRef,
    pub(super) postgres: PostgresImage,
    pub(super) qdrant: ImageRef,
}

/// Postgres' image and the settings that it brings along.
#[derive(Debug, Clone)]
pub(super) struct PostgresImage {
    pub(super) reference: ImageRef,
    /// Its command; empty if it has none.
    pub(super) command: Vec<String>,
    /// Its `POSTGRES_USER`, or the default of the official image.
    pub(super) user: String,
    /// Its `POSTGRES_DB`, or the default of the official image: the name of the user.
    pub(super) database: String,
}

impl ImageSet {
    /// Makes sure that all images are on the machine: pulls the missing ones in parallel.
    pub(super) async fn resolve_images(
        engine: &Engine,
        options: &StackOptions,
        events: &Events,
    ) -> Result<Self, StackError> {
        let images = &options.images;
        let redis = ImageRef::new(images.redis.as_deref(), REDIS_IMAGE);
        let postgres = ImageRef::new(images.postgres.as_deref(), POSTGRES_IMAGE);
        let qdrant = ImageRef::new(images.qdrant.as_deref(), QDRANT_IMAGE);
        let (_, inspected, _) = tokio::try_join!(
            ensure_image(engine, Service::Redis, &redis, events),
            ensure_image(engine, Service::Postgres, &postgres, events),
            ensure_image(engine, Service::Qdrant, &qdrant, events),
        )?;
        Ok(Self { redis, postgres: PostgresImage::new(postgres, inspected), qdrant })
    }
}

impl PostgresImage {
    fn new(reference: ImageRef, inspected: ImageInspect) -> Self {
        let config = inspected.config.unwrap_or_default();
        let environment = config.env.unwrap_or_default();
        let variable = |name: &str| {
            let value = environment.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.filter(|value| !value.is_empty()).map(str::to_owned)
        };
        let user = variable("POSTGRES_USER").unwrap_or_else(|| "postgres".to_owned());
        let database = variable("POSTGRES_DB").unwrap_or_else(|| user.clone());
        Self { reference, command: config.cmd.unwrap_or_default(), user, database }
    }
}

/// Pulls `image` if it is missing; returns what the engine knows about it.
async fn ensure_image(
    engine: &Engine,
    service: Service,
    image: &ImageRef,
    events: &Events,
) -> Result<ImageInspect, StackError> {
    let inspect = || engine.docker.inspect_image(image.as_str());
    let found = match inspect().await {
        Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => {
            events.send(Event::Remark { text: format!("pulling {image}: not on this machine") });
            let (repository, tag) = image.parts();
            match GenericImage::new(repository, tag).pull_image().await {
                Ok(_) => inspect().await,
                Err(TestcontainersError::Client(ClientError::PullImage { err, .. })) => {
                    return Err(image_error(service, image, &error_text(&err)));
                }
                Err(error) => return Err(image_error(service, image, &error.to_string())),
            }
        }
        found => found,
    };
    found.map_err(|error| StackError::Engine {
        service: service.name(),
        action: "inspect its image",
        reason: error_text(&error),
    })
}

/// The error for an image that could not be pulled. `message` is from the registry or the engine and decides the remedy.
pub(super) fn image_error(service: Service, image: &ImageRef, message: &str) -> StackError {
    let lower = message.to_lowercase();
    let mentions = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let remedy = if mentions(&["toomanyrequests", "too many requests", "rate limit", "429"]) {
        "the registry limits the pull rate: `docker login` first, use a mirror, or wait"
    } else if mentions(&["unauthorized", "denied", "authentication required", "no basic auth"]) {
        "access is denied or the image does not exist: `docker login`, or correct the name"
    } else if mentions(&["not found", "manifest unknown", "no such image", "invalid reference"]) {
        "the registry has no such image: correct the name or the tag"
    } else if mentions(&["no such host", "dial tcp", "timeout", "connection refused", "network is unreachable"]) {
        "the registry cannot be reached: load the image from a machine with network access, \
         or build stand-ins with `scripts/images`"
    } else {
        "try `docker pull` to see more"
    };
    StackError::NoImage {
        service: service.name(),
        image: image.to_string(),
        reason: message.trim().to_owned(),
        remedy,
        variable: match service {
            Service::Postgres => "SHAKEDOWN_POSTGRES_IMAGE",
            Service::Qdrant => "SHAKEDOWN_QDRANT_IMAGE",
            Service::Redis | Service::Jina => "SHAKEDOWN_REDIS_IMAGE",
        },
    }
}

#[cfg(test)]
mod tests {
    use testcontainers::bollard::models::ImageConfig;

    use super::*;

    #[test]
    fn a_registry_error_leads_to_the_right_remedy() {
        let image = ImageRef::new(Some("redis:8-alpine"), "");
        for (message, remedy) in [
            ("toomanyrequests: You have reached your unauthenticated pull rate limit", "limits the pull rate"),
            ("manifest for redis:99 not found: manifest unknown", "correct the name or the tag"),
            ("pull access denied for nothing/here, repository does not exist", "docker login"),
            ("Get \"https://registry-1.docker.io/v2/\": dial tcp: no such host", "cannot be reached"),
        ] {
            let error = image_error(Service::Redis, &image, message).to_string();
            assert!(error.contains(remedy) && error.contains("SHAKEDOWN_REDIS_IMAGE"), "{error}");
        }
    }

    #[test]
    fn user_and_database_are_those_of_the_image() {
        let image = |env: &[&str]| {
            let env = env.iter().map(|line| (*line).to_owned()).collect();
            let config = ImageConfig { env: Some(env), ..ImageConfig::default() };
            PostgresImage::new(ImageRef::new(None, "x:1"), ImageInspect { config: Some(config), ..Default::default() })
        };
        let supabase = image(&["PATH=/bin", "POSTGRES_USER=supabase_admin", "POSTGRES_DB=postgres"]);
        assert_eq!((supabase.user.as_str(), supabase.database.as_str()), ("supabase_admin", "postgres"));
        let official = image(&["POSTGRES_USERS=x"]);
        assert_eq!((official.user.as_str(), official.database.as_str()), ("postgres", "postgres"));
        let own = image(&["POSTGRES_USER=app"]);
        assert_eq!((own.user.as_str(), own.database.as_str()), ("app", "app"));
    }
}
