//! A suite file as it is written: every key, with its description for the schema. Unknown keys are errors.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{Expect, Premise, Probe, ScenarioWritten};
use crate::outcome::Level;

/// A suite file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuiteWritten {
    /// The suite's name; every case id begins with it and a dot.
    #[schemars(with = "String")]
    pub suite: Spanned<String>,
    /// What it tests, in one line.
    pub title: String,
    /// Cases that must not have failed before any case of this suite runs.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub requires: Vec<Spanned<String>>,
    /// The verbs that run the probes of this suite: `run`, `check`; both when absent.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub verbs: Option<Vec<Spanned<String>>>,
    /// Defaults of every scenario of this suite.
    #[serde(default)]
    pub defaults: ScenarioWritten,
    /// Scenarios that several cases of this suite share: each runs once.
    #[serde(default)]
    pub scenario: BTreeMap<String, ScenarioWritten>,
    /// The cases.
    #[serde(default)]
    pub case: Vec<CaseWritten>,
}

/// A case.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseWritten {
    /// `<suite>.<words-with-dashes>`, unique among all suites.
    #[schemars(with = "String")]
    pub id: Spanned<String>,
    /// The requirement in one line.
    pub title: String,
    /// How binding it is (RFC 2119).
    pub level: Level,
    /// What breaks when it is not met.
    pub why: String,
    /// How to fix it.
    pub remedy: String,
    /// Where the requirement comes from.
    pub source: String,
    /// Cases that must not have failed before this one runs.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub requires: Vec<Spanned<String>>,
    /// Capabilities of the stack that the case needs: `write`, `restart`, `mock`, `worker`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub needs: Vec<Spanned<String>>,
    /// Whether the probe writes; it then runs only on a stack that may be written to.
    #[serde(default)]
    pub writes: bool,
    /// The verbs that run this case, instead of the suite's.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub verbs: Option<Vec<Spanned<String>>>,
    /// Whether the probe costs money, such as a call of the embeddings API; `check --no-spend` leaves it out.
    #[serde(default)]
    pub spends: bool,
    /// Free words for selecting cases.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What to observe. A case has either this or `scenario`.
    #[serde(default)]
    #[schemars(with = "Option<Probe>")]
    pub probe: Option<Spanned<Probe>>,
    /// The scenario to evaluate: the name of one of the suite's scenarios, or a table with a scenario of this case's own.
    /// A case has either this or `probe`.
    #[serde(default)]
    #[schemars(with = "Option<ScenarioSource>")]
    pub scenario: Option<Spanned<ScenarioSource>>,
    /// Globs over document names: evaluate these documents only.
    #[serde(default)]
    pub documents_matching: Option<Vec<String>>,
    /// What must have been seen for a pass to mean something, in addition to the premises of the scenario.
    #[serde(default)]
    pub premise: Vec<Premise>,
    /// What must hold.
    #[schemars(with = "Expect")]
    pub expect: Spanned<Expect>,
}

/// The scenario that a case evaluates.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum ScenarioSource {
    /// A scenario of a suite, by its name.
    Named(String),
    /// A scenario that only this case has.
    Own(Box<ScenarioWritten>),
}

impl<'de> Deserialize<'de> for ScenarioSource {
    // Not `untagged`: its errors do not name the wrong key of the table.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Source;
        impl<'de> Visitor<'de> for Source {
            type Value = ScenarioSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a scenario or a table with a scenario")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<ScenarioSource, E> {
                Ok(ScenarioSource::Named(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ScenarioSource, A::Error> {
                ScenarioWritten::deserialize(MapAccessDeserializer::new(map))
                    .map(|own| ScenarioSource::Own(Box::new(own)))
            }
        }
        deserializer.deserialize_any(Source)
    }
}
