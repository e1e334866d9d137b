//! The plan of a run: which cases and which scenario runs, before anything starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Selection;
use super::baseline::Baselines;
use crate::spec::{Case, Check, Scenario, Step, Suites};

/// What a run does.
#[derive(Debug)]
pub(super) struct Plan {
    /// The selected cases, in the order of the suites.
    pub(super) cases: Vec<Arc<Case>>,
    /// How many cases of this verb are not selected.
    pub(super) filtered_out: usize,
    /// The scenario runs by name: those that cases judge, and their baselines. Each runs at most once.
    pub(super) scenario_runs: BTreeMap<String, ScenarioRun>,
}

/// One scenario run.
#[derive(Debug)]
pub(super) struct ScenarioRun {
    pub(super) scenario: Scenario,
    /// The name of the scenario run to compare with.
    pub(super) baseline: Option<String>,
    /// Whether it needs a stack to itself: it disturbs a service, or the worker has fixed names.
    pub(super) needs_own_stack: bool,
}

impl ScenarioRun {
    /// Whether it removes documents.
    pub(super) fn deletes(&self) -> bool {
        self.scenario.steps.contains(&Step::Delete)
    }
}

impl Plan {
    /// Plans the selected cases. With `fixed_names` of the worker, every scenario run needs its own stack.
    pub(super) fn new(suites: &Suites, selection: &Selection, fixed_names: bool) -> Self {
        let cases: Vec<Arc<Case>> = suites.cases.iter().filter(|case| selection.chooses(case)).cloned().collect();
        let considered = suites.cases.iter().filter(|case| selection.considers(case)).count();
        let judged = || cases.iter().filter_map(|case| suites.scenarios.get_key_value(scenario_of(case)?));
        let baselines = Baselines::merge(judged().filter_map(|(_, scenario)| {
            let (name, baseline) = suites.scenarios.get_key_value(scenario.baseline.as_deref()?)?;
            Some((name.as_str(), baseline))
        }));
        let planned = |scenario: &Scenario| ScenarioRun {
            scenario: scenario.clone(),
            baseline: scenario.baseline.as_deref().map(|baseline| baselines.resolve(baseline).to_owned()),
            needs_own_stack: fixed_names || scenario.needs_own_stack(),
        };
        let mut scenario_runs = BTreeMap::new();
        for (name, scenario) in judged() {
            let run = planned(scenario);
            if let Some(baseline) = &run.baseline
                && let Some(scenario) = baselines.get(baseline).or_else(|| suites.scenarios.get(baseline))
            {
                scenario_runs.insert(baseline.clone(), planned(scenario));
            }
            scenario_runs.insert(name.clone(), run);
        }
        Self { filtered_out: considered.saturating_sub(cases.len()), cases, scenario_runs }
    }

    /// The scenario run that `case` judges; `None` for a probe.
    pub(super) fn run_of(&self, case: &Case) -> Option<(&str, &ScenarioRun)> {
        let (name, run) = self.scenario_runs.get_key_value(scenario_of(case)?)?;
        Some((name, run))
    }
}

fn scenario_of(case: &Case) -> Option<&str> {
    match &case.check {
        Check::Scenario(name, _) => Some(name),
        Check::Probe(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_a_case_and_every_baseline_is_planned_once() {
        let suites = Suites::builtin().unwrap();
        let plan = Plan::new(&suites, &Selection::default().with_slow(true), false);
        assert!(!plan.cases.is_empty());
        for case in &plan.cases {
            let Some((_, run)) = plan.run_of(case) else {
                assert_eq!(scenario_of(case), None, "{} has no planned run", case.id);
                continue;
            };
            assert!(run.baseline.as_ref().is_none_or(|name| plan.scenario_runs.contains_key(name)), "{}", case.id);
        }
        let used: std::collections::BTreeSet<&str> = plan
            .cases
            .iter()
            .filter_map(|case| plan.run_of(case))
            .flat_map(|(name, run)| run.baseline.as_deref().into_iter().chain([name]))
            .collect();
        assert_eq!(used.len(), plan.scenario_runs.len());
    }

    #[test]
    fn a_worker_with_fixed_names_needs_its_own_stack_for_every_scenario() {
        let suites = Suites::builtin().unwrap();
        let selection = Selection::default();
        assert!(Plan::new(&suites, &selection, true).scenario_runs.values().all(|run| run.needs_own_stack));
        assert!(Plan::new(&suites, &selection, false).scenario_runs.values().any(|run| !run.needs_own_stack));
    }
}
