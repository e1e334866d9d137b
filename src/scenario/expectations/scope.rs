//! What an expectation is evaluated over: a scenario run, and which of its documents.

use globset::GlobSet;

use super::super::assessment::Assessment;
use super::super::documents::Document;
use super::super::evidence::Point;
use super::super::observations::{Observations, StepRecord};

/// The part of a scenario run that a case evaluates.
pub(super) struct Scope<'a> {
    pub(super) assessment: &'a Assessment,
    pub(super) observations: &'a Observations,
    /// Only documents that match are considered.
    pub(super) documents_matching: Option<&'a GlobSet>,
}

impl<'a> Scope<'a> {
    pub(super) fn is_selected(&self, document: &Document) -> bool {
        self.documents_matching.is_none_or(|globs| globs.is_match(&document.id))
    }

    /// Documents of the last step that must be delivered, with that step.
    pub(super) fn deliverable(&self) -> impl Iterator<Item = (&'a StepRecord, &'a Document)> {
        self.last().filter(|(_, document)| document.has_text() && !document.rejected)
    }

    /// Selected documents of the last step, with that step.
    pub(super) fn last(&self) -> impl Iterator<Item = (&'a StepRecord, &'a Document)> {
        let observations = self.observations;
        observations
            .last()
            .into_iter()
            .flat_map(|step| step.documents.iter().map(move |document| (step, document)))
            .filter(|(_, document)| self.is_selected(document))
    }

    /// Points of selected documents after the last step.
    pub(super) fn points(&self) -> impl Iterator<Item = (&'a str, &'a Point)> {
        let observations = self.observations;
        observations
            .last()
            .into_iter()
            .flat_map(|step| step.snapshot.points.iter())
            .filter(|(document, _)| self.documents_matching.is_none_or(|globs| globs.is_match(document.as_str())))
            .flat_map(|(document, points)| points.iter().map(move |point| (document.as_str(), point)))
    }
}
