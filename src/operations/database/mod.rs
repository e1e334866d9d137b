//! `shakedown db`: inspect a Supabase database, and apply migrations.
//!
//! Migrations are recorded as the Supabase CLI records them, so that either tool can continue where the other stopped.

mod inspect;
mod migrate;

pub use inspect::{TABLES, query, tables};
pub use migrate::{History, MigrateError, MigratedFile, Options, Progress, history, migrate, new_file};
