//! Reads of a collection, checked against its strict mode.

use std::collections::HashMap;
use std::sync::Arc;

use qdrant_edge::{
    CountRequest, Distance, EdgeShard, FacetRequest, FacetResponse, Filter, JsonPath, Mmr, NamedQuery, PointId,
    Prefetch, QueryEnum, QueryRequest, Record, ScoredPoint, ScoringQuery, ScrollRequest, WithPayloadInterface,
    WithVector,
};

use super::collection::Collection;
use super::depth;
use super::error::Error;
use super::filters::{translate, translate_query};
use super::mmr;
use super::query::{DEFAULT_LIMIT, Kind, Query};
use super::strict::{Purpose, StrictMode};

/// The engine allocates memory for as many results as requested, at once. Above this number, only for as many as there
/// are points: otherwise a request for thousands of millions would end the server.
const ROOM: usize = 100_000;

/// Limits each limit of a request that is above [`ROOM`] to the number of points.
fn bound(request: &mut QueryRequest, points: impl FnOnce() -> usize) {
    let mut beyond = limits(&mut request.limit, &mut request.prefetches);
    beyond.retain(|limit| **limit > ROOM);
    if !beyond.is_empty() {
        let most = points().max(1);
        for limit in beyond {
            *limit = most.min(*limit);
        }
    }
}

/// Every limit of a request, including those of prefetches.
fn limits<'a>(limit: &'a mut usize, prefetches: &'a mut [Prefetch]) -> Vec<&'a mut usize> {
    let mut found = vec![limit];
    for prefetch in prefetches {
        found.extend(limits(&mut prefetch.limit, &mut prefetch.prefetches));
    }
    found
}

impl Collection {
    /// Points by id, in the requested order; missing ids are skipped.
    ///
    /// # Errors
    /// The engine failed.
    pub(super) async fn retrieve(
        self: &Arc<Self>,
        ids: Vec<PointId>,
        with_payload: WithPayloadInterface,
        with_vector: WithVector,
    ) -> Result<Vec<Record>, Error> {
        self.reads.spend(|| ids.len())?;
        self.read("retrieving", move |shard| shard.retrieve(&ids, Some(with_payload), Some(with_vector))).await
    }

    /// One page of points in the order of their ids, and the id at which the next page starts.
    ///
    /// # Errors
    /// The request does not fit the collection, strict mode forbids it, or the engine failed.
    pub(super) async fn scroll(
        self: &Arc<Self>,
        request: ScrollRequest,
    ) -> Result<(Vec<Record>, Option<PointId>), Error> {
        if request.limit == Some(0) {
            return Err(Error::Invalid(
                "Validation error in JSON body: [limit: value 0 invalid, must be 1 or larger]".to_owned(),
            ));
        }
        self.check_read(Some(request.limit.unwrap_or(ScrollRequest::default_limit())), request.filter.as_ref())?;
        self.reads.spend(|| 1 + conditions(request.filter.as_ref()))?;
        let request = ScrollRequest { filter: request.filter.map(translate), ..request };
        self.read("scrolling", move |shard| shard.scroll(request)).await
    }

    /// The number of matching points.
    ///
    /// # Errors
    /// Strict mode forbids the filter, or the engine failed.
    pub(super) async fn count(self: &Arc<Self>, request: CountRequest) -> Result<usize, Error> {
        self.check_read(None, request.filter.as_ref())?;
        self.strict(|strict, _| strict.check_exact(request.exact))?;
        self.reads.spend(|| 1 + conditions(request.filter.as_ref()))?;
        let request = CountRequest { filter: request.filter.map(translate), ..request };
        self.read("counting", move |shard| shard.count(request)).await
    }

    /// The number of points for each value of a payload field, most frequent first.
    ///
    /// # Errors
    /// The field has no index that knows its values, strict mode forbids the request, or the engine failed.
    pub(super) async fn facet(self: &Arc<Self>, request: FacetRequest) -> Result<FacetResponse, Error> {
        if request.limit == 0 {
            return Err(Error::Invalid(
                "Validation error in JSON body: [limit: value 0 invalid, must be 1 or larger]".to_owned(),
            ));
        }
        self.check_read(Some(request.limit), request.filter.as_ref())?;
        self.strict(|strict, _| strict.check_exact(request.exact))?;
        self.reads.spend(|| 1 + conditions(request.filter.as_ref()))?;
        let request = FacetRequest { filter: request.filter.map(translate), ..request };
        self.read("counting values", move |shard| shard.facet(request)).await
    }

    /// The best points for a query that is resolved and allowed.
    ///
    /// # Errors
    /// The query does not fit the collection, or the engine failed.
    pub(super) async fn query(self: &Arc<Self>, mut request: QueryRequest) -> Result<Vec<ScoredPoint>, Error> {
        self.reads.spend(|| request.filter_refs().into_iter().map(|filter| 1 + conditions(filter)).sum())?;
        translate_query(&mut request);
        // The engine leaves the offset to its caller.
        let (offset, limit) = (std::mem::take(&mut request.offset), request.limit);
        request.limit = limit.saturating_add(offset);
        let mut found = match request.query.take() {
            Some(ScoringQuery::Mmr(mmr)) if self.has_sparse(&mmr.using) => self.query_varied(request, mmr).await?,
            query => {
                // The engine returns vectors that it used for comparison.
                let with_vector = request.with_vector.is_enabled();
                let answer = move |shard: &EdgeShard| {
                    let mut request = QueryRequest { query, ..request };
                    bound(&mut request, || shard.info().points_count);
                    shard.query(request)
                };
                let mut found = self.read("searching", answer).await?;
                if !with_vector {
                    for point in &mut found {
                        point.vector = None;
                    }
                }
                found
            }
        };
        if offset > 0 {
            found = found.into_iter().skip(offset).take(limit).collect();
        }
        Ok(found)
    }

    /// An MMR query over sparse vectors.
    async fn query_varied(self: &Arc<Self>, request: QueryRequest, mmr: Mmr) -> Result<Vec<ScoredPoint>, Error> {
        let (with_payload, with_vector, limit) =
            (request.with_payload.clone(), request.with_vector.clone(), request.limit);
        let nearest = NamedQuery { query: mmr.vector.clone(), using: Some(mmr.using.clone()) };
        let candidates = QueryRequest {
            query: Some(ScoringQuery::Vector(QueryEnum::Nearest(nearest))),
            limit: mmr.candidates_limit,
            with_payload: false.into(),
            with_vector: WithVector::Selector(vec![mmr.using.clone()]),
            ..request
        };
        let candidates = self.read("searching", move |shard| shard.query(candidates)).await?;
        let mut chosen = mmr::select(candidates, &mmr, limit);
        let ids = chosen.iter().map(|point| point.id).collect::<Vec<_>>();
        let records =
            self.read("retrieving", move |shard| shard.retrieve(&ids, Some(with_payload), Some(with_vector))).await?;
        let mut records: HashMap<PointId, Record> = records.into_iter().map(|record| (record.id, record)).collect();
        for point in &mut chosen {
            if let Some(record) = records.remove(&point.id) {
                (point.payload, point.vector) = (record.payload, record.vector);
            }
        }
        Ok(chosen)
    }

    /// Checks a read against strict mode.
    ///
    /// # Errors
    /// Strict mode forbids it.
    pub(super) fn check_read(&self, limit: Option<usize>, filter: Option<&Filter>) -> Result<(), Error> {
        self.strict(|strict, indexes| {
            limit.map_or(Ok(()), |limit| strict.check_limit(limit))?;
            strict.check_filter(filter, indexes, Purpose::Read)
        })
    }

    /// Checks a query and its prefetches against strict mode, and how deep they are nested.
    ///
    /// # Errors
    /// Strict mode forbids it, or it is nested too deeply.
    pub(super) fn check_query(&self, query: &Query) -> Result<(), Error> {
        depth::check_query(query)?;
        self.check_strict_query(query)
    }

    fn check_strict_query(&self, query: &Query) -> Result<(), Error> {
        query.prefetch.iter().try_for_each(|inner| self.check_strict_query(inner))?;
        self.check_read(Some(query.limit.unwrap_or(DEFAULT_LIMIT)), query.filter.as_ref())?;
        self.strict(|strict, _| strict.check_params(query.params.as_ref()))?;
        let by_vector = matches!(query.kind, Some(Kind::Vector(_))) && query.prefetch.is_empty();
        let unserved = by_vector
            && self.with_meta(|meta| {
                meta.config.strict_mode_config.as_ref().is_some_and(StrictMode::forbids_full_scans)
                    && meta.config.graph_of(&query.using) == Some(0)
            });
        if unserved {
            let place = if query.using.is_empty() { String::new() } else { format!(" on '{}'", query.using) };
            return Err(Error::BadRequest(format!(
                "Request is forbidden{place} because global vector indexing is disabled (hnsw_config.m = 0). \
                 Help: Use tenant-specific filter, enable global vector indexing or enable strict mode \
                 `search_allow_exact` option"
            )));
        }
        Ok(())
    }

    /// Checks the number of queries in one request, and the seconds it may take, against strict mode.
    ///
    /// # Errors
    /// Strict mode forbids it.
    pub(super) fn check_request(&self, searches: usize, seconds: Option<usize>) -> Result<(), Error> {
        self.strict(|strict, _| {
            strict.check_searches(searches)?;
            seconds.map_or(Ok(()), |seconds| strict.check_timeout(seconds))
        })
    }

    /// Checks that strict mode allows grouping by `field`.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn check_grouping(&self, field: &JsonPath) -> Result<(), Error> {
        self.strict(|strict, indexes| strict.check_grouping(field, indexes))
    }

    /// Whether the vector called `name` is sparse.
    #[must_use]
    pub(super) fn has_sparse(&self, name: &str) -> bool {
        self.with_meta(|meta| meta.config.has_sparse(name))
    }

    /// Whether a smaller score of the vector `name` is better.
    #[must_use]
    pub(super) fn is_smaller_better(&self, name: &str) -> bool {
        self.with_meta(|meta| {
            let distance = meta.config.params.vectors.get(name).map(|params| params.distance);
            matches!(distance, Some(Distance::Euclid | Distance::Manhattan))
        })
    }
}

fn conditions(filter: Option<&Filter>) -> usize {
    filter.map_or(0, Filter::total_conditions_count)
}
