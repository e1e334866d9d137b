//! The variables of the environment that the sources read: directly, through helpers, and through validators (zod, Joi,
//! envalid, pydantic-settings).

use std::collections::{BTreeMap, HashMap};

use super::place::Place;
use super::sources::{At, Sources};
use super::syntax::{Kind, Role};
use super::validators::{default_of, settings_field};
use super::value::{Value, is_variable};

/// A variable that the worker reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Where it is read, at first.
    pub place: Place,
    /// Its value if it is not set, as far as the source names one. It may be a secret: never print it.
    pub default: Option<String>,
}

/// What a validator's fields begin with.
const VALIDATORS: &[&str] = &[
    "z", "zod", "Joi", "joi", "v", "yup", "t", "Type", "S", "str", "num", "port", "url", "bool", "host", "email",
    "json",
];

impl Sources {
    /// All variables by name.
    pub(super) fn variables(&self) -> BTreeMap<String, Variable> {
        let mut found: BTreeMap<String, Variable> = BTreeMap::new();
        let mut add = |value: Option<Value>, at: At<'_>| {
            let Some(Value::Variable { name, default }) = value else { return };
            let known = found.entry(name).or_insert_with(|| Variable { place: at.place(), default: None });
            known.default = known.default.take().or(default);
        };
        for at in
            self.of_kinds(&[Kind::Member, Kind::Index, Kind::Call, Kind::Binary, Kind::Bind, Kind::Pair, Kind::Class])
        {
            match at.kind() {
                Kind::Member | Kind::Index | Kind::Call => add(at.variable(), at),
                Kind::Binary => {
                    let is_read = at.role(Role::Left).is_some_and(|left| left.bare().variable().is_some());
                    add(is_read.then(|| at.value()).flatten(), at);
                }
                Kind::Bind => {
                    let of_environment = at.role(Role::Value).is_some_and(At::is_environment);
                    let pattern = at.role(Role::Target).filter(|target| of_environment && target.is(Kind::Pattern));
                    for (name, _) in pattern.map(At::pattern_names).unwrap_or_default() {
                        add(Some(Value::Variable { name, default: None }), at);
                    }
                }
                Kind::Pair => {
                    let key = at.role(Role::Key).and_then(At::key).filter(|key| is_variable(key));
                    let value = at.role(Role::Value).filter(|value| is_validator(*value));
                    if let (Some(name), Some(value)) = (key, value) {
                        add(Some(Value::Variable { name, default: default_of(value) }), at);
                    }
                }
                Kind::Class => {
                    for bind in at.descendants().filter(|bind| bind.is(Kind::Bind) && bind.class() == Some(at)) {
                        let name = bind.role(Role::Target).map(At::text).unwrap_or_default();
                        add(settings_field(at, name), bind);
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// The variable that a setting of this name is read from, whichever object has it.
    pub(super) fn setting(&self, name: &str) -> Option<Value> {
        self.settings.get_or_init(|| self.settings()).get(name).cloned()
    }

    fn settings(&self) -> HashMap<String, Value> {
        let mut settings = HashMap::new();
        for at in self.of_kinds(&[Kind::Pair, Kind::Bind]) {
            let (name, value) = match at.kind() {
                Kind::Pair => (at.role(Role::Key).and_then(At::key), at.role(Role::Value)),
                Kind::Bind => (
                    at.role(Role::Target).and_then(|target| target.path().last().copied()).map(str::to_owned),
                    at.role(Role::Value),
                ),
                _ => continue,
            };
            if let (Some(name), Some(value)) = (name, value.and_then(direct)) {
                settings.entry(name).or_insert(value);
            }
        }
        settings
    }
}

/// The variable that an expression reads without following any name.
fn direct(at: At<'_>) -> Option<Value> {
    let (mut at, mut default) = (at.bare(), None);
    // As many operators and wrappers as anybody writes around one variable.
    for _ in 0..8 {
        if let Some(variable) = at.variable() {
            return Some(variable.or(default));
        }
        at = match at.kind() {
            Kind::Binary => {
                default = at.role(Role::Right).and_then(At::literal).map(Value::Text);
                at.role(Role::Left)?.bare()
            }
            Kind::Call => at.arguments().first()?.bare(),
            _ => return None,
        };
    }
    None
}

/// Whether an expression is a field of a validator, such as `z.string().default("x")`.
fn is_validator(at: At<'_>) -> bool {
    let at = at.bare();
    at.is(Kind::Call) && at.path().iter().find(|name| !name.is_empty()).is_some_and(|first| VALIDATORS.contains(first))
}
