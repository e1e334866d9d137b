//! Points as REST clients write them.
//!
//! Vectors are read straight into numbers: the engine's own untagged types would build a tree of every
//! number first, which is what a bulk upload spends its time on.

use std::collections::HashMap;
use std::fmt;

use qdrant_edge::{
    Filter, Payload, PointId, PointStructPersisted, PointVectorsPersisted, SparseVector, UpdateMode, VectorPersisted,
    VectorStructPersisted,
};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::collection::Selection;
use super::error::Error;

const EXPECTED: &str = "a vector: an array of numbers, an array of such arrays, a sparse vector with `indices` and \
                        `values`, or an object of vectors by name";

/// The vectors of one point.
#[derive(Debug)]
pub(super) struct PointVectors(pub VectorStructPersisted);

impl<'de> Deserialize<'de> for PointVectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PointVectorsVisitor).map(Self)
    }
}

struct PointVectorsVisitor;

impl<'de> Visitor<'de> for PointVectorsVisitor {
    type Value = VectorStructPersisted;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Ok(match read_array(seq)? {
            Array::Dense(vector) => VectorStructPersisted::Single(vector),
            Array::Multi(vectors) => VectorStructPersisted::MultiDense(vectors),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut vectors = HashMap::new();
        while let Some(name) = map.next_key::<String>()? {
            vectors.insert(name, map.next_value::<OneVector>()?.0);
        }
        Ok(VectorStructPersisted::Named(vectors))
    }
}

/// One vector under one name.
#[derive(Debug)]
pub(super) struct OneVector(pub VectorPersisted);

impl<'de> Deserialize<'de> for OneVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneVectorVisitor).map(Self)
    }
}

struct OneVectorVisitor;

impl<'de> Visitor<'de> for OneVectorVisitor {
    type Value = VectorPersisted;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Ok(match read_array(seq)? {
            Array::Dense(vector) => VectorPersisted::Dense(vector),
            Array::Multi(vectors) => VectorPersisted::MultiDense(vectors),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let value = serde_json::Value::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        serde_json::from_value::<SparseVector>(value).map(VectorPersisted::Sparse).map_err(|_| {
            A::Error::custom("the vector has no `indices` and `values`; texts and images would need an inference service, which the embedded Qdrant does not have")
        })
    }
}

enum Array {
    Dense(Vec<f32>),
    Multi(Vec<Vec<f32>>),
}

/// The first item tells numbers from arrays; the rest is then read as what it must be.
enum First {
    Number(f32),
    Array(Vec<f32>),
}

struct FirstSeed;

impl<'de> DeserializeSeed<'de> for FirstSeed {
    type Value = First;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<First, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FirstSeed {
    type Value = First;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a number or an array of numbers")
    }

    #[expect(clippy::cast_possible_truncation, reason = "vectors hold 32-bit numbers")]
    fn visit_f64<E>(self, value: f64) -> Result<First, E> {
        Ok(First::Number(value as f32))
    }

    #[expect(clippy::cast_precision_loss, reason = "vectors hold 32-bit numbers")]
    fn visit_u64<E>(self, value: u64) -> Result<First, E> {
        Ok(First::Number(value as f32))
    }

    #[expect(clippy::cast_precision_loss, reason = "vectors hold 32-bit numbers")]
    fn visit_i64<E>(self, value: i64) -> Result<First, E> {
        Ok(First::Number(value as f32))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<First, A::Error> {
        let mut vector = Vec::new();
        while let Some(number) = seq.next_element()? {
            vector.push(number);
        }
        Ok(First::Array(vector))
    }
}

fn read_array<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Array, A::Error> {
    Ok(match seq.next_element_seed(FirstSeed)? {
        None => Array::Dense(Vec::new()),
        Some(First::Number(first)) => {
            let mut vector = Vec::with_capacity(seq.size_hint().unwrap_or(1024));
            vector.push(first);
            while let Some(number) = seq.next_element()? {
                vector.push(number);
            }
            Array::Dense(vector)
        }
        Some(First::Array(first)) => {
            let mut vectors = vec![first];
            while let Some(vector) = seq.next_element()? {
                vectors.push(vector);
            }
            Array::Multi(vectors)
        }
    })
}

/// One point of an upsert.
#[derive(Debug, Deserialize)]
pub struct Point {
    id: PointId,
    vector: PointVectors,
    #[serde(default)]
    payload: Option<Payload>,
}

impl From<Point> for PointStructPersisted {
    fn from(point: Point) -> Self {
        Self { id: point.id, vector: point.vector.0, payload: point.payload }
    }
}

/// Points column by column.
#[derive(Debug, Deserialize)]
pub(super) struct Batch {
    ids: Vec<PointId>,
    vectors: BatchVectors,
    #[serde(default)]
    payloads: Option<Vec<Option<Payload>>>,
}

#[derive(Debug)]
enum BatchVectors {
    Unnamed(Vec<PointVectors>),
    Named(HashMap<String, Vec<OneVector>>),
}

impl<'de> Deserialize<'de> for BatchVectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BatchVisitor;
        impl<'de> Visitor<'de> for BatchVisitor {
            type Value = BatchVectors;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an array of vectors, or an object of such arrays by name")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<BatchVectors, A::Error> {
                let mut vectors = Vec::new();
                while let Some(vector) = seq.next_element()? {
                    vectors.push(vector);
                }
                Ok(BatchVectors::Unnamed(vectors))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BatchVectors, A::Error> {
                let mut named = HashMap::new();
                while let Some((name, vectors)) = map.next_entry()? {
                    named.insert(name, vectors);
                }
                Ok(BatchVectors::Named(named))
            }
        }
        deserializer.deserialize_any(BatchVisitor)
    }
}

impl Batch {
    fn into_points(self) -> Result<Vec<PointStructPersisted>, Error> {
        let count = self.ids.len();
        let mismatch = |what: &str, got: usize| {
            Error::Invalid(format!(
                "Validation error in JSON body: [batch: number of ids and {what} must be equal ({count} != {got})]"
            ))
        };
        let vectors: Vec<VectorStructPersisted> = match self.vectors {
            BatchVectors::Unnamed(vectors) => {
                if vectors.len() != count {
                    return Err(mismatch("vectors", vectors.len()));
                }
                vectors.into_iter().map(|vector| vector.0).collect()
            }
            BatchVectors::Named(named) => {
                let mut maps: Vec<HashMap<String, VectorPersisted>> = vec![HashMap::new(); count];
                for (name, vectors) in named {
                    if vectors.len() != count {
                        return Err(mismatch("vectors", vectors.len()));
                    }
                    for (map, vector) in maps.iter_mut().zip(vectors) {
                        map.insert(name.clone(), vector.0);
                    }
                }
                maps.into_iter().map(VectorStructPersisted::Named).collect()
            }
        };
        let payloads = self.payloads.unwrap_or_else(|| vec![None; count]);
        if payloads.len() != count {
            return Err(mismatch("payloads", payloads.len()));
        }
        let columns = self.ids.into_iter().zip(vectors).zip(payloads);
        Ok(columns.map(|((id, vector), payload)| PointStructPersisted { id, vector, payload }).collect())
    }
}

/// Body of an upsert: `points` or `batch`.
#[derive(Debug, Deserialize)]
pub(super) struct Upsert {
    #[serde(default)]
    points: Option<Vec<Point>>,
    #[serde(default)]
    batch: Option<Batch>,
    /// Only points that match are replaced.
    #[serde(default)]
    update_filter: Option<Filter>,
    /// Whether points must be new, or must be known.
    #[serde(default)]
    update_mode: Option<UpdateMode>,
    #[serde(default)]
    shard_key: Option<serde_json::Value>,
}

impl Upsert {
    /// The points, whichever form they came in.
    ///
    /// # Errors
    /// Neither or both forms, columns of different lengths, or an option that is not implemented.
    pub(super) fn into_points(self) -> Result<Vec<PointStructPersisted>, Error> {
        if self.update_filter.is_some() || self.update_mode.is_some_and(|mode| mode != UpdateMode::Upsert) {
            return Err(Error::Unimplemented("conditional upsert".to_owned()));
        }
        if self.shard_key.is_some() {
            return Err(Error::Unimplemented("shard_key".to_owned()));
        }
        match (self.points, self.batch) {
            (Some(points), None) => Ok(points.into_iter().map(Into::into).collect()),
            (None, Some(batch)) => batch.into_points(),
            _ => Err(Error::Format("Format error in JSON body: expected either `points` or `batch`".to_owned())),
        }
    }
}

/// Points chosen by `points` (ids) or `filter`.
#[derive(Debug, Deserialize)]
pub(super) struct Selector {
    #[serde(default)]
    points: Option<Vec<PointId>>,
    #[serde(default)]
    filter: Option<Filter>,
}

impl Selector {
    /// The choice.
    ///
    /// # Errors
    /// Neither or both were given.
    pub(super) fn into_selection(self) -> Result<Selection, Error> {
        match (self.points, self.filter) {
            (Some(ids), None) => Ok(Selection::Ids(ids)),
            (None, Some(filter)) => Ok(Selection::Filter(filter)),
            _ => Err(Error::Format("Format error in JSON body: expected either `points` or `filter`".to_owned())),
        }
    }
}

/// New vectors of one point.
#[derive(Debug, Deserialize)]
pub struct NewVectors {
    id: PointId,
    vector: PointVectors,
}

impl From<NewVectors> for PointVectorsPersisted {
    fn from(new: NewVectors) -> Self {
        Self { id: new.id, vector: new.vector.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(json: &str) -> Result<Vec<PointStructPersisted>, String> {
        serde_json::from_str::<Upsert>(json)
            .map_err(|error| error.to_string())?
            .into_points()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_of_vector_is_read() {
        let read = points(
            r#"{"points":[
                {"id":1,"vector":[1,-2,0.5]},
                {"id":2,"vector":[[1.0],[2.0]]},
                {"id":"550e8400-e29b-41d4-a716-446655440000","vector":{"a":[1.5],"s":{"indices":[3],"values":[0.5]}},"payload":{"k":1}}
            ]}"#,
        )
        .expect("readable");
        assert_eq!(read[0].vector, VectorStructPersisted::Single(vec![1.0, -2.0, 0.5]));
        assert_eq!(read[1].vector, VectorStructPersisted::MultiDense(vec![vec![1.0], vec![2.0]]));
        let VectorStructPersisted::Named(named) = &read[2].vector else { panic!("named vectors") };
        assert_eq!(named["a"], VectorPersisted::Dense(vec![1.5]));
        assert_eq!(named["s"], VectorPersisted::new_sparse(vec![3], vec![0.5]));
    }

    #[test]
    fn a_batch_becomes_points() {
        let read = points(r#"{"batch":{"ids":[1,2],"vectors":[[1.0],[2.0]],"payloads":[{"a":1},null]}}"#);
        let read = read.expect("readable");
        assert_eq!(read[1].vector, VectorStructPersisted::Single(vec![2.0]));
        assert!(read[0].payload.is_some() && read[1].payload.is_none());
        let short = points(r#"{"batch":{"ids":[1,2],"vectors":[[1.0]]}}"#).unwrap_err();
        assert!(short.contains("2 != 1"), "{short}");
    }

    #[test]
    fn only_numbers_and_uuids_are_ids() {
        let error = points(r#"{"points":[{"id":"doc:1#3","vector":[1]}]}"#).unwrap_err();
        assert!(
            error.contains("is not a valid point ID, valid values are either an unsigned integer or a UUID"),
            "{error}"
        );
        assert!(points(r#"{"points":[{"id":-1,"vector":[1]}]}"#).is_err());
    }

    #[test]
    fn a_text_instead_of_a_vector_is_refused() {
        assert!(points(r#"{"points":[{"id":1,"vector":{"text":"a","model":"m"}}]}"#).is_err());
        assert!(points(r#"{"points":[{"id":1,"vector":[1,"a"]}]}"#).is_err());
    }
}
