//! `shakedown qdrant`: the embedded Qdrant as a server of its own.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, WrapErr};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::signals::asked_to_end;
use crate::outcome::Exit;
use shakedown_qdrant::{Bound, Options, Tls, serve};

/// Serve Qdrant's REST and gRPC protocols over the engine inside this program.
///
/// Prints one JSON line with the addresses once it can be used, and runs until SIGTERM or SIGINT.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// REST port; 0 takes a free one.
    #[arg(long, default_value_t = 6333)]
    http_port: u16,
    /// gRPC port; 0 takes a free one.
    #[arg(long, default_value_t = 6334)]
    grpc_port: u16,
    /// Directory for everything stored; made if there is none. One process at a time.
    #[arg(long, value_name = "DIR", default_value = "qdrant_storage")]
    storage: PathBuf,
    /// Key that requests must carry. Everyone on this machine can read it in the list of processes: prefer the
    /// environment variable or --api-key-file.
    #[arg(long, value_name = "KEY", env = "QDRANT_API_KEY", hide_env_values = true)]
    api_key: Option<SecretString>,
    /// File that holds the key, instead of the above; the end of its last line does not count.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Key that allows reading only, beside the above. Prefer the environment variable or --read-only-api-key-file
    /// here too.
    #[arg(long, value_name = "KEY", env = "QDRANT_READ_ONLY_API_KEY", hide_env_values = true)]
    read_only_api_key: Option<SecretString>,
    /// File that holds the key for reading only, instead of the above.
    #[arg(long, value_name = "FILE")]
    read_only_api_key_file: Option<PathBuf>,
    /// Certificate in PEM, for TLS on both ports; with --tls-key.
    #[arg(long, value_name = "FILE", env = "QDRANT_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", env = "QDRANT_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Authority in PEM that clients' certificates must come from; without it clients need none.
    #[arg(long, value_name = "FILE", env = "QDRANT_TLS_CA", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
}

/// The key in `file` if there is one, or else `given`.
fn key(file: Option<&Path>, given: Option<SecretString>) -> miette::Result<Option<SecretString>> {
    let Some(path) = file else { return Ok(given) };
    let text = std::fs::read_to_string(path)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read the API key from {}", path.display()))?;
    Ok(Some(SecretString::from(text.trim_end_matches(['\r', '\n']))))
}

/// Runs the server until it is told to stop.
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
    // Signals are taken before the storage is opened, so that none is lost in between.
    let asked_to_end = asked_to_end()?;
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        asked_to_end.await;
        stopper.cancel();
    });
    serve(options, stop, announce).await.into_diagnostic()?;
    Ok(Exit::Ok)
}

/// Tells the caller where the server listens: one JSON line on standard output.
fn announce(bound: Bound) {
    let line = serde_json::json!({ "http": bound.http.to_string(), "grpc": bound.grpc.to_string() });
    let mut out = std::io::stdout().lock();
    // A caller that closed our output knows the ports it asked for.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
