//! How jobs end: completed, in time, and with how many attempts.

use serde_json::json;

use super::super::observations::JobState;
use super::finding::Finding;
use super::measure::{count, counted, state_phrase};
use super::scope::Scope;
use crate::services::queue::Counts;
use crate::spec::Range;

impl Scope<'_> {
    pub(super) fn jobs_completed(&self) -> Finding {
        let mut finding = Finding::over("jobs");
        for (step, document) in self.last().filter(|(_, document)| !document.rejected) {
            finding.examine();
            let (state, job) = &step.jobs[&document.id];
            if *state != JobState::Completed {
                let reason = job.failed_reason.as_deref().unwrap_or("no reason given");
                finding.wrong(
                    &document.id,
                    format!("its job {}, {}, {reason}", state_phrase(*state), counted(job.attempts, "attempt")),
                );
            }
        }
        finding
    }

    pub(super) fn max_recovery(&self, most: f64) -> Finding {
        let mut finding = Finding::over("steps");
        finding.examine();
        let late = self.observations.steps.iter().any(|step| !step.settled);
        let stalled = self.observations.timing.stall_allowance.as_secs_f64();
        let allowed = most * self.observations.contract.timeout_factor + stalled;
        // The last step has the last fault.
        let recovered = self.observations.last().and_then(|step| step.recovered).filter(|_| !late);
        match recovered {
            Some(after) if after.as_secs_f64() <= allowed => {}
            Some(after) => {
                let (after, most) = (after.as_secs_f64(), allowed);
                finding.wrong("recovery", format!("took {after:.1} s after the last fault, wanted at most {most} s"));
            }
            None if self.observations.faults.is_empty() => {
                finding.undecided = Some("the scenario has no fault to recover from".to_owned());
            }
            None => finding.wrong("recovery", "not all jobs had ended when the scenario timed out"),
        }
        if let Some(after) = recovered {
            finding.fact("recovery after the last fault, in ms", u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        }
        finding
    }

    pub(super) fn queue_drained(&self) -> Finding {
        let mut finding = Finding::over("queues");
        finding.examine();
        let counts = &self.observations.queue.counts;
        if let Some(what) = unfinished(counts) {
            finding.wrong("the queue", what);
        }
        for (name, other) in &self.observations.queue.others {
            finding.examine();
            if let Some(what) = unfinished(&other.counts) {
                finding.wrong(format!("the queue {name}"), what);
            }
            for (job, reason) in &other.failed {
                finding.fact(&format!("failed in the queue {name}"), format!("{job}: {reason}"));
            }
        }
        finding.fact("completed, failed", json!([counts.completed, counts.failed]));
        finding
    }

    pub(super) fn max_attempts(&self, most: f64) -> Finding {
        let mut finding = Finding::over("jobs");
        for (step, document) in self.last() {
            finding.examine();
            let (_, job) = &step.jobs[&document.id];
            if count(job.attempts) > most {
                let reason = job.failed_reason.as_deref().unwrap_or("no reason given");
                finding.wrong(
                    &document.id,
                    format!("its job took {} attempts, wanted at most {most}; last reason: {reason}", job.attempts),
                );
            }
        }
        finding
    }

    pub(super) fn max_executions(&self, most: f64) -> Finding {
        let mut finding = Finding::over("jobs");
        let mut highest = 0;
        for (step, document) in self.last() {
            finding.examine();
            let (_, job) = &step.jobs[&document.id];
            highest = highest.max(job.starts);
            if count(job.starts) > most {
                finding.wrong(&document.id, format!("its job was started {} times, wanted at most {most}", job.starts));
            }
        }
        finding.fact("most times that a job was started", highest);
        finding
    }

    pub(super) fn stalls(&self, range: Range) -> Finding {
        let mut finding = Finding::over("jobs");
        let mut stalls = 0;
        for (step, document) in self.last() {
            finding.examine();
            stalls += step.jobs[&document.id].1.stalls;
        }
        finding.fact("times that jobs stalled", stalls);
        if !range.holds(count(stalls)) {
            finding.wrong("the jobs", format!("stalled {stalls} times, wanted {range}"));
        }
        finding
    }

    pub(super) fn max_return_bytes(&self, most: f64) -> Finding {
        let mut finding = Finding::over("jobs");
        let mut largest = 0;
        for (document, (_, job)) in self.observations.steps.iter().flat_map(|step| &step.jobs) {
            finding.examine();
            let bytes = job.returnvalue.as_ref().map_or(0, String::len);
            largest = largest.max(bytes);
            if count(bytes as u64) > most {
                finding.wrong(document, format!("its job returned {bytes} bytes, wanted at most {most}"));
            }
        }
        finding.fact("most bytes that a job returned", largest);
        finding
    }

    pub(super) fn max_notes_bytes(&self, most: f64) -> Finding {
        let mut finding = Finding::over("jobs");
        let mut largest = 0;
        for (document, (_, job)) in self.observations.steps.iter().flat_map(|step| &step.jobs) {
            let Some(bytes) = job.notes else { continue };
            finding.examine();
            largest = largest.max(bytes);
            if count(bytes) > most {
                finding.wrong(document, format!("{bytes} bytes were written to its job, wanted at most {most}"));
            }
        }
        finding.fact("most bytes that were written to a job", largest);
        finding
    }
}

/// The unfinished jobs of a queue, in words; `None` if there are none.
fn unfinished(counts: &Counts) -> Option<String> {
    if counts.pending() == 0 {
        return None;
    }
    let by_state: Vec<String> = counts
        .by_state()
        .iter()
        .filter(|(state, jobs)| *jobs > 0 && !matches!(*state, "completed" | "failed"))
        .map(|(state, jobs)| format!("{jobs} {state}"))
        .collect();
    Some(format!("still holds {}: {}", counted(counts.pending(), "unfinished job"), by_state.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::observations::JobState;
    use super::super::super::testing::{TestRun, fault};
    use super::super::testing::check;
    use crate::spec::Target;

    #[test]
    fn every_job_must_complete() {
        let run = TestRun::two_documents();
        check("jobs_completed = \"all\"")
            .passes(&run)
            .fails(&run.edit_step(|step| step.fail("a.md", "no answer")), "a.md: its job failed, 1 attempt, no answer")
            .fails(
                &run.edit_step(|step| *step.state("b.md") = JobState::Unfinished),
                "b.md: its job never ended, 1 attempt, no reason given",
            )
            .is_unknown(&TestRun::ingested(&[]), "there were no jobs to evaluate");
    }

    #[test]
    fn jobs_must_end_soon_after_the_last_fault() {
        let recovered = |seconds: u64| {
            TestRun::two_documents().edit(|seen| {
                seen.faults = vec![fault(Target::Redis, 1000, 2000)];
                seen.steps[0].recovered = Some(Duration::from_secs(seconds));
            })
        };
        check("max_recovery_s = 10")
            .passes(&recovered(4))
            .fails(&recovered(12), "recovery: took 12.0 s after the last fault, wanted at most 10 s")
            .passes(&recovered(12).edit(|seen| seen.contract.timeout_factor = 2.0))
            .fails(
                &recovered(4).edit_step(|step| step.settled = false),
                "recovery: not all jobs had ended when the scenario timed out",
            )
            .is_unknown(&TestRun::two_documents(), "the scenario has no fault to recover from");
    }

    #[test]
    fn the_queue_must_be_empty_at_the_end() {
        let run = TestRun::two_documents().edit(|seen| seen.queue.counts.completed = 2);
        let full = run.edit(|seen| (seen.queue.counts.waiting, seen.queue.counts.delayed) = (2, 1));
        check("queue_drained = true")
            .passes(&run)
            .fails(&full, "the queue: still holds 3 unfinished jobs: 2 waiting, 1 delayed");
    }

    #[test]
    fn no_job_may_take_too_many_attempts() {
        let run = TestRun::two_documents();
        check("max_attempts = 1")
            .passes(&run)
            .fails(
                &run.edit_step(|step| step.job("a.md").attempts = 2),
                "a.md: its job took 2 attempts, wanted at most 1; last reason: no reason given",
            )
            .is_unknown(&TestRun::ingested(&[]), "there were no jobs to evaluate");
    }

    #[test]
    fn no_job_may_be_started_too_often() {
        let run = TestRun::two_documents();
        check("max_executions = 1")
            .passes(&run)
            .fails(
                &run.edit_step(|step| step.job("a.md").starts = 2),
                "a.md: its job was started 2 times, wanted at most 1",
            )
            .is_unknown(&TestRun::ingested(&[]), "there were no jobs to evaluate");
    }

    #[test]
    fn stalls_of_all_jobs_are_counted_together() {
        let run = TestRun::two_documents();
        let stalled = |count| run.edit_step(|step| (step.job("a.md").stalls, step.job("b.md").stalls) = (1, count));
        check("stalls = { at_least = 1, at_most = 2 }")
            .passes(&stalled(1))
            .fails(&stalled(2), "the jobs: stalled 3 times, wanted 1 to 2")
            .fails(&run, "the jobs: stalled 0 times, wanted 1 to 2");
        check("stalls = { at_most = 0 }")
            .passes(&run)
            .fails(&stalled(0), "the jobs: stalled 1 times, wanted at most 0")
            .is_unknown(&TestRun::ingested(&[]), "there were no jobs to evaluate");
    }

    #[test]
    fn no_job_may_return_too_much() {
        let run = TestRun::two_documents();
        let returns = |text: &str| run.edit_step(|step| step.job("b.md").returnvalue = Some(text.to_owned()));
        check("max_return_bytes = 10")
            .passes(&returns("{\"ok\":1}"))
            .fails(&returns("{\"chunks\":1}"), "b.md: its job returned 12 bytes, wanted at most 10")
            .is_unknown(&TestRun::ingested(&[]), "there were no jobs to evaluate");
    }

    #[test]
    fn a_worker_may_not_write_too_much_to_a_job() {
        let run = TestRun::two_documents();
        let notes = |bytes| run.edit_step(|step| (step.job("a.md").notes, step.job("b.md").notes) = (None, bytes));
        check("max_notes_bytes = 10")
            .passes(&run)
            .fails(&notes(Some(11)), "b.md: 11 bytes were written to its job, wanted at most 10")
            .is_unknown(&notes(None), "there were no jobs to evaluate");
    }
}
