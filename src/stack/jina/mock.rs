//! The mock server.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::behaviour::{Effect, retry_after};
use super::limits::Window;
use super::log::JinaRequest;
use super::request::{self, RawRequest, Refusal, ValidRequest};
use super::vector::{Rng, unit};
use super::{answer, model};
use crate::settings::JinaEndpoint;
use crate::spec::jina::{Answer, Behaviour, Limits};
use crate::stack::error::StackError;
use crate::stack::ports;
use crate::stack::random::random_word;

/// How long a hanging request is held. The client gives up long before.
const HANG: Duration = Duration::from_hours(24);

/// The configuration of the mock.
#[derive(Debug, Clone)]
pub struct JinaConfig {
    /// The model that [`JinaEndpoint`] names. The mock knows all of Jina's, and this one.
    pub model: String,
    /// The vector size that [`JinaEndpoint`] names.
    pub dimensions: u32,
    /// The key that the mock accepts: `jina_` and 60 characters, like a real one.
    pub key: SecretString,
    /// The seed for the order of items, for jitter and for the choice of altered items.
    pub seed: u64,
    /// Its faults.
    pub behaviours: Vec<Behaviour>,
    /// The rate limits of the key.
    pub limits: Limits,
}

impl Default for JinaConfig {
    /// `jina-embeddings-v3` with 1024 dimensions, a new random key, no limits, no faults.
    fn default() -> Self {
        Self {
            model: "jina-embeddings-v3".to_owned(),
            dimensions: 1024,
            key: SecretString::from(format!("jina_{}", random_word(60))),
            seed: 0,
            behaviours: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// A running mock. It stops listening when it is dropped.
#[derive(Debug)]
pub struct JinaMock {
    endpoint: JinaEndpoint,
    shared: Arc<Shared>,
    server: Option<MockServer>,
}

#[derive(Debug)]
struct Shared {
    config: JinaConfig,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    behaviours: Arc<[Behaviour]>,
    limits: Limits,
    /// Requests for embeddings since the behaviours were set.
    arrived: u64,
    /// When the answers in flight will have been sent.
    in_flight: Vec<Instant>,
    window: Window,
    rng: Rng,
    log: Vec<JinaRequest>,
}

impl JinaMock {
    /// Starts a mock on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port can be listened on.
    pub async fn start(config: JinaConfig) -> Result<Self, StackError> {
        Ok(Self::start_on(ports::listen("jina", None)?, config).await)
    }

    /// Starts a mock on an existing listener.
    pub async fn start_on(listener: TcpListener, config: JinaConfig) -> Self {
        // Unpacking the vocabulary takes time: it must delay neither the first request nor the start of the others.
        std::thread::spawn(|| request::count_tokens("warm"));
        // wiremock keeps each matched request in memory besides; its own record of all is turned off.
        let server = MockServer::builder().listener(listener).disable_request_recording().start().await;
        let endpoint = JinaEndpoint {
            base_url: format!("{}/v1", server.uri()),
            api_key: Some(config.key.clone()),
            model: config.model.clone(),
            dimensions: config.dimensions,
        };
        let state = State {
            behaviours: config.behaviours.clone().into(),
            limits: config.limits.clone(),
            arrived: 0,
            in_flight: Vec::new(),
            window: Window::default(),
            rng: Rng::new(config.seed),
            log: Vec::new(),
        };
        let shared = Arc::new(Shared { config, started: Instant::now(), state: Mutex::new(state) });
        Mock::given(any()).respond_with(Responder(Arc::clone(&shared))).mount(&server).await;
        Self { endpoint, shared, server: Some(server) }
    }

    /// Its endpoint.
    #[must_use]
    pub fn endpoint(&self) -> JinaEndpoint {
        self.endpoint.clone()
    }

    /// Every request for embeddings so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<JinaRequest> {
        self.requests_from(0)
    }

    /// The requests from number `first` on, counted from 0: to follow the log.
    #[must_use]
    pub fn requests_from(&self, first: usize) -> Vec<JinaRequest> {
        self.shared.state().log.get(first..).unwrap_or_default().to_vec()
    }

    /// When it was started: times in its log are relative to this.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.shared.started
    }

    /// The number of requests for embeddings so far.
    #[must_use]
    pub fn request_count(&self) -> usize {
        self.shared.state().log.len()
    }

    /// The correct vector for `text` with `task` and the configured model and dimensions.
    #[must_use]
    pub fn vector_for(&self, task: Option<&str>, text: &str) -> Vec<f32> {
        vector_for(&self.endpoint.model, self.endpoint.dimensions, task, text)
    }

    /// Replaces the behaviours and restarts the count of requests.
    pub fn behave(&self, behaviours: Vec<Behaviour>) {
        let mut state = self.shared.state();
        state.behaviours = behaviours.into();
        state.arrived = 0;
    }

    /// Replaces the rate limits. What was used before does not count.
    pub fn limit(&self, limits: Limits) {
        let mut state = self.shared.state();
        state.limits = limits;
        state.window = Window::default();
    }
}

/// The vector that a mock with `model` and `dimensions` returns for `text` with `task`.
#[must_use]
pub fn vector_for(model: &str, dimensions: u32, task: Option<&str>, text: &str) -> Vec<f32> {
    unit(model, &request::effective_task(model, task), dimensions, text)
}

impl Drop for JinaMock {
    /// Runs on its own thread: the library waits for a lock in a loop, which never ends in a task that has used up its
    /// cooperative budget of tokio, as a task that drops many mocks has.
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            // A panic there comes from the verification of the library, which is not used.
            let _ = std::thread::spawn(move || drop(server)).join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks the key.
    fn authorise(&self, request: &Request) -> Result<(), Refusal> {
        let Some(header) = request.headers.get("authorization") else {
            return Err(Refusal::new(401, "AUTH_MISSING_API_KEY", "Missing API key."));
        };
        match header.to_str().unwrap_or_default().split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => {
                if key.trim() == self.config.key.expose_secret() {
                    Ok(())
                } else {
                    Err(Refusal::new(401, "AUTH_INVALID_API_KEY", "Invalid API key. Verify your API key."))
                }
            }
            _ => Err(Refusal::new(401, "AUTH_INVALID_FORMAT", "The Authorization header must be `Bearer <key>`.")),
        }
    }

    /// Answers a request for embeddings and records it in the log.
    fn embeddings(&self, request: &Request) -> ResponseTemplate {
        let arrived = Instant::now();
        let body: Result<Value, serde_json::Error> = serde_json::from_slice(&request.body);
        let unreadable = body.as_ref().err().map(ToString::to_string);
        let body = body.ok();
        let raw = body.as_ref().map(request::parse).unwrap_or_default();
        let authorised = self.authorise(request);

        let mut state = self.state();
        state.arrived += 1;
        state.in_flight.retain(|end| *end > arrived);
        let in_flight = u32::try_from(state.in_flight.len() + 1).unwrap_or(u32::MAX);
        let behaviours = Arc::clone(&state.behaviours);
        let nth = state.arrived;
        let effect = Effect::combine(&behaviours, nth, &raw.texts, &mut state.rng);
        let id = format!("{:016x}", state.rng.next_u64());

        let mut log = self.log_entry(arrived, &raw, &effect);
        (log.in_flight, log.authorised) = (in_flight, authorised.is_ok());
        log.unreadable = unreadable;
        let template = match (authorised, effect.replacement) {
            (Err(refusal), _) => {
                log.status = refusal.status;
                answer::refusal(&refusal, &id)
            }
            (Ok(()), Some(Answer::Hang)) => {
                state.log.push(log);
                return ResponseTemplate::new(200).set_delay(HANG);
            }
            (Ok(()), Some(replacement)) => {
                let success = || self.success_body(body.as_ref(), &raw);
                let (status, template) = answer::replacement(replacement, &id, success);
                log.status = status;
                if let Answer::Status { retry_after: header, .. } = replacement {
                    log.wait_ms = retry_after(*header).and_then(|(_, wait)| wait);
                }
                template
            }
            (Ok(()), None) => match self.validate(body.as_ref(), &raw) {
                Err(refusal) => {
                    log.status = refusal.status;
                    answer::refusal(&refusal, &id)
                }
                Ok(valid) => {
                    let limits = &state.limits.clone();
                    let template = match state.window.admit(limits, arrived, valid.tokens, in_flight) {
                        Ok(()) => {
                            (log.status, log.tokens) = (200, valid.tokens);
                            answer::success(&valid, &effect, &mut state.rng)
                        }
                        Err(exceeded) => {
                            (log.status, log.disturbed) = (429, true);
                            answer::refusal(&Refusal::new(429, exceeded.code, exceeded.detail), &id)
                        }
                    };
                    let headers = state.window.headers(limits).into_iter();
                    headers.fold(template, |template, (name, value)| template.insert_header(name, value))
                }
            },
        };
        state.in_flight.push(Instant::now() + effect.delay);
        state.log.push(log);
        if effect.delay.is_zero() { template } else { template.set_delay(effect.delay) }
    }

    /// The log entry of a request that has not been answered yet.
    fn log_entry(&self, arrived: Instant, raw: &RawRequest, effect: &Effect<'_>) -> JinaRequest {
        JinaRequest {
            at_ms: u64::try_from(arrived.duration_since(self.started).as_millis()).unwrap_or(u64::MAX),
            texts: Arc::clone(&raw.texts),
            status: 0,
            tokens: 0,
            in_flight: 0,
            authorised: false,
            model: raw.model.clone(),
            task: raw.task.clone(),
            dimensions: raw.dimensions,
            embedding_type: raw.embedding_type.clone(),
            late_chunking: raw.late_chunking,
            truncate: raw.truncate,
            disturbed: effect.replacement.is_some()
                // A single item has no order.
                || effect.alterations.iter().any(|answer| **answer != Answer::Shuffled || raw.texts.len() > 1),
            unreadable: None,
            wait_ms: None,
            took_ms: u64::try_from(effect.delay.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn validate(&self, body: Option<&Value>, raw: &RawRequest) -> Result<ValidRequest, Refusal> {
        match body {
            Some(body) => request::validate(body, raw, &self.config.model),
            None => Err(Refusal::new(400, "INPUT_INVALID_JSON", "The body is not valid JSON.")),
        }
    }

    /// Roughly the bytes of a success, for an answer that is truncated.
    fn success_body(&self, body: Option<&Value>, raw: &RawRequest) -> Vec<u8> {
        let item = |valid: &ValidRequest, index: usize, text: &str| {
            let vector = unit(&valid.model, &valid.task, valid.dimensions, text);
            json!({ "object": "embedding", "index": index, "embedding": vector })
        };
        let data: Vec<Value> = match self.validate(body, raw) {
            Ok(valid) => valid.texts.iter().enumerate().map(|(index, text)| item(&valid, index, text)).collect(),
            Err(_) => Vec::new(),
        };
        json!({ "model": raw.model, "object": "list", "data": data }).to_string().into_bytes()
    }

    fn models(&self, request: &Request) -> ResponseTemplate {
        if let Err(refusal) = self.authorise(request) {
            return answer::refusal(&refusal, "0000000000000000");
        }
        let own = model::find(&self.config.model).is_none().then_some(self.config.model.as_str());
        let entry = |name: &str| json!({ "id": name, "object": "model", "owned_by": "jina-ai" });
        let data: Vec<Value> = model::names().map(entry).chain(own.map(entry)).collect();
        ResponseTemplate::new(200).set_body_json(json!({ "object": "list", "data": data }))
    }
}

struct Responder(Arc<Shared>);

impl Respond for Responder {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        match (request.method.as_str(), request.url.path()) {
            ("POST", "/v1/embeddings") => self.0.embeddings(request),
            ("GET", "/v1/models") => self.0.models(request),
            (_, "/v1/embeddings" | "/v1/models") => {
                answer::refusal(&Refusal::new(405, "METHOD_NOT_ALLOWED", "Method not allowed."), "0000000000000000")
            }
            _ => answer::refusal(&Refusal::new(404, "RESOURCE_NOT_FOUND", "Not found."), "0000000000000000"),
        }
    }
}
