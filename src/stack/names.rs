//! Names under which a case keeps its data, and their removal.

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::StackError;
use crate::settings::{Endpoints, Names};

/// Postgres cuts longer identifiers off silently.
const LONGEST: usize = 63;

/// The names of one case of one run: distinct from those of every other case and run.
///
/// Each carries the run's id, is at most 63 bytes long and made of lower-case letters, digits, `-` and
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
    if !exact || base.len() > LONGEST {
        // Other text may come to the same letters: a fingerprint keeps the two apart.
        let digest = Sha256::digest(whole.as_bytes());
        base.truncate(LONGEST - 9);
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

/// Whether all of them are names that [`names_for`] gives, so that what stands under them is ours.
#[must_use]
pub fn are_ours(names: &Names) -> bool {
    let plain = [&names.queue, &names.prefix, &names.collection];
    plain.into_iter().all(|name| name.starts_with("sd-")) && names.table.starts_with("sd_")
}

/// Removes what is kept under `names`: the queue's keys, the collection and the schema. Names that are not ours are
/// refused: what stands under them is somebody's.
///
/// What is not there is no error.
///
/// # Errors
/// One per service that refused, the others have been seen to all the same; empty when all is gone.
pub async fn drop_names(endpoints: &Endpoints, names: &Names) -> Result<(), Vec<StackError>> {
    if !are_ours(names) {
        return Err(vec![StackError::Drop {
            service: "any service",
            what: format!("keys {}:*, collection {}, table {}", names.prefix, names.collection, names.table),
            reason: "these are not names of Shakedown's own".to_owned(),
        }]);
    }
    drop_any_names(endpoints, names).await
}

/// Like [`drop_names`], for names that a worker was not to be talked out of, on a stack that is thrown away. In the
/// schema `public` only the table is dropped.
///
/// # Errors
/// As [`drop_names`].
pub async fn drop_any_names(endpoints: &Endpoints, names: &Names) -> Result<(), Vec<StackError>> {
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
    let mut connection = client.get_multiplexed_async_connection().await.map_err(text)?;
    // A worker that does not know the prefix keeps its keys under BullMQ's own.
    let patterns = [format!("{}:*", escaped(&names.prefix)), format!("bull:{}:*", escaped(&names.queue))];
    for pattern in patterns {
        let mut cursor = 0_u64;
        loop {
            let (next, keys): (u64, Vec<Vec<u8>>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(1000)
                .query_async(&mut connection)
                .await
                .map_err(text)?;
            if !keys.is_empty() {
                redis::cmd("UNLINK").arg(keys).query_async::<()>(&mut connection).await.map_err(text)?;
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// `text` as a pattern that matches it alone.
fn escaped(text: &str) -> String {
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
    let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(30)).build().map_err(text)?;
    let mut request = client.delete(format!("{}/collections/{}", qdrant.url, names.collection));
    if let Some(key) = &qdrant.api_key {
        request = request.header("api-key", key.expose_secret());
    }
    let status = request.send().await.map_err(text)?.status();
    if status.is_success() || status == reqwest::StatusCode::NOT_FOUND { Ok(()) } else { Err(status.to_string()) }
}

async fn drop_schema(endpoints: &Endpoints, names: &Names) -> Result<(), String> {
    let text = |error: sqlx::Error| error.to_string();
    let options: PgConnectOptions = endpoints.postgres.url.expose_secret().parse().map_err(text)?;
    let mut connection = options.disable_statement_logging().connect().await.map_err(text)?;
    let sql = match names.table.split_once('.') {
        Some((schema, _)) if schema != "public" => format!("drop schema if exists {} cascade", identifier(schema)),
        Some((schema, table)) => format!("drop table if exists {}.{}", identifier(schema), identifier(table)),
        None => format!("drop table if exists {}", identifier(&names.table)),
    };
    // Both identifiers are quoted above; the statement takes no parameters.
    let dropped = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.map_err(text);
    // The server closes its side in any case.
    let _ = connection.close().await;
    dropped.map(drop)
}

fn identifier(name: &str) -> String {
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
    fn names_of_somebody_else_are_told_from_ours() {
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
    fn ids_that_differ_only_in_letters_a_service_refuses_get_different_names() {
        assert_ne!(names_for("r", "a_b"), names_for("r", "a-b"));
        assert_ne!(names_for("r", "a.b-c"), names_for("r", "a-b.c"));
        assert_ne!(names_for("r", "A"), names_for("r", "a"));
    }

    proptest! {
        #[test]
        fn every_name_is_valid_in_every_service(run in "[a-z0-9]{1,12}", case in "\\PC{0,80}") {
            let names = names_for(&run, &case);
            let plain = |name: &str, extra: char| {
                name.len() <= LONGEST && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == extra)
            };
            prop_assert!(plain(&names.queue, '-') && plain(&names.collection, '-'));
            let (schema, table) = names.table.split_once('.').unwrap();
            prop_assert!(plain(schema, '_') && table == "documents");
            prop_assert!(names.queue.contains(&run));
        }
    }
}
