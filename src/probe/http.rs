//! HTTP requests to Qdrant, the embeddings API, Supabase, or any base URL.

use secrecy::ExposeSecret;
use serde_json::Value;

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::http::{Http, Key, KeyHeader};
use crate::spec::{Auth, HttpProbe, HttpStep, HttpYield, Template};

/// The key for an [`Auth`].
pub(super) fn key(auth: Auth) -> Key {
    match auth {
        Auth::Key => Key::Own,
        Auth::None => Key::None,
        Auth::Wrong => Key::Other("jina_thisKeyWasMadeUpByShakedownToSeeThatItIsRefused0000000000000".to_owned()),
    }
}

pub(super) async fn observe(probe: &HttpProbe, context: &Context) -> Result<Observation, ProbeError> {
    let template = context.template();
    let name = template.fill(&probe.service)?;
    let http = if name.starts_with("http://") || name.starts_with("https://") {
        let bearer = probe.bearer.as_ref().map(|key| template.fill(key)).transpose()?;
        context.clients.http("http", &name, bearer.map(Into::into), KeyHeader::Bearer).await?
    } else {
        service(&name, context).await?
    };
    let mut outcome = steps(&http, &template, &probe.before).await;
    if outcome.is_ok() {
        outcome = observe_request(&http, &template, probe, context).await.map(Some);
    }
    // Clean-up runs in any case; its failure is reported as additional evidence.
    let cleanup = steps(&http, &template, &probe.after).await;
    let mut observation = outcome?.ok_or_else(|| ProbeError::Undecided("no request was sent".to_owned()))?;
    if let Err(error) = cleanup {
        observation.also.push(Evidence::seen("clean-up", error.to_string()));
    }
    Ok(observation)
}

/// The service of this name, with its key.
async fn service(name: &str, context: &Context) -> Result<Http, ProbeError> {
    let given = |variable: &str| {
        let value = context.given.as_ref().and_then(|given| given.value(variable)).cloned();
        value.ok_or_else(|| ProbeError::Missing(format!("{variable} is not set")))
    };
    let (base, key, header, name) = match name {
        "qdrant" => return Ok(context.clients.qdrant().await?),
        "jina" => return Ok(context.clients.jina().await?),
        "supabase" => ("SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY", KeyHeader::Apikey, "supabase"),
        "supabase-public" => ("SUPABASE_URL", "SUPABASE_ANON_KEY", KeyHeader::Apikey, "supabase-public"),
        "supabase-management" => {
            ("SUPABASE_MANAGEMENT_URL", "SUPABASE_ACCESS_TOKEN", KeyHeader::Bearer, "supabase-management")
        }
        other => {
            return Err(ProbeError::Undecided(format!(
                "unknown HTTP service `{other}`: expected qdrant, jina, supabase, supabase-public, supabase-management or a \
                 base URL"
            )));
        }
    };
    Ok(context.clients.http(name, given(base)?.expose_secret(), Some(given(key)?), header).await?)
}

async fn steps(http: &Http, template: &Template, steps: &[HttpStep]) -> Result<Option<Observation>, ProbeError> {
    for step in steps {
        let path = template.fill(&step.path)?;
        let body = step.body.as_ref().map(|body| filled_body(template, body)).transpose()?;
        http.call(&step.method, &path, body.as_ref()).await?;
    }
    Ok(None)
}

async fn observe_request(
    http: &Http,
    template: &Template,
    probe: &HttpProbe,
    context: &Context,
) -> Result<Observation, ProbeError> {
    let path = template.fill(&probe.path)?;
    let method = probe.method.as_deref().unwrap_or("GET");
    let body = probe.body.as_ref().map(|body| filled_body(template, body)).transpose()?;
    let is_read_only = method == "GET" && body.is_none() && probe.auth == Auth::Key && !context.writes;
    let answer = if is_read_only {
        context.clients.get(http, &path).await?
    } else {
        http.send(method, &path, &key(probe.auth), body.as_ref()).await?
    };
    let status = answer.status.as_u16();
    let mut what = format!("{method} {path}");
    let mut missing = None;
    match probe.auth {
        Auth::Key => {}
        Auth::None => what.push_str(" without a key"),
        Auth::Wrong => what.push_str(" with a wrong key"),
    }
    let value = match probe.yields.as_ref().unwrap_or(&HttpYield::Status) {
        HttpYield::Status => Value::from(status),
        HttpYield::Text => {
            http.accept(method, &path, &answer)?;
            Value::from(answer.text.clone())
        }
        HttpYield::Header(name) => {
            what = format!("{what} → header {name}");
            answer.headers.get(&name.to_ascii_lowercase()).cloned().map_or(Value::Null, Value::from)
        }
        HttpYield::LatencyMs => {
            what = format!("response time of {what} in ms");
            Value::from(u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX))
        }
        HttpYield::Capture(pattern) => {
            http.accept(method, &path, &answer)?;
            what = format!("match of /{pattern}/ in the response to {what}");
            super::tcp::captured(pattern, &answer.text)?
        }
        HttpYield::Pointer(pointer) => {
            let pointer = template.fill(pointer)?;
            http.accept(method, &path, &answer)?;
            what = format!("{what} → {pointer}");
            let body = answer.json();
            let found = body.pointer(&pointer).cloned();
            let around = pointer.rsplit_once('/').and_then(|(around, _)| body.pointer(around));
            if found.is_none() && !(probe.sparse && around.is_some_and(Value::is_object)) {
                missing = Some(format!("the response to {method} {path} has no {pointer}"));
            }
            found.unwrap_or(Value::Null)
        }
    };
    let mut observation = Observation::new(what, value);
    observation.missing = missing;
    if let Some(target) = answer.redirect() {
        observation.also.push(Evidence::seen("redirect that was not followed", target));
    }
    if !answer.status.is_success() {
        let body = answer.text.chars().take(300).collect::<String>();
        observation.also.push(Evidence::seen("body", format!("{status} {body}")));
    }
    Ok(observation)
}

/// Largest vector that `{"fill": …, "size": …}` makes: the largest of Qdrant.
const MAX_VECTOR: usize = 65_536;

/// A body with its placeholders filled, and with two notations for values that are not texts expanded:
/// `{"fill": 0.1, "size": "1024"}` becomes a vector, and a text such as `#1024` a number.
fn filled_body(template: &Template, body: &Value) -> Result<Value, ProbeError> {
    numbers(template.fill_json(body)?)
}

fn numbers(value: Value) -> Result<Value, ProbeError> {
    Ok(match value {
        Value::Object(table) => {
            let fill = table.get("fill").and_then(Value::as_f64);
            let size = table.get("size").and_then(Value::as_str).and_then(|size| size.parse::<usize>().ok());
            match (fill, size, table.len()) {
                (Some(_), Some(size), 2) if size > MAX_VECTOR => {
                    return Err(ProbeError::Undecided(format!(
                        "the body has a vector of {size} numbers: at most {MAX_VECTOR} are sent"
                    )));
                }
                (Some(fill), Some(size), 2) => Value::Array(vec![Value::from(fill); size]),
                _ => {
                    let pairs = table.into_iter().map(|(key, value)| Ok((key, numbers(value)?)));
                    Value::Object(pairs.collect::<Result<_, ProbeError>>()?)
                }
            }
        }
        Value::Array(items) => Value::Array(items.into_iter().map(numbers).collect::<Result<_, _>>()?),
        Value::String(text) => match text.strip_prefix('#').and_then(|digits| digits.parse::<u64>().ok()) {
            Some(number) => Value::from(number),
            None => Value::String(text),
        },
        other => other,
    })
}
