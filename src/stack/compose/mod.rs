//! A Docker Compose file for local development: written from templates, and checked.

mod check;

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Images, POSTGRES_IMAGE, QDRANT_IMAGE, REDIS_IMAGE, random_word, shape};

pub use check::{CheckError, Finding, RULES, check};

/// The files, with their templates, and whether only their owner may read them.
const FILES: [(&str, &str, bool); 6] = [
    (COMPOSE, include_str!("../../../fixtures/compose/compose.yaml"), false),
    (".env", include_str!("../../../fixtures/compose/env"), true),
    (".gitignore", ".env\nbull-board/node_modules/\n", false),
    ("bull-board/Dockerfile", include_str!("../../../fixtures/compose/bull-board/Dockerfile"), false),
    ("bull-board/package.json", include_str!("../../../fixtures/compose/bull-board/package.json"), false),
    ("bull-board/server.js", include_str!("../../../fixtures/compose/bull-board/server.js"), false),
];

/// The name of the compose file itself.
const COMPOSE: &str = "compose.yaml";

/// The variables of `.env` that hold secrets.
const SECRETS: [&str; 3] = ["REDIS_PASSWORD", "POSTGRES_PASSWORD", "QDRANT_API_KEY"];

/// Where the script lies that gives Postgres Supabase's shape.
const SHAPE: &str = "postgres/shape.sql";

/// Why the files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// Some are there already.
    #[error("{} there already, and nothing was written: choose another directory with --out, or overwrite with --force", named(.0))]
    Exists(Vec<PathBuf>),
    /// One cannot be written.
    #[error("`{}` cannot be written: {cause}; choose a directory that is writable with --out", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}

fn named(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    format!("{} {}", names.join(", "), if names.len() == 1 { "is" } else { "are" })
}

/// A file of the compose project.
#[derive(Debug, Clone)]
pub struct ComposeFile {
    /// Where.
    pub path: PathBuf,
    /// What it says; each time with other secrets, where it has any.
    pub text: String,
    /// Whether only its owner may read it.
    pub private: bool,
    /// How lines begin without which the others do not do, in a file that may have been somebody else's before: the
    /// variables with secrets, and that they are kept out of version control.
    pub lines: Vec<String>,
}

/// The files of a project whose compose file is `file`, all in its directory or below, with fresh secrets.
#[must_use]
pub fn files(file: &Path, project: &str, images: &Images) -> Vec<ComposeFile> {
    let directory = file.parent().unwrap_or(Path::new(""));
    let image = |asked: &Option<String>, pinned: &str| asked.clone().unwrap_or_else(|| pinned.to_owned());
    let shape = shape::script();
    let fill = |(name, template, private): (&str, &str, bool)| {
        let lines = match name {
            ".gitignore" => vec![".env".to_owned()],
            _ if private => SECRETS.map(|name| format!("{name}=")).into(),
            _ => Vec::new(),
        };
        let text = template
            .replace("{{ project }}", project)
            .replace("{{ redis }}", &image(&images.redis, REDIS_IMAGE))
            .replace("{{ postgres }}", &image(&images.postgres, POSTGRES_IMAGE))
            .replace("{{ qdrant }}", &image(&images.qdrant, QDRANT_IMAGE))
            .replace("{{ redis_password }}", &random_word(32))
            .replace("{{ postgres_password }}", &random_word(32))
            .replace("{{ qdrant_key }}", &random_word(32));
        let path = if name == COMPOSE { file.to_owned() } else { directory.join(name) };
        ComposeFile { path, text, private, lines }
    };
    FILES.into_iter().chain([(SHAPE, shape.as_str(), false)]).map(fill).collect()
}

/// Writes the files to `directory`, with fresh secrets; gives their paths. Nothing is overwritten without `force`,
/// and `.env`, whose secrets the data may already know, never is.
///
/// # Errors
/// A file is there already, or cannot be written.
pub fn write(directory: &Path, project: &str, images: &Images, force: bool) -> Result<Vec<PathBuf>, ComposeError> {
    let files = files(&directory.join(COMPOSE), project, images);
    let there: Vec<PathBuf> = files.iter().filter(|file| file.path.exists()).map(|file| file.path.clone()).collect();
    if !there.is_empty() && !force {
        return Err(ComposeError::Exists(there));
    }
    let mut written = Vec::new();
    for ComposeFile { path, text, private, .. } in files {
        if private && path.exists() {
            continue;
        }
        let put = || -> std::io::Result<()> {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let mode = if private { 0o600 } else { 0o644 };
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(mode).open(&path)?.write_all(text.as_bytes())
        };
        put().map_err(|cause| ComposeError::Write { path: path.clone(), cause })?;
        written.push(fs::canonicalize(&path).unwrap_or(path));
    }
    Ok(written)
}
