//! The files of a directory of migrations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A migration in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The part of the file name after the version.
    pub name: String,
    /// The file name.
    pub file: String,
    /// The path of the file.
    pub path: PathBuf,
    /// The content of the file.
    pub text: String,
}

/// What a directory contains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// The migrations, by version.
    pub migrations: BTreeMap<String, Local>,
    /// Names of SQL files that are no migrations, because their names do not match `VERSION_NAME.sql`.
    pub left_out: Vec<String>,
}

/// Why the files of a directory cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The directory or a file cannot be read.
    #[error("{}: {cause}; set MIGRATIONS_DIR or --dir to the directory of migrations", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
    /// The database records versions, so only one of the two would ever be applied.
    #[error(
        "{first} and {second} have the same version {version}: give one of them another version (`shakedown db new`)"
    )]
    SameVersion {
        /// The version.
        version: String,
        /// A file.
        first: String,
        /// Another file.
        second: String,
    },
    /// A file is not UTF-8.
    #[error("{file}:{line}: {what}; convert the file to UTF-8 (`iconv -f {encoding} -t UTF-8`)")]
    Encoding {
        /// The file.
        file: String,
        /// The line of the first byte that is not UTF-8, from 1.
        line: usize,
        /// What is wrong.
        what: String,
        /// The encoding that it probably has.
        encoding: &'static str,
    },
}

/// The SQL files of a directory. Names of migrations match `^([0-9]+)_(.*)\.sql$`, as for the Supabase CLI.
///
/// # Errors
/// The directory or a file cannot be read, a file is not UTF-8, or two files have the same version.
pub fn read(directory: &Path) -> Result<Files, FilesError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |cause| FilesError::Unreadable { path, cause }
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable(directory))? {
        names.push(entry.map_err(unreadable(directory))?.file_name());
    }
    names.sort();
    let mut files = Files::default();
    for name in names {
        let path = directory.join(&name);
        let file = name.to_string_lossy().into_owned();
        let Some(stem) = file.strip_suffix(".sql").filter(|_| !path.is_dir()) else { continue };
        let numbered = stem.split_once('_').filter(|(version, _)| is_version(version));
        let Some((version, name)) = numbered else {
            files.left_out.push(file);
            continue;
        };
        let (version, name) = (version.to_owned(), name.to_owned());
        if let Some(first) = files.migrations.get(&version) {
            return Err(FilesError::SameVersion { version, first: first.file.clone(), second: file });
        }
        let text = decode(&file, std::fs::read(&path).map_err(unreadable(&path))?)?;
        files.migrations.insert(version, Local { name, file, path, text });
    }
    Ok(files)
}

fn is_version(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The text of a file, which is UTF-8 with or without a byte order mark.
fn decode(file: &str, bytes: Vec<u8>) -> Result<String, FilesError> {
    let wrong = |line, what, encoding| FilesError::Encoding { file: file.to_owned(), line, what, encoding };
    match bytes.as_slice() {
        [0xff, 0xfe, ..] => return Err(wrong(1, "the file is UTF-16 (little endian)".to_owned(), "UTF-16")),
        [0xfe, 0xff, ..] => return Err(wrong(1, "the file is UTF-16 (big endian)".to_owned(), "UTF-16")),
        _ => {}
    }
    String::from_utf8(bytes).map_err(|error| {
        let (at, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line = memchr::memchr_iter(b'\n', &bytes[..at]).count() + 1;
        let byte = bytes.get(at).copied().unwrap_or_default();
        wrong(line, format!("the byte 0x{byte:02X} at offset {at} is not UTF-8"), "LATIN1")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for (file, content) in files {
            std::fs::write(place.path().join(file), content).unwrap();
        }
        place
    }

    #[test]
    fn files_that_are_not_migrations_are_left_out_and_named() {
        let names = ["20240101000000_one.sql", "2_two_words.sql", "README.md", "x_three.sql", "_four.sql", "5.sql"];
        let place = directory(&names.map(|name| (name, b"select 1;".as_slice())));
        std::fs::create_dir(place.path().join("8_directory.sql")).unwrap();
        let found = read(place.path()).unwrap();
        assert_eq!(found.migrations.keys().collect::<Vec<_>>(), ["2", "20240101000000"]);
        assert_eq!(found.migrations["2"].name, "two_words");
        assert_eq!(found.left_out, ["5.sql", "_four.sql", "x_three.sql"]);
    }

    #[test]
    fn two_files_of_one_version_are_both_named() {
        let place = directory(&[("1_a.sql", b""), ("1_b.sql", b""), ("2_a.sql", b"")]);
        let error = read(place.path()).unwrap_err().to_string();
        assert_eq!(
            error,
            "1_a.sql and 1_b.sql have the same version 1: give one of them another version (`shakedown db new`)"
        );
    }

    #[test]
    fn other_encodings_are_refused_with_line_and_byte() {
        let said = |content: &[u8]| {
            let place = directory(&[("1_a.sql", content)]);
            read(place.path()).map(|files| files.migrations["1"].text.clone()).map_err(|error| error.to_string())
        };
        let latin = said(b"select 1;\nselect 'D\xfcsseldorf';").unwrap_err();
        assert!(latin.starts_with("1_a.sql:2: the byte 0xFC at offset 19 is not UTF-8; convert"), "{latin}");
        let utf16 = said(b"\xff\xfes\x00e\x00").unwrap_err();
        assert!(utf16.starts_with("1_a.sql:1: the file is UTF-16 (little endian); convert"), "{utf16}");
        // Nearly broken: a byte order mark of UTF-8, and letters beyond ASCII.
        assert_eq!(said("\u{feff}select 'é'".as_bytes()).unwrap(), "\u{feff}select 'é'");
    }
}
