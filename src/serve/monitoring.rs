//! What monitors of one's own are given: rules for Prometheus and a dashboard for Grafana, made from the cases.

use serde_json::{Value, json};

use super::CircuitState;
use super::metrics;
use crate::outcome::{Level, Word};
use crate::runner::Selection;
use crate::spec::{Case, Suites, Verb};

/// The cases that `shakedown serve` judges when nobody says otherwise.
fn cases(suites: &Suites) -> Vec<&Case> {
    let selection = Selection::default().with_slow(true).for_verb(Verb::Check).only_reading(true);
    suites.cases.iter().map(AsRef::as_ref).filter(|case| selection.chooses(case)).collect()
}

fn names(suites: &Suites) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for case in cases(suites) {
        if !names.contains(&case.suite) {
            names.push(case.suite.clone());
        }
    }
    names
}

/// A text in double quotes, as YAML and `PromQL` both read it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Text in an annotation: Prometheus takes what stands in two braces for a template of its own.
fn annotation(text: &str) -> String {
    quoted(&text.replace("{{", "{ {"))
}

/// Alert rules for Prometheus, as YAML: one for each MUST, one for warnings of a suite, and those of services, queue and
/// the checks themselves.
#[must_use]
pub fn alerts(suites: &Suites) -> String {
    let fail = metrics::number(Word::Fail);
    let warn = metrics::number(Word::Warn);
    let mut text = String::from(
        "# Alert rules for what `shakedown serve` says under /metrics. Made by `shakedown schema alerts` from the cases.\n\
         groups:\n",
    );
    let general = [
        (
            "ShakedownServiceDown",
            format!("{} == 0", metrics::UP),
            "15s",
            "critical",
            "{{ $labels.service }} does not answer",
            "The pulse of {{ $labels.service }} has failed for 15 seconds.",
        ),
        (
            "ShakedownCheckLate",
            format!("time() - {} > 300", metrics::LAST_CHECK),
            "1m",
            "warning",
            "no check has ended for five minutes",
            "shakedown serve runs, and its checks do not come to their end.",
        ),
        (
            "ShakedownGone",
            format!("absent({})", metrics::LAST_CHECK),
            "5m",
            "warning",
            "shakedown serve says nothing",
            "Nothing is scraped, or no check has come to its end yet.",
        ),
        (
            "ShakedownQueueWaits",
            format!("{} > 600", metrics::OLDEST),
            "5m",
            "warning",
            "a job of {{ $labels.queue }} has waited for more than ten minutes",
            "Workers are gone, stuck, or too few.",
        ),
        (
            "ShakedownJobsFail",
            format!("delta({}{{state=\"failed\"}}[15m]) > 0", metrics::JOBS),
            "1m",
            "warning",
            "jobs of {{ $labels.queue }} fail",
            "More jobs are failed than fifteen minutes ago.",
        ),
    ];
    text += "  - name: shakedown\n    rules:\n";
    for (alert, expression, lasts, severity, summary, description) in general {
        text += &rule(alert, &expression, lasts, severity, &quoted(summary), &quoted(description), None);
    }
    for suite in names(suites) {
        text += &format!("  - name: {}\n    rules:\n", quoted(&format!("shakedown-{suite}")));
        for case in cases(suites).iter().filter(|case| case.suite == suite && case.level == Level::Must) {
            let expression = format!("{}{{case={}}} == {fail}", metrics::VERDICT, quoted(&case.id));
            let description = annotation(&format!("{} Remedy: {}", case.why, case.remedy));
            let summary = annotation(&format!("{} fails: {}", case.id, case.title));
            text +=
                &rule(&alert_name(&case.id), &expression, "1m", "critical", &summary, &description, Some(&case.source));
        }
        let expression = format!("{}{{suite={}}} == {warn}", metrics::VERDICT, quoted(&suite));
        text += &rule(
            &format!("{}Warns", alert_name(&suite)),
            &expression,
            "15m",
            "info",
            &quoted("{{ $labels.case }} warns"),
            &quoted("A SHOULD or MAY does not hold; `shakedown explain {{ $labels.case }}` says why it matters."),
            None,
        );
    }
    text
}

/// `redis.eviction-policy` as `ShakedownRedisEvictionPolicy`.
fn alert_name(id: &str) -> String {
    let words = id.split(|letter: char| !letter.is_ascii_alphanumeric());
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    format!("Shakedown{}", words.map(capital).collect::<String>())
}

fn rule(
    alert: &str,
    expression: &str,
    lasts: &str,
    severity: &str,
    summary: &str,
    description: &str,
    source: Option<&str>,
) -> String {
    let source = source
        .filter(|source| source.starts_with("https://"))
        .map_or_else(String::new, |source| format!("          runbook_url: {}\n", annotation(source)));
    format!(
        "      - alert: {alert}\n        expr: {}\n        for: {lasts}\n        labels:\n          severity: {severity}\n        \
         annotations:\n          summary: {summary}\n          description: {description}\n{source}",
        quoted(expression)
    )
}

/// A dashboard for Grafana, as JSON: services, verdicts, queue, and a row for each suite.
#[must_use]
pub fn dashboard(suites: &Suites) -> String {
    let mut panels = Vec::new();
    let mut y = 0;
    let add = |panels: &mut Vec<Value>, mut panel: Value, [x, width, height]: [u32; 3], y: u32| {
        panel["id"] = json!(panels.len() + 1);
        panel["gridPos"] = json!({ "x": x, "y": y, "w": width, "h": height });
        if panel["type"] != "row" {
            panel["datasource"] = json!({ "type": "prometheus", "uid": "${datasource}" });
        }
        panels.push(panel);
    };
    let since = |metric: &str| format!("time() - {metric}");
    add(&mut panels, stat("Services that answer", &format!("sum({})", metrics::UP), "short"), [0, 6, 4], y);
    add(&mut panels, stat("MUST cases that fail", &failing(None), "short"), [6, 6, 4], y);
    add(&mut panels, stat("Since the last check", &since(metrics::LAST_CHECK), "s"), [12, 6, 4], y);
    add(&mut panels, stat("Since the last success", &since(metrics::LAST_SUCCESS), "s"), [18, 6, 4], y);
    y += 4;
    add(&mut panels, timeline("Services", metrics::STATUS, "{{service}}", &STATUS_WORDS), [0, 24, 8], y);
    y += 8;
    add(&mut panels, timeline("Circuits", metrics::CIRCUIT, "{{service}}", &CIRCUIT_WORDS), [0, 24, 8], y);
    y += 8;
    add(&mut panels, series("Time to answer", metrics::LATENCY, "{{service}}", "s"), [0, 12, 8], y);
    add(&mut panels, series("Jobs by state", metrics::JOBS, "{{state}}", "short"), [12, 12, 8], y);
    y += 8;
    add(&mut panels, series("Longest wait", metrics::OLDEST, "{{queue}}", "s"), [0, 12, 8], y);
    add(&mut panels, series("Points", metrics::POINTS, "{{collection}}", "short"), [12, 12, 8], y);
    y += 8;
    for suite in names(suites) {
        let count = u32::try_from(cases(suites).iter().filter(|case| case.suite == suite).count()).unwrap_or_default();
        let height = 4 + count.div_ceil(2);
        add(&mut panels, json!({ "type": "row", "title": suite, "collapsed": false, "panels": [] }), [0, 24, 1], y);
        y += 1;
        let of = format!("{}{{suite={}}}", metrics::VERDICT, quoted(&suite));
        add(&mut panels, timeline(&format!("Cases of {suite}"), &of, "{{case}}", &VERDICT_WORDS), [0, 16, height], y);
        let of = format!("{}{{suite={}}}", metrics::DURATION, quoted(&suite));
        add(&mut panels, series(&format!("How long cases of {suite} take"), &of, "{{case}}", "s"), [16, 8, height], y);
        y += height;
    }
    let dashboard = json!({
        "uid": "shakedown",
        "title": "Shakedown",
        "description": "What `shakedown serve` says under /metrics. Made by `shakedown schema grafana` from the cases.",
        "tags": ["shakedown"],
        "schemaVersion": 39,
        "editable": true,
        "refresh": "30s",
        "time": { "from": "now-24h", "to": "now" },
        "templating": { "list": [{
            "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus", "current": {},
        }] },
        "panels": panels,
    });
    format!("{dashboard:#}\n")
}

fn failing(suite: Option<&str>) -> String {
    let of = suite.map_or_else(String::new, |suite| format!(",suite={}", quoted(suite)));
    format!("count({}{{level=\"must\"{of}}} == {}) or vector(0)", metrics::VERDICT, metrics::number(Word::Fail))
}

type Shown = (u8, &'static str, &'static str);
const STATUS_WORDS: [Shown; 3] = [(0, "pass", "green"), (1, "warn", "yellow"), (2, "fail", "red")];
const CIRCUIT_WORDS: [Shown; 3] = [
    (CircuitState::Closed.number(), "closed", "green"),
    (CircuitState::HalfOpen.number(), "half open", "yellow"),
    (CircuitState::Open.number(), "open", "red"),
];
const VERDICT_WORDS: [Shown; 6] = [
    (metrics::number(Word::Pass), "pass", "green"),
    (metrics::number(Word::Warn), "warn", "yellow"),
    (metrics::number(Word::Fail), "fail", "red"),
    (metrics::number(Word::Unknown), "unknown", "purple"),
    (metrics::number(Word::Skip), "skip", "text"),
    (metrics::number(Word::Waived), "waived", "blue"),
];

fn target(expression: &str, legend: &str) -> Value {
    json!([{ "refId": "A", "expr": expression, "legendFormat": legend }])
}

fn stat(title: &str, expression: &str, unit: &str) -> Value {
    json!({
        "type": "stat", "title": title, "targets": target(expression, ""),
        "fieldConfig": { "defaults": { "unit": unit }, "overrides": [] },
    })
}

fn series(title: &str, expression: &str, legend: &str, unit: &str) -> Value {
    json!({
        "type": "timeseries", "title": title, "targets": target(expression, legend),
        "fieldConfig": { "defaults": { "unit": unit, "min": 0 }, "overrides": [] },
    })
}

fn timeline(title: &str, expression: &str, legend: &str, words: &[Shown]) -> Value {
    let options: serde_json::Map<String, Value> = words
        .iter()
        .map(|(value, text, color)| (value.to_string(), json!({ "text": text, "color": color, "index": value })))
        .collect();
    json!({
        "type": "state-timeline", "title": title, "targets": target(expression, legend),
        "fieldConfig": { "defaults": { "mappings": [{ "type": "value", "options": options }] }, "overrides": [] },
    })
}
