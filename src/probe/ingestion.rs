//! Ingestion of a small document, with `shakedown setup`, `ingest` and `worker` as processes, under names of the case's
//! own. A stack that fails for the reference worker most likely fails for any worker.

use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::Child;

use super::{Context, Observation, ProbeError, last_lines, shakedown};
use crate::outcome::Evidence;
use crate::services::http::Http;
use crate::services::postgres::Postgres;
use crate::spec::IngestionProbe;
use crate::stack::ScratchDir;

/// The document, of a dozen tokens.
const TEXT: &str = "Shakedown was here, and has taken everything with it.";
/// How long the worker may take to exit after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

pub(super) async fn observe(probe: &IngestionProbe, context: &Context) -> Result<Observation, ProbeError> {
    let limit = Duration::from_secs(probe.within_s);
    let Ok(observed) = tokio::time::timeout(limit, ingest(context)).await else {
        return Ok(Observation::new(
            "result of ingesting a small document",
            format!("not finished within {} s", limit.as_secs()),
        ));
    };
    observed
}

async fn ingest(context: &Context) -> Result<Observation, ProbeError> {
    let failed = |verb: &str, output: &Output| {
        let mut observation =
            Observation::new("result of ingesting a small document", format!("`shakedown {verb}` failed"));
        observation.also.push(Evidence::seen("stderr", last_lines(&output.stderr, 8)));
        observation
    };
    let unusable = |error: std::io::Error| ProbeError::Undecided(format!("cannot prepare the canary: {error}"));
    let place = ScratchDir::create("canary", context.ledger.as_ref())
        .map_err(|error| ProbeError::Undecided(format!("cannot prepare the canary: {error}")))?;
    let file = place.path().join("canary.txt");
    std::fs::write(&file, TEXT).map_err(unusable)?;

    let set_up = shakedown(context, &["setup", "--worker", "--format", "json"]).output().await.map_err(unusable)?;
    if !set_up.status.success() {
        return Ok(failed("setup", &set_up));
    }
    let worker = shakedown(context, &["worker"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let worker = worker.map_err(unusable)?;
    let mut ingest = shakedown(context, &["ingest", "--wait", "--format", "json"]);
    let ingested = ingest.arg(&file).output().await.map_err(unusable)?;
    stop(worker).await;

    let answer: Value = serde_json::from_slice(&ingested.stdout).unwrap_or(Value::Null);
    let Some(document) = answer.pointer("/documents/0") else { return Ok(failed("ingest", &ingested)) };
    let (row, points) = stored(document["id"].as_str().unwrap_or_default(), context).await?;
    let whole = document["end"] == "completed" && row == "ready" && points > 0;
    let outcome =
        if whole { "stored".to_owned() } else { format!("job {}, row {row}, {points} points", document["end"]) };
    let mut observation = Observation::new("result of ingesting a small document", outcome);
    observation.also.push(Evidence::seen("job", document.clone()));
    observation.also.push(Evidence::seen("row", row));
    observation.also.push(Evidence::seen("points", points));
    Ok(observation)
}

/// Sends SIGTERM to the worker and waits; a worker that does not exit is killed when it is dropped.
async fn stop(mut worker: Child) {
    let id = worker.id().and_then(|id| i32::try_from(id).ok());
    if let Some(id) = id {
        // The worker may have exited already.
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
    }
    let _ = tokio::time::timeout(GRACE, worker.wait()).await;
}

/// The status of the document's row, and the number of its points.
async fn stored(document: &str, context: &Context) -> Result<(String, u64), ProbeError> {
    let names = &context.own.names;
    let postgres = Postgres::connect(&context.own.postgres).await?;
    let id = document.replace('\'', "''");
    let rows = postgres.rows(&format!("select status::text as status from {} where id = '{id}'", names.table)).await;
    postgres.close().await;
    let row = rows?.first().and_then(|row| row["status"].as_str()).unwrap_or("missing").to_owned();
    let http = Http::qdrant(&context.own.qdrant)?;
    let path = format!("/collections/{}/points/count", names.collection);
    let answer = http.call("POST", &path, Some(&json!({ "exact": true }))).await?;
    Ok((row, answer.pointer("/result/count").and_then(Value::as_u64).unwrap_or_default()))
}
