//! The throwaway directory of a run.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::ledger::{Ledger, Resource};
use super::{StackError, StackOptions, random_word};
use crate::settings::Endpoints;

/// Where Linux keeps files in memory.
const IN_MEMORY: &str = "/dev/shm";

/// Bytes that must be free there, and in the machine's memory, before it is used: several times what a run with both its
/// stacks was seen to write (0.75 GiB), for more than one may be under way.
const AMPLE: u64 = 4 << 30;

/// The directory in which throwaway directories are made unless somebody names another one: one whose files lie in
/// memory, where there is one with ample room, for a run writes thousands of files that nobody will read again; else, or
/// where `TMPDIR` is set, the system's temporary directory.
#[must_use]
pub fn usual_data_dir() -> PathBuf {
    let asked_for = crate::settings::process_variable("TMPDIR").is_some();
    let in_memory = Path::new(IN_MEMORY);
    if !asked_for && holds(in_memory, AMPLE) && free_memory().is_some_and(|free| free >= AMPLE) {
        return in_memory.to_owned();
    }
    std::env::temp_dir()
}

/// Whether files in `directory` lie in memory, and there is room for so many bytes that we may write.
#[cfg(target_os = "linux")]
fn holds(directory: &Path, bytes: u64) -> bool {
    use nix::sys::statfs::{TMPFS_MAGIC, statfs};
    use nix::unistd::{AccessFlags, access};
    let Ok(about) = statfs(directory) else { return false };
    let block = u64::try_from(about.block_size()).unwrap_or(0);
    about.filesystem_type() == TMPFS_MAGIC
        && about.blocks_available().saturating_mul(block) >= bytes
        && access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn holds(_: &Path, _: u64) -> bool {
    false
}

/// Bytes of memory that this process could still use: the machine's, or what its control group (version 2) leaves it.
fn free_memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok()?;
    let available = machine.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available = available.split_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024);
    let group =
        |file: &str| fs::read_to_string(Path::new("/sys/fs/cgroup").join(file)).ok()?.trim().parse::<u64>().ok();
    // Without a limit the file says `max`, or is not there.
    Some(match group("memory.max") {
        Some(limit) => available.min(limit.saturating_sub(group("memory.current").unwrap_or(0))),
        None => available,
    })
}

/// Creates the directory in which everything lies; its name carries the run's id.
///
/// Other users may pass through it if `passable`, for services that run as one; they see nothing inside.
pub(super) fn throwaway(options: &StackOptions, passable: bool, ledger: &Ledger) -> Result<PathBuf, StackError> {
    // What stays when the run is over stays where people look for it.
    let usual = || if options.keep { std::env::temp_dir() } else { usual_data_dir() };
    let parent = options.data_dir.clone().unwrap_or_else(usual);
    let fail = |path: &Path, cause| StackError::Directory { action: "create", path: path.to_owned(), cause };
    fs::create_dir_all(&parent).map_err(|cause| fail(&parent, cause))?;
    // Every path below is given to programs that run elsewhere.
    let parent = fs::canonicalize(&parent).map_err(|cause| fail(&parent, cause))?;
    let path = parent.join(format!("shakedown-{}-{}", options.run, random_word(6).to_lowercase()));
    let entry = ledger.add(Resource::Directory { path: path.clone(), keep: options.keep })?;
    let mode = if passable { 0o711 } else { 0o700 };
    if let Err(cause) = fs::DirBuilder::new().mode(mode).create(&path) {
        ledger.gone(entry);
        return Err(fail(&path, cause));
    }
    // The umask may have taken bits away.
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(|cause| fail(&path, cause))?;
    Ok(path)
}

/// Writes the variables of a stack that stays, as a shell reads them, to a file that only this user can read.
pub(super) fn write_environment(path: &Path, endpoints: &Endpoints) -> Result<(), StackError> {
    let quoted = |value: &str| format!("'{}'", value.replace('\'', r"'\''"));
    let lines: String = endpoints
        .environment()
        .iter()
        .map(|variable| format!("{}={}\n", variable.name, quoted(variable.value.expose_secret())))
        .collect();
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(lines.as_bytes())).map_err(|cause| StackError::Directory {
        action: "write",
        path: path.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_on_disk_is_not_in_memory() {
        assert!(!holds(Path::new("/proc"), 0));
        assert!(!holds(Path::new("/nowhere"), 0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_is_used_as_far_as_there_is_room() {
        let Ok(about) = nix::sys::statfs::statfs(IN_MEMORY) else { return };
        let is_there = about.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC;
        assert_eq!(holds(Path::new(IN_MEMORY), 0), is_there);
        assert!(!holds(Path::new(IN_MEMORY), u64::MAX));
        assert!(free_memory().unwrap() > 0);
    }
}
