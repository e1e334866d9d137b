//! The variables behind the fields of validators: zod, Joi, envalid, pydantic-settings.

use super::sources::At;
use super::syntax::{Kind, Role};
use super::value::{Value, is_variable};

/// The default that a validator's field names.
pub(super) fn default_of(at: At<'_>) -> Option<String> {
    let calls = at.descendants().filter(|call| call.is(Kind::Call));
    calls.into_iter().find_map(|call| match call.callee() {
        Some("default" | "catch" | "prefault") => call.arguments().first()?.literal(),
        _ => call.option(&["default", "devDefault"])?.literal(),
    })
}

/// The variable behind a field of what a validator gives: `schema.parse(process.env).X`, `cleanEnv(process.env, {…}).X`.
pub(super) fn schema_field(call: At<'_>, name: &str) -> Option<Value> {
    let validates =
        matches!(call.callee()?, "parse" | "safeParse" | "cleanEnv" | "createEnv" | "validate" | "parseEnv");
    if !validates || !is_variable(name) {
        return None;
    }
    let receiver = call.role(Role::Function).and_then(|function| function.role(Role::Object)).map(At::bare);
    let schema = receiver.and_then(|at| match at.kind() {
        Kind::Name => at.definition()?.role(Role::Value),
        _ => Some(at),
    });
    let fields = schema.into_iter().chain([call]).flat_map(At::descendants).filter(|at| at.is(Kind::Pair));
    let field = fields.into_iter().find(|at| at.role(Role::Key).and_then(At::key).as_deref() == Some(name));
    let default = field.and_then(|field| default_of(field.role(Role::Value)?));
    Some(Value::Variable { name: name.to_owned(), default })
}

/// The variable behind a field of a class of pydantic-settings.
pub(super) fn settings_field(class: At<'_>, name: &str) -> Option<Value> {
    let base = class.role(Role::Base)?.path();
    if !base.last()?.ends_with("BaseSettings") {
        return None;
    }
    let own = |at: &At<'_>| at.is(Kind::Bind) && at.class() == Some(class) && at.functions().next().is_none();
    let named = |wanted: &str| {
        let mut binds = class.descendants().filter(own);
        binds.find(|at| at.role(Role::Target).is_some_and(|target| target.text() == wanted))
    };
    let field = named(name).filter(|_| name != "model_config")?;
    let value = field.role(Role::Value).map(At::bare);
    let call = value.filter(|value| value.is(Kind::Call));
    let alias = call.and_then(|call| call.option(&["validation_alias", "alias", "env"])?.literal());
    let default = value.and_then(|value| {
        value
            .literal()
            .or_else(|| value.option(&["default"])?.literal())
            .or_else(|| value.arguments().first()?.literal())
    });
    let prefix = named("model_config").and_then(|config| {
        let value = config.role(Role::Value)?.bare();
        value.option(&["env_prefix"]).or_else(|| value.entry(&["env_prefix"]))?.literal()
    });
    let name = alias.unwrap_or_else(|| format!("{}{name}", prefix.unwrap_or_default()));
    Some(Value::Variable { name: name.to_uppercase(), default })
}
