use super::*;

const HOUR: i64 = 60 * 60 * 1000;
/// Not the beginning of a block.
const NOW: i64 = 1_800_000_123_456;

/// A day, a look every half minute: out of order from the fourth to the fifth hour, with warnings in the last.
fn day() -> History {
    let mut history = History::default();
    for at in (0..24 * HOUR).step_by(30_000) {
        let status = match at / HOUR {
            4 => Status::Fail,
            23 => Status::Warn,
            _ => Status::Pass,
        };
        let failed = status == Status::Fail;
        history.add_result(NOW + at, "redis", status, (!failed).then_some(2000));
        history.update_incident(NOW + at, "redis", Some("redis.policy"), failed.then_some("the policy is allkeys-lru"));
    }
    history
}

#[test]
fn a_day_has_blocks_and_an_incident_has_a_start_and_an_end() {
    let history = day();
    let blocks = history.day(NOW + 24 * HOUR - 1, "redis");
    assert_eq!(blocks.len(), 96);
    assert!(blocks.windows(2).all(|pair| pair[1].0 - pair[0].0 == BLOCK_MS && pair[0].0 % BLOCK_MS == 0));
    let of = |status| blocks.iter().filter(|(_, block)| block.status() == Some(status)).count();
    // The hour begins within a block, and ends within one.
    assert_eq!((of(Status::Fail), of(Status::Warn)), (5, 5));
    assert_eq!(blocks[1].1, Block { pass: 30, answers: 30, sum_us: 60_000, longest_us: 2000, ..Block::default() });
    assert_eq!(blocks[1].1.mean_ms(), Some(2.0));
    let incidents = history.incidents(NOW);
    assert_eq!(incidents.len(), 1);
    assert_eq!((incidents[0].from_ms, incidents[0].until_ms), (NOW + 4 * HOUR, Some(NOW + 5 * HOUR)));
    assert_eq!(incidents[0].case.as_deref(), Some("redis.policy"));
    assert_eq!(incidents[0].reason, "the policy is allkeys-lru");
    assert_eq!(history.incidents(NOW + 6 * HOUR).len(), 0, "it ended before");
    assert_eq!(history.day(NOW, "qdrant").iter().filter(|(_, block)| block.status().is_some()).count(), 0);
}

#[test]
fn a_lasting_failure_is_one_incident_that_ends_when_its_case_is_no_longer_checked() {
    let mut history = History::default();
    for at in 0..3 {
        history.update_incident(NOW + at, "redis", None, Some("no answer"));
        history.update_incident(NOW + at, "redis", Some("redis.policy"), Some("wrong"));
    }
    assert_eq!(history.incidents(0).len(), 2);
    history.end_others(NOW + 9, |service, case| (service, case) == ("redis", None));
    let ends: Vec<_> = history.incidents(0).iter().map(|incident| (incident.id, incident.until_ms)).collect();
    assert_eq!(ends, [(2, Some(NOW + 9)), (1, None)]);
}

#[test]
fn old_and_surplus_incidents_are_deleted_but_open_ones_stay() {
    let mut history = day();
    history.update_incident(NOW, "qdrant", None, Some("no answer"));
    for at in 0..2 * i64::try_from(INCIDENTS_KEPT).unwrap() {
        history.update_incident(NOW + at, "jina", Some("jina.model"), (at % 2 == 0).then_some("wrong"));
        history.update_incident(NOW + at, "jina", Some("jina.key"), (at % 2 == 0).then_some("wrong"));
    }
    history.prune(NOW + 24 * HOUR);
    assert_eq!(history.sizes(), (97, INCIDENTS_KEPT));
    history.prune(NOW + 60 * 24 * HOUR);
    assert_eq!(history.sizes(), (0, 1), "the one that lasts");
    assert_eq!(history.incidents(0)[0].service, "qdrant");
}

#[test]
fn a_saved_history_continues_after_a_restart() {
    use super::super::{HistoryFile, HistoryFileError};
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("deep/serve.redb");
    let mut history = day();
    let (file, empty) = HistoryFile::open(&path).unwrap();
    assert_eq!(empty.sizes(), (0, 0));
    history.prune(NOW + 24 * HOUR);
    file.save(&history.changes()).unwrap();
    assert!(history.changes().blocks.is_empty(), "changes are saved once");
    assert!(matches!(HistoryFile::open(&path).unwrap_err(), HistoryFileError::InUse { .. }));
    drop(file);

    let (file, mut kept) = HistoryFile::open(&path).unwrap();
    assert_eq!(kept.sizes(), history.sizes());
    assert_eq!(kept.day(NOW + 24 * HOUR, "redis"), history.day(NOW + 24 * HOUR, "redis"));
    assert_eq!(kept.incidents(0), history.incidents(0));
    kept.prune(NOW + 60 * 24 * HOUR);
    file.save(&kept.changes()).unwrap();
    drop(file);
    assert_eq!(HistoryFile::open(&path).unwrap().1.sizes(), (0, 0), "pruned entries are deleted from the file");
}
