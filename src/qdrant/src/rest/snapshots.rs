//! Snapshots: create, list, fetch, delete and recover.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use futures::stream;
use serde::Deserialize;
use url::Url;

use super::upload::receive;
use super::{App, Json, Query, respond, respond_or_accept};
use crate::error::Error;
use crate::snapshots::{Checksum, Location, Scope};

/// Bytes per chunk.
const CHUNK: usize = 64 * 1024;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/collections/{name}/snapshots", get(list).post(create))
        .route("/collections/{name}/snapshots/upload", post(upload))
        .route("/collections/{name}/snapshots/recover", put(recover))
        .route("/collections/{name}/snapshots/{snapshot}", get(download).delete(remove))
        .route("/snapshots", get(list_full).post(create_full))
        .route("/snapshots/{snapshot}", get(download_full).delete(remove_full))
}

/// Query string of long operations.
#[derive(Deserialize)]
struct Params {
    wait: Option<bool>,
    checksum: Option<String>,
}

impl Params {
    fn wait(&self) -> bool {
        self.wait.unwrap_or(true)
    }
}

async fn list(State(app): State<App>, Path(name): Path<String>) -> Response {
    respond(Instant::now(), app.storage.list_snapshots(Scope::Collection(name)).await)
}

async fn list_full(State(app): State<App>) -> Response {
    respond(Instant::now(), app.storage.list_snapshots(Scope::Full).await)
}

async fn make(app: App, scope: Scope, params: &Params) -> Response {
    let work = async move { app.storage.create_snapshot(scope).await };
    respond_or_accept(Instant::now(), params.wait(), work).await
}

async fn create(State(app): State<App>, Path(name): Path<String>, Query(params): Query<Params>) -> Response {
    make(app, Scope::Collection(name), &params).await
}

async fn create_full(State(app): State<App>, Query(params): Query<Params>) -> Response {
    make(app, Scope::Full, &params).await
}

async fn delete(app: App, scope: Scope, snapshot: String, params: &Params) -> Response {
    let work = async move { app.storage.delete_snapshot(scope, snapshot).await.map(|()| true) };
    respond_or_accept(Instant::now(), params.wait(), work).await
}

async fn remove(
    State(app): State<App>,
    Path((name, snapshot)): Path<(String, String)>,
    Query(params): Query<Params>,
) -> Response {
    delete(app, Scope::Collection(name), snapshot, &params).await
}

async fn remove_full(State(app): State<App>, Path(snapshot): Path<String>, Query(params): Query<Params>) -> Response {
    delete(app, Scope::Full, snapshot, &params).await
}

async fn send(app: App, scope: Scope, snapshot: String) -> Response {
    let shown: String = snapshot.chars().filter(|it| !it.is_control() && *it != '"' && *it != '\\').collect();
    match app.storage.open_snapshot(scope, snapshot).await {
        Err(error) => error.into_response(),
        Ok((file, size)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (header::CONTENT_LENGTH, size.to_string()),
                (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{shown}\"")),
            ];
            (headers, Body::from_stream(chunks(file))).into_response()
        }
    }
}

/// The content of `file` in chunks, as fast as the client reads.
fn chunks(file: File) -> impl stream::Stream<Item = std::io::Result<Vec<u8>>> {
    stream::try_unfold(file, |mut file| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; CHUNK];
            let length = file.read(&mut chunk)?;
            chunk.truncate(length);
            Ok::<_, std::io::Error>((length > 0).then_some((chunk, file)))
        });
        read.await.map_err(std::io::Error::other)?
    })
}

async fn download(State(app): State<App>, Path((name, snapshot)): Path<(String, String)>) -> Response {
    send(app, Scope::Collection(name), snapshot).await
}

async fn download_full(State(app): State<App>, Path(snapshot): Path<String>) -> Response {
    send(app, Scope::Full, snapshot).await
}

#[derive(Deserialize)]
struct Recover {
    location: Url,
    checksum: Option<String>,
    api_key: Option<String>,
    /// Which data wins if replicas differ; there are no replicas, so it is only checked.
    #[serde(rename = "priority")]
    _priority: Option<Priority>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Priority {
    NoSync,
    Snapshot,
    Replica,
}

async fn recover(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<Params>,
    Json(body): Json<Recover>,
) -> Response {
    let checksum = match body.checksum.as_deref().map(Checksum::new).transpose() {
        Ok(checksum) => checksum,
        Err(error) => return error.into_response(),
    };
    let work = async move {
        let location = Location::new(body.location)?;
        app.storage.recover(name, location, checksum, body.api_key).await.map(|()| true)
    };
    respond_or_accept(Instant::now(), params.wait(), work).await
}

async fn upload(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<Params>,
    request: Request,
) -> Response {
    let since = Instant::now();
    let received = async {
        let checksum = params.checksum.as_deref().map(Checksum::new).transpose()?;
        Ok::<_, Error>((receive(&app, request).await?, checksum))
    };
    let ((file, sent), checksum) = match received.await {
        Ok(received) => received,
        // The rest of the body is not read, so the connection cannot be used again.
        Err(error) => return ([(header::CONNECTION, "close")], error).into_response(),
    };
    let storage = Arc::clone(&app.storage);
    let work = async move { storage.recover_upload(name, file, sent, checksum).await.map(|()| true) };
    respond_or_accept(since, params.wait(), work).await
}
