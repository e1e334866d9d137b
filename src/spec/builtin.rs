//! The suites inside the binary.

/// Name and text of every built-in suite, in the order in which reports show them.
#[must_use]
pub const fn builtin_suites() -> &'static [(&'static str, &'static str)] {
    &[
        ("env", include_str!("../../suites/env.toml")),
        ("redis", include_str!("../../suites/redis.toml")),
        ("bullmq", include_str!("../../suites/bullmq.toml")),
        ("postgres", include_str!("../../suites/postgres.toml")),
        ("supabase", include_str!("../../suites/supabase.toml")),
        ("qdrant", include_str!("../../suites/qdrant.toml")),
        ("jina", include_str!("../../suites/jina.toml")),
        ("docker", include_str!("../../suites/docker.toml")),
        ("setup", include_str!("../../suites/setup.toml")),
        ("ingestion", include_str!("../../suites/ingestion.toml")),
        ("reconnection", include_str!("../../suites/reconnection.toml")),
        ("retries", include_str!("../../suites/retries.toml")),
        ("crash", include_str!("../../suites/crash.toml")),
        ("ordering", include_str!("../../suites/ordering.toml")),
        ("load", include_str!("../../suites/load.toml")),
        ("bullmq-interop", include_str!("../../suites/bullmq-interop.toml")),
    ]
}
