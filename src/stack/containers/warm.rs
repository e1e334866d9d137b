//! `--reuse`: containers that stay warm between the runs of one user.
//!
//! Which they are, and their secrets, is written to a file of the state directory that only its owner can read. It is
//! held locked while they are looked for or made, so that two runs that begin together share them.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::labels::{self, Retention};
use super::service::{ContainerService, LaunchContext};
use super::{Addresses, Containers, Engine, ImageSet, Secrets, StackError, StackOptions, plan};
use crate::outcome::{Event, Events, ServiceRecord};
use crate::stack::ledger::{Ledger, Resource};

/// What is remembered of warm containers: Redis, Postgres, Qdrant; Qdrant has two ports.
#[derive(Serialize, Deserialize)]
struct Remembered {
    run: String,
    ids: [String; 3],
    ports: [u16; 4],
    secrets: [String; 3],
}

type Started = (Containers, Addresses, Vec<ServiceRecord>);

/// Takes over the warm containers of these images, or makes them.
pub(super) async fn start(
    engine: &Engine,
    options: &StackOptions,
    images: &ImageSet,
    ledger: &Ledger,
    events: &Events,
) -> Result<Started, StackError> {
    let path = place(engine, options, images);
    let failed = |cause| StackError::Directory { action: "write", path: path.clone(), cause };
    let opened = {
        let path = path.clone();
        // Waits for another run that is making them.
        tokio::task::spawn_blocking(move || open(&path)).await
    };
    let mut file = opened.map_err(|error| failed(std::io::Error::other(error)))?.map_err(failed)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    if let Ok(remembered) = serde_json::from_str(&text) {
        match Box::pin(take_over(engine, options, images, remembered)).await {
            Some(started) => {
                events.say(Event::Remark { text: "the warm containers of an earlier run are used".to_owned() });
                return Ok(started);
            }
            None => events.say(Event::Remark { text: "the warm containers are gone: starting new ones".to_owned() }),
        }
    }
    // Until all is written down they belong to this run, and go with it.
    let entry = ledger.add(Resource::Containers { engine: engine.host.clone(), keep: false })?;
    let secrets = Secrets::new();
    let launch = Containers::launch(engine, options, images, &secrets, ledger.mark(), Retention::Warm, events);
    let launched = Box::pin(launch).await;
    let written = match &launched {
        Ok(started) => remember(started, &secrets, &mut file).map_err(failed),
        Err(_) => Ok(()),
    };
    match written.and(launched) {
        Ok(started) => {
            ledger.gone(entry);
            Ok(started)
        }
        Err(error) => {
            super::give_up(engine, ledger, entry).await;
            Err(error)
        }
    }
}

/// The file, for these images on this engine; locked.
fn open(path: &PathBuf) -> std::io::Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

fn place(engine: &Engine, options: &StackOptions, images: &ImageSet) -> PathBuf {
    let memory = options.container_memory_mb.to_string();
    let parts = [
        engine.host.as_str(),
        images.redis.as_str(),
        images.postgres.as_str(),
        images.qdrant.as_str(),
        memory.as_str(),
    ];
    let digest = Sha256::digest(parts.join("\n"));
    let name: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    options.state_dir.join("warm").join(format!("{name}.json"))
}

async fn take_over(engine: &Engine, options: &StackOptions, images: &ImageSet, was: Remembered) -> Option<Started> {
    let context = LaunchContext {
        engine: engine.clone(),
        run: was.run.clone(),
        labels: labels::of(&was.run, &was.run, Retention::Warm),
        memory_mb: options.container_memory_mb,
    };
    let [redis, postgres, qdrant] = was.secrets.map(SecretString::from);
    let [redis_id, postgres_id, qdrant_id] = was.ids;
    let redis = plan::redis(engine, images.redis.clone(), &redis, was.ports[0]);
    let command = images.postgres_command.clone();
    let postgres =
        plan::postgres(engine, images.postgres.clone(), command, &postgres, options.postgres_connections, was.ports[1]);
    let qdrant = plan::qdrant(engine, images.qdrant.clone(), &qdrant, was.ports[2], was.ports[3]);
    let (redis, postgres, qdrant) = tokio::join!(
        ContainerService::adopt(&context, redis_id, redis),
        ContainerService::adopt(&context, postgres_id, postgres),
        ContainerService::adopt(&context, qdrant_id, qdrant),
    );
    Some(Containers::of(&was.run, Retention::Warm, redis?, postgres?, qdrant?))
}

fn remember(started: &Started, secrets: &Secrets, file: &mut File) -> std::io::Result<()> {
    let containers = &started.0;
    let port = |service: &ContainerService, nth: usize| service.ports().get(nth).copied().unwrap_or_default();
    let remembered = Remembered {
        run: containers.run.clone(),
        ids: [&containers.redis, &containers.postgres, &containers.qdrant].map(|service| service.id().to_owned()),
        ports: [
            port(&containers.redis, 0),
            port(&containers.postgres, 0),
            port(&containers.qdrant, 0),
            port(&containers.qdrant, 1),
        ],
        secrets: [&secrets.redis, &secrets.postgres, &secrets.qdrant].map(|secret| secret.expose_secret().to_owned()),
    };
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(&remembered)?)
}
