//! Results grouped by a payload field.
//!
//! The engine has no such operation. As in the real server, candidates are queried in rounds: first rounds that collect
//! groups, each excluding what was found before, then rounds that fill the best groups.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use qdrant_edge::external::uuid::Uuid;
use qdrant_edge::{
    AnyVariants, Condition, Direction, FieldCondition, Filter, HasIdCondition, JsonPath, Match, PointId, Prefetch,
    QueryEnum, QueryRequest, Record, ScoredPoint, ScoringQuery, WithPayloadInterface, WithVector,
};
use serde::Serialize;
use serde_json::Value;

use super::collection::Collection;
use super::error::Error;
use super::query::{DEFAULT_LIMIT, Query};
use super::storage::Storage;

/// Rounds of each kind, as in the real server.
const ROUNDS: usize = 5;
/// Default number of points per group.
const DEFAULT_SIZE: usize = 3;

/// The value that a group's points share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub(super) enum GroupId {
    /// A string.
    Text(String),
    /// An unsigned integer.
    Unsigned(u64),
    /// A negative integer.
    Signed(i64),
}

impl GroupId {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Number(number) => number.as_u64().map(Self::Unsigned).or_else(|| number.as_i64().map(Self::Signed)),
            _ => None,
        }
    }

    /// The point with this value as its id.
    fn point(&self) -> Option<PointId> {
        match self {
            Self::Text(text) => Uuid::parse_str(text).ok().map(PointId::Uuid),
            Self::Unsigned(number) => Some(PointId::NumId(*number)),
            Self::Signed(_) => None,
        }
    }
}

/// Points of another collection to return with each group.
#[derive(Debug, Clone)]
pub(super) struct WithLookup {
    /// Name or alias of the collection, whose ids are the groups' values.
    pub collection: String,
    /// Payload selection.
    pub with_payload: WithPayloadInterface,
    /// Vector selection.
    pub with_vector: WithVector,
}

/// How to group results.
#[derive(Debug, Clone)]
pub(super) struct Grouping {
    /// The payload field.
    pub by: JsonPath,
    /// Maximum number of points per group.
    pub size: Option<usize>,
    /// Maximum number of groups.
    pub limit: Option<usize>,
    /// Points to return with each group.
    pub lookup: Option<WithLookup>,
}

/// A group of results.
#[derive(Debug)]
pub(super) struct Group {
    /// The shared value.
    pub id: GroupId,
    /// Its best points, best first.
    pub hits: Vec<ScoredPoint>,
    /// The point of another collection that has the group's value as its id.
    pub lookup: Option<Record>,
}

/// The best groups of a query's results, best first.
///
/// # Errors
/// As [`super::query::run`]; or a number is 0, or strict mode forbids to group by the field.
pub(super) async fn run(
    storage: &Storage,
    name: &str,
    mut query: Query,
    grouping: Grouping,
) -> Result<Vec<Group>, Error> {
    let positive = |name: &str, number: Option<usize>, default| match number.unwrap_or(default) {
        0 => Err(Error::Invalid(format!(
            "Validation error in JSON body: [{name}: value 0 invalid, must be 1 or larger]"
        ))),
        number => Ok(number),
    };
    let size = positive("group_size", grouping.size, DEFAULT_SIZE)?;
    let limit = positive("limit", grouping.limit, DEFAULT_LIMIT)?;
    let candidates = size.saturating_mul(limit);
    let collection = storage.get(name)?;
    query.limit = Some(candidates);
    query.offset = 0;
    collection.check_query(&query)?;
    collection.check_grouping(&grouping.by)?;

    let mut request = query.resolve(storage, &collection).await?;
    let with_vector = std::mem::replace(&mut request.with_vector, WithVector::Bool(false));
    // A wildcard at the end of the path selects the field's items, which a payload selector cannot.
    let field_alone = WithPayloadInterface::Fields(vec![grouping.by.strip_wildcard_suffix()]);
    let with_payload = std::mem::replace(&mut request.with_payload, field_alone);
    add(&mut request.filter, must_not(Condition::IsEmpty(grouping.by.clone().into())));
    for prefetch in &mut request.prefetches {
        widen(prefetch, size);
    }

    let order = order(&request, &collection);
    let mut found = Found { by: &grouping.by, size, limit, order, groups: HashMap::new(), points: HashSet::new() };
    let mut collecting = true;
    let mut rounds = 0;
    while found.full_among_best() < limit {
        if rounds == ROUNDS {
            if !collecting {
                break;
            }
            (collecting, rounds) = (false, 0);
        }
        rounds += 1;
        let mut round = request.clone();
        if let Some(filter) = found.narrowing(collecting) {
            add(&mut round.filter, filter);
        }
        let points = collection.query(round).await?;
        if points.is_empty() {
            if !collecting {
                break;
            }
            (collecting, rounds) = (false, 0);
        }
        found.take(points);
    }
    let groups = found.best();
    let groups = fill(&collection, groups, with_payload, with_vector).await?;
    match grouping.lookup {
        Some(lookup) => look_up(storage, groups, lookup).await,
        None => Ok(groups),
    }
}

fn must(condition: Condition) -> Filter {
    Filter { must: Some(vec![condition]), ..Filter::default() }
}

fn must_not(condition: Condition) -> Filter {
    Filter { must_not: Some(vec![condition]), ..Filter::default() }
}

fn add(filter: &mut Option<Filter>, more: Filter) {
    *filter = Some(match filter.take() {
        Some(filter) => filter.merge_owned(more),
        None => more,
    });
}

/// Lets enough candidates pass every stage.
fn widen(prefetch: &mut Prefetch, size: usize) {
    prefetch.limit = prefetch.limit.saturating_mul(size);
    for inner in &mut prefetch.prefetches {
        widen(inner, size);
    }
}

/// Compares two scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Largest,
    Smallest,
    /// In order of arrival: random, or an order that scores do not reflect.
    Given,
}

fn order(request: &QueryRequest, collection: &Collection) -> Order {
    match &request.query {
        Some(ScoringQuery::Vector(QueryEnum::Nearest(nearest))) => {
            let name = nearest.using.as_deref().unwrap_or_default();
            if collection.is_smaller_better(name) { Order::Smallest } else { Order::Largest }
        }
        Some(ScoringQuery::Vector(_) | ScoringQuery::Fusion(_) | ScoringQuery::Formula(_)) => Order::Largest,
        Some(ScoringQuery::OrderBy(order)) => match order.direction() {
            Direction::Desc => Order::Largest,
            Direction::Asc => Order::Smallest,
        },
        Some(ScoringQuery::Sample(_) | ScoringQuery::Mmr(_)) => Order::Given,
        // By id: all have the same score.
        None => Order::Given,
    }
}

/// The result of the rounds so far.
struct Found<'a> {
    by: &'a JsonPath,
    size: usize,
    limit: usize,
    order: Order,
    /// Points of each group with their order of arrival.
    groups: HashMap<GroupId, Vec<(usize, ScoredPoint)>>,
    points: HashSet<PointId>,
}

impl Found<'_> {
    fn take(&mut self, points: Vec<ScoredPoint>) {
        for point in points {
            let number = self.points.len();
            let Some(payload) = &point.payload else { continue };
            let mut ids = Vec::new();
            for value in values(payload, self.by) {
                match GroupId::read(value) {
                    Some(id) if ids.contains(&id) => {}
                    Some(id) => ids.push(id),
                    // A single value that cannot be grouped by excludes the whole point.
                    None => {
                        ids.clear();
                        break;
                    }
                }
            }
            self.points.insert(point.id);
            for id in ids {
                let group = self.groups.entry(id).or_default();
                if group.iter().all(|(_, known)| known.id != point.id) {
                    group.push((number, point.clone()));
                }
            }
        }
    }

    fn compare(&self, left: &(usize, ScoredPoint), right: &(usize, ScoredPoint)) -> std::cmp::Ordering {
        let by_score = match self.order {
            Order::Largest => right.1.cmp(&left.1),
            Order::Smallest => left.1.cmp(&right.1),
            Order::Given => std::cmp::Ordering::Equal,
        };
        by_score.then(left.0.cmp(&right.0))
    }

    /// The groups with the best points, best first.
    fn ranking(&self) -> Vec<&GroupId> {
        let mut ranking: Vec<_> = self
            .groups
            .iter()
            .filter_map(|(id, points)| Some((id, points.iter().min_by(|left, right| self.compare(left, right))?)))
            .collect();
        ranking.sort_by(|left, right| self.compare(left.1, right.1));
        ranking.into_iter().take(self.limit).map(|(id, _)| id).collect()
    }

    fn is_full(&self, id: &GroupId) -> bool {
        self.groups.get(id).is_some_and(|points| points.len() >= self.size)
    }

    fn full_among_best(&self) -> usize {
        self.ranking().into_iter().filter(|id| self.is_full(id)).count()
    }

    /// What the next round must exclude or search for.
    fn narrowing(&self, collecting: bool) -> Option<Filter> {
        let mut filter = if collecting {
            let full = self.groups.keys().filter(|id| self.is_full(id));
            // A point of several groups is still needed if one of them is not full.
            any_of(full)
                .map(|known| Filter { must: Some(matches(self.by, known, Match::new_except)), ..Filter::default() })
        } else {
            let short = self.ranking().into_iter().filter(|id| !self.is_full(id));
            let wanted = any_of(short).map(|wanted| matches(self.by, wanted, Match::new_any));
            wanted.map(|wanted| must(Condition::Filter(Filter { should: Some(wanted), ..Filter::default() })))
        };
        if !self.points.is_empty() {
            let known = self.points.iter().copied().collect::<HasIdCondition>();
            add(&mut filter, must_not(Condition::HasId(known)));
        }
        filter
    }

    fn best(mut self) -> Vec<Group> {
        let ids: Vec<GroupId> = self.ranking().into_iter().cloned().collect();
        let mut best = Vec::with_capacity(ids.len());
        for id in ids {
            let mut points = self.groups.remove(&id).unwrap_or_default();
            points.sort_by(|left, right| self.compare(left, right));
            points.truncate(self.size);
            best.push(Group { id, hits: points.into_iter().map(|(_, point)| point).collect(), lookup: None });
        }
        best
    }
}

/// The field's values in a payload; a list counts as several values.
fn values<'a>(payload: &'a qdrant_edge::Payload, by: &JsonPath) -> Vec<&'a Value> {
    let mut all = Vec::new();
    for value in by.value_get(&payload.0) {
        match value {
            Value::Array(items) => all.extend(items),
            value => all.push(value),
        }
    }
    all
}

/// The values, strings and numbers apart, as the engine matches them.
fn any_of<'a>(ids: impl Iterator<Item = &'a GroupId>) -> Option<Vec<AnyVariants>> {
    let (mut texts, mut numbers) = (Vec::new(), Vec::new());
    for id in ids {
        match id {
            GroupId::Text(text) => texts.push(text.clone()),
            GroupId::Unsigned(number) => numbers.extend(i64::try_from(*number)),
            GroupId::Signed(number) => numbers.push(*number),
        }
    }
    let mut variants = Vec::new();
    if !texts.is_empty() {
        variants.push(AnyVariants::Strings(texts.into_iter().collect()));
    }
    if !numbers.is_empty() {
        variants.push(AnyVariants::Integers(numbers.into_iter().collect()));
    }
    (!variants.is_empty()).then_some(variants)
}

fn matches(by: &JsonPath, variants: Vec<AnyVariants>, how: fn(AnyVariants) -> Match) -> Vec<Condition> {
    let condition = |any| Condition::Field(FieldCondition::new_match(by.clone(), how(any)));
    variants.into_iter().map(condition).collect()
}

/// Adds the requested payload and vectors to each point.
async fn fill(
    collection: &Arc<Collection>,
    mut groups: Vec<Group>,
    with_payload: WithPayloadInterface,
    with_vector: WithVector,
) -> Result<Vec<Group>, Error> {
    let ids: HashSet<PointId> = groups.iter().flat_map(|group| &group.hits).map(|hit| hit.id).collect();
    let records = collection.retrieve(ids.into_iter().collect(), with_payload, with_vector).await?;
    let records: HashMap<PointId, Record> = records.into_iter().map(|record| (record.id, record)).collect();
    for hit in groups.iter_mut().flat_map(|group| &mut group.hits) {
        let record = records.get(&hit.id);
        hit.payload = record.and_then(|record| record.payload.clone());
        hit.vector = record.and_then(|record| record.vector.clone());
    }
    Ok(groups)
}

async fn look_up(storage: &Storage, mut groups: Vec<Group>, lookup: WithLookup) -> Result<Vec<Group>, Error> {
    let other = storage
        .get(&lookup.collection)
        .map_err(|_| Error::NotFound(format!("Collection {} not found", lookup.collection)))?;
    let ids = groups.iter().filter_map(|group| group.id.point()).collect();
    let records = other.retrieve(ids, lookup.with_payload, lookup.with_vector).await?;
    let mut records: HashMap<PointId, Record> = records.into_iter().map(|record| (record.id, record)).collect();
    for group in &mut groups {
        group.lookup = group.id.point().and_then(|id| records.remove(&id));
    }
    Ok(groups)
}
