//! Queries, the older searches, scroll order and search parameters.

use qdrant_client::qdrant::{
    self as proto, ContextInputPair, DiscoverPoints, PrefetchQuery, QueryPointGroups, QueryPoints,
    RecommendPointGroups, RecommendPoints, SearchPointGroups, SearchPoints, feedback_strategy, start_from,
    target_vector, vector_example, vector_input,
};
use qdrant_edge::{
    AcornSearchParams, Direction, Fusion, OrderBy, QuantizationSearchParams, SearchParams, SparseVector, StartFrom,
    VectorInternal, VectorPersisted,
};

use super::change::no_shard_key;
use super::convert::{id_from, multi_from, path_from, vector_from, with_payload_from, with_vectors_from};
use super::filter::filter_from;
use super::formula::formula_from;
use super::required;
use crate::error::Error;
use crate::groups::{Grouping, WithLookup};
use crate::query::{Kind, Lookup, Query, Strategy, Target, VectorQuery, discovery, mmr, recommendation, rrf};

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A query.
pub(super) fn query_from(request: QueryPoints) -> Result<Query, Error> {
    no_shard_key(request.shard_key_selector.as_ref())?;
    Ok(Query {
        kind: request.query.map(kind_from).transpose()?,
        using: request.using.unwrap_or_default(),
        prefetch: request.prefetch.into_iter().map(prefetch_from).collect::<Result<_, _>>()?,
        filter: request.filter.map(filter_from).transpose()?,
        params: request.params.as_ref().map(params_from).transpose()?,
        score_threshold: request.score_threshold,
        limit: request.limit.map(count),
        lookup: request.lookup_from.map(lookup_from).transpose()?,
        names_missing_points: false,
        offset: request.offset.map(count).unwrap_or_default(),
        with_payload: with_payload_from(request.with_payload)?,
        with_vector: Some(with_vectors_from(request.with_vectors)),
    })
}

fn prefetch_from(prefetch: PrefetchQuery) -> Result<Query, Error> {
    query_from(QueryPoints {
        prefetch: prefetch.prefetch,
        query: prefetch.query,
        using: prefetch.using,
        filter: prefetch.filter,
        params: prefetch.params,
        score_threshold: prefetch.score_threshold,
        limit: prefetch.limit,
        lookup_from: prefetch.lookup_from,
        ..QueryPoints::default()
    })
}

fn lookup_from(lookup: proto::LookupLocation) -> Result<Lookup, Error> {
    no_shard_key(lookup.shard_key_selector.as_ref())?;
    Ok(Lookup { collection: lookup.collection_name, vector: lookup.vector_name })
}

fn grouping(
    by: &str,
    size: Option<u64>,
    limit: Option<u64>,
    lookup: Option<proto::WithLookup>,
) -> Result<Grouping, Error> {
    let lookup = lookup.map(|lookup| {
        Ok::<_, Error>(WithLookup {
            collection: lookup.collection,
            with_payload: with_payload_from(lookup.with_payload)?.unwrap_or(true.into()),
            with_vector: with_vectors_from(lookup.with_vectors),
        })
    });
    Ok(Grouping { by: path_from(by)?, size: size.map(count), limit: limit.map(count), lookup: lookup.transpose()? })
}

/// A query with grouped results.
pub(super) fn query_groups_from(request: QueryPointGroups) -> Result<(Query, Grouping), Error> {
    let grouping = grouping(&request.group_by, request.group_size, request.limit, request.with_lookup)?;
    let query = QueryPoints {
        prefetch: request.prefetch,
        query: request.query,
        using: request.using,
        filter: request.filter,
        params: request.params,
        score_threshold: request.score_threshold,
        with_payload: request.with_payload,
        with_vectors: request.with_vectors,
        lookup_from: request.lookup_from,
        shard_key_selector: request.shard_key_selector,
        ..QueryPoints::default()
    };
    Ok((query_from(query)?, grouping))
}

/// The older search as a query.
pub(super) fn search_from(request: SearchPoints) -> Result<Query, Error> {
    let vector = match request.sparse_indices {
        Some(indices) => VectorInternal::Sparse(SparseVector { indices: indices.data, values: request.vector }),
        None => VectorInternal::Dense(request.vector),
    };
    let query = query_from(QueryPoints {
        using: request.vector_name,
        filter: request.filter,
        params: request.params,
        score_threshold: request.score_threshold,
        limit: Some(request.limit),
        offset: request.offset,
        with_payload: request.with_payload,
        with_vectors: request.with_vectors,
        shard_key_selector: request.shard_key_selector,
        ..QueryPoints::default()
    })?;
    Ok(Query { kind: Some(Kind::nearest(Target::Vector(vector))), ..query })
}

/// The older search with grouped results.
pub(super) fn search_groups_from(request: SearchPointGroups) -> Result<(Query, Grouping), Error> {
    let limit = Some(u64::from(request.limit));
    let grouping = grouping(&request.group_by, Some(request.group_size.into()), limit, request.with_lookup)?;
    let search = SearchPoints {
        vector: request.vector,
        filter: request.filter,
        with_payload: request.with_payload,
        params: request.params,
        score_threshold: request.score_threshold,
        vector_name: request.vector_name,
        with_vectors: request.with_vectors,
        shard_key_selector: request.shard_key_selector,
        sparse_indices: request.sparse_indices,
        ..SearchPoints::default()
    };
    Ok((search_from(search)?, grouping))
}

/// The older recommendation as a query.
pub(super) fn recommend_from(request: RecommendPoints) -> Result<Query, Error> {
    let examples = |ids: Vec<proto::PointId>, vectors: Vec<proto::Vector>| {
        let ids = ids.into_iter().map(|id| id_from(Some(id)).map(Target::Id));
        ids.chain(vectors.into_iter().map(vector_target)).collect::<Result<Vec<_>, _>>()
    };
    let positive = examples(request.positive, request.positive_vectors)?;
    let negative = examples(request.negative, request.negative_vectors)?;
    let kind = Kind::Vector(recommendation(strategy_from(request.strategy)?, positive, negative)?);
    let query = query_from(QueryPoints {
        using: request.using,
        filter: request.filter,
        params: request.params,
        score_threshold: request.score_threshold,
        limit: Some(request.limit),
        offset: request.offset,
        with_payload: request.with_payload,
        with_vectors: request.with_vectors,
        lookup_from: request.lookup_from,
        shard_key_selector: request.shard_key_selector,
        ..QueryPoints::default()
    })?;
    Ok(Query { kind: Some(kind), names_missing_points: true, ..query })
}

/// The older recommendation with grouped results.
pub(super) fn recommend_groups_from(request: RecommendPointGroups) -> Result<(Query, Grouping), Error> {
    let limit = Some(u64::from(request.limit));
    let grouping = grouping(&request.group_by, Some(request.group_size.into()), limit, request.with_lookup)?;
    let recommend = RecommendPoints {
        positive: request.positive,
        negative: request.negative,
        filter: request.filter,
        with_payload: request.with_payload,
        params: request.params,
        score_threshold: request.score_threshold,
        using: request.using,
        with_vectors: request.with_vectors,
        lookup_from: request.lookup_from,
        strategy: request.strategy,
        positive_vectors: request.positive_vectors,
        negative_vectors: request.negative_vectors,
        shard_key_selector: request.shard_key_selector,
        ..RecommendPoints::default()
    };
    Ok((recommend_from(recommend)?, grouping))
}

/// The older discovery as a query.
pub(super) fn discover_from(request: DiscoverPoints) -> Result<Query, Error> {
    let example = |example: Option<proto::VectorExample>| match required(
        example.and_then(|example| example.example),
        "vector example",
    )? {
        vector_example::Example::Id(id) => id_from(Some(id)).map(Target::Id),
        vector_example::Example::Vector(vector) => vector_target(vector),
    };
    let target = match request.target.and_then(|target| target.target) {
        Some(target_vector::Target::Single(single)) => Some(example(Some(single))?),
        None => None,
    };
    let pairs = request.context.into_iter().map(|pair| Ok((example(pair.positive)?, example(pair.negative)?)));
    let kind = Kind::Vector(discovery(target, pairs.collect::<Result<_, Error>>()?)?);
    let query = query_from(QueryPoints {
        using: request.using,
        filter: request.filter,
        params: request.params,
        limit: Some(request.limit),
        offset: request.offset,
        with_payload: request.with_payload,
        with_vectors: request.with_vectors,
        lookup_from: request.lookup_from,
        shard_key_selector: request.shard_key_selector,
        ..QueryPoints::default()
    })?;
    Ok(Query { kind: Some(kind), names_missing_points: true, ..query })
}

fn strategy_from(strategy: Option<i32>) -> Result<Strategy, Error> {
    match strategy.map(proto::RecommendStrategy::try_from) {
        None | Some(Ok(proto::RecommendStrategy::AverageVector)) => Ok(Strategy::AverageVector),
        Some(Ok(proto::RecommendStrategy::BestScore)) => Ok(Strategy::BestScore),
        Some(Ok(proto::RecommendStrategy::SumScores)) => Ok(Strategy::SumScores),
        Some(Err(_)) => Err(Error::Format("Unknown recommend strategy".to_owned())),
    }
}

fn vector_target(vector: proto::Vector) -> Result<Target, Error> {
    match vector_from(vector)? {
        VectorPersisted::MultiDense(vectors) => Target::multi(vectors),
        VectorPersisted::Dense(vector) => Ok(Target::Vector(VectorInternal::Dense(vector))),
        VectorPersisted::Sparse(vector) => Ok(Target::Vector(VectorInternal::Sparse(vector))),
    }
}

fn kind_from(query: proto::Query) -> Result<Kind, Error> {
    use proto::query::Variant;
    Ok(match required(query.variant, "query")? {
        Variant::Nearest(input) => Kind::nearest(target_from(Some(input))?),
        Variant::OrderBy(order) => Kind::OrderBy(order_from(order)?),
        Variant::Fusion(fusion) => match proto::Fusion::try_from(fusion) {
            Ok(proto::Fusion::Rrf) => Kind::Fusion(rrf(None, None)?),
            Ok(proto::Fusion::Dbsf) => Kind::Fusion(Fusion::Dbsf),
            Err(_) => return Err(Error::Format(format!("Unknown fusion {fusion}"))),
        },
        Variant::Rrf(fusion) => {
            let weights = (!fusion.weights.is_empty()).then_some(fusion.weights);
            Kind::Fusion(rrf(fusion.k.map(|k| k as usize), weights)?)
        }
        Variant::Sample(_) => Kind::Sample,
        Variant::Recommend(input) => Kind::Vector(VectorQuery::Recommend {
            strategy: strategy_from(input.strategy)?,
            positive: targets_from(input.positive)?,
            negative: targets_from(input.negative)?,
        }),
        Variant::Discover(input) => Kind::Vector(VectorQuery::Discover {
            target: target_from(input.target)?,
            pairs: pairs_from(input.context.map(|context| context.pairs).unwrap_or_default())?,
        }),
        Variant::Context(input) => Kind::Vector(VectorQuery::Context(pairs_from(input.pairs)?)),
        Variant::Formula(formula) => Kind::Formula(Box::new(formula_from(formula)?)),
        Variant::NearestWithMmr(input) => {
            let settings = required(input.mmr, "mmr")?;
            let candidates = settings.candidates_limit.map(|limit| limit as usize);
            mmr(target_from(input.nearest)?, settings.diversity, candidates)?
        }
        Variant::RelevanceFeedback(input) => {
            let feedback_strategy::Variant::Naive(naive) =
                required(input.strategy.and_then(|strategy| strategy.variant), "strategy")?;
            let feedback = input.feedback.into_iter().map(|item| Ok((target_from(item.example)?, item.score)));
            Kind::Vector(VectorQuery::Feedback {
                target: target_from(input.target)?,
                feedback: feedback.collect::<Result<_, Error>>()?,
                coefficients: [naive.a, naive.b, naive.c],
            })
        }
        Variant::Text(_) => return Err(Error::Unimplemented("query kind `text`".to_owned())),
    })
}

fn targets_from(inputs: Vec<proto::VectorInput>) -> Result<Vec<Target>, Error> {
    inputs.into_iter().map(|input| target_from(Some(input))).collect()
}

fn pairs_from(pairs: Vec<ContextInputPair>) -> Result<Vec<(Target, Target)>, Error> {
    pairs.into_iter().map(|pair| Ok((target_from(pair.positive)?, target_from(pair.negative)?))).collect()
}

fn target_from(input: Option<proto::VectorInput>) -> Result<Target, Error> {
    use vector_input::Variant;
    match required(input.and_then(|input| input.variant), "query vector")? {
        Variant::Id(id) => id_from(Some(id)).map(Target::Id),
        Variant::Dense(dense) => Ok(Target::Vector(VectorInternal::Dense(dense.data))),
        Variant::Sparse(sparse) => {
            Ok(Target::Vector(VectorInternal::Sparse(SparseVector { indices: sparse.indices, values: sparse.values })))
        }
        Variant::MultiDense(multi) => Target::multi(multi_from(multi)),
        Variant::Document(_) | Variant::Image(_) | Variant::Object(_) => {
            Err(Error::Unimplemented("inference (a text, image or object instead of a vector)".to_owned()))
        }
    }
}

/// The order of a scroll or query.
pub(super) fn order_from(order: proto::OrderBy) -> Result<OrderBy, Error> {
    let direction = order.direction.map(|direction| match proto::Direction::try_from(direction) {
        Ok(proto::Direction::Desc) => Direction::Desc,
        _ => Direction::Asc,
    });
    let start_from = match order.start_from.and_then(|start| start.value) {
        None => None,
        Some(start_from::Value::Float(value)) => Some(StartFrom::Float(value)),
        Some(start_from::Value::Integer(value)) => Some(StartFrom::Integer(value)),
        Some(start_from::Value::Datetime(text)) => Some(
            serde_json::from_value(text.into())
                .map(StartFrom::Datetime)
                .map_err(|error| Error::Format(format!("Malformed date in `start_from`: {error}")))?,
        ),
        Some(start_from::Value::Timestamp(_)) => {
            return Err(Error::Unimplemented("`start_from` as a timestamp".to_owned()));
        }
    };
    Ok(OrderBy { key: path_from(&order.key)?, direction, start_from })
}

fn params_from(params: &proto::SearchParams) -> Result<SearchParams, Error> {
    if params.idf.is_some() {
        return Err(Error::Unimplemented("search parameter `idf`".to_owned()));
    }
    let acorn = params.acorn.as_ref().map(|acorn| {
        serde_json::from_value::<AcornSearchParams>(serde_json::json!({
            "enable": acorn.enable.unwrap_or_default(), "max_selectivity": acorn.max_selectivity,
        }))
        .map_err(|error| Error::Format(format!("Malformed search parameters: {error}")))
    });
    Ok(SearchParams {
        hnsw_ef: params.hnsw_ef.map(count),
        exact: params.exact.unwrap_or_default(),
        quantization: params.quantization.as_ref().map(|quantization| QuantizationSearchParams {
            ignore: quantization.ignore.unwrap_or_default(),
            rescore: quantization.rescore,
            oversampling: quantization.oversampling,
        }),
        indexed_only: params.indexed_only.unwrap_or_default(),
        acorn: acorn.transpose()?,
    })
}
