//! `shakedown setup`, run as a process under names of the case's own.

use std::time::Duration;

use serde_json::Value;

use super::{Context, Observation, ProbeError, last_lines, shakedown};
use crate::outcome::Evidence;
use crate::spec::{SetupProbe, SetupYield};

const DEADLINE: Duration = Duration::from_mins(1);

pub(super) async fn observe(probe: &SetupProbe, context: &Context) -> Result<Observation, ProbeError> {
    let template = context.template();
    let mut last = None;
    for turn in 1..=probe.times {
        let mut command = shakedown(context, &["setup", "--worker", "--format", "json"]);
        if turn == probe.times {
            for (name, value) in &probe.env {
                command.env(name, template.fill(value)?);
            }
        }
        let run = tokio::time::timeout(DEADLINE, command.output()).await;
        let output = run
            .map_err(|_| {
                ProbeError::Undecided(format!("`shakedown setup` did not exit within {} s", DEADLINE.as_secs()))
            })?
            .map_err(|error| ProbeError::Undecided(format!("cannot start `shakedown setup`: {error}")))?;
        last = Some(output);
    }
    let Some(output) = last else {
        return Err(ProbeError::Undecided("`times` is 0, so `shakedown setup` never ran".to_owned()));
    };
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let steps = answer.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |step: &Value, key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let what = format!("shakedown setup, run {} of {}", probe.times, probe.times);
    let mut observation = match probe.yields {
        SetupYield::Exit => Observation::new(format!("exit code of {what}"), output.status.code()),
        SetupYield::Changes => {
            if steps.is_empty() {
                return Err(ProbeError::Undecided("`shakedown setup` reported no steps".to_owned()));
            }
            let changes: Vec<String> = steps
                .iter()
                .filter(|step| text(step, "action") != "unchanged")
                .map(|step| text(step, "step"))
                .collect();
            Observation::new(format!("steps that changed something in {what}"), changes)
        }
        SetupYield::Order => {
            let mut order: Vec<String> = steps.iter().map(|step| text(step, "service")).collect();
            order.dedup();
            Observation::new(format!("order of services in {what}"), order.join(" → "))
        }
    };
    if !output.status.success() {
        observation.also.push(Evidence::seen("stderr", last_lines(&output.stderr, 6)));
    }
    Ok(observation)
}
