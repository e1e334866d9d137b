//! The names of the profiles.

/// Every profile, the default one first.
pub const PROFILES: &[&str] = &["development", "staging", "production"];
