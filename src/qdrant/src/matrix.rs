//! Distances within a sample of points.

use qdrant_edge::{
    Condition, Filter, HasIdCondition, HasVectorCondition, PointId, QueryRequest, Sample, ScoredPoint, ScoringQuery,
    WithPayloadInterface, WithVector,
};

use serde::Serialize;

use super::error::Error;
use super::query::{Kind, Query, Target, pick};
use super::storage::Storage;

/// Default size of the sample.
const DEFAULT_SAMPLE: usize = 10;
/// Default number of neighbours per point.
const DEFAULT_LIMIT: usize = 3;

/// A request for distances.
#[derive(Debug, Clone)]
pub(super) struct MatrixRequest {
    /// Size of the sample.
    pub sample: Option<usize>,
    /// Neighbours per point.
    pub limit: Option<usize>,
    /// Filter of the points.
    pub filter: Option<Filter>,
    /// Name of the vector; empty for the unnamed one.
    pub using: String,
}

/// The points of the sample by id, each with its nearest neighbours in the sample, best first.
pub(super) type Matrix = Vec<(PointId, Vec<ScoredPoint>)>;

/// A matrix as its coordinates.
#[derive(Debug, Default, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the API's")]
pub(super) struct Offsets {
    /// Row of each score.
    pub offsets_row: Vec<u64>,
    /// Column of each score.
    pub offsets_col: Vec<u64>,
    /// The scores.
    pub scores: Vec<f32>,
    /// The points of the rows and columns.
    pub ids: Vec<PointId>,
}

impl From<Matrix> for Offsets {
    fn from(matrix: Matrix) -> Self {
        let ids: Vec<PointId> = matrix.iter().map(|(id, _)| *id).collect();
        let mut offsets = Self::default();
        for (row, (_, near)) in matrix.iter().enumerate() {
            for point in near {
                let Some(column) = ids.iter().position(|id| *id == point.id) else { continue };
                offsets.offsets_row.push(row as u64);
                offsets.offsets_col.push(column as u64);
                offsets.scores.push(point.score);
            }
        }
        Self { ids, ..offsets }
    }
}

/// Compares a random sample of points with each other. Fewer than two points have no distances.
///
/// # Errors
/// The vector name does not exist, a number is too small, strict mode forbids the filter, or the engine failed.
pub(super) async fn run(storage: &Storage, name: &str, request: MatrixRequest) -> Result<Matrix, Error> {
    let at_least = |name: &str, number: Option<usize>, least: usize| match number {
        Some(number) if number < least => Err(Error::Invalid(format!(
            "Validation error in JSON body: [{name}: value {number} invalid, must be {least} or larger]"
        ))),
        _ => Ok(()),
    };
    at_least("sample", request.sample, 2)?;
    at_least("limit", request.limit, 1)?;
    let (sample, limit) = (request.sample.unwrap_or(DEFAULT_SAMPLE), request.limit.unwrap_or(DEFAULT_LIMIT));

    let collection = storage.get(name)?;
    collection.check_read(Some(sample.saturating_mul(limit)), request.filter.as_ref())?;
    collection.check_vector_name(&request.using)?;
    let has_vector = Condition::HasVector(HasVectorCondition::from(request.using.clone()));
    let mut filter = request.filter.unwrap_or_default();
    // Nested, so that a `should` of the request keeps its meaning.
    filter = Filter { must: Some(vec![Condition::Filter(filter), has_vector]), ..Filter::default() };
    let sampling = QueryRequest {
        prefetches: Vec::new(),
        query: Some(ScoringQuery::Sample(Sample::Random)),
        filter: Some(filter),
        score_threshold: None,
        limit: sample,
        offset: 0,
        params: None,
        with_vector: WithVector::Selector(vec![request.using.clone()]),
        with_payload: WithPayloadInterface::Bool(false),
    };
    let mut points = collection.query(sampling).await?;
    if points.len() < 2 {
        return Ok(Vec::new());
    }
    points.sort_unstable_by_key(|point| point.id);
    let in_sample = Condition::HasId(points.iter().map(|point| point.id).collect::<HasIdCondition>());
    let mut matrix = Vec::with_capacity(points.len());
    for point in points {
        let Some(vector) = point.vector.and_then(|vectors| pick(vectors, &request.using)) else { continue };
        let query = Query {
            kind: Some(Kind::nearest(Target::Vector(vector))),
            using: request.using.clone(),
            filter: Some(Filter { must: Some(vec![in_sample.clone()]), ..Filter::default() }),
            // One more, because the point itself is found too.
            limit: Some(limit.saturating_add(1)),
            ..Query::default()
        };
        let mut near = collection.query(query.resolve(storage, &collection).await?).await?;
        near.retain(|other| other.id != point.id);
        near.truncate(limit);
        matrix.push((point.id, near));
    }
    Ok(matrix)
}
