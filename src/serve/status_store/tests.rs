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
    record.judge(verdict);
    record
}

fn status_store() -> StatusStore {
    let subject = Subject {
        services: vec!["redis".to_owned(), "qdrant".to_owned()],
        felt: vec!["redis".to_owned()],
        order: BTreeMap::from([("redis.answers".to_owned(), 0), ("redis.eviction-policy".to_owned(), 1)]),
        waivers: Vec::new(),
        profile: "development".to_owned(),
        queue: "in\"gest\\\n".to_owned(),
        collection: "documents".to_owned(),
    };
    StatusStore::about(subject, Intervals::default(), History::default())
}

fn feel(status_store: &StatusStore, at: i64, up: bool) -> bool {
    let seen = if up { Ok(Sight::default()) } else { Err("redis at nowhere is unreachable: gone".to_owned()) };
    status_store.feel(at, "redis", &seen, Duration::from_millis(2))
}

#[test]
fn a_service_that_came_back_is_not_held_to_what_was_judged_while_it_was_gone() {
    let status_store = status_store();
    assert!(!feel(&status_store, NOW, true));
    status_store.judge(NOW, record("redis.answers", Verdict::Pass));
    status_store.judge(NOW, record("redis.eviction-policy", Verdict::Pass));
    assert_eq!(health::service(&status_store, "redis", NOW).0, 200);

    assert!(feel(&status_store, NOW + 1000, false), "it turned");
    let gone = "redis at nowhere is unreachable: gone".to_owned();
    status_store.judge(NOW + 1500, record("redis.answers", Verdict::Fail { reason: gone.clone() }));
    assert_eq!(health::service(&status_store, "redis", NOW + 1500).0, 503);
    assert_eq!(status_store.read().history.incidents(0).len(), 1, "that it is gone is one incident, not one a case");

    assert!(feel(&status_store, NOW + 3000, true));
    assert_eq!(health::service(&status_store, "redis", NOW + 3000).0, 200);
    // What is judged from now on counts again.
    status_store.check_begins(NOW + 3400);
    status_store.judge(NOW + 3500, record("redis.answers", Verdict::Fail { reason: gone }));
    assert_eq!(health::service(&status_store, "redis", NOW + 3500).0, 503);
}

#[test]
fn a_service_that_is_known_to_be_dead_is_not_judged_anew_until_it_answers() {
    let status_store = status_store();
    let answers = record("redis.answers", Verdict::Fail { reason: "redis at nowhere is unreachable: gone".to_owned() });
    let state = |status_store: &StatusStore| status_store.read().circuit("redis").unwrap();
    for _ in 0..2 {
        feel(&status_store, NOW, false);
    }
    status_store.judge(NOW, answers.clone());
    status_store.judge(NOW, record("redis.eviction-policy", Verdict::Fail { reason: "it is allkeys-lru".to_owned() }));
    assert_eq!((state(&status_store), status_store.check_begins(NOW).len()), (CircuitState::Closed, 0));
    feel(&status_store, NOW, false);
    assert_eq!(state(&status_store), CircuitState::Open);
    let stands = status_store.check_begins(NOW);
    assert_eq!(
        stands.keys().collect::<Vec<_>>(),
        ["redis.answers"],
        "what was found of it while it was there does not"
    );
    assert_eq!(stands["redis.answers"], answers.verdict);
    assert!(
        metrics::text(&status_store, metrics::Form::Prometheus)
            .unwrap()
            .contains("shakedown_service_circuit{service=\"redis\"} 2.0")
    );
    let (_, body) = health::service(&status_store, "redis", NOW);
    assert_eq!(body["checks"]["redis:circuit"][0]["observedValue"], "open");
    let page = String::from_utf8(page::status(&status_store, None, NOW).unwrap()).unwrap();
    assert!(page.contains("circuit open"), "{page}");
    feel(&status_store, NOW + 1000, true);
    assert_eq!((state(&status_store), status_store.check_begins(NOW).len()), (CircuitState::HalfOpen, 0));
}

#[test]
fn a_check_that_began_before_a_service_came_back_is_not_held_against_it() {
    let status_store = status_store();
    feel(&status_store, NOW, false);
    status_store.check_begins(NOW + 1000);
    feel(&status_store, NOW + 3000, true);
    let silent = record("redis.answers", Verdict::Fail { reason: "redis did not answer in time: 5 s".to_owned() });
    status_store.judge(NOW + 6000, silent.clone());
    assert_eq!(health::service(&status_store, "redis", NOW + 6000).0, 200);
    status_store.checked(NOW + 7000, report(vec![silent.clone()]));
    assert_eq!(health::service(&status_store, "redis", NOW + 7000).0, 200, "told once more when the check ends");
    status_store.check_begins(NOW + 7000);
    status_store.judge(NOW + 7100, silent);
    assert_eq!(health::service(&status_store, "redis", NOW + 7100).0, 503, "it is back, and does not answer the check");
}

#[test]
fn health_says_what_is_amiss_and_where_to_read_on() {
    let status_store = status_store();
    feel(&status_store, NOW, true);
    status_store.judge(NOW, record("redis.eviction-policy", Verdict::Fail { reason: "it is allkeys-lru".to_owned() }));
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
    assert!(body["output"].as_str().unwrap().ends_with("there are redis"), "{body}");
    let (code, body) = health::ready(&status_store, NOW);
    assert_eq!(code, 503);
    assert!(body["output"].as_str().unwrap().contains("no check has come to its end yet"), "{body}");
}

#[test]
fn labels_are_escaped_and_every_metric_of_the_rules_is_there() {
    let status_store = status_store();
    status_store.write().queue = Some(QueueSight::default());
    status_store.judge(NOW, record("redis.answers", Verdict::Pass));
    let text = metrics::text(&status_store, metrics::Form::Prometheus).unwrap();
    assert!(text.contains(r#"shakedown_queue_jobs{queue="in\"gest\\\n",state="waiting"} 0"#), "{text}");
    assert!(text.contains(r#"shakedown_case_verdict{case="redis.answers",suite="redis",level="must"} 0"#), "{text}");
}

#[test]
fn the_committed_rules_and_dashboard_are_those_of_the_cases() {
    let suites = Suites::builtin().unwrap();
    let remedy = "write it anew with scripts/check/schema --write";
    assert!(monitoring::alerts(&suites) == include_str!("../../../fixtures/monitoring/alerts.yml"), "alerts: {remedy}");
    assert!(
        monitoring::dashboard(&suites) == include_str!("../../../fixtures/monitoring/grafana.json"),
        "dashboard: {remedy}"
    );
}

#[test]
fn the_page_escapes_whatever_a_service_says() {
    let status_store = status_store();
    let hostile = "</script><script>window.struck = 1</script>";
    status_store.feel(NOW, "redis", &Err(hostile.to_owned()), Duration::ZERO);
    status_store.judge(NOW, record("redis.answers", Verdict::Fail { reason: hostile.to_owned() }));
    status_store.note("history", Some(hostile.to_owned()));
    let page = String::from_utf8(page::status(&status_store, Some("javascript:alert(1)"), NOW).unwrap()).unwrap();
    assert!(!page.contains(hostile) && !page.contains("javascript:"));
    assert!(page.contains("&lt;script&gt;"));
}
