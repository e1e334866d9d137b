//! What requests and faults show.

use super::super::assessment::Assessment;
use super::super::observations::Observations;
use super::Sighting;
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
