//! Functions with an effect that a read-only transaction neither prevents nor undoes.
//!
//! `fixtures/postgres-functions.toml` classifies every volatile function of Postgres and of its supplied modules; tests
//! compare it with this table and with a server.

/// What a call of a function changes or reaches, if a read-only transaction does not prevent it.
///
/// The names are as Postgres compares them: without quotes, and in lower case unless they were quoted.
pub(super) fn effect(schema: Option<&str>, function: &str) -> Option<&'static str> {
    if EXCEPTIONS.contains(&function) {
        return None;
    }
    let in_schema = SCHEMAS.iter().find(|(known, _)| schema == Some(known));
    in_schema.or_else(|| FUNCTIONS.iter().find(|(pattern, _)| matches_pattern(function, pattern))).map(|found| found.1)
}

/// Whether `row.name` can be a call of `name` with a row, as well as a column.
pub(super) fn takes_row(name: &str) -> bool {
    OF_ROWS.contains(&name)
}

/// Whether a name matches a pattern, in which `*` at the end stands for any text.
fn matches_pattern(name: &str, pattern: &str) -> bool {
    pattern.strip_suffix('*').map_or(name == pattern, |start| name.starts_with(start))
}

/// Functions with an effect that a read-only transaction does not prevent or undo, by pattern, with the effect.
///
/// From the chapter *Functions and Operators* of Postgres' documentation, and from those of its supplied modules.
const FUNCTIONS: &[(&str, &str)] = &[
    ("lo_*", "reads or writes large objects and files"),
    ("loread", "reads large objects"),
    ("lowrite", "writes large objects"),
    ("pg_read_*", "reads files of the server"),
    ("pg_stat_file", "reads files of the server"),
    ("pg_ls_*", "reads directories of the server"),
    ("pg_file_*", "writes files of the server"),
    ("pg_logdir_ls", "reads directories of the server"),
    ("dblink*", "opens a connection to another server"),
    ("postgres_fdw_*", "changes connections to other servers"),
    ("http", "sends a request to another server"),
    ("http_*", "sends a request to another server"),
    ("pg_advisory_*", "takes or releases a lock of the session"),
    ("pg_try_advisory_*", "takes a lock of the session"),
    ("pg_terminate_backend", "ends another session"),
    ("pg_cancel_backend", "cancels the query of another session"),
    ("pg_reload_conf", "changes the server"),
    ("pg_rotate_logfile*", "changes the server"),
    ("pg_log_*", "writes to the server's log"),
    ("pg_logical_*", "writes to the write-ahead log"),
    ("pg_replication_*", "changes replication"),
    ("pg_create_*", "changes the server"),
    ("pg_drop_*", "changes the server"),
    ("pg_copy_*", "changes replication"),
    ("pg_sync_*", "changes replication"),
    ("pg_switch_*", "changes the server"),
    ("pg_promote", "changes the server"),
    ("pg_wal_replay_pause", "changes the server"),
    ("pg_wal_replay_resume", "changes the server"),
    ("pg_backup_*", "changes the server"),
    ("pg_start_backup", "changes the server"),
    ("pg_stop_backup", "changes the server"),
    ("pg_export_snapshot", "writes a file of the server"),
    ("pg_import_*", "writes to the catalogue"),
    ("pg_extension_config_dump", "writes to the catalogue"),
    ("binary_upgrade_*", "writes to the catalogue"),
    ("pg_nextoid", "changes the server"),
    ("pg_stop_making_pinned_objects", "changes the server"),
    ("pg_notify", "sends a notification"),
    ("pg_prewarm", "changes the server's caches"),
    ("autoprewarm_*", "changes the server's caches"),
    ("pg_buffercache_evict*", "changes the server's caches"),
    ("pg_buffercache_mark_dirty*", "changes the server's caches"),
    ("pg_stat_reset*", "resets statistics"),
    ("pg_stat_statements_reset", "resets statistics"),
    ("pg_stat_monitor_reset", "resets statistics"),
    ("pg_stat_kcache_reset", "resets statistics"),
    ("pg_qualstats_reset", "resets statistics"),
    ("pg_wait_sampling_reset_profile", "resets statistics"),
    ("pg_stat_clear_*", "resets statistics"),
    ("pg_stat_force_*", "changes statistics"),
    ("pg_restore_*", "changes statistics"),
    ("pg_clear_*", "changes statistics"),
    ("brin_summarize_*", "changes an index"),
    ("brin_desummarize_range", "changes an index"),
    ("gin_clean_pending_list", "changes an index"),
    ("heap_force_*", "changes rows of a table"),
    ("pg_truncate_visibility_map", "changes a table"),
    ("nextval", "changes a sequence"),
    ("setval", "changes a sequence"),
    ("set_config", "changes the session"),
    ("setseed", "changes the session"),
    ("set_limit", "changes the session"),
    ("isn_weak", "changes the session"),
    ("hypopg_*", "changes the session"),
    ("query_to_xml*", "runs SQL that is given as a text"),
    ("cursor_to_xml*", "runs SQL that is given as a text"),
    ("ts_stat", "runs SQL that is given as a text"),
    ("ts_rewrite", "runs SQL that is given as a text"),
    ("crosstab*", "runs SQL that is given as a text"),
    ("connectby", "runs SQL that is given as a text"),
    ("xpath_table", "runs SQL that is given as a text"),
];

/// Functions that match a pattern of [`FUNCTIONS`] and only read.
const EXCEPTIONS: &[&str] = &[
    "pg_replication_origin_oid",
    "pg_replication_origin_progress",
    "pg_replication_origin_session_is_setup",
    "pg_replication_origin_session_progress",
];

/// Functions of [`FUNCTIONS`] with a row as their only argument.
const OF_ROWS: &[&str] = &["http"];

/// Schemas of extensions whose functions act on other servers or on jobs.
const SCHEMAS: &[(&str, &str)] = &[
    ("net", "sends a request to another server (pg_net)"),
    ("cron", "changes scheduled jobs (pg_cron)"),
    ("pgmq", "changes a queue (pgmq)"),
    ("dblink", "opens a connection to another server"),
];
