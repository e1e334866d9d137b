//! The throwaway directory of a run.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::cleanup::ledger::Ledger;
use super::cleanup::resource::{PREFIX, Resource};
use super::error::StackError;
use super::options::StackOptions;
use super::random::random_word;
use crate::settings::Endpoints;

/// The file system in memory of Linux.
const IN_MEMORY: &str = "/dev/shm";

/// The bytes that must be free there and in the memory of the machine before it is used. A run with both its stacks
/// writes 0.75 GiB (measured), and several runs may be active at the same time.
const REQUIRED_SPACE: u64 = 4 << 30;

/// The default parent of throwaway directories: a file system in memory if it has enough space, because a run writes
/// thousands of short-lived files. Otherwise, or if `TMPDIR` is set, the temporary directory of the system.
#[must_use]
pub fn usual_data_dir() -> PathBuf {
    let tmpdir_is_set = crate::settings::process_variable("TMPDIR").is_some();
    let in_memory = Path::new(IN_MEMORY);
    if !tmpdir_is_set
        && has_memory_space(in_memory, REQUIRED_SPACE)
        && free_memory().is_some_and(|free| free >= REQUIRED_SPACE)
    {
        return in_memory.to_owned();
    }
    std::env::temp_dir()
}

/// Whether `directory` is a file system in memory that we may write to and that has `bytes` free.
#[cfg(target_os = "linux")]
fn has_memory_space(directory: &Path, bytes: u64) -> bool {
    use nix::sys::statfs::{TMPFS_MAGIC, statfs};
    use nix::unistd::{AccessFlags, access};
    let Ok(status) = statfs(directory) else { return false };
    let block = u64::try_from(status.block_size()).unwrap_or(0);
    status.filesystem_type() == TMPFS_MAGIC
        && status.blocks_available().saturating_mul(block) >= bytes
        && access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn has_memory_space(_: &Path, _: u64) -> bool {
    false
}

/// The bytes of memory that this process can still use: of the machine, or of its control group (version 2) if less.
fn free_memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok()?;
    let available = machine.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available = available.split_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024);
    let group =
        |file: &str| fs::read_to_string(Path::new("/sys/fs/cgroup").join(file)).ok()?.trim().parse::<u64>().ok();
    // Without a limit the file contains `max` or does not exist.
    Some(match group("memory.max") {
        Some(limit) => available.min(limit.saturating_sub(group("memory.current").unwrap_or(0))),
        None => available,
    })
}

/// Creates the throwaway directory, which contains everything of the run; its name carries the id of the run.
///
/// With `traversable`, other users may traverse it but not list it: for services that run as another user.
pub(super) fn create_throwaway(
    options: &StackOptions,
    traversable: bool,
    ledger: &Ledger,
) -> Result<PathBuf, StackError> {
    // A directory that is kept belongs where users look for it.
    let default = || if options.keep { std::env::temp_dir() } else { usual_data_dir() };
    let parent = options.data_dir.clone().unwrap_or_else(default);
    let fail = |path: &Path, cause| StackError::Directory { action: "create", path: path.to_owned(), cause };
    fs::create_dir_all(&parent).map_err(|cause| fail(&parent, cause))?;
    // Programs with other working directories get paths below it.
    let parent = fs::canonicalize(&parent).map_err(|cause| fail(&parent, cause))?;
    let path = parent.join(format!("{PREFIX}{}-{}", options.run, random_word(6).to_lowercase()));
    let entry = ledger.add(Resource::Directory { path: path.clone(), keep: options.keep })?;
    let mode = if traversable { 0o711 } else { 0o700 };
    if let Err(cause) = fs::DirBuilder::new().mode(mode).create(&path) {
        ledger.mark_removed(entry);
        return Err(fail(&path, cause));
    }
    // The umask may have cleared bits.
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(|cause| fail(&path, cause))?;
    Ok(path)
}

/// Writes the variables of a stack that is kept to a file that a shell can source and only this user can read.
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
    fn a_directory_on_disk_does_not_count_as_memory() {
        assert!(!has_memory_space(Path::new("/proc"), 0));
        assert!(!has_memory_space(Path::new("/nowhere"), 0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_is_used_only_if_it_has_enough_space() {
        let Ok(status) = nix::sys::statfs::statfs(IN_MEMORY) else { return };
        let is_there = status.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC;
        assert_eq!(has_memory_space(Path::new(IN_MEMORY), 0), is_there);
        assert!(!has_memory_space(Path::new(IN_MEMORY), u64::MAX));
        assert!(free_memory().unwrap() > 0);
    }
}
