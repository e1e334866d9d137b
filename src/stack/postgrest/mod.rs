//! A stand-in for PostgREST, the REST API of Supabase, over a throwaway Postgres: workers that use supabase-js can be
//! judged where no `postgrest` can be had.
//!
//! It serves what supabase-js sends for `select`, `insert`, `upsert`, `update` and `delete` with filters, order and
//! ranges: <https://docs.postgrest.org/en/v12/references/api/tables_views.html>. It does not embed related tables and
//! calls no functions; such a request gets an error that says so. It switches to the role of the key like PostgREST, so
//! that grants and row level security apply.

mod filter;
mod invalid;
mod keys;
mod query;
mod server;
mod sql;
mod statement;

use std::net::{Ipv4Addr, TcpListener};

use tokio::task::AbortHandle;

pub use keys::SupabaseKeys;

use super::error::StackError;
use super::ports;
use crate::settings::{PostgresEndpoint, SupabaseEndpoint};

/// A running stand-in. It stops listening when it is dropped.
#[derive(Debug)]
pub struct Postgrest {
    endpoint: SupabaseEndpoint,
    server: AbortHandle,
}

impl Postgrest {
    /// Starts the stand-in on a free port of 127.0.0.1, over `postgres`. It exposes the schema `public` and these.
    ///
    /// # Errors
    /// No port can be listened on, or the URL of Postgres is invalid.
    pub fn start(postgres: &PostgresEndpoint, schemas: &[String]) -> Result<Self, StackError> {
        let listener = ports::listen("postgrest", None)?;
        let keys = SupabaseKeys::generate();
        let (port, server) = server::serve(listener, postgres, schemas, &keys)?;
        let endpoint = SupabaseEndpoint {
            url: format!("http://{}:{port}", Ipv4Addr::LOCALHOST),
            anon_key: keys.anon,
            service_key: keys.service,
        };
        Ok(Self { endpoint, server })
    }

    /// Its address and the keys of this run.
    #[must_use]
    pub const fn endpoint(&self) -> &SupabaseEndpoint {
        &self.endpoint
    }
}

impl Drop for Postgrest {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The port of a listener.
fn port_of(listener: &TcpListener) -> Result<u16, StackError> {
    listener.local_addr().map(|address| address.port()).map_err(StackError::NoPort)
}
