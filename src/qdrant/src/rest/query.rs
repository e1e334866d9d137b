//! The bodies of queries: `/points/query`, its batches and its groups.

use std::fmt;
use std::marker::PhantomData;

use qdrant_edge::{Filter, Fusion, JsonPath, OrderBy, OrderByInterface, PointId, SearchParams, VectorPersisted};
use qdrant_edge::{VectorInternal, WithPayloadInterface, WithVector};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::App;
use super::formula::formula;
use super::found::{GroupsView, ScoredView};
use super::read::Read;
use crate::error::Error;
use crate::groups::{self, Grouping, WithLookup};
use crate::input::{NoShardKey, OneVector};
use crate::query::{self, Kind, Lookup, Query, Strategy, Target, VectorQuery, mmr, rrf};

/// The collection where named points are looked up.
#[derive(Debug, Deserialize)]
pub(super) struct LookupBody {
    collection: String,
    #[serde(default)]
    vector: Option<String>,
    #[serde(default, rename = "shard_key")]
    _shard_key: NoShardKey,
}

impl From<LookupBody> for Lookup {
    fn from(body: LookupBody) -> Self {
        Self { collection: body.collection, vector: body.vector }
    }
}

/// Body of a query, and of its prefetches.
#[derive(Debug, Deserialize)]
pub(super) struct QueryBody {
    #[serde(default)]
    prefetch: Option<OneOrMany<QueryBody>>,
    #[serde(default)]
    query: Option<Value>,
    #[serde(default)]
    using: Option<String>,
    #[serde(default, deserialize_with = "crate::input::filter::optional")]
    filter: Option<Filter>,
    #[serde(default)]
    params: Option<SearchParams>,
    #[serde(default)]
    score_threshold: Option<f32>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    offset: Option<usize>,
    #[serde(default, alias = "with_vectors")]
    with_vector: Option<WithVector>,
    #[serde(default)]
    with_payload: Option<WithPayloadInterface>,
    #[serde(default)]
    lookup_from: Option<LookupBody>,
    #[serde(default, rename = "shard_key")]
    _shard_key: NoShardKey,
}

#[derive(Debug)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(Box<T>),
}

/// Reads what there is, once. As an untagged enum it would read an array that is wrong somewhere a second time, as an
/// object; prefetches within prefetches then take twice as long with each level.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrManyVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object or an array of objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<OneOrMany<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMany::Many)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMany::One(Box::new(one)))
            }
        }

        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::Many(many) => many,
            Self::One(one) => vec![*one],
        }
    }
}

impl TryFrom<QueryBody> for Query {
    type Error = Error;

    fn try_from(body: QueryBody) -> Result<Self, Error> {
        let prefetch = body.prefetch.map(OneOrMany::into_vec).unwrap_or_default();
        Ok(Self {
            kind: body.query.map(kind).transpose()?,
            using: body.using.unwrap_or_default(),
            prefetch: prefetch.into_iter().map(Self::try_from).collect::<Result<_, _>>()?,
            filter: body.filter,
            params: body.params,
            score_threshold: body.score_threshold,
            limit: body.limit,
            lookup: body.lookup_from.map(Into::into),
            names_missing_points: false,
            offset: body.offset.unwrap_or_default(),
            with_payload: body.with_payload,
            with_vector: body.with_vector,
        })
    }
}

#[derive(Serialize)]
pub(super) struct Points {
    points: Vec<ScoredView>,
}

impl Read for QueryBody {
    type Answer = Points;

    async fn read(self, app: &App, name: &str) -> Result<Points, Error> {
        let found = query::run(&app.storage, name, self.try_into()?).await?;
        Ok(Points { points: found.into_iter().map(ScoredView::from).collect() })
    }
}

/// How results are grouped.
#[derive(Debug, Deserialize)]
pub(super) struct GroupingBody {
    group_by: JsonPath,
    #[serde(default)]
    group_size: Option<usize>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    with_lookup: Option<WithLookupBody>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "the name of a collection, or an object with `collection`")]
enum WithLookupBody {
    Collection(String),
    Selected {
        collection: String,
        #[serde(default)]
        with_payload: Option<WithPayloadInterface>,
        #[serde(default, alias = "with_vector")]
        with_vectors: Option<WithVector>,
    },
}

impl From<GroupingBody> for Grouping {
    fn from(body: GroupingBody) -> Self {
        let lookup = body.with_lookup.map(|lookup| match lookup {
            WithLookupBody::Collection(collection) => {
                WithLookup { collection, with_payload: true.into(), with_vector: false.into() }
            }
            WithLookupBody::Selected { collection, with_payload, with_vectors } => WithLookup {
                collection,
                with_payload: with_payload.unwrap_or(true.into()),
                with_vector: with_vectors.unwrap_or_default(),
            },
        });
        Self { by: body.group_by, size: body.group_size, limit: body.limit, lookup }
    }
}

/// A search with its grouping; both are fields of one object.
#[derive(Debug)]
pub(super) struct Grouped<T> {
    search: T,
    grouping: GroupingBody,
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for Grouped<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        let unreadable = serde::de::Error::custom;
        Ok(Self {
            grouping: GroupingBody::deserialize(&object).map_err(unreadable)?,
            search: serde_json::from_value(object).map_err(unreadable)?,
        })
    }
}

impl<T: TryInto<Query, Error = Error> + Send> Read for Grouped<T> {
    type Answer = GroupsView;

    async fn read(self, app: &App, name: &str) -> Result<GroupsView, Error> {
        let query = self.search.try_into()?;
        Ok(groups::run(&app.storage, name, query, self.grouping.into()).await?.into())
    }
}

fn unreadable(what: &str) -> Error {
    Error::Format(format!("Format error in JSON body: {what}"))
}

fn unknown_kind() -> Error {
    unreadable("Expected some form of vector, id, or a type of query")
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|error| Error::unreadable(&error))
}

fn kind(value: Value) -> Result<Kind, Error> {
    match value {
        Value::Object(object) if !object.contains_key("indices") => kind_of_object(object),
        other => target(other).map(Kind::nearest),
    }
}

#[derive(Deserialize)]
struct MmrBody {
    diversity: Option<f32>,
    candidates_limit: Option<usize>,
}

#[derive(Deserialize)]
struct RecommendBody {
    #[serde(default)]
    positive: Option<Vec<Value>>,
    #[serde(default)]
    negative: Option<Vec<Value>>,
    #[serde(default)]
    strategy: Option<StrategyBody>,
}

/// The recommendation strategies by name.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StrategyBody {
    AverageVector,
    BestScore,
    SumScores,
}

impl From<StrategyBody> for Strategy {
    fn from(body: StrategyBody) -> Self {
        match body {
            StrategyBody::AverageVector => Self::AverageVector,
            StrategyBody::BestScore => Self::BestScore,
            StrategyBody::SumScores => Self::SumScores,
        }
    }
}

#[derive(Deserialize)]
struct PairBody {
    positive: Value,
    negative: Value,
}

#[derive(Deserialize)]
struct DiscoverBody {
    target: Value,
    context: Option<OneOrMany<PairBody>>,
}

#[derive(Deserialize)]
struct FeedbackBody {
    target: Value,
    feedback: Vec<FeedbackItemBody>,
    strategy: FeedbackStrategyBody,
}

#[derive(Deserialize)]
struct FeedbackItemBody {
    example: Value,
    score: f32,
}

#[derive(Deserialize)]
struct FeedbackStrategyBody {
    naive: NaiveBody,
}

#[derive(Deserialize)]
struct NaiveBody {
    a: f32,
    b: f32,
    c: f32,
}

#[derive(Deserialize)]
struct RrfBody {
    #[serde(default)]
    k: Option<usize>,
    #[serde(default)]
    weights: Option<Vec<f32>>,
}

fn kind_of_object(mut object: Map<String, Value>) -> Result<Kind, Error> {
    let Some(name) = [
        "nearest",
        "recommend",
        "discover",
        "context",
        "order_by",
        "fusion",
        "rrf",
        "formula",
        "sample",
        "relevance_feedback",
    ]
    .into_iter()
    .find(|name| object.contains_key(*name)) else {
        return inference(&object).map_or_else(|| Err(unknown_kind()), Err);
    };
    let value = object.remove(name).unwrap_or_default();
    match name {
        "nearest" => {
            let nearest = target(value)?;
            match object.remove("mmr").filter(|mmr| !mmr.is_null()) {
                None => Ok(Kind::nearest(nearest)),
                Some(body) => {
                    let body: MmrBody = read(body)?;
                    mmr(nearest, body.diversity, body.candidates_limit)
                }
            }
        }
        "recommend" => {
            let body: RecommendBody = read(value)?;
            Ok(Kind::Vector(VectorQuery::Recommend {
                strategy: body.strategy.map(Into::into).unwrap_or_default(),
                positive: targets(body.positive)?,
                negative: targets(body.negative)?,
            }))
        }
        "discover" => {
            let body: DiscoverBody = read(value)?;
            Ok(Kind::Vector(VectorQuery::Discover { target: target(body.target)?, pairs: pairs(body.context)? }))
        }
        "context" => Ok(Kind::Vector(VectorQuery::Context(pairs(read(value)?)?))),
        "order_by" => Ok(Kind::OrderBy(OrderBy::from(read::<OrderByInterface>(value)?))),
        "fusion" => match value.as_str() {
            Some("rrf") => rrf(None, None).map(Kind::Fusion),
            Some("dbsf") => Ok(Kind::Fusion(Fusion::Dbsf)),
            _ => Err(unknown_kind()),
        },
        "rrf" => {
            let body: RrfBody = read(value)?;
            rrf(body.k, body.weights).map(Kind::Fusion)
        }
        "formula" => {
            let defaults = object.remove("defaults").filter(|defaults| !defaults.is_null());
            formula(value, defaults).map(|formula| Kind::Formula(Box::new(formula)))
        }
        "sample" if value == "random" => Ok(Kind::Sample),
        "relevance_feedback" => {
            let body: FeedbackBody = read(value)?;
            let NaiveBody { a, b, c } = body.strategy.naive;
            let feedback = body.feedback.into_iter().map(|item| Ok((target(item.example)?, item.score)));
            Ok(Kind::Vector(VectorQuery::Feedback {
                target: target(body.target)?,
                feedback: feedback.collect::<Result<_, Error>>()?,
                coefficients: [a, b, c],
            }))
        }
        _ => Err(unknown_kind()),
    }
}

fn pairs(body: Option<OneOrMany<PairBody>>) -> Result<Vec<(Target, Target)>, Error> {
    let pairs = body.map(OneOrMany::into_vec).unwrap_or_default();
    pairs.into_iter().map(|pair| Ok((target(pair.positive)?, target(pair.negative)?))).collect()
}

fn targets(values: Option<Vec<Value>>) -> Result<Vec<Target>, Error> {
    values.unwrap_or_default().into_iter().map(target).collect()
}

fn inference(object: &Map<String, Value>) -> Option<Error> {
    let kind = ["text", "image", "object"].into_iter().find(|kind| object.contains_key(*kind))?;
    Some(Error::Unimplemented(format!("inference (`{kind}` instead of a vector)")))
}

/// The target of a search: a vector or a point id.
///
/// # Errors
/// It is neither.
pub(super) fn target(value: Value) -> Result<Target, Error> {
    match value {
        Value::Number(_) | Value::String(_) => read::<PointId>(value).map(Target::Id),
        Value::Object(object) if !object.contains_key("indices") => {
            inference(&object).map_or_else(|| Err(unknown_kind()), Err)
        }
        Value::Array(_) | Value::Object(_) => match read::<OneVector>(value)?.0 {
            VectorPersisted::MultiDense(vectors) => Target::multi(vectors),
            VectorPersisted::Dense(vector) => Ok(Target::Vector(VectorInternal::Dense(vector))),
            VectorPersisted::Sparse(vector) => Ok(Target::Vector(VectorInternal::Sparse(vector))),
        },
        Value::Null | Value::Bool(_) => Err(unknown_kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_kind(value: Value) -> Result<Kind, Error> {
        kind(value)
    }

    #[test]
    fn every_kind_of_query_is_read() {
        assert_eq!(read_kind(json!(7)), Ok(Kind::nearest(Target::Id(7.into()))));
        assert_eq!(read_kind(json!({ "nearest": 7 })), Ok(Kind::nearest(Target::Id(7.into()))));
        assert!(matches!(
            read_kind(json!({ "nearest": [1.0], "mmr": { "diversity": 0.2 } })),
            Ok(Kind::Vector(VectorQuery::Mmr { diversity: Some(_), candidates: None, .. }))
        ));
        let recommend = read_kind(json!({ "recommend": { "positive": [1, [0.5]], "strategy": "best_score" } }));
        let expected = VectorQuery::Recommend {
            strategy: Strategy::BestScore,
            positive: vec![Target::Id(1.into()), Target::Vector(VectorInternal::Dense(vec![0.5]))],
            negative: Vec::new(),
        };
        assert_eq!(recommend, Ok(Kind::Vector(expected)));
        let pair = json!({ "positive": 1, "negative": 2 });
        for context in [pair.clone(), json!([pair])] {
            let read = read_kind(json!({ "context": context }));
            let expected = vec![(Target::Id(1.into()), Target::Id(2.into()))];
            assert_eq!(read, Ok(Kind::Vector(VectorQuery::Context(expected))));
        }
        assert!(matches!(read_kind(json!({ "fusion": "dbsf" })), Ok(Kind::Fusion(Fusion::Dbsf))));
        assert!(matches!(
            read_kind(json!({ "rrf": { "weights": [1.0, 2.0] } })),
            Ok(Kind::Fusion(Fusion::Rrf { k: 2, weights: Some(_) }))
        ));
        assert_eq!(read_kind(json!({ "sample": "random" })), Ok(Kind::Sample));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert!(matches!(read_kind(json!({ "rrf": { "k": 0 } })), Err(Error::Invalid(_))));
        let too_varied = json!({ "nearest": 1, "mmr": { "diversity": 1.5 } });
        assert!(matches!(read_kind(too_varied), Err(Error::Invalid(_))));
    }

    #[test]
    fn an_invalid_query_is_rejected_with_the_servers_text() {
        let error = read_kind(json!({ "near": [1.0] })).unwrap_err();
        assert!(error.to_string().contains("Expected some form of vector, id, or a type of query"), "{error}");
        assert!(matches!(read_kind(json!({ "text": "a", "model": "m" })), Err(Error::Unimplemented(_))));
    }
}
