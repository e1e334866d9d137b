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

fn board() -> Board {
    let subject = Subject {
        services: vec!["redis".to_owned(), "qdrant".to_owned()],
        felt: vec!["redis".to_owned()],
        order: BTreeMap::from([("redis.answers".to_owned(), 0), ("redis.eviction-policy".to_owned(), 1)]),
        waivers: Vec::new(),
        profile: "development".to_owned(),
        queue: "in\"gest\\\n".to_owned(),
        collection: "documents".to_owned(),
    };
    Board::about(subject, Rhythm::default(), History::default())
}

fn feel(board: &Board, at: i64, up: bool) -> bool {
    let seen = if up { Ok(Sight::default()) } else { Err("redis at nowhere is unreachable: gone".to_owned()) };
    board.feel(at, "redis", &seen, Duration::from_millis(2))
}

#[test]
fn a_service_that_came_back_is_not_held_to_what_was_judged_while_it_was_gone() {
    let board = board();
    assert!(!feel(&board, NOW, true));
    board.judge(NOW, record("redis.answers", Verdict::Pass));
    board.judge(NOW, record("redis.eviction-policy", Verdict::Pass));
    assert_eq!(health::service(&board, "redis", NOW).0, 200);

    assert!(feel(&board, NOW + 1000, false), "it turned");
    let gone = "redis at nowhere is unreachable: gone".to_owned();
    board.judge(NOW + 1500, record("redis.answers", Verdict::Fail { reason: gone.clone() }));
    assert_eq!(health::service(&board, "redis", NOW + 1500).0, 503);
    assert_eq!(board.read().history.incidents(0).len(), 1, "that it is gone is one incident, not one a case");

    assert!(feel(&board, NOW + 3000, true));
    assert_eq!(health::service(&board, "redis", NOW + 3000).0, 200);
    // What is judged from now on counts again.
    board.check_begins(NOW + 3400);
    board.judge(NOW + 3500, record("redis.answers", Verdict::Fail { reason: gone }));
    assert_eq!(health::service(&board, "redis", NOW + 3500).0, 503);
}

#[test]
fn a_service_that_is_known_to_be_dead_is_not_judged_anew_until_it_answers() {
    let board = board();
    let answers = record("redis.answers", Verdict::Fail { reason: "redis at nowhere is unreachable: gone".to_owned() });
    let state = |board: &Board| board.read().circuit("redis").unwrap();
    for _ in 0..2 {
        feel(&board, NOW, false);
    }
    board.judge(NOW, answers.clone());
    board.judge(NOW, record("redis.eviction-policy", Verdict::Fail { reason: "it is allkeys-lru".to_owned() }));
    assert_eq!((state(&board), board.check_begins(NOW).len()), (CircuitState::Closed, 0));
    feel(&board, NOW, false);
    assert_eq!(state(&board), CircuitState::Open);
    let stands = board.check_begins(NOW);
    assert_eq!(
        stands.keys().collect::<Vec<_>>(),
        ["redis.answers"],
        "what was found of it while it was there does not"
    );
    assert_eq!(stands["redis.answers"], answers.verdict);
    assert!(
        metrics::text(&board, metrics::Form::Prometheus)
            .unwrap()
            .contains("shakedown_service_circuit{service=\"redis\"} 2.0")
    );
    let (_, body) = health::service(&board, "redis", NOW);
    assert_eq!(body["checks"]["redis:circuit"][0]["observedValue"], "open");
    let page = String::from_utf8(page::status(&board, None, NOW).unwrap()).unwrap();
    assert!(page.contains("circuit open"), "{page}");
    feel(&board, NOW + 1000, true);
    assert_eq!((state(&board), board.check_begins(NOW).len()), (CircuitState::HalfOpen, 0));
}

#[test]
fn a_check_that_began_before_a_service_came_back_is_not_held_against_it() {
    let board = board();
    feel(&board, NOW, false);
    board.check_begins(NOW + 1000);
    feel(&board, NOW + 3000, true);
    let silent = record("redis.answers", Verdict::Fail { reason: "redis did not answer in time: 5 s".to_owned() });
    board.judge(NOW + 6000, silent.clone());
    assert_eq!(health::service(&board, "redis", NOW + 6000).0, 200);
    board.checked(NOW + 7000, report(vec![silent.clone()]));
    assert_eq!(health::service(&board, "redis", NOW + 7000).0, 200, "told once more when the check ends");
    board.check_begins(NOW + 7000);
    board.judge(NOW + 7100, silent);
    assert_eq!(health::service(&board, "redis", NOW + 7100).0, 503, "it is back, and does not answer the check");
}

#[test]
fn health_says_what_is_amiss_and_where_to_read_on() {
    let board = board();
    feel(&board, NOW, true);
    board.judge(NOW, record("redis.eviction-policy", Verdict::Fail { reason: "it is allkeys-lru".to_owned() }));
    let (code, body) = health::service(&board, "redis", NOW);
    assert_eq!((code, &body["status"]), (503, &json!("fail")));
    let check = &body["checks"]["redis:eviction-policy"][0];
    assert_eq!(check["componentId"], "redis.eviction-policy");
    assert_eq!(check["output"], "it is allkeys-lru");
    assert_eq!(check["links"]["about"], "/report#case-redis.eviction-policy");
    assert_eq!(check["time"], "2027-01-15T08:00:00Z");
    assert_eq!(body["checks"]["redis:responseTime"][0]["observedValue"], 2.0);
    assert_eq!(body["checks"]["redis:responseTime"][0]["observedUnit"], "ms");
    let (code, body) = health::service(&board, "qdrant", NOW);
    assert_eq!(code, 404);
    assert!(body["output"].as_str().unwrap().ends_with("there are redis"), "{body}");
    let (code, body) = health::ready(&board, NOW);
    assert_eq!(code, 503);
    assert!(body["output"].as_str().unwrap().contains("no check has come to its end yet"), "{body}");
}

#[test]
fn labels_are_escaped_and_every_metric_of_the_rules_is_there() {
    let board = board();
    board.write().queue = Some(QueueSight::default());
    board.judge(NOW, record("redis.answers", Verdict::Pass));
    let text = metrics::text(&board, metrics::Form::Prometheus).unwrap();
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
    let board = board();
    let hostile = "</script><script>window.struck = 1</script>";
    board.feel(NOW, "redis", &Err(hostile.to_owned()), Duration::ZERO);
    board.judge(NOW, record("redis.answers", Verdict::Fail { reason: hostile.to_owned() }));
    board.note("history", Some(hostile.to_owned()));
    let page = String::from_utf8(page::status(&board, Some("javascript:alert(1)"), NOW).unwrap()).unwrap();
    assert!(!page.contains(hostile) && !page.contains("javascript:"));
    assert!(page.contains("&lt;script&gt;"));
}
