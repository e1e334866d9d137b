//! One report with every verdict, in every format.

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
        causes: Vec::new(),
    };
    case.set_verdict(verdict);
    case
}

pub(crate) fn report(cases: Vec<CaseRecord>) -> Report {
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
        causes: Vec::new(),
        cases,
        worker_profile: None,
        timelines: Vec::new(),
    };
    report.settle(3);
    report
}

pub(crate) fn every_verdict() -> Report {
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
fn every_format_of_every_verdict_matches_its_snapshot() {
    let report = every_verdict();
    // Style and script of the page are not part of the snapshot.
    insta::with_settings!({ filters => [(r"(?s)(<style>|<script>).*?(</style>|</script>)", "$1$2"), (r"sha256-[^']+", "DIGEST")] }, {
        for format in Format::ALL.map(|(_, format)| format) {
            insta::assert_snapshot!(format!("not_conformant.1.{format}"), rendered(&report, format));
        }
    });
}

/// A report with long texts everywhere.
pub(crate) fn wordy() -> Report {
    use crate::outcome::{Cause, LibraryRemedy, Timeline, TimelineEvent, Track};
    let long = "the connection to Redis was lost for good when the blocked client was closed while it waited for jobs";
    let mut failed = case("reconnection.redis-cut-mid-ingest", Level::Must, Verdict::unmet(Level::Must, long));
    failed.title =
        "A cut connection to Redis in the middle of the work loses no document and makes none twice".to_owned();
    failed.why = format!("{long}; {long}.");
    failed.evidence = vec![
        Evidence::seen("jobs", serde_json::json!(vec!["generated-0001"; 12])),
        Evidence::seen("CLIENT LIST \u{1b}[31m", "日本語の文書は二倍の幅 ".repeat(8)),
        Evidence::seen(
            "GET",
            "https://example.com/a/very/long/address/that/is/there/to/be/copied/and/never/to/be/broken/in/two",
        ),
    ];
    let mut passed = case("redis.answers", Level::Must, Verdict::Pass);
    passed.title = "Redis answers PING with the credentials that were configured, and does so at once".to_owned();
    let mut skipped = case("redis.version", Level::Should, Verdict::skip(format!("prerequisite: {long}")));
    skipped.title.clone_from(&passed.title);
    let mut report = report(vec![passed, skipped, failed]);
    report.cases[2].causes = vec!["redis-outage-not-survived".to_owned()];
    report.causes = vec![Cause {
        id: "redis-outage-not-survived".to_owned(),
        sentence: long.to_owned(),
        evidence: vec!["redis-cut: 8 jobs in `wait`".to_owned()],
        remedy: long.to_owned(),
        libraries: vec![LibraryRemedy { library: "bullmq".to_owned(), remedy: long.to_owned() }],
        source: "bullmq.wedged-after-outage".to_owned(),
        cases: Vec::new(),
    }];
    report.settle(3);
    report.notes = vec![format!("stale waiver: {long}")];
    report.files = vec![crate::outcome::FileNote {
        path: "/tmp/reports/of/this/run/report.html".to_owned(),
        action: "created".to_owned(),
        purpose: "this report as html, for everybody who wants to look at it in a browser".to_owned(),
    }];
    report.gate.strict = true;
    report.timelines = vec![Timeline {
        scenario: "redis-cut".to_owned(),
        title: long.to_owned(),
        cases: vec!["reconnection.redis-cut-mid-ingest".to_owned()],
        length_ms: 2500,
        documents: Vec::new(),
        events: vec![TimelineEvent {
            at_ms: 924,
            until_ms: Some(22_949),
            track: Track::Output,
            subject: "worker 1".to_owned(),
            what: format!("\u{1b}[31m{long}"),
        }],
        left_out: Vec::new(),
        progress: None,
    }];
    report
}

fn on_screen(report: &Report, width: usize, extent: terminal::Extent) -> String {
    let mut out = Vec::new();
    let rerun = Some("shakedown run --provider native");
    terminal::render(report, terminal::Style { colours: false, width, extent, rerun }, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[rstest::rstest]
#[case(80)]
#[case(200)]
fn a_terminal_shows_every_extent_as_wide_as_it_is(#[case] width: usize) {
    use terminal::Extent;
    for extent in [Extent::Verdict, Extent::Short, Extent::Usual, Extent::Full] {
        let name = format!("{extent:?}").to_lowercase();
        insta::assert_snapshot!(format!("terminal.{width}.{name}"), on_screen(&wordy(), width, extent));
    }
}

#[test]
fn lines_fit_every_width_and_control_characters_are_replaced() {
    // On a narrower terminal the longest id does not fit.
    for width in 60..=220 {
        for line in on_screen(&wordy(), width, terminal::Extent::Full).lines() {
            assert!(console::measure_text_width(line) <= width || line.contains("://"), "{width}: {line}");
            assert!(!line.contains('\u{1b}'), "{line}");
        }
    }
}

#[test]
fn quiet_is_one_line_and_verbose_shows_why_a_case_passed() {
    let quiet = on_screen(&every_verdict(), 110, terminal::Extent::Verdict);
    assert_eq!(quiet, "not conformant: 2 of 4 MUST cases judged, partial: 1 skipped, 1 unknown\n");
    let evidence = |extent| on_screen(&every_verdict(), 110, extent).matches("      evidence ").count();
    // A fail and an unknown; with --verbose also the pass, the warning and the waived one.
    assert_eq!((evidence(terminal::Extent::Usual), evidence(terminal::Extent::Full)), (2, 5));
}

#[test]
fn one_cause_is_printed_once_above_the_cases_it_touches() {
    use terminal::Extent;
    let unreachable = |id: &str| case(id, Level::Must, Verdict::unmet(Level::Must, "redis is unreachable"));
    let missing = |id: &str| case(id, Level::Must, Verdict::skip("no compose file here"));
    let mut cases: Vec<CaseRecord> = ["docker.a", "docker.b", "docker.c"].map(missing).into();
    cases.extend(["redis.a", "redis.b", "redis.c", "redis.d"].map(unreachable));
    cases.push(case("env.a", Level::Should, Verdict::unmet(Level::Should, "off")));
    let report = report(cases);
    let text = on_screen(&report, 110, Extent::Usual);
    assert_eq!(text.matches("redis is unreachable").count(), 1, "{text}");
    assert_eq!(text.matches("no compose file here").count(), 1, "{text}");
    assert!(text.contains("3 cases of `docker` skipped: no compose file here"), "{text}");
    assert!(text.contains("4 cases: redis is unreachable"), "{text}");
    for id in ["redis.a", "redis.b", "redis.c", "redis.d"] {
        assert!(text.contains(&format!("✗ fail    must   {id}")), "{id} is missing:\n{text}");
    }
    let place = |words: &str| text.find(words).unwrap_or_else(|| panic!("`{words}` is missing:\n{text}"));
    assert!(place("warn    should env.a") < place("4 cases: redis"), "the gravest is next to the prompt:\n{text}");
    assert!(place("✗ fail    must   redis.d") < place("not conformant: "), "{text}");
    let end = "run these cases again:\n  shakedown run --provider native --case 'redis.a' --case 'redis.b' \
               --case 'redis.c' --case 'redis.d'\n";
    assert!(text.ends_with(end), "{text}");
    let narrow = on_screen(&report, 80, Extent::Usual);
    let end = "  shakedown run --provider native --case 'redis.a' --case 'redis.b' \\\n    \
               --case 'redis.c' --case 'redis.d'\n";
    assert!(narrow.ends_with(end), "{narrow}");
    let verbose = on_screen(&report, 110, Extent::Full);
    assert!(verbose.contains("– skip    must   docker.b"), "{verbose}");
}

#[test]
fn a_conformant_run_of_every_suite_fits_one_screen() {
    let ids: Vec<String> =
        (0..14).flat_map(|suite| (0..30).map(move |case| format!("suite{suite}.case{case}"))).collect();
    let cases = ids.iter().map(|id| case(id, Level::Must, Verdict::Pass)).collect();
    let text = on_screen(&report(cases), 80, terminal::Extent::Usual);
    assert!(text.lines().count() <= 24, "{text}");
    assert!(!text.contains("run these cases again"), "{text}");
}

#[test]
fn a_report_that_is_read_back_is_the_report_that_was_written() {
    let report = every_verdict();
    assert_eq!(json::read(&rendered(&report, Format::Json)).unwrap(), report);
}

#[test]
fn a_report_that_cannot_be_read_is_refused_with_what_was_found() {
    let refused = |text: &str| json::read(text).unwrap_err().to_string();
    assert!(refused("{").contains("not JSON: "));
    assert!(refused("[1]").contains("without a report_version"));
    assert!(refused("{\"report_version\": 1}").contains("missing field"));
    let mut report = every_verdict();
    report.report_version = 9;
    "7.0.0".clone_into(&mut report.shakedown);
    let newer = refused(&rendered(&report, Format::Json));
    assert!(newer.contains("report version 9, written by shakedown 7.0.0"), "{newer}");
}

#[test]
fn a_report_of_an_older_version_is_read_without_the_newer_fields() {
    let mut written: serde_json::Value = serde_json::from_str(&rendered(&every_verdict(), Format::Json)).unwrap();
    for field in ["gate", "timelines", "causes"] {
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
fn a_report_without_a_verdict_is_inconclusive() {
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

/// A report of a worker with one big failure and some others.
fn failing(explained: usize, others: usize) -> Report {
    use crate::outcome::testing::cause;
    let mut cases = Vec::new();
    for number in 0..explained {
        let verdict = Verdict::unmet(Level::Must, "lost: a.md");
        cases.push(case(&format!("ingestion.case-{number}"), Level::Must, verdict));
    }
    for number in 0..others {
        let reason = format!("something else: {number}");
        cases.push(case(&format!("crash.case-{number}"), Level::Must, Verdict::unmet(Level::Must, reason)));
    }
    let mut report = report(cases);
    report.causes = vec![cause("idle")];
    report.cases.iter_mut().take(explained).for_each(|case| case.causes = vec!["idle".to_owned()]);
    let mut line = wordy().timelines.remove(0);
    line.cases = vec!["ingestion.case-0".to_owned()];
    report.timelines = vec![line; 40];
    report.settle(0);
    report
}

#[test]
fn a_failing_worker_takes_two_screens_and_verbose_shows_everything() {
    use terminal::Extent;
    for (explained, others) in [(48, 0), (48, 60), (0, 109), (3, 2)] {
        let report = failing(explained, others);
        for extent in [Extent::Usual, Extent::Short] {
            let text = on_screen(&report, 110, extent);
            let lines = text.lines().count();
            assert!(lines <= 105, "{explained} and {others}: {lines} lines\n{text}");
            assert!(text.ends_with("--case 'ingestion.*'\n") || explained + others < 13 || explained == 0, "{text}");
        }
        let text = on_screen(&report, 110, Extent::Full);
        for case in &report.cases {
            // Once in the list of all cases, once below its cause or as a problem, and once to run it again.
            assert_eq!(text.matches(&format!("must   {} ", case.id)).count(), 2, "{}\n{text}", case.id);
        }
    }
}

#[test]
fn a_cause_is_printed_once_and_its_cases_take_one_line_each() {
    let text = on_screen(&failing(3, 1), 110, terminal::Extent::Usual);
    for words in [
        "  1  The worker is idle.\n",
        "      explains    3 cases: 3 fail\n",
        "      evidence    it was idle\n",
        "      remedy      Do not be idle.\n",
        "ingestion.case-0  because of cause 1",
    ] {
        assert_eq!(text.matches(words).count(), 1, "{words}\n{text}");
    }
    // The other case as without causes.
    assert_eq!(text.matches("found       something else: 0").count(), 1, "{text}");
    assert_eq!(text.matches("      why ").count(), 1, "{text}");
    assert!(text.find("causes").unwrap() < text.find("something else").unwrap(), "{text}");
}

#[test]
fn every_format_names_the_cause_and_points_to_it() {
    let report = failing(2, 1);
    for format in Format::ALL.map(|(_, format)| format) {
        let text = rendered(&report, format);
        assert!(text.contains("The worker is idle."), "{format}: {text}");
        assert!(text.contains("Do not be idle."), "{format}: {text}");
    }
    let points =
        |format, words: &str| assert!(rendered(&report, format).contains(words), "{}", rendered(&report, format));
    points(Format::Json, "\"causes\": [\n        \"idle\"\n      ]");
    points(Format::Junit, "<property name=\"cause\" value=\"1\"/>");
    points(Format::Markdown, "because of cause 1: lost: a.md");
    points(Format::Html, "because of <a href=\"#cause-idle\">cause 1</a>");
}

#[test]
fn no_format_shows_escape_sequences_or_texts_for_programs() {
    let ugly = "\u{1b}[31mError:\u{1b}[0m [object Object]";
    let mut report = failing(1, 1);
    for case in &mut report.cases {
        case.set_verdict(Verdict::unmet(Level::Must, ugly));
        case.evidence = vec![Evidence::seen(ugly, serde_json::json!({ "code": null, ugly: [ugly] }))];
    }
    report.causes[0].evidence = vec![ugly.to_owned()];
    report.notes = vec![ugly.to_owned()];
    for event in report.timelines.iter_mut().flat_map(|timeline| &mut timeline.events) {
        ugly.clone_into(&mut event.what);
    }
    report.settle(0);
    let mut texts: Vec<String> = Format::ALL.map(|(_, format)| rendered(&report, format)).into();
    texts.push(on_screen(&report, 110, terminal::Extent::Full));
    let mut out = Vec::new();
    annotations::render(&report, &mut out).unwrap();
    texts.push(String::from_utf8(out).unwrap());
    for text in texts {
        for word in ["\u{1b}", "u001b", "[31m", "[object Object]", "Some(", "None"] {
            assert!(!text.contains(word), "{word:?} in {text}");
        }
        assert!(text.contains("Error: (an object without a message)"), "{text}");
    }
}
