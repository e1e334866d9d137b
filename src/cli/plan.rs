//! `shakedown run --dry-run`: what a run would do; nothing is started.

use std::fmt::Write as _;

use crate::runner::Selection;
use crate::scenario::missing_evidence;
use crate::settings::{Contract, Endpoints, Ready, Settings};
use crate::spec::{Case, Check, Need, Step, Suites};

/// The worker, its variables, and each case with its faults, or with the reason why it would be skipped.
pub(super) fn plan(settings: &Settings, contract: &Contract, suites: &Suites, selection: &Selection) -> String {
    let provider = settings.get("SHAKEDOWN_PROVIDER").unwrap_or("auto");
    let mut text = String::new();
    let mut line = |what: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{what}");
    };
    line(format!("provider    {provider}"));
    line(format!("worker      {}", contract.worker.program));
    line(format!("directory   {}", contract.worker.cwd.display()));
    if let Some(path) = &contract.path {
        line(format!("contract    {}", path.display()));
    }
    for (word, hook) in [("build", &contract.worker.build), ("prepare", &contract.worker.prepare)] {
        if let Some(hook) = hook {
            line(format!("{word:<11} {} (at most {} s)", hook.command.join(" "), hook.within.as_secs_f64()));
        }
    }
    let ready = match &contract.worker.ready {
        Ready::Queue => "it registers on the queue".to_owned(),
        Ready::Log(pattern) => format!("a line of its output matches /{pattern}/"),
        Ready::Http(url) => format!("{url} answers with a 2xx status"),
    };
    line(format!("ready       when {ready}, within {} s", contract.worker.ready_within.as_secs_f64()));
    line(format!(
        "shutdown    within {} of SIGTERM; timeout_factor {}; {} replicas",
        contract.worker.shutdown_grace, contract.worker.timeout_factor, contract.worker.replicas
    ));
    if contract.has_fixed_names() {
        line("names       fixed in the worker, so every scenario gets its own stack, which takes longer".to_owned());
    }
    for name in Endpoints::VARIABLES {
        if !contract.worker.env.contains_key(*name) {
            line(format!("variable    {name}  set by the stack"));
        }
    }
    for (name, template) in &contract.worker.env {
        let value = if template.is_literal() { "as in [worker.env]".to_owned() } else { template.to_string() };
        line(format!("variable    {name} = {value}"));
    }
    line(format!("job         {} with {}", contract.queue.job.name, fields(contract)));
    let mut suite = "";
    let (mut run, mut skipped) = (0, 0);
    for case in suites.cases.iter().filter(|case| selection.chooses(case)) {
        if case.suite != suite {
            suite = &case.suite;
            line(format!("\n{suite}"));
        }
        if let Some(reason) = skip_reason(case, contract, suites, provider) {
            skipped += 1;
            line(format!("  skip  {}: {reason}", case.id));
            continue;
        }
        run += 1;
        line(format!("  run   {}: {}", case.id, case.title));
        if let Check::Scenario(name, _) = &case.check
            && let Some(scenario) = suites.scenarios.get(name)
        {
            scenario.faults.iter().for_each(|fault| line(format!("          {}", fault.words())));
        }
    }
    line(format!("\n{run} cases would run, {skipped} would be skipped; nothing was started"));
    text
}

fn fields(contract: &Contract) -> String {
    contract.queue.job.data.keys().cloned().collect::<Vec<_>>().join(", ")
}

/// The reason why a case would be skipped, as far as it is known before the run.
fn skip_reason(case: &Case, contract: &Contract, suites: &Suites, provider: &str) -> Option<String> {
    if provider == "remote"
        && let Some(need) = case.needs.iter().find(|need| **need != Need::Worker)
    {
        return Some(format!("the remote provider does not have the capability `{}`", need.word()));
    }
    let Check::Scenario(name, demands) = &case.check else { return None };
    let deletes = suites.scenarios.get(name).is_some_and(|scenario| scenario.steps.contains(&Step::Delete));
    if deletes && contract.queue.delete.is_none() {
        return Some("[queue] has no `delete` job".to_owned());
    }
    demands.iter().find_map(|demand| missing_evidence(demand, &contract.evidence, &contract.chunks))
}
