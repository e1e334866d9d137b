//! Vectors that are added to or removed from an existing collection.

use std::fs;
use std::time::{Duration, Instant};

use qdrant_client::Qdrant;
use qdrant_client::qdrant::create_vector_name_request::VectorConfig;
use qdrant_client::qdrant::{
    CreateVectorNameRequestBuilder, DeleteVectorNameRequestBuilder, DenseVectorCreationConfig,
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_added_and_removed_over_both_protocols_and_survive_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_in(directory.path()).await;
    server.make("c").await;
    server.fill("c", 0..5, "a").await;
    let dense = json!({ "dense": { "size": 2, "distance": "Dot" } });
    let (status, answer) = server.put("/collections/c/vectors/small?wait=true", dense.clone()).await;
    assert_eq!((status, &answer["result"]["status"]), (StatusCode::OK, &json!("completed")), "{answer}");
    assert_eq!(server.put("/collections/c/vectors/small", dense).await.0, StatusCode::OK, "again");
    let other = json!({ "dense": { "size": 3, "distance": "Dot" } });
    let (status, answer) = server.put("/collections/c/vectors/small", other.clone()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer["status"]["error"].as_str().expect("text").contains("with a different configuration"), "{answer}");
    let sparse = json!({ "sparse": { "modifier": "idf" } });
    assert_eq!(server.put("/collections/c/vectors/small", sparse.clone()).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(server.put("/collections/c/vectors/words?wait=true", sparse).await.0, StatusCode::OK);
    assert_eq!(server.put("/collections/x/vectors/small", other).await.0, StatusCode::NOT_FOUND);
    let none = json!({ "dense": { "size": 0, "distance": "Dot" } });
    assert_eq!(server.put("/collections/c/vectors/none", none).await.0, StatusCode::UNPROCESSABLE_ENTITY);

    let points = json!({ "points": [{ "id": 3, "vector": { "small": [1.0, 0.5], "words": { "indices": [7], "values": [1.0] } } }] });
    let (status, answer) = server.put("/collections/c/points/vectors?wait=true", points).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let query = json!({ "query": [1.0, 0.5], "using": "small" });
    let (_, answer) = server.post("/collections/c/points/query", query.clone()).await;
    assert_eq!(answer["result"]["points"][0]["id"], 3, "{answer}");
    let before = server.get("/collections/c").await.1["result"]["config"].clone();
    assert_eq!(before["params"]["vectors"]["small"]["size"], 2);
    assert_eq!(before["params"]["vectors"][""]["size"], 4);
    server.stop().await;

    let server = Server::start_in(directory.path()).await;
    assert_eq!(server.get("/collections/c").await.1["result"]["config"], before);
    let (_, answer) = server.post("/collections/c/points/query", query.clone()).await;
    assert_eq!(answer["result"]["points"][0]["id"], 3, "{answer}");
    let url = format!("http://{}", server.bound.grpc);
    let client = Qdrant::from_url(&url).api_key(KEY).skip_compatibility_check().build().expect("a client");
    let delete = DeleteVectorNameRequestBuilder::new("c", "small").wait(true);
    let answer = client.delete_vector_name(delete).await.expect("deleted");
    assert_eq!(answer.result.expect("a result").status, 2, "completed");
    assert_eq!(server.post("/collections/c/points/query", query).await.0, StatusCode::BAD_REQUEST);
    let dense = DenseVectorCreationConfig { size: 3, distance: 1, ..Default::default() };
    let create = CreateVectorNameRequestBuilder::new("c", "more", VectorConfig::DenseConfig(dense));
    client.create_vector_name(create).await.expect("made");
    server.stop().await;

    let server = Server::start_in(directory.path()).await;
    let after = server.get("/collections/c").await.1["result"]["config"]["params"].clone();
    let names: Vec<&String> = after["vectors"].as_object().expect("vectors").keys().collect();
    assert_eq!(names, ["", "more"]);
    assert_eq!(server.count("c").await, 5);
    server.stop().await;
}

/// Marks the only collection in `storage` as if the server died while it changed its vectors from those of `from` to
/// those of `to`.
fn cut_short(storage: &Path, from: &Value, to: &Value) {
    let mut entries = fs::read_dir(storage.join("collections")).expect("readable");
    let path = entries.next().expect("a collection").expect("readable").path().join("collection.json");
    let mut meta: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
    meta["config"] = from.clone();
    meta["pending"] = to.clone();
    fs::write(&path, meta.to_string()).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_a_vector_is_added_or_removed_leaves_the_collection_without_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_in(directory.path()).await;
    server.make("c").await;
    server.fill("c", 0..5, "a").await;
    let without = server.get("/collections/c").await.1["result"]["config"].clone();
    let dense = json!({ "dense": { "size": 2, "distance": "Dot" } });
    server.put("/collections/c/vectors/v", dense.clone()).await;
    let points = json!({ "points": [{ "id": 3, "vector": { "v": [1.0, 0.5] } }] });
    assert_eq!(server.put("/collections/c/points/vectors?wait=true", points).await.0, StatusCode::OK);
    let with = server.get("/collections/c").await.1["result"]["config"].clone();
    server.stop().await;
    for (from, to) in [(&without, &with), (&with, &without)] {
        cut_short(directory.path(), from, to);
        let server = Server::start_in(directory.path()).await;
        assert_eq!(server.get("/collections/c").await.1["result"]["config"], without);
        assert_eq!(server.count("c").await, 5);
        assert_eq!(server.put("/collections/c/vectors/v", dense.clone()).await.0, StatusCode::OK);
        let (_, answer) = server.post("/collections/c/points", json!({ "ids": [3], "with_vector": ["v"] })).await;
        assert_eq!(answer["result"][0]["vector"], json!({}), "nothing of the old one is left");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indexed_collection_gets_a_vector_and_keeps_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_in(directory.path()).await;
    let body = json!({
        "vectors": { "size": 4, "distance": "Cosine" }, "optimizers_config": { "indexing_threshold": 1 },
    });
    assert_eq!(server.put("/collections/c", body).await.0, StatusCode::OK);
    server.fill("c", 0..500, "a").await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while server.get("/collections/c").await.1["result"]["indexed_vectors_count"] == 0 {
        assert!(Instant::now() < deadline, "no index");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let dense = json!({ "dense": { "size": 2, "distance": "Dot" } });
    let (status, answer) = server.put("/collections/c/vectors/v?wait=true", dense).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let points = json!({ "points": [{ "id": 3, "vector": { "v": [1.0, 0.5] } }] });
    let (status, answer) = server.put("/collections/c/points/vectors?wait=true", points).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    server.stop().await;

    let server = Server::start_in(directory.path()).await;
    assert_eq!(server.count("c").await, 500);
    let query = json!({ "query": [1.0, 0.5], "using": "v" });
    let (_, answer) = server.post("/collections/c/points/query", query).await;
    assert_eq!(answer["result"]["points"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(answer["result"]["points"][0]["id"], 3, "{answer}");
    server.stop().await;
}
