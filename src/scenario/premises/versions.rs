//! Premises about the jobs of one document: whether they overlap, and which one ends last.

use super::super::jobs::job_id;
use super::history::Span;
use super::run::Run;
use super::seen::Seen;
use crate::services::queue::JobHash;

/// Two jobs of a document.
struct Pair<'a> {
    document: &'a str,
    /// The numbers of their steps, from 1: the older job, and the newer one.
    steps: (usize, usize),
    /// When each was active.
    older: Vec<Span>,
    newer: Vec<Span>,
}

impl Run<'_> {
    pub(super) fn versions_overlap(&self) -> Seen {
        let overlap =
            |(began, ended): &Span, (other_began, other_ended): &Span| began < other_ended && other_began < ended;
        let overlaps =
            |pair: &Pair<'_>| pair.older.iter().any(|older| pair.newer.iter().any(|newer| overlap(older, newer)));
        match self.pairs().find(overlaps) {
            Some(Pair { document, steps, .. }) => Seen::new(
                true,
                format!("the jobs of steps {} and {} of {document} were active at the same time", steps.0, steps.1),
            ),
            None => Seen::new(false, "no two jobs of a document were active at the same time"),
        }
    }

    pub(super) fn older_ends_last(&self) -> Seen {
        let end = |spans: &[Span]| spans.iter().map(|(_, ended)| *ended).max();
        let later = |pair: &Pair<'_>| match (end(&pair.older), end(&pair.newer)) {
            (Some(older), Some(newer)) if older > newer => Some(older.saturating_sub(newer)),
            _ => None,
        };
        let after = self.pairs().filter_map(|pair| Some((later(&pair)?, pair.document, pair.steps)));
        match after.max_by_key(|(later, ..)| *later) {
            Some((later, document, (older, newer))) => Seen::new(
                true,
                format!("the job of step {older} of {document} ended {later} ms after the job of step {newer}"),
            ),
            None => Seen::new(false, "every job of a document ended before the next one of that document"),
        }
    }

    /// Every two jobs of a document.
    fn pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        let steps = &self.observations.steps;
        let numbers = (0..steps.len()).flat_map(move |newer| (0..newer).map(move |older| (older, newer)));
        numbers.flat_map(move |(older, newer)| {
            let (older, newer) = (&steps[older], &steps[newer]);
            newer.documents.iter().filter_map(move |document| {
                let id = document.id.as_str();
                let hashes = (&older.jobs.get(id)?.1, &newer.jobs.get(id)?.1);
                let spans = |number| self.jobs.spans_of(&job_id(number, id));
                let (mut first, mut second) = (spans(older.number), spans(newer.number));
                // The events of further queues are not read.
                if first.is_empty() || second.is_empty() {
                    (first, second) = (span_of(hashes.0), span_of(hashes.1));
                }
                Some(Pair { document: id, steps: (older.number + 1, newer.number + 1), older: first, newer: second })
            })
        })
    }
}

/// When a job was last active, by its own record.
fn span_of(job: &JobHash) -> Vec<Span> {
    let ms = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
    job.processed_on.map(|began| (ms(began), job.finished_on.map_or(i64::MAX, ms))).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::TestRun;
    use super::super::testing::premise;

    /// Two steps whose jobs of `a.md` are active at these times.
    fn run(older: &[(i64, i64)], newer: &[(i64, i64)]) -> TestRun {
        let events = |number: usize, spans: &[(i64, i64)]| -> Vec<(i64, usize, &'static str)> {
            spans.iter().flat_map(|(began, ended)| [(*began, number, "active"), (*ended, number, "delayed")]).collect()
        };
        let mut all = [events(0, older), events(1, newer)].concat();
        all.sort_unstable();
        TestRun::two_documents().then(|step| step.number = 1).with_events_of("a.md", &all)
    }

    #[test]
    fn two_jobs_of_a_document_are_active_at_the_same_time() {
        premise("\"versions_overlap\"")
            .met_by(&run(&[(10, 50)], &[(20, 30)]), "the jobs of steps 1 and 2 of a.md were active at the same time")
            .unmet_by(
                &run(&[(10, 20), (40, 50)], &[(20, 30)]),
                "no two jobs of a document were active at the same time",
            )
            .unmet_by(&TestRun::two_documents(), "no two jobs of a document were active at the same time");
    }

    #[test]
    fn an_older_job_ends_after_a_newer_one() {
        premise("\"older_ends_last\"")
            .met_by(
                &run(&[(10, 20), (40, 55)], &[(20, 30)]),
                "the job of step 1 of a.md ended 25 ms after the job of step 2",
            )
            .unmet_by(
                &run(&[(10, 20)], &[(15, 30)]),
                "every job of a document ended before the next one of that document",
            );
    }

    #[test]
    fn jobs_of_further_queues_have_no_events_and_are_known_by_their_own_record() {
        let run = TestRun::two_documents()
            .edit_step(|step| (step.job("a.md").processed_on, step.job("a.md").finished_on) = (Some(10), Some(50)))
            .then(|step| {
                step.number = 1;
                (step.job("a.md").processed_on, step.job("a.md").finished_on) = (Some(20), Some(30));
            });
        premise("\"older_ends_last\"")
            .met_by(&run, "the job of step 1 of a.md ended 20 ms after the job of step 2")
            .unmet_by(&TestRun::two_documents(), "every job of a document ended before the next one of that document");
    }
}
