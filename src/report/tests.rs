//! One report with every verdict, through every renderer.

use super::*;
use crate::outcome::{
    CaseRecord, Coverage, EnvironmentRow, Evidence, Gate, Level, REPORT_VERSION, RunVerdict, ServiceRecord,
    ServiceStatus, Totals, Verdict,
};

fn case(id: &str, level: Level, verdict: Verdict) -> CaseRecord {
    let mut case = CaseRecord {
        id: id.to_owned(),
        suite: id.split('.').next().unwrap_or_default().to_owned(),
        title: format!("What {id} wants"),
        level,
        verdict: Verdict::Pass,
        reason: None,
        waived_until: None,
        evidence: vec![Evidence::against(
            "INFO memory → maxmemory_policy",
            "allkeys-lru | `x`\nsecond line",
            "noeviction",
        )],
        why: "Keys are deleted.".to_owned(),
        remedy: "CONFIG SET maxmemory-policy noeviction.".to_owned(),
        source: "https://docs.bullmq.io/guide/going-to-production".to_owned(),
        duration_ms: 7,
        attempts: Vec::new(),
        flaky: false,
        scenario: None,
    };
    case.judge(verdict);
    case
}

fn report(cases: Vec<CaseRecord>) -> Report {
    let mut report = Report {
        report_version: REPORT_VERSION,
        shakedown: "0.0.0".to_owned(),
        suite_version: "abc".to_owned(),
        run: "r1".to_owned(),
        seed: 42,
        profile: "development".to_owned(),
        provider: "native".to_owned(),
        provider_reason: "no container engine answers".to_owned(),
        worker: "shakedown worker".to_owned(),
        started_at: "2026-01-01T00:00:00Z".to_owned(),
        duration_ms: 1234,
        verdict: RunVerdict::Inconclusive,
        coverage: Coverage::default(),
        totals: Totals::default(),
        gate: Gate::default(),
        services: vec![ServiceRecord {
            name: "redis".to_owned(),
            status: ServiceStatus::Ready,
            version: "7.0.15".to_owned(),
            endpoint: "redis://127.0.0.1:6379".to_owned(),
            kind: "redis-server".to_owned(),
            ready_after_ms: Some(12),
            parameters: [("maxmemory_policy".to_owned(), "noeviction".to_owned())].into(),
        }],
        environment: vec![EnvironmentRow {
            name: "REDIS_URL".to_owned(),
            value: "********".to_owned(),
            origin: "stack".to_owned(),
            secret: true,
        }],
        files: Vec::new(),
        notes: vec!["stale waiver: redis.version passes now; remove it from [waive]".to_owned()],
        cases,
        timelines: Vec::new(),
    };
    report.settle(3);
    report
}

fn every_verdict() -> Report {
    let waived = Verdict::Waived { reason: "until the upgrade".to_owned(), expires: "2026-12-31".to_owned() };
    report(vec![
        case("redis.answers", Level::Must, Verdict::Pass),
        case("redis.eviction-policy", Level::Must, Verdict::unmet(Level::Must, "the policy is allkeys-lru")),
        case("redis.persistence", Level::Should, Verdict::unmet(Level::Should, "aof_enabled is 0 – größer ✓ 日本")),
        case("qdrant.healthy", Level::Must, Verdict::skip("prerequisite qdrant.answers is fail")),
        case("qdrant.version", Level::Must, Verdict::unknown("permission missing")),
        case("jina.model", Level::May, waived),
    ])
}

fn rendered(report: &Report, format: Format) -> String {
    let mut out = Vec::new();
    write(report, format, false, 100, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn every_renderer_shows_every_verdict_as_its_golden_says() {
    let report = every_verdict();
    // Style and script of the page are not what a golden is for.
    insta::with_settings!({ filters => [(r"(?s)(<style>|<script>).*?(</style>|</script>)", "$1$2"), (r"sha256-[^']+", "DIGEST")] }, {
        for format in Format::ALL.map(|(_, format)| format) {
            insta::assert_snapshot!(format!("not_conformant.1.{format}"), rendered(&report, format));
        }
    });
}

#[test]
fn a_report_that_is_read_back_is_the_report_that_was_written() {
    let report = every_verdict();
    assert_eq!(json::read(&rendered(&report, Format::Json)).unwrap(), report);
}

#[test]
fn a_report_that_cannot_be_read_is_refused_with_what_was_found() {
    let refused = |text: &str| json::read(text).unwrap_err().to_string();
    assert!(refused("{").contains("no JSON"));
    assert!(refused("[1]").contains("without a report_version"));
    assert!(refused("{\"report_version\": 1}").contains("missing field"));
    let mut report = every_verdict();
    report.report_version = 9;
    "7.0.0".clone_into(&mut report.shakedown);
    let newer = refused(&rendered(&report, Format::Json));
    assert!(newer.contains("report version 9, written by shakedown 7.0.0"), "{newer}");
}

#[test]
fn a_report_of_an_earlier_shakedown_is_read_without_what_it_did_not_have() {
    let mut written: serde_json::Value = serde_json::from_str(&rendered(&every_verdict(), Format::Json)).unwrap();
    for field in ["gate", "timelines"] {
        written.as_object_mut().unwrap().remove(field);
    }
    assert_eq!(json::read(&written.to_string()).unwrap(), every_verdict());
}

#[test]
fn the_schema_documents_every_field_of_the_report() {
    let schema = json::schema();
    let written: serde_json::Value = serde_json::from_str(&rendered(&every_verdict(), Format::Json)).unwrap();
    for field in written.as_object().unwrap().keys() {
        assert!(schema["properties"].get(field).is_some(), "{field} is not in the schema");
    }
    for field in written["cases"][1].as_object().unwrap().keys() {
        assert!(schema["$defs"]["CaseRecord"]["properties"].get(field).is_some(), "{field} is not in the schema");
    }
}

#[test]
fn colours_appear_only_when_asked_for() {
    let mut out = Vec::new();
    write(&every_verdict(), Format::Terminal, true, 100, &mut out).unwrap();
    assert!(out.contains(&0x1b));
    assert!(!rendered(&every_verdict(), Format::Terminal).contains('\u{1b}'));
}

#[test]
fn nothing_judged_is_no_pass() {
    assert_eq!(report(Vec::new()).verdict, RunVerdict::Inconclusive);
    let skipped = report(vec![case("redis.answers", Level::Must, Verdict::skip("no redis"))]);
    assert_eq!(skipped.verdict, RunVerdict::Inconclusive);
    let unknown = report(vec![
        case("redis.answers", Level::Must, Verdict::Pass),
        case("redis.version", Level::Must, Verdict::unknown("denied")),
    ]);
    assert_eq!(unknown.verdict, RunVerdict::Inconclusive);
    let warned = report(vec![
        case("redis.answers", Level::Must, Verdict::Pass),
        case("redis.persistence", Level::Should, Verdict::unmet(Level::Should, "off")),
    ]);
    assert_eq!(warned.verdict, RunVerdict::Conformant);
}

#[test]
fn control_characters_do_not_break_the_xml() {
    let broken =
        report(vec![case("redis.answers", Level::Must, Verdict::unmet(Level::Must, "NUL \u{0} and \u{1b}[31m"))]);
    let xml = rendered(&broken, Format::Junit);
    assert!(!xml.contains('\u{0}') && !xml.contains('\u{1b}'), "{xml}");
}

#[test]
fn a_target_names_its_format_and_its_path() {
    let target: ReportTarget = "json=a/b.json".parse().unwrap();
    assert_eq!((target.format, target.path), (Format::Json, PathBuf::from("a/b.json")));
    for wrong in ["json", "json=", "xml=a"] {
        assert!(wrong.parse::<ReportTarget>().is_err(), "{wrong}");
    }
}
