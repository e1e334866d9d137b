//! The mock over HTTP, as a worker uses it.

use crate::services::http_client;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rstest::rstest;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::*;

struct Answered {
    status: u16,
    retry_after: Option<String>,
    text: String,
    body: Value,
}

async fn mock(behaviours: Vec<Behaviour>) -> JinaMock {
    JinaMock::start(JinaConfig { behaviours, seed: 1, ..JinaConfig::default() }).await.unwrap()
}

fn always(answer: Answer) -> Vec<Behaviour> {
    vec![Behaviour { when: When::All, answer }]
}

async fn try_ask(mock: &JinaMock, body: &Value) -> reqwest::Result<Answered> {
    let endpoint = mock.endpoint();
    let key = endpoint.api_key.unwrap();
    let client = http_client::builder().no_proxy().timeout(Duration::from_millis(700)).build()?;
    let url = format!("{}/embeddings", endpoint.base_url);
    let response = client.post(url).bearer_auth(key.expose_secret()).json(body).send().await?;
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or_default();
    Ok(Answered { status, retry_after, text, body })
}

async fn ask(mock: &JinaMock, body: &Value) -> Answered {
    try_ask(mock, body).await.unwrap()
}

fn body(texts: &[&str]) -> Value {
    json!({ "model": "jina-embeddings-v3", "task": "retrieval.passage", "dimensions": 64, "input": texts })
}

fn indices(answered: &Answered) -> Vec<u64> {
    answered.body["data"].as_array().unwrap().iter().map(|item| item["index"].as_u64().unwrap()).collect()
}

fn floats(item: &Value) -> Vec<f32> {
    serde_json::from_value(item["embedding"].clone()).unwrap()
}

#[tokio::test]
async fn items_come_in_order_unless_shuffled_and_each_index_leads_to_the_vector_of_its_text() {
    let config = JinaConfig { dimensions: 64, ..JinaConfig::default() };
    let mock = JinaMock::start(config).await.unwrap();
    let texts = ["one", "two", "three", "four", "five"];
    let answered = ask(&mock, &body(&texts)).await;
    assert_eq!(answered.status, 200);
    assert_eq!(indices(&answered), [0, 1, 2, 3, 4]);
    assert!(!mock.requests()[0].disturbed);

    mock.behave(always(Answer::Shuffled));
    let answered = ask(&mock, &body(&texts)).await;
    let order = indices(&answered);
    assert_ne!(order, [0, 1, 2, 3, 4]);
    assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), (0..5).collect());
    for item in answered.body["data"].as_array().unwrap() {
        let text = texts[usize::try_from(item["index"].as_u64().unwrap()).unwrap()];
        assert_eq!(floats(item), mock.vector_for(Some("retrieval.passage"), text));
    }
    assert_eq!(answered.body["model"], "jina-embeddings-v3");
    assert_eq!(answered.body["usage"], json!({ "total_tokens": 5 }));

    let log = mock.requests();
    assert_eq!(log.len(), 2);
    assert_eq!(*log[1].texts, texts.map(str::to_owned));
    assert_eq!((log[1].status, log[1].tokens, log[1].in_flight, log[1].authorised), (200, 5, 1, true));
    assert_eq!(log[1].task.as_deref(), Some("retrieval.passage"));
    assert!(log[1].disturbed);
}

#[tokio::test]
async fn base64_contains_the_vector_as_little_endian_floats() {
    let mock = mock(Vec::new()).await;
    let mut request = body(&["text"]);
    let plain = ask(&mock, &request).await;
    request["embedding_type"] = json!("base64");
    let packed = ask(&mock, &request).await;
    let bytes = STANDARD.decode(packed.body["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let vector: Vec<f32> = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(vector, floats(&plain.body["data"][0]));

    // Clients of OpenAI call it `encoding_format`; Jina's own name comes first.
    let mut request = body(&["text"]);
    request["encoding_format"] = json!("base64");
    assert_eq!(ask(&mock, &request).await.body, packed.body);
    assert_eq!(mock.requests()[2].embedding_type.as_deref(), Some("base64"));
    request["embedding_type"] = json!("float");
    assert_eq!(ask(&mock, &request).await.body, plain.body);

    request["embedding_type"] = json!("ubinary");
    let signs = ask(&mock, &request).await.body["data"][0]["embedding"].as_array().unwrap().clone();
    assert_eq!(signs.len(), 8);
    assert_eq!(signs[0].as_u64().unwrap() >= 128, vector[0] > 0.0);
}

#[tokio::test]
async fn usage_reports_prompt_tokens_only_where_the_real_service_does() {
    let mock = mock(Vec::new()).await;
    let mut request = body(&["one"]);
    request["input"] = json!([{ "text": "one" }]);
    assert_eq!(ask(&mock, &request).await.body["usage"]["prompt_tokens"], 1);
    request["model"] = json!("jina-embeddings-v4");
    assert_eq!(ask(&mock, &request).await.body["usage"].get("prompt_tokens"), None);
}

#[rstest]
#[case::unknown_model(json!({ "model": "jina-embeddings-v9" }), 400, "INPUT_MODEL_NOT_FOUND")]
#[case::task_of_another_model(json!({ "task": "clustering" }), 422, "body -> task")]
#[case::too_many_dimensions(json!({ "dimensions": 1025 }), 422, "body -> dimensions")]
#[case::no_dimensions_at_all(json!({ "dimensions": 0 }), 422, "body -> dimensions")]
#[case::empty_list(json!({ "input": [] }), 422, "body -> input")]
#[case::empty_text(json!({ "input": ["a", ""] }), 422, "body -> input")]
#[case::no_text(json!({ "input": [{ "image": "x" }] }), 422, "body -> input")]
#[case::number(json!({ "input": 7 }), 422, "body -> input")]
#[case::long_list_v3(json!({ "input": vec!["a"; 2049] }), 400, "at most 2048 items")]
#[case::long_list_v4(json!({ "model": "jina-embeddings-v4", "input": vec!["a"; 513] }), 400, "at most 512 items")]
#[case::long_text(json!({ "input": ["a ".repeat(9000)] }), 400, "INPUT_TOKEN_LIMIT_EXCEEDED")]
#[case::late_chunking_over_the_context(
    json!({ "late_chunking": true, "input": ["a ".repeat(5000), "b ".repeat(5000)] }), 400, "INPUT_TOKEN_LIMIT_EXCEEDED"
)]
#[case::encoding(json!({ "embedding_type": "hex" }), 422, "body -> embedding_type")]
#[case::list_of_encodings(json!({ "embedding_type": ["float"] }), 500, "INTERNAL_ERROR")]
#[tokio::test]
async fn an_invalid_request_is_refused_as_by_the_real_service(
    #[case] change: Value,
    #[case] status: u16,
    #[case] says: &str,
) {
    let mock = mock(Vec::new()).await;
    let mut request = body(&["text"]);
    for (name, value) in change.as_object().unwrap() {
        request[name] = value.clone();
    }
    let answered = ask(&mock, &request).await;
    assert_eq!(answered.status, status, "{}", answered.text);
    assert!(answered.text.contains(says), "{}", answered.text);
    assert!(answered.text.contains("request_id"), "{}", answered.text);
    assert_eq!(mock.requests()[0].status, status);
}

#[tokio::test]
async fn truncate_cuts_a_long_text_and_ignores_its_tail() {
    let mock = mock(Vec::new()).await;
    let long = "a ".repeat(8300);
    let mut request = body(&[&format!("{long}one"), &format!("{long}two")]);
    request["truncate"] = json!(true);
    let answered = ask(&mock, &request).await;
    assert_eq!(answered.status, 200, "{}", answered.text);
    assert_eq!(floats(&answered.body["data"][0]), floats(&answered.body["data"][1]));
}

#[rstest]
#[case(None, "AUTH_MISSING_API_KEY")]
#[case(Some("Basic abc"), "AUTH_INVALID_FORMAT")]
#[case(Some("Bearer jina_wrong"), "AUTH_INVALID_API_KEY")]
#[tokio::test]
async fn an_invalid_key_is_refused(#[case] header: Option<&str>, #[case] code: &str) {
    let mock = mock(Vec::new()).await;
    let client = http_client::builder().no_proxy().build().unwrap();
    for (method, path) in [(reqwest::Method::POST, "embeddings"), (reqwest::Method::GET, "models")] {
        let mut request = client.request(method, format!("{}/{path}", mock.endpoint().base_url)).json(&body(&["a"]));
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401);
        assert_eq!(response.json::<Value>().await.unwrap()["code"], code);
    }
    assert!(!mock.requests()[0].authorised);
    assert_eq!(mock.endpoint().api_key.unwrap().expose_secret().len(), 65);
}

#[tokio::test]
async fn a_behaviour_counts_requests_and_can_be_replaced() {
    let error = Answer::Status { code: 503, body: Body::Jina, retry_after: RetryAfter::None };
    let mock = mock(vec![Behaviour { when: When::First(2), answer: error.clone() }]).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(ask(&mock, &body(&["a"])).await.status);
    }
    mock.behave(vec![Behaviour { when: When::Nth(1), answer: error }]);
    for _ in 0..2 {
        statuses.push(ask(&mock, &body(&["a"])).await.status);
    }
    assert_eq!(statuses, [503, 503, 200, 503, 200]);
    assert_eq!(mock.request_count(), 5);
    assert_eq!(mock.requests_from(4).len(), 1);
}

#[rstest]
#[case::code(Body::Code("RATE_TOKEN_LIMIT_EXCEEDED".to_owned()), RetryAfter::Seconds(7), "RATE_TOKEN_LIMIT_EXCEEDED")]
#[case::jina(Body::Jina, RetryAfter::HttpDate(60), "RATE_REQUEST_LIMIT_EXCEEDED")]
#[case::html(Body::Html, RetryAfter::None, "<h1>429</h1>")]
#[case::empty(Body::Empty, RetryAfter::None, "")]
#[tokio::test]
async fn an_error_has_the_configured_body_and_header(
    #[case] body_kind: Body,
    #[case] retry_after: RetryAfter,
    #[case] says: &str,
) {
    let mock = mock(always(Answer::Status { code: 429, body: body_kind, retry_after })).await;
    let answered = ask(&mock, &body(&["a"])).await;
    assert_eq!(answered.status, 429);
    assert!(answered.text.contains(says) && answered.text.is_empty() == says.is_empty(), "{}", answered.text);
    match (retry_after, answered.retry_after) {
        (RetryAfter::None, None) => {}
        (RetryAfter::Seconds(_), Some(value)) => assert_eq!(value, "7"),
        (RetryAfter::HttpDate(_), Some(value)) => {
            let then = chrono::NaiveDateTime::parse_from_str(&value, "%a, %d %b %Y %H:%M:%S GMT").unwrap().and_utc();
            let seconds = (then - chrono::Utc::now()).num_seconds();
            assert!((57..=60).contains(&seconds), "{value}");
        }
        (wanted, seen) => panic!("wanted {wanted:?}, saw {seen:?}"),
    }
    assert!(mock.requests()[0].disturbed);
}

#[rstest]
#[case::missing(Answer::MissingItem, |answered: &Answered| indices(answered).len() == 2)]
#[case::extra(Answer::ExtraItem, |answered: &Answered| indices(answered).len() == 4)]
#[case::empty(Answer::EmptyData, |answered: &Answered| indices(answered).is_empty())]
#[case::shuffled(Answer::Shuffled, |answered: &Answered| indices(answered) != [0, 1, 2])]
#[case::twice_the_same_index(Answer::WrongIndex, |answered: &Answered| {
    indices(answered).iter().copied().collect::<BTreeSet<_>>().len() == 2
})]
#[case::wrong_size(Answer::WrongDimensions(63), |answered: &Answered| floats(&answered.body["data"][0]).len() == 63)]
#[case::another_model(Answer::WrongModel, |answered: &Answered| answered.body["model"] != "jina-embeddings-v3")]
#[case::not_a_number(Answer::Nan, |answered: &Answered| answered.text.contains("[null,"))]
#[case::zero(Answer::ZeroVector, |answered: &Answered| {
    let data = answered.body["data"].as_array().unwrap();
    data.iter().filter(|item| floats(item).iter().all(|value| *value == 0.0)).count() == 1
})]
#[case::same(Answer::SameVector, |answered: &Answered| {
    let data = &answered.body["data"];
    data[0]["embedding"] == data[1]["embedding"] && data[1]["embedding"] == data[2]["embedding"]
})]
#[case::no_json(Answer::Malformed, |answered: &Answered| answered.body.is_null() && !answered.text.is_empty())]
#[case::half(Answer::Truncated, |answered: &Answered| answered.body.is_null() && answered.text.contains("\"embedding\":[") )]
#[tokio::test]
async fn an_altered_answer_is_a_success_with_invalid_content(
    #[case] answer: Answer,
    #[case] holds: fn(&Answered) -> bool,
) {
    let mock = mock(always(answer)).await;
    let answered = ask(&mock, &body(&["one", "two", "three"])).await;
    assert_eq!(answered.status, 200);
    assert!(holds(&answered), "{}", answered.text);
    assert!(mock.requests()[0].disturbed);
}

#[tokio::test]
async fn a_hanging_answer_never_comes() {
    let hanging = mock(always(Answer::Hang)).await;
    let error = try_ask(&hanging, &body(&["one"])).await.err().unwrap();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(hanging.requests()[0].status, 0);
}

#[tokio::test]
async fn delays_add_up_and_show_as_requests_in_flight() {
    let delay = |ms| Behaviour { when: When::All, answer: Answer::Delay { ms, jitter: 0 } };
    let mock = mock(vec![delay(60), delay(60)]).await;
    let begun = Instant::now();
    let request = body(&["a"]);
    futures::future::join_all((0..3).map(|_| ask(&mock, &request))).await;
    assert!(begun.elapsed() >= Duration::from_millis(120));
    let in_flight: Vec<u32> = mock.requests().iter().map(|request| request.in_flight).collect();
    assert_eq!(in_flight, [1, 2, 3]);
}

#[tokio::test]
async fn limits_refuse_with_429() {
    let limits = Limits { rpm: Some(1), ..Limits::default() };
    let mock = JinaMock::start(JinaConfig { limits, ..JinaConfig::default() }).await.unwrap();
    assert_eq!(ask(&mock, &body(&["a"])).await.status, 200);
    let refused = ask(&mock, &body(&["a"])).await;
    assert_eq!((refused.status, &refused.body["code"]), (429, &json!("RATE_REQUEST_LIMIT_EXCEEDED")));
    assert!(mock.requests()[1].disturbed);
}

#[tokio::test]
async fn unknown_paths_are_not_found_and_invalid_json_is_refused() {
    let mock = mock(Vec::new()).await;
    let key = mock.endpoint().api_key.unwrap();
    let client = http_client::builder().no_proxy().build().unwrap();
    let url = mock.endpoint().base_url;
    assert_eq!(client.get(format!("{url}/rerank")).send().await.unwrap().status(), 404);
    let request = client.post(format!("{url}/embeddings")).bearer_auth(key.expose_secret()).body("{");
    assert_eq!(request.send().await.unwrap().status(), 400);
    let models: Value = client
        .get(format!("{url}/models"))
        .bearer_auth(key.expose_secret())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(models["data"].as_array().unwrap().iter().any(|model| model["id"] == "jina-embeddings-v3"));
}
