//! `--reuse`: containers that stay warm between the runs of one user.
//!
//! A file in the state directory, readable only by its owner, records their ids, ports and secrets. It stays locked
//! while they are looked up or created, so that two runs that start at the same time share them.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::engine::Engine;
use super::image_set::ImageSet;
use super::labels::Retention;
use super::launch::LaunchContext;
use super::plan;
use super::service::ContainerService;
use super::services::{Containers, Secrets, Started, remove_failed};
use crate::outcome::{Event, Events};
use crate::settings::private_dir;
use crate::stack::cleanup::ledger::Ledger;
use crate::stack::cleanup::resource::Resource;
use crate::stack::error::StackError;
use crate::stack::options::StackOptions;

/// The record of warm containers, in the order Redis, Postgres, Qdrant. Qdrant has two ports.
#[derive(Serialize, Deserialize)]
struct WarmRecord {
    run: String,
    ids: [String; 3],
    ports: [u16; 4],
    secrets: [String; 3],
}

/// Takes over the warm containers of these images, or creates them.
pub(super) async fn start(
    engine: &Engine,
    options: &StackOptions,
    images: &ImageSet,
    ledger: &Ledger,
    events: &Events,
) -> Result<Started, StackError> {
    let path = record_path(engine, options, images);
    let failed = |cause| StackError::Directory { action: "write", path: path.clone(), cause };
    let opened = {
        let path = path.clone();
        // This blocks while another run creates the containers.
        tokio::task::spawn_blocking(move || open_locked(&path)).await
    };
    let mut file = opened.map_err(|error| failed(std::io::Error::other(error)))?.map_err(failed)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    if let Ok(record) = serde_json::from_str(&text) {
        match Box::pin(adopt(engine, options, images, record)).await {
            Some(started) => {
                events.send(Event::Remark { text: "reusing the warm containers of an earlier run".to_owned() });
                return Ok(started);
            }
            None => events.send(Event::Remark { text: "the warm containers are gone: starting new ones".to_owned() }),
        }
    }
    // Until the record is written they belong to this run and are removed with it.
    let entry = ledger.add(Resource::Containers { engine: engine.host.clone(), keep: false })?;
    let secrets = Secrets::random();
    let context = LaunchContext::new(engine, &options.run, ledger.mark(), Retention::Warm, options.container_memory_mb);
    let launched = Box::pin(Containers::launch(&context, options, images, &secrets, events)).await;
    let written = match &launched {
        Ok(started) => write_record(started, &secrets, &mut file).map_err(failed),
        Err(_) => Ok(()),
    };
    match written.and(launched) {
        Ok(started) => {
            ledger.mark_removed(entry);
            Ok(started)
        }
        Err(error) => {
            remove_failed(engine, ledger, entry).await;
            Err(error)
        }
    }
}

/// Opens and locks the record.
fn open_locked(path: &Path) -> std::io::Result<File> {
    if let Some((state_dir, name)) = path.parent().and_then(|directory| directory.parent().zip(directory.file_name())) {
        // The records contain the passwords of the containers.
        private_dir(state_dir, &name.to_string_lossy()).map_err(std::io::Error::other)?;
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

/// The path of the record for these images on this engine.
fn record_path(engine: &Engine, options: &StackOptions, images: &ImageSet) -> PathBuf {
    let memory = options.container_memory_mb.to_string();
    let parts = [
        engine.host.as_str(),
        images.redis.as_str(),
        images.postgres.reference.as_str(),
        images.qdrant.as_str(),
        memory.as_str(),
    ];
    let digest = Sha256::digest(parts.join("\n"));
    let name: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    options.state_dir.join("warm").join(format!("{name}.json"))
}

async fn adopt(engine: &Engine, options: &StackOptions, images: &ImageSet, record: WarmRecord) -> Option<Started> {
    let context = LaunchContext::new(engine, &record.run, &record.run, Retention::Warm, options.container_memory_mb);
    let Secrets { redis, postgres, qdrant } = Secrets::new(record.secrets.map(SecretString::from));
    let [redis_id, postgres_id, qdrant_id] = record.ids;
    let [redis_port, postgres_port, http_port, grpc_port] = record.ports;
    let redis = plan::redis(engine, images.redis.clone(), &redis, redis_port);
    let postgres = plan::postgres(engine, &images.postgres, &postgres, options.postgres_connections, postgres_port);
    let qdrant = plan::qdrant(engine, images.qdrant.clone(), &qdrant, http_port, grpc_port);
    let (redis, postgres, qdrant) = tokio::join!(
        ContainerService::adopt(&context, redis_id, redis),
        ContainerService::adopt(&context, postgres_id, postgres),
        ContainerService::adopt(&context, qdrant_id, qdrant),
    );
    Some(Containers::from_services(&context, redis?, postgres?, qdrant?))
}

fn write_record(started: &Started, secrets: &Secrets, file: &mut File) -> std::io::Result<()> {
    let containers = &started.0;
    let port = |service: &ContainerService, nth: usize| service.ports().get(nth).copied().unwrap_or_default();
    let record = WarmRecord {
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
    file.write_all(&serde_json::to_vec(&record)?)
}
