//! A throwaway Redis (or Valkey): password required, no eviction, an append-only file that survives a restart.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::Signal;
use secrecy::{ExposeSecret, SecretString};

use super::files::{private_directory, write_private};
use super::plan::{Plan, launch_environment};
use crate::stack::error::StackError;
use crate::stack::process::Launch;
use crate::stack::ready::Readiness;
use crate::stack::redis_config::protected_configs;
use crate::stack::service::Service;

/// Prepares `directory` and returns how to run Redis on `port`.
pub(super) fn plan(program: &Path, directory: &Path, password: &SecretString, port: u16) -> Result<Plan, StackError> {
    private_directory(directory, None)?;
    // The password goes into a file that only this user can read: arguments are visible to every user.
    let config = directory.join("redis.conf");
    let text = format!(
        "bind 127.0.0.1\nport {port}\nprotected-mode yes\nrequirepass {}\ndir {}\ndaemonize no\nlogfile \"\"\n\
         databases 16\nmaxmemory-policy noeviction\nsave \"\"\nappendonly yes\nappendfsync everysec\n\
         auto-aof-rewrite-percentage 0\n{}",
        password.expose_secret(),
        quoted(directory),
        protected_configs(major_version(program)),
    );
    write_private(&config, &text, None)?;
    let url = SecretString::from(format!("redis://default:{}@127.0.0.1:{port}/0", password.expose_secret()));
    Ok(Plan {
        service: Service::Redis,
        kind: program.file_name().map_or_else(|| "redis-server".to_owned(), |name| name.to_string_lossy().into_owned()),
        launch: Launch {
            name: "redis".to_owned(),
            program: program.to_owned(),
            arguments: vec![config.display().to_string()],
            environment: launch_environment(),
            directory: directory.to_owned(),
            log: log(directory),
            account: None,
            on_harness_death: Signal::SIGKILL,
        },
        readiness: Readiness::Redis { url },
        stop_signal: Signal::SIGTERM,
    })
}

/// The major version according to `program --version`, as in `Redis server v=7.0.15 …`.
fn major_version(program: &Path) -> Option<u32> {
    let output = std::process::Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_once("v=")?.1.split('.').next()?.parse().ok()
}

fn log(directory: &Path) -> PathBuf {
    directory.join("redis.log")
}

/// A path in the syntax of `redis.conf`.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}
