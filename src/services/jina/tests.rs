//! The client against a local server that answers well, badly and not at all.

use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wiremock::matchers::{body_json, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;

const KEY: &str = "jina_test-key-that-must-stay-hidden";

fn endpoint(base_url: &str) -> JinaEndpoint {
    JinaEndpoint {
        base_url: base_url.to_owned(),
        api_key: Some(SecretString::from(KEY)),
        model: "jina-embeddings-v3".to_owned(),
        dimensions: 2,
    }
}

fn client(server: &MockServer, encoding: Encoding) -> JinaClient {
    let options = JinaOptions { encoding, timeout: Duration::from_secs(5), ..JinaOptions::default() };
    JinaClient::new(&endpoint(&format!("{}/v1/", server.uri())), options).unwrap()
}

fn texts() -> Vec<String> {
    vec!["first secret text".to_owned(), "second secret text".to_owned()]
}

fn body(data: &Value) -> Value {
    json!({ "model": "jina-embeddings-v3", "object": "list", "usage": { "total_tokens": 12 }, "data": data })
}

fn item(index: usize, embedding: impl Into<Value>) -> Value {
    json!({ "object": "embedding", "index": index, "embedding": embedding.into() })
}

fn base64(numbers: &[f32]) -> String {
    use base64::Engine;
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

/// What the client makes of one answer to two texts.
async fn answer(template: ResponseTemplate) -> Result<Embedded, JinaError> {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(template).mount(&server).await;
    client(&server, Encoding::Float).embed(&texts()).await
}

fn success(data: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body(data))
}

#[rstest]
#[case(Encoding::Float, "float")]
#[case(Encoding::Base64, "base64")]
#[tokio::test]
async fn a_request_contains_every_parameter_of_the_vectors(#[case] encoding: Encoding, #[case] name: &str) {
    let server = MockServer::start().await;
    let expected = json!({
        "model": "jina-embeddings-v3", "task": "retrieval.passage", "dimensions": 2, "normalized": true,
        "embedding_type": name, "truncate": false, "input": texts(),
    });
    Mock::given(method("POST"))
        .and(path("/v1/embeddings"))
        .and(header("authorization", format!("Bearer {KEY}")))
        .and(header("content-type", "application/json"))
        .and(header("accept", "application/json"))
        .and(body_json(expected))
        .respond_with(success(&json!([item(0, vec![1.0, 0.0]), item(1, vec![0.0, 1.0])])))
        .expect(1)
        .mount(&server)
        .await;
    client(&server, encoding).embed(&texts()).await.unwrap();
}

#[tokio::test]
async fn without_texts_no_request_is_sent() {
    let client = JinaClient::new(&endpoint("http://127.0.0.1:9/v1"), JinaOptions::default()).unwrap();
    assert_eq!(client.embed(&[]).await.unwrap(), Embedded { vectors: vec![], tokens: 0 });
}

#[tokio::test]
async fn vectors_are_in_the_order_of_the_texts() {
    let embedded = answer(success(&json!([item(1, vec![0.6, 0.8]), item(0, vec![1.0, 0.0])]))).await.unwrap();
    assert_eq!(embedded, Embedded { vectors: vec![vec![1.0, 0.0], vec![0.6, 0.8]], tokens: 12 });
}

#[tokio::test]
async fn base64_is_little_endian_floats() {
    let data = json!([item(0, base64(&[0.6, -0.8])), item(1, base64(&[1.0, 0.0]))]);
    assert_eq!(answer(success(&data)).await.unwrap().vectors, [vec![0.6, -0.8], vec![1.0, 0.0]]);
}

#[tokio::test]
async fn a_response_may_omit_model_and_usage() {
    let data = json!({ "data": [item(0, vec![1.0, 0.0]), item(1, vec![1.0, 0.0])] });
    assert_eq!(answer(ResponseTemplate::new(200).set_body_json(data)).await.unwrap().tokens, 0);
}

#[rstest]
#[case::missing_item(json!([item(0, vec![1.0, 0.0])]), "1 vectors for 2 texts")]
#[case::surplus_item(json!([item(0, vec![1.0, 0.0]), item(1, vec![1.0, 0.0]), item(2, vec![1.0, 0.0])]), "3 vectors")]
#[case::duplicate_index(json!([item(0, vec![1.0, 0.0]), item(0, vec![0.0, 1.0])]), "index 0 appears twice")]
#[case::index_out_of_range(json!([item(0, vec![1.0, 0.0]), item(2, vec![0.0, 1.0])]), "index 2 is out of range for 2 texts")]
#[case::wrong_dimension(json!([item(0, vec![1.0, 0.0]), item(1, vec![1.0])]), "vector 1 has 1 numbers")]
#[case::zero_vector(json!([item(0, vec![1.0, 0.0]), item(1, vec![0.0, 0.0])]), "vector 1 is all zeros")]
#[case::nan(json!([item(0, base64(&[f32::NAN, 0.0])), item(1, vec![1.0, 0.0])]), "not finite")]
#[case::infinite(json!([item(0, vec![1e300, 0.0]), item(1, vec![1.0, 0.0])]), "not finite")]
#[case::null(json!([item(0, json!([null, 1.0])), item(1, vec![1.0, 0.0])]), "wrong type")]
#[case::not_base64(json!([item(0, "?"), item(1, vec![1.0, 0.0])]), "wrong type")]
#[case::half_a_float(json!([item(0, "AAAA"), item(1, vec![1.0, 0.0])]), "wrong type")]
#[tokio::test]
async fn a_success_with_wrong_vectors_is_refused(#[case] data: Value, #[case] problem: &str) {
    let error = answer(success(&data)).await.unwrap_err();
    assert!(matches!(&error, JinaError::Malformed(detail) if detail.contains(problem)), "{error}");
    assert_eq!(error.class(), Class::Retry { after: None });
}

#[rstest]
#[case::empty("", "is truncated")]
#[case::cut_json(r#"{"data":[{"index":0,"#, "is truncated")]
#[case::html("<html>", "is not JSON")]
#[case::literal_nan(r#"{"data":[{"index":0,"embedding":[NaN,1]}]}"#, "is not JSON")]
#[case::no_data("{}", "missing")]
#[case::another_model(r#"{"model":"other","data":[]}"#, "a different model")]
#[tokio::test]
async fn a_malformed_success_is_retried(#[case] text: &str, #[case] problem: &str) {
    let error = answer(ResponseTemplate::new(200).set_body_string(text)).await.unwrap_err();
    assert!(matches!(&error, JinaError::Malformed(detail) if detail.contains(problem)), "{error}");
    assert_eq!(error.class(), Class::Retry { after: None });
}

#[tokio::test]
async fn an_oversized_response_is_refused() {
    let error = answer(ResponseTemplate::new(200).set_body_string(" ".repeat(200_000))).await.unwrap_err();
    assert!(matches!(&error, JinaError::Malformed(detail) if detail.contains("longer than")), "{error}");
}

#[rstest]
#[case::flat(401, json!({ "detail": "no", "code": "AUTH_INVALID_API_KEY", "request_id": "03f5" }), "AUTH_INVALID_API_KEY (request 03f5)", Class::Fatal)]
#[case::nested(400, json!({ "detail": { "message": "no", "code": "INPUT_TOKEN_LIMIT_EXCEEDED" } }), "INPUT_TOKEN_LIMIT_EXCEEDED", Class::Rejected)]
#[case::no_model(400, json!({ "detail": { "code": "INPUT_MODEL_NOT_FOUND" } }), "INPUT_MODEL_NOT_FOUND", Class::Fatal)]
#[case::no_code(422, json!({ "detail": "Validation error" }), "422", Class::Rejected)]
#[case::too_large(413, Value::Null, "413", Class::Rejected)]
#[case::balance(403, json!({ "detail": "no", "code": "AUTHZ_INSUFFICIENT_BALANCE" }), "AUTHZ_INSUFFICIENT_BALANCE", Class::Fatal)]
#[case::payment(402, json!("pay"), "402", Class::Fatal)]
#[case::not_found(404, json!({ "detail": ["no"] }), "404", Class::Fatal)]
#[case::moved(302, Value::Null, "JINA_BASE_URL", Class::Fatal)]
#[case::busy(409, json!({ "code": "CONFLICT_RESOURCE_BUSY" }), "409", Class::Retry { after: None })]
#[case::limited(429, json!({ "code": "RATE_TOKEN_LIMIT_EXCEEDED" }), "RATE_TOKEN_LIMIT_EXCEEDED", Class::Retry { after: None })]
#[case::broken(500, json!({ "detail": { "code": "INTERNAL_ERROR" } }), "INTERNAL_ERROR", Class::Retry { after: None })]
#[case::slow(408, Value::Null, "408", Class::Retry { after: None })]
#[tokio::test]
async fn an_error_has_a_code_and_a_class(
    #[case] status: u16,
    #[case] body: Value,
    #[case] named: &str,
    #[case] class: Class,
) {
    let error = answer(ResponseTemplate::new(status).set_body_json(body)).await.unwrap_err();
    assert!(error.to_string().contains(named), "{error}");
    assert_eq!(error.class(), class);
}

#[tokio::test]
async fn an_error_without_json_keeps_its_status() {
    let error = answer(ResponseTemplate::new(502).set_body_string("<html>Bad gateway</html>")).await.unwrap_err();
    assert_eq!(error, JinaError::Refused { status: 502, code: None, request: None, after: None });
}

#[tokio::test]
async fn an_error_repeats_neither_key_nor_texts() {
    let echo = json!({ "detail": format!("rejected: {}", texts()[0]), "code": format!("key {KEY}"), "input": texts() });
    let error = answer(ResponseTemplate::new(422).set_body_json(echo)).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("secret text") && !shown.contains(KEY), "{shown}");
}

#[rstest]
#[case::seconds("7", 7..=7)]
#[case::date_to_come("Fri, 31 Dec 2100 23:59:59 GMT", 86_400..=86_400)]
#[case::date_gone("Sun, 06 Nov 1994 08:49:37 GMT", 0..=0)]
#[case::absurd("99999999999999999999999", 86_400..=86_400)]
#[tokio::test]
async fn retry_after_is_read_in_both_forms(#[case] value: &str, #[case] expected: std::ops::RangeInclusive<u64>) {
    let error = answer(ResponseTemplate::new(429).insert_header("retry-after", value)).await.unwrap_err();
    let Class::Retry { after: Some(after) } = error.class() else { panic!("{error:?}") };
    assert!(expected.contains(&after.as_secs()), "{after:?}");
}

#[tokio::test]
async fn a_retry_date_is_relative_to_now() {
    let date = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(90);
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let error = answer(ResponseTemplate::new(503).insert_header("retry-after", date.as_str())).await.unwrap_err();
    let Class::Retry { after: Some(after) } = error.class() else { panic!("{error:?}") };
    assert!((80..=90).contains(&after.as_secs()), "{after:?}");
}

#[rstest]
#[case("")]
#[case("soon")]
#[case("-3")]
#[tokio::test]
async fn an_invalid_retry_after_is_ignored(#[case] value: &str) {
    let error = answer(ResponseTemplate::new(429).insert_header("retry-after", value)).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry { after: None });
}

#[tokio::test]
async fn a_truncated_response_is_a_network_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = connection.read(&mut request).await.unwrap();
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"data\":[").await.unwrap();
    });
    let client = JinaClient::new(&endpoint(&base), JinaOptions::default()).unwrap();
    let error = client.embed(&texts()).await.unwrap_err();
    server.await.unwrap();
    assert!(matches!(error, JinaError::Network(_)), "{error}");
    assert_eq!(error.class(), Class::Retry { after: None });
}

#[tokio::test]
async fn a_late_response_times_out() {
    let server = MockServer::start().await;
    let late = success(&json!([])).set_delay(Duration::from_secs(30));
    Mock::given(method("POST")).respond_with(late).mount(&server).await;
    let options = JinaOptions { timeout: Duration::from_millis(100), ..JinaOptions::default() };
    let error = JinaClient::new(&endpoint(&server.uri()), options).unwrap().embed(&texts()).await.unwrap_err();
    assert!(matches!(error, JinaError::Network(_)), "{error}");
}

#[tokio::test]
async fn an_unreachable_address_is_retried_and_names_the_variable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://user:{KEY}@{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let error = JinaClient::new(&endpoint(&base), JinaOptions::default()).unwrap().embed(&texts()).await.unwrap_err();
    assert!(error.to_string().contains("JINA_BASE_URL") && !error.to_string().contains(KEY), "{error}");
    assert_eq!(error.class(), Class::Retry { after: None });
}

#[rstest]
#[case::no_url("api.jina.ai", "jina_key", 2, "JINA_BASE_URL")]
#[case::no_web("ftp://api.jina.ai", "jina_key", 2, "JINA_BASE_URL")]
#[case::line_break("http://127.0.0.1", "jina_\nkey", 2, "JINA_API_KEY")]
#[case::no_dimensions("http://127.0.0.1", "jina_key", 0, "EMBEDDING_DIMENSIONS")]
fn invalid_settings_name_their_variable(
    #[case] base_url: &str,
    #[case] key: &str,
    #[case] dimensions: u32,
    #[case] variable: &str,
) {
    let endpoint = JinaEndpoint { api_key: Some(SecretString::from(key)), dimensions, ..endpoint(base_url) };
    let error = JinaClient::new(&endpoint, JinaOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with(variable) && !error.to_string().contains("jina_"), "{error}");
    assert_eq!(error.class(), Class::Fatal);
}

#[test]
fn a_client_does_not_show_its_key() {
    let client = JinaClient::new(&endpoint(&format!("http://user:{KEY}@127.0.0.1")), JinaOptions::default()).unwrap();
    assert!(!format!("{client:?}").contains(KEY));
}
