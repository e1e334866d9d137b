//! The page as a browser reads it: well formed, accessible, and safe from text of workers and services.

use std::collections::BTreeSet;

use scraper::{ElementRef, Html, Selector};

use super::*;
use crate::outcome::testing::report;
use crate::outcome::{
    AffectedDocument, Cause, Evidence, LeftOut, LibraryRemedy, Progress, Timeline, TimelineEvent, Track, Verdict,
};

const HOSTILE: &str = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ report }} & &lt; \u{0}\u{1b}[31m \
                       \u{202e}dlrow\u{202c} مرحبا\r\nsecond line";

fn written(report: &Report) -> String {
    let mut out = Vec::new();
    render(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn parsed(report: &Report) -> Html {
    let html = Html::parse_document(&written(report));
    assert_eq!(html.errors, Vec::<String>::new());
    html
}

fn all<'a>(html: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    html.select(&Selector::parse(selector).unwrap()).collect()
}

fn text(element: ElementRef<'_>) -> String {
    element.text().collect()
}

fn event(at_ms: i64, until_ms: Option<i64>, track: Track, subject: &str, what: &str) -> TimelineEvent {
    TimelineEvent { at_ms, until_ms, track, subject: subject.to_owned(), what: what.to_owned() }
}

fn timeline(events: Vec<TimelineEvent>) -> Timeline {
    Timeline {
        scenario: "reconnection.redis-cut".to_owned(),
        title: "A cut connection".to_owned(),
        cases: vec!["a".to_owned()],
        length_ms: 9000,
        documents: Vec::new(),
        events,
        left_out: Vec::new(),
        progress: None,
    }
}

/// A scenario run with a little of everything.
fn eventful() -> Timeline {
    timeline(vec![
        event(-331, None, Track::Process, "worker 1", "started"),
        event(0, Some(4000), Track::Connection, "redis", "connection, 10 bytes there, 20 back, closed by fault"),
        event(100, Some(300), Track::Request, "jina", "4 texts, 1 at once, answered 200"),
        event(120, Some(200), Track::Request, "jina", "4 texts, 2 at once, answered 503"),
        event(400, None, Track::Job, "generated-0000", "completed"),
        event(500, Some(2500), Track::Fault, "redis", "cut of redis, affected 3"),
        event(900, None, Track::Job, "generated-0001", "failed: connection reset"),
        event(1500, Some(2000), Track::Fault, "worker", "SIGKILL, affected 1"),
        event(3000, None, Track::Output, "worker 1", "panicked"),
        event(9000, None, Track::Process, "worker 1", "exited with code 0"),
    ])
}

fn hostile() -> Report {
    let words = [Word::Fail, Word::Pass, Word::Warn, Word::Skip, Word::Unknown, Word::Waived];
    let ids: Vec<String> = (0..500).map(|number| format!("{number} \"'><u>{HOSTILE}")).collect();
    let cases: Vec<(&str, Word)> = ids.iter().enumerate().map(|(n, id)| (id.as_str(), words[n % 6])).collect();
    let mut report = report(&cases);
    for (number, case) in report.cases.iter_mut().enumerate() {
        let verdict = match case.verdict.clone() {
            Verdict::Fail { .. } => Verdict::Fail { reason: HOSTILE.to_owned() },
            Verdict::Unknown { .. } if number < 6 => Verdict::Unknown { reason: "x".repeat(100_000) },
            other => other,
        };
        case.set_verdict(verdict);
        case.suite = format!("suite {} {HOSTILE}", number / 50);
        case.source = "javascript:alert(3)".to_owned();
        let seen = if number % 50 == 0 { "y".repeat(20_000) } else { HOSTILE.to_owned() };
        case.evidence = vec![Evidence::against(HOSTILE, seen, HOSTILE)];
        case.scenario = Some(HOSTILE.to_owned());
        for field in [&mut case.title, &mut case.why, &mut case.remedy] {
            HOSTILE.clone_into(field);
        }
    }
    // A duplicate id, which our reports never have, must not give two elements the same id.
    report.cases[1].id = report.cases[0].id.clone();
    let mut line = eventful();
    for event in &mut line.events {
        HOSTILE.clone_into(&mut event.subject);
        HOSTILE.clone_into(&mut event.what);
    }
    for field in [&mut line.scenario, &mut line.title] {
        HOSTILE.clone_into(field);
    }
    line.cases = vec![report.cases[0].id.clone(), HOSTILE.to_owned()];
    let hostile = || HOSTILE.to_owned();
    line.documents = vec![AffectedDocument { document: hostile(), outcome: hostile(), why: hostile() }];
    report.timelines = vec![line.clone(), line];
    for field in [&mut report.run, &mut report.worker, &mut report.provider, &mut report.started_at] {
        HOSTILE.clone_into(field);
    }
    report.notes.push(hostile());
    report.causes = vec![Cause {
        id: hostile(),
        sentence: hostile(),
        evidence: vec![hostile()],
        remedy: hostile(),
        libraries: vec![LibraryRemedy { library: hostile(), remedy: hostile() }],
        source: hostile(),
        cases: Vec::new(),
    }];
    report.cases.iter_mut().for_each(|case| case.causes = vec![hostile()]);
    report.settle(3);
    report
}

fn assert_accessible(html: &Html) {
    assert_eq!(all(html, "h1").len(), 1);
    let levels = all(html, "h1, h2, h3, h4, h5, h6").into_iter().map(|heading| heading.value().name()[1..].to_owned());
    let mut before = 0_u8;
    for level in levels.map(|level| level.parse::<u8>().unwrap()) {
        assert!(level <= before + 1, "h{before} is followed by h{level}");
        before = level;
    }
    let mut ids = BTreeSet::new();
    for element in all(html, "[id]") {
        let id = element.value().attr("id").unwrap();
        assert!(!id.contains(char::is_whitespace) && ids.insert(id.to_owned()), "{id} is there twice");
    }
    for link in all(html, "a[href]") {
        let to = link.value().attr("href").unwrap();
        assert!(to.starts_with("http") || ids.contains(&to[1..]), "{to} leads nowhere");
    }
    for element in all(html, "[aria-labelledby]") {
        assert!(ids.contains(element.value().attr("aria-labelledby").unwrap()));
    }
    for landmark in ["html[lang]", "main", "header", "footer", "head > title"] {
        assert_eq!(all(html, landmark).len(), 1, "{landmark}");
    }
    for control in all(html, "input, select") {
        let labelled = control.value().attr("id").is_some_and(|id| !all(html, &format!("label[for={id}]")).is_empty());
        let inside = control.parent().and_then(ElementRef::wrap).is_some_and(|label| label.value().name() == "label");
        assert!(labelled || inside, "a control without a label: {}", control.html());
    }
}

#[test]
fn text_from_services_and_workers_stays_text() {
    let report = hostile();
    let html = parsed(&report);
    assert_eq!(all(&html, "script").len(), 1);
    assert_eq!(all(&html, "img, u, iframe, link, [src], [style]").len(), 0);
    for element in all(&html, "*") {
        let mut attributes = element.value().attrs();
        assert!(attributes.all(|(name, value)| !name.starts_with("on") && !value.contains("javascript:")));
    }
    let escapes = ['\u{0}', '\u{1b}', '\u{202e}', '\u{202c}'].map(|one| (one, format!("\\u{:04x}", u32::from(one))));
    let without_colour = HOSTILE.replace("\u{1b}[31m", "");
    let shown = escapes.iter().fold(without_colour, |text, (one, escape)| text.replace(*one, escape));
    assert_eq!(text(all(&html, "details.case h4")[0]), shown.replace("\r\n", "\n"));
    assert_eq!(all(&html, "details.case").len(), 500);
    assert_eq!(all(&html, "section.suite").len(), 10);
    assert_accessible(&html);
}

#[test]
fn what_is_not_a_pass_can_be_reached_from_the_top_and_what_is_long_is_folded() {
    let html = parsed(&hostile());
    let problems = all(&html, "ol.problems > li > a");
    assert_eq!(problems.len(), 84 + 83 + 83 + 83);
    let first = problems[0].value().attr("href").unwrap();
    assert_eq!(first, format!("#{}", all(&html, "details.v-fail")[0].value().attr("id").unwrap()));
    assert!(text(all(&html, "details.whole > summary")[0]).contains("all 20000 characters"));
    assert!(text(all(&html, "div.seen")[0]).chars().count() <= LONGEST + 1);
}

#[test]
fn a_report_without_anything_is_a_page_all_the_same() {
    let html = parsed(&report(&[]));
    assert!(text(all(&html, "h1")[0]).contains("inconclusive"));
    assert_accessible(&html);
}

#[test]
fn the_page_asks_for_nothing_and_allows_its_own_script_alone() {
    let page = written(&report(&[("a", Word::Pass)]));
    for outside in ["http://", "https://", "//cdn", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let html = Html::parse_document(&page);
    let policy = all(&html, "meta[http-equiv=Content-Security-Policy]")[0].value().attr("content").unwrap();
    for (element, rule) in [("script", "script-src"), ("style", "style-src")] {
        let own = text(all(&html, element)[0]);
        let digest = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            <sha2::Sha256 as sha2::Digest>::digest(own.as_bytes()),
        );
        assert!(policy.contains(&format!("{rule} 'sha256-{digest}'")), "{policy}");
    }
    assert!(policy.starts_with("default-src 'none'"));
}

#[test]
fn a_url_in_a_source_is_a_link_and_a_catalogue_entry_is_part_of_the_page() {
    let mut one = report(&[("a", Word::Pass), ("b", Word::Pass)]);
    one.cases[0].source = "https://docs.bullmq.io/guide?a=1&b=2".to_owned();
    one.cases[1].source = "jina.5xx, our runbook".to_owned();
    let html = parsed(&one);
    let links: Vec<_> = all(&html, "dd a").into_iter().map(|link| link.value().attr("href").unwrap()).collect();
    assert_eq!(links, ["https://docs.bullmq.io/guide?a=1&b=2", "#source-jina.5xx"]);
    assert!(text(all(&html, "#case-b dl")[0]).contains("jina.5xx (shakedown guide jina.5xx), our runbook"));
    let entry = all(&html, "section[aria-labelledby='source-jina.5xx']");
    assert_eq!(entry.len(), 1, "the entry is embedded once");
    assert!(text(entry[0]).contains("How to fix it:"), "{}", text(entry[0]));
    assert_accessible(&html);
}

#[test]
fn a_timeline_shows_faults_as_bands_and_each_worker_service_and_document_in_a_row() {
    let mut report = report(&[("a", Word::Fail)]);
    report.cases[0].scenario = Some("reconnection.redis-cut".to_owned());
    let mut line = eventful();
    line.progress = Progress::from_times(&[400, 5000, 6000], &[120]);
    line.left_out = vec![LeftOut { track: Track::Request, count: 7 }];
    report.timelines = vec![line];
    let html = parsed(&report);
    assert_eq!(all(&html, "svg.time .band").len(), 2);
    assert_eq!(all(&html, "svg.time .bad").len(), 1, "the request that was answered 503");
    assert_eq!(all(&html, "svg.time .bad-line").len(), 2, "that request, and the job that failed");
    assert_eq!(all(&html, "svg.time .done-line").len(), 1);
    assert_eq!(all(&html, "svg.time .refused").len(), 1);
    let words: Vec<String> = all(&html, "svg.time text").into_iter().map(text).collect();
    for word in ["worker 1", "redis", "jina", "generated-0001", "redis: cut of redis, affected 3", "3 jobs completed"] {
        assert!(words.contains(&word.to_owned()), "{word} is not among {words:?}");
    }
    assert_eq!(all(&html, "details.table tbody tr").len(), 10);
    assert!(text(all(&html, "details.table summary")[0]).contains("(7 more of request)"));
    let label = all(&html, "svg.time")[0].value().attr("aria-label").unwrap();
    assert!(label.contains("2 of request, 1 of them failed") && label.contains("3 jobs completed"), "{label}");
    assert_eq!(all(&html, "p.links a[href='#scenario-reconnection.redis-cut']").len(), 1);
    assert_accessible(&html);
}

#[test]
fn curves_of_an_old_report_are_counted_from_its_events_and_a_note_says_so() {
    let mut report = report(&[("a", Word::Fail)]);
    report.timelines = vec![eventful()];
    let html = parsed(&report);
    let words: Vec<String> = all(&html, "svg.time text").into_iter().map(text).collect();
    assert!(words.contains(&"1 job completed".to_owned()), "{words:?}");
    assert!(words.contains(&"1 request refused".to_owned()), "{words:?}");
    assert!(all(&html, "p.dim").into_iter().map(text).any(|note| note.contains("count only the events")));
}

#[rstest::rstest]
#[case::nothing(Vec::new())]
#[case::one_moment(vec![event(0, None, Track::Job, "a", "added")])]
#[case::all_of_time(vec![event(i64::MIN, Some(i64::MAX), Track::Fault, "redis", "down")])]
#[case::an_end_before_its_beginning(vec![event(50, Some(-50), Track::Request, "jina", "answered 200")])]
#[case::a_crowd((0..3000).map(|n| event(n, Some(n + 900), Track::Connection, &format!("s{}", n % 40), "x")).collect())]
fn a_timeline_of_any_shape_is_drawn_within_its_frame(#[case] events: Vec<TimelineEvent>) {
    let mut report = report(&[("a", Word::Fail)]);
    report.timelines = vec![timeline(events)];
    let html = parsed(&report);
    let drawing = all(&html, "svg.time")[0];
    let frame: Vec<f64> =
        drawing.value().attr("viewBox").unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
    assert!(frame[3] < 2000.0, "{frame:?}");
    for rect in all(&html, "svg.time rect") {
        let number = |name: &str| rect.value().attr(name).unwrap().parse::<f64>().unwrap();
        assert!(number("width") >= 0.0 && number("height") >= 0.0, "{}", rect.html());
        assert!(number("x") >= 0.0 && number("x") + number("width") <= frame[2], "{}", rect.html());
        assert!(number("y") + number("height") <= frame[3], "{}", rect.html());
    }
}

/// The brightness of a colour `#rrggbb`, by the formula of WCAG 2.
fn luminance(colour: &str) -> f64 {
    let channel = |at: usize| {
        let share = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
}

#[test]
fn every_ink_can_be_read_on_every_ground_in_both_themes() {
    let style = include_str!("../templates/page.css");
    let colour = |name: &str, theme: usize| {
        let rest = style.split(&format!("--{name}: light-dark(")).nth(1).unwrap();
        rest[..rest.find(')').unwrap()].split(", ").nth(theme).unwrap()
    };
    for ink in ["ink", "dim", "link", "pass", "fail", "warn", "skip", "unknown", "waived"] {
        for ground in ["paper", "raised", "band"] {
            for theme in [0, 1] {
                let (one, other) = (luminance(colour(ink, theme)), luminance(colour(ground, theme)));
                let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
                assert!(contrast >= 4.5, "{ink} on {ground} in theme {theme}: {contrast:.2}");
            }
        }
    }
}

#[test]
fn a_matrix_is_shown_by_defect_and_by_case() {
    let found = |cases: &[&str]| cases.iter().map(|case| ((*case).to_owned(), HOSTILE.to_owned())).collect();
    let all_found = [("gives-up".to_owned(), found(&["a", "b"])), ("loses".to_owned(), found(&["b"]))].into();
    let mut out = Vec::new();
    matrix("Planted defects", &all_found, &mut out).unwrap();
    let html = Html::parse_document(&String::from_utf8(out).unwrap());
    assert_eq!(html.errors, Vec::<String>::new());
    assert_eq!((all(&html, "tbody tr").len(), all(&html, "script").len()), (3, 1));
    assert_eq!(all(&html, "dd").into_iter().map(text).collect::<Vec<_>>(), ["gives-up", "gives-up, loses"]);
    assert_accessible(&html);
}

#[rstest::rstest]
#[case(7, "7 ms")]
#[case(1234, "1.2 s")]
#[case(125_000, "2 min 05 s")]
fn durations_are_rounded_to_readable_units(#[case] ms: u64, #[case] text: &str) {
    assert_eq!(took(ms), text);
}
