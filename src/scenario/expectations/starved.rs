//! What a busy machine decided: in a run whose worker had no CPU, what took too long proves nothing. What is wrong for
//! another reason stays wrong.

use super::super::observations::JobState;
use super::super::other_queues::OpenJobs;
use super::super::pressure::TOO_BUSY;
use super::super::scheduler::FaultRecord;
use super::finding::Finding;
use super::scope::Scope;
use crate::spec::Expectation;

/// A part of the reason with which BullMQ fails a job that has stalled too often.
const STALLED: &str = "job stalled more than";

impl Scope<'_> {
    /// The finding without what took too long, if the machine was too busy.
    pub(super) fn without_late(&self, expectation: &Expectation, mut finding: Finding) -> Finding {
        let pressure = &self.observations.timing.pressure;
        if !pressure.is_starved() {
            return finding;
        }
        let late = std::mem::take(&mut finding.late);
        let all = std::mem::take(&mut finding.wrong);
        let (set_aside, wrong): (Vec<_>, Vec<_>) = all.into_iter().enumerate().partition(|(number, (at, _))| {
            late.contains(number) || rests_on_time(expectation) || self.is_late(expectation, at)
        });
        finding.wrong = wrong.into_iter().map(|(_, wrong)| wrong).collect();
        if let Some((_, (at, what))) = set_aside.first() {
            finding.fact(&format!("not counted, because {TOO_BUSY}"), format!("{at}: {what}"));
            finding.undecided = Some(format!("{pressure}: {at}: {what}"));
        }
        finding
    }

    /// Whether the jobs that are left wait for children of which none will end.
    fn has_stuck_parents(&self) -> bool {
        let queue = &self.observations.queue;
        let others = queue.others.values().map(|other| OpenJobs::of(&other.counts));
        others.fold(OpenJobs::of(&queue.counts), OpenJobs::and).is_stuck()
    }

    /// Whether what is wrong at `at`, a document or the queue, is that its job had too little time.
    fn is_late(&self, expectation: &Expectation, at: &str) -> bool {
        // No lack of CPU ends a process: its jobs are left because it ended. Nor does time move a parent on whose children
        // have all ended.
        if self.observations.workers.died.is_some() || self.has_stuck_parents() {
            return false;
        }
        let is_unsettled = || self.observations.steps.iter().any(|step| !step.settled);
        if matches!(expectation, Expectation::QueueDrained) {
            return is_unsettled();
        }
        if matches!(expectation, Expectation::NoneLeftActive) {
            return self.observations.workers.exits.iter().any(|exit| exit.killed && !exit.slept);
        }
        let is_overdue = self.observations.faults.iter().any(FaultRecord::is_overdue);
        let jobs = self.observations.steps.iter().filter_map(|step| step.jobs.get(at));
        let counts_starts = matches!(expectation, Expectation::MaxAttempts(_) | Expectation::MaxExecutions(_));
        jobs.into_iter().any(|(state, job)| {
            let failed_by_stalling = job.failed_reason.as_deref().is_some_and(|reason| reason.contains(STALLED));
            *state == JobState::Unfinished
                || (*state == JobState::Failed && failed_by_stalling)
                // The attempts were used up while a fault lasted that the harness ended late.
                || (*state == JobState::Failed && job.attempts > 1 && is_overdue)
                || (counts_starts && job.stalls > 0)
        })
    }
}

/// Whether all that an expectation finds wrong is a matter of time.
const fn rests_on_time(expectation: &Expectation) -> bool {
    matches!(
        expectation,
        Expectation::MaxRecoveryS(_)
            | Expectation::Stalls(_)
            | Expectation::BackoffGrows
            | Expectation::BackoffJitters
            | Expectation::MaxIdleTransactionMs(_)
            | Expectation::NoJobAfterSigterm
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::observations::JobState;
    use super::super::super::scheduler::{Exit, FaultRecord};
    use super::super::super::testing::{TestRun, exit, fault, starved};
    use super::super::testing::check;
    use crate::spec::Target;
    use crate::worker::Ended;

    const BUSY: &str = "the machine was too busy (CPU pressure 62 %, the worker waited 14.0 s of 20.0 s for a CPU)";

    fn on_a_busy_machine(run: &TestRun) -> TestRun {
        run.edit(|seen| seen.timing.pressure = starved())
    }

    #[test]
    fn what_took_too_long_on_a_busy_machine_is_unknown() {
        let run = TestRun::two_documents();
        let unfinished = run.edit_step(|step| {
            *step.state("a.md") = JobState::Unfinished;
            step.settled = false;
        });
        let recovered = run.edit_step(|step| step.recovered = Some(Duration::from_secs(47)));
        let recovered = recovered.edit(|seen| seen.faults = vec![fault(Target::Redis, 0, 1000)]);
        let late = "recovery: took 47.0 s after the last fault, wanted at most 30 s";
        check("max_recovery_s = 30")
            .passes(&recovered.edit_step(|step| step.recovered = Some(Duration::from_secs(2))))
            .fails(&recovered, late)
            .is_unknown(&on_a_busy_machine(&recovered), &format!("{BUSY}: {late}"));
        let stalled = run.edit_step(|step| step.job("a.md").stalls = 1);
        let late = "the jobs: stalled 1 times, wanted at most 0";
        check("stalls = { at_most = 0 }")
            .passes(&run)
            .fails(&stalled, late)
            .is_unknown(&on_a_busy_machine(&stalled), &format!("{BUSY}: {late}"));
        let drained = unfinished.edit(|seen| seen.queue.counts.active = 1);
        let late = "the queue: still holds 1 unfinished job: 1 active";
        check("queue_drained = true")
            .passes(&run)
            .fails(&drained, late)
            .is_unknown(&on_a_busy_machine(&drained), &format!("{BUSY}: {late}"));
    }

    #[test]
    fn what_is_wrong_for_another_reason_fails_on_a_busy_machine_too() {
        let run = TestRun::two_documents();
        let failed = run.edit_step(|step| step.fail("a.md", "no answer"));
        let wrong = "a.md: its job failed, 1 attempt, no answer";
        check("jobs_completed = \"all\"").passes(&run).fails(&failed, wrong).fails(&on_a_busy_machine(&failed), wrong);
        let left = run.edit_step(|step| {
            *step.state("a.md") = JobState::Unfinished;
            step.settled = false;
        });
        let stuck = left.edit(|seen| seen.queue.counts.waiting_children = 1);
        let never = "a.md: its job never ended, 1 attempt, no reason given";
        check("jobs_completed = \"all\"").passes(&run).fails(&on_a_busy_machine(&stuck), never);
        let died = left.edit(|seen| {
            seen.queue.counts.active = 1;
            seen.workers.died = Some("exited with code 1".to_owned());
        });
        let wrong = "the queue: still holds 1 unfinished job: 1 active";
        check("queue_drained = true").passes(&run).fails(&on_a_busy_machine(&died), wrong);
        // An exit code does not depend on time, the time until the exit does.
        let ended = |code, seconds| {
            let how = format!("exited with code {code}");
            let ended = Ended { how, code: Some(code), after: Duration::from_secs(seconds) };
            on_a_busy_machine(&run.edit(|seen| seen.workers.ended = Some(ended)))
        };
        let late = "the worker: took 12.0 s to end, wanted at most its grace period of 10.0 s";
        check("exits_cleanly = true")
            .passes(&ended(0, 1))
            .fails(&ended(1, 12), "the worker: exited with code 1 after SIGTERM, wanted exit code 0")
            .is_unknown(&ended(0, 12), &format!("{BUSY}: {late}"));
    }

    #[test]
    fn a_job_that_failed_by_stalling_had_too_little_time() {
        let reason = "job stalled more than allowable limit";
        let failed = TestRun::two_documents().edit_step(|step| step.fail("a.md", reason));
        let wrong = format!("a.md: its job failed, 1 attempt, {reason}");
        check("jobs_completed = \"all\"")
            .passes(&TestRun::two_documents())
            .fails(&failed, &wrong)
            .is_unknown(&on_a_busy_machine(&failed), &format!("{BUSY}: {wrong}"));
    }

    #[test]
    fn attempts_that_were_used_up_by_a_fault_that_ended_late_prove_nothing() {
        let failed = TestRun::two_documents().edit_step(|step| {
            step.fail("a.md", "no answer");
            step.job("a.md").attempts = 5;
        });
        let with_fault = |lasts_ms: u64| {
            let fault = FaultRecord { lasts: Some(Duration::from_millis(lasts_ms)), ..fault(Target::Qdrant, 0, 3000) };
            failed.edit(|seen| seen.faults = vec![fault])
        };
        let wrong = "a.md: its job failed, 5 attempts, no answer";
        check("jobs_completed = \"all\"")
            .passes(&TestRun::two_documents())
            .fails(&with_fault(1000), wrong)
            .fails(&on_a_busy_machine(&with_fault(3000)), wrong)
            .is_unknown(&on_a_busy_machine(&with_fault(1000)), &format!("{BUSY}: {wrong}"));
    }

    #[test]
    fn a_worker_that_was_killed_on_a_busy_machine_may_leave_jobs() {
        let left = |killed| {
            let exit = Exit { killed, left: Some(vec!["s0-abc".to_owned()]), ..exit() };
            TestRun::two_documents().edit(|seen| seen.workers.exits = vec![exit])
        };
        let wrong = "the worker: exited with code 0, and left 1 job active: s0-abc";
        check("none_left_active = true")
            .passes(&TestRun::two_documents().edit(|seen| seen.workers.exits = vec![exit()]))
            .fails(&on_a_busy_machine(&left(false)), wrong)
            .is_unknown(&on_a_busy_machine(&left(true)), &format!("{BUSY}: {wrong}"));
    }

    #[test]
    fn a_worker_that_slept_did_not_lack_a_cpu() {
        let killed = |slept| {
            let how = "did not end within 12.0 s of SIGTERM and was killed".to_owned();
            let exit = Exit { killed: true, slept, code: None, how, ..exit() };
            on_a_busy_machine(&TestRun::two_documents().edit(|seen| seen.workers.exits = vec![exit]))
        };
        let wrong = "the worker that got SIGTERM at 500 ms: did not end within 12.0 s of SIGTERM and was killed";
        check("exits_cleanly = true")
            .passes(&on_a_busy_machine(&TestRun::two_documents()))
            .fails(&killed(true), &format!("{wrong}; it slept, and did not wait for a CPU"))
            .is_unknown(&killed(false), &format!("{BUSY}: {wrong}"));
    }

    #[test]
    fn a_pass_on_a_busy_machine_is_a_pass() {
        let run = TestRun::two_documents();
        let failed = run.edit_step(|step| step.fail("a.md", "no answer"));
        check("jobs_completed = \"all\"")
            .passes(&on_a_busy_machine(&run))
            .fails(&failed, "a.md: its job failed, 1 attempt, no answer");
    }
}
