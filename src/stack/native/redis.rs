//! A throwaway Redis (or Valkey): password enforced, nothing evicted, an append-only file that survives a restart.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::Signal;
use secrecy::{ExposeSecret, SecretString};

use super::{Plan, launch_environment, private_directory, write_private};
use crate::stack::process::Launch;
use crate::stack::ready::Readiness;
use crate::stack::{Service, StackError};

/// Prepares `directory` and says how to run Redis on `port`.
pub(super) fn plan(program: &Path, directory: &Path, password: &SecretString, port: u16) -> Result<Plan, StackError> {
    private_directory(directory, None)?;
    // The password goes into a file that only this user reads: arguments are visible to everyone.
    let config = directory.join("redis.conf");
    let text = format!(
        "bind 127.0.0.1\nport {port}\nprotected-mode yes\nrequirepass {}\ndir {}\ndaemonize no\nlogfile \"\"\n\
         databases 16\nmaxmemory-policy noeviction\nsave \"\"\nappendonly yes\nappendfsync everysec\n\
         auto-aof-rewrite-percentage 0\n{}",
        password.expose_secret(),
        quoted(directory),
        protected_configs(version(program)),
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
        polite: Signal::SIGTERM,
    })
}

/// The line that lets a scenario make saving fail (`CONFIG SET dir`); before Redis 7 it was allowed anyway, and the
/// line is an error there.
pub(in crate::stack) const fn protected_configs(major: Option<u32>) -> &'static str {
    match major {
        Some(major) if major >= 7 => "enable-protected-configs yes\n",
        _ => "",
    }
}

/// The major version that `program --version` names, as in `Redis server v=7.0.15 …`.
fn version(program: &Path) -> Option<u32> {
    let said = std::process::Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    said.split_once("v=")?.1.split('.').next()?.parse().ok()
}

fn log(directory: &Path) -> PathBuf {
    directory.join("redis.log")
}

/// A path as `redis.conf` wants it.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}
