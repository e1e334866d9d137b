//! The environment of a worker, and the values of the placeholders in its contract.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use crate::settings::{Contract, Endpoints, SupabaseEndpoint, Template, entry};

/// What the environment of one worker is made of, and the placeholders of its contract are filled from.
#[derive(Debug, Clone)]
pub struct WorkerEnv {
    /// The services, by way of the proxies.
    pub endpoints: Endpoints,
    /// The REST API of Supabase, if the contract names it.
    pub supabase: Option<SupabaseEndpoint>,
    /// Variables that the scenario sets.
    pub scenario: BTreeMap<String, String>,
    /// Variables that `{{env.NAME}}` takes from the environment of the harness.
    pub variables: BTreeMap<String, SecretString>,
    /// The port for a sidecar, if the contract has one.
    pub sidecar_port: Option<u16>,
}

impl WorkerEnv {
    /// The value of a placeholder; `port` is the worker's own.
    fn placeholder(&self, place: &str, port: u16) -> Option<String> {
        if place == "worker.port" {
            return Some(port.to_string());
        }
        if place == "sidecar.port" {
            return self.sidecar_port.map(|port| port.to_string());
        }
        if let Some(name) = place.strip_prefix("env.") {
            let scenario = self.scenario.get(name).cloned();
            let outside = || self.variables.get(name).map(|value| value.expose_secret().to_owned());
            let default = || entry(name).map(|entry| entry.default.unwrap_or_default().to_owned());
            return scenario.or_else(outside).or_else(default);
        }
        self.endpoints.place(place).or_else(|| self.supabase.as_ref()?.place(place))
    }

    /// Fills a template of the contract; the error is the placeholder that has no value.
    pub(super) fn fill(&self, template: &Template, port: u16) -> Result<String, String> {
        template.fill(|place| self.placeholder(place, port))
    }

    /// Every variable: those of the endpoints, of the scenario, and of the contract; later ones override earlier ones.
    ///
    /// # Errors
    /// The placeholder that has no value.
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
