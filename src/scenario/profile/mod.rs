//! What is learned of a worker from a few documents: how it cuts and stores them, and how it uses queue and API.

mod overlap;

use std::time::Duration;

use super::documents::Document;
use super::evidence::Point;
use crate::outcome::{ChunkProfile, EmbeddingProfile, IdKind, IdProfile, WorkerProfile};
use crate::services::queue_watch::LockTimes;
use crate::stack::jina::JinaRequest;
use crate::worker::Ended;
use overlap::overlap;

/// A remaining time that is this much shorter than a round one is the round one: it was read a moment after its start.
const READ_DELAY_MS: u64 = 250;
/// Times of locks and checks are configured in multiples of this.
const ROUND_MS: u64 = 500;

/// What a profile is learned from.
#[derive(Debug)]
pub(super) struct Learned<'a> {
    /// The document.
    pub(super) document: &'a Document,
    /// Its points.
    pub(super) points: &'a [Point],
    /// Its points after a second ingestion, if there was one.
    pub(super) points_again: Option<&'a [Point]>,
    /// The requests to the embeddings API for the document.
    pub(super) requests: &'a [JinaRequest],
    /// The changes of the collection for the document, if they were counted.
    pub(super) point_changes: Option<u64>,
    /// The most jobs that were active at once.
    pub(super) most_active: usize,
    /// The jobs that were enqueued at once then.
    pub(super) enqueued: usize,
    /// The remaining times of locks that were seen.
    pub(super) locks: LockTimes,
    /// Attempts of a job.
    pub(super) attempts: u32,
    /// How the worker ended after SIGTERM.
    pub(super) ended: Option<&'a Ended>,
}

/// The profile of a worker.
pub(super) fn profile(learned: &Learned<'_>) -> WorkerProfile {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    WorkerProfile {
        chunks: chunks(learned.points),
        ids: ids(learned.points, learned.points_again),
        most_texts: learned.requests.iter().map(|request| request.texts.len()).max(),
        point_changes: learned.point_changes,
        active_jobs: (learned.most_active > 0).then_some(learned.most_active),
        enqueued_jobs: learned.enqueued,
        lock_ms: learned.locks.lock.map(|time| rounded(ms(time))),
        stalled_check_ms: learned.locks.stalled_check.map(|time| rounded(ms(time))),
        attempts: learned.attempts,
        embeddings: embeddings(learned.document, learned.requests),
        exit: learned.ended.map(|ended| ended.how.clone()),
        exit_ms: learned.ended.map(|ended| ms(ended.after)),
    }
}

/// The duration that was configured, from the longest remaining time that was seen.
const fn rounded(ms: u64) -> u64 {
    let round = ms.next_multiple_of(ROUND_MS);
    if round - ms <= READ_DELAY_MS { round } else { ms }
}

fn chunks(points: &[Point]) -> ChunkProfile {
    let texts: Vec<&str> = points.iter().filter_map(|point| point.text.as_deref()).collect();
    let tokens = |text: &str| bpe_openai::cl100k_base().count(text);
    // Without an index the order of the chunks is not known, nor which of them are neighbours.
    let numbered = points.len() > 1 && points.iter().all(|point| point.chunk.is_some() && point.text.is_some());
    let overlaps = || texts.windows(2).map(|pair| overlap(pair[0], pair[1]));
    ChunkProfile {
        count: points.len(),
        most_characters: texts.iter().map(|text| text.chars().count()).max(),
        most_tokens: texts.iter().map(|text| tokens(text)).max(),
        overlap_characters: numbered.then(|| overlaps().map(|shared| shared.chars().count()).max()).flatten(),
        overlap_tokens: numbered.then(|| overlaps().map(tokens).max()).flatten(),
    }
}

fn ids(points: &[Point], again: Option<&[Point]>) -> Option<IdProfile> {
    let all = |points: &[Point]| {
        let mut ids: Vec<String> = points.iter().map(|point| point.id.clone()).collect();
        ids.sort_unstable();
        ids
    };
    let first = points.first()?;
    let kind = if first.id.bytes().all(|byte| byte.is_ascii_digit()) { IdKind::Integer } else { IdKind::Uuid };
    Some(IdProfile { kind, stable: again.map(|again| all(again) == all(points)) })
}

/// How the texts of the document were embedded; `None` if no request was answered well.
fn embeddings(document: &Document, requests: &[JinaRequest]) -> Option<EmbeddingProfile> {
    let request = requests.iter().find(|request| request.status == 200)?;
    let has_newline = requests.iter().any(|request| request.texts.iter().any(|text| text.contains('\n')));
    Some(EmbeddingProfile {
        task: request.task.clone(),
        embedding_type: request.embedding_type.clone(),
        newlines_replaced: document.text.trim().contains('\n') && !has_newline,
        truncate: request.truncate,
        late_chunking: request.late_chunking,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestRun, request};
    use super::*;

    /// What is learned from the points of `a.md` in these chunks; `edit` changes them.
    fn learned(chunks: &[&str], edit: impl FnOnce(&mut Learned<'_>)) -> WorkerProfile {
        let assessment = TestRun::chunked(&chunks.concat(), chunks).assessment();
        let step = assessment.observations.last().unwrap();
        let mut learned = Learned {
            document: &step.documents[0],
            points: step.snapshot.points_of("a.md"),
            points_again: None,
            requests: &assessment.observations.embeddings.requests,
            point_changes: None,
            most_active: 0,
            enqueued: 8,
            locks: LockTimes::default(),
            attempts: 1,
            ended: None,
        };
        edit(&mut learned);
        profile(&learned)
    }

    #[test]
    fn chunks_are_measured_with_their_overlap() {
        let profile = learned(&["One sentence. Two.", " Two. Three\u{e9}."], |_| {});
        let chunks = profile.chunks;
        assert_eq!((chunks.count, chunks.most_characters, chunks.overlap_characters), (2, Some(18), Some(5)));
        assert_eq!(chunks.overlap_tokens, Some(2));
    }

    #[test]
    fn without_indices_the_overlap_is_not_known() {
        let assessment = TestRun::chunked("ab", &["a", "b"]).assessment();
        let mut points = assessment.observations.last().unwrap().snapshot.points_of("a.md").to_vec();
        points[0].chunk = None;
        assert_eq!(super::chunks(&points).overlap_tokens, None);
        points[0].text = None;
        points[1].text = None;
        assert_eq!(super::chunks(&points).most_tokens, None);
    }

    #[test]
    fn ids_are_compared_after_a_second_ingestion() {
        let assessment = TestRun::chunked("ab", &["a", "b"]).assessment();
        let points = assessment.observations.last().unwrap().snapshot.points_of("a.md");
        let mut other = points.to_vec();
        other.reverse();
        assert_eq!(ids(points, Some(&other)), Some(IdProfile { kind: IdKind::Uuid, stable: Some(true) }));
        "7".clone_into(&mut other[0].id);
        assert_eq!(ids(&other, Some(points)), Some(IdProfile { kind: IdKind::Integer, stable: Some(false) }));
        assert_eq!(ids(&[], None), None);
    }

    #[test]
    fn the_requests_show_how_texts_are_embedded() {
        let [plain, joined] = [["First\nline.", "Second."], ["First line.", "Second."]].map(|texts| request(0, &texts));
        let document = Document { id: "a.md".to_owned(), text: "First\nline. Second.".to_owned(), rejected: false };
        let seen = |request: JinaRequest| embeddings(&document, &[request]).unwrap();
        assert!(!seen(plain.clone()).newlines_replaced);
        assert!(seen(joined.clone()).newlines_replaced);
        assert_eq!(seen(JinaRequest { task: None, ..plain.clone() }).task, None);
        assert_eq!(embeddings(&document, &[JinaRequest { status: 503, ..plain }]), None);
        let profile = learned(&["a", "b", "c"], |learned| learned.point_changes = Some(2));
        assert_eq!((profile.most_texts, profile.point_changes), (Some(3), Some(2)));
    }

    #[test]
    fn a_lock_that_was_read_a_moment_after_its_start_has_a_round_duration() {
        for (seen, wanted) in [(29_996, 30_000), (1_000, 1_000), (900, 1_000), (1_100, 1_100), (480, 500)] {
            assert_eq!(rounded(seen), wanted);
        }
    }
}
