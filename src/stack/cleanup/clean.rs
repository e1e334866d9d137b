//! `shakedown clean`: removing what dead runs left behind, according to their ledgers.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::ledger::{LedgerLine, RUNS};
use super::remote_data::RemoteData;
use super::remove::remove;
use super::resource::Resource;
use crate::settings::check_private;
use crate::stack::process_id::{ProcessId, system_id};

/// What [`clean`] found in one ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The harness of the run is alive: nothing was removed.
    InUse {
        /// Its pid.
        pid: i32,
    },
    /// The harness is dead.
    Leftover {
        /// What it left on this machine, one line each.
        resources: Vec<String>,
        /// What it left in services that it did not start; [`clean_remote_data`](crate::stack::clean_remote_data)
        /// removes it.
        remote: Vec<RemoteData>,
        /// What could not be removed, one line each; empty in a dry run.
        left: Vec<String>,
    },
    /// The harness ran on another machine, in another container, or before the last boot: its state cannot be seen from
    /// here, so nothing was removed.
    Elsewhere,
    /// The ledger cannot be read, so nothing was removed.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// What [`clean`] did for one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// The id of the run, or the name of the file if the ledger is unreadable.
    pub run: String,
    /// The ledger.
    pub ledger: PathBuf,
    /// What was found.
    pub found: Found,
}

/// Removes what dead runs left behind, according to their ledgers under `state_dir`.
///
/// A run whose harness still runs is skipped. With `dry_run` nothing is removed.
///
/// # Errors
/// The directory of ledgers exists and cannot be read.
pub fn clean(state_dir: &Path, dry_run: bool) -> std::io::Result<Vec<Cleaned>> {
    let directory = state_dir.join(RUNS);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // Its files say what is removed: only this user may have written them.
    check_private(&directory).map_err(std::io::Error::other)?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .filter(|path| path.as_ref().map_or(true, |path| path.extension().is_some_and(|kind| kind == "jsonl")))
        .collect::<std::io::Result<_>>()?;
    paths.sort();
    Ok(paths.into_iter().map(|path| clean_one(path, dry_run)).collect())
}

fn clean_one(ledger: PathBuf, dry_run: bool) -> Cleaned {
    let name = ledger.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let LedgerContent { run, mark, harness, system, live } = match read(&ledger) {
        Ok(content) => content,
        Err(reason) => return Cleaned { run: name, ledger, found: Found::Unreadable { reason } },
    };
    if system != system_id() {
        return Cleaned { run, ledger, found: Found::Elsewhere };
    }
    if harness.is_alive() {
        return Cleaned { run, ledger, found: Found::InUse { pid: harness.pid } };
    }
    let (remote, live): (Vec<Resource>, Vec<Resource>) =
        live.into_iter().partition(|resource| matches!(resource, Resource::RemoteData(_)));
    let left = if dry_run { Vec::new() } else { remove(&live, &mark) };
    if left.is_empty() && remote.is_empty() && !dry_run {
        // If the file stays, the next clean finds nothing more to remove.
        let _ = fs::remove_file(&ledger);
    }
    let resources = live.iter().map(ToString::to_string).collect();
    let remote = remote.into_iter().filter_map(|resource| match resource {
        Resource::RemoteData(data) => Some(data),
        _ => None,
    });
    Cleaned { run, ledger, found: Found::Leftover { resources, remote: remote.collect(), left } }
}

/// Removes what the ledger of a dead run lists on this machine, and then the ledger: its data in services is removed.
/// Returns what could not be removed, one line each.
pub(super) fn finish(ledger: &Path) -> Vec<String> {
    let Ok(LedgerContent { mark, live, .. }) = read(ledger) else { return Vec::new() };
    let is_local = |resource: &Resource| !matches!(resource, Resource::RemoteData(_));
    let local: Vec<Resource> = live.into_iter().filter(is_local).collect();
    let left = remove(&local, &mark);
    if left.is_empty() {
        // If the file stays, the next clean finds nothing more to remove.
        let _ = fs::remove_file(ledger);
    }
    left
}

struct LedgerContent {
    run: String,
    mark: String,
    harness: ProcessId,
    /// Where the pid is valid.
    system: String,
    live: Vec<Resource>,
}

fn read(path: &Path) -> Result<LedgerContent, String> {
    check_private(path).map_err(|error| error.to_string())?;
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    let Ok(LedgerLine::Harness { run, mark, process: harness, system }) = serde_json::from_str(first) else {
        return Err("the first line does not name the harness process".to_owned());
    };
    let mut live = BTreeMap::new();
    for line in lines {
        match serde_json::from_str(line) {
            Ok(LedgerLine::Made { id, resource }) => {
                live.insert(id, resource);
            }
            Ok(LedgerLine::Gone { id }) => {
                live.remove(&id);
            }
            Ok(LedgerLine::Harness { .. }) => return Err("it names more than one harness process".to_owned()),
            // A partial last line: the harness died while writing it, before it created the resource.
            Err(_) if !line.ends_with('\n') => {}
            Err(error) => return Err(format!("invalid line: {error}")),
        }
    }
    Ok(LedgerContent { run, mark, harness, system, live: live.into_values().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::process_id::{MARK, working_in};

    fn write(state: &Path, run: &str, lines: &[String]) -> PathBuf {
        let directory = state.join(RUNS);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(format!("{run}.jsonl"));
        fs::write(&path, lines.concat()).unwrap();
        path
    }

    fn line(line: &LedgerLine) -> String {
        format!("{}\n", serde_json::to_string(line).unwrap())
    }

    fn harness(run: &str, process: ProcessId) -> String {
        line(&LedgerLine::Harness { run: run.to_owned(), mark: run.to_owned(), process, system: system_id() })
    }

    fn dead() -> ProcessId {
        ProcessId { pid: nix::unistd::getpid().as_raw(), started: "0".to_owned() }
    }

    #[test]
    fn a_run_with_a_live_harness_is_skipped() {
        let state = tempfile::tempdir().unwrap();
        let precious = state.path().join("precious");
        fs::create_dir(&precious).unwrap();
        let made =
            line(&LedgerLine::Made { id: 1, resource: Resource::Directory { path: precious.clone(), keep: false } });
        write(state.path(), "live", &[harness("live", ProcessId::own()), made]);
        let cleaned = clean(state.path(), false).unwrap();
        assert!(matches!(cleaned[0].found, Found::InUse { .. }), "{cleaned:?}");
        assert!(precious.exists());
    }

    #[test]
    fn a_dead_run_is_removed_despite_a_partial_last_line() {
        let state = tempfile::tempdir().unwrap();
        let made = state.path().join("shakedown-left");
        fs::create_dir(&made).unwrap();
        let entry =
            line(&LedgerLine::Made { id: 1, resource: Resource::Directory { path: made.clone(), keep: false } });
        let path = write(state.path(), "dead", &[harness("dead", dead()), entry, r#"{"made":{"id":2,"#.to_owned()]);
        let dry = clean(state.path(), true).unwrap();
        assert!(made.exists() && path.exists());
        assert!(matches!(&dry[0].found, Found::Leftover { resources, .. } if resources.len() == 1), "{dry:?}");
        clean(state.path(), false).unwrap();
        assert!(!made.exists() && !path.exists());
    }

    #[test]
    fn processes_of_a_dead_run_are_stopped_with_their_descendants() {
        use std::os::unix::process::CommandExt;
        use std::time::{Duration, Instant};

        let state = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let start = |script: &str, mark: &str| {
            std::process::Command::new("sh")
                .args(["-c", script])
                .env(MARK, mark)
                .current_dir(elsewhere.path())
                .process_group(0)
                .spawn()
                .unwrap()
        };
        // The first is recorded and has a descendant in another session. For the second, the harness died before it
        // recorded the pid.
        let mut recorded = start("setsid sleep 60 & wait", "another-run");
        let mut launching = start("sleep 60 & wait", "dead");
        let process = ProcessId::from_pid(i32::try_from(recorded.id()).unwrap()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(3);
        while working_in(elsewhere.path()).len() != 4 {
            assert!(Instant::now() < deadline, "the processes did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        let resource = |id, resource| line(&LedgerLine::Made { id, resource });
        write(
            state.path(),
            "dead",
            &[
                harness("dead", dead()),
                resource(1, Resource::Process { name: "worker".to_owned(), process, polite: false }),
                resource(2, Resource::Launching { name: "redis".to_owned() }),
            ],
        );
        let reap = std::thread::spawn(move || (recorded.wait().unwrap(), launching.wait().unwrap()));
        clean(state.path(), false).unwrap();
        assert_eq!(working_in(elsewhere.path()), []);
        reap.join().unwrap();
    }

    #[test]
    fn a_run_of_another_namespace_is_not_touched() {
        let state = tempfile::tempdir().unwrap();
        let precious = state.path().join("shakedown-precious");
        fs::create_dir(&precious).unwrap();
        let (run, mark, process) = ("far".to_owned(), "far".to_owned(), dead());
        let system = system_id().replace("pid:[", "pid:[9");
        let first = line(&LedgerLine::Harness { run, mark, process, system });
        let made =
            line(&LedgerLine::Made { id: 1, resource: Resource::Directory { path: precious.clone(), keep: false } });
        let ledger = write(state.path(), "far", &[first, made]);
        let cleaned = clean(state.path(), false).unwrap();
        assert_eq!(cleaned[0].found, Found::Elsewhere);
        assert!(precious.exists() && ledger.exists());
    }

    #[test]
    fn a_ledger_of_another_user_is_not_obeyed() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let state = tempfile::tempdir().unwrap();
        let precious = state.path().join("shakedown-precious");
        fs::create_dir(&precious).unwrap();
        let made =
            line(&LedgerLine::Made { id: 1, resource: Resource::Directory { path: precious.clone(), keep: false } });
        let ledger = write(state.path(), "theirs", &[harness("theirs", dead()), made]);
        std::os::unix::fs::chown(&ledger, Some(65534), None).unwrap();
        let cleaned = clean(state.path(), false).unwrap();
        assert!(matches!(&cleaned[0].found, Found::Unreadable { reason } if reason.contains("65534")), "{cleaned:?}");
        std::os::unix::fs::chown(state.path().join(RUNS), Some(65534), None).unwrap();
        clean(state.path(), false).unwrap_err();
        assert!(precious.exists());
    }

    #[test]
    fn an_unreadable_ledger_is_reported_and_kept() {
        let state = tempfile::tempdir().unwrap();
        let path = write(state.path(), "odd", &["what?\n".to_owned()]);
        let cleaned = clean(state.path(), false).unwrap();
        assert!(matches!(cleaned[0].found, Found::Unreadable { .. }));
        assert!(path.exists());
    }
}
