//! Changes of points beyond a plain upsert.

use super::*;

async fn payload(server: &Server, id: u32) -> Value {
    server.get(&format!("/collections/c/points/{id}")).await.1["result"]["payload"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_applies_its_changes_in_order() {
    let server = Server::start().await;
    server.make("c").await;
    let operations = json!({ "operations": [
        { "upsert": { "points": [
            { "id": 1, "vector": [1, 0, 0, 0], "payload": { "a": 1 } },
            { "id": 2, "vector": [0, 1, 0, 0], "payload": { "a": 2 } },
            { "id": 3, "vector": [0, 0, 1, 0], "payload": { "a": 3, "b": { "c": 1 } } },
        ] } },
        { "set_payload": { "payload": { "n": true }, "points": [1, 2] } },
        { "overwrite_payload": { "payload": { "only": 1 }, "points": [2] } },
        { "delete_payload": { "keys": ["b.c"], "points": [3] } },
        { "update_vectors": { "points": [{ "id": 3, "vector": [0, 0, 0, 1] }] } },
        { "clear_payload": { "points": [1] } },
        { "delete": { "filter": { "must": [{ "key": "only", "match": { "value": 1 } }] } } },
    ] });
    let (status, answer) = server.post("/collections/c/points/batch?wait=true", operations).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let results = answer["result"].as_array().expect("results");
    assert_eq!(results.len(), 7);
    assert!(results.iter().all(|result| result["status"] == "completed"), "{answer}");
    assert_eq!(server.count("c").await, 2);
    assert_eq!(payload(&server, 1).await, json!({}));
    assert_eq!(payload(&server, 3).await, json!({ "a": 3, "b": {} }));
    let (_, point) = server.get("/collections/c/points/3").await;
    assert_eq!(point["result"]["vector"], json!([0.0, 0.0, 0.0, 1.0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_strict_mode_forbids_in_part_changes_nothing() {
    let server = Server::start().await;
    server.make("c").await;
    server.fill("c", 0..3, "d").await;
    let patch = json!({ "strict_mode_config": { "enabled": true, "unindexed_filtering_update": false } });
    assert_eq!(server.send(Method::PATCH, "/collections/c", Some(patch)).await.0, StatusCode::OK);
    let operations = json!({ "operations": [
        { "delete": { "points": [0] } },
        { "delete": { "filter": { "must": [{ "key": "chunk_index", "match": { "value": 1 } }] } } },
    ] });
    let (status, answer) = server.post("/collections/c/points/batch?wait=true", operations).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert_eq!(server.count("c").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_of_an_upsert_are_respected() {
    let server = Server::start().await;
    server.make("c").await;
    server.fill("c", 0..2, "old").await;
    let points = json!([
        { "id": 0, "vector": [1, 1, 1, 1], "payload": { "document_id": "new" } },
        { "id": 7, "vector": [1, 1, 1, 1], "payload": { "document_id": "new" } },
    ]);
    let path = "/collections/c/points?wait=true";
    let document = async |id| payload(&server, id).await["document_id"].clone();

    server.put(path, json!({ "points": points, "update_mode": "insert_only" })).await;
    assert_eq!((document(0).await, document(7).await), (json!("old"), json!("new")));

    let update = json!({ "points": [
        { "id": 1, "vector": [1, 1, 1, 1], "payload": { "document_id": "updated" } },
        { "id": 8, "vector": [1, 1, 1, 1], "payload": { "document_id": "updated" } },
    ], "update_mode": "update_only" });
    server.put(path, update).await;
    assert_eq!((document(1).await, server.count("c").await), (json!("updated"), 3));

    let filter = json!({ "must": [{ "key": "document_id", "match": { "value": "updated" } }] });
    let conditional = json!({ "points": [
        { "id": 0, "vector": [1, 1, 1, 1], "payload": { "document_id": "third" } },
        { "id": 1, "vector": [1, 1, 1, 1], "payload": { "document_id": "third" } },
    ], "update_filter": filter });
    server.put(path, conditional).await;
    assert_eq!((document(0).await, document(1).await), (json!("old"), json!("third")));
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_and_inference_features_are_rejected_by_name() {
    let server = Server::start().await;
    server.make("c").await;
    for (body, name) in [
        (json!({ "points": [{ "id": 1, "vector": [1, 1, 1, 1] }], "shard_key": "a" }), "shard_key"),
        (json!({ "points": [{ "id": 1, "vector": { "text": "a", "model": "m" } }] }), "inference"),
    ] {
        let (status, answer) = server.put("/collections/c/points?wait=true", body).await;
        assert_eq!(status, StatusCode::NOT_IMPLEMENTED, "{answer}");
        assert!(answer["status"]["error"].as_str().unwrap_or_default().contains(name), "{answer}");
    }
    let query = json!({ "query": { "text": "a", "model": "m" } });
    let (status, _) = server.post("/collections/c/points/query", query).await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
}
