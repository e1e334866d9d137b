//! Requests beyond a limit are refused by its name, and the server and its storage stay as they are.

use qdrant_client::Payload;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, Filter, PointStruct, PrefetchQueryBuilder, Query, QueryPointsBuilder,
    UpsertPointsBuilder,
};
use tonic::Code;

use super::durability::copy;
use super::grpc::{client, code};
use super::*;

const TOO_DEEP: &str = "is nested too deeply: at most 32 levels are allowed";

fn error(answer: &Value) -> &str {
    answer["status"]["error"].as_str().unwrap_or_default()
}

/// `innermost` within `levels - 1` more levels.
fn nested(levels: usize, innermost: Value, outer: impl Fn(Value) -> Value) -> Value {
    (1..levels).fold(innermost, |inner, _| outer(inner))
}

fn filter(levels: usize) -> Value {
    let innermost = json!({ "must": [condition()] });
    nested(levels, innermost, |inner| json!({ "must": [inner] }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_may_have_32_levels_wherever_it_is() {
    let server = Server::start().await;
    server.make("c").await;
    server.fill("c", 0..20, "a").await;
    let index = json!({ "field_name": "document_id", "field_schema": "keyword" });
    server.put("/collections/c/index?wait=true", index).await;
    let vector = json!([1.0, 2.0, -2.0, 0.5]);
    let with = |filter: Value| {
        let point = json!({ "id": 1, "vector": vector });
        [
            (Method::POST, "points/scroll", json!({ "filter": filter })),
            (Method::POST, "points/count", json!({ "filter": filter })),
            (Method::POST, "facet", json!({ "key": "document_id", "filter": filter })),
            (Method::POST, "points/search/matrix/pairs", json!({ "filter": filter })),
            (Method::POST, "points/query", json!({ "query": vector, "filter": filter })),
            (
                Method::POST,
                "points/query/groups",
                json!({ "query": vector, "filter": filter, "group_by": "chunk_index" }),
            ),
            (
                Method::POST,
                "points/query",
                json!({ "query": { "fusion": "rrf" }, "prefetch": { "query": vector, "filter": filter } }),
            ),
            (
                Method::POST,
                "points/query",
                json!({ "query": { "formula": { "mult": [filter, 2] } }, "prefetch": { "query": vector } }),
            ),
            (Method::PUT, "points?wait=true", json!({ "points": [point], "update_filter": filter })),
            (Method::PUT, "points/vectors?wait=true", json!({ "points": [point], "update_filter": filter })),
            (Method::POST, "points/payload?wait=true", json!({ "payload": { "a": 1 }, "filter": filter })),
            (Method::PUT, "points/payload?wait=true", json!({ "payload": { "document_id": "a" }, "filter": filter })),
            (Method::POST, "points/payload/delete?wait=true", json!({ "keys": ["a"], "filter": filter })),
            (
                Method::POST,
                "points/batch?wait=true",
                json!({ "operations": [{ "clear_payload": { "filter": { "must": [{ "has_id": [] }, filter] } } }] }),
            ),
            (Method::POST, "points/vectors/delete?wait=true", json!({ "vector": [""], "filter": filter })),
            (Method::POST, "points/delete?wait=true", json!({ "filter": filter })),
        ]
    };
    for (levels, expected) in [(33, StatusCode::BAD_REQUEST), (50, StatusCode::BAD_REQUEST), (31, StatusCode::OK)] {
        for (method, path, body) in with(filter(levels)) {
            let (status, answer) = server.send(method, &format!("/collections/c/{path}"), Some(body)).await;
            assert_eq!(status, expected, "{levels} levels, {path}: {answer}");
            assert!(status == StatusCode::OK || error(&answer).contains(TOO_DEEP), "{path}: {answer}");
        }
    }
    let (status, answer) = server.post("/collections/c/points/count", json!({ "filter": filter(80) })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "beyond what the reader of JSON accepts");
    assert!(error(&answer).ends_with("; at most 127 levels of JSON are allowed"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prefetches_and_formulas_may_have_32_levels() {
    let server = Server::start().await;
    server.make("c").await;
    server.fill("c", 0..20, "a").await;
    let prefetches = |levels| {
        let innermost = json!({ "query": [1.0, 2.0, -2.0, 0.5] });
        nested(levels + 1, innermost, |inner| json!({ "prefetch": inner, "query": { "fusion": "rrf" } }))
    };
    let formula = |levels| {
        let formula = nested(levels, json!("$score"), |inner| json!({ "neg": inner }));
        json!({ "prefetch": { "query": [1.0, 2.0, -2.0, 0.5] }, "query": { "formula": formula } })
    };
    for (levels, expected) in [(32, StatusCode::OK), (33, StatusCode::BAD_REQUEST), (50, StatusCode::BAD_REQUEST)] {
        for body in [prefetches(levels), formula(levels)] {
            let (status, answer) = server.post("/collections/c/points/query", body).await;
            assert_eq!(status, expected, "{levels} levels: {answer}");
            assert!(status == StatusCode::OK || error(&answer).contains(TOO_DEEP), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_part_of_a_nested_query_is_found_as_fast_as_a_right_one() {
    let server = Server::start().await;
    server.make("c").await;
    let wrong = [
        nested(50, json!("wrong"), |inner| json!({ "prefetch": [inner], "query": { "fusion": "rrf" } })),
        nested(50, json!("wrong"), |inner| json!({ "prefetch": inner, "query": { "fusion": "rrf" } })),
        nested(120, json!([1]), |inner| json!([inner])),
        json!({ "filter": nested(50, json!("wrong"), |inner| json!({ "must": [inner] })) }),
        json!({ "filter": nested(50, json!("wrong"), |inner| json!({ "should": inner, "must": condition() })) }),
        json!({ "filter": nested(120, json!([1]), |inner| json!([inner])) }),
        json!({ "filter": nested(30, json!("wrong"), |inner| json!({ "must": { "nested": { "key": "a", "filter": inner } } })) }),
        json!({ "prefetch": {}, "query": { "formula": nested(120, json!("$wrong"), |inner| json!({ "neg": inner })) } }),
    ];
    for body in wrong {
        let began = std::time::Instant::now();
        let (status, answer) = server.post("/collections/c/points/query", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?} for {answer}", began.elapsed());
    }
}

fn condition() -> Value {
    json!({ "key": "document_id", "match": { "value": "a" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_are_the_same_over_grpc() {
    let server = Server::start().await;
    server.make("c").await;
    server.fill("c", 0..20, "a").await;
    let client = client(&server, KEY);
    let filter = |levels: usize| {
        let innermost = Filter::must([Condition::matches("document_id", "a".to_owned())]);
        (1..levels).fold(innermost, |inner, _| Filter::must([Condition::from(inner)]))
    };
    let count = async |levels| client.count(CountPointsBuilder::new("c").filter(filter(levels))).await;
    assert_eq!(count(32).await.expect("counted").result.expect("a result").count, 20);
    let (refused, text) = code(&count(33).await.expect_err("too deep"));
    assert!(refused == Code::InvalidArgument && text.contains(TOO_DEEP), "{refused:?} {text}");
    let (refused, text) = code(&count(80).await.expect_err("too deep"));
    assert_eq!(refused, Code::InvalidArgument);
    assert!(text.ends_with("recursion limit reached: at most 100 messages within each other"), "{text}");

    let query = async |levels: usize| {
        let innermost = PrefetchQueryBuilder::default().query(Query::new_nearest(vec![1.0, 2.0, -2.0, 0.5]));
        let fusion = || Query::new_fusion(qdrant_client::qdrant::Fusion::Rrf);
        let prefetch =
            (1..levels).fold(innermost, |inner, _| PrefetchQueryBuilder::default().add_prefetch(inner).query(fusion()));
        client.query(QueryPointsBuilder::new("c").add_prefetch(prefetch).query(fusion())).await
    };
    assert_eq!(query(32).await.expect("found").result.len(), 10);
    let (refused, text) = code(&query(33).await.expect_err("too deep"));
    assert!(refused == Code::InvalidArgument && text.contains(TOO_DEEP), "{refused:?} {text}");

    let upsert = async |levels| {
        let payload = nested(levels, json!({ "a": 1 }), |inner| json!({ "a": inner }));
        let payload = Payload::try_from(payload).expect("a payload");
        let point = PointStruct::new(50, vec![1.0, 2.0, 3.0, 4.0], payload);
        client.upsert_points(UpsertPointsBuilder::new("c", vec![point]).wait(true)).await
    };
    upsert(30).await.expect("stored");
    assert_eq!(code(&upsert(60).await.expect_err("too deep")).0, Code::InvalidArgument);
    assert_eq!(server.count("c").await, 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_can_be_read_after_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_in(directory.path()).await;
    let sparse = json!({ "vectors": { "size": 4, "distance": "Dot" }, "sparse_vectors": { "sparse": {} } });
    assert_eq!(server.put("/collections/c", sparse).await.0, StatusCode::OK);
    let upsert = async |id: u64, vector: Value, payload: Value| {
        let body = json!({ "points": [{ "id": id, "vector": vector, "payload": payload }] });
        server.put("/collections/c/points?wait=true", body).await
    };
    let vector = json!([1, 2, 3, 4]);
    let payload = |levels| nested(levels, json!({ "a": 1 }), |inner| json!({ "a": inner }));
    let lists = |levels| json!({ "a": nested(levels - 1, json!([1]), |inner| json!([inner])) });
    let too_deep = "the payload is nested too deeply: at most 64 levels are allowed";
    for (id, levels, expected) in [(1, 64, 200), (2, 65, 400), (3, 120, 400)] {
        for payload in [payload(levels), lists(levels)] {
            let (status, answer) = upsert(id, vector.clone(), payload).await;
            assert_eq!(status.as_u16(), expected, "{levels} levels: {answer}");
            assert!(status == StatusCode::OK || error(&answer).contains(too_deep), "{answer}");
        }
    }
    for (parts, expected) in [(4, 200), (5, 400), (3000, 400)] {
        let key = vec!["b"; parts].join(".");
        let body = json!({ "payload": payload(60), "points": [1], "key": key });
        let (status, answer) = server.post("/collections/c/points/payload?wait=true", body).await;
        assert_eq!(status.as_u16(), expected, "a path of {parts} parts: {answer}");
        assert!(status == StatusCode::OK || error(&answer).contains(too_deep), "{answer}");
    }
    for vector in [
        json!({ "sparse": { "indices": [1], "values": [1e39] } }),
        json!([1e39, 0, 0, 0]),
        json!({ "": [0, 0, 0, -1e39] }),
    ] {
        let (status, answer) = upsert(4, vector, json!({})).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
        assert!(error(&answer).contains("must be a finite number of 32 bits"), "{answer}");
    }
    let (status, answer) = server.send(Method::PATCH, "/collections/c", Some(json!({ "metadata": payload(65) }))).await;
    assert_eq!((status, error(&answer).contains("at most 64 levels")), (StatusCode::BAD_REQUEST, true), "{answer}");

    let killed = tempfile::tempdir().expect("a directory");
    copy(directory.path(), killed.path());
    server.stop().await;
    let server = Server::start_in(killed.path()).await;
    assert_eq!(server.count("c").await, 1);
    let (_, answer) = server.get("/collections/c/points/1").await;
    assert_eq!(answer["result"]["payload"]["b"]["b"]["b"]["b"], payload(60), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_record_of_the_journal_is_named_with_its_file_place_and_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_in(directory.path()).await;
    server.make("c").await;
    server.fill("c", 0..3, "a").await;
    let killed = tempfile::tempdir().expect("a directory");
    copy(directory.path(), killed.path());
    server.stop().await;
    let collections = std::fs::read_dir(killed.path().join("collections")).expect("readable");
    let journal = collections.flatten().next().expect("a collection").path().join("journal");
    let mut bytes = std::fs::read(&journal).expect("a journal");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&journal, bytes).expect("written");
    let served = serve(Server::options(killed.path()), CancellationToken::new(), |_| ()).await;
    let error = served.expect_err("refused").to_string();
    assert!(error.contains(&format!("{}: a record is damaged at byte 8", journal.display())), "{error}");
    assert!(error.ends_with("restore it from a copy, or start with an empty directory"), "{error}");
}
