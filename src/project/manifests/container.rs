//! Dockerfile, compose files and Procfile: how the worker is started elsewhere.

use std::path::Path;

use serde_json::Value as Json;

use super::{Command, words};
use crate::project::place::Place;
use crate::project::sources::Sources;

/// The `worker` of a Procfile.
pub(super) fn procfile(sources: &Sources) -> Option<Command> {
    let path = Path::new("Procfile");
    let text = sources.text_of(path)?;
    let lines = text.lines().enumerate();
    let (number, command) = lines
        .filter_map(|(number, line)| Some((number, line.split_once(':')?)))
        .find(|(_, (name, _))| name.trim().to_lowercase().contains("worker"))
        .map(|(number, (_, command))| (number, command.trim().to_owned()))?;
    Some(Command { command: shell(&command), place: Place::new(path, number + 1) })
}

/// The last CMD or ENTRYPOINT of the Dockerfile.
pub(super) fn dockerfile(sources: &Sources) -> Option<Command> {
    let path = sources.files.keys().find(|path| path.as_os_str() == "Dockerfile")?;
    let text = sources.text_of(path)?;
    let (mut entrypoint, mut command, mut place) = (Vec::new(), Vec::new(), None);
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let mut whole = line.trim().to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next.trim());
        }
        let (instruction, rest) = whole.split_once(char::is_whitespace).unwrap_or((&whole, ""));
        let listed = || serde_json::from_str::<Vec<String>>(rest.trim()).unwrap_or_else(|_| shell(rest.trim()));
        match instruction.to_uppercase().as_str() {
            // Each stage has its own.
            "FROM" => (entrypoint, command, place) = (Vec::new(), Vec::new(), None),
            "ENTRYPOINT" => (entrypoint, place) = (listed(), Some(number + 1)),
            "CMD" => (command, place) = (listed(), Some(number + 1)),
            _ => {}
        }
    }
    entrypoint.extend(command);
    Some(Command { command: entrypoint, place: Place::new(path, place?) })
}

/// What a compose file has.
#[derive(Debug, Default)]
pub(super) struct Compose {
    /// The names of its services.
    pub(super) services: Vec<String>,
    /// The command of the service that is the worker.
    pub(super) worker: Option<Command>,
    /// Names of variables that its services are given.
    pub(super) variables: Vec<(String, Place)>,
    pub(super) place: Option<Place>,
}

/// The compose file of the project.
pub(super) fn compose(sources: &Sources) -> Compose {
    let names = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
    let found = names.into_iter().find_map(|name| Some((Path::new(name), sources.text_of(Path::new(name))?)));
    let Some((path, text)) = found else { return Compose::default() };
    let Ok(json) = serde_saphyr::from_str::<Json>(&text) else { return Compose::default() };
    let place =
        |wanted: &str| Place::new(path, text.lines().position(|line| line.contains(wanted)).map_or(1, |line| line + 1));
    let mut compose = Compose { place: Some(Place::new(path, 1)), ..Compose::default() };
    for (name, service) in json["services"].as_object().into_iter().flatten() {
        compose.services.push(name.clone());
        if service.get("build").is_none() {
            continue;
        }
        if compose.worker.is_none() && name.to_lowercase().contains("worker") {
            let command = match &service["command"] {
                Json::String(text) => shell(text),
                Json::Array(parts) => parts.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
                _ => Vec::new(),
            };
            compose.worker = (!command.is_empty()).then(|| Command { command, place: place("command:") });
        }
        let names: Vec<String> = match &service["environment"] {
            Json::Object(table) => table.keys().cloned().collect(),
            Json::Array(lines) => lines
                .iter()
                .filter_map(Json::as_str)
                .map(|line| line.split('=').next().unwrap_or(line).to_owned())
                .collect(),
            _ => Vec::new(),
        };
        compose.variables.extend(names.into_iter().map(|name| {
            let place = place(&name);
            (name, place)
        }));
    }
    compose
}

/// A command line as words; one that needs a shell gets one.
fn shell(line: &str) -> Vec<String> {
    if line.contains(['&', '|', ';', '$', '"', '\'', '>', '<', '*']) {
        return vec!["sh".to_owned(), "-c".to_owned(), format!("exec {line}")];
    }
    words(line)
}
