//! How jobs end: completed, in time, and with how many attempts.

use serde_json::json;

use super::super::observations::JobState;
use super::finding::Finding;
use super::measure::{count, counted, state_phrase};
use super::scope::Scope;
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
        // The last step has the last fault.
        let recovered = self.observations.last().and_then(|step| step.recovered).filter(|_| !late);
        match recovered {
            Some(after) if after.as_secs_f64() <= most * self.observations.contract.timeout_factor => {}
            Some(after) => {
                let (after, most) = (after.as_secs_f64(), most * self.observations.contract.timeout_factor);
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
        if counts.pending() > 0 {
            let by_state: Vec<String> = counts
                .by_state()
                .iter()
                .filter(|(_, jobs)| *jobs > 0)
                .map(|(state, jobs)| format!("{jobs} {state}"))
                .collect();
            let pending = counted(counts.pending(), "unfinished job");
            finding.wrong("the queue", format!("still holds {pending}: {}", by_state.join(", ")));
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
