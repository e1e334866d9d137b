//! Results: levels, verdicts, evidence, records, events and totals. No I/O.
//!
//! This module imports only `redaction`; every other module may import it. Renderers in [`crate::report`]
//! read only these types.

mod attempts;
mod cause;
mod compare;
mod event;
mod exit;
mod explained;
mod gate;
mod record;
#[cfg(test)]
pub(crate) mod testing;
mod texts;
mod timeline;
mod trace;
mod verdict;
mod worker_profile;

pub use attempts::merge;
pub use cause::{Cause, LibraryRemedy};
pub use compare::incomparable;
pub use event::{Event, Events};
pub use exit::Exit;
pub use gate::{Comparison, Gate};
pub use record::{
    CaseRecord, Coverage, EnvironmentRow, FileNote, REPORT_VERSION, Report, ServiceRecord, ServiceStatus, Totals,
};
pub use timeline::{AffectedDocument, LeftOut, Progress, Timeline, TimelineEvent, Track};
pub use trace::{Fact, NoTraceParent, Role, Span, SpanRecord, Spans, Trace, TraceParent};
pub use verdict::{Evidence, Level, RunVerdict, Verdict, Word};
pub use worker_profile::{ChunkProfile, EmbeddingProfile, IdKind, IdProfile, WorkerProfile};
