//! What somebody set, for those who judge it: each value, where it came from, and what is wrong with it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;

use super::{Settings, TABLE};

/// A variable as it was set, or was not.
#[derive(Debug, Clone)]
pub struct GivenVariable {
    /// Its value.
    pub value: Option<SecretString>,
    /// Whether reports mask it.
    pub secret: bool,
    /// Where it came from.
    pub origin: String,
    /// Whether nobody set it, and its value is the usual one.
    pub usual: bool,
    /// What is wrong with it, without the value of a secret.
    pub problem: Option<String>,
}

/// Everything that was set.
#[derive(Debug, Clone)]
pub struct Given {
    /// The profile.
    pub profile: &'static str,
    /// The variables that shakedown knows, by name.
    pub variables: BTreeMap<&'static str, GivenVariable>,
    /// Every variable of the environment and of `.env`, known or not.
    pub environment: BTreeMap<String, SecretString>,
    /// Where the project's files are.
    pub directory: PathBuf,
}

impl Given {
    /// What `settings` were given, of a project in `directory`.
    #[must_use]
    pub fn of(settings: &Settings, directory: PathBuf) -> Self {
        let variables = TABLE
            .iter()
            .map(|entry| {
                let origin = settings.origin(entry.name);
                let problem = settings.judged(entry.name).err().map(|error| error.to_string());
                let variable = GivenVariable {
                    value: settings.secret(entry.name),
                    secret: entry.is_secret(),
                    origin: origin.map_or_else(|| "not set".to_owned(), ToString::to_string),
                    usual: matches!(origin, None | Some(super::Origin::Default)),
                    problem,
                };
                (entry.name, variable)
            })
            .collect();
        Self { profile: settings.profile(), variables, environment: settings.environment().clone(), directory }
    }

    /// The value of a variable that is set, be it a secret.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&SecretString> {
        self.variables.get(name)?.value.as_ref()
    }

    /// The names of secrets that are set, with their values.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &SecretString)> {
        self.variables
            .iter()
            .filter(|(_, variable)| variable.secret)
            .filter_map(|(name, variable)| Some((*name, variable.value.as_ref()?)))
    }
}
