//! `shakedown db`: inspect at a Supabase database, and bring its migrations in.
//!
//! Migrations are recorded as the Supabase CLI records them, so that either may go on where the other stopped.

mod inspect;
mod migrate;

pub use inspect::{TABLES, query, tables};
pub use migrate::{History, MigrateError, MigratedFile, Options, history, migrate, new_file};
