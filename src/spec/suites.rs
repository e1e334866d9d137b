//! Suites: reading files, and the checks that need all of them, such as unique ids and known prerequisites.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::bounded::read_text;
use super::references::References;
use super::resolve::Reader;
use super::similar::did_you_mean;
use super::written::{CaseWritten, ScenarioSource};
use super::{Case, Check, Place, Premise, Scenario, SpecError, SuiteWritten, renamed};

/// The largest suite file in MiB. The built-in suites have less than half a MiB together.
const MAX_FILE_MIB: u64 = 16;

/// The text of a suite file.
fn read(path: &Path) -> std::io::Result<String> {
    // Opening a pipe waits for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    read_text(std::fs::File::open(path)?, MAX_FILE_MIB)
}

/// One suite, resolved.
#[derive(Debug, Clone)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// What it tests.
    pub title: String,
    /// Ids of its cases, in order.
    pub cases: Vec<String>,
}

/// All suites of a run.
#[derive(Debug, Clone)]
pub struct Suites {
    /// The suites in reading order.
    pub suites: Vec<Suite>,
    /// Every case in reading order.
    pub cases: Vec<Arc<Case>>,
    /// Scenarios by name.
    pub scenarios: BTreeMap<String, Scenario>,
    /// Fingerprint of the texts: the first 12 hex digits of their SHA-256.
    pub version: String,
}

impl Suites {
    /// Reads every `.toml` file of `directory`, in the order of their names.
    pub fn from_directory(directory: &Path) -> Result<Self, SpecError> {
        Self::from_texts(&Self::texts(directory)?)
    }

    /// The errors of the suites in `directory`: one for each file that is wrong by itself, or else the first error of
    /// all files together.
    pub fn lint(directory: &Path) -> Result<Vec<SpecError>, SpecError> {
        let texts = Self::texts(directory)?;
        let mut valid = Vec::new();
        let mut errors = Vec::new();
        for text in &texts {
            // A file may refer to others; references are checked when each file is valid.
            match Self::from_part(std::slice::from_ref(text)) {
                Ok(_) => valid.push(text.clone()),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            errors.extend(Self::from_texts(&valid).err());
        }
        Ok(errors)
    }

    /// Every `.toml` file of `directory` with its text, in the order of their names.
    fn texts(directory: &Path) -> Result<Vec<(PathBuf, String)>, SpecError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| SpecError::Unreadable { path, source }
        };
        let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
            .map_err(unreadable(directory))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(unreadable(directory))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        paths.sort();
        if paths.is_empty() {
            return Err(SpecError::NoSuites { path: directory.to_owned() });
        }
        paths.into_iter().map(|path| read(&path).map_err(unreadable(&path)).map(|text| (path, text))).collect()
    }

    /// The suites inside the binary.
    pub fn builtin() -> Result<Self, SpecError> {
        let texts: Vec<_> = super::builtin_suites()
            .iter()
            .map(|(name, text)| (PathBuf::from(format!("builtin:{name}")), (*text).to_owned()))
            .collect();
        Self::from_texts(&texts)
    }

    /// Resolves suites from their texts, each with the file it came from.
    pub fn from_texts(texts: &[(PathBuf, String)]) -> Result<Self, SpecError> {
        let (all, references) = Self::from_part(texts)?;
        all.check_references(references)
    }

    /// Resolves some of the suites; what they refer to may be in others.
    fn from_part(texts: &[(PathBuf, String)]) -> Result<(Self, References), SpecError> {
        let mut digest = Sha256::new();
        let mut all =
            Self { suites: Vec::new(), cases: Vec::new(), scenarios: BTreeMap::new(), version: String::new() };
        let mut references = References::default();
        for (file, text) in texts {
            digest.update(text.as_bytes());
            all.add_suite(&Reader::new(file, text), &mut references)?;
        }
        all.version = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Ok((all, references))
    }

    /// Adds the suite of one file.
    fn add_suite(&mut self, reader: &Reader<'_>, references: &mut References) -> Result<(), SpecError> {
        let written: SuiteWritten = toml::from_str(reader.text).map_err(|error| SpecError::Malformed {
            place: reader.place_of_byte(error.span().map_or(0, |span| span.start)),
            message: renamed::explain(error.message()),
        })?;
        let name = written.suite.get_ref().clone();
        if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            || name.is_empty()
        {
            return Err(
                reader.error(&written.suite, format!("invalid suite name `{name}`: expected a-z, 0-9 and dashes"))
            );
        }
        if self.suites.iter().any(|suite| suite.name == name) {
            return Err(reader.error(&written.suite, format!("there is already a suite `{name}`; rename one")));
        }
        for (scenario_name, scenario) in &written.scenario {
            let scenario = Scenario::resolve(scenario, &written.defaults, scenario_name)
                .map_err(|what| reader.error(&written.suite, format!("scenario `{scenario_name}`: {what}")))?;
            if self.add_scenario(scenario_name, scenario) {
                return Err(
                    reader.error(&written.suite, format!("there is already a scenario `{scenario_name}`; rename one"))
                );
            }
        }
        let mut suite = Suite { name, title: written.title.clone(), cases: Vec::new() };
        for case in &written.case {
            let case = self.add_case(reader, &written, case, references)?;
            suite.cases.push(case);
        }
        self.suites.push(suite);
        Ok(())
    }

    /// Adds a case of a suite, with its own scenario if it has one; returns its id.
    fn add_case(
        &mut self,
        reader: &Reader<'_>,
        suite: &SuiteWritten,
        written: &CaseWritten,
        references: &mut References,
    ) -> Result<String, SpecError> {
        if let Some(source) = &written.scenario
            && let ScenarioSource::Own(own) = source.get_ref()
        {
            let scenario =
                Scenario::resolve(own, &suite.defaults, &written.title).map_err(|what| reader.error(source, what))?;
            // A case's id has a dot, so no other scenario has this name; a duplicate id is reported below.
            self.add_scenario(written.id.get_ref(), scenario);
        }
        let case = reader.case(suite, written, references)?;
        if let Some(first) = references.case_places.get(&case.id) {
            return Err(reader.error(
                &written.id,
                format!("there is already a case `{}` at {first}; ids are unique among all suites", case.id),
            ));
        }
        let id = case.id.clone();
        references.case_places.insert(id.clone(), reader.place(&written.id));
        self.cases.push(Arc::new(case));
        Ok(id)
    }

    /// Checks that every case and scenario that suites refer to exists, and that no case requires itself.
    fn check_references(self, references: References) -> Result<Self, SpecError> {
        let References { required_cases, scenarios, case_places } = references;
        for (place, id) in required_cases {
            if !case_places.contains_key(&id) {
                let message = format!(
                    "`requires` names unknown case `{id}`{}",
                    did_you_mean(&id, case_places.keys().map(String::as_str))
                );
                return Err(SpecError::Malformed { place, message });
            }
        }
        for (place, name) in scenarios {
            if !self.scenarios.contains_key(&name) {
                let message = format!(
                    "unknown scenario `{name}`{}",
                    did_you_mean(&name, self.scenarios.keys().map(String::as_str))
                );
                return Err(SpecError::Malformed { place, message });
            }
        }
        if let Some(id) = self.case_in_cycle() {
            let place =
                case_places.get(&id).cloned().unwrap_or_else(|| Place { file: PathBuf::new(), line: 1, column: 1 });
            return Err(SpecError::Malformed {
                place,
                message: format!("`{id}` requires itself through its prerequisites"),
            });
        }
        Ok(self)
    }

    /// Adds a scenario and its baseline; returns whether there already was a scenario with this name.
    fn add_scenario(&mut self, name: &str, mut scenario: Scenario) -> bool {
        if let Some((baseline, fault_free)) = scenario.baseline_scenario() {
            scenario.baseline = Some(baseline.clone());
            self.scenarios.insert(baseline, fault_free);
        }
        self.scenarios.insert(name.to_owned(), scenario).is_some()
    }

    /// A case that requires itself through others, if there is one: it would wait for ever.
    fn case_in_cycle(&self) -> Option<String> {
        let mut done: BTreeSet<&str> = BTreeSet::new();
        loop {
            let before = done.len();
            for case in &self.cases {
                if case.requires.iter().all(|id| done.contains(id.as_str())) {
                    done.insert(&case.id);
                }
            }
            if done.len() == before {
                return self.cases.iter().find(|case| !done.contains(case.id.as_str())).map(|case| case.id.clone());
            }
        }
    }

    /// What must have been seen for a pass of `case` to mean something: the premises of its scenario and its own.
    pub fn premises<'a>(&'a self, case: &'a Case) -> impl Iterator<Item = &'a Premise> {
        let scenario = match &case.check {
            Check::Scenario(name, _) => self.scenarios.get(name),
            Check::Probe(..) => None,
        };
        scenario.into_iter().flat_map(|scenario| &scenario.premises).chain(&case.premises)
    }

    /// The case with this id.
    #[must_use]
    pub fn case(&self, id: &str) -> Option<&Arc<Case>> {
        self.cases.iter().find(|case| case.id == id)
    }
}
