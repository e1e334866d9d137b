//! The remote provider: existing services, which are only queried.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;

use super::ready::Readiness;
use super::service::Service;
use crate::outcome::{Event, Events, ServiceRecord, ServiceStatus};
use crate::settings::Endpoints;

/// Probes every service once, except those that are known to be `dead`. A service that does not answer is recorded as
/// unreachable, and the run continues without it.
pub async fn ask_services(endpoints: &Endpoints, dead: &BTreeSet<String>, events: &Events) -> Vec<ServiceRecord> {
    let qdrant = &endpoints.qdrant;
    let jina = &endpoints.jina;
    let services = [
        (Service::Redis, Readiness::Redis { url: endpoints.redis.url.clone() }),
        (Service::Postgres, Readiness::Postgres { url: endpoints.postgres.url.clone() }),
        (
            Service::Qdrant,
            Readiness::Qdrant {
                url: qdrant.url.clone(),
                grpc_url: qdrant.grpc_url.clone(),
                key: qdrant.api_key.clone(),
            },
        ),
        (Service::Jina, Readiness::Jina { url: jina.base_url.clone(), key: jina.api_key.clone() }),
    ];
    // A service without an address is not probed; the cases that need it report that.
    let configured = services.into_iter().filter(|(_, readiness)| readiness.has_address());
    join_all(configured.map(|(service, readiness)| record(service, readiness, dead, events))).await
}

async fn record(service: Service, readiness: Readiness, dead: &BTreeSet<String>, events: &Events) -> ServiceRecord {
    let begun = std::time::Instant::now();
    let mut record = ServiceRecord {
        name: service.name().to_owned(),
        status: ServiceStatus::Unreachable,
        version: String::new(),
        endpoint: readiness.public_address(),
        kind: "remote".to_owned(),
        ready_after_ms: None,
        parameters: BTreeMap::new(),
    };
    if dead.contains(&record.name) {
        record
            .parameters
            .insert("error".to_owned(), "not probed again after an earlier probe without an answer".to_owned());
        return record;
    }
    // In parallel, to save time with a distant service.
    let (probed, facts) = tokio::join!(readiness.probe(), readiness.facts());
    match probed {
        Ok(_) => {
            // A service that answers but does not report its version, such as a pooler, is still ready.
            let facts = facts.unwrap_or_default();
            record.status = ServiceStatus::Ready;
            record.version = facts.version;
            record.parameters = facts.parameters;
            events.send(Event::ServiceReady {
                service: record.name.clone(),
                version: record.version.clone(),
                after: begun.elapsed(),
            });
        }
        Err(reason) => {
            events.note(format!("{service} at {} does not answer: {reason}", record.endpoint));
            record.parameters.insert("error".to_owned(), reason);
        }
    }
    record
}
