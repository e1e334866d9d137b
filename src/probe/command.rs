//! A program of the suite's author, run in the working directory: its exit code, or its output.

use std::process::Stdio;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::process::Command;

use super::tcp::captured;
use super::{Context, Observation, ProbeError, last_lines};
use crate::outcome::Evidence;
use crate::services::ServiceError;
use crate::spec::{CommandProbe, CommandYield};
use crate::stack::kill_with_harness;

pub(super) async fn observe(probe: &CommandProbe, context: &Context) -> Result<Observation, ProbeError> {
    let template = context.template();
    let words = probe.command.iter().map(|word| template.fill(word)).collect::<Result<Vec<_>, _>>()?;
    let mut variables = Vec::new();
    for (name, value) in &probe.env {
        variables.push((name.clone(), template.fill(value)?));
    }
    // Several cases may use the output of one program, so it is run once.
    let key = format!("command {words:?} {variables:?}");
    let ran = context.clients.fact(&key, run(&words, &variables, probe.within_s, context)).await?;
    let shown = words.iter().flat_map(|word| word.split_whitespace()).collect::<Vec<_>>().join(" ");
    let what = |part: &str| format!("{part} of `{}`", shown.chars().take(100).collect::<String>());
    if let Some(missing) = ran["missing"].as_str() {
        return Err(ProbeError::Missing(missing.to_owned()));
    }
    if let Some(late) = ran["late"].as_str() {
        return Err(ProbeError::Undecided(late.to_owned()));
    }
    let stdout = ran["stdout"].as_str().unwrap_or_default();
    let answer: Value = serde_json::from_str(stdout).unwrap_or(Value::Null);
    let reason = answer["reason"].as_str().map_or_else(|| format!("reported by `{shown}`"), ToOwned::to_owned);
    match answer["verdict"].as_str() {
        Some("skip") => return Err(ProbeError::Missing(reason)),
        Some("unknown") => return Err(ProbeError::Undecided(reason)),
        _ => {}
    }
    let failed = || {
        let detail = format!("`{shown}` exited with code {}: {}", ran["exit"], ran["stderr"].as_str().unwrap_or(""));
        ProbeError::from(ServiceError::Refused { service: "command", detail })
    };
    let succeeded = ran["exit"] == 0;
    // A program that prints its result as JSON may exit with a code other than 0.
    let has_result = matches!(probe.yields, CommandYield::Pointer(_) | CommandYield::Verdict) && !answer.is_null();
    let mut observation = match &probe.yields {
        CommandYield::Exit => Observation::new(what("exit code"), ran["exit"].clone()),
        _ if !succeeded && !has_result => return Err(failed()),
        CommandYield::Stdout => Observation::new(what("output"), stdout),
        CommandYield::Capture(pattern) => {
            Observation::new(what(&format!("match of /{pattern}/ in the output")), captured(pattern, stdout)?)
        }
        CommandYield::Pointer(_) | CommandYield::Verdict if answer.is_null() => {
            return Err(ProbeError::Undecided(format!("`{shown}` did not print JSON")));
        }
        CommandYield::Pointer(pointer) => {
            let found = answer.pointer(pointer).cloned();
            let missing = found.is_none().then(|| format!("the output of `{shown}` has no {pointer}"));
            let mut observation =
                Observation::new(what(&format!("{pointer} in the output")), found.unwrap_or(Value::Null));
            observation.missing = missing;
            observation
        }
        CommandYield::Verdict => {
            let mut observation = Observation::new(what("verdict"), answer["verdict"].clone());
            observation.also.extend(answer["reason"].as_str().map(|reason| Evidence::seen("reason", reason)));
            observation
        }
    };
    for (name, value) in answer["evidence"].as_object().into_iter().flatten() {
        observation.also.push(Evidence::seen(name.clone(), value.clone()));
    }
    if !succeeded {
        observation.also.push(Evidence::seen("stderr", ran["stderr"].clone()));
    }
    Ok(observation)
}

/// A process group, killed when this is dropped: on a timeout or a cancellation.
struct Group(Option<i32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // The group may have exited meanwhile.
            let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

async fn run(
    words: &[String],
    variables: &[(String, String)],
    within_s: u64,
    context: &Context,
) -> Result<Value, ServiceError> {
    let Some((program, arguments)) = words.split_first() else {
        return Ok(json!({ "missing": "`command` is empty" }));
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    // A group of its own, so that its child processes are killed with it.
    command.process_group(0);
    kill_with_harness(&mut command);
    if let Some(given) = &context.given {
        command.current_dir(&given.directory);
        command.envs(given.environment.iter().map(|(name, value)| (name, value.expose_secret())));
    }
    command.envs(variables.iter().cloned());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(json!({ "missing": format!("{program} is not installed") }));
        }
        Err(error) => return Ok(json!({ "late": format!("cannot run `{program}`: {error}") })),
    };
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()));
    let Ok(ended) = tokio::time::timeout(Duration::from_secs(within_s), child.wait_with_output()).await else {
        return Ok(json!({ "late": format!("`{program}` did not exit within {within_s} s") }));
    };
    group.0 = None;
    let output = match ended {
        Ok(output) => output,
        Err(error) => return Ok(json!({ "late": format!("cannot read the output of `{program}`: {error}") })),
    };
    Ok(json!({
        "exit": output.status.code(),
        "stdout": String::from_utf8_lossy(&output.stdout).trim(),
        "stderr": last_lines(&output.stderr, 6),
    }))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn dropping_the_group_kills_child_processes() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo up; wait"]).process_group(0).kill_on_drop(true).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()));
        let mut stdout = child.stdout.take().unwrap();
        let mut first = [0; 3];
        stdout.read_exact(&mut first).await.unwrap();
        drop(group);
        // The output ends when no process can write to it.
        let end = tokio::time::timeout(Duration::from_secs(10), stdout.read_to_end(&mut Vec::new())).await;
        assert_eq!(end.expect("the sleep still runs").unwrap(), 0);
    }
}
