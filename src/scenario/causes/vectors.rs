//! What wrong vectors show: each is compared with those of all texts that were sent.

use std::collections::{BTreeMap, BTreeSet};

use super::super::assessment::{Assessment, DocumentOutcome};
use super::super::evidence::Point;
use super::super::vectors::{EmbeddingDifference, VectorMatch};
use super::super::words::single_spaced;
use super::requests::is_broken;
use super::run_cause::Sighting;
use crate::spec::Target;

/// A point whose vector is not simply the one of its text.
#[derive(Clone, Copy)]
struct Odd<'a> {
    document: &'a str,
    point: &'a Point,
    text: &'a str,
    found: &'a VectorMatch,
}

/// These points after the last step.
fn odd(assessment: &Assessment) -> Vec<Odd<'_>> {
    let points = assessment.observations.last().into_iter().flat_map(|step| &step.snapshot.points);
    let points = points.flat_map(|(document, points)| points.iter().map(move |point| (document.as_str(), point)));
    let odd = points.filter_map(|(document, point)| {
        let (found, _) = assessment.vectors().get(document, point);
        (*found != VectorMatch::Own).then_some(Odd { document, point, text: point.text.as_deref()?, found })
    });
    odd.collect()
}

/// What a text that was sent is to the stored text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// The same, with other blanks, such as spaces instead of newlines.
    NewlinesReplaced,
    /// A longer one that contains it.
    Extended,
    /// Another one.
    Other,
}

fn relation(found: &VectorMatch) -> Option<Relation> {
    match found {
        VectorMatch::Differs(differences) if differences.contains(&EmbeddingDifference::Prefixed) => {
            Some(Relation::Extended)
        }
        VectorMatch::Differs(differences) => {
            let blanks = [EmbeddingDifference::NewlinesReplaced, EmbeddingDifference::BlanksChanged];
            blanks.iter().any(|blank| differences.contains(blank)).then_some(Relation::NewlinesReplaced)
        }
        VectorMatch::Wrong(_) => Some(Relation::Other),
        VectorMatch::Own | VectorMatch::NoText => None,
    }
}

/// A sighting of points, with the first of them as an example.
fn sighting(found: &[(Odd<'_>, &str)], what: &str) -> Option<Sighting> {
    let (first, sent) = found.first()?;
    let excerpt: String = sent.chars().take(40).collect();
    let sighting = Sighting::of_documents(found.iter().map(|(wrong, _)| wrong.document), what)?;
    let chunk = first.point.chunk.map_or_else(|| "a chunk".to_owned(), |chunk| format!("chunk {chunk}"));
    let seen = format!(
        "{} vectors of {}: {chunk} of {} has the vector of `{excerpt}`",
        found.len(),
        sighting.seen.split(", such as").next().unwrap_or_default(),
        first.document
    );
    Some(Sighting { seen, ..sighting })
}

/// The points whose vector is that of a text with this relation to theirs, each with that text.
fn related(assessment: &Assessment, wanted: Relation) -> Vec<(Odd<'_>, &str)> {
    let related = odd(assessment).into_iter().filter(|odd| relation(odd.found) == Some(wanted));
    related.filter_map(|odd| Some((odd, assessment.vectors().sent(odd.document, odd.point)?))).collect()
}

/// The vectors are those of the texts with spaces instead of newlines.
pub(super) fn newlines_replaced(assessment: &Assessment) -> Option<Sighting> {
    sighting(&related(assessment, Relation::NewlinesReplaced), "that were embedded without their newlines")
}

/// The vectors are those of longer texts that contain the stored ones.
pub(super) fn text_extended(assessment: &Assessment) -> Option<Sighting> {
    sighting(&related(assessment, Relation::Extended), "that were embedded with more text")
}

/// For each request with wrong vectors: whether exactly its texts with wrong vectors have exchanged them.
struct Exchanges<'a> {
    /// Points of requests in which vectors were exchanged.
    exchanged: Vec<(Odd<'a>, &'a str)>,
    /// Points with the vector of another text of their request, without an exchange.
    shifted: Vec<(Odd<'a>, &'a str)>,
    /// Points with the vector of a text that was never sent together with theirs.
    foreign: Vec<(Odd<'a>, &'a str)>,
}

impl<'a> Exchanges<'a> {
    fn find(assessment: &'a Assessment) -> Self {
        let mut by_request: BTreeMap<Option<usize>, Vec<(Odd<'a>, &'a str)>> = BTreeMap::new();
        // A text may be sent without its newlines, or with metadata in front of it.
        let requests: Vec<Vec<String>> = assessment
            .observations
            .embeddings
            .requests
            .iter()
            .map(|request| request.texts.iter().map(|text| single_spaced(text)).collect())
            .collect();
        for (wrong, sent) in related(assessment, Relation::Other) {
            let (own, other) = (single_spaced(wrong.text), single_spaced(sent));
            let together = |texts: &Vec<String>| texts.contains(&other) && texts.iter().any(|text| text.contains(&own));
            // The last attempt is the one that was stored.
            let request = requests.iter().rposition(together);
            by_request.entry(request).or_default().push((wrong, sent));
        }
        let mut all = Self { exchanged: Vec::new(), shifted: Vec::new(), foreign: Vec::new() };
        for (request, points) in by_request {
            let sent_for = |stored: &str| {
                let stored = single_spaced(stored);
                let texts = request.and_then(|request| requests.get(request)).into_iter().flatten();
                texts.min_by_key(|text| (!text.contains(&stored), text.len())).cloned().unwrap_or_default()
            };
            let own: BTreeSet<String> = points.iter().map(|(wrong, _)| sent_for(wrong.text)).collect();
            let taken: BTreeSet<String> = points.iter().map(|(_, sent)| single_spaced(sent)).collect();
            match request {
                None => all.foreign.extend(points),
                Some(_) if own == taken => all.exchanged.extend(points),
                Some(_) => all.shifted.extend(points),
            }
        }
        all
    }
}

/// In whole requests the texts have each other's vectors: a permutation, as it results from pairing by position.
pub(super) fn paired_by_position(assessment: &Assessment) -> Option<Sighting> {
    sighting(&Exchanges::find(assessment).exchanged, "with the vectors of other texts of their request")
}

/// Texts have vectors of others of their request that are not a permutation, and the API gave defective responses.
pub(super) fn response_unchecked(assessment: &Assessment) -> Option<Sighting> {
    if !is_broken(Target::Jina, assessment) {
        return None;
    }
    sighting(&Exchanges::find(assessment).shifted, "with the vectors of other texts of their request")
}

/// Texts have vectors of texts that were never sent together with them.
pub(super) fn of_other_requests(assessment: &Assessment) -> Option<Sighting> {
    sighting(&Exchanges::find(assessment).foreign, "with the vectors of texts from other requests")
}

/// The vectors are those of the texts without a task, or for another one than the contract's, as requests were sent.
pub(super) fn task(assessment: &Assessment, missing: bool) -> Option<Sighting> {
    let observations = &assessment.observations;
    // A contract without a task permits requests without one.
    observations.contract.embeddings.task.as_ref()?;
    let odd = odd(assessment);
    let of_task = odd.iter().filter_map(|odd| {
        let VectorMatch::Differs(differences) = odd.found else { return None };
        let used = differences.iter().find_map(|difference| match difference {
            EmbeddingDifference::OtherTask(task) if task.is_none() == missing => Some(task.as_deref()),
            _ => None,
        })?;
        Some((odd.document, used))
    });
    let of_task: Vec<(&str, Option<&str>)> = of_task.collect();
    let (_, used) = *of_task.last()?;
    let requests = &observations.embeddings.requests;
    let alike = requests.iter().filter(|request| request.task.as_deref() == used).count();
    let what = used.map_or_else(|| "no `task`".to_owned(), |task| format!("the task `{task}`"));
    let documents = of_task.iter().map(|(document, _)| *document);
    let sighting = Sighting::of_documents(documents, "")?.about(used.unwrap_or_default());
    let seen = format!("{} vectors; {alike} of {} requests have {what}", of_task.len(), requests.len());
    Some(Sighting { seen, ..sighting })
}

/// Vectors that are all zero or a quarter of the configured size, although the API gave none like that.
pub(super) fn decoded_wrongly(assessment: &Assessment) -> Option<Sighting> {
    let observations = &assessment.observations;
    if is_broken(Target::Jina, assessment) {
        return None;
    }
    let size = observations.embeddings.endpoint.dimensions as usize;
    let odd = odd(assessment);
    let wrong: Vec<&Odd<'_>> = odd.iter().filter(|odd| matches!(odd.found, VectorMatch::Wrong(_))).collect();
    let zero = wrong.iter().filter(|wrong| wrong.point.vector.iter().all(|number| *number == 0.0));
    let zero: Vec<&str> = zero.map(|wrong| wrong.document).collect();
    let short = wrong.iter().filter(|wrong| wrong.point.vector.len() * 4 == size);
    let short: Vec<&str> = short.map(|wrong| wrong.document).collect();
    if !zero.is_empty() {
        return Some(Sighting::of_documents(zero, "with vectors of zeros")?.about("all numbers are zero"));
    }
    let about = format!("{} numbers instead of {size}, as when floats are decoded as base64", size / 4);
    if !short.is_empty() {
        return Some(Sighting::of_documents(short, "with vectors that are too short")?.about(about));
    }
    // Qdrant refuses such vectors before they are stored.
    let refusal = format!("expected dim: {size}, got {}", size / 4);
    let step = observations.last()?;
    let lost = assessment.documents().iter().filter(|document| document.outcome == DocumentOutcome::Lost);
    let refused = lost.map(|document| document.document.as_str()).filter(|document| {
        let reason = step.jobs.get(*document).and_then(|(_, job)| job.failed_reason.as_deref());
        reason.is_some_and(|reason| reason.contains(&refusal))
    });
    Some(Sighting::of_documents(refused, "whose vectors Qdrant refused")?.about(about))
}
