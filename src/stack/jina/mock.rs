//! The mock server itself.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::behaviour::{Verdict, retry_after};
use super::limits::Window;
use super::log::JinaRequest;
use super::request::{self, Asked, Refusal};
use super::vector::{Rng, unit};
use super::{answer, model};
use crate::settings::JinaEndpoint;
use crate::spec::jina::{Answer, Behaviour, Limits};
use crate::stack::{StackError, ports, random_word};

/// A request that hangs is held for so long; its client gives up long before.
const FOR_EVER: Duration = Duration::from_hours(24);

/// How the mock is set up.
#[derive(Debug, Clone)]
pub struct JinaConfig {
    /// The model that [`JinaEndpoint`] names. The mock knows all of Jina's, and this one.
    pub model: String,
    /// The vector size that [`JinaEndpoint`] names.
    pub dimensions: u32,
    /// The key that the mock accepts: `jina_` and 60 characters, like a real one.
    pub key: SecretString,
    /// What shuffles items and draws jitter and victims.
    pub seed: u64,
    /// How it misbehaves.
    pub behaviours: Vec<Behaviour>,
    /// The key's rate limits.
    pub limits: Limits,
}

impl Default for JinaConfig {
    /// `jina-embeddings-v3` with 1024 dimensions, a new random key, no limits, good behaviour.
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

/// A running mock; it stops listening when dropped.
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
    /// Requests for embeddings since the behaviours were set.
    arrived: u64,
    /// When the answers under way will have been sent.
    under_way: Vec<Instant>,
    window: Window,
    dice: Rng,
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

    /// Starts a mock on a listener of the caller's.
    pub async fn start_on(listener: TcpListener, config: JinaConfig) -> Self {
        // The vocabulary takes a moment to unpack: not in the first request, and not before the others start.
        std::thread::spawn(|| request::count("warm"));
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
            arrived: 0,
            under_way: Vec::new(),
            window: Window::default(),
            dice: Rng::new(config.seed),
            log: Vec::new(),
        };
        let shared = Arc::new(Shared { config, started: Instant::now(), state: Mutex::new(state) });
        Mock::given(any()).respond_with(Responder(Arc::clone(&shared))).mount(&server).await;
        Self { endpoint, shared, server: Some(server) }
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> JinaEndpoint {
        self.endpoint.clone()
    }

    /// Every request for embeddings so far, in the order in which they arrived.
    #[must_use]
    pub fn requests(&self) -> Vec<JinaRequest> {
        self.requests_from(0)
    }

    /// The requests from number `first` on, counted from 0: for watching the log grow.
    #[must_use]
    pub fn requests_from(&self, first: usize) -> Vec<JinaRequest> {
        self.shared.state().log.get(first..).unwrap_or_default().to_vec()
    }

    /// When it was started: the times of its log count from then.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.shared.started
    }

    /// How many requests for embeddings there were.
    #[must_use]
    pub fn request_count(&self) -> usize {
        self.shared.state().log.len()
    }

    /// The vector that a good answer has for `text` under `task`, with the configured model and dimensions.
    #[must_use]
    pub fn vector_for(&self, task: Option<&str>, text: &str) -> Vec<f32> {
        let config = &self.shared.config;
        unit(&config.model, &request::task_in_effect(&config.model, task), config.dimensions, text)
    }

    /// Misbehaves as `behaviours` say from now on; requests are counted anew.
    pub fn behave(&self, behaviours: Vec<Behaviour>) {
        let mut state = self.shared.state();
        state.behaviours = behaviours.into();
        state.arrived = 0;
    }
}

impl Drop for JinaMock {
    /// On a thread of its own: the library waits for a lock in a loop that never ends in a task which has used up its
    /// turn with the runtime (tokio's cooperative budget), as one that drops many mocks has.
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            // What panics there is the library's own verification, which nothing was given to.
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

    fn embeddings(&self, request: &Request) -> ResponseTemplate {
        let arrived = Instant::now();
        let body: Option<Value> = serde_json::from_slice(&request.body).ok();
        let asked = body.as_ref().map(request::read).unwrap_or_default();
        let authorised = self.authorise(request);

        let mut state = self.state();
        state.arrived += 1;
        state.under_way.retain(|end| *end > arrived);
        let in_flight = u32::try_from(state.under_way.len() + 1).unwrap_or(u32::MAX);
        let behaviours = Arc::clone(&state.behaviours);
        let nth = state.arrived;
        let verdict = Verdict::of(&behaviours, nth, &asked.texts, &mut state.dice);
        let id = format!("{:016x}", state.dice.roll());

        let mut log = JinaRequest {
            at_ms: u64::try_from(arrived.duration_since(self.started).as_millis()).unwrap_or(u64::MAX),
            texts: Arc::clone(&asked.texts),
            status: 0,
            tokens: 0,
            in_flight,
            authorised: authorised.is_ok(),
            model: asked.model.clone(),
            task: asked.task.clone(),
            dimensions: asked.dimensions,
            embedding_type: asked.embedding_type.clone(),
            late_chunking: asked.late_chunking,
            truncate: asked.truncate,
            disturbed: verdict.instead.is_some() || !verdict.bends.is_empty(),
            wait_ms: None,
            took_ms: u64::try_from(verdict.delay.as_millis()).unwrap_or(u64::MAX),
        };
        let template = match (authorised, verdict.instead) {
            (Err(refusal), _) => {
                log.status = refusal.status;
                answer::refusal(&refusal, &id)
            }
            (Ok(()), Some(Answer::Hang)) => {
                state.log.push(log);
                return ResponseTemplate::new(200).set_delay(FOR_EVER);
            }
            (Ok(()), Some(instead)) => {
                let (status, template) = answer::instead(instead, &id, || self.good_body(body.as_ref(), &asked));
                log.status = status;
                if let Answer::Status { retry_after: wish, .. } = instead {
                    log.wait_ms = retry_after(*wish).and_then(|(_, wait)| wait);
                }
                template
            }
            (Ok(()), None) => match self.order(body.as_ref(), &asked) {
                Err(refusal) => {
                    log.status = refusal.status;
                    answer::refusal(&refusal, &id)
                }
                Ok(order) => {
                    let limits = &self.config.limits;
                    let admitted = state.window.admit(limits, arrived, order.tokens, in_flight);
                    let template = match admitted {
                        Ok(()) => {
                            log.status = 200;
                            log.tokens = order.tokens;
                            answer::good(&order, &verdict, &mut state.dice)
                        }
                        Err(exceeded) => {
                            log.status = 429;
                            log.disturbed = true;
                            answer::refusal(&Refusal::new(429, exceeded.code, exceeded.detail), &id)
                        }
                    };
                    let headers = state.window.headers(limits);
                    headers.into_iter().fold(template, |template, (name, value)| template.insert_header(name, value))
                }
            },
        };
        state.under_way.push(Instant::now() + verdict.delay);
        state.log.push(log);
        if verdict.delay.is_zero() { template } else { template.set_delay(verdict.delay) }
    }

    fn order(&self, body: Option<&Value>, asked: &Asked) -> Result<request::Order, Refusal> {
        match body {
            Some(body) => request::check(body, asked, &self.config.model),
            None => Err(Refusal::new(400, "INPUT_INVALID_JSON", "The body is not valid JSON.")),
        }
    }

    /// Roughly the bytes of a good answer, for one that breaks off in the middle.
    fn good_body(&self, body: Option<&Value>, asked: &Asked) -> Vec<u8> {
        let vectors: Vec<Value> = match self.order(body, asked) {
            Ok(order) => order
                .texts
                .iter()
                .enumerate()
                .map(|(index, text)| json!({ "object": "embedding", "index": index, "embedding": unit(&order.model, &order.task, order.dimensions, text) }))
                .collect(),
            Err(_) => Vec::new(),
        };
        json!({ "model": asked.model, "object": "list", "data": vectors }).to_string().into_bytes()
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
