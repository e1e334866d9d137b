//! `pyproject.toml`, `requirements.txt` and `requirements.in`: dependencies, and how the worker is started.

use std::path::Path;

use super::{Command, Manifest, Packages};
use crate::project::place::Place;
use crate::project::sources::{At, Sources};
use crate::project::syntax::{Kind, Language, Role};

/// The dependencies that the manifests of Python name.
pub(super) fn packages(sources: &Sources, into: &mut Packages) {
    for path in sources.files.keys() {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_text = path.extension().is_some_and(|ending| ending == "txt" || ending == "in");
        let requirements = is_text && name.starts_with("requirements");
        let Some(text) = (requirements || name == "pyproject.toml").then(|| sources.text_of(path)).flatten() else {
            continue;
        };
        if requirements {
            for (number, line) in text.lines().enumerate() {
                // Hashes, options and comments are further lines.
                if line.starts_with(|first: char| first.is_ascii_alphanumeric()) {
                    into.entry(package_name(line)).or_insert_with(|| Place::new(path, number + 1));
                }
            }
            continue;
        }
        let Ok(manifest) = text.parse::<toml::Table>() else { continue };
        let place =
            |name: &str| Place::new(path, text.lines().position(|line| line.contains(name)).map_or(1, |line| line + 1));
        let project =
            manifest.get("project").and_then(|project| project.get("dependencies")).and_then(toml::Value::as_array);
        for line in project.into_iter().flatten().filter_map(toml::Value::as_str) {
            into.entry(package_name(line)).or_insert_with(|| place(line));
        }
        let poetry = manifest.get("tool").and_then(|tool| tool.get("poetry")?.get("dependencies")?.as_table());
        for name in poetry.into_iter().flat_map(|table| table.keys()) {
            into.entry(package_name(name)).or_insert_with(|| place(name));
        }
    }
}

/// The normal name of the package that a requirement begins with.
fn package_name(requirement: &str) -> String {
    let end = requirement.find(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.')));
    requirement[..end.unwrap_or(requirement.len())].to_lowercase().replace(['_', '.'], "-")
}

/// How the worker in this file is started.
pub(super) fn manifest(sources: &Sources, worker: Option<&Path>) -> Option<Manifest> {
    let known = ["pyproject.toml", "requirements.txt", "requirements.in", "setup.py"];
    let place = known.into_iter().find(|name| sources.files.contains_key(Path::new(name)));
    if place.is_none() && !worker.is_some_and(|path| Language::of(path) == Some(Language::Python)) {
        return None;
    }
    let environment = [".venv", "venv", "env"].into_iter().find(|name| sources.exists(&format!("{name}/bin/python")));
    let python = environment.map_or_else(|| "python3".to_owned(), |name| format!("{name}/bin/python"));
    let start = entry(sources, worker).map(|(module, place)| {
        let mut command = vec![python.clone()];
        match module {
            Entry::Module(module) => command.extend(["-m".to_owned(), module]),
            Entry::File(file) => command.push(file),
        }
        Command { command, place }
    });
    let alembic = Path::new("alembic.ini");
    let migrate = sources.files.contains_key(alembic).then(|| Command {
        // The module, for the script of a virtual environment that was moved names the place where it was made.
        command: [&python, "-m", "alembic", "upgrade", "head"].map(str::to_owned).into(),
        place: Place::new(alembic, 1),
    });
    Some(Manifest {
        start,
        build: None,
        migrate,
        is_installed: environment.is_some(),
        install: None,
        directory: std::path::PathBuf::new(),
        place: Place::new(Path::new(place.unwrap_or("requirements.txt")), 1),
    })
}

enum Entry {
    Module(String),
    File(String),
}

/// What starts the worker: its package's `__main__`, its own file, or the file that imports it.
fn entry(sources: &Sources, worker: Option<&Path>) -> Option<(Entry, Place)> {
    if let Some(worker) = worker {
        let main = worker.parent()?.join("__main__.py");
        if sources.files.contains_key(&main) && main.parent() != Some(Path::new("")) {
            let module = dotted(main.parent()?);
            return Some((Entry::Module(module), Place::new(&main, 1)));
        }
    }
    let guarded: Vec<(&Path, Place)> = sources.roots().filter_map(guard).collect();
    let own = guarded.iter().find(|(path, _)| Some(*path) == worker);
    let named =
        || guarded.iter().find(|(path, _)| path.file_stem().is_some_and(|stem| stem == "worker" || stem == "main"));
    let (path, place) = match own.or_else(named).or_else(|| guarded.first()) {
        Some((path, place)) => (*path, place.clone()),
        // Without a guard the file runs when it is imported.
        None => worker.map(|path| (path, Place::new(path, 1)))?,
    };
    if Language::of(path) != Some(Language::Python) {
        return None;
    }
    if path.parent() == Some(Path::new("")) {
        return Some((Entry::File(path.to_string_lossy().into_owned()), place));
    }
    Some((Entry::Module(dotted(&path.with_extension(""))), place))
}

/// The module of a path; a package under `src` is imported without it.
fn dotted(path: &Path) -> String {
    let path = path.strip_prefix("src").unwrap_or(path);
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join(".")
}

/// The file and line of `if __name__ == "__main__"`.
fn guard(root: At<'_>) -> Option<(&Path, Place)> {
    if root.source().language != Language::Python {
        return None;
    }
    let branch = root
        .children()
        .filter(|at| at.is(Kind::Branch))
        .find(|branch| branch.role(Role::Condition).is_some_and(|condition| condition.text().contains("__name__")))?;
    Some((&root.source().path, branch.place()))
}
