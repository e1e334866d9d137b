//! Data after a restart and after a kill.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

/// Copies the storage as it is now: the files have at this moment what a SIGKILL would leave.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_points_settings_indexes_and_aliases() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_in(directory.path()).await;
    server.make("c").await;
    server.fill("c", 0..50, "a").await;
    server
        .put("/collections/c/index?wait=true", json!({ "field_name": "document_id", "field_schema": "keyword" }))
        .await;
    let create = json!({ "create_alias": { "collection_name": "c", "alias_name": "live" } });
    server.post("/collections/aliases", json!({ "actions": [create] })).await;
    let before = server.get("/collections/c").await.1["result"].clone();
    let began = Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "took {:?}", began.elapsed());

    let server = Server::start_in(directory.path()).await;
    assert_eq!(server.count("live").await, 50);
    let after = server.get("/collections/c").await.1["result"].clone();
    assert_eq!(after["config"], before["config"]);
    assert_eq!(after["payload_schema"], before["payload_schema"]);
    // Changes after a restart are newer than those before it.
    server.fill("c", 0..50, "b").await;
    let (_, answer) = server.get("/collections/c/points/7").await;
    assert_eq!(answer["result"]["payload"]["document_id"], "b");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_keeps_every_acknowledged_write() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_in(directory.path()).await;
    server.make("c").await;
    server.fill("c", 0..100, "a").await;
    server.fill("c", 50..60, "b").await;
    server.post("/collections/c/points/delete?wait=true", json!({ "points": [0, 1, 2] })).await;
    let killed = tempfile::tempdir().expect("a directory");
    copy(directory.path(), killed.path());
    server.stop().await;

    let server = Server::start_in(killed.path()).await;
    assert_eq!(server.count("c").await, 97);
    for (id, document) in [(49, "a"), (50, "b"), (59, "b"), (60, "a")] {
        let (_, answer) = server.get(&format!("/collections/c/points/{id}")).await;
        assert_eq!(answer["result"]["payload"]["document_id"], document, "{answer}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_existing_and_missing_points_has_the_same_effect_after_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_in(directory.path()).await;
    server.make("c").await;
    server.fill("c", 0..5, "a").await;
    let changes = [
        (Method::POST, "payload", json!({ "payload": { "n": 1 }, "points": [1, 99] })),
        (Method::PUT, "payload", json!({ "payload": { "n": 2 }, "points": [99, 2] })),
        (Method::POST, "payload/delete", json!({ "keys": ["document_id"], "points": [3, 99] })),
        (Method::POST, "payload/clear", json!({ "points": [99, 4] })),
        (
            Method::PUT,
            "vectors",
            json!({ "points": [{ "id": 0, "vector": [0, 0, 0, 1] }, { "id": 99, "vector": [0, 0, 0, 1] }] }),
        ),
    ];
    for (method, path, body) in changes {
        let (status, answer) =
            server.send(method, &format!("/collections/c/points/{path}?wait=true"), Some(body)).await;
        assert!(status == StatusCode::NOT_FOUND || status == StatusCode::OK, "{path}: {status} {answer}");
    }
    let all = json!({ "with_payload": true, "with_vector": true });
    let before = server.post("/collections/c/points/scroll", all.clone()).await.1["result"].clone();
    let killed = tempfile::tempdir().expect("a directory");
    copy(directory.path(), killed.path());
    server.stop().await;
    let server = Server::start_in(killed.path()).await;
    assert_eq!(server.post("/collections/c/points/scroll", all).await.1["result"], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_built_in_the_background_and_a_kill_meanwhile_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_in(directory.path()).await;
    let body = json!({
        "vectors": { "size": 64, "distance": "Cosine" }, "optimizers_config": { "indexing_threshold": 100 },
    });
    assert_eq!(server.put("/collections/c", body).await.0, StatusCode::OK);
    let index = json!({ "field_name": "document_id", "field_schema": "keyword" });
    server.put("/collections/c/index?wait=true", index).await;
    for batch in 0..4_u32 {
        let points: Vec<Value> = (batch * 500..(batch + 1) * 500)
            .map(|id| {
                let vector: Vec<f64> = (0..64).map(|i| f64::from((id * 31 + i * 17) % 97) - 48.0).collect();
                json!({ "id": id, "vector": vector, "payload": { "document_id": format!("d{}", id % 10) } })
            })
            .collect();
        let (status, answer) = server.put("/collections/c/points?wait=true", json!({ "points": points })).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    until("the index is built", async || {
        let (_, answer) = server.get("/collections/c").await;
        assert_ne!(answer["result"]["status"], "red", "{answer}");
        answer["result"]["status"] == "green" && answer["result"]["indexed_vectors_count"].as_u64() > Some(1000)
    })
    .await;
    // Changes to points that are now in the finished segment.
    let filter = json!({ "filter": { "must": [{ "key": "document_id", "match": { "value": "d3" } }] } });
    server.post("/collections/c/points/delete?wait=true", filter.clone()).await;
    let set = json!({ "payload": { "document_id": "moved" }, "points": [14] });
    server.post("/collections/c/points/payload?wait=true", set).await;
    let killed = tempfile::tempdir().expect("a directory");
    copy(directory.path(), killed.path());
    server.stop().await;

    let server = Server::start_in(killed.path()).await;
    assert_eq!(server.count("c").await, 1800);
    let (_, answer) = server.post("/collections/c/points/count", filter).await;
    assert_eq!(answer["result"]["count"], 0);
    let (_, answer) = server.get("/collections/c/points/14").await;
    assert_eq!(answer["result"]["payload"]["document_id"], "moved");
    let (_, answer) = server.get("/collections/c").await;
    assert_eq!(answer["result"]["payload_schema"]["document_id"]["data_type"], "keyword");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn remains_of_an_interrupted_deletion_are_removed_at_the_next_start() {
    let directory = tempfile::tempdir().expect("a directory");
    Server::start_in(directory.path()).await.stop().await;
    let remains = directory.path().join("collections/half");
    fs::create_dir_all(remains.join("shard")).expect("made");
    fs::write(remains.join("removed.json"), "{}").expect("written");
    Server::start_in(directory.path()).await.stop().await;
    assert!(!remains.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options {
        host: [127, 0, 0, 1].into(),
        http_port: taken.local_addr().expect("an address").port(),
        grpc_port: 0,
        storage: directory.path().to_owned(),
        api_key: None,
        read_only_api_key: None,
        tls: None,
    };
    let error = serve(options, CancellationToken::new(), |_| ()).await.expect_err("refused");
    assert!(error.to_string().contains(&taken.local_addr().expect("an address").to_string()), "{error}");
}
