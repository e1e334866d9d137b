//! The table `expect` of a case: matchers over the value of a probe, or expectations over a scenario run.
//!
//! Each kind is one enum, and each entry of the table is one of its variants: the variant's name in snake case is the
//! key, its data the value. Reading, the error for an unknown key and the JSON Schema all come from the enum.
//!
//! # Adding an expectation
//!
//! 1. `spec/expect/expectation.rs`: add a variant to [`Expectation`], at the place in the order of evaluation where it
//!    belongs. Its doc comment becomes the description in the schema; a number, a [`Range`] or nothing (`true`) is its
//!    value. Add its sentence in `Display` beside it.
//! 2. `scenario/expectations/`: add its function to the file of its family (`delivery`, `chunks`, `requests`, `retries`,
//!    `process` …) and its arm to the `match` in `mod.rs`. If it needs a key of the contract's `[evidence]`, name the key
//!    in `missing_evidence`. If it reads something new, add it to the group of `scenario/observations/` that it belongs to.
//!    Beside the function, add a test with `check("key = …")`: a run that passes, one that fails with its message, and one
//!    that is unknown if the check can be undecided. `scenario/testing.rs` makes such runs without services.
//! 3. Add a case to a suite and a row to `fixtures/defects` that proves that the case fails when it should.
//! 4. Regenerate the schema: `shakedown schema suite > suites/schema/suite.json`.

mod expectation;
mod matcher;
mod range;
mod words;

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, VariantAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

pub use expectation::Expectation;
pub use matcher::{Matcher, Pattern};
pub use range::Range;
use words::True;
pub use words::{All, Intact};

use super::renamed;
use super::similar::did_you_mean;

/// The entries of `expect`, each with its key, in the order in which the enums declare them.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// Entries for the value of a probe.
    pub matchers: Vec<(&'static str, Matcher)>,
    /// Entries for a scenario run.
    pub expectations: Vec<(&'static str, Expectation)>,
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Expect;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of matchers or expectations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Expect, A::Error> {
                let (matchers, expectations) = (variant_names::<Matcher>(), variant_names::<Expectation>());
                let mut found_matchers = Vec::new();
                let mut found_expectations = Vec::new();
                while let Some((kind, place)) = map.next_key_seed(Key { matchers, expectations })? {
                    match kind {
                        Kind::Matcher => {
                            let name = matchers[place];
                            found_matchers.push((place, (name, Entry::read(name, &mut map)?)));
                        }
                        Kind::Expectation => {
                            let name = expectations[place];
                            found_expectations.push((place, (name, Entry::read(name, &mut map)?)));
                        }
                    }
                }
                Ok(Expect { matchers: in_order(found_matchers), expectations: in_order(found_expectations) })
            }
        }
        deserializer.deserialize_map(Table)
    }
}

/// Entries in the order in which their enum declares them.
fn in_order<T>(mut entries: Vec<(usize, T)>) -> Vec<T> {
    entries.sort_by_key(|(place, _)| *place);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

/// Which of the two enums a key belongs to.
enum Kind {
    Matcher,
    Expectation,
}

/// Reads a key of `expect`. The error for an unknown key is raised here, so that it has the key's position.
struct Key {
    matchers: &'static [&'static str],
    expectations: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = (Kind, usize);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = (Kind, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a matcher or an expectation")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        let place = |names: &[&str]| names.iter().position(|name| *name == key);
        if let Some(place) = place(self.matchers) {
            return Ok((Kind::Matcher, place));
        }
        if let Some(place) = place(self.expectations) {
            return Ok((Kind::Expectation, place));
        }
        Err(E::custom(renamed::hint(key).unwrap_or_else(|| {
            let known = self.matchers.iter().chain(self.expectations).copied();
            format!("unknown expectation `{key}`{}", did_you_mean(key, known))
        })))
    }
}

/// One entry of a table, read as the variant `name` of an externally tagged enum.
struct Entry<'a, A> {
    name: &'static str,
    map: &'a mut A,
}

impl<'de, 'a, A: MapAccess<'de>> Entry<'a, A> {
    fn read<T: Deserialize<'de>>(name: &'static str, map: &'a mut A) -> Result<T, A::Error> {
        T::deserialize(Entry { name, map })
    }
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for Entry<'_, A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, A: MapAccess<'de>> EnumAccess<'de> for Entry<'_, A> {
    type Error = A::Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), A::Error> {
        let name: StrDeserializer<'static, A::Error> = serde::de::IntoDeserializer::into_deserializer(self.name);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de, A: MapAccess<'de>> VariantAccess<'de> for Entry<'_, A> {
    type Error = A::Error;

    /// A variant without data is written `key = true`.
    fn unit_variant(self) -> Result<(), A::Error> {
        self.map.next_value::<True>().map(|_| ())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        self.map.next_value_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, A::Error> {
        Err(A::Error::custom("an entry of `expect` has one value"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, A::Error> {
        Err(A::Error::custom("an entry of `expect` has one value"))
    }
}

/// The keys of an enum's variants, in the order of their declaration.
fn variant_names<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The derived implementation passes the names to the deserializer; this one keeps them and always fails.
    let _ = T::deserialize(Names(&mut names));
    names
}

/// A deserializer that keeps the names of an enum's variants and reads nothing.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = variants;
        Err(Error::custom("the names of the variants are all that is read"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Error::custom("not an enum"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl JsonSchema for Expect {
    fn schema_name() -> Cow<'static, str> {
        "Expect".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut properties = Map::new();
        properties.extend(entries_of(&Matcher::json_schema(generator), generator));
        properties.extend(entries_of(&Expectation::json_schema(generator), generator));
        json_schema!({
            "description": "What must hold: matchers over the value of a probe, or expectations over a scenario run; \
                            at least one entry.",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": false,
            "properties": properties,
        })
    }
}

/// The variants of an externally tagged enum as properties of one table.
fn entries_of(schema: &Schema, generator: &mut SchemaGenerator) -> Vec<(String, Value)> {
    let variants = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    variants
        .filter_map(|variant| {
            let (key, mut value) = match variant.get("properties").and_then(Value::as_object) {
                Some(properties) => properties.iter().next().map(|(key, value)| (key.clone(), value.clone()))?,
                None => (variant.get("const")?.as_str()?.to_owned(), True::json_schema(generator).to_value()),
            };
            // A schema that accepts any value is written `true`.
            if !value.is_object() {
                value = Value::Object(Map::new());
            }
            let description = variant.get("description")?.clone();
            value.as_object_mut()?.insert("description".to_owned(), description);
            Some((key, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Expect, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn entries_are_read_as_variants_in_the_order_of_their_declaration() {
        let expect =
            read("chunk_tokens = { at_least = 1 }\nqueue_drained = true\nmax_attempts = 1\ndelivered = \"all\"")
                .unwrap();
        let keys: Vec<&str> = expect.expectations.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["delivered", "queue_drained", "max_attempts", "chunk_tokens"]);
        assert_eq!(expect.expectations[2].1, Expectation::MaxAttempts(1.0));
        let expect = read("at_most = 3\nequals = [1, { a = 2 }]\nmatches = \"^a\"").unwrap();
        let keys: Vec<&str> = expect.matchers.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["equals", "matches", "at_most"]);
    }

    #[test]
    fn an_error_points_at_the_key_or_the_value() {
        for (text, message, at) in [
            (
                "answers = true\ndelivred = \"all\"",
                "unknown expectation `delivred`; did you mean `delivered`?",
                "delivred",
            ),
            ("answers = true\nledger = \"clean\"", "`ledger` is now `documents = \"intact\"`", "ledger"),
            ("queue_drained = false", "only `true` can be expected here", "false"),
            ("delivered = \"most\"", "unknown variant `most`, expected `all`", "\"most\""),
            ("matches = \"(\"", "invalid regular expression `(`", "\"(\""),
            ("stalls = { most = 1 }", "unknown field `most`", "most"),
            ("max_connections = { kafka = 1 }", "unknown variant `kafka`", "kafka"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message().contains(message), "{error}");
            assert_eq!(error.span().map(|span| &text[span]), Some(at), "{error}");
        }
        assert!(read("exists = true\nexists = true").unwrap_err().message().contains("duplicate key"));
    }

    #[test]
    fn the_schema_has_every_key_with_its_description() {
        let schema = schemars::schema_for!(Expect);
        let properties = schema.get("properties").unwrap().as_object().unwrap();
        for name in variant_names::<Matcher>().iter().chain(variant_names::<Expectation>()) {
            let description = properties[*name]["description"].as_str().unwrap();
            assert!(description.len() > 10, "{name}: {description}");
        }
        assert_eq!(properties["queue_drained"]["const"], true);
        assert_eq!(properties["max_attempts"]["type"], "number");
    }
}
