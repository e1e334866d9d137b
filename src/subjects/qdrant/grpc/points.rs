//! Points: everything that stores, fetches, searches or changes them.

use std::time::Instant;

use qdrant_client::qdrant::points_server::Points;
use qdrant_client::qdrant::{
    BatchResult, ClearPayloadPoints, CountPoints, CountResponse, CountResult, CreateFieldIndexCollection,
    CreateVectorNameRequest, DeleteFieldIndexCollection, DeletePayloadPoints, DeletePointVectors, DeletePoints,
    DeleteVectorNameRequest, DiscoverBatchPoints, DiscoverBatchResponse, DiscoverPoints, DiscoverResponse, FacetCounts,
    FacetResponse, GetPoints, GetResponse, PointsOperationResponse, QueryBatchPoints, QueryBatchResponse,
    QueryGroupsResponse, QueryPointGroups, QueryPoints, QueryResponse, RecommendBatchPoints, RecommendBatchResponse,
    RecommendGroupsResponse, RecommendPointGroups, RecommendPoints, RecommendResponse, ScoredPoint, ScrollPoints,
    ScrollResponse, SearchBatchPoints, SearchBatchResponse, SearchGroupsResponse, SearchMatrixOffsetsResponse,
    SearchMatrixPairsResponse, SearchMatrixPoints, SearchPointGroups, SearchPoints, SearchResponse, SetPayloadPoints,
    UpdateBatchPoints, UpdateBatchResponse, UpdateMode, UpdatePointVectors, UpdateResult, UpdateStatus, UpsertPoints,
};
use qdrant_edge::{
    CountRequest, DeletePayloadOp, OrderByInterface, Payload, PayloadOps, PointIdsList, PointVectorsPersisted,
    ScrollRequest, SetPayloadOp, UpdateVectorsOp, VectorOperations,
};
use tonic::{Request, Response};

use super::convert::{
    id_from, id_to, ids_from, object_from, path_from, paths_from, point_from, record_to, scored_to, vectors_from,
    with_payload_from, with_vectors_from,
};
use super::filter::{filter_from, selection_from};
use super::index::schema_from;
use super::query::{order_from, query_from, search_from};
use super::{Api, Reply, not_yet, required, seconds};
use crate::subjects::qdrant::collection::{Selection, Written};
use crate::subjects::qdrant::error::Error;
use crate::subjects::qdrant::query::Query;

fn written(since: Instant, written: Written) -> Response<PointsOperationResponse> {
    let status = if written.waited { UpdateStatus::Completed } else { UpdateStatus::Acknowledged };
    let result = UpdateResult { operation_id: Some(written.operation), status: status.into() };
    Response::new(PointsOperationResponse { result: Some(result), time: seconds(since), usage: None })
}

impl Api {
    async fn run(&self, collection: &str, query: Query) -> Result<Vec<ScoredPoint>, Error> {
        let collection = self.storage.get(collection)?;
        let request = query.resolve(&collection).await?;
        Ok(collection.query(request).await?.into_iter().map(scored_to).collect())
    }
}

fn set_payload(request: SetPayloadPoints) -> Result<SetPayloadOp, Error> {
    let (points, filter) = match selection_from(request.points_selector)? {
        Selection::Ids(ids) => (Some(ids), None),
        Selection::Filter(filter) => (None, Some(filter)),
    };
    let key = request.key.as_deref().map(path_from).transpose()?;
    Ok(SetPayloadOp { payload: Payload(object_from(request.payload)?), points, filter, key })
}

#[tonic::async_trait]
impl Points for Api {
    async fn upsert(&self, request: Request<UpsertPoints>) -> Reply<PointsOperationResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        if request.update_filter.is_some() || request.update_mode.unwrap_or_default() != UpdateMode::Upsert as i32 {
            return not_yet("points.upsert with a condition");
        }
        if request.shard_key_selector.is_some() {
            return not_yet("shard_key");
        }
        let collection = self.storage.get(&request.collection_name)?;
        let points = request.points.into_iter().map(point_from).collect::<Result<_, _>>()?;
        Ok(written(since, collection.upsert(points, request.wait.unwrap_or_default()).await?))
    }

    async fn delete(&self, request: Request<DeletePoints>) -> Reply<PointsOperationResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let collection = self.storage.get(&request.collection_name)?;
        let selection = selection_from(request.points)?;
        Ok(written(since, collection.delete(selection, request.wait.unwrap_or_default()).await?))
    }

    async fn get(&self, request: Request<GetPoints>) -> Reply<GetResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let collection = self.storage.get(&request.collection_name)?;
        let with_payload = with_payload_from(request.with_payload)?.unwrap_or_default();
        let with_vector = with_vectors_from(request.with_vectors);
        let records = collection.retrieve(ids_from(request.ids)?, with_payload, with_vector).await?;
        let result = records.into_iter().map(record_to).collect();
        Ok(Response::new(GetResponse { result, time: seconds(since), usage: None }))
    }

    async fn update_vectors(&self, request: Request<UpdatePointVectors>) -> Reply<PointsOperationResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let collection = self.storage.get(&request.collection_name)?;
        let points = request
            .points
            .into_iter()
            .map(|point| Ok(PointVectorsPersisted { id: id_from(point.id)?, vector: vectors_from(point.vectors)? }));
        let points = points.collect::<Result<_, Error>>()?;
        let update_filter = request.update_filter.map(filter_from).transpose()?;
        let operation = VectorOperations::UpdateVectors(UpdateVectorsOp { points, update_filter });
        Ok(written(since, collection.change_vectors(operation, request.wait.unwrap_or_default()).await?))
    }

    async fn delete_vectors(&self, request: Request<DeletePointVectors>) -> Reply<PointsOperationResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let collection = self.storage.get(&request.collection_name)?;
        let names = required(request.vectors, "vectors")?.names;
        names.iter().try_for_each(|name| collection.check_vector_name(name))?;
        let operation = match selection_from(request.points_selector)? {
            Selection::Ids(points) => VectorOperations::DeleteVectors(PointIdsList { points }, names),
            Selection::Filter(filter) => VectorOperations::DeleteVectorsByFilter(filter, names),
        };
        Ok(written(since, collection.change_vectors(operation, request.wait.unwrap_or_default()).await?))
    }

    async fn set_payload(&self, request: Request<SetPayloadPoints>) -> Reply<PointsOperationResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let (name, wait) = (request.collection_name.clone(), request.wait.unwrap_or_default());
        let operation = PayloadOps::SetPayload(set_payload(request)?);
        Ok(written(since, self.storage.get(&name)?.change_payload(operation, wait).await?))
    }

    async fn overwrite_payload(&self, request: Request<SetPayloadPoints>) -> Reply<PointsOperationResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let (name, wait) = (request.collection_name.clone(), request.wait.unwrap_or_default());
        let operation = PayloadOps::OverwritePayload(set_payload(request)?);
        Ok(written(since, self.storage.get(&name)?.change_payload(operation, wait).await?))
    }

    async fn delete_payload(&self, request: Request<DeletePayloadPoints>) -> Reply<PointsOperationResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let collection = self.storage.get(&request.collection_name)?;
        let (points, filter) = match selection_from(request.points_selector)? {
            Selection::Ids(ids) => (Some(ids), None),
            Selection::Filter(filter) => (None, Some(filter)),
        };
        let operation = DeletePayloadOp { keys: paths_from(&request.keys)?, points, filter };
        let wait = request.wait.unwrap_or_default();
        Ok(written(since, collection.change_payload(PayloadOps::DeletePayload(operation), wait).await?))
    }

    async fn clear_payload(&self, request: Request<ClearPayloadPoints>) -> Reply<PointsOperationResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let collection = self.storage.get(&request.collection_name)?;
        let operation = match selection_from(request.points)? {
            Selection::Ids(points) => PayloadOps::ClearPayload { points },
            Selection::Filter(filter) => PayloadOps::ClearPayloadByFilter(filter),
        };
        Ok(written(since, collection.change_payload(operation, request.wait.unwrap_or_default()).await?))
    }

    async fn create_field_index(&self, request: Request<CreateFieldIndexCollection>) -> Reply<PointsOperationResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let collection = self.storage.get(&request.collection_name)?;
        let field = path_from(&request.field_name)?;
        let schema = schema_from(&request.field_name, request.field_type, request.field_index_params)?;
        Ok(written(since, collection.create_index(field, schema, request.wait.unwrap_or_default()).await?))
    }

    async fn delete_field_index(&self, request: Request<DeleteFieldIndexCollection>) -> Reply<PointsOperationResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let collection = self.storage.get(&request.collection_name)?;
        let field = path_from(&request.field_name)?;
        Ok(written(since, collection.delete_index(field, request.wait.unwrap_or_default()).await?))
    }

    async fn scroll(&self, request: Request<ScrollPoints>) -> Reply<ScrollResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let collection = self.storage.get(&request.collection_name)?;
        let order_by = request.order_by.map(order_from).transpose()?;
        let scroll = ScrollRequest {
            offset: request.offset.map(|id| id_from(Some(id))).transpose()?,
            limit: request.limit.map(|limit| limit as usize),
            filter: request.filter.map(filter_from).transpose()?,
            with_payload: with_payload_from(request.with_payload)?,
            with_vector: with_vectors_from(request.with_vectors),
            order_by: order_by.map(OrderByInterface::Struct),
        };
        let (records, next) = collection.scroll(scroll).await?;
        Ok(Response::new(ScrollResponse {
            next_page_offset: next.map(id_to),
            result: records.into_iter().map(record_to).collect(),
            time: seconds(since),
            usage: None,
        }))
    }

    async fn count(&self, request: Request<CountPoints>) -> Reply<CountResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let collection = self.storage.get(&request.collection_name)?;
        let filter = request.filter.map(filter_from).transpose()?;
        let count = collection.count(CountRequest { filter, exact: request.exact.unwrap_or(true) }).await?;
        let result = Some(CountResult { count: count as u64 });
        Ok(Response::new(CountResponse { result, time: seconds(since), usage: None }))
    }

    async fn query(&self, request: Request<QueryPoints>) -> Reply<QueryResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let name = request.collection_name.clone();
        let result = self.run(&name, query_from(request)?).await?;
        Ok(Response::new(QueryResponse { result, time: seconds(since), usage: None }))
    }

    async fn query_batch(&self, request: Request<QueryBatchPoints>) -> Reply<QueryBatchResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let mut results = Vec::with_capacity(request.query_points.len());
        for query in request.query_points {
            let points = self.run(&request.collection_name, query_from(query)?).await?;
            results.push(BatchResult { result: points });
        }
        Ok(Response::new(QueryBatchResponse { result: results, time: seconds(since), usage: None }))
    }

    async fn search(&self, request: Request<SearchPoints>) -> Reply<SearchResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let name = request.collection_name.clone();
        let result = self.run(&name, search_from(request)?).await?;
        Ok(Response::new(SearchResponse { result, time: seconds(since), usage: None }))
    }

    async fn search_batch(&self, request: Request<SearchBatchPoints>) -> Reply<SearchBatchResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let mut results = Vec::with_capacity(request.search_points.len());
        for search in request.search_points {
            let points = self.run(&request.collection_name, search_from(search)?).await?;
            results.push(BatchResult { result: points });
        }
        Ok(Response::new(SearchBatchResponse { result: results, time: seconds(since), usage: None }))
    }

    async fn create_vector_name(&self, request: Request<CreateVectorNameRequest>) -> Reply<PointsOperationResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let config = super::names::config_from(request.vector_config)?;
        let collection = self.storage.get(&request.collection_name)?;
        let wait = request.wait.unwrap_or_default();
        Ok(written(since, collection.create_vector_name(request.vector_name, config, wait).await?))
    }

    async fn delete_vector_name(&self, request: Request<DeleteVectorNameRequest>) -> Reply<PointsOperationResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let collection = self.storage.get(&request.collection_name)?;
        let wait = request.wait.unwrap_or_default();
        Ok(written(since, collection.delete_vector_name(request.vector_name, wait).await?))
    }

    async fn search_groups(&self, _: Request<SearchPointGroups>) -> Reply<SearchGroupsResponse> {
        not_yet("points.search_groups")
    }

    async fn recommend(&self, _: Request<RecommendPoints>) -> Reply<RecommendResponse> {
        not_yet("points.recommend")
    }

    async fn recommend_batch(&self, _: Request<RecommendBatchPoints>) -> Reply<RecommendBatchResponse> {
        not_yet("points.recommend_batch")
    }

    async fn recommend_groups(&self, _: Request<RecommendPointGroups>) -> Reply<RecommendGroupsResponse> {
        not_yet("points.recommend_groups")
    }

    async fn discover(&self, _: Request<DiscoverPoints>) -> Reply<DiscoverResponse> {
        not_yet("points.discover")
    }

    async fn discover_batch(&self, _: Request<DiscoverBatchPoints>) -> Reply<DiscoverBatchResponse> {
        not_yet("points.discover_batch")
    }

    async fn update_batch(&self, _: Request<UpdateBatchPoints>) -> Reply<UpdateBatchResponse> {
        not_yet("points.update_batch")
    }

    async fn query_groups(&self, _: Request<QueryPointGroups>) -> Reply<QueryGroupsResponse> {
        not_yet("points.query_groups")
    }

    async fn facet(&self, _: Request<FacetCounts>) -> Reply<FacetResponse> {
        not_yet("points.facet")
    }

    async fn search_matrix_pairs(&self, _: Request<SearchMatrixPoints>) -> Reply<SearchMatrixPairsResponse> {
        not_yet("points.search_matrix_pairs")
    }

    async fn search_matrix_offsets(&self, _: Request<SearchMatrixPoints>) -> Reply<SearchMatrixOffsetsResponse> {
        not_yet("points.search_matrix_offsets")
    }
}
