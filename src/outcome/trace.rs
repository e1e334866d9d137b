//! Spans of a distributed trace, as plain records. The code that starts a span does not know whether it is exported.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use super::record::{CaseRecord, Report};
use super::verdict::{RunVerdict, Verdict};

/// Most spans that wait for export; further spans are dropped and counted.
const MAX_WAITING: usize = 8192;

/// A position in a trace, in W3C Trace Context format: `00-<trace>-<span>-<flags>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; never zero.
    pub trace: u128,
    /// The span; never zero.
    pub span: u64,
    /// Whether it is recorded. An unrecorded position is passed on too, so that other processes do not record it
    /// either.
    pub sampled: bool,
}

impl TraceParent {
    /// The root of a new trace.
    #[must_use]
    pub fn root() -> Self {
        Self { trace: rand::random::<u128>().max(1), span: rand::random::<u64>().max(1), sampled: true }
    }

    /// A new position in the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span: rand::random::<u64>().max(1), ..self }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// A text that is not a valid `traceparent`. As the specification demands, a receiver then starts a new trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid traceparent: expected the W3C format, e.g. 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
pub struct NoTraceParent;

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = text.trim().split('-');
        let mut field = |length: usize| {
            let text = fields.next().filter(|text| text.len() == length)?;
            let hex = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()
        };
        let mut read = || Some((field(2)?, field(32)?, field(16)?, field(2)?));
        let (version, trace, span, flags) = read().ok_or(NoTraceParent)?;
        // Later versions may add fields; version 0 may not.
        let more = fields.next().is_some();
        let span = u64::try_from(span).map_err(|_| NoTraceParent)?;
        if version == 0xff || (version == 0 && more) || trace == 0 || span == 0 {
            return Err(NoTraceParent);
        }
        Ok(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

/// The value of a span attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Text, without secrets.
    Text(String),
    /// A count.
    Number(i64),
    /// A boolean.
    Truth(bool),
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Fact {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl From<usize> for Fact {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Duration> for Fact {
    /// Milliseconds.
    fn from(time: Duration) -> Self {
        Self::Number(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The relation of a span to spans of other processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// No relation.
    #[default]
    Internal,
    /// It adds jobs.
    Producer,
    /// It processes a job of another process.
    Consumer,
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanRecord {
    /// Its position.
    pub place: TraceParent,
    /// The parent span, if there is one.
    pub parent: Option<TraceParent>,
    /// Whether the parent belongs to another process.
    pub remote: bool,
    /// Its name.
    pub name: String,
    /// See [`Role`].
    pub role: Role,
    /// Its start.
    pub began: SystemTime,
    /// Its end.
    pub ended: SystemTime,
    /// Its attributes.
    pub facts: Vec<(&'static str, Fact)>,
    /// Spans that it depends on, other than its parent.
    pub links: Vec<TraceParent>,
    /// The failure reason, if it failed.
    pub failed: Option<String>,
}

/// Starts spans. Cheap to clone; has no cost if tracing is off.
#[derive(Debug, Clone, Default)]
pub struct Trace(Option<Arc<ActiveTrace>>);

#[derive(Debug)]
struct ActiveTrace {
    sender: mpsc::Sender<SpanRecord>,
    lost: Arc<AtomicU64>,
    /// The parent of spans that start here, and whether it belongs to another process.
    above: Option<(TraceParent, bool)>,
}

/// The receiving end of [`Trace::channel`], for an exporter.
#[derive(Debug)]
pub struct Spans {
    /// Finished spans.
    pub ended: mpsc::Receiver<SpanRecord>,
    /// Number of dropped spans.
    pub lost: Arc<AtomicU64>,
}

impl Trace {
    /// Tracing is off.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Spans are sent to the returned receiver.
    #[must_use]
    pub fn channel() -> (Self, Spans) {
        let (sender, ended) = mpsc::channel(MAX_WAITING);
        let lost = Arc::<AtomicU64>::default();
        let spans = Spans { ended, lost: Arc::clone(&lost) };
        (Self(Some(Arc::new(ActiveTrace { sender, lost, above: None }))), spans)
    }

    /// Whether tracing is on.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The same, with `parent`, a span of another process, as parent.
    #[must_use]
    pub fn below(&self, parent: Option<TraceParent>) -> Self {
        match (&self.0, parent) {
            (Some(on), Some(parent)) => on.with_parent(Some((parent, true))),
            _ => self.clone(),
        }
    }

    /// The parent span, to pass on to another process.
    #[must_use]
    pub fn parent(&self) -> Option<TraceParent> {
        Some(self.0.as_ref()?.above?.0)
    }

    /// A note for the report that names the trace; `None` if the trace is not recorded.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let parent = self.parent().filter(|parent| parent.sampled)?;
        Some(format!("trace {:032x}", parent.trace))
    }

    /// Starts a span, which ends when it is dropped. `name` is not formatted if tracing is off.
    #[must_use]
    pub fn begin(&self, name: impl fmt::Display) -> Span {
        self.begin_as(Role::Internal, name)
    }

    /// [`Trace::begin`] for a span with a role.
    #[must_use]
    pub fn begin_as(&self, role: Role, name: impl fmt::Display) -> Span {
        let Some(on) = &self.0 else { return Span::default() };
        let place = on.above.map_or_else(TraceParent::root, |(above, _)| above.child());
        let now = SystemTime::now();
        let record = SpanRecord {
            place,
            parent: on.above.map(|(above, _)| above),
            remote: on.above.is_some_and(|(_, remote)| remote),
            name: name.to_string(),
            role,
            began: now,
            ended: now,
            facts: Vec::new(),
            links: Vec::new(),
            failed: None,
        };
        let below = on.with_parent(Some((place, false)));
        Span { below, open: Some((Instant::now(), Mutex::new(record))) }
    }

    /// A span with a known start and end.
    #[must_use]
    pub fn past(&self, name: impl fmt::Display, began: SystemTime, ended: SystemTime) -> Span {
        let mut span = self.begin(name);
        if let Some((_, record)) = &mut span.open {
            let record = record.get_mut().unwrap_or_else(PoisonError::into_inner);
            (record.began, record.ended) = (began, ended.max(began));
        }
        span
    }
}

impl ActiveTrace {
    fn with_parent(&self, above: Option<(TraceParent, bool)>) -> Trace {
        Trace(Some(Arc::new(Self { sender: self.sender.clone(), lost: Arc::clone(&self.lost), above })))
    }
}

/// A started span. It ends when it is dropped, also on an interruption.
#[derive(Debug, Default)]
pub struct Span {
    below: Trace,
    open: Option<(Instant, Mutex<SpanRecord>)>,
}

impl Span {
    /// Starts child spans.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.below
    }

    /// Its position; `None` if tracing is off.
    #[must_use]
    pub fn place(&self) -> Option<TraceParent> {
        self.below.parent()
    }

    /// Adds an attribute, which must not contain secrets.
    pub fn fact(&self, name: &'static str, value: impl Into<Fact>) {
        self.change(|record| record.facts.push((name, value.into())));
    }

    /// Adds a link to a span that it depends on, other than its parent.
    pub fn link(&self, place: TraceParent) {
        self.change(|record| record.links.push(place));
    }

    /// Marks it as failed; `reason` must not contain secrets.
    pub fn fail(&self, reason: impl fmt::Display) {
        self.change(|record| record.failed = Some(reason.to_string()));
    }

    /// Adds the attributes of a case. An accepted (waived) failure does not mark the span as failed.
    pub fn case(&self, record: &CaseRecord, accepted: bool) {
        if self.open.is_none() {
            return;
        }
        self.fact("shakedown.case", record.id.as_str());
        self.fact("shakedown.suite", record.suite.as_str());
        self.fact("shakedown.title", record.title.as_str());
        self.fact("shakedown.level", record.level.to_string());
        self.fact("shakedown.verdict", record.verdict.word().to_string());
        if let Some(reason) = record.verdict.reason() {
            self.fact("shakedown.reason", reason);
        }
        match &record.verdict {
            Verdict::Fail { .. } if accepted => self.fact("shakedown.waived", true),
            Verdict::Fail { reason } => self.fail(reason),
            _ => {}
        }
    }

    /// Adds the attributes of a run.
    pub fn report(&self, report: &Report) {
        if self.open.is_none() {
            return;
        }
        self.fact("shakedown.run", report.run.as_str());
        self.fact("shakedown.profile", report.profile.as_str());
        self.fact("shakedown.provider", report.provider.as_str());
        self.fact("shakedown.verdict", report.verdict.to_string());
        self.fact("shakedown.coverage", report.coverage.sentence());
        if report.verdict == RunVerdict::NotConformant {
            self.fail(format_args!(
                "{}: {} of {} cases failed",
                report.verdict, report.totals.fail, report.totals.cases
            ));
        }
    }

    fn change(&self, change: impl FnOnce(&mut SpanRecord)) {
        if let Some((_, record)) = &self.open {
            change(&mut record.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let (Some((begun, record)), Some(on)) = (self.open.take(), &self.below.0) else { return };
        let mut record = record.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !record.place.sampled {
            return;
        }
        if record.ended == record.began {
            // The wall clock may have been changed meanwhile.
            record.ended = record.began + begun.elapsed();
        }
        if on.sender.try_send(record).is_err() {
            on.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_round_trips() {
        assert_eq!(EXAMPLE.parse::<TraceParent>().unwrap().to_string(), EXAMPLE);
        let unsampled: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00".parse().unwrap();
        assert!(!unsampled.sampled);
        // Fields that a later version adds are ignored.
        assert!("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more".parse::<TraceParent>().is_ok());
    }

    #[rstest]
    #[case("")]
    #[case("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7")]
    #[case("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more")]
    #[case("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
    #[case("00-00000000000000000000000000000000-00f067aa0ba902b7-01")]
    #[case("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01")]
    #[case("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01")]
    #[case("00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
    fn an_invalid_traceparent_is_refused(#[case] text: &str) {
        assert_eq!(text.parse::<TraceParent>(), Err(NoTraceParent));
    }

    #[test]
    fn spans_end_when_they_are_dropped_and_have_a_parent() {
        let (trace, mut spans) = Trace::channel();
        let trace = trace.below(EXAMPLE.parse().ok());
        let run = trace.begin("run");
        let case = run.trace().begin(format_args!("case {}", "a"));
        case.fact("shakedown.case", "a");
        case.fail("why");
        drop(case);
        drop(run);
        let case = spans.ended.try_recv().unwrap();
        let run = spans.ended.try_recv().unwrap();
        assert_eq!((case.name.as_str(), case.parent, case.remote), ("case a", Some(run.place), false));
        assert_eq!((case.facts, case.failed.as_deref()), (vec![("shakedown.case", "a".into())], Some("why")));
        assert_eq!((run.parent, run.remote), (EXAMPLE.parse().ok(), true));
        assert_eq!(run.place.trace, case.place.trace);
        assert!(run.ended >= case.ended && case.ended >= case.began);
    }

    #[test]
    fn an_unsampled_span_is_passed_on_and_not_exported() {
        let (trace, mut spans) = Trace::channel();
        let parent = TraceParent { sampled: false, ..TraceParent::root() };
        let run = trace.below(Some(parent)).begin("run");
        let passed_on = run.trace().parent().unwrap();
        assert!(passed_on.to_string().ends_with("-00"), "{passed_on}");
        assert_eq!((passed_on.trace, run.trace().note()), (parent.trace, None));
        drop(run);
        assert!(spans.ended.try_recv().is_err());
    }

    #[test]
    fn no_name_is_formatted_while_tracing_is_off() {
        struct Never;
        impl fmt::Display for Never {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("the name was formatted");
            }
        }
        let span = Trace::off().begin(Never);
        span.fail(Never);
        assert_eq!((span.place(), span.trace().note()), (None, None));
        assert!(!span.trace().begin(Never).trace().is_on());
    }

    #[test]
    fn dropped_spans_are_counted() {
        let (trace, spans) = Trace::channel();
        for _ in 0..MAX_WAITING + 3 {
            drop(trace.begin("span"));
        }
        assert_eq!(spans.lost.load(Ordering::Relaxed), 3);
    }
}
