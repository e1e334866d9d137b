//! Formulas that rank results by scores and payloads.

use qdrant_client::qdrant::{self as proto, DecayParamsExpression, expression::Variant};
use qdrant_edge::{Condition, DecayKind, Expression, Formula, GeoPoint};

use super::convert::{object_from, path_from};
use super::filter::filter_from;
use super::required;
use crate::error::Error;

/// A formula with defaults for missing payload fields.
pub(super) fn formula_from(formula: proto::Formula) -> Result<Formula, Error> {
    Ok(Formula {
        formula: expression(required(formula.expression, "formula.expression")?)?,
        defaults: object_from(formula.defaults)?.into_iter().collect(),
    })
}

fn boxed(expression_of: Option<Box<proto::Expression>>, name: &str) -> Result<Box<Expression>, Error> {
    expression(*required(expression_of, name)?).map(Box::new)
}

fn all(expressions: Vec<proto::Expression>) -> Result<Vec<Expression>, Error> {
    expressions.into_iter().map(expression).collect()
}

fn expression(of: proto::Expression) -> Result<Expression, Error> {
    let one = |of: Box<proto::Expression>| expression(*of).map(Box::new);
    let not_yet = |name: &str| Err(Error::Unimplemented(format!("expression `{name}`")));
    Ok(match required(of.variant, "expression")? {
        Variant::Constant(number) => Expression::Constant(number),
        Variant::Variable(name) => Expression::Variable(name),
        Variant::Condition(condition) => {
            let filter = filter_from(proto::Filter { must: vec![condition], ..proto::Filter::default() })?;
            let condition = filter.must.and_then(|mut must| must.pop());
            Expression::Condition(Box::<Condition>::new(required(condition, "condition")?))
        }
        Variant::GeoDistance(distance) => {
            let origin = required(distance.origin, "geo_distance.origin")?;
            Expression::GeoDistance {
                origin: GeoPoint::new(origin.lon, origin.lat).map_err(|error| Error::BadInput(error.to_string()))?,
                to: path_from(&distance.to)?,
            }
        }
        Variant::Datetime(text) => Expression::Datetime(text),
        Variant::DatetimeKey(key) => Expression::DatetimeKey(path_from(&key)?),
        Variant::Mult(of) => Expression::Mult(all(of.mult)?),
        Variant::Sum(of) => Expression::Sum(all(of.sum)?),
        Variant::Div(of) => Expression::Div {
            left: boxed(of.left, "div.left")?,
            right: boxed(of.right, "div.right")?,
            by_zero_default: of.by_zero_default,
        },
        Variant::Neg(of) => Expression::Neg(one(of)?),
        Variant::Abs(of) => Expression::Abs(one(of)?),
        Variant::Sqrt(of) => Expression::Sqrt(one(of)?),
        Variant::Pow(of) => {
            Expression::Pow { base: boxed(of.base, "pow.base")?, exponent: boxed(of.exponent, "pow.exponent")? }
        }
        Variant::Exp(of) => Expression::Exp(one(of)?),
        Variant::Log10(of) => Expression::Log10(one(of)?),
        Variant::Ln(of) => Expression::Ln(one(of)?),
        Variant::ExpDecay(of) => decay(DecayKind::Exp, *of)?,
        Variant::GaussDecay(of) => decay(DecayKind::Gauss, *of)?,
        Variant::LinDecay(of) => decay(DecayKind::Lin, *of)?,
        Variant::Acosh(_) => return not_yet("acosh"),
        Variant::Max(_) => return not_yet("max"),
        Variant::Min(_) => return not_yet("min"),
    })
}

fn decay(kind: DecayKind, of: DecayParamsExpression) -> Result<Expression, Error> {
    Ok(Expression::Decay {
        kind,
        x: boxed(of.x, "decay.x")?,
        target: of.target.map(|target| expression(*target).map(Box::new)).transpose()?,
        midpoint: of.midpoint,
        scale: of.scale,
    })
}
