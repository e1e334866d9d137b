//! From the sources to one value per variable: flag, environment, `.env`, profile, default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::config::{self, Config, GivenBy, PROFILES};
use super::dotenv::{self, Assignment};
use super::error::{Problem, SettingsError};
use super::origin::Origin;
use super::source::Source;
use super::table::{self, Entry, TABLE};
use super::value;

/// One value and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Resolved {
    pub(super) value: SecretString,
    pub(super) origin: Origin,
}

/// What loading found.
pub(super) struct Loaded {
    pub(super) profile: &'static str,
    pub(super) values: BTreeMap<&'static str, Resolved>,
    /// Why a variable that the profile mentions is not set.
    pub(super) absent: BTreeMap<&'static str, String>,
    pub(super) config: Config,
    pub(super) environment: BTreeMap<String, SecretString>,
}

type Found = Option<(String, Origin)>;

struct Loader {
    flags: BTreeMap<&'static str, String>,
    environment: BTreeMap<String, String>,
    dotenv: Vec<Assignment>,
    problems: Vec<Problem>,
}

/// Reads every source; all problems are reported together.
pub(super) fn load(source: Source) -> Result<Loaded, SettingsError> {
    let mut loader =
        Loader { flags: source.flags, environment: source.environment, dotenv: Vec::new(), problems: Vec::new() };
    if let Some(profile) = source.profile {
        loader.flags.insert("SHAKEDOWN_PROFILE", profile);
    }
    if let Some(config) = source.config {
        loader.flags.insert("SHAKEDOWN_CONFIG", config.to_string_lossy().into_owned());
    }
    loader.read_dotenv(source.dotenv.as_deref());
    loader.refuse_unreadable(&source.not_unicode);
    loader.refuse_unknown();

    let config = loader.config();
    let profile = loader.profile();
    let mut values = BTreeMap::new();
    let mut absent = BTreeMap::new();
    for entry in TABLE {
        let found = loader.above_profile(entry).or_else(|| loader.profile_gives(entry, &config, profile, &mut absent));
        let found = found.or_else(|| Some((entry.default?.to_owned(), Origin::Default)));
        let Some((text, origin)) = found else { continue };
        // Other programs share the plain names, so only what is plainly ours is judged before it is used.
        if entry.name.starts_with("SHAKEDOWN_") || matches!(origin, Origin::Flag | Origin::Profile { .. }) {
            loader.problems.extend(judge(entry, &text, &origin));
        }
        values.insert(entry.name, Resolved { value: SecretString::from(text), origin });
    }
    let assignments = loader.dotenv.into_iter().map(|line| (line.name, SecretString::from(line.value)));
    let mut environment: BTreeMap<_, _> = assignments.collect();
    environment.extend(loader.environment.into_iter().map(|(name, value)| (name, SecretString::from(value))));
    SettingsError::unless_empty(loader.problems)?;
    Ok(Loaded { profile, values, absent, config, environment })
}

/// What is wrong with a value of `entry`, told with its origin.
pub(super) fn judge(entry: &Entry, text: &str, origin: &Origin) -> Option<Problem> {
    value::problem(entry, text).map(|(problem, remedy)| Problem::Invalid {
        name: entry.name.to_owned(),
        shown: format!("`{}`", value::shown(entry, text)),
        origin: origin.to_string(),
        problem,
        remedy,
    })
}

impl Loader {
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
                remedy: "make it a UTF-8 text file that this user may read, or remove it".to_owned(),
            }),
        }
        for (at, line) in self.dotenv.iter().enumerate() {
            let known = table::entry(bare(&line.name)).is_some();
            if let Some(first) = self.dotenv[..at].iter().find(|first| known && first.name == line.name) {
                self.problems.push(Problem::Invalid {
                    name: line.name.clone(),
                    shown: "set twice".to_owned(),
                    origin: format!("{} lines {} and {}", path.display(), first.line, line.line),
                    problem: "one of them would be ignored".to_owned(),
                    remedy: "remove one of the lines".to_owned(),
                });
            }
        }
    }

    fn refuse_unreadable(&mut self, names: &[String]) {
        for name in names.iter().filter(|name| table::entry(bare(name)).is_some()) {
            self.problems.push(Problem::Invalid {
                name: name.clone(),
                shown: "not text".to_owned(),
                origin: "environment".to_owned(),
                problem: "its bytes are not UTF-8".to_owned(),
                remedy: format!("set {name} again, as UTF-8"),
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
            Ok(text) => config::parse(&path, &text).unwrap_or_else(|problems| {
                self.problems.extend(problems);
                Config::default()
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && chosen.is_none() => Config::default(),
            Err(error) => {
                let remedy = match chosen {
                    Some((_, origin)) => {
                        format!("it is named by SHAKEDOWN_CONFIG or --config ({origin}): correct the path")
                    }
                    None => "make it a UTF-8 text file that this user may read".to_owned(),
                };
                self.problems.push(Problem::File { path, problem: error.to_string(), remedy });
                Config::default()
            }
        }
    }

    fn profile(&mut self) -> &'static str {
        let chosen = table::entry("SHAKEDOWN_PROFILE").and_then(|entry| self.above_profile(entry));
        // A name that is no profile is told when the table is walked.
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
        let of = |name: &str| self.environment.get(name).filter(|value| !value.is_empty()).cloned();
        let (value, file) = (of(entry.name), of(&file_name));
        if value.is_some() || file.is_some() {
            return self.one_of(entry, value, file, |file| Origin::Environment { file });
        }
        let of =
            |name: &str| self.dotenv.iter().rev().find(|line| line.name == name && !line.value.is_empty()).cloned();
        let (value, file) = (of(entry.name), of(&file_name));
        let line = value.as_ref().or(file.as_ref())?.line;
        self.one_of(entry, value.map(|line| line.value), file.map(|line| line.value), |file| Origin::Dotenv {
            line,
            file,
        })
    }

    fn one_of(
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

    fn profile_gives(
        &mut self,
        entry: &Entry,
        config: &Config,
        profile: &'static str,
        absent: &mut BTreeMap<&'static str, String>,
    ) -> Found {
        let given = config.profiles.get(profile)?.iter().find(|given| given.entry.name == entry.name)?;
        let origin = |through| Origin::Profile { name: profile, through };
        match &given.by {
            GivenBy::Value(value) => Some((value.clone(), origin(None))),
            GivenBy::File(path) => Some((self.read(entry, path)?, origin(Some(format!("file {}", path.display()))))),
            GivenBy::Variable(other) => {
                let dotenv = || self.dotenv.iter().rev().find(|line| &line.name == other).map(|line| &line.value);
                let value = self.environment.get(other).or_else(dotenv).filter(|value| !value.is_empty());
                if value.is_none() {
                    let note = format!("profile {profile} takes it from {other}, which is not set ({})", given.place);
                    absent.insert(name_of(entry), note);
                }
                Some((value?.clone(), origin(Some(format!("variable {other}")))))
            }
        }
    }

    /// The content of a file without the newline at its end.
    fn read(&mut self, entry: &Entry, path: &Path) -> Option<String> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text).to_owned();
                if text.is_empty() {
                    self.problem_once(unreadable(entry, path, "it is empty"));
                }
                (!text.is_empty()).then_some(text)
            }
            Err(error) => {
                self.problem_once(unreadable(entry, path, &error.to_string()));
                None
            }
        }
    }

    /// Profile and config are looked up before the table is walked, and must not complain twice.
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
