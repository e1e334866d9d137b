//! Replaying ledgers: ending processes and removing directories, and `shakedown clean` over dead runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::containers;
use super::ledger::{self, Line, Resource};
use super::native::postgres;
use super::proc::{self, ProcessId};

/// How long a polite process may take to end by itself, and how long killed ones to vanish.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(5);

/// Ends the processes and removes the directories of `resources`; says what could not be removed.
///
/// Only processes that were recorded with their start time, that descend from one of those, that work
/// in a recorded directory or that carry `mark` are touched.
pub(super) fn remove(resources: &[Resource], mark: &str) -> Vec<String> {
    let mut left = end_processes(resources, mark);
    for resource in resources.iter().rev() {
        if let Resource::Containers { engine, keep: false } = resource {
            left.extend(containers::remove_marked(engine, mark));
        }
        if let Resource::Container { engine, name } = resource {
            left.extend(containers::remove_marked(engine, name));
        }
        let Resource::Directory { path, keep } = resource else { continue };
        postgres::release_shared_memory(path);
        if *keep {
            continue;
        }
        if let Err(error) = remove_directory(path) {
            left.push(format!("directory {}: {error}", path.display()));
        }
    }
    left
}

fn end_processes(resources: &[Resource], mark: &str) -> Vec<String> {
    let polite: Vec<&ProcessId> = resources
        .iter()
        .filter_map(|resource| match resource {
            Resource::Process { process, polite: true, .. } if process.is_alive() => Some(process),
            _ => None,
        })
        .collect();
    for process in &polite {
        process.signal(Signal::SIGQUIT);
        // A paused process sees the signal only once it goes on; so do the descendants it waits for.
        process.signal(Signal::SIGCONT);
        process.descendants().iter().for_each(|process| process.signal(Signal::SIGCONT));
    }
    wait_until(|| polite.iter().all(|process| !process.is_alive()));

    let deadline = Instant::now() + PATIENCE;
    loop {
        let running = running(resources, mark);
        if running.is_empty() {
            return Vec::new();
        }
        if Instant::now() > deadline {
            return running.iter().map(|process| format!("process {} did not end", process.pid)).collect();
        }
        for process in &running {
            process.signal(Signal::SIGKILL);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Every process that still belongs to `resources`.
fn running(resources: &[Resource], mark: &str) -> BTreeSet<ProcessId> {
    let mut found = BTreeSet::new();
    if resources.iter().any(|resource| {
        !matches!(resource, Resource::Directory { .. } | Resource::Containers { .. } | Resource::Container { .. })
    }) {
        found.extend(proc::marked(mark));
    }
    for resource in resources {
        match resource {
            Resource::Process { process, .. } if process.is_alive() => {
                found.extend(process.descendants());
                found.insert(process.clone());
            }
            Resource::Directory { path, .. } => found.extend(proc::working_in(path)),
            Resource::Process { .. }
            | Resource::Launching { .. }
            | Resource::Containers { .. }
            | Resource::Container { .. } => {}
        }
    }
    found
}

/// Removes a directory that dying processes may still write to.
fn remove_directory(path: &Path) -> std::io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound && !path.exists() => return Ok(()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied || Instant::now() > deadline => {
                return Err(error);
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn wait_until(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}

/// What [`clean`] found in one ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The harness of that run is alive: nothing was touched.
    InUse {
        /// Its pid.
        pid: i32,
    },
    /// The harness is dead.
    Leftover {
        /// What it left, one line each.
        resources: Vec<String>,
        /// What could not be removed, one line each; empty in a dry run.
        left: Vec<String>,
    },
    /// The ledger cannot be read, so nothing was touched.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// One run that [`clean`] looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// The run's id, or the file's name when the ledger is unreadable.
    pub run: String,
    /// The ledger.
    pub ledger: PathBuf,
    /// What was found.
    pub found: Found,
}

/// Removes what dead runs left behind, as their ledgers under `state_dir` say.
///
/// A run whose harness process still lives is left alone. With `dry_run` nothing is touched.
///
/// # Errors
/// The directory of ledgers exists and cannot be read.
pub fn clean(state_dir: &Path, dry_run: bool) -> std::io::Result<Vec<Cleaned>> {
    let directory = ledger::directory(state_dir);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .filter(|path| path.as_ref().map_or(true, |path| path.extension().is_some_and(|kind| kind == "jsonl")))
        .collect::<std::io::Result<_>>()?;
    paths.sort();
    Ok(paths.into_iter().map(|path| clean_one(path, dry_run)).collect())
}

fn clean_one(ledger: PathBuf, dry_run: bool) -> Cleaned {
    let name = ledger.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (run, mark, harness, live) = match read(&ledger) {
        Ok(read) => read,
        Err(reason) => return Cleaned { run: name, ledger, found: Found::Unreadable { reason } },
    };
    if harness.is_alive() {
        return Cleaned { run, ledger, found: Found::InUse { pid: harness.pid } };
    }
    let left = if dry_run { Vec::new() } else { remove(&live, &mark) };
    if left.is_empty() && !dry_run {
        // Should the file stay, the next clean finds nothing more to remove.
        let _ = fs::remove_file(&ledger);
    }
    let resources = live.iter().map(ToString::to_string).collect();
    Cleaned { run, ledger, found: Found::Leftover { resources, left } }
}

type Read = (String, String, ProcessId, Vec<Resource>);

fn read(path: &Path) -> Result<Read, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    let Ok(Line::Harness { run, mark, process }) = serde_json::from_str(first) else {
        return Err("its first line does not name the harness process".to_owned());
    };
    let mut live = BTreeMap::new();
    for line in lines {
        match serde_json::from_str(line) {
            Ok(Line::Made { id, resource }) => {
                live.insert(id, resource);
            }
            Ok(Line::Gone { id }) => {
                live.remove(&id);
            }
            Ok(Line::Harness { .. }) => return Err("it names two harness processes".to_owned()),
            // The last line is torn when the harness died while writing it: what it names was not made yet.
            Err(_) if !line.ends_with('\n') => {}
            Err(error) => return Err(format!("a line is not valid: {error}")),
        }
    }
    Ok((run, mark, process, live.into_values().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(state: &Path, run: &str, lines: &[String]) -> PathBuf {
        let directory = ledger::directory(state);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(format!("{run}.jsonl"));
        fs::write(&path, lines.concat()).unwrap();
        path
    }

    fn line(line: &Line) -> String {
        format!("{}\n", serde_json::to_string(line).unwrap())
    }

    fn harness(run: &str, process: ProcessId) -> String {
        line(&Line::Harness { run: run.to_owned(), mark: run.to_owned(), process })
    }

    fn dead() -> ProcessId {
        ProcessId { pid: nix::unistd::getpid().as_raw(), started: "0".to_owned() }
    }

    #[test]
    fn a_run_whose_harness_lives_is_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let precious = state.path().join("precious");
        fs::create_dir(&precious).unwrap();
        let made = line(&Line::Made { id: 1, resource: Resource::Directory { path: precious.clone(), keep: false } });
        write(state.path(), "live", &[harness("live", ProcessId::own()), made]);
        let cleaned = clean(state.path(), false).unwrap();
        assert!(matches!(cleaned[0].found, Found::InUse { .. }), "{cleaned:?}");
        assert!(precious.exists());
    }

    #[test]
    fn a_dead_run_is_removed_and_a_torn_last_line_is_no_obstacle() {
        let state = tempfile::tempdir().unwrap();
        let made = state.path().join("left");
        fs::create_dir(&made).unwrap();
        let entry = line(&Line::Made { id: 1, resource: Resource::Directory { path: made.clone(), keep: false } });
        let path = write(state.path(), "dead", &[harness("dead", dead()), entry, r#"{"made":{"id":2,"#.to_owned()]);
        let dry = clean(state.path(), true).unwrap();
        assert!(made.exists() && path.exists());
        assert!(matches!(&dry[0].found, Found::Leftover { resources, .. } if resources.len() == 1), "{dry:?}");
        clean(state.path(), false).unwrap();
        assert!(!made.exists() && !path.exists());
    }

    #[test]
    fn processes_of_a_dead_run_are_ended_with_all_that_descends_from_them() {
        use std::os::unix::process::CommandExt;

        let state = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let start = |script: &str, mark: &str| {
            std::process::Command::new("sh")
                .args(["-c", script])
                .env(proc::MARK, mark)
                .current_dir(elsewhere.path())
                .process_group(0)
                .spawn()
                .unwrap()
        };
        // One that was recorded with a descendant in a session of its own, and one that died before its pid was recorded.
        let mut recorded = start("setsid sleep 60 & wait", "another-run");
        let mut launching = start("sleep 60 & wait", "dead");
        let process = ProcessId::of(i32::try_from(recorded.id()).unwrap()).unwrap();
        assert!(wait_until(|| proc::working_in(elsewhere.path()).len() == 4));
        let resource = |id, resource| line(&Line::Made { id, resource });
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
        assert_eq!(proc::working_in(elsewhere.path()), []);
        reap.join().unwrap();
    }

    #[test]
    fn a_ledger_that_cannot_be_read_is_reported_and_kept() {
        let state = tempfile::tempdir().unwrap();
        let path = write(state.path(), "odd", &["what?\n".to_owned()]);
        let cleaned = clean(state.path(), false).unwrap();
        assert!(matches!(cleaned[0].found, Found::Unreadable { .. }));
        assert!(path.exists());
    }

    #[test]
    fn a_reused_pid_is_never_signalled() {
        let mut innocent = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let pid = i32::try_from(innocent.id()).unwrap();
        let process = ProcessId { pid, started: "1".to_owned() };
        let resource = Resource::Process { name: "redis".to_owned(), process, polite: false };
        assert_eq!(remove(&[resource], "no-such-mark"), Vec::<String>::new());
        assert!(innocent.try_wait().unwrap().is_none(), "the innocent process was killed");
        innocent.kill().unwrap();
        innocent.wait().unwrap();
    }
}
