//! Tables of a database as the Data API sees them, and arbitrary queries.

use crate::services::postgres_session::{Answer, Session, SessionError};
use crate::settings::PostgresEndpoint;

/// Tables and views outside of Postgres' own schemas: columns, row level security, the rights of each of Supabase's
/// roles (`r`ead, `i`nsert, `u`pdate, `d`elete), and the estimated number of rows.
pub const TABLES: &str = "select n.nspname as schema, c.relname as name, \
    case c.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view' \
    when 'm' then 'materialised view' else 'foreign table' end as kind, \
    (select count(*) from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns, \
    case when c.relkind in ('r', 'p') then c.relrowsecurity end as rls, \
    (select count(*) from pg_policy p where p.polrelid = c.oid) as policies, \
    (select string_agg(r.rolname || ':' || concat(case when has_table_privilege(r.oid, c.oid, 'SELECT') then 'r' end, \
    case when has_table_privilege(r.oid, c.oid, 'INSERT') then 'i' end, \
    case when has_table_privilege(r.oid, c.oid, 'UPDATE') then 'u' end, \
    case when has_table_privilege(r.oid, c.oid, 'DELETE') then 'd' end), ' ' order by r.rolname) \
    from pg_roles r where r.rolname in ('anon', 'authenticated', 'service_role')) as grants, \
    case when c.reltuples < 0 then null else c.reltuples::bigint end as rows_about \
    from pg_class c join pg_namespace n on n.oid = c.relnamespace \
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' \
    order by 1, 2";

/// The tables and views of a database.
///
/// # Errors
/// Postgres cannot be reached, or refuses.
pub async fn tables(endpoint: &PostgresEndpoint) -> Result<Answer, SessionError> {
    query(endpoint, TABLES, false).await
}

/// Runs one statement that only reads, in a read-only transaction; or any SQL if it `writes`.
///
/// # Errors
/// The text is not known to only read and does not say `writes`; Postgres cannot be reached, or refuses.
pub async fn query(endpoint: &PostgresEndpoint, text: &str, writes: bool) -> Result<Answer, SessionError> {
    if !writes {
        return Session::read(endpoint, text).await;
    }
    let mut session = Session::open(endpoint).await?;
    let answer = session.run(text).await;
    session.close().await;
    answer
}
