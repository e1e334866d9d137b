//! The JSON of found points and of groups.

use qdrant_edge::{Payload, PointId, ScoredPoint, VectorStructPersisted};
use serde::Serialize;

use super::points::RecordView;
use crate::groups::{Group, GroupId};

/// The JSON of a found point.
#[derive(Serialize)]
pub(super) struct ScoredView {
    id: PointId,
    version: u64,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<VectorStructPersisted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_value: Option<qdrant_edge::OrderValue>,
}

impl From<ScoredPoint> for ScoredView {
    fn from(point: ScoredPoint) -> Self {
        Self {
            id: point.id,
            version: point.version,
            score: point.score,
            payload: point.payload,
            vector: point.vector.map(Into::into),
            order_value: point.order_value,
        }
    }
}

#[derive(Serialize)]
struct GroupView {
    hits: Vec<ScoredView>,
    id: GroupId,
    #[serde(skip_serializing_if = "Option::is_none")]
    lookup: Option<RecordView>,
}

/// The JSON of groups.
#[derive(Serialize)]
pub(super) struct GroupsView {
    groups: Vec<GroupView>,
}

impl From<Vec<Group>> for GroupsView {
    fn from(groups: Vec<Group>) -> Self {
        let view = |group: Group| GroupView {
            hits: group.hits.into_iter().map(ScoredView::from).collect(),
            id: group.id,
            lookup: group.lookup.map(RecordView::from),
        };
        Self { groups: groups.into_iter().map(view).collect() }
    }
}
