//! `shakedown db`: look at a Supabase database, and bring its migrations in.
//!
//! Migrations are recorded as the Supabase CLI records them, so that either may go on where the other stopped.

mod look;
mod migrate;

pub use look::{TABLES, query, tables};
pub use migrate::{Done, History, MigrateError, Options, history, migrate, new_file};
