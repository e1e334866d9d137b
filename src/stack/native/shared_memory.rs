//! The shared memory that a killed Postgres leaves behind.

use std::fs;
use std::path::Path;

/// Frees the System V segment of a Postgres under `directory` that was killed.
///
/// `postmaster.pid` names it. It is freed only if its key matches and no process is attached.
pub(in crate::stack) fn release_shared_memory(directory: &Path) {
    let Ok(text) = fs::read_to_string(directory.join("postgres/data/postmaster.pid")) else { return };
    let Some((key, id)) = text.lines().nth(6).and_then(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    }) else {
        return;
    };
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let unused = table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // key shmid perms size cpid lpid nattch …; the key may be printed as a signed number.
        let same_key = fields.first().and_then(|field| field.parse::<i64>().ok()).map(|found| found & 0xffff_ffff)
            == key.parse::<i64>().ok().map(|wanted| wanted & 0xffff_ffff);
        same_key && fields.get(1) == Some(&id.as_str()) && fields.get(6) == Some(&"0")
    });
    if unused {
        // Without `ipcrm` the segment stays: 56 bytes until the next boot.
        let _ = std::process::Command::new("ipcrm").args(["-m", &id]).output();
    }
}
