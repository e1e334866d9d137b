//! Requests of the REST protocol: those of `requests.json`, with random changes.

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

use super::values;

/// Largest body that is made on purpose.
const LARGEST: usize = 1024 * 1024;

/// A REST request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Its method.
    pub(crate) method: reqwest::Method,
    /// Its path and query string.
    pub(crate) path: String,
    /// Its body, as JSON or what was JSON.
    pub(crate) body: Option<Vec<u8>>,
}

/// The requests to start from.
pub(crate) struct Samples(Vec<(reqwest::Method, String, Option<Value>)>);

impl Samples {
    pub(crate) fn new() -> Self {
        let text = include_str!("requests.json");
        let samples: Vec<Vec<Value>> = serde_json::from_str(text).expect("samples");
        let samples = samples.into_iter().map(|mut sample| {
            let body = (sample.len() > 2).then(|| sample.pop().expect("a body"));
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            (text(&sample[0]).parse().expect("a method"), text(&sample[1]), body)
        });
        Self(samples.collect())
    }

    /// A random request.
    pub(crate) fn request(&self, rng: &mut StdRng) -> Request {
        let mut sample = &self.0[rng.random_range(0..self.0.len())];
        if sample.2.is_none() {
            // Of those without a body there is less to try.
            sample = &self.0[rng.random_range(0..self.0.len())];
        }
        let (method, path, body) = sample;
        let mut body = body.clone();
        if let Some(body) = &mut body
            && rng.random_bool(0.7)
        {
            for _ in 0..rng.random_range(1..4) {
                self.change(rng, body);
            }
        }
        let mut body = body.map(|body| serde_json::to_vec(&body).expect("JSON"));
        if let Some(body) = body.as_mut().filter(|_| rng.random_bool(0.05)) {
            values::damage(rng, body);
        }
        Request { method: method.clone(), path: filled(rng, path), body }
    }

    /// Changes a random part of `body`.
    fn change(&self, rng: &mut StdRng, body: &mut Value) {
        let mut place = rng.random_range(0..count(body));
        let part = nth(body, &mut place).expect("a part");
        match rng.random_range(0..10) {
            0..=2 => *part = value(rng),
            3 => match part {
                Value::Object(object) => {
                    let key = object.keys().nth(rng.random_range(0..object.len().max(1))).cloned();
                    key.and_then(|key| object.remove(&key));
                }
                Value::Array(items) => items.clear(),
                other => *other = Value::Null,
            },
            4 => {
                // A part of another request.
                let (_, _, other) = &self.0[rng.random_range(0..self.0.len())];
                if let Some(mut other) = other.clone() {
                    let mut place = rng.random_range(0..count(&other));
                    *part = nth(&mut other, &mut place).expect("a part").take();
                }
            }
            5 => {
                let repeated = rng.random_range(2..200);
                if let Value::Array(items) = part
                    && serde_json::to_string(items).expect("JSON").len() * repeated < LARGEST
                {
                    *items = std::iter::repeat_n(items.clone(), repeated).flatten().collect();
                }
            }
            6 => {
                if let Value::Object(object) = part {
                    object.insert(values::field(rng), value(rng));
                }
            }
            7 | 8 => {
                let levels = values::levels(rng);
                *part = nested(rng, part.take(), levels);
            }
            _ => {
                // Itself within itself.
                let whole = part.clone();
                for _ in 0..rng.random_range(1..6) {
                    let mut place = rng.random_range(0..count(part));
                    *nth(part, &mut place).expect("a part") = whole.clone();
                }
            }
        }
    }
}

/// The path with names for its placeholders, and with another query string now and then.
fn filled(rng: &mut StdRng, path: &str) -> String {
    let mut path = path.to_owned();
    for (placeholder, value) in [
        ("{name}", values::collection(rng)),
        ("{key}", values::field(rng)),
        ("{vector}", values::vector_name(rng)),
        ("{snapshot}", values::text(rng)),
        ("{id}", if rng.random_bool(0.5) { values::whole(rng).to_string() } else { values::text(rng) }),
    ] {
        path = path.replace(placeholder, &encoded(&value));
    }
    if rng.random_bool(0.1) {
        let join = if path.contains('?') { '&' } else { '?' };
        let name = values::one(rng, &["wait", "timeout", "ordering", "per_collection", "consistency", "priority"]);
        path = format!("{path}{join}{name}={}", encoded(&values::text(rng)));
    }
    path
}

/// A text as one segment of a path.
pub(crate) fn encoded(text: &str) -> String {
    let kept = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    text.bytes().map(|byte| if kept(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn value(rng: &mut StdRng) -> Value {
    match rng.random_range(0..12) {
        0 => Value::Null,
        1 => json!(rng.random::<bool>()),
        2 => json!(values::whole(rng)),
        3 => json!(0_i64.wrapping_sub_unsigned(values::whole(rng))),
        4 => json!(values::number(rng)),
        5 | 6 => json!(values::text(rng)),
        7 => json!([]),
        8 => json!({}),
        9 => (0..rng.random_range(3..6)).map(|_| json!(values::number(rng))).collect(),
        10 => json!({ "indices": [values::whole(rng), 7], "values": [values::number(rng), 1.0] }),
        _ => json!({ values::field(rng): values::number(rng) }),
    }
}

/// `part` within `levels` more levels of one form.
fn nested(rng: &mut StdRng, part: Value, levels: usize) -> Value {
    const FILTERS: [&str; 7] = ["must", "should", "must_not", "min_should", "key", "has_id", "nested"];
    const QUERIES: [&str; 3] = ["query", "prefetch", "limit"];
    const EXPRESSIONS: [&str; 4] = ["sum", "mult", "neg", "div"];
    let forms: [fn(Value) -> Value; 9] = [
        |inner| json!([inner]),
        |inner| json!({ "a": inner }),
        |inner| json!({ "must": [inner] }),
        |inner| json!({ "should": inner, "must_not": [{ "key": "a", "match": { "value": 1 } }] }),
        |inner| json!({ "min_should": { "conditions": [inner], "min_count": 1 } }),
        |inner| json!({ "nested": { "key": "b.c", "filter": { "must": [inner] } } }),
        |inner| json!({ "prefetch": [inner], "query": [1, 0, 0, 0] }),
        |inner| json!({ "sum": [inner, 1] }),
        |inner| json!({ "neg": inner }),
    ];
    let has = |names: &[&str]| names.iter().any(|name| part.get(name).is_some());
    let fitting = match () {
        () if has(&FILTERS) => 2..6,
        () if has(&QUERIES) => 6..7,
        () if has(&EXPRESSIONS) || part == "$score" => 7..9,
        () => 0..forms.len(),
    };
    let form = forms[rng.random_range(fitting)];
    (0..levels).fold(part, |inner, _| form(inner))
}

/// The number of values in `value`, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(object) => object.values().map(count).sum(),
        _ => 0,
    }
}

/// The value at `place` of a walk through `value`; what it passes is subtracted.
fn nth<'a>(value: &'a mut Value, place: &mut usize) -> Option<&'a mut Value> {
    if *place == 0 {
        return Some(value);
    }
    *place -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, place)),
        Value::Object(object) => Map::values_mut(object).find_map(|item| nth(item, place)),
        _ => None,
    }
}
