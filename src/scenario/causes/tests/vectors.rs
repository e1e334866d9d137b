//! Causes that the stored vectors show.

use super::*;
use crate::scenario::observations::Observations;
use crate::stack::jina::vector_for;

/// A document of four chunks that were embedded by one request, and one of one chunk.
fn run() -> TestRun {
    TestRun::ingested(&[("a.md", &["one. ", "two. ", "three. ", "four."]), ("b.md", &["Only chunk."])])
}

/// The run after the chunks of `a.md` got the vectors of others, by place.
fn with_vectors_of(places: [usize; 4]) -> TestRun {
    run().edit_step(|step| {
        let vectors: Vec<Vec<f32>> = step.points("a.md").iter().map(|point| point.vector.clone()).collect();
        for (point, place) in step.points("a.md").iter_mut().zip(places) {
            point.vector.clone_from(&vectors[place]);
        }
    })
}

/// The run after the texts of the first request became `sent`, and the chunks got their vectors.
fn embedded(run: &TestRun, sent: &[&str]) -> TestRun {
    run.edit(|seen: &mut Observations| {
        seen.embeddings.requests[0].texts = sent.iter().map(ToString::to_string).collect();
        let vectors: Vec<Vec<f32>> =
            sent.iter().map(|text| seen.embeddings.vector_for_task(Some("retrieval.passage"), text)).collect();
        let step = seen.steps.last_mut().unwrap();
        for (point, vector) in step.points("a.md").iter_mut().zip(vectors) {
            point.vector = vector;
        }
    })
}

#[test]
fn vectors_that_are_exchanged_within_a_request_were_paired_by_position() {
    let exchanged = with_vectors_of([1, 0, 3, 2]);
    assert_ids(&exchanged, &["vectors-paired-by-position"]);
    assert_eq!(
        evidence(&exchanged),
        [
            "4 vectors of 1 document with the vectors of other texts of their request: chunk 0 of a.md has the vector of `two. `"
        ]
    );
    assert_ids(&with_vectors_of([1, 2, 0, 3]), &["vectors-paired-by-position"]);
    // Also in a run in which the API shuffles on purpose.
    assert_ids(&with_api_fault(&exchanged), &["vectors-paired-by-position"]);
}

#[test]
fn an_exchange_is_recognised_among_texts_that_were_sent_without_newlines() {
    let run = TestRun::chunked("one\ntwo\nthree\nfour", &["one\ntwo\n", "three\nfour"]);
    let sent = ["one two", "three four"];
    let exchanged = embedded(&run, &sent).edit_step(|step| {
        let points = step.points("a.md");
        let first = points[0].vector.clone();
        points[0].vector = std::mem::replace(&mut points[1].vector, first);
    });
    assert_ids(&exchanged, &["vectors-paired-by-position"]);
}

#[test]
fn vectors_that_are_shifted_or_repeated_were_not_paired_by_position() {
    for places in [[1, 2, 3, 3], [0, 0, 0, 0], [1, 2, 3, 1]] {
        assert_ids(&with_vectors_of(places), &[]);
        assert_ids(&with_api_fault(&with_vectors_of(places)), &["response-unchecked"]);
    }
}

#[test]
fn vectors_of_texts_that_were_sent_apart_are_mixed_up() {
    let mixed = run().edit_step(|step| {
        let foreign = step.points("b.md")[0].vector.clone();
        step.points("a.md")[0].vector = foreign;
    });
    assert_ids(&mixed, &["vectors-of-other-requests"]);
}

#[test]
fn vectors_that_no_text_has_show_no_cause() {
    assert_ids(&run().edit_step(|step| step.points("a.md")[0].vector.reverse()), &[]);
}

#[test]
fn texts_that_were_sent_otherwise_than_they_are_stored_are_told_apart() {
    let run = TestRun::chunked("one\ntwo\nthree", &["one\ntwo\n", "three"]);
    assert_ids(&embedded(&run, &["one two ", "three"]), &["newlines-replaced"]);
    assert_ids(&embedded(&run, &["title: x\n\none\ntwo\n", "title: x\n\nthree"]), &["text-extended"]);
    // Another text, which was sent in the place of the stored one.
    assert_ids(&embedded(&run, &["four five", "six"]), &["vectors-of-other-requests"]);
    assert_ids(&embedded(&run, &["one\ntwo\n", "three"]), &[]);
}

#[test]
fn a_missing_task_and_a_wrong_one_are_named_only_if_a_request_was_sent_like_that() {
    let with_task = |stored: Option<&str>, sent: Option<&str>| {
        run().edit(|seen| {
            let (model, dimensions) = (seen.embeddings.endpoint.model.clone(), seen.embeddings.endpoint.dimensions);
            seen.embeddings.requests.iter_mut().for_each(|request| request.task = sent.map(ToOwned::to_owned));
            for point in seen.steps[0].points("a.md") {
                point.vector = vector_for(&model, dimensions, stored, point.text.as_deref().unwrap());
            }
        })
    };
    let (query, passage) = (Some("retrieval.query"), Some("retrieval.passage"));
    assert_ids(&with_task(None, None), &["task-missing"]);
    assert_ids(&with_task(None, None).edit(|seen| seen.contract.embeddings.task = None), &[]);
    assert_ids(&with_task(query, query), &["task-wrong:retrieval-query"]);
    assert_ids(&with_task(None, passage), &[]);
    assert_ids(&with_task(query, None), &[]);
    assert_ids(&with_task(passage, None), &[]);
}

#[test]
fn vectors_of_zeros_or_of_a_quarter_of_the_size_were_decoded_wrongly() {
    let with_vector = |vector: &[f32]| run().edit_step(|step| step.points("a.md")[0].vector = vector.to_vec());
    assert_ids(&with_vector(&[0.0; 8]), &["vectors-decoded-wrongly:all-numbers-are-zero"]);
    let short = "vectors-decoded-wrongly:2-numbers-instead-of-8-as-when-floats-are-decoded-as-base64";
    assert_ids(&with_vector(&[0.5, 0.5]), &[short]);
    assert_ids(&with_vector(&[0.5, 0.5, 0.5]), &[]);
    // The API may have answered like that itself.
    assert_ids(&with_api_fault(&with_vector(&[0.0; 8])), &[]);
}

#[test]
fn a_quarter_of_the_size_that_qdrant_refuses_was_decoded_wrongly_and_another_size_was_configured() {
    let refused = |got: u32| failed(10, 1, &format!("Wrong input: Vector dimension error: expected dim: 8, got {got}"));
    let short = "vectors-decoded-wrongly:2-numbers-instead-of-8-as-when-floats-are-decoded-as-base64";
    assert_ids(&refused(2), &[short]);
    assert_ids(&refused(16), &["qdrant-vector-size:8-got-16"]);
    // A scenario with answers of a wrong size.
    assert_ids(&with_api_fault(&refused(16)), &[]);
}

#[test]
fn half_of_a_surrogate_pair_is_named_only_for_lost_documents_that_have_pairs() {
    let text = "an anchor \u{2693} and a boat \u{1f6a4}";
    let with = |text: &str, unreadable: &str| {
        TestRun::chunked(text, &[text]).edit_step(|step| step.fail("a.md", "400 Bad Request")).edit(|seen| {
            seen.embeddings.requests[0].unreadable = Some(unreadable.to_owned());
        })
    };
    let lone = "lone leading surrogate in hex escape at line 1 column 9";
    assert_ids(&with(text, lone), &["character-split"]);
    assert_ids(&with("no pair \u{2693}", lone), &[]);
    assert_ids(&with(text, "EOF while parsing a string"), &[]);
    let stored = TestRun::chunked(text, &[text]).edit(|seen| {
        seen.embeddings.requests[0].unreadable = Some(lone.to_owned());
    });
    assert_ids(&stored, &[]);
}
