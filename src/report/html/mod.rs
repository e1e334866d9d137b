//! The report as one HTML page without external resources, for screens of any width and for print.
//!
//! Text from services and workers is escaped by the templates, and a content security policy allows only the page's own
//! script and style, by their digests.

mod drawing;
mod matrix;
mod page;
mod sources;
mod timeline;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::outcome::{CaseRecord, Evidence, Level, Report, RunVerdict, Totals, Word};

use super::masked;
pub(crate) use drawing::Drawing;
pub use matrix::matrix;
use page::{Anchors, harmless};
pub(crate) use page::{Page, page};
use sources::Sources;

const TEMPLATE: &str = include_str!("../templates/report.html.j2");

/// Longer evidence, in characters, is shortened, with the whole text on request.
const LONGEST: usize = 600;
/// If there are more failures, they start folded.
const UNFOLDED: usize = 12;
/// The number of timelines that start unfolded.
const SHOWN: usize = 2;

/// Writes `report` as HTML.
pub fn render(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut anchors = Anchors::default();
    let places = Arc::new(Places::new(masked(report), &mut anchors));
    let report = &places.report;
    let grave = report.cases.iter().filter(|case| is_open(case.verdict.word())).count();
    let suites = places.suites();
    let (class, symbol) = match report.verdict {
        RunVerdict::Conformant => ("holds", "✓"),
        RunVerdict::NotConformant => ("fails", "✗"),
        RunVerdict::Inconclusive => ("open", "?"),
    };
    let context = json!({
        "report": without_cases(report),
        "verdict_class": class,
        "verdict_symbol": symbol,
        "coverage": report.coverage.sentence(),
        "took": took(report.duration_ms),
        "tally": drawing::tally(&report.totals),
        "counts": counts(&report.totals),
        "levels": levels(&report.cases),
        "notes": notes(report),
        "causes": (0..report.causes.len()).filter_map(|place| places.cause(place)).collect::<Vec<_>>(),
        "problems": super::worst_first(report).into_iter().map(|case| places.problem(case)).collect::<Vec<_>>(),
        "suites": suites.iter().map(|(name, cases)| places.suite(name, cases, &mut anchors)).collect::<Vec<_>>(),
        "timelines": report.timelines.iter().zip(&places.scenarios).enumerate().map(|(number, (line, anchor))| {
            timeline::context(line, anchor, number < SHOWN, &places)
        }).collect::<Vec<_>>(),
        "legend": timeline::legend(),
        "sources": places.sources.entries(),
        "facts": facts(report),
    });
    let cases: Vec<minijinja::Value> =
        suites.into_iter().map(|(_, cases)| places.clone().cases(cases, grave <= UNFOLDED)).collect();
    let lazy = vec![("cases", cases.into())];
    page(Page { name: "report.html", template: TEMPLATE, context, lazy, style: "", script: "", live: false }, out)
}

/// The report without its cases and timelines, which the page has in other shapes.
fn without_cases(report: &Report) -> Value {
    json!({
        "verdict": report.verdict, "run": report.run, "gate": report.gate, "started_at": report.started_at,
        "provider": report.provider, "profile": report.profile, "totals": report.totals, "coverage": report.coverage,
        "services": report.services, "environment": report.environment, "files": report.files,
        "shakedown": report.shakedown, "report_version": report.report_version,
    })
}

fn is_open(word: Word) -> bool {
    matches!(word, Word::Fail | Word::Unknown)
}

/// A report and the anchors of its page.
#[derive(Debug)]
struct Places {
    report: Report,
    /// Of each case, in the order of the report.
    cases: Vec<String>,
    /// Of each timeline, in the order of the report.
    scenarios: Vec<String>,
    /// Of each cause, in the order of the report.
    causes: Vec<String>,
    sources: Sources,
}

impl Places {
    fn new(report: Report, anchors: &mut Anchors) -> Self {
        let cases = report.cases.iter().map(|case| anchors.id("case", &case.id)).collect();
        let scenarios = report.timelines.iter().map(|line| anchors.id("scenario", &line.scenario)).collect();
        let causes = report.causes.iter().map(|cause| anchors.id("cause", &cause.id)).collect();
        let sources = Sources::cited(&report, anchors);
        Self { report, cases, scenarios, causes, sources }
    }

    fn case(&self, id: &str) -> Option<&str> {
        let place = self.report.cases.iter().position(|case| case.id == id)?;
        self.cases.get(place).map(String::as_str)
    }

    fn scenario(&self, name: &str) -> Option<&str> {
        let place = self.report.timelines.iter().position(|line| line.scenario == name)?;
        self.scenarios.get(place).map(String::as_str)
    }

    /// The cause at this place of the report.
    fn cause(&self, place: usize) -> Option<Value> {
        let (cause, anchor) = (self.report.causes.get(place)?, self.causes.get(place)?);
        Some(json!({
            "number": place + 1,
            "anchor": anchor,
            "sentence": cause.sentence,
            "evidence": cause.evidence,
            "remedy": cause.remedy,
            "libraries": cause.libraries,
            "sources": self.sources.items(&cause.source),
            "cases": cause.cases.iter().map(|id| json!({ "id": id, "anchor": self.case(id) })).collect::<Vec<_>>(),
        }))
    }

    /// The causes of a case: number and anchor.
    fn causes_of(&self, case: &CaseRecord) -> Vec<Value> {
        let numbers = self.report.cause_numbers(case).into_iter();
        numbers.map(|number| json!({ "number": number, "anchor": self.causes.get(number - 1) })).collect()
    }

    fn problem(&self, case: &CaseRecord) -> Value {
        json!({
            "id": case.id,
            "anchor": self.case(&case.id),
            "verdict": case.verdict.word(),
            "level": case.level,
            "causes": self.causes_of(case),
            "brief": cut(case.verdict.reason().unwrap_or_default(), LONGEST / 2),
        })
    }

    /// The names of the suites in the order of the report, each with the numbers of its cases.
    fn suites(&self) -> Vec<(String, Vec<usize>)> {
        let mut suites: Vec<(String, Vec<usize>)> = Vec::new();
        for (number, case) in self.report.cases.iter().enumerate() {
            match suites.iter_mut().find(|(name, _)| *name == case.suite) {
                Some((_, cases)) => cases.push(number),
                None => suites.push((case.suite.clone(), vec![number])),
            }
        }
        suites
    }

    fn suite(&self, name: &str, cases: &[usize], anchors: &mut Anchors) -> Value {
        let totals = Totals::from_cases(cases.iter().filter_map(|number| self.report.cases.get(*number)));
        json!({
            "name": name,
            "anchor": anchors.id("suite", name),
            "tally": drawing::tally(&totals),
            "counts": counts(&totals),
            "passed": totals.pass,
            "total": totals.cases,
        })
    }

    /// These cases, each made when the page comes to it.
    fn cases(self: Arc<Self>, cases: Vec<usize>, unfolded: bool) -> minijinja::Value {
        let cases = Arc::new(cases);
        minijinja::Value::make_iterable(move || {
            let (places, cases) = (self.clone(), cases.clone());
            (0..cases.len()).filter_map(move |place| {
                let number = *cases.get(place)?;
                let (case, anchor) = (places.report.cases.get(number)?, places.cases.get(number)?);
                Some(harmless(places.details(case, anchor, unfolded)))
            })
        })
    }

    fn details(&self, case: &CaseRecord, anchor: &str, unfolded: bool) -> Value {
        json!({
            "id": case.id,
            "anchor": anchor,
            "title": case.title,
            "verdict": case.verdict.word(),
            "level": case.level,
            "reason": case.verdict.reason(),
            "causes": self.causes_of(case),
            "waived_until": case.waived_until,
            "evidence": case.evidence.iter().map(evidence).collect::<Vec<_>>(),
            "why": case.why,
            "remedy": case.remedy,
            "sources": self.sources.items(&case.source),
            "took": took(case.duration_ms),
            "attempts": case.attempts,
            "flaky": case.flaky,
            "open": unfolded && is_open(case.verdict.word()),
            "scenario": case.scenario,
            "scenario_anchor": case.scenario.as_deref().and_then(|name| self.scenario(name)),
        })
    }
}

fn evidence(evidence: &Evidence) -> Value {
    let seen = evidence.seen.as_str().map_or_else(|| evidence.seen.to_string(), ToOwned::to_owned);
    let size = seen.chars().count();
    let whole = size > LONGEST;
    json!({
        "what": evidence.what,
        "seen": cut(&seen, LONGEST),
        "whole": whole.then_some(seen),
        "size": size,
        "wanted": evidence.wanted,
    })
}

fn cut(text: &str, room: usize) -> String {
    let mut kept: String = text.chars().take(room).collect();
    if kept.len() < text.len() {
        kept.push('…');
    }
    kept
}

fn counts(totals: &Totals) -> Vec<Value> {
    let there = Word::ALL.into_iter().filter(|word| totals.count(*word) > 0);
    there.map(|word| json!({ "word": word, "count": totals.count(word), "symbol": word.symbol() })).collect()
}

fn levels(cases: &[CaseRecord]) -> Vec<Value> {
    let mut counts: BTreeMap<Level, usize> = BTreeMap::new();
    for case in cases {
        *counts.entry(case.level).or_default() += 1;
    }
    counts.into_iter().map(|(level, count)| json!({ "word": level, "count": count })).collect()
}

fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(comparison) = &report.gate.comparison {
        notes.push(comparison.sentence());
    }
    if let Some(shard) = &report.gate.shard {
        notes.push(format!("shard {shard}: the other shards are separate runs"));
    }
    if report.gate.attempts > 1 {
        let flaky = report.cases.iter().filter(|case| case.flaky).count();
        notes.push(format!("{} attempts of every case, {flaky} flaky", report.gate.attempts));
    }
    notes.extend(report.notes.iter().cloned());
    notes
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    vec![
        ("run", report.run.clone()),
        ("began", report.started_at.clone()),
        ("took", took(report.duration_ms)),
        ("provider", format!("{} ({})", report.provider, report.provider_reason)),
        ("profile", report.profile.clone()),
        ("seed", report.seed.to_string()),
        ("suites", report.suite_version.clone()),
        ("worker", report.worker.clone()),
    ]
}

/// A duration in words.
pub(crate) fn took(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {:02} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

#[cfg(test)]
mod tests;
