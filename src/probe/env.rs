//! An environment variable, as the user set it or as the stack passes it to a worker.

use secrecy::ExposeSecret;
use serde_json::Value;

use super::{Context, Observation, ProbeError};
use crate::spec::{EnvProbe, EnvYield};

pub(super) fn observe(probe: &EnvProbe, context: &Context) -> Result<Observation, ProbeError> {
    let name = &probe.variable;
    let variables = context.endpoints.environment();
    let given = context.given.as_ref().and_then(|given| given.variables.get(name.as_str()));
    // A throwaway stack has no variables of the user.
    let (value, secret) = match (given, variables.iter().find(|variable| variable.name == *name)) {
        (Some(given), _) => (given.value.clone(), given.secret),
        (None, Some(variable)) => (Some(variable.value.clone()), variable.secret),
        (None, None) => (None, false),
    };
    let Some(value) = value else {
        if probe.optional {
            return Err(ProbeError::Missing(format!("{name} is not set")));
        }
        return Ok(match probe.yields {
            EnvYield::Value => Observation::new(name.clone(), Value::Null),
            EnvYield::Problem => Observation::new(name.clone(), "not set"),
        });
    };
    if probe.yields == EnvYield::Problem {
        let problem = given.and_then(|given| given.problem.clone());
        let mut observation = Observation::new(format!("problem with {name}"), problem);
        if let Some(given) = given {
            observation.also.push(crate::outcome::Evidence::seen("set by", given.origin.clone()));
        }
        return Ok(observation);
    }
    let mut observation = Observation::new(name.clone(), value.expose_secret());
    if secret {
        let characters = value.expose_secret().chars().count();
        observation.shown = Some(Value::from(format!("(secret of {characters} characters)")));
    }
    Ok(observation)
}
