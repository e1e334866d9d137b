//! What a worker finds in its environment, and where it says that it is ready.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use crate::settings::{Contract, Endpoints, Template, entry};

/// The surroundings of one worker, from which the places of its contract are filled.
#[derive(Debug, Clone)]
pub struct WorkerEnv {
    /// The services, by way of the proxies.
    pub endpoints: Endpoints,
    /// What the scenario sets.
    pub scenario: BTreeMap<String, String>,
    /// What `{{env.NAME}}` takes from the environment of the harness.
    pub variables: BTreeMap<String, SecretString>,
}

impl WorkerEnv {
    /// What stands in a place; `port` is the worker's own.
    fn place(&self, place: &str, port: u16) -> Option<String> {
        if place == "worker.port" {
            return Some(port.to_string());
        }
        if let Some(name) = place.strip_prefix("env.") {
            let scenario = self.scenario.get(name).cloned();
            let outside = || self.variables.get(name).map(|value| value.expose_secret().to_owned());
            let usual = || entry(name).map(|entry| entry.default.unwrap_or_default().to_owned());
            return scenario.or_else(outside).or_else(usual);
        }
        self.endpoints.place(place)
    }

    /// A template of the contract, filled; the error is the place that has no value.
    pub(super) fn fill(&self, template: &Template, port: u16) -> Result<String, String> {
        template.fill(|place| self.place(place, port))
    }

    /// Every variable: what each worker is given, what the scenario sets, and what the contract adds.
    ///
    /// # Errors
    /// The place that has no value.
    pub fn environment(&self, contract: &Contract, port: u16) -> Result<Vec<(String, SecretString)>, String> {
        let mut variables: BTreeMap<String, SecretString> =
            self.endpoints.environment().into_iter().map(|given| (given.name.to_owned(), given.value)).collect();
        variables.extend(self.scenario.iter().map(|(name, value)| (name.clone(), SecretString::from(value.as_str()))));
        for (name, template) in &contract.worker.env {
            variables.insert(name.clone(), self.fill(template, port)?.into());
        }
        Ok(variables.into_iter().collect())
    }
}
