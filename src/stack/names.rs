//! The names of the data of a case, and their removal.

use std::time::Duration;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row as _};

use super::error::StackError;
use crate::services::http_client;
use crate::settings::{Endpoints, Names, PostgresEndpoint};

/// How long a service may take for one answer while names are removed from it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Postgres silently truncates longer identifiers.
const MAX_LENGTH: usize = 63;

/// The names of one case of one run, distinct from those of every other case and run.
///
/// Each contains the id of the run, has at most 63 bytes and consists of lower-case letters, digits, `-` and
/// (in Postgres) `_`, so that it is valid in all four services.
#[must_use]
pub fn names_for(run: &str, case: &str) -> Names {
    let whole = format!("sd-{run}-{case}");
    let mut exact = true;
    let mut base = String::with_capacity(whole.len());
    for letter in whole.chars() {
        match letter {
            'a'..='z' | '0'..='9' | '-' => base.push(letter),
            '.' => base.push_str("--"),
            _ => {
                exact = false;
                base.push(if letter.is_ascii_uppercase() { letter.to_ascii_lowercase() } else { '-' });
            }
        }
    }
    if !exact || base.len() > MAX_LENGTH {
        // Other text may map to the same letters: a hash keeps the names distinct.
        let digest = Sha256::digest(whole.as_bytes());
        base.truncate(MAX_LENGTH - 9);
        base.push('-');
        base.extend(digest.iter().take(4).map(|byte| format!("{byte:02x}")));
    }
    Names {
        table: format!("{}.documents", base.replace('-', "_")),
        queue: base.clone(),
        prefix: base.clone(),
        collection: base,
    }
}

/// Whether all names have the form that [`names_for`] gives, so that the data under them is ours.
#[must_use]
pub fn are_ours(names: &Names) -> bool {
    let plain = [&names.queue, &names.prefix, &names.collection];
    plain.into_iter().all(|name| name.starts_with("sd-")) && names.table.starts_with("sd_")
}

/// Removes the data under `names`: the keys of the queue, the collection and the schema. Names that are not ours are
/// refused: the data under them belongs to the user.
///
/// Missing data is not an error. A service that does not answer for ten seconds is given up.
///
/// # Errors
/// One per service that failed; the data in the other services is removed all the same.
pub async fn drop_names(endpoints: &Endpoints, names: &Names) -> Result<(), Vec<StackError>> {
    if !are_ours(names) {
        return Err(vec![StackError::Drop {
            service: "any service",
            what: format!("keys {}:*, collection {}, table {}", names.prefix, names.collection, names.table),
            reason: "these names were not created by Shakedown".to_owned(),
        }]);
    }
    let (redis, collection, schema) =
        tokio::join!(drop_keys(endpoints, names), drop_collection(endpoints, names), drop_schema(endpoints, names));
    let fail = |service, what: &str| {
        let what = what.to_owned();
        move |reason| StackError::Drop { service, what, reason }
    };
    let errors: Vec<StackError> = [
        redis.map_err(fail("redis", &format!("keys {}:*", names.prefix))),
        collection.map_err(fail("qdrant", &format!("collection {}", names.collection))),
        schema.map_err(fail("postgres", &format!("table {} and its schema", names.table))),
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

async fn drop_keys(endpoints: &Endpoints, names: &Names) -> Result<(), String> {
    let text = |error: redis::RedisError| error.to_string();
    let client = redis::Client::open(endpoints.redis.url.expose_secret()).map_err(text)?;
    let mut connection = answer(client.get_multiplexed_async_connection(), text).await?;
    // A worker that ignores the prefix uses the default prefix of BullMQ.
    let patterns = [format!("{}:*", escape_pattern(&names.prefix)), format!("bull:{}:*", escape_pattern(&names.queue))];
    for pattern in patterns {
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
            let (next, keys): (u64, Vec<Vec<u8>>) = answer(scan.query_async(&mut connection), text).await?;
            if !keys.is_empty() {
                answer(redis::cmd("UNLINK").arg(keys).query_async::<()>(&mut connection), text).await?;
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// `text` as a pattern that matches only itself.
fn escape_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

async fn drop_collection(endpoints: &Endpoints, names: &Names) -> Result<(), String> {
    let text = |error: reqwest::Error| error.without_url().to_string();
    let qdrant = &endpoints.qdrant;
    let client = http_client::client(TIMEOUT).map_err(text)?;
    let mut request = client.delete(format!("{}/collections/{}", qdrant.url, names.collection));
    if let Some(key) = &qdrant.api_key {
        request = request.header("api-key", key.expose_secret());
    }
    let status = answer(request.send(), text).await?.status();
    if status.is_success() || status == reqwest::StatusCode::NOT_FOUND { Ok(()) } else { Err(status.to_string()) }
}

/// Ends the busy sessions that carry the name of the schema, and waits until they are gone: one whose commit still hangs
/// would create the schema after its removal.
async fn end_sessions(connection: &mut PgConnection, schema: &str) -> Result<(), String> {
    let text = |error: sqlx::Error| error.to_string();
    let name = schema.replace('\'', "''");
    let busy = format!(
        "select pid from pg_stat_activity where application_name = '{name}' and state is distinct from 'idle' \
         and pid <> pg_backend_pid()"
    );
    // The simple protocol works through every pooler; the name is quoted above.
    let rows = answer(sqlx::raw_sql(AssertSqlSafe(busy)).fetch_all(&mut *connection), text).await?;
    for row in rows {
        let pid: i32 = row.try_get(0).map_err(text)?;
        let end = format!("select pg_terminate_backend({pid}, 5000)");
        answer(sqlx::raw_sql(AssertSqlSafe(end)).execute(&mut *connection), text).await?;
    }
    Ok(())
}

async fn drop_schema(endpoints: &Endpoints, names: &Names) -> Result<(), String> {
    let text = |error: sqlx::Error| error.to_string();
    let mut connection = connect(&endpoints.postgres, TIMEOUT).await?;
    let sql = format!("drop schema if exists {} cascade", quote_identifier(names.schema()));
    let ended = end_sessions(&mut connection, names.schema()).await;
    // The identifier is quoted above; the statement takes no parameters.
    let dropped = answer(sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection), text).await;
    // The server closes its side anyway.
    let _ = answer(connection.close(), text).await;
    ended.and(dropped.map(drop))
}

/// A connection to a server whose statements are not logged.
pub(super) async fn connect(postgres: &PostgresEndpoint, limit: Duration) -> Result<PgConnection, String> {
    let text = |error: sqlx::Error| error.to_string();
    let options: PgConnectOptions = postgres.url.expose_secret().parse().map_err(text)?;
    // The future of a connection is large, and this one is a part of many others.
    let options = options.disable_statement_logging();
    answer_within(limit, Box::pin(async move { options.connect().await }), text).await
}

/// The answer of a service, if it comes in time.
async fn answer<T, E>(answer: impl IntoFuture<Output = Result<T, E>>, text: impl Fn(E) -> String) -> Result<T, String> {
    answer_within(TIMEOUT, answer, text).await
}

/// The answer of a service, if it comes within `limit`.
pub(super) async fn answer_within<T, E>(
    limit: Duration,
    answer: impl IntoFuture<Output = Result<T, E>>,
    text: impl Fn(E) -> String,
) -> Result<T, String> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(text),
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
    }
}

/// A name as an identifier of SQL.
pub(crate) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_readable_and_carry_run_and_case() {
        let names = names_for("r7f3", "redis.eviction-policy");
        assert_eq!(names.queue, "sd-r7f3-redis--eviction-policy");
        assert_eq!(names.table, "sd_r7f3_redis__eviction_policy.documents");
    }

    #[test]
    fn names_of_the_user_are_not_ours() {
        let ours = names_for("r", "c");
        assert!(are_ours(&ours));
        for theirs in [
            Names { queue: "ingest".to_owned(), ..ours.clone() },
            Names { prefix: "bull".to_owned(), ..ours.clone() },
            Names { collection: "documents".to_owned(), ..ours.clone() },
            Names { table: "public.documents".to_owned(), ..ours.clone() },
        ] {
            assert!(!are_ours(&theirs), "{theirs:?}");
        }
    }

    #[test]
    fn ids_that_differ_only_in_invalid_letters_get_different_names() {
        assert_ne!(names_for("r", "a_b"), names_for("r", "a-b"));
        assert_ne!(names_for("r", "a.b-c"), names_for("r", "a-b.c"));
        assert_ne!(names_for("r", "A"), names_for("r", "a"));
    }

    proptest! {
        #[test]
        fn every_name_is_valid_in_every_service(run in "[a-z0-9]{1,12}", case in "\\PC{0,80}") {
            let names = names_for(&run, &case);
            let plain = |name: &str, extra: char| {
                name.len() <= MAX_LENGTH && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == extra)
            };
            prop_assert!(plain(&names.queue, '-') && plain(&names.collection, '-'));
            let (schema, table) = names.table.split_once('.').unwrap();
            prop_assert!(plain(schema, '_') && table == "documents");
            prop_assert!(names.queue.contains(&run));
        }
    }
}
