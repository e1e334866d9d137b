//! What an expression stands for: a text, a variable of the environment, or neither. Constants are followed within a
//! file and over imports.

use super::sources::At;
use super::syntax::{Kind, Role};
use super::validators::{schema_field, settings_field};
use super::value::{Value, is_variable};

/// How many definitions are followed.
const MAX_STEPS: usize = 12;

impl<'p> At<'p> {
    /// What this expression stands for.
    pub(super) fn value(self) -> Option<Value> {
        self.value_within(MAX_STEPS)
    }

    pub(super) fn value_within(self, steps: usize) -> Option<Value> {
        let steps = steps.checked_sub(1)?;
        let at = self.bare();
        if let Some(variable) = at.variable() {
            return Some(variable);
        }
        match at.kind() {
            Kind::Text => {
                let pieces = at.pieces().into_iter().map(|piece| match piece {
                    Ok(text) => Some(text),
                    Err(hole) => hole.value_within(steps)?.text().map(str::to_owned),
                });
                pieces.collect::<Option<String>>().map(Value::Text)
            }
            Kind::Binary => {
                let (left, right) = (at.role(Role::Left)?, at.role(Role::Right)?);
                match at.role(Role::Operator)?.text() {
                    "??" | "||" | "or" => Some(left.value_within(steps)?.or(right.value_within(steps))),
                    _ => None,
                }
            }
            Kind::Name => at.definition()?.defined_value(at.text(), steps),
            Kind::Member => at.member_value(steps),
            Kind::Index => {
                let key = at.role(Role::Key)?.value_within(steps)?;
                at.role(Role::Object)?.structure(steps)?.entry(&[key.text()?])?.value_within(steps)
            }
            Kind::Call => at.call_value(steps),
            _ => None,
        }
    }

    /// The variable of the environment that an expression reads.
    pub(super) fn variable(self) -> Option<Value> {
        match self.kind() {
            Kind::Member => {
                let object = self.role(Role::Object)?;
                let name = self.role(Role::Name)?.text();
                (object.is_environment() && !matches!(name, "get" | "pop" | "copy")).then(|| Value::variable(name))
            }
            Kind::Index => {
                let key = self.role(Role::Key)?;
                self.role(Role::Object)?.is_environment().then(|| key.literal()).flatten().map(Value::variable)
            }
            Kind::Call => {
                let path = self.role(Role::Function)?.path();
                let arguments = self.arguments();
                let named = || arguments.first()?.literal();
                let default = || {
                    let default = arguments.get(1).copied().or_else(|| self.option(&["default", "defaultValue"]));
                    default.and_then(|at| at.bare().literal()).map(Value::Text)
                };
                match path.as_slice() {
                    [.., "environ" | "env", "get"] | [.., "getenv"] => Some(Value::variable(named()?).or(default())),
                    // Nest's ConfigService, `env("X")` of environs and of Prisma's configuration.
                    [.., "get" | "getOrThrow"] if path.iter().any(|name| name.to_lowercase().contains("config")) => {
                        Some(Value::variable(named().filter(|name| is_variable(name))?).or(default()))
                    }
                    ["env"] | ["env", "str" | "int" | "bool" | "url" | "list"] => {
                        Some(Value::variable(named().filter(|name| is_variable(name))?).or(default()))
                    }
                    _ => self.helper(&arguments).map(|value| value.or(default())),
                }
            }
            _ => None,
        }
    }

    /// The variable that a helper of the project reads, such as `required("REDIS_URL")`.
    fn helper(self, arguments: &[Self]) -> Option<Value> {
        let place = arguments.iter().position(|at| at.literal().is_some_and(|text| is_variable(&text)))?;
        let function = self.called()?;
        let parameter = function.parameters().get(place)?.parameter_name().text().to_owned();
        let reads = function.descendants().any(|at| {
            let key = match at.kind() {
                Kind::Index if at.role(Role::Object).is_some_and(At::is_environment) => at.role(Role::Key),
                Kind::Call
                    if at.role(Role::Function).is_some_and(|function| {
                        matches!(function.path().as_slice(), [.., "environ", "get"] | [.., "getenv"])
                    }) =>
                {
                    at.arguments().first().copied()
                }
                _ => None,
            };
            key.is_some_and(|key| key.text() == parameter)
        });
        reads.then(|| arguments[place].literal()).flatten().map(Value::variable)
    }

    /// Whether this is the environment of the process.
    pub(super) fn is_environment(self) -> bool {
        matches!(
            self.bare().path().as_slice(),
            ["process" | "Bun", "env"] | ["os", "environ"] | ["environ"] | [.., "meta", "env"]
        )
    }

    /// Where the name is defined: a parameter, a variable, a function or a class, here or in another file.
    pub(super) fn definition(self) -> Option<At<'p>> {
        let name = self.text();
        for function in self.functions() {
            let parameter = function.parameters().into_iter().find(|at| {
                let own = at.parameter_name();
                own.text() == name
                    || own.is(Kind::Pattern) && own.pattern_names().iter().any(|(_, bound)| bound == name)
            });
            if parameter.is_some() {
                return parameter;
            }
            let bound = self.bound(name, Some(function.id));
            if bound.is_some() {
                return bound;
            }
        }
        self.sources.top_level(self.file, name).or_else(|| self.bound(name, None))
    }

    /// What gives the name a value directly in this function, or outside of all.
    fn bound(self, name: &str, function: Option<usize>) -> Option<At<'p>> {
        let bound = self.sources.bound.get(self.file)?.get(name)?;
        let mut own = bound.iter().filter(|(within, _)| *within == function).map(|(_, id)| At { id: *id, ..self });
        own.find(|at| !at.contains(self))
    }

    /// The fields that a pattern takes, and the names it binds them to.
    pub(super) fn pattern_names(self) -> Vec<(String, String)> {
        let pair = |at: At<'p>| match at.kind() {
            Kind::Name => Some((at.text().to_owned(), at.text().to_owned())),
            Kind::Parameter => Some((at.role(Role::Name)?.text().to_owned(), at.role(Role::Name)?.text().to_owned())),
            Kind::Pair => {
                let value = at.role(Role::Value)?;
                let bound = if value.is(Kind::Parameter) { value.role(Role::Name)? } else { value };
                Some((at.role(Role::Key)?.key()?, bound.text().to_owned()))
            }
            _ => None,
        };
        self.children().filter_map(pair).collect()
    }

    fn defined_value(self, name: &str, steps: usize) -> Option<Value> {
        if !self.is(Kind::Bind) {
            return None;
        }
        let (target, value) = (self.role(Role::Target)?, self.role(Role::Value)?);
        if target.is(Kind::Name) {
            return value.value_within(steps);
        }
        let (field, _) = target.pattern_names().into_iter().find(|(_, bound)| bound == name)?;
        if value.is_environment() {
            return Some(Value::variable(field));
        }
        value.field_value(&field, steps)
    }

    fn member_value(self, steps: usize) -> Option<Value> {
        let name = self.role(Role::Name)?.text();
        self.role(Role::Object)?.field_value(name, steps)
    }

    /// The value of a field of the object that this expression stands for.
    fn field_value(self, name: &str, steps: usize) -> Option<Value> {
        let steps = steps.checked_sub(1)?;
        let at = self.bare();
        if matches!(at.text(), "this" | "self") {
            return at.class()?.class_field(name)?.value_within(steps);
        }
        if let Some(structure) = at.structure(steps)
            && let Some(value) = structure.structure_field(name, steps)
        {
            return Some(value);
        }
        // Settings come into a class through its constructor: a setting of this name somewhere is the one.
        let named = at.path().last().copied().unwrap_or_default().to_lowercase();
        let is_settings = ["config", "settings", "env", "cfg", "conf"].iter().any(|word| named.contains(word));
        is_settings.then(|| at.sources.setting(name)).flatten()
    }

    /// The object, class or call that an expression is made by.
    pub(super) fn structure(self, steps: usize) -> Option<At<'p>> {
        let steps = steps.checked_sub(1)?;
        let at = self.bare();
        match at.kind() {
            Kind::Name => {
                let definition = at.definition()?;
                match definition.kind() {
                    Kind::Bind => definition.role(Role::Value)?.structure(steps),
                    Kind::Class => Some(definition),
                    _ => None,
                }
            }
            Kind::Object | Kind::Call => Some(at),
            Kind::Member => {
                let (object, name) = (at.role(Role::Object)?.bare(), at.role(Role::Name)?.text());
                let part = match object.text() {
                    "this" | "self" => at.class()?.class_field(name),
                    _ => {
                        let structure = object.structure(steps)?;
                        structure.entry(&[name]).or_else(|| structure.class_field(name))
                    }
                };
                part?.structure(steps)
            }
            _ => None,
        }
    }

    fn structure_field(self, name: &str, steps: usize) -> Option<Value> {
        match self.kind() {
            Kind::Object => self.entry(&[name])?.value_within(steps),
            Kind::Call => {
                if let Some(value) = schema_field(self, name) {
                    return Some(value);
                }
                match self.called() {
                    Some(class) if class.is(Kind::Class) => settings_field(class, name)
                        .or_else(|| self.role(Role::Arguments)?.entry(&[name])?.value_within(steps)),
                    Some(function) => {
                        let returned = function.descendants().find(|at| at.is(Kind::Return))?.role(Role::Value)?;
                        returned.structure(steps)?.structure_field(name, steps.checked_sub(1)?)
                    }
                    None => None,
                }
            }
            Kind::Class => settings_field(self, name).or_else(|| self.class_field(name)?.value_within(steps)),
            _ => None,
        }
    }

    /// The value of a field of a class: where it is declared, or where a method assigns it.
    fn class_field(self, name: &str) -> Option<At<'p>> {
        let mut binds = self.descendants().filter(|at| at.is(Kind::Bind));
        binds.find_map(|bind| {
            let target = bind.role(Role::Target)?;
            let own = match target.kind() {
                Kind::Name => target.text() == name && bind.class() == Some(self) && bind.functions().next().is_none(),
                _ => matches!(target.path().as_slice(), ["this" | "self", field] if *field == name),
            };
            own.then(|| bind.role(Role::Value)).flatten()
        })
    }

    /// A call of a wrapper around one value, such as `String(process.env.X)`, or of a method of it.
    fn call_value(self, steps: usize) -> Option<Value> {
        let arguments = self.arguments();
        let of_arguments = || match arguments.as_slice() {
            [only] => only.value_within(steps).filter(|value| matches!(value, Value::Variable { .. })),
            _ => None,
        };
        let of_object = || {
            let function = self.role(Role::Function)?;
            let method = function.role(Role::Name)?.text();
            let plain = matches!(method, "trim" | "toString" | "strip" | "get_secret_value" | "unicode_string");
            plain.then(|| function.role(Role::Object)?.value_within(steps)).flatten()
        };
        of_arguments().or_else(of_object)
    }

    /// The function or class of the project that a call calls.
    pub(super) fn called(self) -> Option<At<'p>> {
        self.role(Role::Function)?.referred()
    }

    /// The function or class of the project that an expression names.
    pub(super) fn referred(self) -> Option<At<'p>> {
        let at = self.bare();
        match at.kind() {
            Kind::Function => Some(at),
            Kind::Name => {
                let definition = at.definition()?;
                match definition.kind() {
                    Kind::Function | Kind::Class => Some(definition),
                    Kind::Bind => {
                        let value = definition.role(Role::Value)?.bare();
                        value.is(Kind::Function).then_some(value)
                    }
                    _ => None,
                }
            }
            Kind::Member => {
                let name = at.role(Role::Name)?;
                let all = at.sources.functions.get(name.text()).map(Vec::as_slice).unwrap_or_default();
                let here = || {
                    let first = all.partition_point(|(file, _)| *file < at.file);
                    all[first..].iter().take_while(|(file, _)| *file == at.file).map(|place| at.sources.at(*place))
                };
                let own_class = at.class();
                let on_self = at.role(Role::Object).is_some_and(|object| matches!(object.text(), "this" | "self"));
                if on_self && let Some(own) = here().find(|at| at.class() == own_class) {
                    return Some(own);
                }
                // Without types, a method is known by its name if only one has it.
                match all {
                    [only] => Some(at.sources.at(*only)),
                    _ => here().find(|at| at.class().is_some()),
                }
            }
            _ => None,
        }
    }
}
