//! Converts spans to OpenTelemetry's types.

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::outcome::{Fact, Role, SpanRecord, TraceParent};
use crate::redaction::redacted;

/// Converts `record` for export.
pub(super) fn data(record: SpanRecord) -> SpanData {
    let mut links = SpanLinks::default();
    links.links = record.links.into_iter().map(|place| Link::with_context(context(place, false))).collect();
    SpanData {
        span_context: context(record.place, false),
        parent_span_id: record.parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.span)),
        parent_span_is_remote: record.remote,
        span_kind: match record.role {
            Role::Internal => SpanKind::Internal,
            Role::Producer => SpanKind::Producer,
            Role::Consumer => SpanKind::Consumer,
        },
        name: redacted(record.name).into(),
        start_time: record.began,
        end_time: record.ended,
        attributes: record.facts.into_iter().map(|(name, fact)| KeyValue::new(name, value(fact))).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: record.failed.map_or(Status::Unset, |why| Status::error(redacted(why))),
        instrumentation_scope: InstrumentationScope::builder("shakedown")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

fn context(place: TraceParent, remote: bool) -> SpanContext {
    let flags = if place.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    SpanContext::new(TraceId::from(place.trace), SpanId::from(place.span), flags, remote, TraceState::NONE)
}

fn value(fact: Fact) -> Value {
    match fact {
        Fact::Text(text) => redacted(text).into(),
        Fact::Number(number) => number.into(),
        Fact::Truth(truth) => truth.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_span_is_exported_without_secrets() {
        crate::redaction::learn([("SPAN_TOKEN", &"known-to-spans-0815".into())]);
        let text = || "a known-to-spans-0815 b".to_owned();
        let span = data(SpanRecord {
            place: TraceParent::root(),
            parent: None,
            remote: false,
            name: text(),
            role: Role::Internal,
            began: SystemTime::now(),
            ended: SystemTime::now(),
            facts: vec![("fact", Fact::Text(text()))],
            links: Vec::new(),
            failed: Some(text()),
        });
        let shown = format!("{:?} {:?} {:?}", span.name, span.attributes, span.status);
        assert_eq!(shown.matches("a $SPAN_TOKEN b").count(), 3, "{shown}");
        assert!(!shown.contains("0815"), "{shown}");
    }
}
