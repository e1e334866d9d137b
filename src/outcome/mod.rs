//! What was found out: levels, verdicts, evidence, records, events and totals. No I/O.
//!
//! This room is a leaf: every other room may use it, and it uses none. Renderers in
//! [`crate::report`] read nothing but these types.

mod event;
mod exit;
mod gate;
mod record;
#[cfg(test)]
pub(crate) mod testing;
mod timeline;
mod trace;
mod verdict;

pub use event::{Event, Events};
pub use exit::Exit;
pub use gate::{Comparison, Gate, incomparable, merge};
pub use record::{
    CaseRecord, Coverage, EnvironmentRow, FileNote, REPORT_VERSION, Report, ServiceRecord, ServiceStatus, Totals,
};
pub use timeline::{AffectedDocument, Diagnosis, LeftOut, Progress, Timeline, TimelineEvent, Track};
pub use trace::{Fact, NoTraceParent, Role, Span, SpanRecord, Spans, Trace, TraceParent};
pub use verdict::{Evidence, Level, RunVerdict, Verdict, Word};
