//! Strict mode: requests that a collection rejects although the engine supports them.

use std::collections::BTreeMap;

use qdrant_edge::{AnyVariants, FieldCondition, RangeInterface, ValueVariants};
use qdrant_edge::{
    Condition, Filter, JsonPath, Match, PayloadFieldSchema, PayloadSchemaParams, PayloadSchemaType, SearchParams,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::Error;

/// The `strict_mode_config` of a collection as it was given; unknown limits are stored and shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct StrictMode(pub Map<String, Value>);

/// Payload indexes of a collection by field.
pub(super) type Indexes = BTreeMap<String, PayloadFieldSchema>;

/// Whether a filter selects points to read or points to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Search, scroll, count.
    Read,
    /// Delete, set payload.
    Update,
}

impl StrictMode {
    /// Merges these settings over `base`.
    #[must_use]
    pub(super) fn over(self, base: Self) -> Self {
        let mut merged = base.0;
        merged.extend(self.0.into_iter().filter(|(_, value)| !value.is_null()));
        Self(merged)
    }

    fn on(&self) -> bool {
        self.0.get("enabled") == Some(&Value::Bool(true))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_u64)
    }

    /// Checks a filter against the collection's indexes.
    ///
    /// # Errors
    /// A field is filtered without a fitting index (400).
    pub(super) fn check_filter(
        &self,
        filter: Option<&Filter>,
        indexes: &Indexes,
        purpose: Purpose,
    ) -> Result<(), Error> {
        let (true, Some(filter)) = (self.on(), filter) else { return Ok(()) };
        let name = match purpose {
            Purpose::Read => "unindexed_filtering_retrieve",
            Purpose::Update => "unindexed_filtering_update",
        };
        if self.forbids(name)
            && let Some((key, wanted)) = unindexed(filter, "", indexes)
        {
            let wanted = wanted.join(", ");
            return Err(Error::BadRequest(format!(
                "Index required but not found for \"{key}\" of one of the following types: [{wanted}]. \
                 Help: Create an index for this key or use a different filter."
            )));
        }
        for (setting, what, value, help) in [
            (
                "filter_max_conditions",
                "Filter condition limit",
                filter.total_conditions_count(),
                "Reduce the amount of conditions of your filter.",
            ),
            (
                "condition_max_size",
                "Condition size limit",
                filter.max_condition_input_size(),
                "Reduce the size of your condition.",
            ),
        ] {
            if let Some(limit) = self.number(setting).filter(|limit| value as u64 > *limit) {
                return Err(Error::BadRequest(format!("{what} reached ({value} > {limit}). Help: {help}")));
            }
        }
        Ok(())
    }

    fn forbids(&self, setting: &str) -> bool {
        self.on() && self.0.get(setting) == Some(&Value::Bool(false))
    }

    /// Checks the search parameters.
    ///
    /// # Errors
    /// It is exact, or exceeds the settings (400).
    pub(super) fn check_params(&self, params: Option<&SearchParams>) -> Result<(), Error> {
        let Some(params) = params else { return Ok(()) };
        let oversampling = params.quantization.and_then(|quantization| quantization.oversampling);
        if let (true, Some(limit), Some(value)) =
            (self.on(), self.0.get("search_max_oversampling").and_then(Value::as_f64), oversampling)
            && value > limit
        {
            return Err(exceeded("oversampling", value, limit));
        }
        if let Some(ef) = params.hnsw_ef {
            self.check_number("search_max_hnsw_ef", "hnsw_ef", ef)?;
        }
        self.check_exact(params.exact)
    }

    /// Checks whether a read may scan every point.
    ///
    /// # Errors
    /// It may not (400).
    pub(super) fn check_exact(&self, exact: bool) -> Result<(), Error> {
        if exact && self.forbids("search_allow_exact") {
            return Err(Error::BadRequest("Exact search disabled!. Help: Set exact=false.".to_owned()));
        }
        Ok(())
    }

    /// Whether searches without a graph are forbidden.
    #[must_use]
    pub(super) fn forbids_full_scans(&self) -> bool {
        self.forbids("search_allow_exact")
    }

    /// Checks that results may be grouped by `field`.
    ///
    /// # Errors
    /// The field has no index that can match values (400).
    pub(super) fn check_grouping(&self, field: &JsonPath, indexes: &Indexes) -> Result<(), Error> {
        if !self.forbids("unindexed_filtering_retrieve") {
            return Ok(());
        }
        let help = "Help: Create an index supporting `match` for this key.";
        match indexes.get(&field.to_string()).map(kind) {
            None => Err(Error::BadRequest(format!("Index required but not found for \"{field}\". {help}"))),
            Some(
                PayloadSchemaType::Keyword
                | PayloadSchemaType::Integer
                | PayloadSchemaType::Uuid
                | PayloadSchemaType::Bool,
            ) => Ok(()),
            Some(other) => Err(Error::BadRequest(format!("Index of type \"{other:?}\" found for \"{field}\". {help}"))),
        }
    }

    /// Checks the number of queries in one request.
    ///
    /// # Errors
    /// There are more than `search_max_batchsize` (400).
    pub(super) fn check_searches(&self, searches: usize) -> Result<(), Error> {
        self.check_number("search_max_batchsize", "search batch size", searches)
    }

    /// Checks the timeout of a request, in seconds.
    ///
    /// # Errors
    /// It is longer than `max_timeout` (400).
    pub(super) fn check_timeout(&self, seconds: usize) -> Result<(), Error> {
        self.check_number("max_timeout", "timeout", seconds)
    }

    /// Checks that the collection may grow; `size` returns its current size.
    ///
    /// # Errors
    /// It has reached a limit (400).
    pub(super) fn check_growth(&self, size: impl Fn(Growth) -> usize) -> Result<(), Error> {
        for (setting, growth) in [
            ("max_collection_vector_size_bytes", Growth::Vectors),
            ("max_collection_payload_size_bytes", Growth::Payload),
            ("max_points_count", Growth::Points),
        ] {
            let Some(limit) = self.number(setting).filter(|_| self.on()) else { continue };
            if (size(growth) as u64) < limit {
                continue;
            }
            #[expect(clippy::cast_precision_loss, reason = "shown to people")]
            let megabytes = limit as f64 / (1024.0 * 1024.0);
            return Err(Error::BadRequest(match growth {
                Growth::Vectors => format!("Max vector storage size limit of {megabytes}MB reached!"),
                Growth::Payload => format!("Max payload storage size limit of {megabytes}MB reached!"),
                Growth::Points => format!("Max points count limit of {limit} reached!"),
            }));
        }
        Ok(())
    }

    /// Allowed reads and writes per minute.
    #[must_use]
    pub(super) fn rates(&self) -> (Option<u64>, Option<u64>) {
        let rate = |name| self.number(name).filter(|_| self.on());
        (rate("read_rate_limit"), rate("write_rate_limit"))
    }

    /// Checks that another payload index may be created.
    ///
    /// # Errors
    /// There are `max_payload_index_count` already (400).
    pub(super) fn check_index_count(&self, indexes: usize) -> Result<(), Error> {
        match self.number("max_payload_index_count") {
            Some(limit) if self.on() && indexes as u64 >= limit => Err(Error::BadRequest(format!(
                "Collection already has the maximum number of payload indices ({limit}). \
                 Help: Please delete an existing index before creating a new one."
            ))),
            _ => Ok(()),
        }
    }

    /// Checks the page size of a read.
    ///
    /// # Errors
    /// The limit is above `max_query_limit` (400).
    pub(super) fn check_limit(&self, limit: usize) -> Result<(), Error> {
        self.check_number("max_query_limit", "limit", limit)
    }

    /// Checks the number of points of a change; `what` is `upsert` or `update`.
    ///
    /// # Errors
    /// There are more than `upsert_max_batchsize` (400).
    pub(super) fn check_batch(&self, what: &str, points: usize) -> Result<(), Error> {
        self.check_number("upsert_max_batchsize", &format!("{what} limit"), points)
    }

    fn check_number(&self, setting: &str, name: &str, value: usize) -> Result<(), Error> {
        match self.number(setting) {
            Some(limit) if self.on() && value as u64 > limit => Err(exceeded(name, value, limit)),
            _ => Ok(()),
        }
    }
}

/// A limited size of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// Bytes of vectors.
    Vectors,
    /// Bytes of payloads.
    Payload,
    /// Points.
    Points,
}

fn exceeded(name: &str, value: impl std::fmt::Display, limit: impl std::fmt::Display) -> Error {
    Error::BadRequest(format!(
        "Limit exceeded {value} > {limit} for \"{name}\". Help: Reduce the \"{name}\" parameter to or below {limit}."
    ))
}

/// The first condition on a field without a fitting index: the field, and the index types that would fit.
fn unindexed(filter: &Filter, prefix: &str, indexes: &Indexes) -> Option<(String, Vec<&'static str>)> {
    filter.iter_conditions().find_map(|condition| {
        let (key, wanted) = match condition {
            Condition::Field(field) => (&field.key, types_for(field)),
            Condition::IsEmpty(field) => (&field.is_empty.key, ANY_TYPE.to_vec()),
            Condition::IsNull(field) => (&field.is_null.key, ANY_TYPE.to_vec()),
            Condition::Filter(filter) => return unindexed(filter, prefix, indexes),
            Condition::Nested(nested) => {
                return unindexed(nested.filter(), &format!("{}.", full(prefix, &nested.array_key())), indexes);
            }
            Condition::HasId(_) | Condition::HasVector(_) | Condition::CustomIdChecker(_) => return None,
        };
        let key = full(prefix, key);
        let found = indexes.get(&key).is_some_and(|schema| wanted.contains(&kind(schema).name()));
        (!found).then_some((key, wanted))
    })
}

const ANY_TYPE: [&str; 8] = ["bool", "datetime", "float", "geo", "integer", "keyword", "text", "uuid"];

fn full(prefix: &str, key: &JsonPath) -> String {
    format!("{prefix}{key}")
}

fn kind(schema: &PayloadFieldSchema) -> PayloadSchemaType {
    match schema {
        PayloadFieldSchema::FieldType(kind) => *kind,
        PayloadFieldSchema::FieldParams(params) => PayloadSchemaParams::kind(params),
    }
}

fn types_for(field: &FieldCondition) -> Vec<&'static str> {
    match (&field.r#match, &field.range) {
        (Some(Match::Value(value)), _) => match value.value {
            ValueVariants::String(_) => vec!["keyword", "uuid"],
            ValueVariants::Integer(_) => vec!["integer"],
            ValueVariants::Bool(_) => vec!["bool"],
        },
        (Some(Match::Text(_) | Match::TextAny(_) | Match::Phrase(_)), _) => vec!["text"],
        (Some(Match::Any(any)), _) => types_for_any(&any.any),
        (Some(Match::Except(except)), _) => types_for_any(&except.except),
        (None, Some(RangeInterface::Float(_))) => vec!["float", "integer"],
        (None, Some(RangeInterface::DateTime(_))) => vec!["datetime"],
        (None, None)
            if field.geo_bounding_box.is_some() || field.geo_radius.is_some() || field.geo_polygon.is_some() =>
        {
            vec!["geo"]
        }
        (None, None) => ANY_TYPE.to_vec(),
    }
}

fn types_for_any(any: &AnyVariants) -> Vec<&'static str> {
    match any {
        AnyVariants::Strings(_) => vec!["keyword", "uuid"],
        AnyVariants::Integers(_) => vec!["integer"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn strict() -> StrictMode {
        serde_json::from_value(json!({"enabled": true, "unindexed_filtering_retrieve": false, "max_query_limit": 5}))
            .expect("readable")
    }

    fn filter() -> Filter {
        serde_json::from_value(json!({"must": [{"key": "user_id", "match": {"value": "a"}}]})).expect("readable")
    }

    #[test]
    fn a_filter_on_an_unindexed_field_is_refused() {
        let error = strict().check_filter(Some(&filter()), &Indexes::new(), Purpose::Read).unwrap_err();
        assert!(error.to_string().contains(r#"Index required but not found for "user_id""#), "{error}");
    }

    #[test]
    fn an_index_of_the_right_type_is_enough_and_a_wrong_one_is_not() {
        let mut indexes = Indexes::new();
        indexes.insert("user_id".to_owned(), PayloadFieldSchema::FieldType(PayloadSchemaType::Integer));
        assert!(strict().check_filter(Some(&filter()), &indexes, Purpose::Read).is_err());
        indexes.insert("user_id".to_owned(), PayloadFieldSchema::FieldType(PayloadSchemaType::Keyword));
        assert_eq!(strict().check_filter(Some(&filter()), &indexes, Purpose::Read), Ok(()));
    }

    #[test]
    fn everything_is_allowed_without_limits() {
        assert_eq!(strict().check_filter(Some(&filter()), &Indexes::new(), Purpose::Update), Ok(()));
        let off = StrictMode::default();
        assert_eq!(off.check_filter(Some(&filter()), &Indexes::new(), Purpose::Read), Ok(()));
        assert!(strict().check_limit(6).is_err());
        assert_eq!(strict().check_limit(5), Ok(()));
    }
}
