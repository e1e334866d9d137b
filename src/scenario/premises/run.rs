//! What premises are evaluated over.

use super::super::assessment::Assessment;
use super::super::observations::Observations;
use super::history::JobHistory;

/// A scenario run, and when its jobs waited and were active.
pub(super) struct Run<'a> {
    pub(super) assessment: &'a Assessment,
    pub(super) observations: &'a Observations,
    pub(super) jobs: JobHistory<'a>,
}

impl<'a> Run<'a> {
    pub(super) fn new(assessment: &'a Assessment) -> Self {
        let observations = &assessment.observations;
        Self { assessment, observations, jobs: JobHistory::new(observations) }
    }
}
