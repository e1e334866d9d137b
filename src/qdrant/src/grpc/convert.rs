//! Converts ids, payloads, vectors and points between gRPC messages and the engine's types.

use std::collections::HashMap;

use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::vectors::VectorsOptions;
use qdrant_client::qdrant::{
    self as proto, DenseVector, ListValue, MultiDenseVector, NamedVectorsOutput, RetrievedPoint, Struct, Value,
    VectorOutput, VectorsOutput, vector, vector_output, vectors_output, with_payload_selector, with_vectors_selector,
};
use qdrant_edge::external::uuid::Uuid;
use qdrant_edge::{
    JsonPath, OrderValue, Payload, PayloadSelector, PayloadSelectorExclude, PayloadSelectorInclude, PointId,
    PointStructPersisted, Record, ScoredPoint, SparseVector, VectorPersisted, VectorStructInternal,
    VectorStructPersisted, WithPayloadInterface, WithVector,
};
use serde_json::{Map, Number, Value as Json};

use super::required;
use crate::error::Error;

/// A point id.
pub(super) fn id_from(id: Option<proto::PointId>) -> Result<PointId, Error> {
    match required(id.and_then(|id| id.point_id_options), "point id")? {
        PointIdOptions::Num(number) => Ok(PointId::NumId(number)),
        PointIdOptions::Uuid(text) => Uuid::parse_str(&text)
            .map(PointId::Uuid)
            .map_err(|_| Error::Format(format!("Unable to parse UUID: {text}"))),
    }
}

/// Several point ids.
pub(super) fn ids_from(ids: Vec<proto::PointId>) -> Result<Vec<PointId>, Error> {
    ids.into_iter().map(|id| id_from(Some(id))).collect()
}

/// A point id as a message.
pub(super) fn id_to(id: PointId) -> proto::PointId {
    let options = match id {
        PointId::NumId(number) => PointIdOptions::Num(number),
        PointId::Uuid(uuid) => PointIdOptions::Uuid(uuid.to_string()),
    };
    proto::PointId { point_id_options: Some(options) }
}

/// A payload path.
pub(super) fn path_from(path: &str) -> Result<JsonPath, Error> {
    path.parse().map_err(|()| Error::Format(format!("Malformed payload key: {path}")))
}

/// Several payload paths.
pub(super) fn paths_from(paths: &[String]) -> Result<Vec<JsonPath>, Error> {
    paths.iter().map(|path| path_from(path)).collect()
}

/// A payload or other JSON object.
pub(super) fn object_from(fields: HashMap<String, Value>) -> Result<Map<String, Json>, Error> {
    fields.into_iter().map(|(name, value)| Ok((name, json_from(value)?))).collect()
}

fn json_from(value: Value) -> Result<Json, Error> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::DoubleValue(number)) => Number::from_f64(number)
            .map(Json::Number)
            .ok_or_else(|| Error::Format(format!("payload number {number} is not finite")))?,
        Some(Kind::IntegerValue(number)) => number.into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::BoolValue(flag)) => flag.into(),
        Some(Kind::StructValue(object)) => Json::Object(object_from(object.fields)?),
        Some(Kind::ListValue(list)) => Json::Array(list.values.into_iter().map(json_from).collect::<Result<_, _>>()?),
    })
}

/// A payload or other JSON object as a message.
pub(super) fn object_to(object: Map<String, Json>) -> HashMap<String, Value> {
    object.into_iter().map(|(name, value)| (name, json_to(value))).collect()
}

fn json_to(value: Json) -> Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(flag),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| Kind::DoubleValue(number.as_f64().unwrap_or_default()), Kind::IntegerValue)
        }
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) => Kind::ListValue(ListValue { values: values.into_iter().map(json_to).collect() }),
        Json::Object(object) => Kind::StructValue(Struct { fields: object_to(object) }),
    };
    Value { kind: Some(kind) }
}

fn inference() -> Error {
    Error::Unimplemented("inference (a text, image or object instead of a vector)".to_owned())
}

/// One vector.
#[expect(deprecated, reason = "older clients still send vectors in the fields that were there first")]
pub(super) fn vector_from(vector: proto::Vector) -> Result<VectorPersisted, Error> {
    use vector::Vector as Kind;
    match vector.vector {
        Some(Kind::Dense(dense)) => Ok(VectorPersisted::Dense(dense.data)),
        Some(Kind::Sparse(sparse)) => Ok(sparse_from(sparse)),
        Some(Kind::MultiDense(multi)) => Ok(VectorPersisted::MultiDense(multi_from(multi))),
        Some(Kind::Document(_) | Kind::Image(_) | Kind::Object(_)) => Err(inference()),
        None => {
            if let Some(indices) = vector.indices {
                let sparse = SparseVector { indices: indices.data, values: vector.data };
                return Ok(VectorPersisted::Sparse(sparse));
            }
            match vector.vectors_count {
                Some(count) if count > 0 => {
                    let size = vector.data.len() / count as usize;
                    if size == 0 || size * count as usize != vector.data.len() {
                        return Err(Error::Format("a multivector does not divide into its vectors".to_owned()));
                    }
                    Ok(VectorPersisted::MultiDense(vector.data.chunks(size).map(<[f32]>::to_vec).collect()))
                }
                _ => Ok(VectorPersisted::Dense(vector.data)),
            }
        }
    }
}

fn sparse_from(sparse: proto::SparseVector) -> VectorPersisted {
    VectorPersisted::new_sparse(sparse.indices, sparse.values)
}

/// Several dense vectors.
pub(super) fn multi_from(multi: MultiDenseVector) -> Vec<Vec<f32>> {
    multi.vectors.into_iter().map(|dense| dense.data).collect()
}

/// The vectors of a point.
pub(super) fn vectors_from(vectors: Option<proto::Vectors>) -> Result<VectorStructPersisted, Error> {
    match vectors.and_then(|vectors| vectors.vectors_options) {
        // A point may have no vector.
        None => Ok(VectorStructPersisted::Named(HashMap::new())),
        Some(VectorsOptions::Vector(vector)) => Ok(match vector_from(vector)? {
            VectorPersisted::Dense(vector) => VectorStructPersisted::Single(vector),
            VectorPersisted::MultiDense(vectors) => VectorStructPersisted::MultiDense(vectors),
            VectorPersisted::Sparse(_) => {
                return Err(Error::BadInput("Sparse vector must have a name".to_owned()));
            }
        }),
        Some(VectorsOptions::Vectors(named)) => {
            let vectors = named.vectors.into_iter().map(|(name, vector)| Ok((name, vector_from(vector)?)));
            Ok(VectorStructPersisted::Named(vectors.collect::<Result<_, Error>>()?))
        }
    }
}

/// A point of an upsert.
pub(super) fn point_from(point: proto::PointStruct) -> Result<PointStructPersisted, Error> {
    Ok(PointStructPersisted {
        id: id_from(point.id)?,
        vector: vectors_from(point.vectors)?,
        payload: Some(Payload(object_from(point.payload)?)),
    })
}

#[expect(deprecated, reason = "the message has fields that only older servers fill")]
fn vector_to(vector: VectorPersisted) -> VectorOutput {
    let dense = |data| DenseVector { data };
    let kind = match vector {
        VectorPersisted::Dense(vector) => vector_output::Vector::Dense(dense(vector)),
        VectorPersisted::Sparse(sparse) => {
            vector_output::Vector::Sparse(proto::SparseVector { values: sparse.values, indices: sparse.indices })
        }
        VectorPersisted::MultiDense(vectors) => {
            vector_output::Vector::MultiDense(MultiDenseVector { vectors: vectors.into_iter().map(dense).collect() })
        }
    };
    VectorOutput { data: Vec::new(), indices: None, vectors_count: None, vector: Some(kind) }
}

fn vectors_to(vectors: VectorStructInternal) -> VectorsOutput {
    let single = |vector| vectors_output::VectorsOptions::Vector(vector_to(vector));
    let options = match VectorStructPersisted::from(vectors) {
        VectorStructPersisted::Single(vector) => single(VectorPersisted::Dense(vector)),
        VectorStructPersisted::MultiDense(vectors) => single(VectorPersisted::MultiDense(vectors)),
        VectorStructPersisted::Named(named) => vectors_output::VectorsOptions::Vectors(NamedVectorsOutput {
            vectors: named.into_iter().map(|(name, vector)| (name, vector_to(vector))).collect(),
        }),
    };
    VectorsOutput { vectors_options: Some(options) }
}

fn order_to(value: OrderValue) -> proto::OrderValue {
    let variant = match value {
        OrderValue::Int(value) => proto::order_value::Variant::Int(value),
        OrderValue::Float(value) => proto::order_value::Variant::Float(value),
    };
    proto::OrderValue { variant: Some(variant) }
}

/// A stored point as a message.
pub(super) fn record_to(record: Record) -> RetrievedPoint {
    RetrievedPoint {
        id: Some(id_to(record.id)),
        payload: record.payload.map(|payload| object_to(payload.0)).unwrap_or_default(),
        vectors: record.vector.map(vectors_to),
        shard_key: None,
        order_value: record.order_value.map(order_to),
    }
}

/// A found point as a message.
pub(super) fn scored_to(point: ScoredPoint) -> proto::ScoredPoint {
    proto::ScoredPoint {
        id: Some(id_to(point.id)),
        payload: point.payload.map(|payload| object_to(payload.0)).unwrap_or_default(),
        score: point.score,
        version: point.version,
        vectors: point.vector.map(vectors_to),
        shard_key: None,
        order_value: point.order_value.map(order_to),
    }
}

/// The payload selection.
pub(super) fn with_payload_from(
    selector: Option<proto::WithPayloadSelector>,
) -> Result<Option<WithPayloadInterface>, Error> {
    use with_payload_selector::SelectorOptions;
    Ok(match selector.and_then(|selector| selector.selector_options) {
        None => None,
        Some(SelectorOptions::Enable(flag)) => Some(flag.into()),
        Some(SelectorOptions::Include(include)) => {
            Some(WithPayloadInterface::Selector(PayloadSelector::Include(PayloadSelectorInclude {
                include: paths_from(&include.fields)?,
            })))
        }
        Some(SelectorOptions::Exclude(exclude)) => {
            Some(WithPayloadInterface::Selector(PayloadSelector::Exclude(PayloadSelectorExclude {
                exclude: paths_from(&exclude.fields)?,
            })))
        }
    })
}

/// The vector selection.
pub(super) fn with_vectors_from(selector: Option<proto::WithVectorsSelector>) -> WithVector {
    use with_vectors_selector::SelectorOptions;
    match selector.and_then(|selector| selector.selector_options) {
        None => WithVector::Bool(false),
        Some(SelectorOptions::Enable(flag)) => WithVector::Bool(flag),
        Some(SelectorOptions::Include(include)) => WithVector::Selector(include.names),
    }
}
