//! Health as `application/health+json`, in the shape of the IETF's draft `draft-inadarei-api-health-check`.

use serde_json::{Map, Value, json};

use super::circuit::CircuitState;
use super::rfc3339;
use super::status::Status;
use super::status_store::{Judged, Known, StatusStore};
use crate::guide::catalogue::first_url;

/// A status and a body.
pub(super) type Health = (u16, Value);

fn frame(status: Status, description: &str) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("status".to_owned(), json!(status));
    body.insert("version".to_owned(), json!("1"));
    body.insert("releaseId".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    body.insert("description".to_owned(), json!(description));
    body
}

fn finished(mut body: Map<String, Value>, status: Status, output: &[String]) -> Health {
    if !output.is_empty() {
        body.insert("output".to_owned(), json!(output.join("; ")));
    }
    (status.code(), Value::Object(body))
}

/// Whether the process runs.
pub(super) fn live(status_store: &StatusStore) -> Health {
    let mut body = frame(Status::Pass, "the process runs");
    body.insert("notes".to_owned(), json!([format!("since {}", rfc3339(status_store.since_ms()))]));
    finished(body, Status::Pass, &[])
}

/// Whether the environment is usable now.
pub(super) fn ready(status_store: &StatusStore, now: i64) -> Health {
    let known = status_store.read();
    let mut output = known.problems();
    output.extend(stale(status_store, &known, now));
    let status = if output.is_empty() { Status::Pass } else { Status::Fail };
    finished(frame(status, "no MUST fails, every service answers, and the last check is recent"), status, &output)
}

fn stale(status_store: &StatusStore, known: &Known, now: i64) -> Option<String> {
    (!status_store.is_fresh(known, now)).then(|| match known.last_check_ms {
        Some(last) => format!("the last check is too old: it finished at {}", rfc3339(last)),
        None => "no check has finished yet".to_owned(),
    })
}

/// All services and cases.
pub(super) fn full(status_store: &StatusStore, now: i64) -> Health {
    let known = status_store.read();
    let stale = stale(status_store, &known, now);
    let status = if stale.is_some() { Status::Fail } else { known.overall().unwrap_or(Status::Fail) };
    let mut body = frame(status, "all services and cases");
    let mut checks = Map::new();
    for (service, _) in known.services() {
        checks.append(&mut components(&known, service));
    }
    body.insert("checks".to_owned(), Value::Object(checks));
    let skipped = known.cases.values().filter(|judged| known.status_of(judged).is_none()).count();
    let mut notes: Vec<String> = known.notes.values().chain(known.unasked.values()).cloned().collect();
    if skipped > 0 {
        notes.push(format!("{skipped} cases were skipped"));
    }
    body.insert("notes".to_owned(), json!(notes));
    let services: Map<String, Value> =
        known.services().map(|(service, _)| (service.to_owned(), json!(format!("/health/{service}")))).collect();
    let mut links = Map::from_iter([("report".to_owned(), json!("/report"))]);
    links.extend(services);
    body.insert("links".to_owned(), Value::Object(links));
    let mut output = known.problems();
    output.extend(stale);
    finished(body, status, &output)
}

/// One service; 404 for an unknown one.
pub(super) fn service(status_store: &StatusStore, name: &str, now: i64) -> Health {
    let known = status_store.read();
    let suite = if name == "queue" { "bullmq" } else { name };
    let Some(status) = known.status(suite) else {
        let there: Vec<&str> = known.services().map(|(service, _)| service).collect();
        let why = match known.targets.services.iter().any(|service| service == suite) {
            true if known.last_check_ms.is_none() => format!("`{suite}` has no result yet"),
            true => format!("`{suite}` is not configured, or all its cases are skipped"),
            false => format!("unknown service `{}`", name.escape_debug()),
        };
        let mut body = frame(Status::Fail, "unknown service");
        body.insert("output".to_owned(), json!(format!("{why}; services: {}", there.join(", "))));
        return (404, Value::Object(body));
    };
    // The status of a service without heartbeats is as old as the last check.
    let stale = stale(status_store, &known, now).filter(|_| !known.heartbeats.contains_key(suite));
    let status = if stale.is_some() { Status::Fail } else { status };
    let mut body = frame(status, suite);
    body.insert("serviceId".to_owned(), json!(suite));
    body.insert("checks".to_owned(), Value::Object(components(&known, suite)));
    body.insert("links".to_owned(), json!({ "report": format!("/report#suite-{suite}") }));
    let beginning = format!("{suite}.");
    let mut output: Vec<String> = known
        .problems()
        .into_iter()
        .filter(|line| line.starts_with(&beginning) || line.starts_with(&format!("{suite}: ")))
        .collect();
    output.extend(stale);
    finished(body, status, &output)
}

/// The results of a service, by `component:measurement`.
fn components(known: &Known, service: &str) -> Map<String, Value> {
    let mut checks = Map::new();
    let kind = match service {
        "redis" | "bullmq" | "postgres" | "qdrant" => "datastore",
        "env" | "docker" => "system",
        _ => "component",
    };
    if let Some(heartbeat) = known.heartbeats.get(service) {
        let unasked = known.unasked.get(service);
        let status = match heartbeat.up {
            false => Status::Fail,
            true if unasked.is_some() => Status::Warn,
            true => Status::Pass,
        };
        #[expect(clippy::cast_precision_loss, reason = "microseconds of an answer")]
        let ms = heartbeat.latency_us as f64 / 1000.0;
        let mut entry = json!({
            "componentId": service, "componentType": kind, "observedValue": ms, "observedUnit": "ms",
            "status": status, "time": rfc3339(heartbeat.at_ms), "links": { "about": format!("/health/{service}") },
        });
        if let Some(reason) = unasked.or(heartbeat.reason.as_ref()) {
            entry["output"] = json!(reason);
        }
        checks.insert(format!("{service}:responseTime"), json!([entry]));
        if let Some(circuit) = known.circuit(service) {
            let status = match circuit {
                CircuitState::Closed => Status::Pass,
                CircuitState::HalfOpen => Status::Warn,
                CircuitState::Open => Status::Fail,
            };
            let entry = json!({
                "componentId": service, "componentType": kind, "observedValue": circuit.word(), "observedUnit": "state",
                "status": status, "time": rfc3339(heartbeat.at_ms), "links": { "about": format!("/health/{service}") },
            });
            checks.insert(format!("{service}:circuit"), json!([entry]));
        }
        let mut amount = |measurement: &str, id: &str, value: Value, unit: &str| {
            let entry = json!({
                "componentId": id, "componentType": kind, "observedValue": value, "observedUnit": unit,
                "status": Status::Pass, "time": rfc3339(heartbeat.at_ms), "links": { "about": format!("/health/{service}") },
            });
            checks.insert(format!("{service}:{measurement}"), json!([entry]));
        };
        if let (Some(queue), "bullmq") = (known.queue, service) {
            for (state, count) in queue.counts.by_state() {
                amount(state, &known.targets.queue, json!(count), "jobs");
            }
            if let Some(oldest) = queue.oldest_s {
                amount("oldestWaiting", &known.targets.queue, json!(oldest), "s");
            }
        }
        if let (Some(points), "qdrant") = (known.points, service) {
            amount("points", &known.targets.collection, json!(points), "points");
        }
    }
    for judged in known.cases_of(service) {
        let Some(entry) = case(known, judged, kind) else { continue };
        let measurement = judged.record.id.split_once('.').map_or(judged.record.id.as_str(), |(_, rest)| rest);
        checks.insert(format!("{service}:{measurement}"), json!([entry]));
    }
    checks
}

/// A case; none for a skipped one.
fn case(known: &Known, judged: &Judged, kind: &str) -> Option<Value> {
    let record = &judged.record;
    let status = known.status_of(judged)?;
    let mut links = json!({ "about": format!("/report#case-{}", record.id) });
    if let Some(url) = first_url(&record.source) {
        links["source"] = json!(url);
    }
    let mut entry = json!({
        "componentId": record.id, "componentType": kind, "observedValue": record.verdict.word(),
        "observedUnit": "verdict", "status": status, "time": rfc3339(judged.at_ms), "links": links,
    });
    if let Some(reason) = record.verdict.reason().filter(|_| status != Status::Pass) {
        entry["output"] = json!(reason);
    }
    Some(entry)
}
