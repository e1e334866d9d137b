//! Queries of REST and gRPC, before the points they name are looked up.

mod lookup;
mod target;

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt, try_join_all};
use qdrant_edge::external::ordered_float::OrderedFloat;
use qdrant_edge::{
    Condition, ContextPair, ContextQuery, DEFAULT_VECTOR_NAME, DiscoverQuery, FeedbackItem, FeedbackNaiveQuery, Filter,
    Formula, Fusion, HasIdCondition, Mmr, NaiveFeedbackStrategy, NamedQuery, OrderBy, PointId, Prefetch, QueryEnum,
    QueryRequest, RecommendQuery, Sample, ScoredPoint, ScoringQuery, SearchParams, VectorInternal,
    WithPayloadInterface, WithVector,
};

use super::collection::Collection;
use super::error::Error;
use super::recommend::average;
use super::storage::Storage;
use lookup::NamedPoints;
pub(super) use lookup::{Lookup, pick};
pub(super) use target::Target;

/// Default number of results.
pub(super) const DEFAULT_LIMIT: usize = 10;
/// Default balance between relevance and diversity.
const DEFAULT_DIVERSITY: f32 = 0.5;

/// How the examples of a recommendation are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Strategy {
    /// One vector: twice the mean of the positive examples minus the mean of the negative ones.
    #[default]
    AverageVector,
    /// Scores each point by its best example.
    BestScore,
    /// Scores each point by all examples.
    SumScores,
}

/// A search by vectors.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum VectorQuery {
    /// By distance.
    Nearest(Target),
    /// By distance, then diversified.
    Mmr {
        /// The target.
        nearest: Target,
        /// From 0 (relevance only) to 1.
        diversity: Option<f32>,
        /// Number of candidates; the query's limit if `None`.
        candidates: Option<usize>,
    },
    /// By positive and negative examples.
    Recommend {
        /// How the examples are used.
        strategy: Strategy,
        /// Positive examples.
        positive: Vec<Target>,
        /// Negative examples.
        negative: Vec<Target>,
    },
    /// Near a target, constrained by pairs of examples.
    Discover {
        /// The target.
        target: Target,
        /// Positive and negative examples.
        pairs: Vec<(Target, Target)>,
    },
    /// Constrained by pairs of positive and negative examples.
    Context(Vec<(Target, Target)>),
    /// Near a target, corrected by feedback scores of examples.
    Feedback {
        /// The target.
        target: Target,
        /// Examples with their scores.
        feedback: Vec<(Target, f32)>,
        /// Trained coefficients a, b and c.
        coefficients: [f32; 3],
    },
}

impl VectorQuery {
    fn targets(&self) -> Vec<&Target> {
        match self {
            Self::Nearest(target) | Self::Mmr { nearest: target, .. } => vec![target],
            Self::Recommend { positive, negative, .. } => positive.iter().chain(negative).collect(),
            Self::Discover { target, pairs } => std::iter::once(target).chain(flat(pairs)).collect(),
            Self::Context(pairs) => flat(pairs).collect(),
            Self::Feedback { target, feedback, .. } => {
                std::iter::once(target).chain(feedback.iter().map(|(example, _)| example)).collect()
            }
        }
    }

    fn ids(&self) -> Vec<PointId> {
        let id = |target: &&Target| match target {
            Target::Id(id) => Some(*id),
            Target::Vector(_) => None,
        };
        self.targets().iter().filter_map(id).collect()
    }

    /// The engine's form, with each target resolved by `vector`.
    fn scoring(
        self,
        mut vector: impl FnMut(Target) -> Result<VectorInternal, Error>,
        using: String,
        limit: usize,
    ) -> Result<ScoringQuery, Error> {
        let mut all = |targets: Vec<Target>| targets.into_iter().map(&mut vector).collect::<Result<Vec<_>, _>>();
        let query = match self {
            Self::Nearest(target) => QueryEnum::Nearest(named(vector(target)?, using)),
            Self::Mmr { nearest, diversity, candidates } => {
                return Ok(ScoringQuery::Mmr(Mmr {
                    vector: vector(nearest)?,
                    using,
                    lambda: OrderedFloat(1.0 - diversity.unwrap_or(DEFAULT_DIVERSITY)),
                    candidates_limit: candidates.unwrap_or(limit),
                }));
            }
            Self::Recommend { strategy, positive, negative } => {
                let (positive, negative) = (all(positive)?, all(negative)?);
                match strategy {
                    Strategy::AverageVector => QueryEnum::Nearest(named(average(positive, negative)?, using)),
                    Strategy::BestScore => {
                        QueryEnum::RecommendBestScore(named(RecommendQuery::new(positive, negative), using))
                    }
                    Strategy::SumScores => {
                        QueryEnum::RecommendSumScores(named(RecommendQuery::new(positive, negative), using))
                    }
                }
            }
            Self::Discover { target, pairs } => {
                let target = vector(target)?;
                QueryEnum::Discover(named(DiscoverQuery::new(target, resolve_pairs(pairs, vector)?), using))
            }
            Self::Context(pairs) => QueryEnum::Context(named(ContextQuery::new(resolve_pairs(pairs, vector)?), using)),
            Self::Feedback { target, feedback, coefficients: [a, b, c] } => {
                let target = vector(target)?;
                let feedback = feedback.into_iter().map(|(example, score)| {
                    Ok::<_, Error>(FeedbackItem { vector: vector(example)?, score: OrderedFloat(score) })
                });
                QueryEnum::FeedbackNaive(named(
                    FeedbackNaiveQuery {
                        target,
                        feedback: feedback.collect::<Result<_, _>>()?,
                        coefficients: NaiveFeedbackStrategy { a: a.into(), b: b.into(), c: c.into() },
                    },
                    using,
                ))
            }
        };
        Ok(ScoringQuery::Vector(query))
    }
}

fn flat(pairs: &[(Target, Target)]) -> impl Iterator<Item = &Target> {
    pairs.iter().flat_map(|(positive, negative)| [positive, negative])
}

fn named<T>(query: T, using: String) -> NamedQuery<T> {
    NamedQuery { query, using: (using != DEFAULT_VECTOR_NAME).then_some(using) }
}

fn resolve_pairs(
    pairs: Vec<(Target, Target)>,
    mut vector: impl FnMut(Target) -> Result<VectorInternal, Error>,
) -> Result<Vec<ContextPair<VectorInternal>>, Error> {
    pairs
        .into_iter()
        .map(|(positive, negative)| Ok(ContextPair { positive: vector(positive)?, negative: vector(negative)? }))
        .collect()
}

/// How results are found and ranked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// By vectors.
    Vector(VectorQuery),
    /// By a payload field.
    OrderBy(OrderBy),
    /// By merging the results of the prefetches.
    Fusion(Fusion),
    /// By an expression over scores and payloads.
    Formula(Box<Formula>),
    /// Random.
    Sample,
}

impl Kind {
    /// The points nearest to `target`.
    pub(super) fn nearest(target: Target) -> Self {
        Self::Vector(VectorQuery::Nearest(target))
    }
}

/// Maximum number of candidates of MMR, as in the real server.
const MMR_CANDIDATES: usize = 16_384;

/// Default constant of reciprocal rank fusion, as in the real server.
pub(super) const RRF_K: usize = 2;

/// Reciprocal rank fusion.
///
/// # Errors
/// The constant is 0.
pub(super) fn rrf(k: Option<usize>, weights: Option<Vec<f32>>) -> Result<Fusion, Error> {
    if k == Some(0) {
        return Err(Error::Invalid(
            "Validation error in JSON body: [query.rrf.k: value 0 invalid, must be 1 or larger]".to_owned(),
        ));
    }
    let weights = weights.map(|weights| weights.into_iter().map(Into::into).collect());
    Ok(Fusion::Rrf { k: k.unwrap_or(RRF_K), weights })
}

/// The nearest points, diversified.
///
/// # Errors
/// A number is out of range.
pub(super) fn mmr(nearest: Target, diversity: Option<f32>, candidates: Option<usize>) -> Result<Kind, Error> {
    let invalid = |text: String| Err(Error::Invalid(format!("Validation error in JSON body: [query.mmr.{text}]")));
    if let Some(diversity) = diversity.filter(|diversity| !(0.0..=1.0).contains(diversity)) {
        return invalid(format!("diversity: value {diversity} invalid, must be from 0.0 to 1.0"));
    }
    if let Some(candidates) = candidates.filter(|candidates| *candidates > MMR_CANDIDATES) {
        return invalid(format!("candidates_limit: value {candidates} invalid, must be {MMR_CANDIDATES} or smaller"));
    }
    Ok(Kind::Vector(VectorQuery::Mmr { nearest, diversity, candidates }))
}

/// A recommendation with the rules of the older endpoints.
///
/// # Errors
/// There are too few examples for the strategy.
pub(super) fn recommendation(
    strategy: Strategy,
    positive: Vec<Target>,
    negative: Vec<Target>,
) -> Result<VectorQuery, Error> {
    let refuse = |text: &str| Err(Error::BadRequest(text.to_owned()));
    match strategy {
        Strategy::AverageVector if positive.is_empty() => {
            refuse("At least one positive vector ID required with this strategy")
        }
        Strategy::BestScore | Strategy::SumScores if positive.is_empty() && negative.is_empty() => {
            refuse("At least one positive or negative vector ID required with this strategy")
        }
        _ => Ok(VectorQuery::Recommend { strategy, positive, negative }),
    }
}

/// A discovery with the rules of the older endpoints: without a target it is a search by context.
///
/// # Errors
/// There is neither a target nor a pair.
pub(super) fn discovery(target: Option<Target>, pairs: Vec<(Target, Target)>) -> Result<VectorQuery, Error> {
    match target {
        Some(target) => Ok(VectorQuery::Discover { target, pairs }),
        None if pairs.is_empty() => Err(Error::BadRequest("target and/or context must be specified".to_owned())),
        None => Ok(VectorQuery::Context(pairs)),
    }
}

/// A query or one of its prefetches.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    /// Ranking; `None` sorts by id.
    pub kind: Option<Kind>,
    /// Name of the vector; empty for the unnamed one.
    pub using: String,
    /// Queries whose results are the candidates.
    pub prefetch: Vec<Query>,
    /// Filter of the points.
    pub filter: Option<Filter>,
    /// Search parameters.
    pub params: Option<SearchParams>,
    /// Score threshold.
    pub score_threshold: Option<f32>,
    /// Limit.
    pub limit: Option<usize>,
    /// Where named points are looked up.
    pub lookup: Option<Lookup>,
    /// Whether the error for a missing named point contains its id, as in the older endpoints.
    pub names_missing_points: bool,
    /// Offset; for the outermost query only.
    pub offset: usize,
    /// Payload selection; for the outermost query only.
    pub with_payload: Option<WithPayloadInterface>,
    /// Vector selection; for the outermost query only.
    pub with_vector: Option<WithVector>,
}

impl Query {
    /// Looks up the points that the query names, and converts it to the engine's form.
    ///
    /// # Errors
    /// A point or a vector name does not exist, or the query is not supported.
    pub(super) async fn resolve(
        mut self,
        storage: &Storage,
        collection: &Arc<Collection>,
    ) -> Result<QueryRequest, Error> {
        let named = self.named_points(storage, collection);
        if !named.is_empty() {
            self.filter = Some(without(self.filter.take(), named));
        }
        // A random sample has no pages.
        let sampled = self.kind == Some(Kind::Sample) && self.prefetch.is_empty();
        let offset = if sampled { 0 } else { self.offset };
        let (with_payload, with_vector) = (self.with_payload.take(), self.with_vector.take());
        let outer = self.resolve_inner(storage, collection).await?;
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

    /// The points of the searched collection that this query or a prefetch names: they are not results.
    fn named_points(&self, storage: &Storage, collection: &Arc<Collection>) -> Vec<PointId> {
        let elsewhere = self
            .lookup
            .as_ref()
            .is_some_and(|lookup| !storage.get(&lookup.collection).is_ok_and(|other| Arc::ptr_eq(&other, collection)));
        let mut ids = match &self.kind {
            Some(Kind::Vector(query)) if !elsewhere => query.ids(),
            _ => Vec::new(),
        };
        ids.extend(self.prefetch.iter().flat_map(|inner| inner.named_points(storage, collection)));
        ids
    }

    fn check(&self) -> Result<(), Error> {
        if self.limit == Some(0) {
            return Err(Error::Invalid(
                "Validation error in JSON body: [limit: value 0 invalid, must be 1 or larger]".to_owned(),
            ));
        }
        let refuse = |text: &str| Err(Error::BadRequest(text.to_owned()));
        match &self.kind {
            None if !self.prefetch.is_empty() => {
                refuse("A query is needed to merge the prefetches. Can't have prefetches without defining a query.")
            }
            None if self.score_threshold.is_some() => refuse(
                "A query is needed to use the score_threshold. Can't have score_threshold without defining a query.",
            ),
            Some(Kind::OrderBy(_)) if self.score_threshold.is_some() => {
                refuse("Can't use score_threshold with an order_by query.")
            }
            Some(Kind::Fusion(_)) if self.using != DEFAULT_VECTOR_NAME => {
                refuse("Fusion queries cannot be combined with the 'using' field.")
            }
            _ => Ok(()),
        }
    }

    fn resolve_inner<'a>(
        self,
        storage: &'a Storage,
        collection: &'a Arc<Collection>,
    ) -> BoxFuture<'a, Result<Prefetch, Error>> {
        async move {
            self.check()?;
            for inner in &self.prefetch {
                if matches!(inner.kind, Some(Kind::Vector(VectorQuery::Mmr { .. })))
                    && collection.has_sparse(&inner.using)
                {
                    return Err(Error::Unimplemented("MMR over sparse vectors in a prefetch".to_owned()));
                }
            }
            let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
            let prefetches =
                try_join_all(self.prefetch.into_iter().map(|inner| inner.resolve_inner(storage, collection))).await?;
            let query = match self.kind {
                None => None,
                Some(Kind::Fusion(fusion)) => Some(ScoringQuery::Fusion(fusion)),
                Some(Kind::OrderBy(order)) => Some(ScoringQuery::OrderBy(order)),
                Some(Kind::Sample) => Some(ScoringQuery::Sample(Sample::Random)),
                Some(Kind::Formula(formula)) => Some(ScoringQuery::Formula((*formula).try_into()?)),
                Some(Kind::Vector(query)) => {
                    collection.check_vector_name(&self.using)?;
                    let vectors =
                        NamedPoints::fetch(storage, collection, &query.ids(), self.lookup, &self.using).await?;
                    let find = |target| vectors.vector(target, self.names_missing_points);
                    Some(query.scoring(find, self.using, limit)?)
                }
            };
            Ok(Prefetch {
                prefetches,
                query,
                limit,
                params: self.params,
                filter: self.filter,
                score_threshold: self.score_threshold.map(OrderedFloat),
            })
        }
        .boxed()
    }
}

fn without(filter: Option<Filter>, ids: Vec<PointId>) -> Filter {
    let mut filter = filter.unwrap_or_default();
    let named = Condition::HasId(ids.into_iter().collect::<HasIdCondition>());
    filter.must_not.get_or_insert_default().push(named);
    filter
}

/// The best points of a collection for a query.
///
/// # Errors
/// As [`Query::resolve`] and [`Collection::query`], or strict mode forbids the query.
pub(super) async fn run(storage: &Storage, name: &str, query: Query) -> Result<Vec<ScoredPoint>, Error> {
    let collection = storage.get(name)?;
    collection.check_query(&query)?;
    let request = query.resolve(storage, &collection).await?;
    collection.query(request).await
}
