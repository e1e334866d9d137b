//! Queries, scroll order and search parameters.

use qdrant_client::qdrant::{self as proto, PrefetchQuery, QueryPoints, SearchPoints, start_from, vector_input};
use qdrant_edge::{
    AcornSearchParams, Direction, Fusion, OrderBy, QuantizationSearchParams, SearchParams, SparseVector, StartFrom,
    VectorInternal,
};

use super::convert::{id_from, multi_from, path_from, with_payload_from, with_vectors_from};
use super::filter::filter_from;
use super::required;
use crate::subjects::qdrant::error::Error;
use crate::subjects::qdrant::query::{Kind, Query, Target};

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A query.
pub(super) fn query_from(request: QueryPoints) -> Result<Query, Error> {
    if request.lookup_from.is_some() {
        return Err(Error::Unimplemented("lookup_from".to_owned()));
    }
    Ok(Query {
        kind: request.query.map(kind_from).transpose()?,
        using: request.using.unwrap_or_default(),
        prefetch: request.prefetch.into_iter().map(prefetch_from).collect::<Result<_, _>>()?,
        filter: request.filter.map(filter_from).transpose()?,
        params: request.params.as_ref().map(params_from).transpose()?,
        score_threshold: request.score_threshold,
        limit: request.limit.map(count),
        offset: request.offset.map(count).unwrap_or_default(),
        with_payload: with_payload_from(request.with_payload)?,
        with_vector: Some(with_vectors_from(request.with_vectors)),
    })
}

fn prefetch_from(prefetch: PrefetchQuery) -> Result<Query, Error> {
    if prefetch.lookup_from.is_some() {
        return Err(Error::Unimplemented("lookup_from".to_owned()));
    }
    Ok(Query {
        kind: prefetch.query.map(kind_from).transpose()?,
        using: prefetch.using.unwrap_or_default(),
        prefetch: prefetch.prefetch.into_iter().map(prefetch_from).collect::<Result<_, _>>()?,
        filter: prefetch.filter.map(filter_from).transpose()?,
        params: prefetch.params.as_ref().map(params_from).transpose()?,
        score_threshold: prefetch.score_threshold,
        limit: prefetch.limit.map(count),
        ..Query::default()
    })
}

/// The older search as a query.
pub(super) fn search_from(request: SearchPoints) -> Result<Query, Error> {
    let vector = match request.sparse_indices {
        Some(indices) => VectorInternal::Sparse(SparseVector { indices: indices.data, values: request.vector }),
        None => VectorInternal::Dense(request.vector),
    };
    Ok(Query {
        kind: Some(Kind::Nearest(Target::Vector(vector))),
        using: request.vector_name.unwrap_or_default(),
        filter: request.filter.map(filter_from).transpose()?,
        params: request.params.as_ref().map(params_from).transpose()?,
        score_threshold: request.score_threshold,
        limit: Some(count(request.limit)),
        offset: request.offset.map(count).unwrap_or_default(),
        with_payload: with_payload_from(request.with_payload)?,
        with_vector: Some(with_vectors_from(request.with_vectors)),
        ..Query::default()
    })
}

fn kind_from(query: proto::Query) -> Result<Kind, Error> {
    use proto::query::Variant;
    let not_yet = |name: &str| Err(Error::Unimplemented(format!("query kind `{name}`")));
    match required(query.variant, "query")? {
        Variant::Nearest(input) => target_from(input).map(Kind::Nearest),
        Variant::OrderBy(order) => order_from(order).map(Kind::OrderBy),
        Variant::Fusion(fusion) => match proto::Fusion::try_from(fusion) {
            Ok(proto::Fusion::Rrf) => Ok(Kind::Fusion(Fusion::Rrf { k: 2, weights: None })),
            Ok(proto::Fusion::Dbsf) => Ok(Kind::Fusion(Fusion::Dbsf)),
            Err(_) => Err(Error::Format(format!("Unknown fusion {fusion}"))),
        },
        Variant::Rrf(rrf) if rrf.weights.is_empty() => {
            Ok(Kind::Fusion(Fusion::Rrf { k: rrf.k.map_or(2, |k| k as usize), weights: None }))
        }
        Variant::Rrf(_) => not_yet("rrf with weights"),
        Variant::Sample(_) => Ok(Kind::Sample),
        Variant::Recommend(_) => not_yet("recommend"),
        Variant::Discover(_) => not_yet("discover"),
        Variant::Context(_) => not_yet("context"),
        Variant::Formula(_) => not_yet("formula"),
        Variant::NearestWithMmr(_) => not_yet("mmr"),
        Variant::RelevanceFeedback(_) => not_yet("relevance_feedback"),
        Variant::Text(_) => not_yet("text"),
    }
}

fn target_from(input: proto::VectorInput) -> Result<Target, Error> {
    use vector_input::Variant;
    match required(input.variant, "query vector")? {
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
