//! Keys and the service endpoints.

use std::collections::BTreeMap;

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{
    DeletePointsBuilder, DeleteShardKeyRequestBuilder, PointId, QueryPointsBuilder, ScrollPointsBuilder,
};
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
    let status_and_text = (status.code(), status.message());
    assert_eq!(status_and_text, (Code::PermissionDenied, "Forbidden: Global manage access is required"));
    assert_eq!(server.count("c").await, 3);
}

/// Samples by name and labels. Checks that every line is valid for Prometheus, and that each family has its metadata
/// once, before its first sample.
fn samples(text: &str) -> BTreeMap<String, String> {
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut samples = BTreeMap::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().expect("a name");
            assert!(rest.len() > family.len() + 1, "no help: {line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, family);
            assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
            assert!(kinds.insert(name, kind).is_none(), "twice: {name}");
        } else {
            let (key, value) = line.rsplit_once(' ').expect("a value");
            let name = key.split('{').next().expect("a name");
            let suffixes: &[&str] = if kinds[family] == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.iter().any(|suffix| name == format!("{family}{suffix}")), "{name} in {family}");
            let labels = key.strip_prefix(name).expect("the rest");
            assert!(labels.is_empty() || (labels.starts_with('{') && labels.ends_with("\"}")), "{line}");
            value.parse::<f64>().expect("a number");
            assert!(samples.insert(key.to_owned(), value.to_owned()).is_none(), "twice: {key}");
        }
    }
    samples
}

async fn metrics(server: &Server, query: &str) -> String {
    let Value::String(text) = server.get(&format!("/metrics{query}")).await.1 else { panic!("no text") };
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_valid_for_prometheus_and_count_requests() {
    let server = Server::start().await;
    let body =
        json!({ "vectors": { "a": { "size": 2, "distance": "Dot" }, "b\"\\": { "size": 2, "distance": "Dot" } } });
    server.put("/collections/c", body).await;
    let points = json!({ "points": [
        { "id": 1, "vector": { "a": [1.0, 2.0], "b\"\\": [1.0, 2.0] } }, { "id": 2, "vector": { "a": [1.0, 2.0] } },
    ] });
    assert_eq!(server.put("/collections/c/points?wait=true", points).await.0, StatusCode::OK);
    for _ in 0..3 {
        server.count("c").await;
    }
    server.post("/collections/missing/points/count", json!({})).await;
    let text = metrics(&server, "").await;
    let found = samples(&text);
    assert_eq!(found["collections_total"], "1");
    assert_eq!(found["collection_points{id=\"c\"}"], "2");
    assert_eq!(found["collection_vectors{collection=\"c\",vector=\"a\"}"], "2");
    assert_eq!(found["collection_vectors{collection=\"c\",vector=\"b\\\"\\\\\"}"], "1");
    assert_eq!(found["collections_vector_total"], "3");
    let labels = "method=\"POST\",endpoint=\"/collections/{collection_name}/points/count\"";
    assert_eq!(found[&format!("rest_responses_total{{{labels},status=\"200\"}}")], "3");
    assert_eq!(found[&format!("rest_responses_total{{{labels},status=\"404\"}}")], "1");
    let name = "rest_responses_duration_seconds_bucket";
    let bucket = |end: &str| found[&format!("{name}{{{labels},status=\"200\",le=\"{end}\"}}")].clone();
    assert_eq!((bucket("50").as_str(), bucket("+Inf").as_str()), ("3", "3"));
    let [first, second] = ["0.001", "0.005"].map(|end| bucket(end).parse::<u64>().expect("a number"));
    assert!(first <= second, "cumulative");
    #[cfg(target_os = "linux")]
    for name in
        ["process_threads", "process_open_fds", "process_max_fds", "process_open_mmaps", "memory_resident_bytes"]
    {
        assert!(found[name].parse::<u64>().expect("a number") > 1, "{name}");
    }
    let found = samples(&metrics(&server, "?per_collection=true").await);
    assert_eq!(found[&format!("rest_responses_total{{{labels},status=\"200\",collection=\"c\"}}")], "3");
    assert!(!found.keys().any(|key| key.contains("missing")));
    let hidden = metrics(&server, "?anonymize=true").await;
    samples(&hidden);
    assert!(!hidden.contains("id=\"c\"") && !hidden.contains("vector=\"a\""), "{hidden}");

    let url = format!("http://{}", server.bound.grpc);
    let client = Qdrant::from_url(&url).api_key(KEY).skip_compatibility_check().build().expect("a client");
    client.scroll(ScrollPointsBuilder::new("c")).await.expect("a page");
    client.scroll(ScrollPointsBuilder::new("missing")).await.expect_err("refused");
    let found = samples(&metrics(&server, "").await);
    let endpoint = "endpoint=\"/qdrant.Points/Scroll\"";
    let of = |status: i32| found[&format!("grpc_responses_total{{{endpoint},status=\"{status}\"}}")].clone();
    assert_eq!((of(0).as_str(), of(5).as_str()), ("1", "1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_returns_more_at_higher_levels() {
    let server = Server::start().await;
    server.make("secret").await;
    server.fill("secret", 0..3, "a").await;
    let result = |answer: (StatusCode, Value)| answer.1["result"].clone();
    let least = result(server.get("/telemetry").await);
    assert_eq!(least["app"]["version"], crate::VERSION);
    assert_eq!(least["collections"], json!({ "number_of_collections": 1 }));
    assert_eq!(least["cluster"]["enabled"], false);
    assert_eq!(least["requests"]["rest"]["responses"]["PUT /collections/{collection_name}"]["200"]["count"], 1);
    let some = result(server.get("/telemetry?details_level=1").await);
    assert_eq!(some["collections"]["collections"][0]["vectors"], 3);
    let more = result(server.get("/telemetry?details_level=4&per_collection=true").await);
    assert_eq!(more["id"], least["id"]);
    let collection = &more["collections"]["collections"][0];
    assert_eq!((&collection["id"], &collection["shards"][0]["local"]["num_points"]), (&json!("secret"), &json!(3)));
    let per = &more["requests"]["rest"]["per_collection_responses"]["secret"];
    assert_eq!(per["PUT /collections/{collection_name}/points"]["200"]["count"], 1);
    let hidden = result(server.get("/telemetry?details_level=4&per_collection=true&anonymize=true").await);
    assert!(!hidden.to_string().contains("secret"), "{hidden}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_endpoints_answer_as_a_standalone_server() {
    let server = Server::start().await;
    server.make("c").await;
    server.fill("c", 0..3, "a").await;
    assert_eq!(server.get("/cluster").await.1["result"], json!({ "status": "disabled" }));
    assert_eq!(server.get("/issues").await.1["result"], json!({ "issues": [] }));
    assert_eq!(server.get("/collections/c/shards").await.1["result"], json!({}));
    assert_eq!(server.get("/locks").await.0, StatusCode::NOT_FOUND, "1.19 has no such path");
    let quotas = server.get("/quotas").await.1["result"].clone();
    assert_eq!(quotas["config"], json!({ "enabled": false }));
    let cluster = server.get("/collections/c/cluster").await.1["result"].clone();
    let shards = json!([{ "shard_id": 0, "points_count": 3, "state": "Active" }]);
    assert_eq!((&cluster["shard_count"], &cluster["local_shards"]), (&json!(1), &shards));
    for (method, path) in [
        (Method::POST, "/collections/c/cluster"),
        (Method::PUT, "/collections/c/shards"),
        (Method::POST, "/collections/c/shards/delete"),
        (Method::DELETE, "/cluster/peer/1"),
        (Method::POST, "/cluster/recover"),
        (Method::GET, "/cluster/metadata/keys"),
        (Method::PUT, "/cluster/metadata/keys/k"),
    ] {
        let (status, answer) = server.send(method, path, Some(json!({}))).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer["status"]["error"], "Qdrant is running in standalone mode");
    }
    let (status, answer) = server.get("/collections/c/optimizations").await;
    assert_eq!((status, &answer["result"]["running"]), (StatusCode::OK, &json!([])));
    assert_eq!(server.get("/collections/c/optimizations?with=queued").await.0, StatusCode::NOT_IMPLEMENTED);
    assert_eq!(server.get("/collections/c/optimizations?with=x").await.0, StatusCode::BAD_REQUEST);

    let url = format!("http://{}", server.bound.grpc);
    let client = Qdrant::from_url(&url).api_key(KEY).skip_compatibility_check().build().expect("a client");
    let info = client.collection_cluster_info("c").await.expect("an answer");
    assert_eq!((Some(info.peer_id), info.local_shards[0].points_count), (cluster["peer_id"].as_u64(), 3));
    let refused = client.delete_shard_key(DeleteShardKeyRequestBuilder::new("c")).await;
    let Err(qdrant_client::QdrantError::ResponseError { status }) = refused else { panic!("{refused:?}") };
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, "Qdrant is running in standalone mode"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standard_health_service_serves_without_a_key() {
    let server = Server::start().await;
    let endpoint = format!("http://{}", server.bound.grpc);
    let endpoint = tonic::transport::Endpoint::from_shared(endpoint).expect("an address");
    let channel = endpoint.connect().await.expect("connected");
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    for service in ["", "qdrant.Points", "qdrant.Collections"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        assert_eq!(health.check(request).await.expect("an answer").into_inner().status, 1, "{service}");
    }
}
