//! The worker as a process: its registration, its memory and its end.

use std::time::Duration;

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
                finding.wrong(
                    "the worker",
                    format!("did not end within {} s of SIGTERM", self.observations.workers.grace.as_secs()),
                );
            }
            (None, Some(ended)) => {
                finding.fact("how it ended", ended.how.clone());
                if ended.code != Some(0) {
                    finding.wrong("the worker", format!("{} after SIGTERM, wanted exit code 0", ended.how));
                }
                if ended.after > self.observations.workers.grace {
                    let (took, grace) = (ended.after.as_secs_f32(), self.observations.workers.grace.as_secs_f32());
                    finding.wrong(
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
            if exit.killed {
                finding.wrong(at, exit.how.clone());
            } else if exit.code != Some(0) {
                finding.wrong(at, format!("{} after SIGTERM, wanted exit code 0", exit.how));
            } else if exit.after > exit.grace + Duration::from_millis(500) {
                let (took, grace) = (exit.after.as_secs_f32(), exit.grace.as_secs_f32());
                finding.wrong(at, format!("took {took:.1} s to end, wanted at most its grace period of {grace:.1} s"));
            }
        }
        finding
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
                format!("{others} connections have the queue's plain name, which BullMQ's getWorkers does not find"),
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
