use std::time::Duration;

use serde_json::json;

use super::super::{health, metrics, monitoring, page};
use super::*;
use crate::outcome::Verdict;
use crate::report::tests::report;
use crate::spec::Suites;

const NOW: i64 = 1_800_000_000_000;

fn record(id: &str, verdict: Verdict) -> CaseRecord {
    let suites = Suites::builtin().unwrap();
    let mut record = suites.cases.iter().find(|case| case.id == id).unwrap().record();
    record.set_verdict(verdict);
    record
}

fn status_store() -> StatusStore {
    let targets = Targets {
        services: vec!["redis".to_owned(), "qdrant".to_owned()],
        probed: vec!["redis".to_owned()],
        order: BTreeMap::from([("redis.answers".to_owned(), 0), ("redis.eviction-policy".to_owned(), 1)]),
        waivers: Vec::new(),
        profile: "development".to_owned(),
        queue: "in\"gest\\\n".to_owned(),
        collection: "documents".to_owned(),
    };
    StatusStore::with_targets(targets, Intervals::default(), History::default())
}

fn heartbeat(status_store: &StatusStore, at: i64, up: bool) -> bool {
    let result = if up { Ok(ProbeResult::default()) } else { Err("redis at nowhere is unreachable: gone".to_owned()) };
    status_store.record_heartbeat(at, "redis", &result, Duration::from_millis(2))
}

#[test]
fn a_service_that_answers_again_does_not_fail_because_of_old_verdicts() {
    let status_store = status_store();
    assert!(!heartbeat(&status_store, NOW, true));
    status_store.record_case(NOW, record("redis.answers", Verdict::Pass));
    status_store.record_case(NOW, record("redis.eviction-policy", Verdict::Pass));
    assert_eq!(health::service(&status_store, "redis", NOW).0, 200);

    assert!(heartbeat(&status_store, NOW + 1000, false), "it stopped answering");
    let gone = "redis at nowhere is unreachable: gone".to_owned();
    status_store.record_case(NOW + 1500, record("redis.answers", Verdict::Fail { reason: gone.clone() }));
    assert_eq!(health::service(&status_store, "redis", NOW + 1500).0, 503);
    assert_eq!(status_store.read().history.incidents(0).len(), 1, "an outage is one incident, not one per case");

    assert!(heartbeat(&status_store, NOW + 3000, true));
    assert_eq!(health::service(&status_store, "redis", NOW + 3000).0, 200);
    // What is judged from now on counts again.
    status_store.start_check(NOW + 3400);
    status_store.record_case(NOW + 3500, record("redis.answers", Verdict::Fail { reason: gone }));
    assert_eq!(health::service(&status_store, "redis", NOW + 3500).0, 503);
}

#[test]
fn a_probe_that_a_limit_of_this_process_prevents_is_no_outage() {
    let status_store = status_store();
    heartbeat(&status_store, NOW, true);
    let reason = "redis was not asked: Too many open files (os error 24)";
    for _ in 0..5 {
        status_store.record_unasked("redis", reason.to_owned());
    }
    let (code, body) = health::service(&status_store, "redis", NOW + 1000);
    assert_eq!((code, &body["status"]), (200, &json!("warn")));
    let entry = &body["checks"]["redis:responseTime"][0];
    assert_eq!((&entry["status"], &entry["output"]), (&json!("warn"), &json!(reason)));
    let page = String::from_utf8(page::status(&status_store, None, NOW).unwrap()).unwrap();
    assert!(page.contains("redis was not asked"));
    {
        let known = status_store.read();
        assert_eq!(known.circuit("redis"), Some(CircuitState::Closed));
        assert_eq!((known.history.incidents(0).len(), known.problems().len()), (0, 0));
    }
    heartbeat(&status_store, NOW + 2000, true);
    assert_eq!(health::service(&status_store, "redis", NOW + 2000).1["status"], json!("pass"));
}

#[test]
fn cases_of_a_dead_service_carry_over_their_verdicts_until_it_answers() {
    let status_store = status_store();
    let answers = record("redis.answers", Verdict::Fail { reason: "redis at nowhere is unreachable: gone".to_owned() });
    let state = |status_store: &StatusStore| status_store.read().circuit("redis").unwrap();
    for _ in 0..2 {
        heartbeat(&status_store, NOW, false);
    }
    status_store.record_case(NOW, answers.clone());
    status_store
        .record_case(NOW, record("redis.eviction-policy", Verdict::Fail { reason: "it is allkeys-lru".to_owned() }));
    assert_eq!((state(&status_store), status_store.start_check(NOW).len()), (CircuitState::Closed, 0));
    heartbeat(&status_store, NOW, false);
    assert_eq!(state(&status_store), CircuitState::Open);
    let carried_over = status_store.start_check(NOW);
    assert_eq!(
        carried_over.keys().collect::<Vec<_>>(),
        ["redis.answers"],
        "what was found of it while it was there does not"
    );
    assert_eq!(carried_over["redis.answers"], answers.verdict);
    assert!(
        metrics::text(&status_store, metrics::Form::Prometheus)
            .unwrap()
            .contains("shakedown_service_circuit{service=\"redis\"} 2.0")
    );
    let (_, body) = health::service(&status_store, "redis", NOW);
    assert_eq!(body["checks"]["redis:circuit"][0]["observedValue"], "open");
    let page = String::from_utf8(page::status(&status_store, None, NOW).unwrap()).unwrap();
    assert!(page.contains("circuit open"), "{page}");
    heartbeat(&status_store, NOW + 1000, true);
    assert_eq!((state(&status_store), status_store.start_check(NOW).len()), (CircuitState::HalfOpen, 0));
}

#[test]
fn a_check_that_began_before_the_service_answered_again_does_not_count_against_it() {
    let status_store = status_store();
    heartbeat(&status_store, NOW, false);
    status_store.start_check(NOW + 1000);
    heartbeat(&status_store, NOW + 3000, true);
    let silent = record("redis.answers", Verdict::Fail { reason: "redis did not answer in time: 5 s".to_owned() });
    status_store.record_case(NOW + 6000, silent.clone());
    assert_eq!(health::service(&status_store, "redis", NOW + 6000).0, 200);
    status_store.finish_check(NOW + 7000, report(vec![silent.clone()]));
    assert_eq!(
        health::service(&status_store, "redis", NOW + 7000).0,
        200,
        "the verdict is stored again when the check ends"
    );
    status_store.start_check(NOW + 7000);
    status_store.record_case(NOW + 7100, silent);
    assert_eq!(health::service(&status_store, "redis", NOW + 7100).0, 503, "it is back, and does not answer the check");
}

#[test]
fn health_names_the_failures_and_links_to_the_report() {
    let status_store = status_store();
    heartbeat(&status_store, NOW, true);
    status_store
        .record_case(NOW, record("redis.eviction-policy", Verdict::Fail { reason: "it is allkeys-lru".to_owned() }));
    let (code, body) = health::service(&status_store, "redis", NOW);
    assert_eq!((code, &body["status"]), (503, &json!("fail")));
    let check = &body["checks"]["redis:eviction-policy"][0];
    assert_eq!(check["componentId"], "redis.eviction-policy");
    assert_eq!(check["output"], "it is allkeys-lru");
    assert_eq!(check["links"]["about"], "/report#case-redis.eviction-policy");
    assert_eq!(check["time"], "2027-01-15T08:00:00Z");
    assert_eq!(body["checks"]["redis:responseTime"][0]["observedValue"], 2.0);
    assert_eq!(body["checks"]["redis:responseTime"][0]["observedUnit"], "ms");
    let (code, body) = health::service(&status_store, "qdrant", NOW);
    assert_eq!(code, 404);
    assert!(body["output"].as_str().unwrap().ends_with("services: redis"), "{body}");
    let (code, body) = health::ready(&status_store, NOW);
    assert_eq!(code, 503);
    assert!(body["output"].as_str().unwrap().contains("no check has finished yet"), "{body}");
}

#[test]
fn labels_are_escaped_and_every_metric_of_the_alert_rules_exists() {
    let status_store = status_store();
    status_store.write().queue = Some(QueueState::default());
    status_store.record_case(NOW, record("redis.answers", Verdict::Pass));
    let text = metrics::text(&status_store, metrics::Form::Prometheus).unwrap();
    assert!(text.contains(r#"shakedown_queue_jobs{queue="in\"gest\\\n",state="waiting"} 0"#), "{text}");
    assert!(text.contains(r#"shakedown_case_verdict{case="redis.answers",suite="redis",level="must"} 0"#), "{text}");
}

#[test]
fn the_committed_alert_rules_and_dashboard_match_the_cases() {
    let suites = Suites::builtin().unwrap();
    let remedy = "write it anew with scripts/check/schema --write";
    assert!(monitoring::alerts(&suites) == include_str!("../../../fixtures/monitoring/alerts.yml"), "alerts: {remedy}");
    assert!(
        monitoring::dashboard(&suites) == include_str!("../../../fixtures/monitoring/grafana.json"),
        "dashboard: {remedy}"
    );
}

#[test]
fn the_page_escapes_text_from_services() {
    let status_store = status_store();
    let hostile = "</script><script>window.struck = 1</script>";
    status_store.record_heartbeat(NOW, "redis", &Err(hostile.to_owned()), Duration::ZERO);
    status_store.record_case(NOW, record("redis.answers", Verdict::Fail { reason: hostile.to_owned() }));
    status_store.note("history", Some(hostile.to_owned()));
    let page = String::from_utf8(page::status(&status_store, Some("javascript:alert(1)"), NOW).unwrap()).unwrap();
    assert!(!page.contains(hostile) && !page.contains("javascript:"));
    assert!(page.contains("&lt;script&gt;"));
}
