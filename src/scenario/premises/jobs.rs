//! Premises about jobs: how many are in work at once, how long they are active, and how they end.

use super::super::deadline::outlasts_runs;
use super::super::observations::JobState;
use super::run::Run;
use super::seen::{Seen, counted};

/// What BullMQ writes into a job that stalled too often.
const STALLED_OUT: &str = "stalled more than allowable limit";

impl Run<'_> {
    pub(super) fn jobs_in_work(&self, least: u64) -> Seen {
        let (peak, _) = self.jobs.peak();
        Seen::at_least(least, peak, format!("at most {} active at the same time", are(peak)))
    }

    pub(super) fn saturated(&self, most: u64) -> Seen {
        let (peak, at) = self.jobs.peak();
        let waiting = self.jobs.waiting_in((at, at)).len();
        let is_met = peak as u64 >= most || (peak > 0 && waiting > 0);
        Seen::new(is_met, format!("{} active when {waiting} waited", are(peak)))
    }

    pub(super) fn attempts(&self, least: u64) -> Seen {
        let jobs = self.observations.steps.iter().flat_map(|step| step.jobs.values());
        let most = jobs.map(|(_, job)| job.attempts).max().unwrap_or(0);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Seen::at_least(least, most, format!("no job took more than {}", counted(most, "attempt")))
    }

    pub(super) fn failed_jobs(&self, least: u64) -> Seen {
        let jobs = self.observations.steps.iter().flat_map(|step| step.jobs.values());
        let failed = jobs.filter(|(state, _)| *state == JobState::Failed).count();
        let what = format!("{} failed", counted(failed, "job"));
        let waits = self.observations.contract.retry_waits;
        if (failed as u64) < least && self.observations.queue.counts.delayed > 0 && outlasts_runs(waits) {
            return Seen::impossible(format!(
                "{what}; by the contract, the attempts of a job take {} s",
                waits.as_secs()
            ));
        }
        Seen::at_least(least, failed, what)
    }

    pub(super) fn stalled_out(&self) -> Seen {
        let jobs = || self.observations.steps.iter().flat_map(|step| step.jobs.values());
        let says_so = |reason: &Option<String>| reason.as_deref().is_some_and(|reason| reason.contains(STALLED_OUT));
        let failed = jobs().filter(|(state, job)| *state == JobState::Failed && says_so(&job.failed_reason)).count();
        let stalls: u64 = jobs().map(|(_, job)| job.stalls).sum();
        let stalls = usize::try_from(stalls).unwrap_or(usize::MAX);
        let what =
            format!("{} failed because of stalls; there were {}", counted(failed, "job"), counted(stalls, "stall"));
        Seen::at_least(1, failed, what)
    }

    pub(super) fn longer_than_lock(&self) -> Seen {
        let longest = self.jobs.longest_active();
        let Some(lock) = self.observations.queue.lock_ms else {
            return Seen::new(false, format!("no lock was seen, and the longest job was active for {longest} ms"));
        };
        let is_met = u64::try_from(longest).is_ok_and(|longest| longest > lock);
        let what = format!("the longest job was active for {longest} ms, and its lock lasts {lock} ms");
        // No answer of a scenario is delayed for longer.
        if is_met { Seen::new(true, what) } else { Seen::impossible(what) }
    }
}

/// `1 job was`, `3 jobs were`.
fn are(number: usize) -> String {
    format!("{} {}", counted(number, "job"), if number == 1 { "was" } else { "were" })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::testing::TestRun;
    use super::super::testing::premise;

    /// Two jobs: the second one becomes active before the first one ends, or after it.
    fn two_jobs(overlap: bool) -> TestRun {
        let second = if overlap { 20 } else { 40 };
        TestRun::two_documents().with_events(&[
            (0, "a.md", "added"),
            (0, "b.md", "added"),
            (10, "a.md", "active"),
            (second.min(30), if overlap { "b.md" } else { "a.md" }, if overlap { "active" } else { "completed" }),
            (second.max(31), if overlap { "a.md" } else { "b.md" }, if overlap { "completed" } else { "active" }),
            (60, "b.md", "completed"),
        ])
    }

    #[test]
    fn jobs_are_active_at_the_same_time() {
        premise("{ jobs_in_work = 2 }")
            .met_by(&two_jobs(true), "at most 2 jobs were active at the same time")
            .unmet_by(&two_jobs(false), "at most 1 job was active at the same time");
    }

    #[test]
    fn a_worker_that_takes_no_more_while_jobs_wait_is_saturated() {
        premise("{ saturated = 3 }")
            .met_by(&two_jobs(false), "1 job was active when 1 waited")
            .unmet_by(&two_jobs(true), "2 jobs were active when 0 waited");
        premise("{ saturated = 2 }")
            .met_by(&two_jobs(true), "2 jobs were active when 0 waited")
            .unmet_by(&TestRun::two_documents(), "0 jobs were active when 0 waited");
    }

    #[test]
    fn a_job_is_attempted_again() {
        let run = TestRun::two_documents();
        premise("{ attempts = 2 }")
            .met_by(&run.edit_step(|step| step.job("a.md").attempts = 3), "no job took more than 3 attempts")
            .unmet_by(&run, "no job took more than 1 attempt");
    }

    #[test]
    fn jobs_fail() {
        let run = TestRun::two_documents();
        let delayed = |waits| {
            run.edit(|seen| {
                seen.queue.counts.delayed = 1;
                seen.contract.retry_waits = Duration::from_secs(waits);
            })
        };
        premise("{ failed_jobs = 1 }")
            .met_by(&run.edit_step(|step| step.fail("a.md", "401")), "1 job failed")
            .unmet_by(&run, "0 jobs failed")
            .unmet_by(&delayed(3), "0 jobs failed")
            .impossible_by(&delayed(255), "0 jobs failed; by the contract, the attempts of a job take 255 s");
    }

    #[test]
    fn a_job_fails_because_it_stalled() {
        let run = TestRun::two_documents().edit_step(|step| step.job("a.md").stalls = 2);
        let failed = |reason: &str| run.edit_step(|step| step.fail("a.md", reason));
        premise("\"stalled_out\"")
            .met_by(
                &failed("job stalled more than allowable limit"),
                "1 job failed because of stalls; there were 2 stalls",
            )
            .unmet_by(&failed("401"), "0 jobs failed because of stalls; there were 2 stalls");
    }

    #[test]
    fn a_job_outlasts_its_lock() {
        let run = |lock_ms| two_jobs(true).edit(|seen| seen.queue.lock_ms = lock_ms);
        premise("\"longer_than_lock\"")
            .met_by(&run(Some(30)), "the longest job was active for 40 ms, and its lock lasts 30 ms")
            .unmet_by(&run(None), "no lock was seen, and the longest job was active for 40 ms")
            .impossible_by(&run(Some(40)), "the longest job was active for 40 ms, and its lock lasts 40 ms");
    }
}
