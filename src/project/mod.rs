//! Reads the project of a worker: manifests, and JavaScript, TypeScript and Python sources by their grammars. It says
//! what is written there and where, and decides nothing.

mod files;
mod jobs;
mod libraries;
mod manifests;
mod place;
mod points;
mod resolve;
mod rows;
mod sources;
mod syntax;
#[cfg(test)]
mod tests;
mod validators;
mod value;
mod variables;

use std::collections::BTreeMap;
use std::path::Path;

pub use jobs::{Added, FieldUse, Jobs, Scope, WorkerUse};
pub use libraries::Unit;
pub use manifests::{Command, Example, Kind, Manifest, Manifests};
pub use place::Place;
pub use points::{Field, Points, Splitter};
pub use rows::{Column, Rows, STATUS, Table};
pub use value::Value;
pub use variables::Variable;

/// What was read of a project.
#[derive(Debug, Clone)]
pub struct Project {
    /// Manifests and other files beside the sources.
    pub manifests: Manifests,
    /// Variables of the environment that the sources read.
    pub variables: BTreeMap<String, Variable>,
    /// Queues and jobs.
    pub jobs: Jobs,
    /// Splitters, collections, payloads.
    pub points: Points,
    /// Tables.
    pub rows: Rows,
    /// What was not read, and why.
    pub notes: Vec<String>,
}

impl Project {
    /// Reads the project in a directory.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn read(directory: &Path) -> std::io::Result<Self> {
        let sources = sources::Sources::read(directory)?;
        let jobs = sources.jobs();
        let worker = jobs.workers.first().map(|worker| worker.place.path.clone());
        Ok(Self {
            manifests: sources.manifests(worker.as_deref().map(Path::new)),
            variables: sources.variables(),
            points: sources.points(),
            rows: sources.rows(),
            jobs,
            notes: sources.notes,
        })
    }
}
