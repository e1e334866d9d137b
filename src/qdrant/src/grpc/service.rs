//! Health check and snapshots.

use std::sync::Arc;
use std::time::Instant;

use qdrant_client::qdrant::qdrant_server::Qdrant;
use qdrant_client::qdrant::snapshots_server::Snapshots;
use qdrant_client::qdrant::{
    CreateFullSnapshotRequest, CreateSnapshotRequest, CreateSnapshotResponse, DeleteFullSnapshotRequest,
    DeleteSnapshotRequest, DeleteSnapshotResponse, HealthCheckReply, HealthCheckRequest, ListFullSnapshotsRequest,
    ListSnapshotsRequest, ListSnapshotsResponse, SnapshotDescription, Timestamp,
};
use tonic::{Request, Response, Status};
use tonic_health::pb::HealthCheckResponse;
use tonic_health::pb::health_check_response::ServingStatus;

use super::{Api, Reply, not_yet, seconds};
use crate::error::Error;
use crate::snapshots::{Description, Scope};
use crate::{TITLE, VERSION};

#[tonic::async_trait]
impl Qdrant for Api {
    async fn health_check(&self, _: Request<HealthCheckRequest>) -> Reply<HealthCheckReply> {
        Ok(Response::new(HealthCheckReply { title: TITLE.to_owned(), version: VERSION.to_owned(), commit: None }))
    }
}

/// The standard health service. As in the real server, it does not distinguish services and does not support `Watch`.
pub(super) struct Health;

#[tonic::async_trait]
impl tonic_health::pb::health_server::Health for Health {
    async fn check(&self, _: Request<tonic_health::pb::HealthCheckRequest>) -> Reply<HealthCheckResponse> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    type WatchStream = futures::stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _: Request<tonic_health::pb::HealthCheckRequest>) -> Reply<Self::WatchStream> {
        not_yet("health.watch")
    }
}

fn shown(description: Description) -> SnapshotDescription {
    SnapshotDescription {
        name: description.name,
        creation_time: description
            .creation_time
            .map(|time| Timestamp { seconds: time.and_utc().timestamp(), nanos: 0 }),
        size: i64::try_from(description.size).unwrap_or(i64::MAX),
        checksum: description.checksum,
    }
}

impl Api {
    async fn create_snapshot(&self, scope: Scope) -> Reply<CreateSnapshotResponse> {
        let since = Instant::now();
        let storage = Arc::clone(&self.storage);
        // The snapshot is created even if the client disconnects.
        let task = tokio::spawn(async move { storage.create_snapshot(scope).await });
        let made = task.await.unwrap_or_else(|error| Err(Error::Internal(error.to_string())))?;
        Ok(Response::new(CreateSnapshotResponse { snapshot_description: Some(shown(made)), time: seconds(since) }))
    }

    async fn list_snapshots(&self, scope: Scope) -> Reply<ListSnapshotsResponse> {
        let since = Instant::now();
        let found = self.storage.list_snapshots(scope).await?;
        let snapshot_descriptions = found.into_iter().map(shown).collect();
        Ok(Response::new(ListSnapshotsResponse { snapshot_descriptions, time: seconds(since) }))
    }

    async fn delete_snapshot(&self, scope: Scope, name: String) -> Reply<DeleteSnapshotResponse> {
        let since = Instant::now();
        self.storage.delete_snapshot(scope, name).await?;
        Ok(Response::new(DeleteSnapshotResponse { time: seconds(since) }))
    }
}

#[tonic::async_trait]
impl Snapshots for Api {
    async fn create(&self, request: Request<CreateSnapshotRequest>) -> Reply<CreateSnapshotResponse> {
        self.create_snapshot(Scope::Collection(request.into_inner().collection_name)).await
    }

    async fn list(&self, request: Request<ListSnapshotsRequest>) -> Reply<ListSnapshotsResponse> {
        self.list_snapshots(Scope::Collection(request.into_inner().collection_name)).await
    }

    async fn delete(&self, request: Request<DeleteSnapshotRequest>) -> Reply<DeleteSnapshotResponse> {
        let request = request.into_inner();
        self.delete_snapshot(Scope::Collection(request.collection_name), request.snapshot_name).await
    }

    async fn create_full(&self, _: Request<CreateFullSnapshotRequest>) -> Reply<CreateSnapshotResponse> {
        self.create_snapshot(Scope::Full).await
    }

    async fn list_full(&self, _: Request<ListFullSnapshotsRequest>) -> Reply<ListSnapshotsResponse> {
        self.list_snapshots(Scope::Full).await
    }

    async fn delete_full(&self, request: Request<DeleteFullSnapshotRequest>) -> Reply<DeleteSnapshotResponse> {
        self.delete_snapshot(Scope::Full, request.into_inner().snapshot_name).await
    }
}
