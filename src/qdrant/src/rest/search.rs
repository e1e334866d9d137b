//! Scroll, count, facets, distances, and the older search, recommend and discover.

use axum::Router;
use axum::routing::post;
use qdrant_edge::{
    CountRequest, FacetRequest, FacetValue, Filter, JsonPath, OrderByInterface, PointId, ScrollRequest, SearchParams,
    WithPayloadInterface, WithVector,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::App;
use super::found::ScoredView;
use super::points::RecordView;
use super::query::{Grouped, LookupBody, QueryBody, StrategyBody, target};
use super::read::{Batch, Read, answer};
use crate::error::Error;
use crate::input::NoShardKey;
use crate::matrix::{self, Matrix, MatrixRequest};
use crate::query::{self, DEFAULT_LIMIT, Kind, Query, Target, VectorQuery};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/collections/{name}/points/scroll", post(answer::<ScrollBody>))
        .route("/collections/{name}/points/count", post(answer::<CountBody>))
        .route("/collections/{name}/points/query", post(answer::<QueryBody>))
        .route("/collections/{name}/points/query/batch", post(answer::<Batch<QueryBody>>))
        .route("/collections/{name}/points/query/groups", post(answer::<Grouped<QueryBody>>))
        .route("/collections/{name}/points/search", post(answer::<SearchBody>))
        .route("/collections/{name}/points/search/batch", post(answer::<Batch<SearchBody>>))
        .route("/collections/{name}/points/search/groups", post(answer::<Grouped<SearchBody>>))
        .route("/collections/{name}/points/search/matrix/pairs", post(answer::<Pairs>))
        .route("/collections/{name}/points/search/matrix/offsets", post(answer::<Offsets>))
        .route("/collections/{name}/points/recommend", post(answer::<RecommendBody>))
        .route("/collections/{name}/points/recommend/batch", post(answer::<Batch<RecommendBody>>))
        .route("/collections/{name}/points/recommend/groups", post(answer::<Grouped<RecommendBody>>))
        .route("/collections/{name}/points/discover", post(answer::<DiscoverBody>))
        .route("/collections/{name}/points/discover/batch", post(answer::<Batch<DiscoverBody>>))
        .route("/collections/{name}/facet", post(answer::<FacetBody>))
}

#[derive(Deserialize)]
struct ScrollBody {
    #[serde(default)]
    offset: Option<PointId>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default, deserialize_with = "crate::input::filter::optional")]
    filter: Option<Filter>,
    #[serde(default)]
    with_payload: Option<WithPayloadInterface>,
    #[serde(default, alias = "with_vectors")]
    with_vector: WithVector,
    #[serde(default)]
    order_by: Option<OrderByInterface>,
    #[serde(default, rename = "shard_key")]
    _shard_key: NoShardKey,
}

#[derive(Serialize)]
struct Page {
    points: Vec<RecordView>,
    next_page_offset: Option<PointId>,
}

impl Read for ScrollBody {
    type Answer = Page;

    async fn read(self, app: &App, name: &str) -> Result<Page, Error> {
        let request = ScrollRequest {
            offset: self.offset,
            limit: self.limit,
            filter: self.filter,
            with_payload: self.with_payload,
            with_vector: self.with_vector,
            order_by: self.order_by,
        };
        let (records, next) = app.storage.get(name)?.scroll(request).await?;
        Ok(Page { points: records.into_iter().map(RecordView::from).collect(), next_page_offset: next })
    }
}

#[derive(Deserialize)]
struct CountBody {
    #[serde(default, deserialize_with = "crate::input::filter::optional")]
    filter: Option<Filter>,
    #[serde(default = "exactly")]
    exact: bool,
    #[serde(default, rename = "shard_key")]
    _shard_key: NoShardKey,
}

fn exactly() -> bool {
    true
}

impl Read for CountBody {
    type Answer = Value;

    async fn read(self, app: &App, name: &str) -> Result<Value, Error> {
        let request = CountRequest { filter: self.filter, exact: self.exact };
        Ok(json!({ "count": app.storage.get(name)?.count(request).await? }))
    }
}

#[derive(Deserialize)]
struct FacetBody {
    key: JsonPath,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default, deserialize_with = "crate::input::filter::optional")]
    filter: Option<Filter>,
    #[serde(default)]
    exact: Option<bool>,
    #[serde(default, rename = "shard_key")]
    _shard_key: NoShardKey,
}

impl Read for FacetBody {
    type Answer = Value;

    async fn read(self, app: &App, name: &str) -> Result<Value, Error> {
        let request = FacetRequest {
            key: self.key,
            limit: self.limit.unwrap_or(DEFAULT_LIMIT),
            filter: self.filter,
            exact: self.exact.unwrap_or_default(),
        };
        let hits = app.storage.get(name)?.facet(request).await?.hits.into_iter().map(|hit| {
            let value = match hit.value {
                FacetValue::Keyword(text) => Value::from(text),
                FacetValue::Int(number) => Value::from(number),
                FacetValue::Uuid(number) => {
                    Value::from(qdrant_edge::external::uuid::Uuid::from_u128(number).to_string())
                }
                FacetValue::Bool(flag) => Value::from(flag),
            };
            json!({ "value": value, "count": hit.count })
        });
        Ok(json!({ "hits": hits.collect::<Vec<_>>() }))
    }
}

/// The common fields of the older searches.
#[derive(Debug, Deserialize)]
struct Common {
    #[serde(default, deserialize_with = "crate::input::filter::optional")]
    filter: Option<Filter>,
    #[serde(default)]
    params: Option<SearchParams>,
    #[serde(alias = "top")]
    limit: usize,
    #[serde(default)]
    offset: Option<usize>,
    #[serde(default)]
    with_payload: Option<WithPayloadInterface>,
    #[serde(default, alias = "with_vectors")]
    with_vector: Option<WithVector>,
    #[serde(default)]
    score_threshold: Option<f32>,
    #[serde(default)]
    using: Option<String>,
    #[serde(default)]
    lookup_from: Option<LookupBody>,
    #[serde(default, rename = "shard_key")]
    _shard_key: NoShardKey,
}

impl Common {
    fn query(self, query: VectorQuery) -> Query {
        Query {
            kind: Some(Kind::Vector(query)),
            using: self.using.unwrap_or_default(),
            prefetch: Vec::new(),
            filter: self.filter,
            params: self.params,
            score_threshold: self.score_threshold,
            limit: Some(self.limit),
            lookup: self.lookup_from.map(Into::into),
            names_missing_points: true,
            offset: self.offset.unwrap_or_default(),
            with_payload: self.with_payload,
            with_vector: self.with_vector,
        }
    }
}

/// Defines an older search: its own fields besides the common ones, and its query.
macro_rules! older_search {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize)]
        pub(super) struct $name {
            $(#[serde(default)] $field: $kind,)*
            #[serde(flatten)]
            common: Common,
        }

        impl Read for $name {
            type Answer = Vec<ScoredView>;

            async fn read(self, app: &App, name: &str) -> Result<Self::Answer, Error> {
                let found = query::run(&app.storage, name, self.try_into()?).await?;
                Ok(found.into_iter().map(ScoredView::from).collect())
            }
        }
    };
}

older_search! {
    /// Body of the older search.
    SearchBody { vector: Value }
}

older_search! {
    /// Body of the older recommendation.
    RecommendBody { positive: Vec<Value>, negative: Vec<Value>, strategy: Option<StrategyBody> }
}

older_search! {
    /// Body of the older discovery.
    DiscoverBody { target: Option<Value>, context: Option<Vec<ContextPair>> }
}

#[derive(Debug, Deserialize)]
struct ContextPair {
    positive: Value,
    negative: Value,
}

impl TryFrom<SearchBody> for Query {
    type Error = Error;

    fn try_from(body: SearchBody) -> Result<Self, Error> {
        let (using, vector) = match body.vector {
            Value::Object(mut named) if named.contains_key("name") => {
                let name = named.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
                (name, named.remove("vector").unwrap_or_default())
            }
            vector => (String::new(), vector),
        };
        let Ok(nearest @ Target::Vector(_)) = target(vector) else {
            return Err(Error::Format(
                "Format error in JSON body: data did not match any variant of untagged enum NamedVectorStruct"
                    .to_owned(),
            ));
        };
        Ok(Self { using, ..body.common.query(VectorQuery::Nearest(nearest)) })
    }
}

impl TryFrom<RecommendBody> for Query {
    type Error = Error;

    fn try_from(body: RecommendBody) -> Result<Self, Error> {
        let targets = |values: Vec<Value>| values.into_iter().map(target).collect::<Result<Vec<_>, _>>();
        let (positive, negative) = (targets(body.positive)?, targets(body.negative)?);
        Ok(body.common.query(query::recommendation(
            body.strategy.map(Into::into).unwrap_or_default(),
            positive,
            negative,
        )?))
    }
}

impl TryFrom<DiscoverBody> for Query {
    type Error = Error;

    fn try_from(body: DiscoverBody) -> Result<Self, Error> {
        let pairs = body.context.into_iter().flatten();
        let pairs =
            pairs.map(|pair| Ok((target(pair.positive)?, target(pair.negative)?))).collect::<Result<_, Error>>();
        let target = body.target.map(target).transpose()?;
        Ok(Self { score_threshold: None, ..body.common.query(query::discovery(target, pairs?)?) })
    }
}

#[derive(Deserialize)]
struct MatrixBody {
    #[serde(default, deserialize_with = "crate::input::filter::optional")]
    filter: Option<Filter>,
    #[serde(default)]
    sample: Option<usize>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    using: Option<String>,
    #[serde(default, rename = "shard_key")]
    _shard_key: NoShardKey,
}

impl MatrixBody {
    async fn run(self, app: &App, name: &str) -> Result<Matrix, Error> {
        let using = self.using.unwrap_or_default();
        let request = MatrixRequest { sample: self.sample, limit: self.limit, filter: self.filter, using };
        matrix::run(&app.storage, name, request).await
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Pairs(MatrixBody);

#[derive(Serialize)]
struct Pair {
    a: PointId,
    b: PointId,
    score: f32,
}

#[derive(Serialize)]
struct PairsView {
    pairs: Vec<Pair>,
}

impl Read for Pairs {
    type Answer = PairsView;

    async fn read(self, app: &App, name: &str) -> Result<PairsView, Error> {
        let rows = self.0.run(app, name).await?.into_iter();
        let pairs = rows.flat_map(|(a, near)| near.into_iter().map(move |b| Pair { a, b: b.id, score: b.score }));
        Ok(PairsView { pairs: pairs.collect() })
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Offsets(MatrixBody);

impl Read for Offsets {
    type Answer = matrix::Offsets;

    async fn read(self, app: &App, name: &str) -> Result<matrix::Offsets, Error> {
        Ok(self.0.run(app, name).await?.into())
    }
}
