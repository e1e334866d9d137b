//! PostgREST, the REST API of Supabase, over a throwaway Postgres, for workers that use supabase-js: the real one where
//! `postgrest` is on `PATH`, otherwise a stand-in. Both serve `/rest/v1` and take the keys of the run.
//!
//! The stand-in serves what supabase-js sends for `select`, `insert`, `upsert`, `update` and `delete` with filters, order
//! and ranges: <https://docs.postgrest.org/en/v12/references/api/tables_views.html>. It does not embed related tables and
//! calls no functions; such a request gets an error that says so. It switches to the role of the key like PostgREST, so
//! that grants and row level security apply.

mod filter;
mod gateway;
mod invalid;
mod keys;
mod program;
mod query;
mod server;
mod sql;
mod statement;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use axum::Router;
use tokio::task::AbortHandle;

pub use keys::SupabaseKeys;
pub use program::Program;

use self::program::Running;
use super::cleanup::ledger::Ledger;
use super::error::StackError;
use super::ports;
use crate::outcome::{ServiceRecord, ServiceStatus};
use crate::settings::{PostgresEndpoint, SupabaseEndpoint};

/// The longest body that is read, in bytes.
const MAX_BODY: usize = 64 << 20;

/// A running PostgREST or stand-in. It ends when it is dropped.
#[derive(Debug)]
pub struct Postgrest {
    endpoint: SupabaseEndpoint,
    /// The stand-in, or the gateway before the program.
    server: AbortHandle,
    program: Option<Running>,
}

impl Postgrest {
    /// Starts the stand-in on a free port of 127.0.0.1, over `postgres`. It exposes the schema `public` and these.
    ///
    /// # Errors
    /// No port can be listened on, or the URL of Postgres is invalid.
    pub fn start_stand_in(postgres: &PostgresEndpoint, schemas: &[String]) -> Result<Self, StackError> {
        let keys = SupabaseKeys::generate();
        let listener = ports::listen("postgrest", None)?;
        let (port, server) = server::serve(listener, postgres, exposed(schemas), &keys)?;
        Ok(Self { endpoint: endpoint(port, keys), server, program: None })
    }

    /// Starts `program` over `postgres`, with its log in `place`, and a gateway before it on a free port of 127.0.0.1. It
    /// exposes the schema `public` and these.
    ///
    /// # Errors
    /// No port can be listened on, or the program does not start or become ready.
    pub async fn start(
        program: &Program,
        postgres: &PostgresEndpoint,
        schemas: &[String],
        place: (&Path, &Ledger),
    ) -> Result<Self, StackError> {
        let keys = SupabaseKeys::generate();
        let running = Running::start(program, postgres, &exposed(schemas), &keys, place).await?;
        let (port, server) = gateway::serve(ports::listen("postgrest", None)?, running.url.clone())?;
        Ok(Self { endpoint: endpoint(port, keys), server, program: Some(running) })
    }

    /// Reads the schema again after migrations. The stand-in knows each table at once.
    ///
    /// # Errors
    /// The program does not become ready again.
    pub async fn reload(&mut self) -> Result<(), StackError> {
        match &mut self.program {
            Some(program) => program.restart().await,
            None => Ok(()),
        }
    }

    /// Its address and the keys of this run.
    #[must_use]
    pub const fn endpoint(&self) -> &SupabaseEndpoint {
        &self.endpoint
    }

    /// What a report says of the one that scenarios start: each has its own.
    #[must_use]
    pub fn record(program: Option<&Program>) -> ServiceRecord {
        let (kind, version) = match program {
            Some(program) => ("postgrest", program.version()),
            None => ("stand-in for PostgREST", ""),
        };
        ServiceRecord {
            name: "postgrest".to_owned(),
            status: ServiceStatus::Ready,
            version: version.to_owned(),
            endpoint: format!("http://{}", Ipv4Addr::LOCALHOST),
            kind: kind.to_owned(),
            ready_after_ms: None,
            parameters: BTreeMap::new(),
        }
    }
}

impl Drop for Postgrest {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn endpoint(port: u16, keys: SupabaseKeys) -> SupabaseEndpoint {
    let url = format!("http://{}:{port}", Ipv4Addr::LOCALHOST);
    SupabaseEndpoint { url, anon_key: keys.anon, service_key: keys.service }
}

/// The schemas that are exposed; the first is the default one.
fn exposed(schemas: &[String]) -> Vec<String> {
    let others = schemas.iter().filter(|schema| *schema != "public").cloned();
    std::iter::once("public".to_owned()).chain(others).collect()
}

/// Serves until the task is aborted; returns the port too.
fn serve(listener: TcpListener, service: Router) -> Result<(u16, AbortHandle), StackError> {
    let port = listener.local_addr().map_err(StackError::NoPort)?.port();
    listener.set_nonblocking(true).map_err(StackError::NoPort)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(StackError::NoPort)?;
    let server = tokio::spawn(async move {
        // It ends by being aborted: no caller is left to receive an error.
        let _ = axum::serve(listener, service).await;
    });
    Ok((port, server.abort_handle()))
}
