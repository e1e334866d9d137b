//! For which job names a part of a processor runs.

use std::collections::BTreeSet;

use super::super::sources::At;
use super::super::syntax::{Kind, Role};

/// The names of the jobs that reach a place: one, or all but some.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Only jobs of this name.
    pub only: Option<String>,
    /// Not jobs of these names.
    pub not: BTreeSet<String>,
}

impl Scope {
    /// Whether jobs of this name reach the place.
    #[must_use]
    pub fn admits(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name) && !self.not.contains(name)
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        let only = self.only.clone().or_else(|| other.only.clone());
        Self { only, not: self.not.union(&other.not).cloned().collect() }
    }

    pub(super) fn only(name: &str) -> Self {
        Self { only: Some(name.to_owned()), not: BTreeSet::new() }
    }

    fn of(condition: (String, bool), holds: bool) -> Self {
        let (name, equal) = condition;
        if equal == holds { Self::only(&name) } else { Self { only: None, not: [name].into() } }
    }
}

/// The name of a job that a condition compares with, and whether it asks for equality.
fn condition(at: At<'_>) -> Option<(String, bool)> {
    condition_within(at, 8)
}

fn condition_within(at: At<'_>, steps: usize) -> Option<(String, bool)> {
    let (at, steps) = (at.bare(), steps.checked_sub(1)?);
    let (left, right) = (at.role(Role::Left)?, at.role(Role::Right)?);
    match at.role(Role::Operator)?.text() {
        "==" | "===" => Some((compared(left, right)?, true)),
        "!=" | "!==" => Some((compared(left, right)?, false)),
        "&&" | "and" => {
            let found = condition_within(left, steps).or_else(|| condition_within(right, steps));
            found.filter(|(_, equal)| *equal)
        }
        _ => None,
    }
}

fn compared(left: At<'_>, right: At<'_>) -> Option<String> {
    let other = if is_job_name(left) {
        right
    } else if is_job_name(right) {
        left
    } else {
        return None;
    };
    other.value()?.text().map(str::to_owned)
}

/// Whether this is `job.name`.
pub(super) fn is_job_name(at: At<'_>) -> bool {
    matches!(at.bare().path().as_slice(), [.., job, "name"] if job.to_lowercase().contains("job"))
}

/// The scope of a place inside a function, from the conditions around and before it.
pub(super) fn scope_within(at: At<'_>, function: At<'_>) -> Scope {
    let mut scope = Scope::default();
    let mut inner = at;
    for outer in at.ancestors().take_while(|outer| function.contains(*outer)) {
        match outer.kind() {
            Kind::Branch => {
                let holds = outer.role(Role::Then).is_some_and(|then| then.contains(at));
                let fails = outer.role(Role::Else).is_some_and(|other| other.contains(at));
                let condition = outer.role(Role::Condition).and_then(condition);
                if let (Some(condition), true) = (condition, holds || fails) {
                    scope = scope.and(&Scope::of(condition, holds));
                }
            }
            Kind::Case => {
                if let Some(name) = case_name(outer) {
                    scope = scope.and(&Scope::only(&name));
                }
            }
            _ => {}
        }
        for earlier in outer.children().take_while(|sibling| sibling.id < inner.id) {
            let leaves = earlier.is(Kind::Branch) && earlier.role(Role::Then).is_some_and(leaves);
            if let Some(condition) = earlier.role(Role::Condition).filter(|_| leaves).and_then(condition) {
                scope = scope.and(&Scope::of(condition, false));
            }
        }
        inner = outer;
    }
    scope
}

/// The name of the jobs of a case, if the switch is over `job.name`.
fn case_name(case: At<'_>) -> Option<String> {
    let switch = case.ancestors().find(|at| at.is(Kind::Switch))?;
    switch.role(Role::Value).filter(|value| is_job_name(*value))?;
    case.role(Role::Value)?.value()?.text().map(str::to_owned)
}

/// Whether a statement never reaches the one after it.
fn leaves(statement: At<'_>) -> bool {
    let is_exit = |at: At<'_>| matches!(at.kind(), Kind::Return | Kind::Exit);
    is_exit(statement) || statement.children().any(is_exit)
}

/// The names that the conditions inside a function compare the name of a job with.
pub(super) fn names_within(function: At<'_>) -> Vec<(String, At<'_>)> {
    let named = |at: At<'_>| match at.kind() {
        Kind::Branch => condition(at.role(Role::Condition)?).map(|(name, _)| name),
        Kind::Case => case_name(at),
        _ => None,
    };
    function.descendants().filter_map(|at| Some((named(at)?, at))).collect()
}
