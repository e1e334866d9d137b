//! Health check and snapshots.

use qdrant_client::qdrant::qdrant_server::Qdrant;
use qdrant_client::qdrant::snapshots_server::Snapshots;
use qdrant_client::qdrant::{
    CreateFullSnapshotRequest, CreateSnapshotRequest, CreateSnapshotResponse, DeleteFullSnapshotRequest,
    DeleteSnapshotRequest, DeleteSnapshotResponse, HealthCheckReply, HealthCheckRequest, ListFullSnapshotsRequest,
    ListSnapshotsRequest, ListSnapshotsResponse,
};
use tonic::{Request, Response};

use super::{Api, Reply, not_yet};
use crate::subjects::qdrant::{TITLE, VERSION};

#[tonic::async_trait]
impl Qdrant for Api {
    async fn health_check(&self, _: Request<HealthCheckRequest>) -> Reply<HealthCheckReply> {
        Ok(Response::new(HealthCheckReply { title: TITLE.to_owned(), version: VERSION.to_owned(), commit: None }))
    }
}

#[tonic::async_trait]
impl Snapshots for Api {
    async fn create(&self, _: Request<CreateSnapshotRequest>) -> Reply<CreateSnapshotResponse> {
        not_yet("snapshots.create")
    }

    async fn list(&self, _: Request<ListSnapshotsRequest>) -> Reply<ListSnapshotsResponse> {
        not_yet("snapshots.list")
    }

    async fn delete(&self, _: Request<DeleteSnapshotRequest>) -> Reply<DeleteSnapshotResponse> {
        not_yet("snapshots.delete")
    }

    async fn create_full(&self, _: Request<CreateFullSnapshotRequest>) -> Reply<CreateSnapshotResponse> {
        not_yet("snapshots.create_full")
    }

    async fn list_full(&self, _: Request<ListFullSnapshotsRequest>) -> Reply<ListSnapshotsResponse> {
        not_yet("snapshots.list_full")
    }

    async fn delete_full(&self, _: Request<DeleteFullSnapshotRequest>) -> Reply<DeleteSnapshotResponse> {
        not_yet("snapshots.delete_full")
    }
}
