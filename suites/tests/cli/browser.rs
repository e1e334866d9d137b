//! The HTML report in a real browser: no error, filters and details by keyboard, both themes, a phone, five hundred cases,
//! whatever a worker says, and the rules of accessibility of axe-core.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use shakedown::outcome::{Evidence, Verdict};
use shakedown::spec::Suites;
use tempfile::TempDir;

use crate::browser_driver::{Browser, run_scenario};

const HOSTILE: &str = "</script><script>window.struck = 1</script>\"'><img src=x onerror='window.struck = 2'>";

/// A case, as a report has it.
fn case(id: &str, level: &str, verdict: &str, reason: &str) -> Value {
    json!({
        "id": id, "suite": id.split('.').next(), "title": format!("What {id} wants"), "level": level, "verdict": verdict,
        "reason": (verdict != "pass").then_some(reason),
        "evidence": [{ "what": "INFO memory", "seen": "allkeys-lru", "wanted": "noeviction" }],
        "why": "Keys are deleted.", "remedy": "CONFIG SET maxmemory-policy noeviction.",
        "source": "https://docs.bullmq.io/guide/going-to-production", "duration_ms": 1234,
    })
}

fn report(mut cases: Vec<Value>) -> Value {
    cases[0]["scenario"] = "storm".into();
    let count = |word: &str| cases.iter().filter(|case| case["verdict"] == word).count();
    let moments: Vec<Value> = (0..40)
        .map(|number| {
            let answer = if number % 3 == 0 { "answered 503" } else { "answered 200" };
            json!({ "at_ms": number * 50, "until_ms": number * 50 + 40, "track": "request", "subject": "jina", "what": answer })
        })
        .chain([
            json!({ "at_ms": -300, "track": "process", "subject": "worker 1", "what": "started" }),
            json!({ "at_ms": 500, "until_ms": 900, "track": "fault", "subject": "redis", "what": "cut of redis, affected 3" }),
            json!({ "at_ms": 950, "track": "job", "subject": "generated-0001", "what": "failed: connection reset" }),
            json!({ "at_ms": 0, "until_ms": 500, "track": "connection", "subject": "redis", "what": "connection" }),
        ])
        .collect();
    json!({
        "report_version": 3, "shakedown": "0.1.0", "suite_version": "abc", "run": "r1", "seed": 42,
        "profile": "development", "provider": "native", "provider_reason": "asked for", "worker": "shakedown worker",
        "started_at": "2026-01-01T00:00:00Z", "duration_ms": 126_000, "verdict": "not conformant",
        "coverage": { "must_total": cases.len(), "must_judged": cases.len(), "must_skipped": 0, "must_unknown": 0,
                      "filtered_out": 2 },
        "totals": { "cases": cases.len(), "pass": count("pass"), "fail": count("fail"), "warn": count("warn"),
                    "skip": count("skip"), "unknown": count("unknown"), "waived": count("waived") },
        "services": [{ "name": "redis", "status": "ready", "version": "8.0", "endpoint": "redis://127.0.0.1:6379",
                       "kind": "redis-server", "ready_after_ms": 12, "parameters": { "maxmemory_policy": "noeviction" } }],
        "environment": [{ "name": "REDIS_URL", "value": "********", "origin": "stack", "secret": true }],
        "files": [{ "path": "r.json", "action": "created", "purpose": "this report as json" }],
        "notes": ["stale waiver: redis.version passes now"],
        "cases": cases,
        "causes": [{ "id": "cut", "sentence": "The connection was cut.", "evidence": ["storm: ECONNRESET"],
                     "remedy": "Reconnect.", "source": "https://docs.bullmq.io/guide/retrying", "cases": ["redis.policy"] }],
        "timelines": [{
            "scenario": "storm", "title": "Redis is cut", "cases": ["redis.policy"], "length_ms": 2500,
            "documents": (0..6).map(|number| json!({ "document": format!("d{number}"), "outcome": "lost", "why": "its job failed" }))
                .collect::<Vec<_>>(),
            "events": moments, "left_out": [{ "track": "request", "count": 7 }],
            "progress": { "from_ms": 0, "step_ms": 100, "completed": [0, 2, 1, 0, 4], "refused": [1, 0, 0, 3, 0] },
        }],
    })
}

/// One case of every verdict.
fn usual() -> Value {
    report(vec![
        case("redis.policy", "must", "fail", "the policy is allkeys-lru"),
        case("redis.answers", "must", "pass", ""),
        case("redis.persistence", "should", "warn", "aof_enabled is 0"),
        case("qdrant.healthy", "must", "skip", "prerequisite qdrant.answers is fail"),
        case("qdrant.version", "must", "unknown", "permission missing"),
        case("jina.model", "may", "waived", "until the upgrade"),
    ])
}

/// Texts that are made to strike, in every place that a worker or a service can fill.
fn hostile() -> Value {
    let mut report = usual();
    for case in report["cases"].as_array_mut().unwrap() {
        for field in ["title", "reason", "why", "remedy"] {
            case[field] = HOSTILE.into();
        }
        case["source"] = "javascript:window.struck=3".into();
        case["evidence"][0]["seen"] = format!("{} {HOSTILE}", "x".repeat(5000)).into();
    }
    let line = &mut report["timelines"][0];
    line["title"] = HOSTILE.into();
    for moment in line["events"].as_array_mut().unwrap() {
        moment["subject"] = HOSTILE.into();
        moment["what"] = format!("{HOSTILE}{}", "y".repeat(300)).into();
    }
    report
}

/// Five hundred cases, of which every tenth fails.
fn crowd() -> Value {
    let word = |number: usize| if number.is_multiple_of(10) { "fail" } else { "pass" };
    let id = |number: usize| format!("suite-{}.case-{number:03}", number / 50);
    report((0..500).map(|number| case(&id(number), "must", word(number), "it did not hold")).collect())
}

/// A page on the disk, as `shakedown report` writes it.
struct Sheet(TempDir);

impl Sheet {
    fn write(report: &Value) -> Self {
        let sheet = Self(tempfile::tempdir().unwrap());
        fs::write(sheet.path("report.json"), report.to_string()).unwrap();
        let html = format!("html={}", sheet.path("report.html"));
        sheet.shakedown(&["report", "convert", &sheet.path("report.json"), "--report", &html], 0);
        sheet
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn url(&self, name: &str) -> String {
        format!("file://{}", self.path(name))
    }

    fn shakedown(&self, arguments: &[&str], code: i32) -> String {
        let output =
            Command::new(env!("CARGO_BIN_EXE_shakedown")).args(arguments).current_dir(self.0.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The ids of the cases that can be seen.
const SEEN: &str =
    "return [...document.querySelectorAll('details.case')].filter((c) => c.checkVisibility()).map((c) => c.id)";
/// Unfolds everything, and lets everything be laid out.
const UNFOLD: &str = "for (const d of document.querySelectorAll('details')) d.open = true; \
                      for (const e of document.querySelectorAll('.suite, .case, .happened')) \
                      e.setAttribute('class', e.getAttribute('class') + ' laid'); \
                      document.styleSheets[0].insertRule('.laid { content-visibility: visible !important }')";

#[test]
fn cases_are_filtered_by_keyboard_and_the_address_keeps_the_filter() {
    run_scenario(async |browser: &Browser| {
        let sheet = Sheet::write(&usual());
        browser.open(&sheet.url("report.html")).await;
        assert_eq!(browser.ask(SEEN).await.as_array().unwrap().len(), 6);

        browser.focus("#text").await;
        browser.press("PERSISTENCE").await;
        assert_eq!(browser.ask(SEEN).await, json!(["case-redis.persistence"]));
        assert_eq!(browser.ask("return document.getElementById('shown').textContent").await, "1 of 6 cases shown");
        assert_eq!(browser.ask("return location.hash").await, "#text=PERSISTENCE");
        let suites = "return [...document.querySelectorAll('section.suite')].filter((s) => s.checkVisibility()).length";
        assert_eq!(browser.ask(suites).await, 1);

        browser.press("\u{E003}".repeat("PERSISTENCE".len()).as_str()).await; // Backspace
        browser.focus("input[name=verdict][value=fail]").await;
        browser.press(" ").await;
        browser.focus("input[name=level][value=may]").await;
        browser.press(" ").await;
        let rest =
            json!(["case-redis.answers", "case-redis.persistence", "case-qdrant.healthy", "case-qdrant.version"]);
        assert_eq!(browser.ask(SEEN).await, rest);

        // The same address, opened again, shows the same cases.
        let address = browser.address().await;
        assert!(address.ends_with("#verdict=pass,warn,skip,unknown,waived&level=must,should"), "{address}");
        browser.open("about:blank").await;
        browser.open(&address).await;
        assert_eq!(browser.ask(SEEN).await, rest);

        browser.focus("button[type=reset]").await;
        browser.press("\u{E007}").await; // Enter
        browser.until("return document.getElementById('shown').textContent === '6 of 6 cases shown'").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    });
}

#[test]
fn details_unfold_by_keyboard_and_by_their_address() {
    run_scenario(async |browser: &Browser| {
        let sheet = Sheet::write(&usual());
        browser.open(&sheet.url("report.html")).await;
        // The first key of a keyboard's user leads past the top.
        browser.press("\u{E004}").await; // Tab
        assert_eq!(browser.ask("return document.activeElement.className").await, "skip");

        let open = |id: &str| format!("return document.getElementById('{id}').open");
        assert_eq!(browser.ask(&open("case-redis.policy")).await, true, "a failure is unfolded");
        assert_eq!(browser.ask(&open("case-redis.answers")).await, false);
        browser.focus("#case-redis\\.answers > summary").await;
        browser.press("\u{E007}").await;
        assert_eq!(browser.ask(&open("case-redis.answers")).await, true);
        let shown = "return document.querySelector('#case-redis\\\\.answers dl').checkVisibility()";
        assert_eq!(browser.ask(shown).await, true);

        browser.open("about:blank").await;
        browser.open(&format!("{}#case-jina.model", sheet.url("report.html"))).await;
        assert_eq!(browser.ask(&open("case-jina.model")).await, true);
        browser.focus("#close").await;
        browser.press("\u{E007}").await;
        assert_eq!(browser.ask("return document.querySelectorAll('details.case[open]').length").await, 0);
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    });
}

#[test]
fn output_of_workers_is_escaped_and_a_phone_needs_no_horizontal_scrolling() {
    run_scenario(async |browser: &Browser| {
        let sheet = Sheet::write(&hostile());
        for width in [390, 1280] {
            browser.resize(width).await;
            browser.open(&sheet.url("report.html")).await;
            browser.ask(UNFOLD).await;
            let overhang = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.ask(overhang).await, 0, "at {width} pixels");
            assert_eq!(browser.ask("return typeof window.struck").await, "undefined");
            assert_eq!(browser.ask("return document.images.length + document.scripts.length").await, 1);
        }
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    });
}

#[test]
fn both_themes_and_both_widths_keep_the_rules_of_accessibility() {
    run_scenario(async |browser: &Browser| {
        let sheet = Sheet::write(&usual());
        for (width, theme) in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")] {
            browser.resize(width).await;
            browser.prefer(theme).await;
            browser.open(&sheet.url("report.html")).await;
            browser.ask(UNFOLD).await;
            let paper = browser.ask("return getComputedStyle(document.body).backgroundColor").await;
            assert_eq!(paper == "rgb(255, 255, 255)", theme == "light", "{paper}");
            browser.assert_accessible(&format!("{width} pixels, {theme}")).await;
            browser.picture(&format!("report-{width}-{theme}.png")).await;
        }
        // What the reader chooses goes before what the system says.
        browser
            .ask("const t = document.getElementById('theme'); t.value = 'light'; t.dispatchEvent(new Event('change'))")
            .await;
        assert_eq!(browser.ask("return getComputedStyle(document.body).backgroundColor").await, "rgb(255, 255, 255)");
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    });
}

#[test]
fn five_hundred_cases_are_filtered_too() {
    run_scenario(async |browser: &Browser| {
        let sheet = Sheet::write(&crowd());
        browser.open(&sheet.url("report.html")).await;
        browser.focus("#text").await;
        browser.press("case-49").await;
        assert_eq!(browser.ask(SEEN).await.as_array().unwrap().len(), 10);
        browser.focus("input[name=verdict][value=pass]").await;
        browser.press(" ").await;
        assert_eq!(browser.ask(SEEN).await, json!(["case-suite-9.case-490"]));
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    });
}

#[test]
fn the_page_of_a_difference_keeps_the_same_rules() {
    run_scenario(async |browser: &Browser| {
        let sheet = Sheet::write(&usual());
        let mut later = usual();
        later["cases"][0]["verdict"] = "pass".into();
        later["cases"][1]["verdict"] = "fail".into();
        later["cases"][1]["reason"] = HOSTILE.into();
        later["cases"][2]["duration_ms"] = 9000.into();
        fs::write(sheet.path("later.json"), later.to_string()).unwrap();
        let page = sheet.shakedown(&["report", "diff", "report.json", "later.json", "--format", "html"], 1);
        fs::write(sheet.path("diff.html"), page).unwrap();
        browser.open(&sheet.url("diff.html")).await;
        let headings = "return [...document.querySelectorAll('h2')].map((h) => h.textContent)";
        assert_eq!(browser.ask(headings).await, json!(["The two runs", "1 worse", "1 fixed", "1 slower"]));
        browser.assert_accessible("the difference").await;
        browser.resize(390).await;
        let overhang = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.ask(overhang).await, 0);
        assert_eq!(browser.ask("return typeof window.struck").await, "undefined");
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    });
}

/// Every planted defect with the cases that notice it, and the reason that is expected, as `fixtures/defects` has them.
fn planted() -> BTreeMap<String, BTreeMap<String, String>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/defects");
    let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for file in fs::read_dir(directory).unwrap() {
        let file: toml::Value = toml::from_str(&fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        for defect in file["defect"].as_array().unwrap() {
            let text = |field: &str| defect.get(field).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
            let cases = defect["cases"].as_array().unwrap().iter().map(|case| case.as_str().unwrap().to_owned());
            found.entry(text("name")).or_default().extend(cases.map(|case| (case, text("says"))));
        }
    }
    found
}

/// The report of a run in which every case that can notice a planted defect has noticed one.
fn defective() -> Value {
    let suites = Suites::builtin().unwrap();
    let mut reasons = BTreeMap::new();
    for (defect, noticed) in planted() {
        reasons.extend(noticed.into_iter().map(|(case, says)| (case, format!("{defect}: {says}"))));
    }
    let records = suites.cases.iter().filter_map(|case| {
        let reason = reasons.get(&case.id)?;
        let mut record = case.record();
        record.evidence = vec![Evidence::seen("documents", json!({ "lost": ["generated-0001"], "duplicated": [] }))];
        record.set_verdict(Verdict::unmet(case.level, reason.clone()));
        Some(serde_json::to_value(record).unwrap())
    });
    report(records.collect())
}

#[test]
fn a_run_with_planted_defects_and_their_matrix_keep_the_same_rules() {
    run_scenario(async |browser: &Browser| {
        let sheet = Sheet::write(&defective());
        let found = planted();
        assert!(found.len() > 50, "there are {} defects", found.len());
        let mut matrix = Vec::new();
        shakedown::report::html::matrix("Planted defects", &found, &mut matrix).unwrap();
        fs::write(sheet.path("matrix.html"), matrix).unwrap();
        let looks = [("report.html", 390, "dark"), ("matrix.html", 390, "dark"), ("matrix.html", 1280, "light")];
        for (page, width, theme) in looks {
            browser.resize(width).await;
            browser.prefer(theme).await;
            browser.open(&sheet.url(page)).await;
            browser.assert_accessible(&format!("{page} of planted defects, {width} pixels, {theme}")).await;
            let overhang = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.ask(overhang).await, 0, "{page} at {width} pixels");
        }
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    });
}

/// `shakedown serve` before a Qdrant that may come and go; no other service is there.
struct Watched {
    child: std::process::Child,
    address: String,
    _sandbox: TempDir,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watched {
    fn before(qdrant: std::net::SocketAddr) -> Self {
        use std::io::BufRead as _;
        let sandbox = tempfile::tempdir().unwrap();
        let arguments =
            "serve --listen 127.0.0.1:0 --heartbeat 300ms --every 1s --suite qdrant --suite redis --history none";
        let mut child = Command::new(env!("CARGO_BIN_EXE_shakedown"))
            .args(arguments.split(' '))
            .args(["--bull-board", "http://127.0.0.1:3000"])
            .current_dir(sandbox.path())
            .env("QDRANT_URL", format!("http://{qdrant}"))
            .env("REDIS_URL", "redis://127.0.0.1:1")
            .env("JINA_BASE_URL", "http://127.0.0.1:1")
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.find_map(|line| line.unwrap().split_once("http://").map(|(_, rest)| rest.to_owned())).unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: format!("http://{}/", line.split('/').next().unwrap()), _sandbox: sandbox }
    }
}

/// Answers every request with an empty object, from now on until the test is over.
fn answer_at(address: std::net::SocketAddr) {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let answer =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

#[test]
fn the_status_page_lives_and_keeps_the_same_rules() {
    run_scenario(async |browser: &Browser| {
        let qdrant = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let watched = Watched::before(qdrant);
        browser.open(&watched.address).await;
        let now = |text: &str| {
            format!(
                "return (document.querySelector('[aria-labelledby=service-qdrant] .now') || {{ textContent: '' }})\
                 .textContent.includes('{text}')"
            )
        };
        browser.until(&now("does not answer")).await;
        browser.ask("window.same = true").await;
        answer_at(qdrant);
        browser.until(&now("answers in")).await;
        assert_eq!(browser.ask("return window.same").await, true, "the page was not loaded anew");
        assert_eq!(browser.ask("return document.getElementById('connection').textContent").await, "Live.");
        let incidents =
            "return [...document.querySelectorAll('tbody th')].some((e) => e.textContent === 'qdrant did not answer')";
        browser.until(incidents).await;
        for (width, theme) in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")] {
            browser.resize(width).await;
            browser.prefer(theme).await;
            browser.open(&watched.address).await;
            let overhang = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.ask(overhang).await, 0, "at {width} pixels");
            // On a phone an incident is a card, of which nothing is out of sight.
            let row = "return getComputedStyle(document.querySelector('.cards tbody tr')).display";
            assert_eq!(browser.ask(row).await, if width < 704 { "flex" } else { "table-row" });
            let hidden = "const s = document.querySelector('.scroll'); return s.scrollWidth - s.clientWidth";
            assert_eq!(browser.ask(hidden).await, 0, "at {width} pixels");
            browser.assert_accessible(&format!("the status page, {width} pixels, {theme}")).await;
            browser.picture(&format!("status-{width}-{theme}.png")).await;
        }
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    });
}
