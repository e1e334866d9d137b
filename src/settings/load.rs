//! Determines the value of each variable: flag, environment, `.env`, profile, default, in this order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::config::{Config, ProfileValue};
use super::dotenv::{self, Assignment};
use super::error::{Problem, SettingsError};
use super::file;
use super::origin::Origin;
use super::profile::PROFILES;
use super::source::Source;
use super::table::{self, Entry, TABLE};
use super::value;
use crate::redaction;

/// A value and its origin.
#[derive(Debug, Clone)]
pub(super) struct Resolved {
    pub(super) value: SecretString,
    pub(super) origin: Origin,
}

/// The result of loading.
pub(super) struct Loaded {
    pub(super) profile: &'static str,
    pub(super) values: BTreeMap<&'static str, Resolved>,
    /// Why a variable that the profile lists is not set.
    pub(super) absent: BTreeMap<&'static str, String>,
    pub(super) config: Config,
    pub(super) environment: BTreeMap<String, SecretString>,
    /// What was not used, because the working directory is not trusted.
    pub(super) ignored: BTreeSet<Ignored>,
}

/// A value that was not used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ignored {
    /// The variable.
    pub name: &'static str,
    /// Where it is set.
    pub origin: String,
}

/// A value with its origin, if a source sets the variable.
type Found = Option<(String, Origin)>;

struct Loader {
    flags: BTreeMap<&'static str, String>,
    environment: BTreeMap<String, String>,
    dotenv: Vec<Assignment>,
    problems: Vec<Problem>,
    trusted: bool,
    ignored: BTreeSet<Ignored>,
}

/// Reads every source; all problems are reported together.
pub(super) fn load(source: Source) -> Result<Loaded, SettingsError> {
    let trust = source.environment.get("SHAKEDOWN_TRUST").and_then(|text| value::switch(text));
    let mut loader = Loader {
        flags: source.flags,
        environment: source.environment,
        dotenv: Vec::new(),
        problems: Vec::new(),
        trusted: source.trusted || trust == Some(true),
        ignored: BTreeSet::new(),
    };
    if let Some(profile) = source.profile {
        loader.flags.insert("SHAKEDOWN_PROFILE", profile);
    }
    if let Some(config) = source.config {
        loader.flags.insert("SHAKEDOWN_CONFIG", config.to_string_lossy().into_owned());
    }
    loader.read_dotenv(source.dotenv.as_deref());
    if source.is_process {
        loader.learn();
    }
    loader.refuse_unreadable(&source.not_unicode);
    loader.refuse_unknown();

    let config = loader.config();
    let profile = loader.profile();
    let mut values = BTreeMap::new();
    let mut absent = BTreeMap::new();
    for entry in TABLE {
        let found = loader.above_profile(entry).or_else(|| loader.read_profile(entry, &config, profile, &mut absent));
        let found = found.or_else(|| Some((entry.default?.to_owned(), Origin::Default)));
        let Some((text, origin)) = found else { continue };
        // Other programs use the unprefixed names too, so those values are checked only when they are used.
        if entry.name.starts_with("SHAKEDOWN_") || matches!(origin, Origin::Flag | Origin::Profile { .. }) {
            loader.problems.extend(invalid(entry, &text, &origin));
        }
        values.insert(entry.name, Resolved { value: SecretString::from(text), origin });
    }
    let assignments = loader.dotenv.into_iter().map(|line| (line.name, SecretString::from(line.value)));
    let mut environment: BTreeMap<_, _> = assignments.collect();
    environment.extend(loader.environment.into_iter().map(|(name, value)| (name, SecretString::from(value))));
    if source.is_process {
        let secret = |name: &&str| table::entry(name).is_some_and(Entry::is_secret);
        let secrets =
            values.iter().filter(|(name, _)| secret(name)).map(|(name, found): (_, &Resolved)| (*name, &found.value));
        redaction::learn(secrets);
    }
    SettingsError::unless_empty(loader.problems)?;
    Ok(Loaded { profile, values, absent, config, environment, ignored: loader.ignored })
}

/// The problem with `text` as a value of `entry`, with its origin; `None` if it is valid.
pub(super) fn invalid(entry: &Entry, text: &str, origin: &Origin) -> Option<Problem> {
    value::problem(entry, text).map(|(problem, remedy)| Problem::Invalid {
        name: entry.name.to_owned(),
        shown: format!("`{}`", value::shown_from(entry, text, origin)),
        origin: origin.to_string(),
        problem,
        remedy,
    })
}

impl Loader {
    /// Lets the redactor know every variable that is secret, before a problem is reported.
    fn learn(&self) {
        let dotenv = self.dotenv.iter().map(|line| (line.name.as_str(), SecretString::from(line.value.as_str())));
        let environment =
            self.environment.iter().map(|(name, value)| (name.as_str(), SecretString::from(value.as_str())));
        let flags = self.flags.iter().map(|(name, value)| (*name, SecretString::from(value.as_str())));
        let variables: Vec<(&str, SecretString)> = dotenv.chain(environment).chain(flags).collect();
        redaction::learn_environment(variables.iter().map(|(name, value)| (*name, value)));
        // A variable of ours is secret whatever its name.
        let secret = |name: &str| table::entry(bare(name)).is_some_and(Entry::is_secret) && bare(name) == name;
        redaction::learn(variables.iter().filter(|(name, _)| secret(name)).map(|(name, value)| (*name, value)));
    }

    fn read_dotenv(&mut self, path: Option<&Path>) {
        let Some(path) = path else { return };
        match std::fs::read_to_string(path) {
            Ok(text) => match dotenv::parse(path, &text) {
                Ok(assignments) => self.dotenv = assignments,
                Err(problem) => self.problems.push(problem),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self.problems.push(Problem::File {
                path: path.to_owned(),
                problem: error.to_string(),
                remedy: "make it a UTF-8 text file that the current user can read, or remove it".to_owned(),
            }),
        }
        for (at, line) in self.dotenv.iter().enumerate() {
            let known = table::entry(bare(&line.name)).is_some();
            if let Some(first) = self.dotenv[..at].iter().find(|first| known && first.name == line.name) {
                self.problems.push(Problem::Invalid {
                    name: line.name.clone(),
                    shown: "set twice".to_owned(),
                    origin: format!("{} lines {} and {}", path.display(), first.line, line.line),
                    problem: "only one of the values would be used".to_owned(),
                    remedy: "remove one of the lines".to_owned(),
                });
            }
        }
    }

    fn refuse_unreadable(&mut self, names: &[String]) {
        for name in names.iter().filter(|name| table::entry(bare(name)).is_some()) {
            self.problems.push(Problem::Invalid {
                name: name.clone(),
                shown: "not valid UTF-8".to_owned(),
                origin: "environment".to_owned(),
                problem: "the value cannot be read as text".to_owned(),
                remedy: format!("set {name} to a UTF-8 value"),
            });
        }
    }

    fn refuse_unknown(&mut self) {
        let environment = self.environment.keys().map(|name| (name.clone(), "environment".to_owned()));
        let dotenv = self.dotenv.iter().map(|line| (line.name.clone(), format!(".env line {}", line.line)));
        let unknown = environment
            .chain(dotenv)
            .filter(|(name, _)| name.starts_with("SHAKEDOWN_") && table::entry(bare(name)).is_none())
            .map(|(name, origin)| Problem::Unknown { nearest: table::nearest(&name), name, origin });
        self.problems.extend(unknown.collect::<Vec<_>>());
    }

    fn config(&mut self) -> Config {
        let Some(entry) = table::entry("SHAKEDOWN_CONFIG") else { return Config::default() };
        let chosen = self.above_profile(entry);
        let path = PathBuf::from(chosen.as_ref().map_or("shakedown.toml", |(path, _)| path));
        match std::fs::read_to_string(&path) {
            Ok(text) => file::parse(&path, &text).unwrap_or_else(|problems| {
                self.problems.extend(problems);
                Config::default()
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && chosen.is_none() => Config::default(),
            Err(error) => {
                let remedy = match chosen {
                    Some((_, origin)) => {
                        format!("correct the path in SHAKEDOWN_CONFIG or --config (from {origin})")
                    }
                    None => "make it a UTF-8 text file that the current user can read".to_owned(),
                };
                self.problems.push(Problem::File { path, problem: error.to_string(), remedy });
                Config::default()
            }
        }
    }

    fn profile(&mut self) -> &'static str {
        let chosen = table::entry("SHAKEDOWN_PROFILE").and_then(|entry| self.above_profile(entry));
        // An unknown profile name is reported when the values of the table are checked.
        chosen
            .and_then(|(chosen, _)| PROFILES.iter().copied().find(|profile| *profile == chosen))
            .unwrap_or(PROFILES[0])
    }

    /// Flag, environment, `.env`. An empty value counts as not set.
    fn above_profile(&mut self, entry: &Entry) -> Found {
        if let Some(value) = self.flags.get(entry.name) {
            return Some((value.clone(), Origin::Flag));
        }
        let file_name = format!("{}_FILE", entry.name);
        let variable = |name: &str| self.environment.get(name).filter(|value| !value.is_empty()).cloned();
        let (value, file) = (variable(entry.name), variable(&file_name));
        if value.is_some() || file.is_some() {
            return self.value_or_file(entry, value, file, |file| Origin::Environment { file });
        }
        let assignment =
            |name: &str| self.dotenv.iter().rev().find(|line| line.name == name && !line.value.is_empty()).cloned();
        let (value, file) = (assignment(entry.name), assignment(&file_name));
        let line = value.as_ref().or(file.as_ref())?.line;
        if self.ignores(entry, &Origin::Dotenv { line, file: None }) {
            return None;
        }
        self.value_or_file(entry, value.map(|line| line.value), file.map(|line| line.value), |file| Origin::Dotenv {
            line,
            file,
        })
    }

    /// Whether a value of `entry` is not used, because a file of a directory that is not trusted sets it.
    fn ignores(&mut self, entry: &Entry, origin: &Origin) -> bool {
        let ignores = entry.needs_trust && !self.trusted;
        if ignores {
            self.ignored.insert(Ignored { name: name_of(entry), origin: origin.to_string() });
        }
        ignores
    }

    /// The value itself or the content of the file; both together are a problem.
    fn value_or_file(
        &mut self,
        entry: &Entry,
        value: Option<String>,
        file: Option<String>,
        origin: impl Fn(Option<PathBuf>) -> Origin,
    ) -> Found {
        match (value, file) {
            (Some(value), None) => Some((value, origin(None))),
            (Some(value), Some(_)) => {
                self.problem_once(Problem::Both { name: name_of(entry), origin: origin(None).to_string() });
                Some((value, origin(None)))
            }
            (None, Some(file)) => {
                let path = PathBuf::from(file);
                Some((self.read(entry, &path)?, origin(Some(path))))
            }
            (None, None) => None,
        }
    }

    fn read_profile(
        &mut self,
        entry: &Entry,
        config: &Config,
        profile: &'static str,
        absent: &mut BTreeMap<&'static str, String>,
    ) -> Found {
        let given = config.profiles.get(profile)?.iter().find(|given| given.entry.name == entry.name)?;
        let origin = |through| Origin::Profile { name: profile, through };
        if self.ignores(entry, &origin(None)) {
            return None;
        }
        match &given.value {
            ProfileValue::Literal(value) => Some((value.clone(), origin(None))),
            ProfileValue::File(path) => {
                Some((self.read(entry, path)?, origin(Some(format!("file {}", path.display())))))
            }
            ProfileValue::Variable(other) => {
                let dotenv = || self.dotenv.iter().rev().find(|line| &line.name == other).map(|line| &line.value);
                let value = self.environment.get(other).or_else(dotenv).filter(|value| !value.is_empty());
                if value.is_none() {
                    let note = format!("profile {profile} reads it from {other}, which is not set ({})", given.place);
                    absent.insert(name_of(entry), note);
                }
                Some((value?.clone(), origin(Some(format!("variable {other}")))))
            }
        }
    }

    /// The content of a file without its last newline.
    fn read(&mut self, entry: &Entry, path: &Path) -> Option<String> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text).to_owned();
                if text.is_empty() {
                    self.problem_once(unreadable(entry, path, "the file is empty"));
                }
                (!text.is_empty()).then_some(text)
            }
            Err(error) => {
                self.problem_once(unreadable(entry, path, &error.to_string()));
                None
            }
        }
    }

    /// Notes a problem unless it is known: profile and config are looked up twice.
    fn problem_once(&mut self, problem: Problem) {
        let text = problem.to_string();
        if !self.problems.iter().any(|known| known.to_string() == text) {
            self.problems.push(problem);
        }
    }
}

fn unreadable(entry: &Entry, path: &Path, problem: &str) -> Problem {
    Problem::Unreadable { name: name_of(entry), path: path.to_owned(), problem: problem.to_owned() }
}

const fn name_of(entry: &Entry) -> &'static str {
    entry.name
}

/// A variable's name without `_FILE`.
fn bare(name: &str) -> &str {
    name.strip_suffix("_FILE").unwrap_or(name)
}
