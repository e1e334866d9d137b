//! Resolves paths to files with ids: directories recursively, sorted, without hidden files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file to ingest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The document's id: its path below the root, with `/` between the parts.
    pub id: String,
    /// Its path.
    pub path: PathBuf,
}

/// A file or directory that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its path.
    pub path: PathBuf,
    /// The problem.
    pub problem: String,
    /// The remedy.
    pub remedy: String,
}

impl Unreadable {
    fn new(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.to_owned(), problem: problem.into(), remedy: remedy.into() }
    }

    fn io(path: &Path, error: &std::io::Error) -> Self {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => "correct the path",
            std::io::ErrorKind::PermissionDenied => "grant this user read access, or leave it out",
            _ => "make it readable, or leave it out",
        };
        Self::new(path, format!("cannot be read: {error}"), remedy)
    }
}

/// The files below the paths.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Files, sorted by id.
    pub files: Vec<File>,
    /// Files and directories that could not be read.
    pub unreadable: Vec<Unreadable>,
}

/// Lists the files at and below `roots`; every id starts with `prefix`.
///
/// Hidden files and directories below a root are skipped; a root itself may be hidden. Of two files with the same id,
/// the second is reported: nothing is overwritten silently.
#[must_use]
pub fn gather(roots: &[PathBuf], prefix: &str) -> Gathered {
    let mut walk = Walk { prefix, files: BTreeMap::new(), unreadable: Vec::new() };
    for root in roots {
        match std::fs::metadata(root) {
            Err(error) => walk.unreadable.push(Unreadable::io(root, &error)),
            Ok(found) if found.is_dir() => walk.directory(root, "", &mut Vec::new()),
            Ok(_) => {
                // `..` has no name; its real path has one.
                let named = root.file_name().map(ToOwned::to_owned);
                let name = named.or_else(|| root.canonicalize().ok()?.file_name().map(ToOwned::to_owned));
                walk.entry(root, name.unwrap_or_default().to_str(), "", &mut Vec::new());
            }
        }
    }
    Gathered {
        files: walk.files.into_iter().map(|(id, path)| File { id, path }).collect(),
        unreadable: walk.unreadable,
    }
}

struct Walk<'a> {
    prefix: &'a str,
    files: BTreeMap<String, PathBuf>,
    unreadable: Vec<Unreadable>,
}

impl Walk<'_> {
    /// `above` holds the real paths of the enclosing directories: a link back to one of them ends the walk.
    fn directory(&mut self, path: &Path, below: &str, above: &mut Vec<PathBuf>) {
        let listed = path.canonicalize().and_then(|real| Ok((real, std::fs::read_dir(path)?)));
        let (real, entries) = match listed {
            Ok(listed) => listed,
            Err(error) => return self.unreadable.push(Unreadable::io(path, &error)),
        };
        if above.contains(&real) {
            let problem = format!("is a link back to {}, a directory above it", real.display());
            return self.unreadable.push(Unreadable::new(path, problem, "remove the link, or name the files you mean"));
        }
        let mut names = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => names.push(entry.file_name()),
                Err(error) => self.unreadable.push(Unreadable::io(path, &error)),
            }
        }
        names.sort();
        above.push(real);
        for name in names.iter().filter(|name| !name.as_encoded_bytes().starts_with(b".")) {
            self.entry(&path.join(name), name.to_str(), below, above);
        }
        above.pop();
    }

    fn entry(&mut self, path: &Path, name: Option<&str>, below: &str, above: &mut Vec<PathBuf>) {
        let Some(name) = name else {
            let problem = "has a name that is not UTF-8 and cannot be a document id";
            return self.unreadable.push(Unreadable::new(path, problem, "rename it"));
        };
        let id = format!("{below}{name}");
        match std::fs::metadata(path) {
            Err(error) => self.unreadable.push(Unreadable::io(path, &error)),
            Ok(found) if found.is_dir() => self.directory(path, &format!("{id}/"), above),
            Ok(found) if found.is_file() => self.file(path, &id),
            Ok(_) => {
                let problem = "is neither a file nor a directory";
                self.unreadable.push(Unreadable::new(path, problem, "leave it out, or copy its content into a file"));
            }
        }
    }

    fn file(&mut self, path: &Path, id: &str) {
        let id = format!("{}{id}", self.prefix);
        match self.files.get(&id) {
            Some(first) if first.canonicalize().ok() != path.canonicalize().ok() => {
                let problem = format!("would have the same id as {}: {id}", first.display());
                let remedy = "ingest the two roots one after the other, each with its own --id-prefix";
                self.unreadable.push(Unreadable::new(path, problem, remedy));
            }
            Some(_) => {}
            None => drop(self.files.insert(id, path.to_owned())),
        }
    }
}

/// The text of a file.
pub(super) fn read(file: &File) -> Result<String, Unreadable> {
    let bytes = std::fs::read(&file.path).map_err(|error| Unreadable::io(&file.path, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let line = bytes[..at].split(|byte| *byte == b'\n').count();
        let problem = match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "is UTF-16, not UTF-8".to_owned(),
            _ => format!("is not UTF-8: byte 0x{:02x} at offset {at}, line {line}", bytes[at]),
        };
        Unreadable::new(&file.path, problem, "convert it, e.g. with `iconv -t UTF-8`, or leave it out")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> tempfile::TempDir {
        let sample = tempfile::tempdir().unwrap();
        for (path, text) in
            [("b.md", "b"), ("a/x.txt", "x"), ("a/b/y.log", "y"), (".hidden", "h"), (".git/config", "g")]
        {
            let path = sample.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        sample
    }

    fn ids(gathered: &Gathered) -> Vec<&str> {
        gathered.files.iter().map(|file| file.id.as_str()).collect()
    }

    #[test]
    fn directories_are_read_below_their_root_sorted_and_without_hidden_files() {
        let sample = sample();
        let gathered = gather(&[sample.path().to_owned()], "");
        assert_eq!(ids(&gathered), ["a/b/y.log", "a/x.txt", "b.md"]);
        assert!(gathered.unreadable.is_empty());
        assert_eq!(ids(&gather(&[sample.path().join("a")], "docs/")), ["docs/b/y.log", "docs/x.txt"]);
        assert_eq!(ids(&gather(&[sample.path().join(".hidden"), sample.path().join("b.md")], "")), [".hidden", "b.md"]);
    }

    #[test]
    fn the_same_file_twice_is_one_document_and_two_files_with_one_id_are_an_error() {
        let sample = sample();
        let again = sample.path().join("c");
        std::fs::create_dir(&again).unwrap();
        std::fs::write(again.join("b.md"), "other").unwrap();
        let root = sample.path().join("b.md");
        assert_eq!(ids(&gather(&[root.clone(), root.clone()], "")), ["b.md"]);
        let gathered = gather(&[root, again.join("b.md")], "");
        assert_eq!(ids(&gathered), ["b.md"]);
        assert!(gathered.unreadable[0].problem.contains("the same id"), "{:?}", gathered.unreadable);
    }

    #[test]
    fn an_unreadable_path_is_reported_and_the_rest_is_read() {
        let sample = sample();
        std::os::unix::fs::symlink(sample.path(), sample.path().join("a/loop")).unwrap();
        std::os::unix::fs::symlink("/nowhere", sample.path().join("dangling")).unwrap();
        let gathered = gather(&[sample.path().to_owned(), sample.path().join("missing")], "");
        assert_eq!(ids(&gathered), ["a/b/y.log", "a/x.txt", "b.md"]);
        let problems: Vec<&str> = gathered.unreadable.iter().map(|one| one.problem.as_str()).collect();
        assert!(problems[0].contains("link back"), "{problems:?}");
        assert!(problems[1].contains("cannot be read"), "{problems:?}");
        assert_eq!(gathered.unreadable[2].remedy, "correct the path");
    }

    #[test]
    fn a_file_that_is_not_utf8_is_refused_at_its_first_wrong_byte() {
        let sample = tempfile::tempdir().unwrap();
        let refused = |bytes: &[u8]| {
            let path = sample.path().join("f");
            std::fs::write(&path, bytes).unwrap();
            read(&File { id: "f".to_owned(), path }).unwrap_err().problem
        };
        assert_eq!(refused(b"ok\ncaf\xe9"), "is not UTF-8: byte 0xe9 at offset 6, line 2");
        assert_eq!(refused(b"\xff\xfeh\0"), "is UTF-16, not UTF-8");
    }
}
