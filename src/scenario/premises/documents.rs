//! Premises about documents: how many chunks they have, how their chunks fill requests, and their former versions.

use super::batches::{Batches, batches};
use super::run::Run;
use super::seen::{Seen, counted};

/// How many documents a message lists.
const LISTED: usize = 4;

impl Run<'_> {
    pub(super) fn any_run(&self) -> Seen {
        let documents: usize = self.observations.steps.iter().map(|step| step.documents.len()).sum();
        Seen::at_least(1, documents, format!("{} ingested", was(documents, "document")))
    }

    pub(super) fn chunks(&self, least: u64) -> Seen {
        let batches = batches(self.observations);
        let (document, chunks) = batches.longest();
        if chunks as u64 >= least {
            return Seen::new(true, format!("{document} has {}", counted(chunks, "chunk")));
        }
        Seen::new(false, format!("no document has more than {}", counted(chunks, "chunk")))
    }

    pub(super) fn full_batches(&self) -> Seen {
        let batches = batches(self.observations);
        let Some(full) = batches.full() else { return no_full_request(&batches) };
        let filling: Vec<String> = batches
            .chunks
            .iter()
            .filter(|(_, chunks)| **chunks > 0 && chunks.is_multiple_of(full))
            .map(|(document, chunks)| format!("{document} has {}", counted(*chunks, "chunk")))
            .collect();
        if filling.is_empty() {
            return Seen::new(
                false,
                format!("a full request has {}, and no document has a multiple of that", counted(full, "text")),
            );
        }
        let listed: Vec<&str> = filling.iter().take(LISTED).map(String::as_str).collect();
        let more = filling.len().saturating_sub(LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Seen::new(true, format!("a full request has {}; {}{more}", counted(full, "text"), listed.join(", ")))
    }

    pub(super) fn batches(&self, least: u64) -> Seen {
        let batches = batches(self.observations);
        let Some(full) = batches.full() else { return no_full_request(&batches) };
        let (document, chunks) = batches.longest();
        let requests = chunks.div_ceil(full);
        let what = format!("{document} has {} and takes {}", counted(chunks, "chunk"), counted(requests, "request"));
        Seen::at_least(least, requests, what)
    }

    pub(super) fn former_points(&self) -> Seen {
        let Some((last, before)) = self.observations.steps.split_last() else {
            return Seen::new(false, "no step was run");
        };
        let had_points = |document: &&str| before.iter().any(|step| !step.snapshot.points_of(document).is_empty());
        let documents = last.documents.iter().map(|document| document.id.as_str());
        let number = documents.filter(had_points).count();
        Seen::at_least(1, number, format!("{} of the last step had points before it", counted(number, "document")))
    }

    pub(super) fn fewer_chunks(&self) -> Seen {
        let [.., before, last] = self.observations.steps.as_slice() else {
            return Seen::new(false, "there was no step before the last one");
        };
        let count = |id: &str| (before.snapshot.points_of(id).len(), last.snapshot.points_of(id).len());
        let documents = last.documents.iter().map(|document| (document.id.as_str(), count(&document.id)));
        let shrunk = documents.filter(|(_, (before, after))| after < before);
        match shrunk.max_by_key(|(_, (before, after))| before - after) {
            Some((document, (before, after))) => {
                Seen::new(true, format!("{document} had {} and has {after} now", counted(before, "chunk")))
            }
            None => Seen::new(false, "every document has at least as many chunks as before"),
        }
    }
}

/// No document takes several requests.
fn no_full_request(batches: &Batches<'_>) -> Seen {
    let (_, chunks) = batches.longest();
    Seen::new(
        false,
        format!(
            "no document takes several requests: the largest request has {}, and no document has more than {}",
            counted(batches.most_texts, "text"),
            counted(chunks, "chunk")
        ),
    )
}

/// `1 document was`, `3 documents were`.
fn was(number: usize, noun: &str) -> String {
    format!("{} {}", counted(number, noun), if number == 1 { "was" } else { "were" })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{TestRun, request};
    use super::super::testing::premise;

    /// A run with documents of these numbers of chunks, in requests of at most `full` texts.
    fn batched(full: usize, chunks: &[usize]) -> TestRun {
        let texts: Vec<String> =
            (0..chunks.iter().copied().max().unwrap_or(0)).map(|at| format!("text {at}")).collect();
        let ids: Vec<String> = (0..chunks.len()).map(|number| format!("{number}.md")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let documents: Vec<(&str, &[&str])> =
            ids.iter().zip(chunks).map(|(id, count)| (id.as_str(), &texts[..*count])).collect();
        TestRun::ingested(&documents).edit(|seen| {
            seen.embeddings.requests = chunks
                .iter()
                .flat_map(|count| texts[..*count].chunks(full).map(|texts| request(0, texts)).collect::<Vec<_>>())
                .collect();
        })
    }

    #[test]
    fn any_run_with_a_document_is_enough() {
        premise("{ any_run = \"a reason\" }")
            .met_by(&TestRun::two_documents(), "2 documents were ingested")
            .unmet_by(&TestRun::ingested(&[]), "0 documents were ingested");
    }

    #[test]
    fn the_longest_document_has_enough_chunks() {
        premise("{ chunks = 5 }")
            .met_by(&batched(2, &[3, 5]), "1.md has 5 chunks")
            .unmet_by(&batched(2, &[3, 4]), "no document has more than 4 chunks");
    }

    #[test]
    fn a_request_is_known_to_be_full_only_if_a_document_takes_several() {
        premise("\"full_batches\"")
            .met_by(&batched(2, &[1, 4, 5]), "a full request has 2 texts; 1.md has 4 chunks")
            .unmet_by(&batched(2, &[1, 3, 5]), "a full request has 2 texts, and no document has a multiple of that")
            // Every document fits into one request, and so the largest request may not have been full.
            .unmet_by(
                &batched(100, &[7, 3]),
                "no document takes several requests: the largest request has 7 texts, and no document has more than 7 \
                 chunks",
            )
            .met_by(&batched(1, &[1, 2]), "a full request has 1 text; 0.md has 1 chunk, 1.md has 2 chunks");
    }

    #[test]
    fn a_document_takes_several_requests() {
        premise("{ batches = 3 }")
            .met_by(&batched(4, &[9]), "0.md has 9 chunks and takes 3 requests")
            .unmet_by(&batched(4, &[8]), "0.md has 8 chunks and takes 2 requests")
            .unmet_by(
                &batched(100, &[8]),
                "no document takes several requests: the largest request has 8 texts, and no document has more than 8 \
                 chunks",
            );
    }

    #[test]
    fn documents_of_the_last_step_had_points() {
        let run = TestRun::two_documents();
        premise("\"former_points\"")
            .met_by(&run.then(|step| step.remove("a.md")), "1 document of the last step had points before it")
            .unmet_by(&run, "0 documents of the last step had points before it");
    }

    #[test]
    fn a_version_has_fewer_chunks_than_the_one_before() {
        let run = TestRun::two_documents();
        let shorter = run.then(|step| drop(step.points("a.md").pop()));
        premise("\"fewer_chunks\"")
            .met_by(&shorter, "a.md had 2 chunks and has 1 now")
            .unmet_by(&run.then(|_| {}), "every document has at least as many chunks as before")
            .unmet_by(&run, "there was no step before the last one");
    }
}
