//! Writing the compose project from templates.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::stack::containers::images::{Images, POSTGRES_IMAGE, QDRANT_IMAGE, REDIS_IMAGE};
use crate::stack::random::random_word;
use crate::stack::shape;

/// The files with their templates, and whether only their owner may read them.
const FILES: [(&str, &str, bool); 7] = [
    (COMPOSE, include_str!("../../../fixtures/compose/compose.yaml"), false),
    (".env", include_str!("../../../fixtures/compose/env"), true),
    (".gitignore", ".env\nbull-board/node_modules/\n", false),
    ("bull-board/Dockerfile", include_str!("../../../fixtures/compose/bull-board/Dockerfile"), false),
    ("bull-board/package-lock.json", include_str!("../../../fixtures/compose/bull-board/package-lock.json"), false),
    ("bull-board/package.json", include_str!("../../../fixtures/compose/bull-board/package.json"), false),
    ("bull-board/server.js", include_str!("../../../fixtures/compose/bull-board/server.js"), false),
];

/// The name of the compose file.
const COMPOSE: &str = "compose.yaml";

/// The variables of `.env` that hold secrets.
const SECRETS: [&str; 3] = ["REDIS_PASSWORD", "POSTGRES_PASSWORD", "QDRANT_API_KEY"];

/// The path of the script that gives Postgres the shape of Supabase.
const SHAPE: &str = "postgres/shape.sql";

/// Why the files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// Some exist already.
    #[error("{} already; nothing was written; set --out to another directory, or overwrite with --force", list_existing(.0))]
    Exists(Vec<PathBuf>),
    /// One cannot be written.
    #[error("cannot write `{}`: {cause}; set --out to a writable directory", path.display())]
    Write {
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        cause: std::io::Error,
    },
}

fn list_existing(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    format!("{} {}", names.join(", "), if names.len() == 1 { "exists" } else { "exist" })
}

/// A file of the compose project.
#[derive(Debug, Clone)]
pub struct ComposeFile {
    /// Its path.
    pub path: PathBuf,
    /// Its text, with new secrets each time if it has any.
    pub text: String,
    /// Whether only its owner may read it.
    pub private: bool,
    /// Prefixes of the lines that an existing file must also contain: the variables with secrets, and the entry that
    /// keeps them out of version control.
    pub lines: Vec<String>,
}

/// The files of the project with the compose file `file`, all in its directory or below, with new secrets.
#[must_use]
pub fn files(file: &Path, project: &str, images: &Images) -> Vec<ComposeFile> {
    let directory = file.parent().unwrap_or(Path::new(""));
    let image = |requested: &Option<String>, pinned: &str| requested.clone().unwrap_or_else(|| pinned.to_owned());
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

/// Writes the files to `directory` with new secrets; returns their paths. Existing files are overwritten only with
/// `force`. `.env` never is: existing data may depend on its secrets.
///
/// # Errors
/// A file exists already or cannot be written.
pub fn write(directory: &Path, project: &str, images: &Images, force: bool) -> Result<Vec<PathBuf>, ComposeError> {
    let files = files(&directory.join(COMPOSE), project, images);
    let existing: Vec<PathBuf> = files.iter().filter(|file| file.path.exists()).map(|file| file.path.clone()).collect();
    if !existing.is_empty() && !force {
        return Err(ComposeError::Exists(existing));
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
