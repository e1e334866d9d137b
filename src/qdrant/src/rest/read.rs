//! The handler of all reads, single or in batches.

use std::future::Future;
use std::num::NonZeroU64;
use std::time::Instant;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{App, Json, Query, ReadParams, respond};
use crate::deadline::within;
use crate::error::Error;

/// A read in a REST request.
pub(super) trait Read: Send + Sized {
    /// Its result.
    type Answer: Serialize + Send;

    /// Reads from the collection `name`.
    ///
    /// # Errors
    /// The collection does not exist, the request does not fit it, or the engine failed.
    fn read(self, app: &App, name: &str) -> impl Future<Output = Result<Self::Answer, Error>> + Send;
}

/// Responds to one read.
pub(super) async fn answer<R: Read + DeserializeOwned>(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<ReadParams>,
    Json(body): Json<R>,
) -> Response {
    let since = Instant::now();
    let seconds = params.timeout.map(NonZeroU64::get);
    let result = async {
        let strict = seconds.map(|seconds| usize::try_from(seconds).unwrap_or(usize::MAX));
        app.storage.get(&name)?.check_request(0, strict)?;
        within(seconds, body.read(&app, &name)).await
    };
    respond(since, result.await)
}

/// Several reads of one kind, with results in their order.
#[derive(Deserialize)]
pub(super) struct Batch<R> {
    searches: Vec<R>,
}

impl<R: Read> Read for Batch<R> {
    type Answer = Vec<R::Answer>;

    async fn read(self, app: &App, name: &str) -> Result<Self::Answer, Error> {
        app.storage.get(name)?.check_request(self.searches.len(), None)?;
        let mut answers = Vec::with_capacity(self.searches.len());
        for search in self.searches {
            answers.push(search.read(app, name).await?);
        }
        Ok(answers)
    }
}
