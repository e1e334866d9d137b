//! Queries before their points are looked up: what REST and gRPC requests become.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt, try_join_all};
use qdrant_edge::external::ordered_float::OrderedFloat;
use qdrant_edge::{
    Condition, DEFAULT_VECTOR_NAME, Filter, Fusion, HasIdCondition, NamedQuery, OrderBy, PointId, Prefetch, QueryEnum,
    QueryRequest, Sample, ScoringQuery, SearchParams, Vector, VectorInternal, VectorStructPersisted,
    WithPayloadInterface, WithVector,
};

use super::collection::Collection;
use super::error::Error;

/// Results of a query that says nothing about their number.
pub(super) const DEFAULT_LIMIT: usize = 10;

/// What is searched near.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Target {
    /// The vector of a stored point, which itself is left out.
    Id(PointId),
    /// A vector.
    Vector(VectorInternal),
}

impl Target {
    /// Several dense vectors that count as one.
    ///
    /// # Errors
    /// They are empty or of different sizes.
    pub(super) fn multi(vectors: Vec<Vec<f32>>) -> Result<Self, Error> {
        Ok(Self::Vector(Vector::new_multi(vectors)?.into()))
    }
}

/// How results are found and ranked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// By distance.
    Nearest(Target),
    /// By a payload field.
    OrderBy(OrderBy),
    /// By merging the results of the prefetches.
    Fusion(Fusion),
    /// By chance.
    Sample,
}

/// A query or one of its prefetches.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    /// How; `None` is by id.
    pub kind: Option<Kind>,
    /// Which vector; empty for the unnamed one.
    pub using: String,
    /// Queries whose results are the candidates.
    pub prefetch: Vec<Query>,
    /// Which points at all.
    pub filter: Option<Filter>,
    /// How thoroughly.
    pub params: Option<SearchParams>,
    /// Worst score to be returned.
    pub score_threshold: Option<f32>,
    /// How many.
    pub limit: Option<usize>,
    /// How many of the best to leave out; for the outermost query alone.
    pub offset: usize,
    /// What to return of payloads; for the outermost query alone.
    pub with_payload: Option<WithPayloadInterface>,
    /// What to return of vectors; for the outermost query alone.
    pub with_vector: Option<WithVector>,
}

impl Query {
    /// Looks up the points that the query names, and turns it into the engine's form.
    ///
    /// # Errors
    /// A point or a vector name does not exist, or the query cannot be done.
    pub(super) async fn resolve(self, collection: &Arc<Collection>) -> Result<QueryRequest, Error> {
        let (offset, with_payload, with_vector) = (self.offset, self.with_payload.clone(), self.with_vector.clone());
        let outer = self.resolve_inner(collection).await?;
        Ok(QueryRequest {
            prefetches: outer.prefetches,
            query: outer.query,
            filter: outer.filter,
            score_threshold: outer.score_threshold,
            limit: outer.limit,
            offset,
            params: outer.params,
            with_vector: with_vector.unwrap_or_default(),
            with_payload: with_payload.unwrap_or_default(),
        })
    }

    fn resolve_inner(self, collection: &Arc<Collection>) -> BoxFuture<'_, Result<Prefetch, Error>> {
        async move {
            if self.limit == Some(0) {
                return Err(Error::Invalid(
                    "Validation error in JSON body: [limit: value 0 invalid, must be 1 or larger]".to_owned(),
                ));
            }
            let prefetches =
                try_join_all(self.prefetch.into_iter().map(|inner| inner.resolve_inner(collection))).await?;
            let mut filter = self.filter;
            let query = match self.kind {
                None if !prefetches.is_empty() => {
                    return Err(Error::BadRequest(
                        "A query is needed to merge the prefetches. Can't have prefetches without defining a query."
                            .to_owned(),
                    ));
                }
                None => None,
                Some(Kind::Fusion(_)) if prefetches.is_empty() => {
                    return Err(Error::BadRequest("cannot do RRF with a single prefetch and no prefetches".to_owned()));
                }
                Some(Kind::Fusion(fusion)) => Some(ScoringQuery::Fusion(fusion)),
                Some(Kind::OrderBy(order)) => Some(ScoringQuery::OrderBy(order)),
                Some(Kind::Sample) => Some(ScoringQuery::Sample(Sample::Random)),
                Some(Kind::Nearest(target)) => {
                    collection.check_vector_name(&self.using)?;
                    let vector = match target {
                        Target::Vector(vector) => vector,
                        Target::Id(id) => {
                            filter = Some(without(filter, id));
                            pick(collection.vector_of(id, &self.using).await?, &self.using)?
                        }
                    };
                    let using = (self.using != DEFAULT_VECTOR_NAME).then_some(self.using);
                    Some(ScoringQuery::Vector(QueryEnum::Nearest(NamedQuery { query: vector, using })))
                }
            };
            Ok(Prefetch {
                prefetches,
                query,
                limit: self.limit.unwrap_or(DEFAULT_LIMIT),
                params: self.params,
                filter,
                score_threshold: self.score_threshold.map(OrderedFloat),
            })
        }
        .boxed()
    }
}

fn without(filter: Option<Filter>, id: PointId) -> Filter {
    let mut filter = filter.unwrap_or_default();
    let itself = Condition::HasId(std::iter::once(id).collect::<HasIdCondition>());
    filter.must_not.get_or_insert_default().push(itself);
    filter
}

fn pick(vectors: VectorStructPersisted, name: &str) -> Result<VectorInternal, Error> {
    match vectors {
        VectorStructPersisted::Single(vector) => Ok(VectorInternal::Dense(vector)),
        VectorStructPersisted::MultiDense(vectors) => Ok(Vector::new_multi(vectors)?.into()),
        VectorStructPersisted::Named(mut named) => {
            named.remove(name).map(VectorInternal::from).ok_or_else(|| Error::no_vector(name))
        }
    }
}
