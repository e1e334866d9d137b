//! Operations on points: store, fetch, search, change.

use std::time::Instant;

use qdrant_client::qdrant::points_server::Points;
use qdrant_client::qdrant::{
    BatchResult, ClearPayloadPoints, CountPoints, CountResponse, CountResult, CreateFieldIndexCollection,
    CreateVectorNameRequest, DeleteFieldIndexCollection, DeletePayloadPoints, DeletePointVectors, DeletePoints,
    DeleteVectorNameRequest, DiscoverBatchPoints, DiscoverBatchResponse, DiscoverPoints, DiscoverResponse, FacetCounts,
    FacetHit, FacetResponse, GetPoints, GetResponse, GroupId, GroupsResult, PointGroup, PointsOperationResponse,
    QueryBatchPoints, QueryBatchResponse, QueryGroupsResponse, QueryPointGroups, QueryPoints, QueryResponse,
    RecommendBatchPoints, RecommendBatchResponse, RecommendGroupsResponse, RecommendPointGroups, RecommendPoints,
    RecommendResponse, ScoredPoint, ScrollPoints, ScrollResponse, SearchBatchPoints, SearchBatchResponse,
    SearchGroupsResponse, SearchMatrixOffsets, SearchMatrixOffsetsResponse, SearchMatrixPair, SearchMatrixPairs,
    SearchMatrixPairsResponse, SearchMatrixPoints, SearchPointGroups, SearchPoints, SearchResponse, SetPayloadPoints,
    UpdateBatchPoints, UpdateBatchResponse, UpdatePointVectors, UpdateResult, UpdateStatus, UpsertPoints, facet_value,
    group_id,
};
use qdrant_edge::{
    CountRequest, FacetRequest, FacetValue, OrderByInterface, PayloadOps, ScrollRequest, UpdateOperation,
};
use tonic::{Request, Response};

use super::convert::{id_from, id_to, ids_from, path_from, record_to, scored_to, with_payload_from, with_vectors_from};
use super::filter::filter_from;
use super::index::schema_from;
use super::query::{
    discover_from, order_from, query_from, query_groups_from, recommend_from, recommend_groups_from, search_from,
    search_groups_from,
};
use super::{Api, Reply, change, seconds};
use crate::collection::Written;
use crate::deadline::within;
use crate::error::Error;
use crate::groups::{self, Grouping};
use crate::matrix::{self, Matrix, MatrixRequest, Offsets};
use crate::query::{self, DEFAULT_LIMIT, Query};

fn result(written: Written) -> UpdateResult {
    let status = if written.waited { UpdateStatus::Completed } else { UpdateStatus::Acknowledged };
    UpdateResult { operation_id: Some(written.operation), status: status.into() }
}

fn written(since: Instant, written: Written) -> Response<PointsOperationResponse> {
    Response::new(PointsOperationResponse { result: Some(result(written)), time: seconds(since), usage: None })
}

fn group_to(group: groups::Group) -> PointGroup {
    let kind = match group.id {
        groups::GroupId::Text(text) => group_id::Kind::StringValue(text),
        groups::GroupId::Unsigned(number) => group_id::Kind::UnsignedValue(number),
        groups::GroupId::Signed(number) => group_id::Kind::IntegerValue(number),
    };
    PointGroup {
        id: Some(GroupId { kind: Some(kind) }),
        hits: group.hits.into_iter().map(scored_to).collect(),
        lookup: group.lookup.map(record_to),
    }
}

impl Api {
    /// Applies one change.
    async fn change(
        &self,
        collection: &str,
        wait: Option<bool>,
        operation: Result<UpdateOperation, Error>,
    ) -> Reply<PointsOperationResponse> {
        let since = Instant::now();
        let collection = self.storage.get(collection)?;
        Ok(written(since, collection.change(operation?, wait.unwrap_or_default()).await?))
    }

    fn check(&self, collection: &str, searches: usize, timeout: Option<u64>) -> Result<(), Error> {
        let seconds = timeout.map(|seconds| usize::try_from(seconds).unwrap_or(usize::MAX));
        self.storage.get(collection)?.check_request(searches, seconds)
    }

    async fn run(
        &self,
        collection: &str,
        query: Result<Query, Error>,
        timeout: Option<u64>,
    ) -> Result<Vec<ScoredPoint>, Error> {
        self.check(collection, 0, timeout)?;
        let found = within(timeout, query::run(&self.storage, collection, query?)).await?;
        Ok(found.into_iter().map(scored_to).collect())
    }

    async fn run_all(
        &self,
        collection: &str,
        queries: impl ExactSizeIterator<Item = Result<Query, Error>> + Send,
        timeout: Option<u64>,
    ) -> Result<Vec<BatchResult>, Error> {
        self.check(collection, queries.len(), timeout)?;
        let mut results = Vec::with_capacity(queries.len());
        for query in queries {
            results.push(BatchResult { result: self.run(collection, query, timeout).await? });
        }
        Ok(results)
    }

    async fn run_groups(
        &self,
        collection: &str,
        request: Result<(Query, Grouping), Error>,
        timeout: Option<u64>,
    ) -> Result<GroupsResult, Error> {
        self.check(collection, 0, timeout)?;
        let (query, grouping) = request?;
        let groups = within(timeout, groups::run(&self.storage, collection, query, grouping)).await?;
        Ok(GroupsResult { groups: groups.into_iter().map(group_to).collect() })
    }

    async fn run_matrix(&self, request: SearchMatrixPoints) -> Result<Matrix, Error> {
        change::no_shard_key(request.shard_key_selector.as_ref())?;
        self.check(&request.collection_name, 0, request.timeout)?;
        let size = |number: Option<u64>| number.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let matrix = MatrixRequest {
            sample: size(request.sample),
            limit: size(request.limit),
            filter: request.filter.map(filter_from).transpose()?,
            using: request.using.unwrap_or_default(),
        };
        within(request.timeout, matrix::run(&self.storage, &request.collection_name, matrix)).await
    }
}

#[tonic::async_trait]
impl Points for Api {
    async fn upsert(&self, request: Request<UpsertPoints>) -> Reply<PointsOperationResponse> {
        let it = request.into_inner();
        let operation = change::upsert(it.points, it.update_mode, it.update_filter, it.shard_key_selector.as_ref());
        self.change(&it.collection_name, it.wait, operation).await
    }

    async fn delete(&self, request: Request<DeletePoints>) -> Reply<PointsOperationResponse> {
        let it = request.into_inner();
        let operation = change::delete(it.points, it.shard_key_selector.as_ref());
        self.change(&it.collection_name, it.wait, operation).await
    }

    async fn get(&self, request: Request<GetPoints>) -> Reply<GetResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        change::no_shard_key(request.shard_key_selector.as_ref())?;
        let collection = self.storage.get(&request.collection_name)?;
        let with_payload = with_payload_from(request.with_payload)?.unwrap_or_default();
        let with_vector = with_vectors_from(request.with_vectors);
        let ids = ids_from(request.ids)?;
        let records = within(request.timeout, collection.retrieve(ids, with_payload, with_vector)).await?;
        let result = records.into_iter().map(record_to).collect();
        Ok(Response::new(GetResponse { result, time: seconds(since), usage: None }))
    }

    async fn update_vectors(&self, request: Request<UpdatePointVectors>) -> Reply<PointsOperationResponse> {
        let it = request.into_inner();
        let operation = change::update_vectors(it.points, it.update_filter, it.shard_key_selector.as_ref());
        self.change(&it.collection_name, it.wait, operation).await
    }

    async fn delete_vectors(&self, request: Request<DeletePointVectors>) -> Reply<PointsOperationResponse> {
        let it = request.into_inner();
        let operation = change::delete_vectors(it.points_selector, it.vectors, it.shard_key_selector.as_ref());
        self.change(&it.collection_name, it.wait, operation).await
    }

    async fn set_payload(&self, request: Request<SetPayloadPoints>) -> Reply<PointsOperationResponse> {
        let it = request.into_inner();
        let shard_key = it.shard_key_selector.as_ref();
        let operation = change::set_payload(it.payload, it.points_selector, it.key.as_deref(), shard_key)
            .map(|operation| UpdateOperation::PayloadOperation(PayloadOps::SetPayload(operation)));
        self.change(&it.collection_name, it.wait, operation).await
    }

    async fn overwrite_payload(&self, request: Request<SetPayloadPoints>) -> Reply<PointsOperationResponse> {
        let it = request.into_inner();
        let shard_key = it.shard_key_selector.as_ref();
        let operation = change::set_payload(it.payload, it.points_selector, it.key.as_deref(), shard_key)
            .map(|operation| UpdateOperation::PayloadOperation(PayloadOps::OverwritePayload(operation)));
        self.change(&it.collection_name, it.wait, operation).await
    }

    async fn delete_payload(&self, request: Request<DeletePayloadPoints>) -> Reply<PointsOperationResponse> {
        let it = request.into_inner();
        let operation = change::delete_payload(&it.keys, it.points_selector, it.shard_key_selector.as_ref());
        self.change(&it.collection_name, it.wait, operation).await
    }

    async fn clear_payload(&self, request: Request<ClearPayloadPoints>) -> Reply<PointsOperationResponse> {
        let it = request.into_inner();
        let operation = change::clear_payload(it.points, it.shard_key_selector.as_ref());
        self.change(&it.collection_name, it.wait, operation).await
    }

    async fn update_batch(&self, request: Request<UpdateBatchPoints>) -> Reply<UpdateBatchResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let collection = self.storage.get(&request.collection_name)?;
        let operations = request.operations.into_iter().map(change::operation_from).collect::<Result<Vec<_>, _>>()?;
        let written = collection.change_all(operations, request.wait.unwrap_or_default()).await?;
        let result = written.into_iter().map(result).collect();
        Ok(Response::new(UpdateBatchResponse { result, time: seconds(since), usage: None }))
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
        change::no_shard_key(request.shard_key_selector.as_ref())?;
        self.check(&request.collection_name, 0, request.timeout)?;
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
        let (records, next) = within(request.timeout, collection.scroll(scroll)).await?;
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
        change::no_shard_key(request.shard_key_selector.as_ref())?;
        self.check(&request.collection_name, 0, request.timeout)?;
        let collection = self.storage.get(&request.collection_name)?;
        let filter = request.filter.map(filter_from).transpose()?;
        let count = CountRequest { filter, exact: request.exact.unwrap_or(true) };
        let count = within(request.timeout, collection.count(count)).await?;
        let result = Some(CountResult { count: count as u64 });
        Ok(Response::new(CountResponse { result, time: seconds(since), usage: None }))
    }

    async fn query(&self, request: Request<QueryPoints>) -> Reply<QueryResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let (name, timeout) = (request.collection_name.clone(), request.timeout);
        let result = self.run(&name, query_from(request), timeout).await?;
        Ok(Response::new(QueryResponse { result, time: seconds(since), usage: None }))
    }

    async fn query_batch(&self, request: Request<QueryBatchPoints>) -> Reply<QueryBatchResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let queries = request.query_points.into_iter().map(query_from);
        let result = self.run_all(&request.collection_name, queries, request.timeout).await?;
        Ok(Response::new(QueryBatchResponse { result, time: seconds(since), usage: None }))
    }

    async fn query_groups(&self, request: Request<QueryPointGroups>) -> Reply<QueryGroupsResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let (name, timeout) = (request.collection_name.clone(), request.timeout);
        let result = Some(self.run_groups(&name, query_groups_from(request), timeout).await?);
        Ok(Response::new(QueryGroupsResponse { result, time: seconds(since), usage: None }))
    }

    async fn search(&self, request: Request<SearchPoints>) -> Reply<SearchResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let (name, timeout) = (request.collection_name.clone(), request.timeout);
        let result = self.run(&name, search_from(request), timeout).await?;
        Ok(Response::new(SearchResponse { result, time: seconds(since), usage: None }))
    }

    async fn search_batch(&self, request: Request<SearchBatchPoints>) -> Reply<SearchBatchResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let queries = request.search_points.into_iter().map(search_from);
        let result = self.run_all(&request.collection_name, queries, request.timeout).await?;
        Ok(Response::new(SearchBatchResponse { result, time: seconds(since), usage: None }))
    }

    async fn search_groups(&self, request: Request<SearchPointGroups>) -> Reply<SearchGroupsResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let (name, timeout) = (request.collection_name.clone(), request.timeout);
        let result = Some(self.run_groups(&name, search_groups_from(request), timeout).await?);
        Ok(Response::new(SearchGroupsResponse { result, time: seconds(since), usage: None }))
    }

    async fn recommend(&self, request: Request<RecommendPoints>) -> Reply<RecommendResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let (name, timeout) = (request.collection_name.clone(), request.timeout);
        let result = self.run(&name, recommend_from(request), timeout).await?;
        Ok(Response::new(RecommendResponse { result, time: seconds(since), usage: None }))
    }

    async fn recommend_batch(&self, request: Request<RecommendBatchPoints>) -> Reply<RecommendBatchResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let queries = request.recommend_points.into_iter().map(recommend_from);
        let result = self.run_all(&request.collection_name, queries, request.timeout).await?;
        Ok(Response::new(RecommendBatchResponse { result, time: seconds(since), usage: None }))
    }

    async fn recommend_groups(&self, request: Request<RecommendPointGroups>) -> Reply<RecommendGroupsResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let (name, timeout) = (request.collection_name.clone(), request.timeout);
        let result = Some(self.run_groups(&name, recommend_groups_from(request), timeout).await?);
        Ok(Response::new(RecommendGroupsResponse { result, time: seconds(since), usage: None }))
    }

    async fn discover(&self, request: Request<DiscoverPoints>) -> Reply<DiscoverResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let (name, timeout) = (request.collection_name.clone(), request.timeout);
        let result = self.run(&name, discover_from(request), timeout).await?;
        Ok(Response::new(DiscoverResponse { result, time: seconds(since), usage: None }))
    }

    async fn discover_batch(&self, request: Request<DiscoverBatchPoints>) -> Reply<DiscoverBatchResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        let queries = request.discover_points.into_iter().map(discover_from);
        let result = self.run_all(&request.collection_name, queries, request.timeout).await?;
        Ok(Response::new(DiscoverBatchResponse { result, time: seconds(since), usage: None }))
    }

    async fn facet(&self, request: Request<FacetCounts>) -> Reply<FacetResponse> {
        let since = Instant::now();
        let request = request.into_inner();
        change::no_shard_key(request.shard_key_selector.as_ref())?;
        self.check(&request.collection_name, 0, request.timeout)?;
        let collection = self.storage.get(&request.collection_name)?;
        let facet = FacetRequest {
            key: path_from(&request.key)?,
            limit: request.limit.map_or(DEFAULT_LIMIT, |limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            filter: request.filter.map(filter_from).transpose()?,
            exact: request.exact.unwrap_or_default(),
        };
        let found = within(request.timeout, collection.facet(facet)).await?;
        let hits = found.hits.into_iter().map(|hit| {
            let variant = match hit.value {
                FacetValue::Keyword(text) => facet_value::Variant::StringValue(text),
                FacetValue::Int(number) => facet_value::Variant::IntegerValue(number),
                FacetValue::Uuid(number) => {
                    facet_value::Variant::StringValue(qdrant_edge::external::uuid::Uuid::from_u128(number).to_string())
                }
                FacetValue::Bool(flag) => facet_value::Variant::BoolValue(flag),
            };
            let value = qdrant_client::qdrant::FacetValue { variant: Some(variant) };
            FacetHit { value: Some(value), count: hit.count as u64 }
        });
        Ok(Response::new(FacetResponse { hits: hits.collect(), time: seconds(since), usage: None }))
    }

    async fn search_matrix_pairs(&self, request: Request<SearchMatrixPoints>) -> Reply<SearchMatrixPairsResponse> {
        let since = Instant::now();
        let matrix = self.run_matrix(request.into_inner()).await?;
        let pairs = matrix.into_iter().flat_map(|(a, near)| {
            near.into_iter().map(move |b| SearchMatrixPair { a: Some(id_to(a)), b: Some(id_to(b.id)), score: b.score })
        });
        let result = Some(SearchMatrixPairs { pairs: pairs.collect() });
        Ok(Response::new(SearchMatrixPairsResponse { result, time: seconds(since), usage: None }))
    }

    async fn search_matrix_offsets(&self, request: Request<SearchMatrixPoints>) -> Reply<SearchMatrixOffsetsResponse> {
        let since = Instant::now();
        let offsets = Offsets::from(self.run_matrix(request.into_inner()).await?);
        let result = Some(SearchMatrixOffsets {
            offsets_row: offsets.offsets_row,
            offsets_col: offsets.offsets_col,
            scores: offsets.scores,
            ids: offsets.ids.into_iter().map(id_to).collect(),
        });
        Ok(Response::new(SearchMatrixOffsetsResponse { result, time: seconds(since), usage: None }))
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
}
