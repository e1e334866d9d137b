//! Finding the programs that the native provider runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::stack::error::{Package, StackError};

/// Programs given by the user instead of those found.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `redis-server` or `valkey-server`.
    pub redis: Option<PathBuf>,
    /// `postgres`; `initdb` must be in the same directory.
    pub postgres: Option<PathBuf>,
    /// `qdrant`.
    pub qdrant: Option<PathBuf>,
}

/// The programs to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    pub(super) redis: PathBuf,
    pub(super) postgres: PathBuf,
    pub(super) initdb: PathBuf,
    /// Qdrant, if it is installed.
    pub(super) qdrant: Option<PathBuf>,
}

static REDIS: Package = Package {
    programs: "redis-server (or valkey-server)",
    debian: "redis-server",
    fedora: "valkey",
    homebrew: "redis",
};
static POSTGRES: Package = Package {
    programs: "postgres and initdb",
    debian: "postgresql postgresql-contrib",
    fedora: "postgresql-server postgresql-contrib",
    homebrew: "postgresql@17",
};

/// Where packages install programs that are not on `PATH`. `*` is a version; the highest is used.
pub(super) const TYPICAL: &[&str] = &[
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/opt/homebrew/bin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
];

/// Finds every program, first in `path`, then in the `typical` directories.
pub(super) fn find(path: &[PathBuf], typical: &[&str], given: &Overrides) -> Result<Programs, StackError> {
    let mut directories = path.to_vec();
    directories.extend(typical.iter().flat_map(|pattern| expand(pattern)));
    let find = |names: &[&str]| {
        names.iter().find_map(|name| {
            directories.iter().map(|directory| directory.join(name)).find(|program| is_executable(program))
        })
    };

    let mut missing = Vec::new();
    let redis = match &given.redis {
        Some(program) => Some(require_executable("redis-server", program)?),
        None => find(&["redis-server", "valkey-server"]),
    };
    let postgres = match &given.postgres {
        Some(program) => Some(require_executable("postgres", program)?),
        // A link on PATH leads to the directory with initdb and the shared files.
        None => find(&["postgres"]).map(|program| fs::canonicalize(&program).unwrap_or(program)),
    };
    let initdb = postgres
        .as_ref()
        .map(|postgres| postgres.with_file_name("initdb"))
        .filter(|program| is_executable(program))
        .or_else(|| find(&["initdb"]));
    let qdrant = match &given.qdrant {
        Some(program) => Some(require_executable("qdrant", program)?),
        None => find(&["qdrant"]),
    };
    if redis.is_none() {
        missing.push(&REDIS);
    }
    if postgres.is_none() || initdb.is_none() {
        missing.push(&POSTGRES);
    }
    match (redis, postgres, initdb) {
        (Some(redis), Some(postgres), Some(initdb)) => Ok(Programs { redis, postgres, initdb, qdrant }),
        _ => Err(StackError::MissingPrograms(missing)),
    }
}

fn require_executable(program: &'static str, path: &Path) -> Result<PathBuf, StackError> {
    if is_executable(path) {
        Ok(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
    } else {
        Err(StackError::NoSuchProgram { program, path: path.to_owned() })
    }
}

pub(in crate::stack) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// The directories that match `pattern`, highest version first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![PathBuf::from(pattern)] };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(format!("{parent}/"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?.split('.').next()?.parse().ok()?;
            let mut path = entry.path().into_os_string();
            path.push(after);
            Some((version, PathBuf::from(path)))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(directory: &Path, name: &str) -> PathBuf {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn one_error_names_all_missing_programs_and_their_packages() {
        let message = find(&[], &[], &Overrides::default()).unwrap_err().to_string();
        for word in [
            "redis-server (or valkey-server), postgres and initdb",
            "apt-get install redis-server postgresql postgresql-contrib",
            "dnf install valkey postgresql-server postgresql-contrib",
            "brew install redis postgresql@17",
        ] {
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn only_missing_programs_are_named() {
        let bin = tempfile::tempdir().unwrap();
        program(bin.path(), "postgres");
        program(bin.path(), "initdb");
        let message = find(&[bin.path().to_owned()], &[], &Overrides::default()).unwrap_err().to_string();
        assert!(message.contains("apt-get install redis-server\n"), "{message}");
    }

    #[test]
    fn valkey_replaces_redis_and_the_newest_postgres_is_used() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        let valkey = program(&root, "bin/valkey-server");
        for version in ["9", "15", "16"] {
            program(&root, &format!("pg/{version}/bin/postgres"));
            program(&root, &format!("pg/{version}/bin/initdb"));
        }
        let pattern = format!("{}/pg/*/bin", root.display());
        let found = find(&[root.join("bin")], &[&pattern], &Overrides::default()).unwrap();
        assert_eq!(found.redis, valkey);
        assert_eq!(found.initdb, root.join("pg/16/bin/initdb"));
        assert_eq!(found.qdrant, None);
    }

    #[test]
    fn a_program_given_by_the_user_must_exist() {
        let given = Overrides { redis: Some(PathBuf::from("/nowhere/redis")), ..Overrides::default() };
        let message = find(&[], &[], &given).unwrap_err().to_string();
        assert!(message.contains("/nowhere/redis"), "{message}");
    }
}
