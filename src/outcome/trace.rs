//! What is done, as spans of a distributed trace: plain records. Who begins a span knows neither whether anybody
//! listens nor what becomes of it.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use super::{CaseRecord, Report, RunVerdict, Verdict};

/// Spans that may wait to be exported; what comes on top of that is lost, and counted.
const WAITING: usize = 8192;

/// A place in a trace, as W3C Trace Context writes it: `00-<trace>-<span>-<flags>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; never zero.
    pub trace: u128,
    /// The span; never zero.
    pub span: u64,
    /// Whether it is recorded. What is not recorded is passed on all the same, so that others do not record it either.
    pub sampled: bool,
}

impl TraceParent {
    /// The beginning of a trace.
    #[must_use]
    pub fn root() -> Self {
        Self { trace: rand::random::<u128>().max(1), span: rand::random::<u64>().max(1), sampled: true }
    }

    /// A new place in the same trace.
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

/// A text that is no `traceparent`. Whoever meets one begins a trace of his own, as the specification says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no W3C traceparent, such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
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
        // Later versions may add fields, this one may not.
        let more = fields.next().is_some();
        let span = u64::try_from(span).map_err(|_| NoTraceParent)?;
        if version == 0xff || (version == 0 && more) || trace == 0 || span == 0 {
            return Err(NoTraceParent);
        }
        Ok(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

/// Part of what a span says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Text, without secrets.
    Text(String),
    /// A count.
    Number(i64),
    /// Yes or no.
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

/// What a span has to do with spans of other processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    #[default]
    Internal,
    /// It hands jobs over.
    Producer,
    /// It does a job that another process handed over.
    Consumer,
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanRecord {
    /// Where it is.
    pub place: TraceParent,
    /// The span above it, if there is one.
    pub parent: Option<TraceParent>,
    /// Whether the span above is one of another process.
    pub remote: bool,
    /// What was done.
    pub name: String,
    /// See [`Role`].
    pub role: Role,
    /// When it began.
    pub began: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// What it says of itself.
    pub facts: Vec<(&'static str, Fact)>,
    /// Spans that it rests on and that are not above it.
    pub links: Vec<TraceParent>,
    /// Why it failed, if it did.
    pub failed: Option<String>,
}

/// Where spans begin. Cheap to clone; off, it costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Trace(Option<Arc<On>>);

#[derive(Debug)]
struct On {
    sender: mpsc::Sender<SpanRecord>,
    lost: Arc<AtomicU64>,
    /// The span above those that begin here, and whether it is one of another process.
    above: Option<(TraceParent, bool)>,
}

/// What [`Trace::channel`] gives to whoever exports spans.
#[derive(Debug)]
pub struct Spans {
    /// Spans that have ended.
    pub ended: mpsc::Receiver<SpanRecord>,
    /// How many could not wait any more.
    pub lost: Arc<AtomicU64>,
}

impl Trace {
    /// Nothing is traced.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Spans go to the receiver returned beside it.
    #[must_use]
    pub fn channel() -> (Self, Spans) {
        let (sender, ended) = mpsc::channel(WAITING);
        let lost = Arc::<AtomicU64>::default();
        let spans = Spans { ended, lost: Arc::clone(&lost) };
        (Self(Some(Arc::new(On { sender, lost, above: None }))), spans)
    }

    /// Whether anybody listens.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The same, below a span of another process.
    #[must_use]
    pub fn below(&self, parent: Option<TraceParent>) -> Self {
        match (&self.0, parent) {
            (Some(on), Some(parent)) => on.with(Some((parent, true))),
            _ => self.clone(),
        }
    }

    /// Where spans begin: what another process is told, for its spans to be below.
    #[must_use]
    pub fn parent(&self) -> Option<TraceParent> {
        Some(self.0.as_ref()?.above?.0)
    }

    /// What a report says, for a person to find the trace; nothing where nothing is recorded.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let parent = self.parent().filter(|parent| parent.sampled)?;
        Some(format!("trace {:032x}", parent.trace))
    }

    /// Begins a span, which ends when it is dropped. Its name is not made where nobody listens.
    #[must_use]
    pub fn begin(&self, name: impl fmt::Display) -> Span {
        self.begin_as(Role::Internal, name)
    }

    /// [`Trace::begin`] for a span that has to do with those of other processes.
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
        let below = on.with(Some((place, false)));
        Span { below, open: Some((Instant::now(), Mutex::new(record))) }
    }

    /// A span of which is known already when it began and ended.
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

impl On {
    fn with(&self, above: Option<(TraceParent, bool)>) -> Trace {
        Trace(Some(Arc::new(Self { sender: self.sender.clone(), lost: Arc::clone(&self.lost), above })))
    }
}

/// A span that has begun. It ends when it is dropped, also by an interruption.
#[derive(Debug, Default)]
pub struct Span {
    below: Trace,
    open: Option<(Instant, Mutex<SpanRecord>)>,
}

impl Span {
    /// Where spans below this one begin.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.below
    }

    /// Where it is; nowhere, if nobody listens.
    #[must_use]
    pub fn place(&self) -> Option<TraceParent> {
        self.below.parent()
    }

    /// Something that it says of itself, without secrets.
    pub fn fact(&self, name: &'static str, value: impl Into<Fact>) {
        self.change(|record| record.facts.push((name, value.into())));
    }

    /// A span that it rests on and that is not above it.
    pub fn link(&self, place: TraceParent) {
        self.change(|record| record.links.push(place));
    }

    /// It failed, and why, without secrets.
    pub fn fail(&self, reason: impl fmt::Display) {
        self.change(|record| record.failed = Some(reason.to_string()));
    }

    /// What became of a case. A failure that is accepted for a while is none.
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

    /// What became of a run.
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
            // The clock of the wall may have been set meanwhile.
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
    fn a_traceparent_is_read_and_written_as_it_is() {
        assert_eq!(EXAMPLE.parse::<TraceParent>().unwrap().to_string(), EXAMPLE);
        let unsampled: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00".parse().unwrap();
        assert!(!unsampled.sampled);
        // What a later version adds is not understood, and hinders nothing.
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
    fn what_is_no_traceparent_is_refused(#[case] text: &str) {
        assert_eq!(text.parse::<TraceParent>(), Err(NoTraceParent));
    }

    #[test]
    fn spans_end_when_they_are_dropped_and_know_what_is_above_them() {
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
    fn what_is_not_to_be_recorded_is_passed_on_and_not_sent() {
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
    fn nothing_is_made_where_nobody_listens() {
        struct Never;
        impl fmt::Display for Never {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("it was made");
            }
        }
        let span = Trace::off().begin(Never);
        span.fail(Never);
        assert_eq!((span.place(), span.trace().note()), (None, None));
        assert!(!span.trace().begin(Never).trace().is_on());
    }

    #[test]
    fn what_cannot_wait_is_counted() {
        let (trace, spans) = Trace::channel();
        for _ in 0..WAITING + 3 {
            drop(trace.begin("span"));
        }
        assert_eq!(spans.lost.load(Ordering::Relaxed), 3);
    }
}
