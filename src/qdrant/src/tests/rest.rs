//! REST.

use super::*;

fn error(answer: &Value) -> &str {
    answer["status"]["error"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn health_needs_no_key_and_everything_else_does() {
    let server = Server::start().await;
    for (path, text) in
        [("/healthz", "healthz check passed"), ("/livez", "healthz check passed"), ("/readyz", "all shards are ready")]
    {
        let response = reqwest::get(server.url(path)).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.text().await.expect("a body"), text);
    }
    let root: Value = reqwest::get(server.url("/")).await.expect("an answer").json().await.expect("JSON");
    assert_eq!(root["title"], "qdrant - vector search engine");

    for path in ["/collections", "/telemetry", "/metrics", "/nowhere"] {
        let response = reqwest::get(server.url(path)).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        let text = response.text().await.expect("a body");
        assert_eq!(text, "Must provide an API key or an Authorization bearer token");
    }
    let bearer = server.client.get(server.url("/collections")).bearer_auth(KEY).send().await.expect("an answer");
    assert_eq!(bearer.status(), StatusCode::OK);
    let wrong = server.client.get(server.url("/collections")).header("api-key", "x").send().await.expect("an answer");
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_created_described_changed_and_deleted() {
    let server = Server::start().await;
    let (status, answer) = server.get("/collections/c").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(error(&answer), "Not found: Collection `c` doesn't exist!");

    server.make("c").await;
    let (status, answer) = server.put("/collections/c", json!({ "vectors": { "size": 4, "distance": "Dot" } })).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(error(&answer), "Wrong input: Collection `c` already exists!");

    let index = json!({ "field_name": "document_id", "field_schema": "keyword" });
    assert_eq!(server.put("/collections/c/index?wait=true", index).await.0, StatusCode::OK);
    server.fill("c", 0..3, "d").await;
    let (_, answer) = server.get("/collections/c").await;
    let info = &answer["result"];
    assert_eq!(info["points_count"], 3);
    assert_eq!(info["optimizer_status"], "ok");
    assert_eq!(info["payload_schema"]["document_id"], json!({ "data_type": "keyword", "points": 3 }));
    assert_eq!(info["config"]["params"]["vectors"], json!({ "size": 4, "distance": "Cosine" }));

    let patch = json!({ "hnsw_config": { "m": 24 }, "strict_mode_config": { "enabled": true } });
    assert_eq!(server.send(Method::PATCH, "/collections/c", Some(patch)).await.0, StatusCode::OK);
    let (_, answer) = server.get("/collections/c/").await;
    assert_eq!(answer["result"]["config"]["hnsw_config"]["m"], 24);
    assert_eq!(answer["result"]["config"]["strict_mode_config"]["enabled"], true);

    assert_eq!(server.get("/collections").await.1["result"], json!({ "collections": [{ "name": "c" }] }));
    assert_eq!(server.get("/collections/c/exists").await.1["result"]["exists"], true);
    assert_eq!(server.send(Method::DELETE, "/collections/c", None).await.1["result"], true);
    assert_eq!(server.send(Method::DELETE, "/collections/c", None).await.1["result"], false);
    assert_eq!(server.get("/collections/c/exists").await.1["result"]["exists"], false);
    // The name is free at once.
    server.make("c").await;
    assert_eq!(server.count("c").await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_vectors_and_payloads_are_stored_can_be_changed() {
    let server = Server::start().await;
    server.make("c").await;
    server.fill("c", 0..50, "d").await;
    let patch = json!({
        "vectors": { "": { "on_disk": true, "hnsw_config": { "m": 8 } } },
        "params": { "on_disk_payload": false },
        "quantization_config": { "scalar": { "type": "int8", "quantile": 0.69 } },
    });
    let (status, answer) = server.send(Method::PATCH, "/collections/c", Some(patch)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let more = json!({ "vectors": { "": { "hnsw_config": { "ef_construct": 50 } } } });
    assert_eq!(server.send(Method::PATCH, "/collections/c", Some(more)).await.0, StatusCode::OK);
    let (_, answer) = server.get("/collections/c").await;
    let config = &answer["result"]["config"];
    assert_eq!(config["params"]["vectors"]["on_disk"], true);
    // Settings that a change does not name are kept.
    assert_eq!(config["params"]["vectors"]["hnsw_config"], json!({ "m": 8, "ef_construct": 50 }));
    assert_eq!(config["params"]["on_disk_payload"], false);
    assert_eq!(config["quantization_config"], json!({ "scalar": { "type": "int8", "quantile": 0.69 } }));
    assert_eq!(server.count("c").await, 50);
    server.fill("c", 50..60, "d").await;
    let query = json!({ "query": [1.0, 3.0, -3.0, 0.5], "limit": 1, "params": { "exact": true } });
    let (_, answer) = server.post("/collections/c/points/query", query).await;
    assert_eq!(answer["result"]["points"][0]["id"], 3);
    let off = json!({ "quantization_config": "Disabled" });
    assert_eq!(server.send(Method::PATCH, "/collections/c", Some(off)).await.0, StatusCode::OK);
    assert_eq!(server.get("/collections/c").await.1["result"]["config"]["quantization_config"], Value::Null);
    assert_eq!(server.count("c").await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_vector_is_refused_whether_or_not_the_client_waits() {
    let server = Server::start().await;
    server.make("c").await;
    for wait in [true, false] {
        let path = format!("/collections/c/points?wait={wait}");
        let (status, answer) = server.put(&path, json!({ "points": [{ "id": 1, "vector": [1.0, 2.0] }] })).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(error(&answer), "Wrong input: Vector dimension error: expected dim: 4, got 2");
        let named = json!({ "points": [{ "id": 1, "vector": { "text": [1.0, 2.0, 3.0, 4.0] } }] });
        let (status, answer) = server.put(&path, named).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(error(&answer), "Wrong input: Not existing vector name error: text");
    }
    let (status, answer) = server.post("/collections/c/points/query", json!({ "query": [1.0] })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert_eq!(server.count("c").await, 0);

    let made = json!({ "vectors": { "text": { "size": 2, "distance": "Dot" } } });
    assert_eq!(server.put("/collections/named", made).await.0, StatusCode::OK);
    let unnamed = json!({ "points": [{ "id": 1, "vector": [1.0, 2.0] }] });
    assert_eq!(server.put("/collections/named/points", unnamed).await.0, StatusCode::BAD_REQUEST);
    let right = json!({ "points": [{ "id": 1, "vector": { "text": [1.0, 2.0] } }] });
    let stored = server.put("/collections/named/points?wait=true", right).await.1;
    assert_eq!(stored["result"]["status"], "completed");
    let (_, answer) = server.get("/collections/named/points/1").await;
    assert_eq!(answer["result"]["vector"], json!({ "text": [1.0, 2.0] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_numbers_or_uuids() {
    let server = Server::start().await;
    server.make("c").await;
    let point = |id: Value| json!({ "points": [{ "id": id, "vector": [1.0, 0.0, 0.0, 0.0], "payload": { "n": 1 } }] });
    let (status, answer) = server.put("/collections/c/points", point(json!("doc:1#3"))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error(&answer).starts_with("Format error in JSON body: "), "{answer}");
    assert!(
        error(&answer).contains("is not a valid point ID, valid values are either an unsigned integer or a UUID"),
        "{answer}"
    );
    let uuid = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    assert_eq!(server.put("/collections/c/points?wait=true", point(json!(uuid))).await.0, StatusCode::OK);
    let (_, answer) = server.get(&format!("/collections/c/points/{uuid}")).await;
    assert_eq!(answer["result"], json!({ "id": uuid, "payload": { "n": 1 }, "vector": [1.0, 0.0, 0.0, 0.0] }));
    assert_eq!(error(&server.get("/collections/c/points/5").await.1), "Not found: Point with id 5 does not exists!");
    assert_eq!(server.get("/collections/c/points/x").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn scrolling_by_pages_returns_every_point_once() {
    let server = Server::start().await;
    server.make("c").await;
    server.fill("c", 0..25, "a").await;
    server.fill("c", 25..30, "b").await;
    let mut offset = Value::Null;
    let mut seen = Vec::new();
    loop {
        let body = json!({
            "limit": 10, "offset": offset, "with_payload": ["chunk_index"],
            "filter": { "must": [{ "key": "document_id", "match": { "value": "a" } }] },
        });
        let (_, answer) = server.post("/collections/c/points/scroll", body).await;
        for point in answer["result"]["points"].as_array().expect("points") {
            assert_eq!(point["payload"], json!({ "chunk_index": point["id"] }));
            assert_eq!(point.get("vector"), None);
            seen.push(point["id"].as_u64().expect("a number"));
        }
        offset = answer["result"]["next_page_offset"].clone();
        if offset.is_null() {
            break;
        }
    }
    assert_eq!(seen, (0..25).collect::<Vec<_>>());
    assert_eq!(server.post("/collections/c/points/scroll", json!({ "limit": 0 })).await.0.as_u16(), 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn points_are_deleted_by_filter_and_by_id_and_payloads_change() {
    let server = Server::start().await;
    server.make("c").await;
    server.fill("c", 0..10, "a").await;
    server.fill("c", 10..14, "b").await;
    let filter = json!({ "filter": { "must": [{ "key": "document_id", "match": { "value": "a" } }] } });
    let (_, answer) = server.post("/collections/c/points/delete?wait=true", filter).await;
    assert_eq!(answer["result"]["status"], "completed");
    assert_eq!(server.count("c").await, 4);
    server.post("/collections/c/points/delete?wait=true", json!({ "points": [10, 11] })).await;
    assert_eq!(server.count("c").await, 2);

    let set = json!({ "payload": { "x": 1 }, "points": [12] });
    assert_eq!(server.post("/collections/c/points/payload?wait=true", set).await.0, StatusCode::OK);
    let (_, answer) = server.post("/collections/c/points", json!({ "ids": [12] })).await;
    let payload = &answer["result"][0]["payload"];
    assert_eq!(*payload, json!({ "document_id": "b", "chunk_index": 12, "x": 1 }));
    let overwrite = json!({ "payload": { "y": 2 }, "points": [12] });
    assert_eq!(server.put("/collections/c/points/payload?wait=true", overwrite).await.0, StatusCode::OK);
    let delete = json!({ "keys": ["chunk_index"], "points": [13] });
    assert_eq!(server.post("/collections/c/points/payload/delete?wait=true", delete).await.0, StatusCode::OK);
    let (_, answer) = server.post("/collections/c/points", json!({ "ids": [12, 13] })).await;
    assert_eq!(answer["result"][0]["payload"], json!({ "y": 2 }));
    assert_eq!(answer["result"][1]["payload"], json!({ "document_id": "b" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_find_the_nearest_points_and_exclude_the_target() {
    let server = Server::start().await;
    server.make("c").await;
    server.fill("c", 0..20, "a").await;
    let query = |body: Value| server.post("/collections/c/points/query", body);
    let (_, answer) = query(json!({ "query": [1.0, 3.0, -3.0, 0.5], "limit": 2, "with_payload": true })).await;
    let points = answer["result"]["points"].as_array().expect("points");
    assert_eq!((points.len(), &points[0]["id"]), (2, &json!(3)));
    assert!((points[0]["score"].as_f64().expect("a score") - 1.0).abs() < 1e-5);
    assert_eq!(points[0]["payload"]["chunk_index"], 3);

    let (_, answer) = query(json!({ "query": 3, "limit": 30, "params": { "exact": true } })).await;
    let points = answer["result"]["points"].as_array().expect("points");
    assert_eq!(points.len(), 19);
    assert!(points.iter().all(|point| point["id"] != 3));

    let (_, answer) = query(json!({ "query": [1.0, 3.0, -3.0, 0.5], "score_threshold": 0.9999, "limit": 20 })).await;
    assert!(answer["result"]["points"].as_array().expect("points").len() < 20);
    let (status, answer) = query(json!({ "query": 99 })).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");

    let search = json!({ "vector": [1.0, 3.0, -3.0, 0.5], "limit": 1, "with_vector": true });
    let (_, answer) = server.post("/collections/c/points/search", search).await;
    assert_eq!(answer["result"][0]["id"], 3);
    assert_eq!(answer["result"][0]["vector"].as_array().map(Vec::len), Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_mode_refuses_filters_without_an_index() {
    let server = Server::start().await;
    server.make("c").await;
    let strict = json!({ "strict_mode_config": {
        "enabled": true, "unindexed_filtering_retrieve": false, "unindexed_filtering_update": false,
    } });
    server.send(Method::PATCH, "/collections/c", Some(strict)).await;
    let filter = json!({ "filter": { "must": [{ "key": "user_id", "match": { "value": "a" } }] } });
    for path in ["scroll", "count", "delete"] {
        let (status, answer) = server.post(&format!("/collections/c/points/{path}"), filter.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(error(&answer).contains(r#"Index required but not found for "user_id""#), "{answer}");
    }
    let index = json!({ "field_name": "user_id", "field_schema": { "type": "keyword" } });
    assert_eq!(server.put("/collections/c/index?wait=true", index).await.0, StatusCode::OK);
    assert_eq!(server.post("/collections/c/points/count", filter).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn unimplemented_endpoints_are_501_and_unknown_ones_404() {
    let server = Server::start().await;
    server.make("c").await;
    for (method, path) in [
        (Method::POST, "/collections/c/shards/0/snapshots"),
        (Method::GET, "/cluster/telemetry"),
        (Method::GET, "/logger"),
        (Method::GET, "/collections/c/memory"),
    ] {
        let (status, answer) = server.send(method, path, Some(json!({}))).await;
        assert_eq!(status, StatusCode::NOT_IMPLEMENTED, "{path}");
        assert!(error(&answer).contains("not implemented by the embedded Qdrant"), "{path}: {answer}");
    }
    assert_eq!(server.get("/nowhere").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_and_oversized_bodies_are_bad_requests() {
    let server = Server::start().await;
    server.make("c").await;
    let send = |body: Vec<u8>| {
        let request = server.client.put(server.url("/collections/c/points")).header("api-key", KEY);
        request.header("content-type", "application/json").body(body).send()
    };
    let response = send(b"{\"points\": [".to_vec()).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let answer: Value = response.json().await.expect("JSON");
    assert!(error(&answer).starts_with("Format error in JSON body: "), "{answer}");

    let response = send(vec![b' '; 33 * 1024 * 1024]).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let answer: Value = response.json().await.expect("JSON");
    assert_eq!(error(&answer), "JSON payload (34603008 bytes) is larger than allowed (limit: 33554432 bytes).");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_another_name_and_is_deleted_with_its_collection() {
    let server = Server::start().await;
    server.make("c").await;
    server.fill("c", 0..2, "a").await;
    let change = |action: Value| server.post("/collections/aliases", json!({ "actions": [action] }));
    let create = json!({ "create_alias": { "collection_name": "c", "alias_name": "live" } });
    assert_eq!(change(create).await.0, StatusCode::OK);
    assert_eq!(server.count("live").await, 2);
    let missing = json!({ "create_alias": { "collection_name": "x", "alias_name": "y" } });
    assert_eq!(change(missing).await.0, StatusCode::NOT_FOUND);
    server.send(Method::DELETE, "/collections/c", None).await;
    assert_eq!(server.get("/aliases").await.1["result"], json!({ "aliases": [] }));
}
