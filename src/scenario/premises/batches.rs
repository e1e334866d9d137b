//! How a worker fills its requests to the embeddings API, from the requests and the points of a scenario run.

use std::collections::BTreeMap;

use super::super::observations::Observations;

/// How this worker fills its requests to the embeddings API.
pub(in crate::scenario) struct Batches<'a> {
    /// The most texts in one request.
    pub(in crate::scenario) most_texts: usize,
    /// The number of chunks by document: the most that any step stored.
    pub(in crate::scenario) chunks: BTreeMap<&'a str, usize>,
}

impl Batches<'_> {
    /// How many texts fill a request. `None` if no document has more chunks than that: the largest request may then have had
    /// room for more.
    pub(in crate::scenario) fn full(&self) -> Option<usize> {
        (self.most_texts > 0 && self.longest().1 > self.most_texts).then_some(self.most_texts)
    }

    /// The document with the most chunks, and their number.
    pub(super) fn longest(&self) -> (&str, usize) {
        self.chunks.iter().max_by_key(|(_, chunks)| **chunks).map_or(("", 0), |(document, chunks)| (document, *chunks))
    }
}

/// How the worker of this run fills its requests.
pub(in crate::scenario) fn batches(observations: &Observations) -> Batches<'_> {
    let mut chunks: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &observations.steps {
        for (document, points) in &step.snapshot.points {
            let most = chunks.entry(document.as_str()).or_default();
            *most = points.len().max(*most);
        }
    }
    let requests = observations.embeddings.requests.iter();
    Batches { most_texts: requests.map(|request| request.texts.len()).max().unwrap_or(0), chunks }
}
