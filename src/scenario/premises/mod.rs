//! The evaluation of premises over a scenario run: whether what a pass rests on was seen, and what was seen instead.
//! `spec::premise` documents how to add one.

mod batches;
mod documents;
mod faults;
mod history;
mod jobs;
mod moment;
mod requests;
mod run;
mod seen;
#[cfg(test)]
mod testing;
mod versions;

pub(super) use self::batches::batches;
use self::run::Run;
use self::seen::Seen;
use super::assessment::Assessment;
use crate::outcome::{Evidence, Verdict};
use crate::spec::Premise;

/// What the evidence of a case calls a premise; its sentence follows.
pub const PREMISE: &str = "premise";

/// Adds what was seen of each premise to the evidence. A pass becomes `unknown` with the first that is not met: what holds
/// in a run that did not get there proves nothing. If this worker can never get there, the case does not apply to it.
pub(super) fn require(
    premises: &[Premise],
    verdict: Verdict,
    assessment: &Assessment,
    evidence: &mut Vec<Evidence>,
) -> Verdict {
    let (mut unmet, mut impossible) = (None, None);
    for premise in premises {
        let seen = evaluate(premise, assessment);
        let word = if seen.is_met { "met" } else { "not met" };
        evidence.push(Evidence::seen(format!("{PREMISE}: {premise}"), format!("{word}: {}", seen.what)));
        if seen.is_impossible && impossible.is_none() {
            impossible = Some(format!("with this worker it cannot be that {premise}: {}", seen.what));
        } else if !seen.is_met && unmet.is_none() {
            unmet = Some(format!("the premise is not met that {premise}: {}", seen.what));
        }
    }
    match (impossible, unmet) {
        (Some(reason), _) if matches!(verdict, Verdict::Pass | Verdict::Unknown { .. }) => Verdict::skip(reason),
        (_, Some(reason)) if verdict == Verdict::Pass => Verdict::unknown(reason),
        _ => verdict,
    }
}

/// Whether every premise is met.
#[must_use]
pub fn are_met(premises: &[Premise], assessment: &Assessment) -> bool {
    premises.iter().all(|premise| evaluate(premise, assessment).is_met)
}

fn evaluate(premise: &Premise, assessment: &Assessment) -> Seen {
    let run = Run::new(assessment);
    match premise {
        Premise::AnyRun(_) => run.any_run(),
        // documents
        Premise::Chunks(least) => run.chunks(*least),
        Premise::FullBatches => run.full_batches(),
        Premise::Batches(least) => run.batches(*least),
        Premise::FormerPoints => run.former_points(),
        Premise::FewerChunks => run.fewer_chunks(),
        // jobs
        Premise::JobsInWork(least) => run.jobs_in_work(*least),
        Premise::Saturated(most) => run.saturated(*most),
        Premise::Attempts(least) => run.attempts(*least),
        Premise::FailedJobs(least) => run.failed_jobs(*least),
        Premise::StalledOut => run.stalled_out(),
        Premise::LongerThanLock => run.longer_than_lock(),
        // versions
        Premise::VersionsOverlap => run.versions_overlap(),
        Premise::OlderEndsLast => run.older_ends_last(),
        // requests
        Premise::AbnormalAnswers(least) => run.abnormal_answers(*least),
        Premise::RefusedInARow(least) => run.refused_in_a_row(*least),
        Premise::Retried => run.retried(),
        Premise::RefusedMidway => run.refused_midway(),
        // faults
        Premise::FaultMet(work) => run.fault_met(*work),
        Premise::KilledWith(work) => run.killed_with(*work),
        Premise::TerminatedWith(work) => run.terminated_with(*work),
        Premise::PausedWith(work) => run.paused_with(*work),
        Premise::JoinedWith(work) => run.joined_with(*work),
        Premise::LockExpired => run.lock_expired(),
        Premise::CallsInFault(least) => run.calls_in_fault(*least),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestRun;
    use super::*;
    use crate::outcome::Level;
    use crate::spec::Expectation;

    #[test]
    fn a_pass_without_its_premise_is_unknown_and_a_failure_stays_one() {
        let run = TestRun::two_documents();
        let evaluate = |premises: &[Premise], expectation: Expectation, run: &TestRun| {
            super::super::evaluate(premises, &[expectation], &run.assessment(), None, Level::Must)
        };
        let (verdict, evidence) = evaluate(&[Premise::Chunks(2), Premise::Chunks(3)], Expectation::QueueDrained, &run);
        let reason = "the premise is not met that a document has at least 3 chunks: no document has more than 2 chunks";
        assert_eq!(verdict, Verdict::unknown(reason));
        let listed = |what: &str, seen: &str| evidence.contains(&Evidence::seen(what, seen));
        assert!(listed("premise: a document has at least 2 chunks", "met: a.md has 2 chunks"), "{evidence:#?}");
        assert!(listed("premise: a document has at least 3 chunks", "not met: no document has more than 2 chunks"));
        let busy = run.edit(|seen| seen.queue.counts.active = 1);
        let (verdict, _) = evaluate(&[Premise::Chunks(3)], Expectation::QueueDrained, &busy);
        assert!(matches!(verdict, Verdict::Fail { .. }), "{verdict:?}");
        let (verdict, _) = evaluate(&[Premise::Chunks(2)], Expectation::QueueDrained, &run);
        assert_eq!(verdict, Verdict::Pass);
        // What no run with this worker can meet makes the case one that does not apply to it.
        let locked = run.edit(|seen| seen.queue.lock_ms = Some(30_000));
        let (verdict, _) = evaluate(&[Premise::Chunks(3), Premise::LongerThanLock], Expectation::QueueDrained, &locked);
        let Verdict::Skip { reason } = verdict else { panic!("{verdict:?}") };
        assert!(reason.starts_with("with this worker it cannot be that a job is active for longer than"), "{reason}");
    }

    #[test]
    fn every_premise_has_a_run_that_meets_it_and_one_that_does_not() {
        const FAMILIES: [&str; 5] = [
            include_str!("documents.rs"),
            include_str!("jobs.rs"),
            include_str!("requests.rs"),
            include_str!("faults.rs"),
            include_str!("versions.rs"),
        ];
        let schema = schemars::schema_for!(Premise);
        let variants = schema.get("oneOf").unwrap().as_array().unwrap();
        let names = variants.iter().flat_map(|variant| match variant["properties"].as_object() {
            Some(properties) => properties.keys().cloned().collect::<Vec<_>>(),
            None => match variant["enum"].as_array() {
                Some(names) => names.iter().filter_map(|name| name.as_str().map(ToOwned::to_owned)).collect(),
                None => vec![variant["const"].as_str().unwrap().to_owned()],
            },
        });
        let names: Vec<String> = names.collect();
        assert!(names.len() > 20, "{names:?}");
        let is_tested = |name: &String| {
            let tests = [format!("premise(\"\\\"{name}\\\"\")"), format!("premise(\"{{ {name} = ")];
            FAMILIES.iter().any(|family| tests.iter().any(|test| family.contains(test)))
        };
        let untested: Vec<String> = names.into_iter().filter(|name| !is_tested(name)).collect();
        assert!(untested.is_empty(), "add a test with `premise(…)` beside the function of {untested:?}");
    }
}
