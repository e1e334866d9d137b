//! Collections and aliases.

use std::sync::Arc;
use std::time::Instant;

use qdrant_client::qdrant::alias_operations::Action;
use qdrant_client::qdrant::collections_server::Collections;
use qdrant_client::qdrant::{
    AliasDescription, ChangeAliases, CollectionClusterInfoRequest, CollectionClusterInfoResponse,
    CollectionDescription, CollectionExists, CollectionExistsRequest, CollectionExistsResponse, CollectionInfo,
    CollectionOperationResponse, CollectionStatus, CreateCollection, CreateShardKeyRequest, CreateShardKeyResponse,
    DeleteCollection, DeleteShardKeyRequest, DeleteShardKeyResponse, GetCollectionInfoRequest,
    GetCollectionInfoResponse, ListAliasesRequest, ListAliasesResponse, ListCollectionAliasesRequest,
    ListCollectionsRequest, ListCollectionsResponse, ListShardKeysRequest, ListShardKeysResponse, LocalShardInfo,
    OptimizerStatus, ReplicaState, UpdateCollection, UpdateCollectionClusterSetupRequest,
    UpdateCollectionClusterSetupResponse,
};
use tonic::{Request, Response};

use super::config::{config_to, create_from, update_from};
use super::index::schema_to;
use super::{Api, Reply, required, seconds};
use crate::collection::{Status, blocking};
use crate::config::Config;
use crate::error::Error;
use crate::storage::AliasChange;

fn done(since: Instant, result: bool) -> Response<CollectionOperationResponse> {
    Response::new(CollectionOperationResponse { result, time: seconds(since) })
}

impl Api {
    async fn info(&self, name: &str) -> Result<CollectionInfo, Error> {
        let collection = self.storage.get(name)?;
        let described = collection.describe().await?;
        let (status, error) = match described.status {
            Status::Green => (CollectionStatus::Green, String::new()),
            Status::Yellow => (CollectionStatus::Yellow, String::new()),
            Status::Red(error) => (CollectionStatus::Red, error),
        };
        Ok(CollectionInfo {
            status: status.into(),
            optimizer_status: Some(OptimizerStatus { ok: error.is_empty(), error }),
            segments_count: described.segments as u64,
            config: Some(config_to(described.config)),
            payload_schema: described.indexes.iter().map(|(field, info)| (field.clone(), schema_to(info))).collect(),
            points_count: Some(described.points as u64),
            indexed_vectors_count: Some(described.indexed_vectors as u64),
            ..CollectionInfo::default()
        })
    }

    fn alias_list(&self, since: Instant, of: Option<&str>) -> Response<ListAliasesResponse> {
        let aliases = self
            .storage
            .aliases()
            .into_iter()
            .filter(|(_, collection)| of.is_none_or(|name| name == collection))
            .map(|(alias_name, collection_name)| AliasDescription { alias_name, collection_name })
            .collect();
        Response::new(ListAliasesResponse { aliases, time: seconds(since) })
    }
}

#[tonic::async_trait]
impl Collections for Api {
    async fn get(&self, request: Request<GetCollectionInfoRequest>) -> Reply<GetCollectionInfoResponse> {
        let since = Instant::now();
        let info = self.info(&request.into_inner().collection_name).await?;
        Ok(Response::new(GetCollectionInfoResponse { result: Some(info), time: seconds(since) }))
    }

    async fn list(&self, _: Request<ListCollectionsRequest>) -> Reply<ListCollectionsResponse> {
        let since = Instant::now();
        let collections = self.storage.names().into_iter().map(|name| CollectionDescription { name }).collect();
        Ok(Response::new(ListCollectionsResponse { collections, time: seconds(since) }))
    }

    async fn create(&self, request: Request<CreateCollection>) -> Reply<CollectionOperationResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let name = request.collection_name.clone();
        self.storage.create(name, Config::new(create_from(request)?)?).await?;
        Ok(done(since, true))
    }

    async fn update(&self, request: Request<UpdateCollection>) -> Reply<CollectionOperationResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let collection = self.storage.get(&request.collection_name)?;
        let update = update_from(request)?;
        collection.update(update).await?;
        Ok(done(since, true))
    }

    async fn delete(&self, request: Request<DeleteCollection>) -> Reply<CollectionOperationResponse> {
        let since = Instant::now();
        let deleted = self.storage.delete(request.into_inner().collection_name).await?;
        Ok(done(since, deleted))
    }

    async fn update_aliases(&self, request: Request<ChangeAliases>) -> Reply<CollectionOperationResponse> {
        let since = Instant::now();
        let changes = request.into_inner().actions.into_iter().map(|operation| {
            Ok(match required(operation.action, "alias action")? {
                Action::CreateAlias(it) => AliasChange::Create { collection: it.collection_name, alias: it.alias_name },
                Action::RenameAlias(it) => AliasChange::Rename { old: it.old_alias_name, new: it.new_alias_name },
                Action::DeleteAlias(it) => AliasChange::Delete { alias: it.alias_name },
            })
        });
        let changes = changes.collect::<Result<Vec<_>, Error>>()?;
        let storage = Arc::clone(&self.storage);
        blocking(move || storage.apply_aliases(changes)).await?;
        Ok(done(since, true))
    }

    async fn list_collection_aliases(
        &self,
        request: Request<ListCollectionAliasesRequest>,
    ) -> Reply<ListAliasesResponse> {
        let name = request.into_inner().collection_name;
        self.storage.get(&name)?;
        Ok(self.alias_list(Instant::now(), Some(&name)))
    }

    async fn list_aliases(&self, _: Request<ListAliasesRequest>) -> Reply<ListAliasesResponse> {
        Ok(self.alias_list(Instant::now(), None))
    }

    async fn collection_exists(&self, request: Request<CollectionExistsRequest>) -> Reply<CollectionExistsResponse> {
        let since = Instant::now();
        let exists = self.storage.get(&request.into_inner().collection_name).is_ok();
        Ok(Response::new(CollectionExistsResponse { result: Some(CollectionExists { exists }), time: seconds(since) }))
    }

    async fn collection_cluster_info(
        &self,
        request: Request<CollectionClusterInfoRequest>,
    ) -> Reply<CollectionClusterInfoResponse> {
        let since = Instant::now();
        let described = self.storage.get(&request.into_inner().collection_name)?.describe().await?;
        let shard = LocalShardInfo {
            shard_id: 0,
            points_count: described.points as u64,
            state: ReplicaState::Active.into(),
            shard_key: None,
        };
        Ok(Response::new(CollectionClusterInfoResponse {
            peer_id: self.storage.peer_id(),
            shard_count: 1,
            local_shards: vec![shard],
            time: seconds(since),
            ..CollectionClusterInfoResponse::default()
        }))
    }

    async fn update_collection_cluster_setup(
        &self,
        _: Request<UpdateCollectionClusterSetupRequest>,
    ) -> Reply<UpdateCollectionClusterSetupResponse> {
        Err(Error::Standalone.into())
    }

    async fn create_shard_key(&self, _: Request<CreateShardKeyRequest>) -> Reply<CreateShardKeyResponse> {
        Err(Error::Standalone.into())
    }

    async fn delete_shard_key(&self, _: Request<DeleteShardKeyRequest>) -> Reply<DeleteShardKeyResponse> {
        Err(Error::Standalone.into())
    }

    /// Keys need custom sharding, which is rejected at creation.
    async fn list_shard_keys(&self, request: Request<ListShardKeysRequest>) -> Reply<ListShardKeysResponse> {
        let since = Instant::now();
        self.storage.get(&request.into_inner().collection_name)?;
        Ok(Response::new(ListShardKeysResponse { shard_keys: Vec::new(), time: seconds(since) }))
    }
}
