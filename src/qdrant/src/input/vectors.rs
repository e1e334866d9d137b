//! Vectors in REST requests.
//!
//! They are parsed straight into numbers: the engine's own untagged types would first build a tree of every number,
//! which would dominate a bulk upload.

use std::collections::HashMap;
use std::fmt;

use qdrant_edge::{SparseVector, VectorPersisted, VectorStructPersisted};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::UNIMPLEMENTED;

const EXPECTED: &str = "a vector: an array of numbers, an array of such arrays, a sparse vector with `indices` and \
                        `values`, or an object of vectors by name";

/// The vectors of one point.
#[derive(Debug)]
pub(crate) struct PointVectors(pub VectorStructPersisted);

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
            if matches!(name.as_str(), "text" | "image" | "object") {
                // A vector may have such a name; an object to embed has no vector there.
                let vector = map.next_value::<OneVector>().map_err(|_| {
                    A::Error::custom(format!("{UNIMPLEMENTED}inference (`{name}` instead of a vector)"))
                })?;
                vectors.insert(name, vector.0);
                continue;
            }
            vectors.insert(name, map.next_value::<OneVector>()?.0);
        }
        Ok(VectorStructPersisted::Named(vectors))
    }
}

/// One vector under one name.
#[derive(Debug)]
pub(crate) struct OneVector(pub VectorPersisted);

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
        if let Some(kind) = ["text", "image", "object"].into_iter().find(|kind| value.get(kind).is_some()) {
            return Err(A::Error::custom(format!("{UNIMPLEMENTED}inference (`{kind}` instead of a vector)")));
        }
        serde_json::from_value::<SparseVector>(value)
            .map(VectorPersisted::Sparse)
            .map_err(|_| A::Error::custom("the vector has no `indices` and `values`"))
    }
}

enum Array {
    Dense(Vec<f32>),
    Multi(Vec<Vec<f32>>),
}

/// The first item decides between numbers and arrays; the rest is parsed accordingly.
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
