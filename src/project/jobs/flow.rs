//! Which fields of a job's data a processor reads. The job and its data are followed from the processor's parameter
//! through variables and calls.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use super::super::place::Place;
use super::super::sources::At;
use super::super::syntax::{Kind, Role};
use super::scope::{Scope, is_job_name, names_within, scope_within};

/// How many parameters and variables are followed.
const MAX_STEPS: usize = 1000;

/// A field of a job's data that is read or declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldUse {
    /// Its name.
    pub name: String,
    /// For which jobs.
    pub scope: Scope,
    /// Where.
    pub place: Place,
    /// A type says that it may be missing.
    pub optional: bool,
}

/// What is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum What {
    Job,
    Data,
}

/// What is still to be followed: from many calls deep a recursion would not come back.
struct Step<'p> {
    /// The function, and the number of the parameter.
    function: At<'p>,
    bound: Bound<'p>,
    what: What,
    scope: Scope,
}

/// What holds the job or its data in a function.
enum Bound<'p> {
    Parameter(usize),
    /// A name that is bound at this node.
    Name(String, At<'p>),
}

/// What was found in the functions that a processor reaches.
#[derive(Default)]
pub(super) struct Flow<'p> {
    pub(super) uses: Vec<FieldUse>,
    pub(super) names: BTreeMap<String, Place>,
    /// Fields that the processor itself adds to the data.
    pub(super) own: BTreeSet<String>,
    /// The functions that were followed.
    pub(super) reached: HashSet<(usize, usize)>,
    pending: VecDeque<Step<'p>>,
    seen: HashSet<(usize, usize, usize, What, Scope)>,
}

impl<'p> Flow<'p> {
    /// Follows a parameter of a function, and everything that it is passed on to.
    pub(super) fn follow(&mut self, function: At<'p>, index: usize, what: What, scope: &Scope) {
        self.parameter(function, index, what, scope);
        let mut steps = 0;
        while let Some(step) = self.pending.pop_front() {
            steps += 1;
            if steps > MAX_STEPS {
                self.pending.clear();
                break;
            }
            match step.bound {
                Bound::Parameter(index) => self.enter(step.function, index, step.what, &step.scope),
                Bound::Name(name, target) => self.name(&name, target, step.function, step.what, &step.scope),
            }
        }
    }

    /// Remembers a parameter, each once.
    fn parameter(&mut self, function: At<'p>, index: usize, what: What, scope: &Scope) {
        if self.seen.insert((function.file, function.id, index, what, scope.clone())) {
            let (bound, scope) = (Bound::Parameter(index), scope.clone());
            self.pending.push_back(Step { function, bound, what, scope });
        }
    }

    fn enter(&mut self, function: At<'p>, index: usize, what: What, scope: &Scope) {
        if self.reached.insert((function.file, function.id)) {
            for (name, at) in names_within(function) {
                self.names.entry(name).or_insert_with(|| at.place());
            }
            for call in function.descendants().filter(|at| matches!(at.callee(), Some("updateData" | "update_data"))) {
                let keys = call.arguments().into_iter().flat_map(At::entries).map(|(name, _)| name);
                self.own.extend(keys);
            }
        }
        let Some(parameter) = function.parameters().get(index).copied() else { return };
        if let Some(declared) = parameter.role(Role::Type) {
            self.declared(declared, what, scope);
        }
        self.bound(parameter.parameter_name(), function, what, scope);
    }

    /// Follows what a name or a pattern is bound to, inside a function.
    fn bound(&mut self, target: At<'p>, within: At<'p>, what: What, scope: &Scope) {
        let names = match (target.kind(), what) {
            (Kind::Pattern, What::Data) => {
                for (field, _) in target.pattern_names() {
                    self.add(field, target, scope);
                }
                return;
            }
            (Kind::Pattern, What::Job) => {
                target.pattern_names().into_iter().filter(|(field, _)| field == "data").collect()
            }
            (Kind::Name, _) => vec![(String::new(), target.text().to_owned())],
            _ => Vec::new(),
        };
        let what = if target.is(Kind::Pattern) { What::Data } else { what };
        for (_, name) in names {
            let (bound, scope) = (Bound::Name(name, target), scope.clone());
            self.pending.push_back(Step { function: within, bound, what, scope });
        }
    }

    fn name(&mut self, name: &str, target: At<'p>, within: At<'p>, what: What, scope: &Scope) {
        let uses = within.descendants().filter(|at| at.is(Kind::Name) && at.text() == name && at.id > target.id);
        for at in uses.collect::<Vec<_>>() {
            let part = at.parent().is_some_and(|parent| {
                parent.is(Kind::Member) && parent.role(Role::Name) == Some(at)
                    || parent.is(Kind::Pair) && parent.role(Role::Key) == Some(at)
            });
            if !part {
                self.expression(at, within, what, &scope.and(&scope_within(at, within)));
            }
        }
    }

    fn add(&mut self, name: String, at: At<'_>, scope: &Scope) {
        self.uses.push(FieldUse { name, scope: scope.clone(), place: at.place(), optional: false });
    }

    /// Follows an expression into what is around it.
    fn expression(&mut self, at: At<'p>, within: At<'p>, what: What, scope: &Scope) {
        let Some((at, parent)) = self.passed_on(at, what, scope) else { return };
        match parent.kind() {
            Kind::Member if parent.role(Role::Object) == Some(at) => self.member(parent, within, what, scope),
            Kind::Index if parent.role(Role::Object) == Some(at) => {
                let key = parent.role(Role::Key).and_then(|key| Some(key.value()?.text()?.to_owned()));
                match (key, what) {
                    (Some(key), What::Data) => self.add(key, parent, scope),
                    (Some(key), What::Job) if key == "data" => self.expression(parent, within, What::Data, scope),
                    _ => {}
                }
            }
            Kind::Bind if parent.role(Role::Value) == Some(at) => {
                if let Some(declared) = parent.role(Role::Type) {
                    self.declared(declared, what, scope);
                }
                if let Some(target) = parent.role(Role::Target) {
                    self.bound(target, within, what, scope);
                }
            }
            _ => self.argument(at, parent, what, scope),
        }
    }

    /// The value that an expression is passed on as, through parentheses, casts and `job.data ?? {}`, and what is around it.
    fn passed_on(&mut self, at: At<'p>, what: What, scope: &Scope) -> Option<(At<'p>, At<'p>)> {
        let mut at = at;
        loop {
            let parent = at.parent()?;
            let passes = match parent.kind() {
                Kind::Wrap => {
                    let is_value = parent.role(Role::Value) == Some(at);
                    if let Some(declared) = parent.role(Role::Type).filter(|_| is_value) {
                        self.declared(declared, what, scope);
                    }
                    is_value
                }
                Kind::Binary => matches!(parent.role(Role::Operator).map(At::text), Some("??" | "||" | "or")),
                _ => false,
            };
            if !passes {
                return Some((at, parent));
            }
            at = parent;
        }
    }

    fn member(&mut self, member: At<'p>, within: At<'p>, what: What, scope: &Scope) {
        let name = member.role(Role::Name).map(At::text).unwrap_or_default();
        let call = member.parent().filter(|call| call.is(Kind::Call) && call.role(Role::Function) == Some(member));
        match (what, call) {
            (What::Job, None) if name == "data" => self.expression(member, within, What::Data, scope),
            (What::Data, None) => self.add(name.to_owned(), member, scope),
            (What::Data, Some(call)) if matches!(name, "get" | "pop") => {
                let field = call.arguments().first().and_then(|at| Some(at.value()?.text()?.to_owned()));
                // Who reads it like this can do without it.
                if let Some(name) = field {
                    self.uses.push(FieldUse { name, scope: scope.clone(), place: call.place(), optional: true });
                }
            }
            _ => {}
        }
    }

    /// Follows an argument into the function that is called.
    fn argument(&mut self, at: At<'p>, parent: At<'p>, what: What, scope: &Scope) {
        // `f(**data)` has one more node between the argument and the list.
        let spread = parent.text().starts_with("**");
        let list = if spread { parent.parent() } else { Some(parent) };
        let call = list.and_then(At::parent).filter(|call| call.is(Kind::Call) && call.role(Role::Arguments) == list);
        let (Some(call), Some(function)) = (call, call.and_then(|call| call.role(Role::Function))) else { return };
        let place = call.arguments().iter().position(|argument| *argument == at).unwrap_or_default();
        let function = function.bare();
        if function.is(Kind::Index) && function.role(Role::Key).is_some_and(is_job_name) {
            self.dispatch(function, place, what, scope);
            return;
        }
        if let Some(called) = call.called() {
            match called.kind() {
                Kind::Function => self.parameter(called, place, what, scope),
                Kind::Class if what == What::Data => self.class_fields(called, scope),
                _ => {}
            }
            if called.is(Kind::Function) {
                return;
            }
        }
        // `Schema.parse(job.data)`, `Payload.model_validate(job.data)`.
        let checks = matches!(
            call.callee(),
            Some("parse" | "parseAsync" | "safeParse" | "model_validate" | "parse_obj" | "validate_python")
        );
        if let Some(schema) = function.role(Role::Object).filter(|_| checks && what == What::Data) {
            match schema.structure(8) {
                Some(class) if class.is(Kind::Class) => self.class_fields(class, scope),
                Some(call) => {
                    let object = call.arguments().into_iter().find(|at| at.is(Kind::Object));
                    for (name, value) in object.map(At::entries).unwrap_or_default() {
                        let optional =
                            value.path().iter().any(|part| matches!(*part, "optional" | "nullish" | "default"));
                        self.uses.push(FieldUse { name, scope: scope.clone(), place: value.place(), optional });
                    }
                }
                None => {}
            }
        }
    }

    /// `handlers[job.name](job.data)`: each handler has the jobs of its key.
    fn dispatch(&mut self, index: At<'p>, place: usize, what: What, scope: &Scope) {
        let Some(handlers) = index.role(Role::Object).and_then(|at| at.structure(8)) else { return };
        for (name, handler) in handlers.entries() {
            self.names.entry(name.clone()).or_insert_with(|| handler.place());
            if let Some(function) = handler.referred().filter(|at| at.is(Kind::Function)) {
                self.parameter(function, place, what, &scope.and(&Scope::only(&name)));
            }
        }
    }

    /// The fields of a class of data, such as a pydantic model.
    fn class_fields(&mut self, class: At<'_>, scope: &Scope) {
        let own = |at: &At<'_>| at.is(Kind::Bind) && at.class() == Some(class) && at.functions().next().is_none();
        for bind in class.descendants().filter(own).collect::<Vec<_>>() {
            let (Some(target), Some(declared)) = (bind.role(Role::Target), bind.role(Role::Type)) else { continue };
            let optional = bind.role(Role::Value).is_some() || declared.text().contains("None");
            let name = target.text().to_owned();
            self.uses.push(FieldUse { name, scope: scope.clone(), place: bind.place(), optional });
        }
    }

    /// The fields that a type declares.
    pub(super) fn declared(&mut self, declared: At<'_>, what: What, scope: &Scope) {
        match (declared.kind(), what) {
            (Kind::Generic, What::Job) => {
                if let Some(argument) = declared.role(Role::Argument) {
                    self.declared(argument, What::Data, scope);
                }
            }
            (Kind::Name, What::Data) => {
                let own = declared.sources.top_level(declared.file, declared.text());
                let all = declared.sources.types.get(declared.text());
                let found = own.or_else(|| all.and_then(|all| all.first()).map(|at| declared.sources.at(*at)));
                match found {
                    Some(record) if record.is(Kind::Record) => {
                        if let Some(body) = record.role(Role::Body) {
                            self.fields(body, scope);
                        }
                    }
                    Some(class) if class.is(Kind::Class) => self.class_fields(class, scope),
                    _ => {}
                }
            }
            (_, What::Data) => self.fields(declared, scope),
            _ => {}
        }
    }

    fn fields(&mut self, body: At<'_>, scope: &Scope) {
        for field in body.children().filter(|at| at.is(Kind::Field)).collect::<Vec<_>>() {
            let Some(name) = field.role(Role::Name).and_then(At::key) else { continue };
            let optional = field.role(Role::Optional).is_some();
            self.uses.push(FieldUse { name, scope: scope.clone(), place: field.place(), optional });
        }
    }
}
