//! Finds the text, of all that were sent, whose vector a point has.

use std::collections::{BTreeMap, BTreeSet};

use super::difference::{EmbeddingDifference, VectorMatch, VectorMismatch};
use super::{VECTOR_TOLERANCE, cosine_distance};
use crate::scenario::evidence::Point;
use crate::scenario::observations::Observations;
use crate::settings::{ChunksContract, is_blank};

/// Numbers that are compared before the whole vector is.
const COMPARED_FIRST: usize = 4;
/// How far two numbers of vectors of length 1 may differ within [`VECTOR_TOLERANCE`], rounded up.
const NEAR: f32 = 0.01;

/// The vectors of all points after the last step, compared with the texts that were sent.
#[derive(Debug, Default)]
pub struct VectorMatches {
    points: BTreeMap<(String, String), Compared>,
}

/// The vector of a point.
#[derive(Debug)]
struct Compared {
    found: VectorMatch,
    /// The cosine distance to the vector that is wanted for the text of the point.
    distance: f64,
    /// The text that was sent and has this vector, if it is not the one of the point.
    sent: Option<String>,
}

impl VectorMatches {
    /// Compares the vectors of a run.
    #[must_use]
    pub fn of(observations: &Observations) -> Self {
        let Some(step) = observations.last() else { return Self::default() };
        let mut texts = Texts::of(observations);
        let all =
            || step.snapshot.points.iter().flat_map(|(name, points)| points.iter().map(move |point| (name, point)));
        let stored: Vec<Stored<'_>> =
            all().filter_map(|(document, point)| Stored::new(document, point, &observations.contract.chunks)).collect();
        let points = all()
            .map(|(document, point)| ((document.clone(), point.id.clone()), texts.compare(point, &stored)))
            .collect();
        Self { points }
    }

    /// What the vector of a point is, and its cosine distance to the one wanted for the point's text.
    #[must_use]
    pub fn get(&self, document: &str, point: &Point) -> (&VectorMatch, f64) {
        let found = self.points.get(&(document.to_owned(), point.id.clone()));
        found.map_or((&VectorMatch::NoText, 0.0), |compared| (&compared.found, compared.distance))
    }

    /// The text that was sent and has the vector of a point, if it is another one than that of the point.
    pub(in crate::scenario) fn sent(&self, document: &str, point: &Point) -> Option<&str> {
        self.points.get(&(document.to_owned(), point.id.clone()))?.sent.as_deref()
    }

    /// How many points were embedded with each difference.
    #[must_use]
    pub fn differences(&self) -> BTreeMap<EmbeddingDifference, usize> {
        let mut counts = BTreeMap::new();
        for compared in self.points.values() {
            let VectorMatch::Differs(differences) = &compared.found else { continue };
            for difference in differences {
                *counts.entry(difference.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// The wrong vectors: the document, the id of the point, and what the vector is.
    pub fn mismatches(&self) -> impl Iterator<Item = (&str, &str, &VectorMismatch)> {
        self.points.iter().filter_map(|((document, id), compared)| match &compared.found {
            VectorMatch::Wrong(mismatch) => Some((document.as_str(), id.as_str(), mismatch)),
            _ => None,
        })
    }
}

/// A text with its blanks merged, and without what the contract may drop.
fn merged(text: &str, contract: &ChunksContract) -> String {
    contract.without_dropped(text).split(is_blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A stored chunk whose text may be the one that was sent.
struct Stored<'a> {
    document: &'a str,
    chunk: Option<u64>,
    text: &'a str,
    merged: String,
}

impl<'a> Stored<'a> {
    fn new(document: &'a str, point: &'a Point, contract: &ChunksContract) -> Option<Self> {
        let text = point.text.as_deref()?;
        Some(Self { document, chunk: point.chunk, text, merged: merged(text, contract) })
    }

    /// How well `sent`, whose merged form is also given, is the text of this chunk; higher is better.
    fn likeness(&self, sent: &str, merged_sent: &str) -> Option<(u8, usize)> {
        let length = self.merged.len();
        if self.text == sent {
            Some((2, length))
        } else if self.merged == merged_sent {
            Some((1, length))
        } else {
            (length > 0 && merged_sent.ends_with(&self.merged)).then_some((0, length))
        }
    }
}

/// The texts that were sent to the embeddings API.
struct Texts<'a> {
    observations: &'a Observations,
    /// Tasks that requests named, other than the contract's, with the texts of these requests.
    other_tasks: BTreeMap<Option<&'a str>, BTreeSet<&'a str>>,
    /// All texts with their tasks and vectors; computed when a vector is not the one of its point's own text.
    vectors: Option<Vec<Sent<'a>>>,
}

/// A text that was sent.
struct Sent<'a> {
    text: &'a str,
    task: Option<&'a str>,
    vector: Vec<f32>,
}

impl<'a> Texts<'a> {
    fn of(observations: &'a Observations) -> Self {
        let mut texts = Self { observations, other_tasks: BTreeMap::new(), vectors: None };
        for (task, text) in texts.sent() {
            if task != texts.task() {
                texts.other_tasks.entry(task).or_default().insert(text);
            }
        }
        texts
    }

    /// The task of the contract.
    fn task(&self) -> Option<&'a str> {
        self.observations.contract.embeddings.task.as_deref()
    }

    /// Every text that was answered, with the task of its request.
    fn sent(&self) -> BTreeSet<(Option<&'a str>, &'a str)> {
        let requests = self.observations.embeddings.requests.iter().filter(|request| request.status == 200);
        requests.flat_map(|request| request.texts.iter().map(|text| (request.task.as_deref(), text.as_str()))).collect()
    }

    fn vector(&self, task: Option<&str>, text: &str) -> Vec<f32> {
        self.observations.embeddings.vector_for_task(task, text)
    }

    fn compare(&mut self, point: &Point, stored: &[Stored<'_>]) -> Compared {
        let Some(text) = point.text.as_deref() else {
            return Compared { found: VectorMatch::NoText, distance: 0.0, sent: None };
        };
        let wanted = self.vector(self.task(), text);
        let distance = cosine_distance(&wanted, &point.vector);
        let is = |found| Compared { found, distance, sent: None };
        if distance <= VECTOR_TOLERANCE {
            return is(VectorMatch::Own);
        }
        let wrong = |mismatch| is(VectorMatch::Wrong(mismatch));
        if point.vector.len() != wanted.len() {
            return wrong(VectorMismatch::WrongLength { stored: point.vector.len(), wanted: wanted.len() });
        }
        if distance.is_nan() {
            return wrong(VectorMismatch::NoDirection);
        }
        for (task, texts) in &self.other_tasks {
            let is_own = texts.contains(text);
            if is_own && cosine_distance(&self.vector(*task, text), &point.vector) <= VECTOR_TOLERANCE {
                let difference = EmbeddingDifference::OtherTask(task.map(ToOwned::to_owned));
                return is(VectorMatch::Differs(BTreeSet::from([difference])));
            }
        }
        let Some((sent, task)) = self.find(&point.vector) else { return wrong(VectorMismatch::Unrelated) };
        Compared { sent: Some(sent.to_owned()), ..is(self.attribute(point, text, (sent, task), stored)) }
    }

    /// The text, of all that were sent, that has this vector, and its task.
    fn find(&mut self, vector: &[f32]) -> Option<(&'a str, Option<&'a str>)> {
        if self.vectors.is_none() {
            let sent = self.sent().into_iter();
            let vectors = sent.map(|(task, text)| Sent { text, task, vector: self.vector(task, text) }).collect();
            self.vectors = Some(vectors);
        }
        let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
        let is_near = |sent: &&Sent<'_>| {
            let pairs = sent.vector.iter().zip(vector).take(COMPARED_FIRST);
            pairs.fold(true, |near, (left, right)| near && (left - right / length).abs() < NEAR)
        };
        let mut candidates = self.vectors.iter().flatten().filter(is_near);
        let found = candidates.find(|sent| cosine_distance(&sent.vector, vector) <= VECTOR_TOLERANCE)?;
        Some((found.text, found.task))
    }

    /// Whose text the one that was sent is: that of the point, altered, or that of another chunk.
    fn attribute(
        &self,
        point: &Point,
        text: &str,
        (sent, task): (&str, Option<&str>),
        stored: &[Stored<'_>],
    ) -> VectorMatch {
        let merged_sent = merged(sent, &self.observations.contract.chunks);
        let best = stored.iter().filter_map(|chunk| Some((chunk.likeness(sent, &merged_sent)?, chunk)));
        let Some((likeness, owner)) = best.max_by_key(|(likeness, _)| *likeness) else {
            // Nothing is left of what was sent but what stood in front of no text.
            if text.chars().all(is_blank) {
                return VectorMatch::Differs(self.with_task(text_differences(text, sent, true), task));
            }
            return VectorMatch::Wrong(VectorMismatch::OtherText);
        };
        let own = Stored {
            document: owner.document,
            chunk: point.chunk,
            text,
            merged: merged(text, &self.observations.contract.chunks),
        };
        if own.likeness(sent, &merged_sent) != Some(likeness) {
            let (document, chunk) = (owner.document.to_owned(), owner.chunk);
            return VectorMatch::Wrong(VectorMismatch::PairedWith { document, chunk });
        }
        VectorMatch::Differs(self.with_task(text_differences(text, sent, likeness.0 == 0), task))
    }

    /// The differences, with that of the task of the request.
    fn with_task(
        &self,
        mut differences: BTreeSet<EmbeddingDifference>,
        task: Option<&str>,
    ) -> BTreeSet<EmbeddingDifference> {
        if task != self.task() {
            differences.insert(EmbeddingDifference::OtherTask(task.map(ToOwned::to_owned)));
        }
        differences
    }
}

/// How a text that was sent differs from the stored one, of which it is an altered form.
fn text_differences(stored: &str, sent: &str, is_prefixed: bool) -> BTreeSet<EmbeddingDifference> {
    let mut differences = BTreeSet::new();
    if is_prefixed {
        differences.insert(EmbeddingDifference::Prefixed);
        if !sent.trim_end_matches(is_blank).ends_with(stored.trim_matches(is_blank)) {
            differences.insert(EmbeddingDifference::NewlinesReplaced);
        }
    } else if stored != sent {
        let has_newline = |text: &str| text.trim_matches(is_blank).contains(['\n', '\r']);
        differences.insert(if has_newline(stored) && !has_newline(sent) {
            EmbeddingDifference::NewlinesReplaced
        } else {
            EmbeddingDifference::BlanksChanged
        });
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::testing::{TestRun, request};

    const CHUNKS: [&str; 2] = ["First\nchunk. ", "Second chunk."];

    /// A run whose request sent `sent` instead of [`CHUNKS`], and whose points have the vectors of these texts.
    fn sent(sent: &[&str], task: Option<&str>) -> TestRun {
        let run = TestRun::ingested(&[("a.md", &CHUNKS)]);
        let run = run.edit(|seen| {
            let mut with_texts = request(0, sent);
            with_texts.task = task.map(ToOwned::to_owned);
            seen.embeddings.requests = vec![with_texts];
        });
        let vectors: Vec<Vec<f32>> = {
            let assessment = run.assessment();
            let embeddings = &assessment.observations.embeddings;
            sent.iter().map(|text| embeddings.vector_for_task(task, text)).collect()
        };
        run.edit_step(|step| {
            step.points("a.md").iter_mut().zip(vectors).for_each(|(point, vector)| point.vector = vector);
        })
    }

    fn first(run: &TestRun) -> VectorMatch {
        let assessment = run.assessment();
        let step = assessment.observations.last().unwrap();
        let matches = VectorMatches::of(&assessment.observations);
        matches.get("a.md", &step.snapshot.points_of("a.md")[0]).0.clone()
    }

    const TASK: Option<&str> = Some("retrieval.passage");

    #[test]
    fn the_text_that_was_sent_may_differ_from_the_stored_one() {
        use EmbeddingDifference::{BlanksChanged, NewlinesReplaced, OtherTask, Prefixed};
        for (text, task, wanted) in [
            ("First chunk. ", TASK, vec![NewlinesReplaced]),
            ("First\nchunk.", TASK, vec![BlanksChanged]),
            ("file: a.md\n\nFirst\nchunk.", TASK, vec![Prefixed]),
            ("file: a.md First chunk.", TASK, vec![NewlinesReplaced, Prefixed]),
            (CHUNKS[0], None, vec![OtherTask(None)]),
            ("First chunk. ", Some("separation"), vec![NewlinesReplaced, OtherTask(Some("separation".to_owned()))]),
        ] {
            let run = sent(&[text, CHUNKS[1]], task);
            assert_eq!(first(&run), VectorMatch::Differs(wanted.into_iter().collect()), "{text:?} {task:?}");
        }
        assert_eq!(first(&sent(&CHUNKS, TASK)), VectorMatch::Own);
    }

    #[test]
    fn a_vector_of_another_text_is_wrong_and_says_which() {
        let paired = VectorMismatch::PairedWith { document: "a.md".to_owned(), chunk: Some(1) };
        let swapped = sent(&[CHUNKS[1], CHUNKS[0]], TASK);
        assert_eq!(first(&swapped), VectorMatch::Wrong(paired.clone()));
        // A prefix does not hide whose text it is.
        let prefixed = sent(&["file: a.md\n\nSecond chunk.", CHUNKS[0]], TASK);
        assert_eq!(first(&prefixed), VectorMatch::Wrong(paired));
        let summary = sent(&["What the document says", CHUNKS[1]], TASK);
        assert_eq!(first(&summary), VectorMatch::Wrong(VectorMismatch::OtherText));
    }

    #[test]
    fn a_short_text_does_not_own_what_merely_ends_like_it() {
        let run = TestRun::ingested(&[("a.md", &["chunk.", "The second chunk."])]);
        let swapped = run.edit_step(|step| {
            let vector = step.points("a.md")[1].vector.clone();
            step.points("a.md")[0].vector = vector;
        });
        let paired = VectorMismatch::PairedWith { document: "a.md".to_owned(), chunk: Some(1) };
        assert_eq!(first(&swapped), VectorMatch::Wrong(paired));
    }

    #[test]
    fn a_vector_of_no_text_is_told_from_one_without_direction_and_one_of_another_length() {
        let with = |vector: Vec<f32>| {
            let run = TestRun::ingested(&[("a.md", &CHUNKS)]);
            first(&run.edit_step(|step| step.points("a.md")[0].vector = vector))
        };
        assert_eq!(with(vec![0.5; 8]), VectorMatch::Wrong(VectorMismatch::Unrelated));
        assert_eq!(with(vec![0.0; 8]), VectorMatch::Wrong(VectorMismatch::NoDirection));
        assert_eq!(with(vec![0.5; 4]), VectorMatch::Wrong(VectorMismatch::WrongLength { stored: 4, wanted: 8 }));
    }
}
