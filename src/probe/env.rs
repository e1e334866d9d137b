//! A setting, as the stack hands it to a worker.

use secrecy::ExposeSecret;
use serde_json::Value;

use super::{Context, Observation};
use crate::spec::EnvProbe;

pub(super) fn observe(probe: &EnvProbe, context: &Context) -> Observation {
    let variables = context.endpoints.environment();
    let Some(variable) = variables.iter().find(|variable| variable.name == probe.variable) else {
        return Observation::new(probe.variable.clone(), Value::Null);
    };
    let mut observation = Observation::new(probe.variable.clone(), variable.value.expose_secret());
    if variable.secret {
        let characters = variable.value.expose_secret().chars().count();
        observation.shown = Some(Value::from(format!("(secret of {characters} characters)")));
    }
    observation
}
