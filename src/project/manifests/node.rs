//! `package.json`: dependencies, scripts, workspaces.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::{Command, Manifest, Packages, words};
use crate::project::place::Place;
use crate::project::sources::Sources;

/// Scripts that start a worker, the best first.
const START: &[&str] = &["worker", "start:worker", "worker:start", "start:prod", "start"];
/// Scripts that migrate the database.
const MIGRATE: &[&str] = &["migrate", "db:migrate", "migrate:deploy", "db:deploy", "prisma:deploy", "migration:run"];

/// Every `package.json` of the project.
pub(super) fn manifests(sources: &Sources) -> Vec<(PathBuf, Json, String)> {
    let paths = sources.files.keys().filter(|path| path.file_name().is_some_and(|name| name == "package.json"));
    let read = paths.filter_map(|path| {
        let text = sources.text_of(path)?;
        Some((path.clone(), serde_json::from_str(&text).ok()?, text))
    });
    read.collect()
}

/// The dependencies that a manifest names.
pub(super) fn packages(path: &Path, json: &Json, text: &str, into: &mut Packages) {
    for section in ["dependencies", "devDependencies", "optionalDependencies"] {
        for name in json[section].as_object().into_iter().flat_map(|section| section.keys()) {
            into.entry(name.clone()).or_insert_with(|| place(path, text, name));
        }
    }
}

/// The manifest of the package that the worker's file belongs to.
pub(super) fn manifest(sources: &Sources, worker: Option<&Path>) -> Option<Manifest> {
    let mut all = manifests(sources);
    let belongs =
        |path: &Path| worker.is_some_and(|worker| path.parent().is_some_and(|parent| worker.starts_with(parent)));
    // The deepest directory around the worker; without a worker the top.
    all.sort_by_key(|(path, ..)| path.components().count());
    let top = || (worker.is_none() && !all.is_empty()).then_some(0);
    let index = all.iter().rposition(|(path, ..)| belongs(path)).or_else(top)?;
    let (path, json, text) = all.swap_remove(index);
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let script = |name: &str| json["scripts"][name].as_str();
    let has_lock = |name: &str| {
        let own = directory.join(name);
        sources.exists(&own.to_string_lossy()) || sources.exists(name)
    };
    let locks = [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"), ("bun.lockb", "bun"), ("bun.lock", "bun")];
    let manager = locks.into_iter().find(|(lock, _)| has_lock(lock)).map_or("npm", |(_, manager)| manager);
    let run = |name: &str| {
        let text = script(name)?;
        // A script that only starts one program is replaced by its command, so that signals reach it and no shell.
        let is_plain = !text.contains(['&', '|', ';', '$', '=', '"', '\'']) && text.starts_with("node ");
        Some(if is_plain { words(text) } else { words(&format!("{manager} run --silent {name}")) })
    };
    let scripted = |names: &[&str]| {
        let found = names.iter().find_map(|name| Some((*name, run(name)?)));
        found.map(|(name, command)| Command { command, place: place(&path, &text, &format!("\"{name}\":")) })
    };
    let main = || {
        let main = json["main"].as_str()?;
        Some(Command { command: words(&format!("node {main}")), place: place(&path, &text, "\"main\"") })
    };
    let build = script("build")
        .map(|_| Command { command: words(&format!("{manager} run build")), place: place(&path, &text, "\"build\":") });
    // What a bundler writes is what runs.
    let bundled = || {
        let words = words(script("build")?);
        let output = words.iter().find_map(|word| word.strip_prefix("--outfile="))?;
        Some(Command { command: ["node", output].map(str::to_owned).into(), place: place(&path, &text, "\"build\":") })
    };
    Some(Manifest {
        start: scripted(START).or_else(main).or_else(bundled),
        build,
        migrate: scripted(MIGRATE),
        is_installed: has_lock("node_modules"),
        install: Some(if manager == "npm" { "npm ci".to_owned() } else { format!("{manager} install") }),
        directory,
        place: Place::new(&path, 1),
    })
}

/// The line of a manifest that has this text.
fn place(path: &Path, text: &str, wanted: &str) -> Place {
    let line = text.lines().position(|line| line.replace("\" :", "\":").contains(wanted));
    Place::new(path, line.map_or(1, |line| line + 1))
}
