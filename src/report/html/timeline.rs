//! The timeline of a scenario as a drawing: faults as bands across it, a row for each worker, service and document, and
//! below them curves of completed jobs and refused requests.

use serde_json::{Value, json};

use super::drawing::Drawing;
use super::{Places, cut, took};
use crate::outcome::{Progress, Timeline, TimelineEvent, Track};

/// The width of the drawing, and the start and end of its time axis.
const WIDTH: f64 = 860.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 845.0;
/// Heights of a row, of a bar in a row, and of a curve.
const ROW: f64 = 20.0;
const BAR: f64 = 6.0;
const CURVE: f64 = 56.0;
/// Maximum numbers of rows per track, of bars above each other in a row, and of lines with names of faults.
const ROWS: usize = 8;
const BARS: usize = 6;
const NAMES: usize = 5;
/// The approximate width of a letter: bold, and tiny.
const LETTER: f64 = 7.4;
const TINY: f64 = 5.4;

/// The template's values for a timeline; `places` has the anchors of cases and sources.
pub(super) fn context(timeline: &Timeline, anchor: &str, open: bool, places: &Places) -> Value {
    let progress = timeline.progress.clone().or_else(|| from_events(timeline));
    let left_out: Vec<String> =
        timeline.left_out.iter().map(|left| format!("{} more of {}", left.count, left.track.word())).collect();
    json!({
        "open": open,
        "scenario": timeline.scenario,
        "anchor": anchor,
        "title": timeline.title,
        "cases": timeline.cases.iter().map(|id| json!({ "id": id, "anchor": places.case(id) })).collect::<Vec<_>>(),
        "documents": timeline.documents,
        "partial": timeline.progress.is_none() && progress.is_some(),
        "left_out": left_out.join(", "),
        "events": timeline.events.iter().map(|event| json!({
            "at": seconds(event.at_ms),
            "until": event.until_ms.map_or_else(String::new, seconds),
            "track": event.track.word(),
            "subject": event.subject,
            "what": event.what,
        })).collect::<Vec<_>>(),
        "svg": draw(timeline, progress.as_ref()),
    })
}

/// The symbols and their meaning.
pub(super) fn legend() -> Vec<Value> {
    let sign = |text: &str, paint: &dyn Fn(&mut Drawing)| {
        let mut drawing = Drawing::default();
        paint(&mut drawing);
        json!({ "svg": drawing.sign((24.0, 14.0)), "text": text })
    };
    vec![
        sign("a fault, for its duration", &|drawing| {
            drawing.rect("band", [0.0, 0.0, 24.0, 14.0], "");
            drawing.path("band-edge", &[(1.0, 0.0), (1.0, 14.0)], "");
        }),
        sign("an event with a duration", &|drawing| drawing.rect("good", [1.0, 4.0, 22.0, BAR], "")),
        sign("an event", &|drawing| drawing.dot("point", (12.0, 7.0), "")),
        sign("a failed event, with its duration", &|drawing| {
            drawing.rect("bad", [1.0, 4.0, 22.0, BAR], "");
            drawing.cross((12.0, 7.0), "");
        }),
    ]
}

/// The curves of an older report, counted from its events.
fn from_events(timeline: &Timeline) -> Option<Progress> {
    let times = |wanted: &dyn Fn(&TimelineEvent) -> bool| -> Vec<i64> {
        timeline.events.iter().filter(|event| wanted(event)).map(|event| event.at_ms).collect()
    };
    let completed = times(&|event| event.track == Track::Job && event.what == "completed");
    Progress::from_times(&completed, &times(&|event| event.track == Track::Request && is_bad(event)))
}

/// Whether an event is a failure.
fn is_bad(event: &TimelineEvent) -> bool {
    let what = event.what.as_str();
    match event.track {
        Track::Request => !what.contains("answered 2"),
        Track::Connection => what.contains("could not be made"),
        Track::Job => ["failed", "stalled", "retries-exhausted"].iter().any(|word| what.starts_with(word)),
        Track::Process => what.contains("signal") || (what.contains("exited") && !what.contains("code 0")),
        Track::Fault | Track::Output => false,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
fn float(ms: i64) -> f64 {
    ms as f64
}

fn seconds(ms: i64) -> String {
    format!("{:.3} s", float(ms) / 1000.0)
}

/// The tooltip of an event.
fn tooltip(event: &TimelineEvent) -> String {
    let until = event.until_ms.map_or_else(String::new, |until| format!(" to {}", seconds(until)));
    format!("{}{until}, {}: {}", seconds(event.at_ms), event.subject, event.what)
}

/// The time axis.
#[derive(Debug, Clone, Copy)]
struct Clock {
    from: f64,
    until: f64,
}

impl Clock {
    fn new(timeline: &Timeline, progress: Option<&Progress>) -> Self {
        let events = timeline.events.iter();
        let ends = events.flat_map(|event| [Some(event.at_ms), event.until_ms]).flatten().map(float);
        let ends = ends.chain([0.0]).chain(progress.map(|progress| float(progress.from_ms)));
        let (from, until) = ends.fold((0.0_f64, 0.0_f64), |(from, until), at| (from.min(at), until.max(at)));
        Self { from, until: until.max(from + 1.0) }
    }

    fn x(self, ms: f64) -> f64 {
        LEFT + ((ms - self.from) / (self.until - self.from)).clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    /// About seven round times, in milliseconds.
    fn ticks(self) -> Vec<f64> {
        let rough = (self.until - self.from) / 7.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(power * 10.0);
        let first = (self.from / step).ceil();
        (0..20_u8).map(|number| (first + f64::from(number)) * step).take_while(|at| *at <= self.until).collect()
    }
}

/// One row of the drawing: the events of one worker, service or document.
struct Row<'a> {
    name: String,
    events: Vec<&'a TimelineEvent>,
    /// Whether it combines several subjects for lack of space.
    crowd: bool,
}

/// The rows of a track; the surplus ones are combined in one row.
fn rows(timeline: &Timeline, track: Track) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for event in timeline.events.iter().filter(|event| event.track == track) {
        match rows.iter_mut().find(|row| row.name == event.subject) {
            Some(row) => row.events.push(event),
            None => rows.push(Row { name: event.subject.clone(), events: vec![event], crowd: false }),
        }
    }
    if rows.len() > ROWS {
        let rest = rows.split_off(ROWS - 1);
        let name = format!("{} others", rest.len());
        rows.push(Row { name, events: rest.into_iter().flat_map(|row| row.events).collect(), crowd: true });
    }
    rows
}

fn draw(timeline: &Timeline, progress: Option<&Progress>) -> String {
    let clock = Clock::new(timeline, progress);
    let faults: Vec<&TimelineEvent> = timeline.events.iter().filter(|event| event.track == Track::Fault).collect();
    let (names, depth) = fault_names(&faults, clock);
    let top = 10.0 + row_at(depth);
    let mut front = Drawing::default();
    let mut y = top;
    for track in [Track::Process, Track::Connection, Track::Request, Track::Job, Track::Output] {
        let rows = rows(timeline, track);
        if !rows.is_empty() {
            y += ROW;
            front.text("track", (6.0, y - 6.0), plural(track));
        }
        for row in rows {
            y += line(&row, track, clock, y, &mut front);
        }
    }
    if let Some(progress) = progress {
        y = curves(progress, clock, y, &mut front);
    }
    let mut back = Drawing::default();
    for fault in &faults {
        band(fault, clock, y, &mut back);
    }
    for at in clock.ticks() {
        back.path("grid", &[(clock.x(at), top), (clock.x(at), y + 4.0)], "");
        back.text("faint middle", (clock.x(at), y + 18.0), &axis_label(at));
    }
    back.path("grid", &[(LEFT, y + 4.0), (RIGHT, y + 4.0)], "");
    for (x, row, name) in names {
        back.text("band-name", (x, 16.0 + row_at(row)), &name);
    }
    back.append(&front);
    back.framed("time", (WIDTH, y + 26.0), &summary(timeline, progress, clock))
}

/// The approximate width of a text.
#[expect(clippy::cast_precision_loss, reason = "a few letters")]
fn width(text: &str, letter: f64) -> f64 {
    text.chars().count() as f64 * letter
}

#[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
fn row_at(row: usize) -> f64 {
    row as f64 * ROW
}

const fn plural(track: Track) -> &'static str {
    match track {
        Track::Fault => "faults",
        Track::Process => "processes",
        Track::Connection => "connections",
        Track::Request => "requests",
        Track::Job => "jobs",
        Track::Output => "output",
    }
}

/// The label of a time on the axis.
fn axis_label(ms: f64) -> String {
    if ms.abs() < 1e-9 { "0".to_owned() } else { format!("{} s", (ms / 1000.0 * 1e6).round() / 1e6) }
}

/// The names of faults with their positions, on several lines where they would overlap, and the number of lines.
fn fault_names(faults: &[&TimelineEvent], clock: Clock) -> (Vec<(f64, usize, String)>, usize) {
    let mut ends: Vec<f64> = Vec::new();
    let mut names = Vec::new();
    for fault in faults {
        let name = cut(&format!("{}: {}", fault.subject, fault.what), 56);
        let width = width(&name, LETTER);
        let x = (clock.x(float(fault.at_ms)) + 4.0).min(WIDTH - width - 4.0).max(4.0);
        let row = ends.iter().position(|end| *end < x).unwrap_or(ends.len());
        if row >= NAMES {
            continue;
        }
        if row == ends.len() {
            ends.push(0.0);
        }
        ends[row] = x + width + 8.0;
        names.push((x, row, name));
    }
    (names, ends.len())
}

fn band(fault: &TimelineEvent, clock: Clock, bottom: f64, drawing: &mut Drawing) {
    let (from, until) = (clock.x(float(fault.at_ms)), clock.x(fault.until_ms.map_or(clock.from, float)));
    if until > from {
        drawing.rect("band", [from, 4.0, until - from, bottom], &tooltip(fault));
    }
    for x in [Some(from), (until > from).then_some(until)].into_iter().flatten() {
        drawing.path("band-edge", &[(x, 4.0), (x, bottom + 4.0)], &tooltip(fault));
    }
}

/// Draws a row at `y`, and returns its height.
fn line(row: &Row<'_>, track: Track, clock: Clock, y: f64, drawing: &mut Drawing) -> f64 {
    let (bars, points): (Vec<&TimelineEvent>, Vec<&TimelineEvent>) =
        row.events.iter().partition(|event| event.until_ms.is_some());
    let mut ends: Vec<f64> = Vec::new();
    for event in bars {
        let from = clock.x(float(event.at_ms));
        let until = clock.x(event.until_ms.map_or(clock.from, float)).max(from + 2.0);
        let level = ends.iter().position(|end| *end < from).unwrap_or(ends.len()).min(BARS - 1);
        if level == ends.len() {
            ends.push(0.0);
        }
        ends[level] = until + 1.0;
        let top = y + 7.0 + row_at(level) * (BAR + 3.0) / ROW;
        let bad = is_bad(event);
        drawing.rect(if bad { "bad" } else { "good" }, [from, top, until - from, BAR], &tooltip(event));
        if bad {
            drawing.cross((f64::midpoint(from, until), top + BAR / 2.0), &tooltip(event));
        }
    }
    let height = ROW.max(8.0 + row_at(ends.len()) * (BAR + 3.0) / ROW);
    let middle = y + 10.0;
    let xs = points.iter().map(|event| clock.x(float(event.at_ms)));
    let (first, last) = xs.fold((f64::MAX, f64::MIN), |(first, last), x| (first.min(x), last.max(x)));
    let follows = matches!(track, Track::Process | Track::Job) && !row.crowd;
    if last > first && follows {
        drawing.path("thread", &[(first, middle), (last, middle)], "");
    }
    // Labels are drawn after their event, or before it, where there is room.
    let mut free = LEFT;
    for (number, event) in points.iter().enumerate() {
        let place = (clock.x(float(event.at_ms)), middle);
        let next = points.get(number + 1).map_or(RIGHT + 10.0, |next| clock.x(float(next.at_ms)) - 6.0);
        let word = cut(&event.what, 40);
        let (before, behind, room) = (place.0 - 6.0, place.0 + 6.0, width(&word, TINY));
        if follows && behind + room < next {
            drawing.text("tiny", (behind, middle - 3.0), &word);
            free = behind + room;
        } else if follows && before - room > free {
            drawing.text("tiny end", (before, middle - 3.0), &word);
            free = behind;
        } else {
            free = behind;
        }
        // An open connection lasts to the end.
        if track == Track::Connection && !is_bad(event) {
            drawing.path("good-line", &[place, (RIGHT, middle)], &tooltip(event));
        }
        if is_bad(event) { drawing.cross(place, &tooltip(event)) } else { drawing.dot("point", place, &tooltip(event)) }
    }
    drawing.text("faint", (14.0, y + 14.0), &cut(&row.name, 20));
    height
}

/// Draws the completed jobs and the refused requests over time; returns the lower edge.
fn curves(progress: &Progress, clock: Clock, mut y: f64, drawing: &mut Drawing) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
    let at = |step: usize| clock.x(float(progress.from_ms) + step as f64 * progress.step_ms as f64);
    let done: u64 = progress.completed.iter().map(|count| u64::from(*count)).sum();
    y += ROW;
    drawing.text("track", (6.0, y - 6.0), "completed");
    drawing.text("faint", (14.0, y + 14.0), &counted(done, "job", "completed"));
    let bottom = y + CURVE;
    let mut points = vec![(at(0), bottom)];
    let mut so_far = 0_u64;
    for (step, count) in progress.completed.iter().enumerate() {
        so_far += u64::from(*count);
        points.push((at(step), points.last().map_or(bottom, |(_, y)| *y)));
        points.push((at(step + 1), bottom - share(so_far, done) * (CURVE - 8.0)));
    }
    points.push((RIGHT, points.last().map_or(bottom, |(_, y)| *y)));
    drawing.path("grid", &[(LEFT, bottom), (RIGHT, bottom)], "");
    drawing.path("done-line", &points, &counted(done, "job", "completed"));
    y = bottom;
    let refused: u64 = progress.refused.iter().map(|count| u64::from(*count)).sum();
    if refused > 0 {
        let most = progress.refused.iter().copied().max().unwrap_or(1);
        y += ROW + 4.0;
        drawing.text("track", (6.0, y - 6.0), "refused");
        drawing.text("faint", (14.0, y + 14.0), &counted(refused, "request", "refused"));
        drawing.text("faint", (14.0, y + 30.0), &format!("most {most} in {}", took(progress.step_ms)));
        let bottom = y + CURVE;
        drawing.path("grid", &[(LEFT, bottom), (RIGHT, bottom)], "");
        for (step, count) in progress.refused.iter().enumerate().filter(|(_, count)| **count > 0) {
            let height = share(u64::from(*count), u64::from(most)) * (CURVE - 8.0);
            let width = (at(step + 1) - at(step) - 1.0).max(2.0);
            let title = format!("{} in {}", counted(u64::from(*count), "request", "refused"), took(progress.step_ms));
            drawing.rect("refused", [at(step), bottom - height, width, height], &title);
        }
        y = bottom;
    }
    y + 6.0
}

#[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn counted(count: u64, what: &str, done: &str) -> String {
    format!("{count} {what}{} {done}", if count == 1 { "" } else { "s" })
}

/// The text alternative of the drawing.
fn summary(timeline: &Timeline, progress: Option<&Progress>, clock: Clock) -> String {
    let mut parts: Vec<String> = Vec::new();
    for track in Track::ALL {
        let events = timeline.events.iter().filter(|event| event.track == track);
        let (all, bad) = events.fold((0, 0), |(all, bad), event| (all + 1, bad + usize::from(is_bad(event))));
        match (all, bad) {
            (0, _) => {}
            (all, 0) => parts.push(format!("{all} of {}", track.word())),
            (all, bad) => parts.push(format!("{all} of {}, {bad} of them failed", track.word())),
        }
    }
    let sum = |counts: &[u32]| counts.iter().map(|count| u64::from(*count)).sum();
    if let Some(progress) = progress {
        parts.push(counted(sum(&progress.completed), "job", "completed"));
        parts.push(counted(sum(&progress.refused), "request", "refused"));
    }
    let times = format!("{} to {}", axis_label(clock.from), axis_label(clock.until));
    format!("What happened from {times}: {}. The table below has every event.", parts.join("; "))
}
