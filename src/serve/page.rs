//! The status page: the services now and in the last 24 hours, and the incidents.

use std::io;

use serde_json::{Value, json};

use super::history::{BLOCK_MS, BLOCKS, Block, Incident};
use super::status_store::{Known, StatusStore};
use super::{Status, rfc3339};
use crate::guide::catalogue::link;
use crate::outcome::{Coverage, Word};
use crate::redaction::redact_json;
use crate::report::html::{Drawing, Page, page, took};

const TEMPLATE: &str = include_str!("templates/status.html.j2");
const STYLE: &str = include_str!("templates/status.css");
const SCRIPT: &str = include_str!("templates/status.js");

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// The maximum number of incidents on the page.
const INCIDENTS: usize = 50;

/// The whole page.
pub(super) fn status(status_store: &StatusStore, bull_board: Option<&str>, now: i64) -> io::Result<Vec<u8>> {
    let known = status_store.read();
    let fresh = status_store.is_fresh(&known, now);
    let overall = if fresh { known.overall() } else { known.last_check_ms.map(|_| Status::Fail) };
    let (class, symbol, verdict) = match overall {
        Some(Status::Pass) => ("holds", "✓", "healthy"),
        Some(Status::Warn) => ("holds", "✓", "healthy, with warnings"),
        Some(Status::Fail) => ("fails", "✗", "unhealthy"),
        None => ("open", "?", "no check yet"),
    };
    let records: Vec<_> = known.cases.values().map(|judged| judged.record.clone()).collect();
    let incidents = known.history.incidents(now - DAY_MS);
    let context = json!({
        "verdict": verdict,
        "verdict_class": class,
        "verdict_symbol": symbol,
        "coverage": Coverage::from_cases(&records, 0).sentence(),
        "profile": known.targets.profile,
        "checked": known.last_check_ms.map(|at| json!({ "at": rfc3339(at), "ago": ago(now - at) })),
        "every": took(millis(status_store.intervals().check)),
        "stale": known.last_check_ms.is_some() && !fresh,
        "notes": known.notes.values().collect::<Vec<_>>(),
        "services": known.services().map(|(name, status)| service(&known, name, status, now)).collect::<Vec<_>>(),
        "queue": known.queue.map(|queue| json!({
            "name": known.targets.queue,
            "states": queue.counts.by_state().map(|(state, count)| json!({ "state": state, "count": count })),
            "oldest": queue.oldest_s.map(took_s),
        })),
        "points": known.points,
        "collection": known.targets.collection,
        "incidents": incidents.iter().take(INCIDENTS).map(|one| incident(one, now)).collect::<Vec<_>>(),
        "more_incidents": incidents.len().saturating_sub(INCIDENTS),
        "bull_board": bull_board.and_then(link),
    });
    drop(known);
    let mut bytes = Vec::new();
    let whole = Page {
        name: "status.html",
        template: TEMPLATE,
        context: redact_json(context),
        lazy: Vec::new(),
        style: STYLE,
        script: SCRIPT,
        live: true,
    };
    page(whole, &mut bytes)?;
    Ok(bytes)
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds that a job has waited")]
fn took_s(seconds: f64) -> String {
    took((seconds.max(0.0) * 1000.0) as u64)
}

/// How long ago, roughly.
fn ago(ms: i64) -> String {
    match ms {
        ..1000 => "just now".to_owned(),
        1000..60_000 => format!("{} s ago", ms / 1000),
        60_000..3_600_000 => format!("{} min ago", ms / 60_000),
        3_600_000..86_400_000 => format!("{} h ago", ms / 3_600_000),
        _ => format!("{} days ago", ms / 86_400_000),
    }
}

fn service(known: &Known, name: &str, status: Status, now: i64) -> Value {
    let day = known.history.day(now, name);
    let heartbeat = known.heartbeats.get(name);
    let wrong: Vec<Value> = known
        .cases_of(name)
        .filter(|judged| known.status_of(judged).is_some_and(|status| status != Status::Pass))
        .map(|judged| {
            let record = &judged.record;
            json!({ "id": record.id, "word": record.verdict.word(), "reason": record.verdict.reason() })
        })
        .collect();
    let (passed, judged) =
        known.cases_of(name).fold((0, 0), |(passed, judged), case| match case.record.verdict.word() {
            Word::Pass => (passed + 1, judged + 1),
            Word::Skip => (passed, judged),
            _ => (passed, judged + 1),
        });
    json!({
        "name": name,
        "status": status,
        "up": heartbeat.map(|heartbeat| heartbeat.up),
        "reason": known.unasked.get(name).or(heartbeat.and_then(|heartbeat| heartbeat.reason.as_ref())),
        "since": heartbeat.map(|heartbeat| rfc3339(heartbeat.since_ms)),
        "circuit": known.circuit(name).map(|circuit| circuit.word().replace('_', " ")),
        "latency": heartbeat.filter(|heartbeat| heartbeat.up).map(|heartbeat| latency(f64_ms(heartbeat.latency_us))),
        "passed": passed,
        "judged": judged,
        "wrong": wrong,
        "strip": strip(name, &day),
        "sparkline": sparkline(name, &day),
    })
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of an answer")]
fn f64_ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

fn latency(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

#[expect(clippy::cast_precision_loss, reason = "the place of one of 96 blocks")]
fn x_of(place: usize) -> f64 {
    place as f64 * 10.0
}

/// A bar for each 15 minutes; a worse status is taller.
fn strip(name: &str, day: &[(i64, Block)]) -> String {
    let mut drawing = Drawing::default();
    let mut counts = [0_usize; 3];
    for (place, (start, block)) in day.iter().enumerate() {
        let until = rfc3339(start + BLOCK_MS);
        let when = format!("{}–{} UTC", clock(&rfc3339(*start)), clock(&until));
        let (class, height, what) = match block.status() {
            Some(Status::Pass) => ("s-pass", 20.0, "healthy"),
            Some(Status::Warn) => ("s-warn", 28.0, "warnings"),
            Some(Status::Fail) => ("s-fail", 36.0, "unhealthy"),
            None => ("s-none", 4.0, "no data"),
        };
        if let Some(status) = block.status() {
            counts[status as usize] += 1;
        }
        let mean = block.mean_ms().map_or_else(String::new, |ms| format!(", {} on average", latency(ms)));
        drawing.rect(class, [x_of(place), 36.0 - height, 8.0, height], &format!("{when}: {what}{mean}"));
    }
    let [pass, warn, fail] = counts;
    let unseen = BLOCKS - pass - warn - fail;
    let label = format!(
        "{name}, the last 24 hours in blocks of 15 minutes: {pass} healthy, {warn} with warnings, {fail} unhealthy, \
         {unseen} without data"
    );
    drawing.framed("strip", (x_of(BLOCKS) - 2.0, 36.0), &label)
}

/// A line of the times to answer; none without an answer.
fn sparkline(name: &str, day: &[(i64, Block)]) -> Option<String> {
    let means: Vec<(usize, f64)> =
        day.iter().enumerate().filter_map(|(place, (_, block))| Some((place, block.mean_ms()?))).collect();
    let highest = means.iter().map(|(_, ms)| *ms).fold(0.0, f64::max);
    let (_, last) = *means.last()?;
    let mut drawing = Drawing::default();
    let point =
        |place: usize, ms: f64| (x_of(place) + 4.0, 28.0 - if highest > 0.0 { ms / highest * 24.0 } else { 0.0 });
    // There is no line where there is no data.
    let mut stretch: Vec<(f64, f64)> = Vec::new();
    let mut before = None;
    let flush = |stretch: &mut Vec<(f64, f64)>, drawing: &mut Drawing| {
        match stretch.as_slice() {
            [] => {}
            [(x, y)] => drawing.path("spark-line", &[(*x - 4.0, *y), (*x + 4.0, *y)], ""),
            points => drawing.path("spark-line", points, ""),
        }
        stretch.clear();
    };
    for (place, ms) in means {
        if before.is_some_and(|before| before + 1 != place) {
            flush(&mut stretch, &mut drawing);
        }
        stretch.push(point(place, ms));
        before = Some(place);
    }
    flush(&mut stretch, &mut drawing);
    let label = format!("{name}, time to answer: {} lately, {} at most", latency(last), latency(highest));
    Some(drawing.framed("spark", (x_of(BLOCKS) - 2.0, 32.0), &label))
}

/// Hours and minutes of a time in RFC 3339.
fn clock(time: &str) -> &str {
    time.get(11..16).unwrap_or(time)
}

fn incident(incident: &Incident, now: i64) -> Value {
    let length = incident.until_ms.unwrap_or(now) - incident.from_ms;
    json!({
        "service": incident.service,
        "case": incident.case,
        "reason": incident.reason,
        "from": rfc3339(incident.from_ms),
        "until": incident.until_ms.map(rfc3339),
        "length": took(u64::try_from(length).unwrap_or_default()),
    })
}
