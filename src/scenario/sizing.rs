//! Documents that suit the worker under test: how long they must be is computed from how it cut and batched a long one.

use super::assessment::Assessment;
use super::premises::batches;
use crate::spec::{Documents, Scenario, SizedDocuments, Step};

/// Chunks of the documents that show how a worker batches: more than the limit of 100 texts that a request has, and more
/// than the usual limits of libraries.
const PROBES: [usize; 2] = [260, 1100];
/// Bytes of a chunk if a worker has stored none that tells.
const USUAL_BYTES: usize = 1000;
/// No workload is made of more chunks than this: it would take minutes.
const MOST_CHUNKS: usize = 4000;
/// Deadline of a run with sized documents, in seconds.
const DEADLINE_S: u64 = 120;

/// Where the chunks of boundary documents are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// At the end of a chunk of the long document: right for splitters that fill chunk after chunk.
    AtEnd,
    /// Between the end of a chunk and the beginning of the one after the next: right also for splitters that begin a chunk
    /// at each multiple of a length, even if it has nothing new.
    Between,
}

impl Cut {
    /// In the order in which they are tried.
    pub const ALL: [Self; 2] = [Self::AtEnd, Self::Between];
}

/// How a worker cuts and batches a long document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizing {
    /// The number of texts in a full request.
    full: usize,
    /// The average number of bytes by which a chunk lengthens a document.
    bytes: usize,
    /// Where each chunk of the long document begins and ends, in bytes; empty if its chunks are not parts of its text.
    spans: Vec<(usize, usize)>,
}

/// The scenarios that show how the worker of `seen` batches, the shorter one first.
#[must_use]
pub fn probes(seen: &Assessment) -> [Scenario; 2] {
    let bytes = bytes_per_chunk(seen).unwrap_or(USUAL_BYTES);
    PROBES.map(|chunks| {
        let documents = Documents { beginnings: vec![chunks * bytes], ..Documents::default() };
        Scenario {
            title: format!("A document of about {chunks} chunks"),
            documents,
            steps: vec![Step::Ingest],
            within_s: Some(DEADLINE_S),
            ..Scenario::default()
        }
    })
}

/// The bytes by which a chunk lengthens a document, of the document with the most chunks.
fn bytes_per_chunk(seen: &Assessment) -> Option<usize> {
    let step = seen.observations.steps.first()?;
    let chunks = |id: &str| step.snapshot.points_of(id).len();
    let longest = step.documents.iter().max_by_key(|document| chunks(&document.id))?;
    let count = chunks(&longest.id);
    (count > 1).then(|| (longest.text.len() / count).max(1))
}

impl Sizing {
    /// How the worker cut and batched the document of a [probe](probes). `None` if it sent all chunks in one request.
    #[must_use]
    pub fn learn(probe: &Assessment) -> Option<Self> {
        let full = batches(&probe.observations).full()?;
        let bytes = bytes_per_chunk(probe)?;
        let step = probe.observations.last()?;
        let document = step.documents.first()?;
        let texts: Option<Vec<&str>> =
            step.snapshot.points_of(&document.id).iter().map(|point| point.text.as_deref()).collect();
        let spans = texts.and_then(|texts| locate(&document.text, &texts)).unwrap_or_default();
        Some(Self { full, bytes, spans })
    }

    /// `scenario` with the documents that it has otherwise. `None` if it names none, or if they were too many for a run of a
    /// minute or two.
    #[must_use]
    pub fn scenario(&self, scenario: &Scenario, cut: Cut) -> Option<Scenario> {
        let own = &scenario.documents;
        let mut documents = own.clone();
        let chunks = match scenario.otherwise? {
            SizedDocuments::BatchBoundaries => {
                let sizes = [self.full.saturating_sub(1).max(1), self.full, self.full + 1, 2 * self.full];
                documents = Documents {
                    beginnings: sizes.map(|chunks| self.length(chunks, cut)).to_vec(),
                    ..Documents::default()
                };
                sizes.iter().sum()
            }
            // The last request is half full: a document that is a little shorter still takes as many.
            SizedDocuments::Batches(requests) => {
                let chunks = self.full * usize::try_from(requests).ok()?.saturating_sub(1) + self.full.div_ceil(2);
                self.replace_long(&mut documents, chunks)
            }
            SizedDocuments::Chunks(chunks) => self.replace_long(&mut documents, usize::try_from(chunks).ok()?),
        };
        let within_s = Some(scenario.within_s.unwrap_or(0).max(DEADLINE_S));
        (chunks <= MOST_CHUNKS).then(|| Scenario { documents, within_s, otherwise: None, ..scenario.clone() })
    }

    /// Gives every long document so many chunks, and returns how many that are together.
    fn replace_long(&self, documents: &mut Documents, chunks: usize) -> usize {
        // A tenth more: documents with other words have other chunks.
        let length = chunks * self.bytes + self.bytes * chunks.div_ceil(10);
        documents.beginnings = vec![length; documents.huge];
        documents.rejected_beginnings = vec![length; documents.rejected_late];
        let count = documents.huge + documents.rejected_late;
        (documents.huge, documents.rejected_late) = (0, 0);
        chunks * count
    }

    /// The length in bytes of a beginning of the long text that makes so many chunks.
    fn length(&self, chunks: usize, cut: Cut) -> usize {
        let span = |number: usize| self.spans.get(number).copied();
        let Some((_, end)) = chunks.checked_sub(1).and_then(span) else { return chunks * self.bytes };
        let between = || {
            let (from, until) = (chunks.checked_sub(2).map_or(Some((0, 0)), span)?.1, span(chunks)?.0);
            (from < until).then_some(usize::midpoint(from, until))
        };
        match cut {
            Cut::AtEnd => end,
            Cut::Between => between().unwrap_or(end),
        }
    }
}

/// Where each of `texts` begins and ends in `whole`, in their order; `None` if one of them is not a part of it after the one
/// before.
fn locate(whole: &str, texts: &[&str]) -> Option<Vec<(usize, usize)>> {
    let mut spans = Vec::with_capacity(texts.len());
    let mut from = 0;
    for text in texts {
        let text = text.trim();
        let begin = from + whole.get(from..)?.find(text)?;
        spans.push((begin, begin + text.len()));
        // The next chunk begins after this one, and may overlap it.
        from = whole.ceil_char_boundary(begin + 1);
    }
    Some(spans)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestRun, request};
    use super::*;

    /// The text `0 1 2 3 …` of `count` numbers, in chunks of four of which neighbours share one, in requests of three texts.
    fn probe(count: usize) -> TestRun {
        let words: Vec<String> = (0..count).map(|number| format!("{number:04} ")).collect();
        let chunks: Vec<String> = words.windows(4).step_by(3).map(<[String]>::concat).collect();
        let texts: Vec<&str> = chunks.iter().map(String::as_str).collect();
        let mut run = TestRun::chunked(&words.concat(), &texts);
        run = run.edit(|seen| seen.embeddings.requests = texts.chunks(3).map(|texts| request(0, texts)).collect());
        run
    }

    fn scenario(documents: Documents, otherwise: SizedDocuments) -> Scenario {
        Scenario { documents, otherwise: Some(otherwise), ..Scenario::default() }
    }

    #[test]
    fn the_boundaries_of_batches_are_cut_where_the_worker_cuts() {
        let sizing = Sizing::learn(&probe(31).assessment()).unwrap();
        assert_eq!((sizing.full, sizing.spans.len()), (3, 10));
        let scenario = scenario(Documents { generated: 12, ..Documents::default() }, SizedDocuments::BatchBoundaries);
        let lengths = |cut| sizing.scenario(&scenario, cut).unwrap().documents.beginnings;
        // A chunk ends before its last blank: the second one has the words 3 to 6, the third one 6 to 9.
        assert_eq!(lengths(Cut::AtEnd), [7 * 5 - 1, 10 * 5 - 1, 13 * 5 - 1, 19 * 5 - 1]);
        let between = lengths(Cut::Between);
        assert!(between[1] > 7 * 5 - 1 && between[1] <= 9 * 5, "{between:?}");
        assert_eq!(sizing.scenario(&scenario, Cut::AtEnd).unwrap().documents.generated, 0);
    }

    #[test]
    fn a_worker_that_sends_everything_at_once_has_no_batches() {
        let all = probe(31).edit(|seen| {
            let texts: Vec<String> = seen.embeddings.requests.iter().flat_map(|one| one.texts.to_vec()).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            seen.embeddings.requests = vec![request(0, &texts)];
        });
        assert_eq!(Sizing::learn(&all.assessment()), None);
    }

    #[test]
    fn long_documents_take_so_many_requests() {
        let sizing = Sizing::learn(&probe(301).assessment()).unwrap();
        let own = Documents { generated: 2, huge: 1, rejected_late: 2, ..Documents::default() };
        let sized = sizing.scenario(&scenario(own.clone(), SizedDocuments::Batches(3)), Cut::AtEnd).unwrap().documents;
        assert_eq!((sized.generated, sized.huge, sized.rejected_late), (2, 0, 0));
        assert_eq!((sized.beginnings.len(), sized.rejected_beginnings.len()), (1, 2));
        assert!(sized.beginnings[0] >= 8 * sizing.bytes, "{sized:?}");
        let too_many = scenario(own, SizedDocuments::Chunks(2000));
        assert_eq!(sizing.scenario(&too_many, Cut::AtEnd), None);
    }

    #[test]
    fn chunks_that_are_not_parts_of_the_text_are_estimated() {
        let altered = probe(31).edit_step(|step| {
            for point in step.points("a.md") {
                point.text = Some(format!("passage: {}", point.text.as_deref().unwrap_or_default()));
            }
        });
        let sizing = Sizing::learn(&altered.assessment()).unwrap();
        assert_eq!((sizing.spans.len(), sizing.length(4, Cut::AtEnd)), (0, 4 * sizing.bytes));
    }

    #[test]
    fn probes_have_more_chunks_than_requests_usually_have() {
        let seen = TestRun::chunked(&"a".repeat(3000), &["a", "b", "c"]).assessment();
        let lengths = probes(&seen).map(|probe| probe.documents.beginnings[0]);
        assert_eq!(lengths, [260_000, 1_100_000]);
    }
}
