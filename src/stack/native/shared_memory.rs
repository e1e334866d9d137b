//! The shared memory that a killed Postgres leaves behind.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Frees the System V segment of a Postgres under `directory` that was killed.
///
/// Its key is the inode of the data directory; `postmaster.pid` names it too, unless `initdb` has removed that file. It is
/// freed only if it belongs to the owner of the data directory and no process is attached.
pub(in crate::stack) fn release_shared_memory(directory: &Path) {
    let Ok(data) = fs::metadata(directory.join("postgres/data")) else { return };
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    for id in unused_segments(&table, data.ino(), data.uid()) {
        // Without `ipcrm` the segment stays: 56 bytes until the next boot.
        let _ = std::process::Command::new("ipcrm").args(["-m", id]).output();
    }
}

/// The ids of the segments with this key and owner that no process is attached to. The key has 32 bits, and the table may
/// show it as a signed number.
fn unused_segments(table: &str, key: u64, owner: u32) -> Vec<&str> {
    let matching = table.lines().skip(1).filter_map(|line| {
        // key shmid perms size cpid lpid nattch uid …
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [found, id, _, _, _, _, attached, uid, ..] = fields[..] else { return None };
        let has_key = found.parse::<i64>().ok()?.cast_unsigned() & 0xffff_ffff == key & 0xffff_ffff;
        (has_key && attached == "0" && uid.parse() == Ok(owner)).then_some(id)
    });
    matching.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_of_the_same_key_and_owner_that_nobody_uses_are_freed() {
        let table = "       key      shmid perms       size  cpid  lpid nattch   uid   gid\n\
                     1374855  11   600   56 110 110      0   101   104\n\
                     1374855  12   600   56 110 110      1   101   104\n\
                     1374855  13   600   56 110 110      0     0     0\n\
                     1374856  14   600   56 110 110      0   101   104\n\
                     -2       15   600   56 110 110      0   101   104\n";
        assert_eq!(unused_segments(table, 1_374_855, 101), ["11"]);
        assert_eq!(unused_segments(table, (1 << 32) + 0xffff_fffe, 101), ["15"]);
    }
}
