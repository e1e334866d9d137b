//! What premises are evaluated over.

use super::super::assessment::Assessment;
use super::super::observations::Observations;
use super::history::JobHistory;

/// A scenario run, and when its jobs waited and were active.
pub(super) struct Run<'a> {
    pub(super) assessment: &'a Assessment,
    pub(super) observations: &'a Observations,
    pub(super) jobs: JobHistory<'a>,
    /// The jobs of each further queue.
    pub(super) others: Vec<JobHistory<'a>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(assessment: &'a Assessment) -> Self {
        let observations = &assessment.observations;
        let queue = &observations.queue;
        let others = queue.others.values().map(|other| JobHistory::new(&other.events)).collect();
        Self { assessment, observations, jobs: JobHistory::new(&queue.events), others }
    }
}
