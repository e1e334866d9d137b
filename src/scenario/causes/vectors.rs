//! What wrong vectors show: each is compared with those of all texts that were sent.

use std::collections::{BTreeMap, BTreeSet};

use super::super::assessment::{Assessment, DocumentOutcome};
use super::super::evidence::Point;
use super::super::observations::Observations;
use super::super::vectors::{VECTOR_TOLERANCE, cosine_distance};
use super::requests::is_broken;
use super::run_cause::Sighting;
use crate::spec::Target;
use crate::stack::jina::vector_for;

/// The task with which the chunks of documents are embedded.
const PASSAGE_TASK: &str = "retrieval.passage";
/// How many wrong vectors, and how many texts, are compared at most.
const MAX_VECTORS: usize = 300;
const MAX_TEXTS: usize = 3000;

/// A point whose vector is not the one of its text.
struct Wrong<'a> {
    document: &'a str,
    point: &'a Point,
    text: &'a str,
}

/// The points with a wrong vector after the last step.
fn wrong(observations: &Observations) -> Vec<Wrong<'_>> {
    let points = observations.last().into_iter().flat_map(|step| &step.snapshot.points);
    let points = points.flat_map(|(document, points)| points.iter().map(move |point| (document.as_str(), point)));
    let wrong =
        points.filter_map(|(document, point)| {
            let text = point.text.as_deref()?;
            (!matches(&observations.embeddings.vector_for_task(Some(PASSAGE_TASK), text), &point.vector))
                .then_some(Wrong { document, point, text })
        });
    wrong.take(MAX_VECTORS).collect()
}

fn matches(one: &[f32], other: &[f32]) -> bool {
    // Most vectors differ in their first numbers already.
    let is_near = one.iter().zip(other).take(8).all(|(one, other)| (one - other).abs() < 1e-3);
    is_near && cosine_distance(one, other) <= VECTOR_TOLERANCE
}

/// The wrong points with the text whose vector each has, of all texts that were sent.
fn identified(observations: &Observations) -> Vec<(Wrong<'_>, &str)> {
    let wrong = wrong(observations);
    if wrong.is_empty() {
        return Vec::new();
    }
    let texts: BTreeSet<&str> =
        observations.embeddings.requests.iter().flat_map(|request| request.texts.iter().map(String::as_str)).collect();
    let sent: Vec<(&str, Vec<f32>)> = texts
        .into_iter()
        .take(MAX_TEXTS)
        .map(|text| (text, observations.embeddings.vector_for_task(Some(PASSAGE_TASK), text)))
        .collect();
    wrong
        .into_iter()
        .filter_map(|wrong| {
            let (text, _) = sent.iter().find(|(_, vector)| matches(vector, &wrong.point.vector))?;
            Some((wrong, *text))
        })
        .collect()
}

/// What a text that was sent is to the stored text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// The same, with spaces instead of newlines.
    NewlinesReplaced,
    /// A longer one that contains it.
    Extended,
    /// Another one.
    Other,
}

/// A text with single spaces between its words.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn relation(stored: &str, sent: &str) -> Relation {
    let (stored, sent) = (words(stored), words(sent));
    if stored == sent {
        Relation::NewlinesReplaced
    } else if !stored.is_empty() && sent.contains(&stored) {
        Relation::Extended
    } else {
        Relation::Other
    }
}

/// A sighting of points, with the first of them as an example.
fn sighting(found: &[(Wrong<'_>, &str)], what: &str) -> Option<Sighting> {
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

/// The wrong points whose vector is that of a text with this relation to theirs.
fn related(observations: &Observations, wanted: Relation) -> Vec<(Wrong<'_>, &str)> {
    identified(observations).into_iter().filter(|(wrong, sent)| relation(wrong.text, sent) == wanted).collect()
}

/// The vectors are those of the texts with spaces instead of newlines.
pub(super) fn newlines_replaced(observations: &Observations) -> Option<Sighting> {
    sighting(&related(observations, Relation::NewlinesReplaced), "that were embedded without their newlines")
}

/// The vectors are those of longer texts that contain the stored ones.
pub(super) fn text_extended(observations: &Observations) -> Option<Sighting> {
    sighting(&related(observations, Relation::Extended), "that were embedded with more text")
}

/// For each request with wrong vectors: whether exactly its texts with wrong vectors have exchanged them.
struct Exchanges<'a> {
    /// Points of requests in which vectors were exchanged.
    exchanged: Vec<(Wrong<'a>, &'a str)>,
    /// Points with the vector of another text of their request, without an exchange.
    shifted: Vec<(Wrong<'a>, &'a str)>,
    /// Points with the vector of a text that was never sent together with theirs.
    foreign: Vec<(Wrong<'a>, &'a str)>,
}

impl<'a> Exchanges<'a> {
    fn find(observations: &'a Observations) -> Self {
        let mut by_request: BTreeMap<Option<usize>, Vec<(Wrong<'a>, &'a str)>> = BTreeMap::new();
        // A text may be sent without its newlines, or with metadata in front of it.
        let requests: Vec<Vec<String>> = observations
            .embeddings
            .requests
            .iter()
            .map(|request| request.texts.iter().map(|text| words(text)).collect())
            .collect();
        for (wrong, sent) in related(observations, Relation::Other) {
            let (own, other) = (words(wrong.text), words(sent));
            let together = |texts: &Vec<String>| texts.contains(&other) && texts.iter().any(|text| text.contains(&own));
            // The last attempt is the one that was stored.
            let request = requests.iter().rposition(together);
            by_request.entry(request).or_default().push((wrong, sent));
        }
        let mut all = Self { exchanged: Vec::new(), shifted: Vec::new(), foreign: Vec::new() };
        for (request, points) in by_request {
            let sent_for = |stored: &str| {
                let stored = words(stored);
                let texts = request.and_then(|request| requests.get(request)).into_iter().flatten();
                texts.min_by_key(|text| (!text.contains(&stored), text.len())).cloned().unwrap_or_default()
            };
            let own: BTreeSet<String> = points.iter().map(|(wrong, _)| sent_for(wrong.text)).collect();
            let taken: BTreeSet<String> = points.iter().map(|(_, sent)| words(sent)).collect();
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
pub(super) fn paired_by_position(observations: &Observations) -> Option<Sighting> {
    sighting(&Exchanges::find(observations).exchanged, "with the vectors of other texts of their request")
}

/// Texts have vectors of others of their request that are not a permutation, and the API gave defective responses.
pub(super) fn response_unchecked(assessment: &Assessment) -> Option<Sighting> {
    if !is_broken(Target::Jina, assessment) {
        return None;
    }
    sighting(&Exchanges::find(&assessment.observations).shifted, "with the vectors of other texts of their request")
}

/// Texts have vectors of texts that were never sent together with them.
pub(super) fn of_other_requests(observations: &Observations) -> Option<Sighting> {
    sighting(&Exchanges::find(observations).foreign, "with the vectors of texts from other requests")
}

/// The vectors are those of the same texts without a task, or for another one, and a request was sent like that.
pub(super) fn task(observations: &Observations, missing: bool) -> Option<Sighting> {
    // A contract without a task permits requests without one.
    observations.contract.embeddings.task.as_ref()?;
    let embeddings = &observations.embeddings;
    let tasks: BTreeSet<Option<&str>> = embeddings
        .requests
        .iter()
        .map(|request| request.task.as_deref())
        .filter(|task| *task != Some(PASSAGE_TASK) && task.is_none() == missing)
        .collect();
    let (model, dimensions) = (&embeddings.endpoint.model, embeddings.endpoint.dimensions);
    let mut documents = BTreeSet::new();
    let mut count = 0;
    let mut used = None;
    for wrong in wrong(observations) {
        let is_of = |task: Option<&str>| matches(&vector_for(model, dimensions, task, wrong.text), &wrong.point.vector);
        if let Some(task) = tasks.iter().copied().find(|task| is_of(*task)) {
            documents.insert(wrong.document);
            count += 1;
            used = Some(task);
        }
    }
    let (used, requests) = (used?, embeddings.requests.iter());
    let alike = requests.filter(|request| request.task.as_deref() == used).count();
    let what = used.map_or_else(|| "no `task`".to_owned(), |task| format!("the task `{task}`"));
    let sighting = Sighting::of_documents(documents, "")?.about(used.unwrap_or_default());
    let total = embeddings.requests.len();
    Some(Sighting { seen: format!("{count} vectors; {alike} of {total} requests have {what}"), ..sighting })
}

/// Vectors that are all zero or a quarter of the configured size, although the API gave none like that.
pub(super) fn decoded_wrongly(assessment: &Assessment) -> Option<Sighting> {
    let observations = &assessment.observations;
    if is_broken(Target::Jina, assessment) {
        return None;
    }
    let size = observations.embeddings.endpoint.dimensions as usize;
    let wrong = wrong(observations);
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
