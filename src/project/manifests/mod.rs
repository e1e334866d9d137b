//! What the files beside the sources say: dependencies, scripts, containers, examples of the environment.

mod container;
mod dotenv;
mod node;
mod python;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use dotenv::Example;

use super::libraries::libraries;
use super::place::Place;
use super::sources::Sources;
use super::syntax::Language;

/// A command, and the line that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Where.
    pub place: Place,
}

/// The packages that manifests name.
pub(super) type Packages = BTreeMap<String, Place>;

/// How the package of the worker is built and started.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// What starts the worker.
    pub start: Option<Command>,
    /// What builds it.
    pub build: Option<Command>,
    /// What migrates its database.
    pub migrate: Option<Command>,
    /// Whether its dependencies are installed.
    pub is_installed: bool,
    /// The command that installs them, if there is one: Python projects have many.
    pub install: Option<String>,
    /// The directory of the package in the project.
    pub directory: PathBuf,
    /// The manifest.
    pub place: Place,
}

/// What kind of project it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A package of npm.
    Node,
    /// A Python project.
    Python,
    /// A crate with bullmq.
    Rust,
    /// A Dockerfile, and none of the above.
    Docker,
    /// None of these.
    Unknown,
}

/// What the files beside the sources say.
#[derive(Debug, Clone)]
pub struct Manifests {
    /// What kind of project it is.
    pub kind: Kind,
    /// The package of the worker.
    pub own: Option<Manifest>,
    /// A file that names another command for the worker: Procfile, compose file or Dockerfile.
    pub other_start: Option<Command>,
    /// The packages that manifests name.
    pub packages: BTreeMap<String, Place>,
    /// The preset for these packages.
    pub preset: Option<(String, Place)>,
    /// The services of the compose file.
    pub services: Option<(Vec<String>, Place)>,
    /// Variables in examples of the environment.
    pub examples: BTreeMap<String, Example>,
    /// Variables that a compose file sets.
    pub composed: Vec<(String, Place)>,
    /// A directory or file with migrations in SQL: the files for psql, in order, and one of them.
    pub sql: Option<(String, Place)>,
}

impl Sources {
    /// What the files beside the sources say; `worker` is the file with the worker.
    pub(super) fn manifests(&self, worker: Option<&Path>) -> Manifests {
        let mut packages = Packages::new();
        for (path, json, text) in node::manifests(self) {
            node::packages(&path, &json, &text, &mut packages);
        }
        python::packages(self, &mut packages);
        let language = worker.and_then(Language::of);
        let has_bullmq =
            packages.contains_key("bullmq") || packages.keys().any(|name| name.starts_with("@nestjs/bull"));
        let cargo = Path::new("Cargo.toml");
        let is_rust = || self.text_of(cargo).is_some_and(|text| text.contains("bullmq"));
        let node = || node::manifest(self, worker).filter(|_| has_bullmq || language.is_some());
        let python = || python::manifest(self, worker).filter(|_| has_bullmq || language.is_some());
        let (kind, own) = match language {
            Some(Language::Python) => (Kind::Python, python()),
            Some(_) => (Kind::Node, node()),
            None if is_rust() => (Kind::Rust, None),
            None => match (node(), python()) {
                (Some(node), _) => (Kind::Node, Some(node)),
                (None, Some(python)) => (Kind::Python, Some(python)),
                (None, None) if self.files.contains_key(Path::new("Dockerfile")) => (Kind::Docker, None),
                (None, None) => (Kind::Unknown, None),
            },
        };
        let compose = container::compose(self);
        let named = libraries()
            .package
            .iter()
            .find_map(|entry| packages.get(&entry.name).map(|place| (entry.preset.clone(), place.clone())));
        Manifests {
            kind,
            own,
            other_start: container::procfile(self).or(compose.worker).or_else(|| container::dockerfile(self)),
            preset: named,
            services: compose.place.map(|place| (compose.services, place)),
            examples: dotenv::examples(self),
            composed: compose.variables,
            sql: self.sql_migrations(),
            packages,
        }
    }

    /// Migrations that psql can execute: those of Supabase, or a schema file.
    fn sql_migrations(&self) -> Option<(String, Place)> {
        let supabase = self.files.keys().find(|path| {
            path.starts_with("supabase/migrations") && path.extension().is_some_and(|extension| extension == "sql")
        });
        if let Some(path) = supabase {
            return Some(("supabase/migrations/*.sql".to_owned(), Place::new(path, 1)));
        }
        let plain = ["schema.sql", "db/schema.sql", "sql/schema.sql", "init.sql", "db/init.sql", "database.sql"];
        let path = plain.into_iter().find(|path| self.files.contains_key(Path::new(path)))?;
        Some((path.to_owned(), Place::new(Path::new(path), 1)))
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
