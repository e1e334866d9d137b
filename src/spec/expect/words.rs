//! Values of entries of `expect` that permit one word only.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum All {
    /// Every one.
    All,
}

/// The word `intact`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Intact {
    /// Every document is stored as it must be.
    Intact,
}

/// The value `true`. `false` would mean "must not hold", which no case needs, so it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct True;

impl<'de> Deserialize<'de> for True {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyTrue;
        impl Visitor<'_> for OnlyTrue {
            type Value = True;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true`")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<True, E> {
                if value {
                    return Ok(True);
                }
                Err(E::custom("only `true` can be expected here; remove the key if this need not hold"))
            }
        }
        deserializer.deserialize_bool(OnlyTrue)
    }
}

impl JsonSchema for True {
    fn schema_name() -> Cow<'static, str> {
        "True".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean", "const": true })
    }
}
