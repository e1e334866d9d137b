//! What requests and faults show.

use std::collections::BTreeSet;

use super::super::assessment::{Assessment, DocumentOutcome};
use super::super::observations::Observations;
use super::run_cause::Sighting;
use crate::spec::Target;

/// A request may be repeated this much earlier than it should, in milliseconds: clocks and timers differ.
const EARLY_MS: u64 = 50;

/// Whether the scenario broke `target`, and the workers noticed.
pub(super) fn is_broken(target: Target, assessment: &Assessment) -> bool {
    let observations = &assessment.observations;
    let by_fault = observations.faults.iter().any(|fault| fault.took_effect && fault.targets.contains(&target));
    let by_api = observations.embeddings.api_fault.is_some_and(|fault| fault.took_effect);
    by_fault || (target == Target::Jina && by_api)
}

/// Requests without a valid key that the API refused.
pub(super) fn key_refused(observations: &Observations) -> Option<Sighting> {
    let requests = &observations.embeddings.requests;
    let refused = requests.iter().filter(|request| !request.authorised && request.status == 401).count();
    (refused > 0).then(|| Sighting::of_run(format!("{refused} of {} requests have no valid key", requests.len())))
}

/// Requests whose JSON has half of a surrogate pair, and the lost documents that have characters which need a pair.
pub(super) fn character_split(assessment: &Assessment) -> Option<Sighting> {
    let observations = &assessment.observations;
    let unreadable = observations.embeddings.requests.iter().filter_map(|request| request.unreadable.as_deref());
    let split: Vec<&str> = unreadable.filter(|reason| reason.contains("surrogate")).collect();
    let first = split.first()?;
    let lost = assessment.documents().iter().filter(|document| document.outcome == DocumentOutcome::Lost);
    let lost: BTreeSet<&str> = lost.map(|document| document.document.as_str()).collect();
    let needs_pairs = observations.last()?.documents.iter().filter(|document| {
        lost.contains(document.id.as_str()) && document.text.chars().any(|letter| letter.len_utf16() == 2)
    });
    let sighting = Sighting::of_documents(needs_pairs.map(|document| document.id.as_str()), "not stored")?;
    let seen = format!("{} requests are not valid JSON ({first}); {}", split.len(), sighting.seen);
    Some(Sighting { seen, ..sighting })
}

/// Requests with the same texts that came before the time of their predecessor's Retry-After.
pub(super) fn retry_after_ignored(observations: &Observations) -> Option<Sighting> {
    let requests = &observations.embeddings.requests;
    let mut early = Vec::new();
    for (place, first) in requests.iter().enumerate() {
        let Some(wanted) = first.wait_ms.filter(|_| !first.texts.is_empty()) else { continue };
        let again = requests.iter().skip(place + 1).find(|other| other.texts == first.texts);
        let wait = again.map(|again| again.at_ms.saturating_sub(first.at_ms + first.took_ms));
        early.extend(wait.filter(|wait| wait + EARLY_MS < wanted).map(|wait| (wait, wanted)));
    }
    let (wait, wanted) = early.first()?;
    let count = early.len();
    Some(Sighting::of_run(format!(
        "{count} requests were repeated too early, the first after {wait} ms, although its Retry-After was {wanted} ms"
    )))
}
