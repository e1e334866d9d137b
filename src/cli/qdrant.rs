//! `shakedown qdrant`: the embedded Qdrant as a server.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, WrapErr};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::signals::end_signal;
use crate::outcome::Exit;
use crate::redaction;
use shakedown_qdrant::{Bound, Options, Tls, serve};

/// Run the embedded Qdrant as a server with the REST and gRPC APIs
///
/// Prints one JSON line with the addresses when it is ready, and runs until SIGTERM or SIGINT.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// REST port; 0 takes a free one
    #[arg(long, default_value_t = 6333)]
    http_port: u16,
    /// gRPC port; 0 takes a free one
    #[arg(long, default_value_t = 6334)]
    grpc_port: u16,
    /// Directory for the data; created if it is missing. Only one process can use it at a time
    #[arg(long, value_name = "DIR", default_value = "qdrant_storage")]
    storage: PathBuf,
    /// Key that requests must carry. Every user of this machine can read the flag in the process list: prefer the
    /// environment variable or --api-key-file
    #[arg(long, value_name = "KEY", env = "QDRANT_API_KEY", hide_env_values = true)]
    api_key: Option<SecretString>,
    /// File with the key; a trailing line break is ignored
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Key that only allows reads. Prefer the environment variable or --read-only-api-key-file here too
    #[arg(long, value_name = "KEY", env = "QDRANT_READ_ONLY_API_KEY", hide_env_values = true)]
    read_only_api_key: Option<SecretString>,
    /// File with the read-only key
    #[arg(long, value_name = "FILE")]
    read_only_api_key_file: Option<PathBuf>,
    /// Certificate for TLS on both ports, in PEM; needs --tls-key
    #[arg(long, value_name = "FILE", env = "QDRANT_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", env = "QDRANT_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Certificate authority for client certificates, in PEM; without it clients need no certificate
    #[arg(long, value_name = "FILE", env = "QDRANT_TLS_CA", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
}

/// The key in `file`, else `given`.
fn key(file: Option<&Path>, given: Option<SecretString>) -> miette::Result<Option<SecretString>> {
    let key = match file {
        None => given,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .into_diagnostic()
                .wrap_err_with(|| format!("cannot read the API key from {}", path.display()))?;
            Some(SecretString::from(text.trim_end_matches(['\r', '\n'])))
        }
    };
    redaction::learn(key.as_ref().map(|key| ("QDRANT_API_KEY", key)));
    Ok(key)
}

/// Runs the server until a signal ends it.
///
/// # Errors
/// A key file or a TLS file cannot be read, the storage cannot be opened, or a port cannot be bound: exit code 2.
pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let tls = args.tls_cert.zip(args.tls_key);
    let options = Options {
        host: args.host,
        http_port: args.http_port,
        grpc_port: args.grpc_port,
        storage: args.storage,
        api_key: key(args.api_key_file.as_deref(), args.api_key)?,
        read_only_api_key: key(args.read_only_api_key_file.as_deref(), args.read_only_api_key)?,
        tls: tls.map(|(certificate, key)| Tls { certificate, key, authority: args.tls_ca }),
    };
    // Signal handlers are installed before the storage is opened, so that no signal is lost.
    let end_signal = end_signal()?;
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        end_signal.await;
        stopper.cancel();
    });
    serve(options, stop, announce).await.into_diagnostic()?;
    Ok(Exit::Ok)
}

/// Prints the addresses as one JSON line.
fn announce(bound: Bound) {
    let line = serde_json::json!({ "http": bound.http.to_string(), "grpc": bound.grpc.to_string() });
    let mut out = std::io::stdout().lock();
    // The caller may have closed the pipe.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
