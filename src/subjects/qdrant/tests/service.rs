//! Keys and the service endpoints.

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{DeletePointsBuilder, PointId, QueryPointsBuilder, ScrollPointsBuilder};
use tonic::Code;

use super::*;

async fn with_read_key(server: &Server, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = server.client.request(method, server.url(path)).header("api-key", READ_KEY).json(body);
    let response = request.send().await.expect("an answer");
    let status = response.status();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_key_reads_everything_and_changes_nothing() {
    let server = Server::start().await;
    server.make("c").await;
    server.fill("c", 0..3, "a").await;
    for (method, path, body) in [
        (Method::GET, "/collections/c", json!({})),
        (Method::GET, "/metrics", json!({})),
        (Method::GET, "/telemetry", json!({})),
        (Method::GET, "/collections/c/points/1", json!({})),
        (Method::POST, "/collections/c/points", json!({ "ids": [1] })),
        (Method::POST, "/collections/c/points/scroll", json!({})),
        (Method::POST, "/collections/c/points/count", json!({})),
        (Method::POST, "/collections/c/points/query", json!({ "query": [1.0, 1.0, 1.0, 1.0] })),
    ] {
        let (status, answer) = with_read_key(&server, method, path, &body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
    }
    for (method, path, body) in [
        (Method::PUT, "/collections/d", json!({ "vectors": { "size": 4, "distance": "Cosine" } })),
        (Method::PATCH, "/collections/c", json!({})),
        (Method::DELETE, "/collections/c", json!({})),
        (Method::PUT, "/collections/c/points", json!({ "points": [] })),
        (Method::POST, "/collections/c/points/delete", json!({ "points": [1] })),
        (Method::POST, "/collections/aliases", json!({ "actions": [] })),
        (Method::PUT, "/collections/c/index", json!({ "field_name": "a", "field_schema": "keyword" })),
        (Method::POST, "/collections/c/snapshots", json!({})),
        (Method::DELETE, "/issues", json!({})),
    ] {
        let (status, answer) = with_read_key(&server, method.clone(), path, &body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}: {answer}");
        assert_eq!(answer["status"]["error"], "Forbidden: Global manage access is required", "{method} {path}");
    }
    assert_eq!(with_read_key(&server, Method::POST, "/nowhere", &json!({})).await.0, StatusCode::NOT_FOUND);
    let bearer = server.client.delete(server.url("/collections/c")).bearer_auth(READ_KEY).send().await;
    assert_eq!(bearer.expect("an answer").status(), StatusCode::FORBIDDEN);
    assert_eq!(server.count("c").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_key_is_checked_over_grpc_too() {
    let server = Server::start().await;
    server.make("c").await;
    server.fill("c", 0..3, "a").await;
    let url = format!("http://{}", server.bound.grpc);
    let client = Qdrant::from_url(&url).api_key(READ_KEY).skip_compatibility_check().build().expect("a client");
    assert_eq!(client.scroll(ScrollPointsBuilder::new("c")).await.expect("a page").result.len(), 3);
    let query = QueryPointsBuilder::new("c").query(vec![1.0, 1.0, 1.0, 1.0]);
    assert_eq!(client.query(query).await.expect("found").result.len(), 3);
    client.collection_info("c").await.expect("described");
    let refused = client.delete_points(DeletePointsBuilder::new("c").points([PointId::from(1)])).await;
    let Err(qdrant_client::QdrantError::ResponseError { status }) = refused else { panic!("{refused:?}") };
    let said = (status.code(), status.message());
    assert_eq!(said, (Code::PermissionDenied, "Forbidden: Global manage access is required"));
    assert_eq!(server.count("c").await, 3);
}
