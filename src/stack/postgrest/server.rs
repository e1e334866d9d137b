//! The HTTP server: reads a request, runs its statement under the role of the key, and answers as PostgREST does.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Row as _};
use tokio::task::AbortHandle;
use url::form_urlencoded;

use super::MAX_BODY;
use super::invalid::Invalid;
use super::keys::SupabaseKeys;
use super::query::Query;
use super::sql::{literal, quoted};
use super::statement::{Resolution, Table, delete, insert, select, update};
use crate::settings::PostgresEndpoint;
use crate::stack::error::StackError;

/// The size of PostgREST's pool by default (`db-pool`).
const CONNECTIONS: u32 = 10;
/// How long a request waits for a connection by default (`db-pool-acquisition-timeout`).
const ACQUIRE: Duration = Duration::from_secs(10);
/// The media type of an answer with one row as an object.
const ONE_OBJECT: &str = "application/vnd.pgrst.object+json";

struct Shared {
    pool: PgPool,
    schemas: Vec<String>,
    keys: SupabaseKeys,
}

/// Serves until the task is aborted; returns the port too.
pub(super) fn serve(
    listener: TcpListener,
    postgres: &PostgresEndpoint,
    schemas: Vec<String>,
    keys: &SupabaseKeys,
) -> Result<(u16, AbortHandle), StackError> {
    let invalid = |_| StackError::FreshData { service: "postgres", reason: "its URL is invalid".to_owned() };
    let options: PgConnectOptions = postgres.url.expose_secret().parse().map_err(invalid)?;
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE).connect_lazy_with(options);
    let shared = Arc::new(Shared { pool, schemas, keys: keys.clone() });
    let service = Router::new().fallback(move |request: Request| {
        let shared = Arc::clone(&shared);
        async move { answer(&shared, request).await.unwrap_or_else(Failure::into_response) }
    });
    super::serve(listener, service)
}

/// An error in PostgREST's form.
struct Failure {
    status: StatusCode,
    code: String,
    message: String,
    details: Option<String>,
    hint: Option<String>,
}

impl Failure {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), details: None, hint: None }
    }

    fn into_response(self) -> Response {
        let Self { status, code, message, details, hint } = self;
        let body = json!({ "code": code, "message": message, "details": details, "hint": hint });
        (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], body.to_string()).into_response()
    }

    /// The status that PostgREST gives an SQLSTATE:
    /// <https://docs.postgrest.org/en/v12/references/errors.html#http-status-codes>.
    fn from_database(error: &sqlx::Error, table: &Table, anonymous: bool, changes: bool) -> Self {
        let sqlx::Error::Database(found) = error else {
            return match error {
                sqlx::Error::PoolTimedOut => Self::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "PGRST003",
                    "Timed out acquiring connection from connection pool.",
                ),
                _ => Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "PGRST001",
                    "Database client error. Retrying the connection.",
                ),
            };
        };
        let code = found.code().unwrap_or_default().into_owned();
        let status = match code.as_str() {
            "42P01" => {
                let message = format!("Could not find the table '{}.{}' in the schema cache", table.schema, table.name);
                return Self::new(StatusCode::NOT_FOUND, "PGRST205", message);
            }
            "42703" if changes => {
                let message =
                    format!("Could not find a column of '{}' in the schema cache: {}", table.name, found.message());
                return Self::new(StatusCode::BAD_REQUEST, "PGRST204", message);
            }
            "23503" | "23505" => StatusCode::CONFLICT,
            "25006" => StatusCode::METHOD_NOT_ALLOWED,
            "42501" if anonymous => StatusCode::UNAUTHORIZED,
            "42501" => StatusCode::FORBIDDEN,
            "53400" => StatusCode::INTERNAL_SERVER_ERROR,
            "57014" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => match code.get(..2).unwrap_or_default() {
                "08" | "53" => StatusCode::SERVICE_UNAVAILABLE,
                "09" | "25" | "2D" | "38" | "39" | "3B" | "40" | "54" | "55" | "57" | "58" | "F0" | "HV" | "P0"
                | "XX" => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::BAD_REQUEST,
            },
        };
        let postgres = found.try_downcast_ref::<PgDatabaseError>();
        Self {
            status,
            code,
            message: found.message().to_owned(),
            details: postgres.and_then(PgDatabaseError::detail).map(str::to_owned),
            hint: postgres.and_then(PgDatabaseError::hint).map(str::to_owned),
        }
    }
}

impl From<Invalid> for Failure {
    fn from(Invalid(message): Invalid) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "PGRST100", message)
    }
}

/// The role of a request: that of its token, which is a key of the project.
fn role(shared: &Shared, headers: &HeaderMap) -> Result<String, Failure> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| value.split_once(' ')).map(|(_, token)| token.trim());
    let token = bearer.or_else(|| text("apikey")).ok_or_else(|| {
        Failure::new(StatusCode::UNAUTHORIZED, "PGRST302", "No API key found in request: send it as `apikey`")
    })?;
    let role = shared.keys.role(token).map(str::to_owned);
    role.ok_or_else(|| Failure::new(StatusCode::UNAUTHORIZED, "PGRST301", "The key is not one of this project"))
}

/// What the header `Prefer` asks for.
#[derive(Debug, Default, Clone, Copy)]
struct Preferences {
    representation: bool,
    count: bool,
    resolution: Option<Resolution>,
}

impl Preferences {
    fn read(headers: &HeaderMap) -> Self {
        let mut preferences = Self::default();
        let values = headers.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
        for word in values.flat_map(|value| value.split(',')).map(str::trim) {
            match word {
                "return=representation" => preferences.representation = true,
                "resolution=merge-duplicates" => preferences.resolution = Some(Resolution::Merge),
                "resolution=ignore-duplicates" => preferences.resolution = Some(Resolution::Ignore),
                _ if word.starts_with("count=") => preferences.count = true,
                _ => {}
            }
        }
        preferences
    }
}

/// The table of a request, from its path and its profile.
fn table(shared: &Shared, request: &Request) -> Result<Table, Failure> {
    let path = request.uri().path();
    let path = path.strip_prefix("/rest/v1").unwrap_or(path);
    let name = path.trim_matches('/');
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned();
    if name.starts_with("rpc/") {
        let message = format!("Shakedown's stand-in for PostgREST calls no functions, such as {name}");
        return Err(Failure::new(StatusCode::NOT_FOUND, "PGRST202", message));
    }
    let profile = match *request.method() {
        Method::GET | Method::HEAD => "accept-profile",
        _ => "content-profile",
    };
    let schema = request.headers().get(profile).and_then(|value| value.to_str().ok()).unwrap_or("public");
    if !shared.schemas.iter().any(|exposed| exposed == schema) {
        let message = format!("The schema must be one of the following: {}", shared.schemas.join(", "));
        return Err(Failure::new(StatusCode::NOT_ACCEPTABLE, "PGRST106", message));
    }
    Ok(Table { schema: schema.to_owned(), name })
}

async fn answer(shared: &Shared, request: Request) -> Result<Response, Failure> {
    let role = role(shared, request.headers())?;
    let table = table(shared, &request)?;
    let (method, headers) = (request.method().clone(), request.headers().clone());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let query = Query::parse(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())))?;
    let preferences = Preferences::read(&headers);
    let body = body(&method, request.into_body()).await?;
    let statement = match method {
        Method::GET | Method::HEAD => select(&table, &query, preferences.count),
        Method::POST => insert(&table, &query, &body, preferences.resolution)?,
        Method::PATCH => update(&table, &query, &body)?,
        Method::DELETE => delete(&table, &query),
        _ => return Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "PGRST117", "Unsupported HTTP method")),
    };
    let rows = run(shared, &role, &statement).await;
    let changes = matches!(method, Method::POST | Method::PATCH);
    let rows = rows.map_err(|error| Failure::from_database(&error, &table, role == "anon", changes))?;
    respond(&method, &headers, preferences, query.offset.unwrap_or_default(), rows)
}

async fn body(method: &Method, body: Body) -> Result<Value, Failure> {
    if !matches!(*method, Method::POST | Method::PATCH) {
        return Ok(Value::Null);
    }
    let invalid = || Failure::new(StatusCode::BAD_REQUEST, "PGRST102", "Empty or invalid json");
    let bytes = to_bytes(body, MAX_BODY).await.map_err(|_| invalid())?;
    serde_json::from_slice(&bytes).map_err(|_| invalid())
}

/// The rows of a statement.
struct Rows {
    /// A JSON array.
    json: String,
    count: i64,
    /// The number of all rows that match, if it was asked for.
    all: Option<i64>,
}

/// Runs a statement in a transaction of its own under `role`.
async fn run(shared: &Shared, role: &str, statement: &str) -> Result<Rows, sqlx::Error> {
    let mut transaction = shared.pool.begin().await?;
    let claims = literal(&json!({ "role": role }).to_string());
    let context = format!("set local role {}; select set_config('request.jwt.claims', {claims}, true)", quoted(role));
    sqlx::raw_sql(AssertSqlSafe(context)).execute(&mut *transaction).await?;
    let row = sqlx::query(AssertSqlSafe(statement.to_owned())).persistent(false).fetch_one(&mut *transaction).await?;
    let rows = Rows { json: row.try_get(0)?, count: row.try_get(1)?, all: row.try_get(2).ok() };
    transaction.commit().await?;
    Ok(rows)
}

fn respond(
    method: &Method,
    headers: &HeaderMap,
    preferences: Preferences,
    offset: u64,
    rows: Rows,
) -> Result<Response, Failure> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let one =
        headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|kind| kind.contains(ONE_OBJECT));
    if one && (reads || preferences.representation) && rows.count != 1 {
        let mut failure =
            Failure::new(StatusCode::NOT_ACCEPTABLE, "PGRST116", "Cannot coerce the result to a single JSON object");
        failure.details = Some(format!("The result contains {} rows", rows.count));
        return Err(failure);
    }
    let range = if rows.count == 0 {
        "*".to_owned()
    } else {
        let offset = i64::try_from(offset).unwrap_or_default();
        format!("{offset}-{}", offset + rows.count - 1)
    };
    let all = if reads { rows.all } else { preferences.count.then_some(rows.count) };
    let range = format!("{range}/{}", all.map_or_else(|| "*".to_owned(), |all| all.to_string()));
    let kind = if one { ONE_OBJECT } else { "application/json; charset=utf-8" };
    let sent = [(header::CONTENT_TYPE.as_str(), kind.to_owned()), (header::CONTENT_RANGE.as_str(), range)];
    let status = match *method {
        Method::POST => StatusCode::CREATED,
        _ if reads && all.is_some_and(|all| all > rows.count) => StatusCode::PARTIAL_CONTENT,
        _ if reads || preferences.representation => StatusCode::OK,
        _ => StatusCode::NO_CONTENT,
    };
    if *method == Method::HEAD || !(reads || preferences.representation) {
        return Ok((status, sent).into_response());
    }
    let text = if one {
        let list: Vec<Value> = serde_json::from_str(&rows.json).unwrap_or_default();
        list.into_iter().next().unwrap_or_default().to_string()
    } else {
        rows.json
    };
    Ok((status, sent, text).into_response())
}
