//! The worker as a process: its registration, its memory and its end.

use std::time::Duration;

use super::super::scheduler::Exit;
use super::finding::Finding;
use super::measure::counted;
use super::scope::Scope;

impl Scope<'_> {
    pub(super) fn exits_cleanly(&self) -> Finding {
        let mut finding = Finding::over("exits");
        finding.examine();
        match (&self.observations.workers.died, &self.observations.workers.ended) {
            (Some(how), _) => finding.wrong("the worker", format!("{how} before SIGTERM")),
            (None, None) => {
                finding.late(
                    "the worker",
                    format!("did not end within {} s of SIGTERM", self.observations.workers.grace.as_secs()),
                );
            }
            (None, Some(ended)) => {
                finding.fact("how it ended", ended.how.clone());
                if let Some(problem) = self.unclean(&ended.how, ended.code, self.observations.queue.counts.active) {
                    finding.wrong("the worker", problem);
                }
                if ended.after > self.observations.workers.grace {
                    let (took, grace) = (ended.after.as_secs_f32(), self.observations.workers.grace.as_secs_f32());
                    finding.late(
                        "the worker",
                        format!("took {took:.1} s to end, wanted at most its grace period of {grace:.1} s"),
                    );
                }
            }
        }
        for exit in &self.observations.workers.exits {
            finding.examine();
            let at = format!("the worker that got SIGTERM at {} ms", exit.signalled.as_millis());
            finding.fact("how a worker ended after SIGTERM", exit.how.clone());
            if exit.killed && exit.slept {
                finding.wrong(at, format!("{}; it slept, and did not wait for a CPU", exit.how));
            } else if exit.killed {
                finding.late(at, exit.how.clone());
            } else if let Some(problem) = self.unclean(&exit.how, exit.code, jobs_left(exit)) {
                finding.wrong(at, problem);
            } else if let Some(late) = beyond_grace(exit) {
                finding.late(at, late);
            }
        }
        finding
    }

    pub(super) fn exits_in_time(&self) -> Finding {
        let mut finding = Finding::over("workers that a fault terminated");
        for exit in &self.observations.workers.exits {
            finding.examine();
            let at = format!("the worker that got SIGTERM at {} ms", exit.signalled.as_millis());
            finding.fact("how a worker ended after SIGTERM", exit.how.clone());
            if exit.killed {
                finding.late(at, exit.how.clone());
            } else if let Some(late) = beyond_grace(exit) {
                finding.late(at, late);
            }
        }
        finding
    }

    /// Why an end is not clean: its code, or open work that another code than 0 leaves behind.
    fn unclean(&self, how: &str, code: Option<i32>, active: u64) -> Option<String> {
        let codes = &self.observations.contract.exit_codes;
        if !code.is_some_and(|code| codes.contains(&code)) {
            let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
            return Some(format!("{how} after SIGTERM, wanted exit code {}", codes.join(" or ")));
        }
        (code != Some(0) && active > 0)
            .then(|| format!("{how} after SIGTERM, with {} still active", counted(active, "job")))
    }

    pub(super) fn no_job_after_sigterm(&self) -> Finding {
        let mut finding = Finding::over("workers that got SIGTERM alone");
        for exit in &self.observations.workers.exits {
            let Some(taken) = &exit.taken else { continue };
            finding.examine();
            if !taken.is_empty() {
                finding.wrong(
                    "the worker",
                    format!("took {} after SIGTERM: {}", counted(taken.len() as u64, "job"), taken.join(", ")),
                );
            }
        }
        finding
    }

    pub(super) fn none_left_active(&self) -> Finding {
        let mut finding = Finding::over("workers that got SIGTERM alone");
        for exit in &self.observations.workers.exits {
            let Some(left) = &exit.left else { continue };
            finding.examine();
            if !left.is_empty() {
                finding.wrong(
                    "the worker",
                    format!("{}, and left {} active: {}", exit.how, counted(left.len() as u64, "job"), left.join(", ")),
                );
            }
        }
        finding
    }

    pub(super) fn worker_registered(&self) -> Finding {
        let mut finding = Finding::over("workers");
        finding.examine();
        let attached = self.observations.queue.attached;
        finding.fact("connections with BullMQ's worker name", attached.registered);
        match (attached.registered, attached.unregistered) {
            (0, 0) => finding.wrong("the queue", "no connection has BullMQ's worker name"),
            (0, others) => finding.wrong(
                "the queue",
                format!("{others} connections have the queue's plain name, and none of them waits for jobs"),
            ),
            _ => {}
        }
        finding
    }

    pub(super) fn max_memory(&self, most: f64) -> Finding {
        let mut finding = Finding::over("workers");
        match self.observations.workers.peak_memory_mib {
            None => finding.undecided = Some("the worker's memory cannot be read on this system".to_owned()),
            Some(peak) => {
                finding.examine();
                finding.fact("peak resident memory, MiB", peak.round());
                if peak > most {
                    finding.wrong(
                        "the worker",
                        format!("used {peak:.0} MiB at its peak in one process, wanted at most {most}"),
                    );
                }
            }
        }
        finding
    }
}

/// The number of jobs that a worker left in `active`, as far as it is known.
fn jobs_left(exit: &Exit) -> u64 {
    exit.left.as_ref().map_or(0, |left| left.len() as u64)
}

/// By how much a worker exceeded its grace.
fn beyond_grace(exit: &Exit) -> Option<String> {
    let (took, grace) = (exit.after.as_secs_f32(), exit.grace.as_secs_f32());
    (exit.after > exit.grace + Duration::from_millis(500))
        .then(|| format!("took {took:.1} s to end, wanted at most its grace period of {grace:.1} s"))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{TestRun, exit};
    use super::super::testing::check;
    use super::*;
    use crate::services::queue::Attached;
    use crate::worker::Ended;

    const NOT_ALONE: &str = "there were no workers that got SIGTERM alone to evaluate";

    /// A run with a worker that a fault terminated.
    fn terminated(exit: Exit) -> TestRun {
        TestRun::two_documents().edit(|seen| seen.workers.exits = vec![exit])
    }

    #[test]
    fn a_worker_must_exit_with_code_0_within_its_grace() {
        let run = TestRun::two_documents();
        let ended = |code, seconds| {
            let how = format!("exited with code {code}");
            let ended = Ended { how, code: Some(code), after: Duration::from_secs(seconds) };
            run.edit(|seen| seen.workers.ended = Some(ended))
        };
        check("exits_cleanly = true")
            .passes(&run)
            .fails(&ended(1, 1), "the worker: exited with code 1 after SIGTERM, wanted exit code 0")
            .fails(&ended(0, 12), "the worker: took 12.0 s to end, wanted at most its grace period of 10.0 s")
            .fails(&run.edit(|seen| seen.workers.ended = None), "the worker: did not end within 10 s of SIGTERM")
            .fails(
                &run.edit(|seen| seen.workers.died = Some("exited with code 1".to_owned())),
                "the worker: exited with code 1 before SIGTERM",
            );
    }

    #[test]
    fn a_code_that_the_contract_names_is_a_clean_end_if_no_work_is_open() {
        let run = TestRun::two_documents().edit(|seen| {
            seen.contract.exit_codes = vec![0, 143];
            let how = "was killed by SIGTERM".to_owned();
            seen.workers.ended = Some(Ended { how, code: Some(143), after: Duration::from_secs(1) });
        });
        let amid_work = terminated(Exit {
            how: "exited with code 143".to_owned(),
            code: Some(143),
            left: Some(vec!["s0-abc".to_owned()]),
            ..exit()
        });
        check("exits_cleanly = true")
            .passes(&run)
            .fails(
                &run.edit(|seen| seen.queue.counts.active = 2),
                "the worker: was killed by SIGTERM after SIGTERM, with 2 jobs still active",
            )
            .fails(
                &amid_work.edit(|seen| seen.contract.exit_codes = vec![0, 143]),
                "the worker that got SIGTERM at 500 ms: exited with code 143 after SIGTERM, with 1 job still active",
            )
            .fails(
                &run.edit(|seen| seen.contract.exit_codes = vec![0, 1]),
                "the worker: was killed by SIGTERM after SIGTERM, wanted exit code 0 or 1",
            );
    }

    #[test]
    fn a_worker_that_a_fault_terminated_must_exit_cleanly_too() {
        let (how, code) = ("exited with code 1".to_owned(), Some(1));
        check("exits_cleanly = true")
            .passes(&terminated(exit()))
            .fails(
                &terminated(Exit { how, code, ..exit() }),
                "the worker that got SIGTERM at 500 ms: exited with code 1 after SIGTERM, wanted exit code 0",
            )
            .fails(
                &terminated(Exit { after: Duration::from_secs(11), ..exit() }),
                "the worker that got SIGTERM at 500 ms: took 11.0 s to end, wanted at most its grace period of 10.0 s",
            );
    }

    #[test]
    fn a_worker_that_starts_may_end_with_any_code_in_time() {
        let (how, code) = ("was killed by SIGTERM".to_owned(), Some(143));
        let killed = "did not end within 12.0 s of SIGTERM and was killed".to_owned();
        check("exits_in_time = true")
            .passes(&terminated(Exit { how, code, ..exit() }))
            .fails(
                &terminated(Exit { how: killed.clone(), code: None, killed: true, ..exit() }),
                &format!("the worker that got SIGTERM at 500 ms: {killed}"),
            )
            .fails(
                &terminated(Exit { after: Duration::from_secs(11), ..exit() }),
                "the worker that got SIGTERM at 500 ms: took 11.0 s to end, wanted at most its grace period of 10.0 s",
            )
            .is_unknown(&TestRun::two_documents(), "there were no workers that a fault terminated to evaluate");
    }

    #[test]
    fn a_worker_may_take_no_job_after_sigterm() {
        check("no_job_after_sigterm = true")
            .passes(&terminated(exit()))
            .fails(
                &terminated(Exit { taken: Some(vec!["s0-abc".to_owned()]), ..exit() }),
                "the worker: took 1 job after SIGTERM: s0-abc",
            )
            .is_unknown(&terminated(Exit { taken: None, ..exit() }), NOT_ALONE);
    }

    #[test]
    fn a_worker_may_leave_no_job_active() {
        check("none_left_active = true")
            .passes(&terminated(exit()))
            .fails(
                &terminated(Exit { left: Some(vec!["s0-abc".to_owned()]), ..exit() }),
                "the worker: exited with code 0, and left 1 job active: s0-abc",
            )
            .is_unknown(&terminated(Exit { left: None, ..exit() }), NOT_ALONE);
    }

    #[test]
    fn a_worker_must_be_registered_on_the_queue() {
        let attached = |registered, unregistered| {
            TestRun::two_documents().edit(|seen| seen.queue.attached = Attached { registered, unregistered })
        };
        check("worker_registered = true")
            .passes(&attached(1, 0))
            .fails(&attached(0, 0), "the queue: no connection has BullMQ's worker name")
            .fails(
                &attached(0, 2),
                "the queue: 2 connections have the queue's plain name, and none of them waits for jobs",
            );
    }

    #[test]
    fn the_memory_of_a_worker_process_is_bounded() {
        let peak = |mib| TestRun::two_documents().edit(|seen| seen.workers.peak_memory_mib = mib);
        check("max_memory_mib = 512")
            .passes(&peak(Some(512.0)))
            .fails(&peak(Some(700.0)), "the worker: used 700 MiB at its peak in one process, wanted at most 512")
            .is_unknown(&peak(None), "the worker's memory cannot be read on this system");
    }
}
