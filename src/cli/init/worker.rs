//! `[worker]`: preset, commands, and the environment.

use super::answers::Answers;
use super::choices::{preset, table};
use super::names::{known_variable, likely_variable};
use super::page::{Basis, Page, array, quoted};
use super::queue::Queues;
use crate::project::{Command, Kind, Place, Project, Value};

/// Writes `[worker]`.
pub(super) fn write(project: &Project, directory: &std::path::Path, page: &mut Page, answers: &mut Answers) {
    page.raw("\n[worker]");
    if let Some((name, place)) = preset(project) {
        page.key(
            &format!("preset = {}", quoted(name)),
            &Basis::of(Some(place)),
            &format!("it uses the libraries of the preset `{name}`"),
        );
    }
    command(project, directory, page, answers);
    prepare(project, page);
    page.raw("# ready, shutdown_grace, exit_codes, timeout_factor, replicas, sidecar: `shakedown guide worker`");
    environment(project, page);
}

fn command(project: &Project, directory: &std::path::Path, page: &mut Page, answers: &mut Answers) {
    let manifests = &project.manifests;
    let own = manifests.own.as_ref();
    let started = own.and_then(|own| own.start.as_ref());
    // A Procfile or a compose file says more than a script that any program may be started with.
    let found = started.or(manifests.other_start.as_ref());
    let kind = match manifests.kind {
        Kind::Node => "Node",
        Kind::Python => "Python",
        Kind::Rust => "Rust",
        Kind::Docker => return image(directory, page),
        Kind::Unknown => "",
    };
    match (found, manifests.kind) {
        (Some(found), _) => {
            let sentence = format!("a {kind} worker, started with `{}`", found.command.join(" "));
            page.key(&format!("command = {}", array(&found.command)), &Basis::of(Some(&found.place)), &sentence);
        }
        (None, Kind::Rust) => {
            page.key(
                "command = [\"cargo\", \"run\", \"--release\", \"--quiet\"]",
                &Basis::Guessed,
                "a Rust worker, started with `cargo run --release`",
            );
            page.raw("build = { command = [\"cargo\", \"build\", \"--release\"], within = \"30m\" }");
        }
        (None, _) => {
            let default = match manifests.kind {
                Kind::Node => "node worker.js",
                Kind::Python => "python3 worker.py",
                _ => "./worker",
            };
            let answer = answers.ask("Which command starts the worker?", default);
            let basis = if answer.is_some() { Basis::Answered } else { Basis::Guessed };
            let words: Vec<String> =
                answer.as_deref().unwrap_or(default).split_whitespace().map(str::to_owned).collect();
            let sentence = if manifests.kind == Kind::Unknown {
                "no worker was found here (package.json, pyproject.toml or Cargo.toml with bullmq, or a Dockerfile): set `command`".to_owned()
            } else {
                format!("a {kind} worker, started with `{default}`")
            };
            page.key(&format!("command = {}", array(&words)), &basis, &sentence);
        }
    }
    if let Some(own) = own {
        let inside = own.directory.to_string_lossy().replace('\\', "/");
        if !inside.is_empty() {
            page.key(
                &format!("cwd = {}", quoted(&inside)),
                &Basis::of(Some(&own.place)),
                &format!("its package is `{inside}`"),
            );
        }
        if let Some(build) = &own.build {
            let sentence = format!("it is built with `{}`", build.command.join(" "));
            page.key(
                &format!("build = {{ command = {} }}", array(&build.command)),
                &Basis::of(Some(&build.place)),
                &sentence,
            );
        }
    }
}

fn image(directory: &std::path::Path, page: &mut Page) {
    let name =
        std::fs::canonicalize(directory).ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let tag = name.unwrap_or_default().to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let tag = tag.trim_matches('-');
    let tag = format!("{}:latest", if tag.is_empty() { "my-worker" } else { tag });
    page.key(
        &format!("image = {}", quoted(&tag)),
        &Basis::Guessed,
        &format!("a worker in a container, built as {tag}"),
    );
    page.raw(&format!("build = {{ command = [\"docker\", \"build\", \"--tag\", {}, \".\"] }}", quoted(&tag)));
}

/// What makes the tables, if they are not named by a variable.
fn prepare(project: &Project, page: &mut Page) {
    let table = table(project);
    let fixed = table.is_some_and(|table| matches!(table.name, Some(Value::Text(_))));
    let mut creates = Vec::new();
    if fixed {
        let own = project.manifests.own.as_ref().and_then(|own| own.migrate.clone());
        let sql = project.manifests.sql.as_ref().map(|(files, place)| Command {
            command: ["sh", "-c", &format!("psql \"$DATABASE_URL\" -f {files}")].map(str::to_owned).into(),
            place: place.clone(),
        });
        let in_source = project.rows.created.first();
        if let Some(command) = own.or_else(|| prisma(project)).or(sql.filter(|_| in_source.is_none())) {
            let line = format!("prepare = {{ command = {} }}", array(&command.command));
            page.key(
                &line,
                &Basis::of(Some(&command.place)),
                &format!("its tables are made with `{}`", command.command.join(" ")),
            );
            creates.push(("table", Basis::of(Some(&command.place))));
        } else {
            creates.push(("table", Basis::of(in_source.map(|(_, place)| place))));
        }
    }
    if let Some(place) = &project.points.created {
        creates.push(("collection", Basis::of(Some(place))));
    }
    if let Some((_, basis)) = creates.last() {
        let names: Vec<String> = creates.iter().map(|(name, _)| (*name).to_owned()).collect();
        let sentence = format!("it creates its {} itself", names.join(" and its "));
        page.key(&format!("creates = {}", array(&names)), basis, &sentence);
    }
}

fn prisma(project: &Project) -> Option<Command> {
    let place =
        project.manifests.packages.get("prisma").or_else(|| project.manifests.packages.get("@prisma/client"))?;
    let command = ["npx", "prisma", "migrate", "deploy"].map(str::to_owned).into();
    Some(Command { command, place: place.clone() })
}

fn environment(project: &Project, page: &mut Page) {
    page.raw(
        "\n# Variables for the worker. REDIS_URL, DATABASE_URL, QDRANT_URL, JINA_BASE_URL and so on are always set.",
    );
    page.raw("[worker.env]");
    let mut unknown = Vec::new();
    let table = table(project).and_then(|table| table.name);
    let uses = uses(project, table.as_ref());
    for (name, place) in names(project) {
        match template(project, &uses, &name) {
            Some((template, certain)) => {
                let basis = if certain { Basis::of(Some(&place)) } else { Basis::Guessed };
                let line = format!("{name} = {}", quoted(&template));
                page.key(&line, &basis, &format!("{name} is `{template}`"));
            }
            None => unknown.push(name),
        }
    }
    if !unknown.is_empty() {
        let names = unknown.join(", ");
        page.raw(&format!("# It also reads: {names}. Variables that are not set here come from your environment."));
        page.list(&Basis::Guessed, &format!("it works without {names} unless your environment has it"));
    }
}

/// The variables that the sources read, and those of examples whose name is a usual one.
fn names(project: &Project) -> Vec<(String, Place)> {
    let mut names: Vec<(String, Place)> =
        project.variables.iter().map(|(name, variable)| (name.clone(), variable.place.clone())).collect();
    let examples = project.manifests.examples.iter().map(|(name, example)| (name, &example.place));
    let composed = project.manifests.composed.iter().map(|(name, place)| (name, place));
    for (name, place) in examples.chain(composed) {
        if known_variable(name).is_some() && !names.iter().any(|(known, _)| known == name) {
            names.push((name.clone(), place.clone()));
        }
    }
    names.sort();
    names
}

/// What fills a variable, and whether that is certain.
fn template(project: &Project, uses: &[(&Value, &'static str)], name: &str) -> Option<(String, bool)> {
    let default = project.variables.get(name).and_then(|variable| variable.default.as_deref());
    let value = default.or_else(|| project.manifests.examples.get(name).and_then(|example| example.value.as_deref()));
    let is = |value: &Value| matches!(value, Value::Variable { name: known, .. } if known == name);
    let used = uses.iter().find(|(value, _)| is(value)).map(|(_, place)| *place);
    let (place, certain) = match used.or_else(|| known_variable(name)) {
        Some(place) => (place, true),
        None => (value.and_then(shape).or_else(|| likely_variable(name))?, false),
    };
    let scheme = value.and_then(|value| Some(value.split_once("://")?.0)).unwrap_or_default();
    let filled = match place {
        "jina.url" if value.is_some_and(|value| value.trim_end_matches('/').ends_with("/embeddings")) => {
            "{{jina.url}}/embeddings".to_owned()
        }
        // A driver of SQLAlchemy is part of the address.
        "postgres.url"
            if scheme.contains('+') && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '+') =>
        {
            let server = "{{postgres.user}}:{{postgres.password}}@{{postgres.host}}:{{postgres.port}}";
            format!("{scheme}://{server}/{{{{postgres.database}}}}")
        }
        place => format!("{{{{{place}}}}}"),
    };
    Some((filled, certain))
}

/// What the sources use values as.
fn uses<'p>(project: &'p Project, table: Option<&'p Value>) -> Vec<(&'p Value, &'static str)> {
    let own = Queues::of(project).own;
    let queue = own.and_then(|worker| worker.queue.as_ref()).map(|value| (value, "queue.name"));
    let prefix = own.and_then(|worker| worker.prefix.as_ref()).map(|value| (value, "queue.prefix"));
    let collections = project.points.collections.iter().map(|(value, _)| (value, "qdrant.collection"));
    let table = table.map(|value| (value, "postgres.table"));
    queue.into_iter().chain(prefix).chain(collections).chain(table).collect()
}

/// What an address in an example is the address of. The value itself is never shown.
fn shape(value: &str) -> Option<&'static str> {
    let (scheme, rest) = value.split_once("://")?;
    match scheme {
        "redis" | "rediss" => Some("redis.url"),
        _ if scheme.starts_with("postgres") => Some("postgres.url"),
        _ if rest.contains(":6333") => Some("qdrant.url"),
        _ if rest.contains(":6334") => Some("qdrant.grpc_url"),
        _ if rest.contains("jina.ai") || rest.contains("/embeddings") => Some("jina.url"),
        _ => None,
    }
}
