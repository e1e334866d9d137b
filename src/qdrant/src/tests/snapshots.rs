//! Snapshots restore the content of a collection, and nothing else.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use qdrant_client::Qdrant;
use qdrant_client::qdrant::DeleteSnapshotRequestBuilder;
use sha2::{Digest, Sha256};

use super::*;

async fn take(server: &Server, name: &str) -> Value {
    let (status, answer) = server.post(&format!("/collections/{name}/snapshots"), json!({})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["result"].clone()
}

async fn fetch(server: &Server, name: &str, snapshot: &Value) -> Vec<u8> {
    let url = server.url(&format!("/collections/{name}/snapshots/{}", snapshot["name"].as_str().expect("a name")));
    let response = server.client.get(url).header("api-key", KEY).send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    response.bytes().await.expect("a body").to_vec()
}

async fn upload(server: &Server, path: &str, bytes: &[u8]) -> (StatusCode, Value) {
    upload_as(server, path, "../../up.snapshot", bytes).await
}

async fn upload_as(server: &Server, path: &str, name: &str, bytes: &[u8]) -> (StatusCode, Value) {
    let mut body = format!(
        "--edge\r\nContent-Disposition: form-data; name=\"snapshot\"; filename=\"{name}\"\r\n\
        Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(b"\r\n--edge--\r\n");
    let request = server.client.post(server.url(path)).header("api-key", KEY);
    let request = request.header("content-type", "multipart/form-data; boundary=edge").body(body);
    let response = request.send().await.expect("an answer");
    let status = response.status();
    (status, response.json().await.expect("JSON"))
}

fn error(answer: &Value) -> &str {
    answer["status"]["error"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_created_listed_fetched_and_deleted_over_both_protocols() {
    let server = Server::start().await;
    server.make("c").await;
    server.fill("c", 0..20, "a").await;
    let made = take(&server, "c").await;
    let name = made["name"].as_str().expect("a name").to_owned();
    assert!(name.starts_with("c-") && name.ends_with(".snapshot"), "{name}");
    assert!(made["creation_time"].as_str().expect("a time").contains('T'));
    assert_eq!(server.get("/collections/c/snapshots").await.1["result"], json!([made]));

    let bytes = fetch(&server, "c", &made).await;
    assert_eq!(made["size"], bytes.len());
    let checksum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(made["checksum"], checksum);

    let url = format!("http://{}", server.bound.grpc);
    let client = Qdrant::from_url(&url).api_key(KEY).skip_compatibility_check().build().expect("a client");
    let listed = client.list_snapshots("c").await.expect("listed").snapshot_descriptions;
    assert_eq!((listed[0].name.as_str(), listed[0].checksum.as_deref()), (name.as_str(), Some(checksum.as_str())));
    client.delete_snapshot(DeleteSnapshotRequestBuilder::new("c", &name)).await.expect("deleted");
    assert_eq!(server.get("/collections/c/snapshots").await.1["result"], json!([]));
    let path = format!("/collections/c/snapshots/{name}");
    for method in [Method::GET, Method::DELETE] {
        let (status, answer) = server.send(method, &path, None).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(error(&answer), format!("Not found: Snapshot {name} not found"));
    }
    assert_eq!(server.get("/collections/x/snapshots").await.0, StatusCode::NOT_FOUND);
    let (status, answer) = server.send(Method::POST, "/collections/c/snapshots?wait=false", None).await;
    assert_eq!((status, &answer["status"]), (StatusCode::ACCEPTED, &json!("accepted")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_brings_back_points_settings_and_indexes_also_under_another_name_and_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_in(directory.path()).await;
    server.make("c").await;
    let index = json!({ "field_name": "document_id", "field_schema": "keyword" });
    assert_eq!(server.put("/collections/c/index?wait=true", index).await.0, StatusCode::OK);
    server.fill("c", 0..50, "a").await;
    let made = take(&server, "c").await;
    let before = server.get("/collections/c").await.1["result"].clone();
    server.fill("c", 0..80, "b").await;
    server.stop().await;

    let server = Server::start_in(directory.path()).await;
    let name = made["name"].as_str().expect("a name");
    let file = directory.path().join("snapshots/c").join(name);
    let location = url::Url::from_file_path(&file).expect("a URL");
    let body = json!({ "location": location, "checksum": made["checksum"], "priority": "snapshot" });
    let (status, answer) = server.put("/collections/c/snapshots/recover", body.clone()).await;
    assert_eq!((status, &answer["result"]), (StatusCode::OK, &json!(true)), "{answer}");
    assert_eq!(server.count("c").await, 50);
    let (_, answer) = server.get("/collections/c/points/7").await;
    assert_eq!(answer["result"]["payload"]["document_id"], "a");

    let (status, answer) = server.put("/collections/other/snapshots/recover", body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let after = server.get("/collections/other").await.1["result"].clone();
    assert_eq!(after["config"], before["config"]);
    assert_eq!(after["payload_schema"], before["payload_schema"]);

    let url = server.url(&format!("/collections/c/snapshots/{name}"));
    let body = json!({ "location": url, "api_key": KEY });
    assert_eq!(server.put("/collections/third/snapshots/recover", body).await.0, StatusCode::OK);
    // Writes to a restored collection are newer than its content.
    for name in ["c", "other", "third"] {
        server.fill(name, 40..60, "later").await;
    }
    server.stop().await;

    let server = Server::start_in(directory.path()).await;
    for name in ["c", "other", "third"] {
        assert_eq!(server.count(name).await, 60, "{name}");
        let (_, answer) = server.get(&format!("/collections/{name}/points/45")).await;
        assert_eq!(answer["result"]["payload"]["document_id"], "later", "{name}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_an_indexed_collection_restores_the_index() {
    let server = Server::start().await;
    let body = json!({
        "vectors": { "size": 4, "distance": "Cosine" }, "optimizers_config": { "indexing_threshold": 1 },
    });
    assert_eq!(server.put("/collections/c", body).await.0, StatusCode::OK);
    server.fill("c", 0..500, "a").await;
    let indexed = async |name: &str| {
        let answer = server.get(&format!("/collections/{name}")).await.1;
        let count = answer["result"]["indexed_vectors_count"].as_u64().expect("a number");
        (answer["result"]["status"] == "green").then_some(count)
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while indexed("c").await.unwrap_or_default() == 0 {
        assert!(Instant::now() < deadline, "no index");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let made = take(&server, "c").await;
    let bytes = fetch(&server, "c", &made).await;
    let (status, answer) = upload(&server, "/collections/copy/snapshots/upload", &bytes).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(server.count("copy").await, 500);
    let counts = server.get("/collections/copy").await.1["result"]["indexed_vectors_count"].clone();
    assert_eq!(counts.as_u64(), indexed("c").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_a_recovery_and_the_removal_of_the_old_files_leaves_the_recovered_collection() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_in(directory.path()).await;
    server.make("c").await;
    server.fill("c", 0..5, "a").await;
    let made = take(&server, "c").await;
    let good = fetch(&server, "c", &made).await;
    server.fill("c", 0..9, "b").await;
    let collections = directory.path().join("collections");
    let old = fs::read_dir(&collections).expect("readable").next().expect("one").expect("readable").path();
    let meta = fs::read(old.join("collection.json")).expect("readable");
    assert_eq!(upload(&server, "/collections/c/snapshots/upload", &good).await.0, StatusCode::OK);
    server.stop().await;
    fs::create_dir_all(&old).expect("made");
    fs::write(old.join("collection.json"), meta).expect("written");

    let server = Server::start_in(directory.path()).await;
    assert_eq!(server.count("c").await, 5);
    assert!(!old.exists());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_restores_and_a_damaged_or_foreign_file_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_in(directory.path()).await;
    server.make("c").await;
    server.fill("c", 0..30, "a").await;
    let made = take(&server, "c").await;
    let good = fetch(&server, "c", &made).await;
    server.fill("c", 0..40, "b").await;
    let path = "/collections/c/snapshots/upload";
    let mut flipped = good.clone();
    let place = good.windows(8).rposition(|it| it == b"document").expect("a payload in the archive");
    flipped[place] ^= 1;
    let cut = &good[..good.len() / 2];
    for (what, bytes) in [("flipped", flipped.as_slice()), ("cut", cut), ("text", b"hello"), ("nothing", b"")] {
        let (status, answer) = upload(&server, path, bytes).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{what}: {answer}");
        assert!(error(&answer).starts_with("Bad request: Snapshot is damaged"), "{what}: {answer}");
    }
    let wrong = format!("{path}?checksum={}", "0".repeat(64));
    let (status, answer) = upload(&server, &wrong, &good).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error(&answer).contains("hecksum mismatch"), "{answer}");
    let narrow = json!({ "vectors": { "size": 3, "distance": "Cosine" } });
    server.put("/collections/narrow", narrow).await;
    let (status, answer) = upload(&server, "/collections/narrow/snapshots/upload", &good).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error(&answer).contains("Snapshot is not compatible with existing collection"), "{answer}");
    assert_eq!((server.count("c").await, server.count("narrow").await), (40, 0));
    assert_eq!(fs::read_dir(directory.path().join("collections")).expect("readable").count(), 2, "nothing is left");

    let right = format!("{path}?checksum={}", made["checksum"].as_str().expect("a checksum"));
    let (status, answer) = upload(&server, &right, &good).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(server.count("c").await, 30);
    assert!(directory.path().join("snapshots/c/up.snapshot").exists(), "the name loses its directories");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_taken_during_writes_holds_a_prefix_of_them() {
    let server = Arc::new(Server::start().await);
    server.make("c").await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
        async move {
            let mut id = 0;
            while !stop.load(Ordering::Relaxed) {
                server.fill("c", id..id + 1, "a").await;
                id += 1;
            }
        }
    });
    while server.count("c").await < 20 {}
    let before = server.count("c").await;
    let made = take(&server, "c").await;
    let after = server.count("c").await;
    stop.store(true, Ordering::Relaxed);
    writer.await.expect("no panic");
    let bytes = fetch(&server, "c", &made).await;
    let (status, answer) = upload(&server, "/collections/copy/snapshots/upload", &bytes).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let count = server.count("copy").await;
    // The point being written may or may not be included.
    assert!(before <= count && count <= after + 1, "{before} {count} {after}");
    let last = count - 1;
    assert_eq!(server.get(&format!("/collections/copy/points/{last}")).await.0, StatusCode::OK, "no gap");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_locations_cannot_escape_the_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_in(&directory.path().join("storage")).await;
    server.make("c").await;
    take(&server, "c").await;
    let secret = directory.path().join("secret");
    fs::write(&secret, "secret").expect("written");
    for name in ["..%2F..%2Faliases.json", "%2Fetc%2Fpasswd", "..%2F..%2F..%2Fsecret"] {
        for path in [format!("/collections/c/snapshots/{name}"), format!("/snapshots/{name}")] {
            let (status, answer) = server.get(&path).await;
            assert!(status == StatusCode::NOT_FOUND, "{path}: {status} {answer}");
            assert!(server.send(Method::DELETE, &path, None).await.0 == StatusCode::NOT_FOUND, "{path}");
        }
    }
    let url = format!("http://{}", server.bound.grpc);
    let client = Qdrant::from_url(&url).api_key(KEY).skip_compatibility_check().build().expect("a client");
    for name in ["..", ".", "", "../../aliases.json", "/etc/passwd", "x/../../../peer.json"] {
        let refused = client.delete_snapshot(DeleteSnapshotRequestBuilder::new("c", name)).await;
        let Err(qdrant_client::QdrantError::ResponseError { status }) = refused else { panic!("{refused:?}") };
        assert_eq!(status.code(), tonic::Code::NotFound, "{name}");
    }
    let location = url::Url::from_file_path(&secret).expect("a URL");
    let (status, answer) = server.put("/collections/c/snapshots/recover", json!({ "location": location })).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    std::os::unix::fs::symlink(&secret, directory.path().join("storage/snapshots/c/link.snapshot")).expect("linked");
    let link = url::Url::from_file_path(directory.path().join("storage/snapshots/c/link.snapshot")).expect("a URL");
    let (status, answer) = server.put("/collections/c/snapshots/recover", json!({ "location": link })).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    let missing = json!({ "location": "file:///nowhere/x.snapshot" });
    assert_eq!(server.put("/collections/c/snapshots/recover", missing).await.0, StatusCode::BAD_REQUEST);
    let scheme = json!({ "location": "s3://bucket/x.snapshot" });
    assert_eq!(server.put("/collections/c/snapshots/recover", scheme).await.0, StatusCode::BAD_REQUEST);
    let short = json!({ "location": "file:///x", "checksum": "ab" });
    assert_eq!(server.put("/collections/c/snapshots/recover", short).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_everything_holds_those_of_all_collections() {
    let server = Server::start().await;
    for name in ["one", "two"] {
        server.make(name).await;
        server.fill(name, 0..5, name).await;
    }
    let (status, answer) = server.post("/snapshots", json!({})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let name = answer["result"]["name"].as_str().expect("a name").to_owned();
    assert!(name.starts_with("full-snapshot-"), "{name}");
    assert_eq!(server.get("/snapshots").await.1["result"], json!([answer["result"]]));
    let url = server.url(&format!("/snapshots/{name}"));
    let response = server.client.get(url).header("api-key", KEY).send().await.expect("an answer");
    let bytes = response.bytes().await.expect("a body");
    let mut tar = tar::Archive::new(&bytes[..]);
    let mut names = Vec::new();
    let mut restored = 0;
    for entry in tar.entries().expect("a tar file") {
        let mut entry = entry.expect("readable");
        let path = entry.path().expect("a path").display().to_string();
        if path.starts_with("two-") {
            let mut part = Vec::new();
            std::io::copy(&mut entry, &mut part).expect("read");
            let (status, answer) = upload(&server, "/collections/three/snapshots/upload", &part).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            restored += 1;
        }
        names.push(path);
    }
    assert_eq!((names.len(), restored), (3, 1), "{names:?}");
    assert!(names.contains(&"config.json".to_owned()));
    assert_eq!(server.count("three").await, 5);
    assert_eq!(server.send(Method::DELETE, &format!("/snapshots/{name}"), None).await.1["result"], true);
    assert_eq!(server.get("/snapshots").await.1["result"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_with_the_longest_name_has_snapshots() {
    let server = Server::start().await;
    for name in ["x".repeat(255), ".".repeat(255)] {
        server.make(&name).await;
        server.fill(&name, 0..3, "a").await;
        let made = take(&server, &name).await;
        assert_eq!(server.get(&format!("/collections/{name}/snapshots")).await.1["result"], json!([made]));
        let bytes = fetch(&server, &name, &made).await;
        let (status, answer) = upload(&server, "/collections/copy/snapshots/upload", &bytes).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(server.count("copy").await, 3);
    }
    let (status, answer) = server.post("/snapshots", json!({})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let long = "y".repeat(247);
    let (status, answer) = upload_as(&server, "/collections/copy/snapshots/upload", &long, b"").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error(&answer).contains("at most 246 bytes"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_not_a_snapshot_is_read_up_to_a_limit() {
    let server = Server::start().await;
    let request = server.client.post(server.url("/collections/c/snapshots/upload")).header("api-key", KEY);
    let request = request.header("content-type", "multipart/form-data; boundary=edge");
    let endless = [b"--edge\r\nX-Header: ".as_slice(), &vec![b'x'; 40 * 1024 * 1024]].concat();
    // The server may close the connection before it has read everything.
    let Ok(response) = request.body(endless).send().await else { return };
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let answer: Value = response.json().await.expect("JSON");
    assert!(error(&answer).contains("limit: 33554432 bytes"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_the_engine_cannot_open_are_a_damage_of_the_snapshot() {
    let server = Server::start().await;
    server.make("c").await;
    let bytes = fetch(&server, "c", &take(&server, "c").await).await;
    // Without its segments, and with a list that agrees.
    let mut archive = tar::Builder::new(Vec::new());
    let mut list = json!({ "format": 1, "files": {} });
    for entry in tar::Archive::new(&bytes[..]).entries().expect("a tar file") {
        let mut entry = entry.expect("readable");
        let path = entry.path().expect("a path").display().to_string();
        if path.contains("segments") || path == "files.json" || entry.header().entry_type().is_dir() {
            continue;
        }
        let mut content = Vec::new();
        std::io::copy(&mut entry, &mut content).expect("read");
        let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        list["files"][path.as_str()] = digest.into();
        append(&mut archive, &path, &content);
    }
    append(&mut archive, "files.json", list.to_string().as_bytes());
    let bytes = archive.into_inner().expect("finished");
    let (status, answer) = upload(&server, "/collections/d/snapshots/upload", &bytes).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert!(error(&answer).contains("Snapshot is damaged or not from this server"), "{answer}");
    assert_eq!(server.get("/collections/d/exists").await.1["result"]["exists"], false);
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, path, content).expect("appended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_not_redirected_and_takes_its_key_nowhere_else() {
    use axum::http::header::LOCATION;
    use axum::response::IntoResponse;

    let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let target = format!("http://{}/x.snapshot", elsewhere.local_addr().expect("an address"));
    let answer = (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, format!("{target}?token=secret"))]).into_response();
    let headers = answer.headers().clone();
    let source =
        axum::Router::new().fallback(move || std::future::ready((StatusCode::TEMPORARY_REDIRECT, headers.clone())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, source).await });

    let server = Server::start().await;
    let location = format!("http://user:secret@{address}/x.snapshot?token=secret");
    let body = json!({ "location": location, "api_key": "secret" });
    let (status, answer) = server.put("/collections/c/snapshots/recover", body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert!(error(&answer).contains(&format!("it redirects to {target};")), "{answer}");
    assert!(!error(&answer).contains("secret"), "{answer}");
    let visit = tokio::time::timeout(Duration::from_millis(200), elsewhere.accept()).await;
    assert!(visit.is_err(), "no request is sent there");
}
