//! Planted defects that open connections.

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::rows::Statement;
use super::{Identity, Store, StoreError};

impl Store {
    /// A planted defect: a transaction on the one connection of the worker, which is not rolled back after an error.
    pub(super) async fn execute_without_rollback(&self, query: Statement<'_>) -> Result<u64, StoreError> {
        let mut reused = self.reused.lock().await;
        if reused.is_none() {
            *reused = Some(PgConnection::connect_with(self.postgres.connect_options().as_ref()).await?);
        }
        let Some(connection) = reused.as_mut() else { return Ok(0) };
        sqlx::query("begin").execute(&mut *connection).await?;
        let touched = query.execute(&mut *connection).await?.rows_affected();
        sqlx::query("commit").execute(&mut *connection).await?;
        Ok(touched)
    }

    /// A planted defect: connections to every service that are never closed.
    pub(in crate::reference_worker) fn connect_anew(&self, identity: &Identity) {
        let options = self.postgres.connect_options().as_ref().clone();
        let others = self.other_addresses.clone();
        tracing::warn!(document = identity.document, "planted defect");
        tokio::spawn(async move {
            let held = PgConnection::connect_with(&options).await;
            let also = futures::future::join_all(others.iter().map(tokio::net::TcpStream::connect)).await;
            std::future::pending::<()>().await;
            drop((held, also));
        });
    }

    /// A planted defect: a connection to every service, reopened at once whenever it ends or is refused.
    pub(in crate::reference_worker) fn storm(&self) {
        let options = self.postgres.connect_options();
        let postgres = format!("{}:{}", options.get_host(), options.get_port());
        for address in self.other_addresses.iter().cloned().chain([postgres]) {
            tokio::spawn(async move {
                loop {
                    if let Ok(mut stream) = tokio::net::TcpStream::connect(&address).await {
                        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        }
    }

    /// A planted defect: another process holds connections for a while after the worker's end.
    pub(in crate::reference_worker) fn leave_connections(&self) {
        use std::os::fd::OwnedFd;
        use std::process::{Command, Stdio};
        for stream in self.other_addresses.iter().filter_map(|address| std::net::TcpStream::connect(address).ok()) {
            let mut command = Command::new("sleep");
            command.arg("4").stdin(OwnedFd::from(stream)).stdout(Stdio::null()).stderr(Stdio::null());
            if let Err(error) = command.spawn() {
                tracing::warn!(%error, "planted defect");
            }
        }
    }
}
