//! Formulas that rank results by scores and payloads.

use qdrant_edge::{DecayKind, Expression, Formula, GeoPoint, JsonPath};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::input::filter::read_condition;

/// A formula with defaults for missing payload fields.
///
/// # Errors
/// The formula is invalid.
pub(super) fn formula(expression: Value, defaults: Option<Value>) -> Result<Formula, Error> {
    Ok(Formula { formula: read_expression(expression)?, defaults: defaults.map(read).transpose()?.unwrap_or_default() })
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|error| Error::unreadable(&error))
}

#[derive(Deserialize)]
struct GeoDistance {
    origin: GeoPoint,
    to: JsonPath,
}

#[derive(Deserialize)]
struct Division {
    left: Value,
    right: Value,
    by_zero_default: Option<f32>,
}

#[derive(Deserialize)]
struct Power {
    base: Value,
    exponent: Value,
}

#[derive(Deserialize)]
struct Decay {
    x: Value,
    target: Option<Value>,
    scale: Option<f32>,
    midpoint: Option<f32>,
}

fn boxed(value: Value) -> Result<Box<Expression>, Error> {
    read_expression(value).map(Box::new)
}

fn all(value: Value) -> Result<Vec<Expression>, Error> {
    read::<Vec<Value>>(value)?.into_iter().map(read_expression).collect()
}

fn read_expression(value: Value) -> Result<Expression, Error> {
    match value {
        Value::Number(_) => read(value).map(Expression::Constant),
        Value::String(name) => Ok(Expression::Variable(name)),
        Value::Object(object) => read_object(object),
        other => Err(Error::Format(format!("Format error in JSON body: no expression: {other}"))),
    }
}

/// An expression is an object with one known field; anything else is a condition on the payload.
fn read_object(mut object: Map<String, Value>) -> Result<Expression, Error> {
    let name = if object.len() == 1 { object.keys().next().cloned().unwrap_or_default() } else { String::new() };
    let mut value = || object.remove(&name).unwrap_or_default();
    Ok(match name.as_str() {
        "mult" => Expression::Mult(all(value())?),
        "sum" => Expression::Sum(all(value())?),
        "neg" => Expression::Neg(boxed(value())?),
        "abs" => Expression::Abs(boxed(value())?),
        "sqrt" => Expression::Sqrt(boxed(value())?),
        "exp" => Expression::Exp(boxed(value())?),
        "log10" => Expression::Log10(boxed(value())?),
        "ln" => Expression::Ln(boxed(value())?),
        "datetime" => Expression::Datetime(read(value())?),
        "datetime_key" => Expression::DatetimeKey(read(value())?),
        "geo_distance" => {
            let GeoDistance { origin, to } = read(value())?;
            Expression::GeoDistance { origin, to }
        }
        "div" => {
            let Division { left, right, by_zero_default } = read(value())?;
            Expression::Div { left: boxed(left)?, right: boxed(right)?, by_zero_default }
        }
        "pow" => {
            let Power { base, exponent } = read(value())?;
            Expression::Pow { base: boxed(base)?, exponent: boxed(exponent)? }
        }
        "lin_decay" => decay(DecayKind::Lin, value())?,
        "exp_decay" => decay(DecayKind::Exp, value())?,
        "gauss_decay" => decay(DecayKind::Gauss, value())?,
        _ => {
            let condition = read_condition(Value::Object(object));
            let condition = condition.map_err(|text| Error::Format(format!("Format error in JSON body: {text}")))?;
            Expression::Condition(Box::new(condition))
        }
    })
}

fn decay(kind: DecayKind, value: Value) -> Result<Expression, Error> {
    let Decay { x, target, scale, midpoint } = read(value)?;
    Ok(Expression::Decay { kind, x: boxed(x)?, target: target.map(boxed).transpose()?, midpoint, scale })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_variables_and_conditions_are_distinguished() {
        let read = read_expression(json!({ "sum": [
            "$score",
            { "mult": [0.5, { "key": "kind", "match": { "value": "a" } }] },
            { "gauss_decay": { "x": { "datetime_key": "at" }, "scale": 60.0 } },
            { "div": { "left": 1, "right": "n", "by_zero_default": 0.0 } }
        ] }));
        let Ok(Expression::Sum(parts)) = read else { panic!("{read:?}") };
        assert_eq!(parts[0], Expression::Variable("$score".to_owned()));
        let Expression::Mult(factors) = &parts[1] else { panic!("{parts:?}") };
        assert!(matches!(factors[1], Expression::Condition(_)));
        assert!(matches!(parts[2], Expression::Decay { kind: DecayKind::Gauss, scale: Some(_), .. }));
        assert!(matches!(parts[3], Expression::Div { by_zero_default: Some(_), .. }));
    }

    #[test]
    fn an_invalid_expression_is_rejected() {
        assert!(read_expression(json!({ "cube": 1 })).is_err());
        assert!(read_expression(json!(null)).is_err());
    }
}
