//! A throwaway Qdrant: the installed program, or the embedded engine of this binary.

use std::path::Path;

use nix::sys::signal::Signal;
use secrecy::SecretString;

use super::files::private_directory;
use super::plan::{Plan, launch_environment};
use crate::stack::error::StackError;
use crate::stack::process::Launch;
use crate::stack::ready::Readiness;
use crate::stack::service::Service;

/// The program that serves Qdrant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Program<'a> {
    /// `qdrant`, configured by its own environment variables.
    Real(&'a Path),
    /// `shakedown`, run as `shakedown qdrant`.
    Embedded(&'a Path),
}

/// Prepares `directory` and returns how to run Qdrant.
pub(super) fn plan(
    program: Program<'_>,
    directory: &Path,
    key: &SecretString,
    http: u16,
    grpc: u16,
) -> Result<Plan, StackError> {
    private_directory(directory, None)?;
    let storage = directory.join("storage").display().to_string();
    let plain = |name: &str, value: String| (name.to_owned(), SecretString::from(value));
    let mut environment = launch_environment();
    let (kind, program, arguments) = match program {
        Program::Real(program) => {
            environment.extend([
                plain("QDRANT__SERVICE__HOST", "127.0.0.1".to_owned()),
                plain("QDRANT__SERVICE__HTTP_PORT", http.to_string()),
                plain("QDRANT__SERVICE__GRPC_PORT", grpc.to_string()),
                ("QDRANT__SERVICE__API_KEY".to_owned(), key.clone()),
                plain("QDRANT__STORAGE__STORAGE_PATH", storage),
                plain("QDRANT__STORAGE__SNAPSHOTS_PATH", directory.join("snapshots").display().to_string()),
                plain("QDRANT__TELEMETRY_DISABLED", "true".to_owned()),
            ]);
            ("qdrant", program, Vec::new())
        }
        Program::Embedded(program) => {
            environment.push(("QDRANT_API_KEY".to_owned(), key.clone()));
            let mut arguments = vec!["qdrant".to_owned()];
            for (name, value) in
                [("http-port", http.to_string()), ("grpc-port", grpc.to_string()), ("storage", storage)]
            {
                arguments.extend([format!("--{name}"), value]);
            }
            ("embedded qdrant", program, arguments)
        }
    };
    Ok(Plan {
        service: Service::Qdrant,
        kind: kind.to_owned(),
        launch: Launch {
            name: "qdrant".to_owned(),
            program: program.to_owned(),
            arguments,
            environment,
            directory: directory.to_owned(),
            log: directory.join("qdrant.log"),
            account: None,
            on_harness_death: Signal::SIGKILL,
        },
        readiness: Readiness::Qdrant {
            url: format!("http://127.0.0.1:{http}"),
            grpc_url: format!("http://127.0.0.1:{grpc}"),
            key: Some(key.clone()),
        },
        stop_signal: Signal::SIGTERM,
    })
}
