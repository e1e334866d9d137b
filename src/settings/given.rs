//! The user's settings as checks see them: each value, its origin, and its problem.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;

use super::origin::Origin;
use super::table::TABLE;
use super::values::Settings;

/// A variable of the table, set or not.
#[derive(Debug, Clone)]
pub struct GivenVariable {
    /// Its value.
    pub value: Option<SecretString>,
    /// Whether reports mask it.
    pub secret: bool,
    /// Where it came from.
    pub origin: String,
    /// Whether its value is the default or missing.
    pub is_default: bool,
    /// Why its value is invalid; never contains a secret.
    pub problem: Option<String>,
}

/// The settings of the user's environment.
#[derive(Debug, Clone)]
pub struct Given {
    /// The profile.
    pub profile: &'static str,
    /// The variables of the table, by name.
    pub variables: BTreeMap<&'static str, GivenVariable>,
    /// Every variable of the environment and of `.env`, known or not.
    pub environment: BTreeMap<String, SecretString>,
    /// The directory of the project.
    pub directory: PathBuf,
}

impl Given {
    /// The settings of the project in `directory`.
    #[must_use]
    pub fn from_settings(settings: &Settings, directory: PathBuf) -> Self {
        let variables = TABLE
            .iter()
            .map(|entry| {
                let origin = settings.origin(entry.name);
                let problem = settings.checked(entry.name).err().map(|error| error.to_string());
                let variable = GivenVariable {
                    value: settings.secret(entry.name),
                    secret: entry.is_secret() || origin.is_some_and(Origin::is_indirect),
                    origin: origin.map_or_else(|| "not set".to_owned(), ToString::to_string),
                    is_default: matches!(origin, None | Some(Origin::Default)),
                    problem,
                };
                (entry.name, variable)
            })
            .collect();
        Self { profile: settings.profile(), variables, environment: settings.environment().clone(), directory }
    }

    /// The value of a variable, if it is set.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&SecretString> {
        self.variables.get(name)?.value.as_ref()
    }

    /// The secrets that are set, by name.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &SecretString)> {
        self.variables
            .iter()
            .filter(|(_, variable)| variable.secret)
            .filter_map(|(name, variable)| Some((*name, variable.value.as_ref()?)))
    }
}
