//! Payload index types and their parameters.

use qdrant_client::qdrant::payload_index_params::IndexParams;
use qdrant_client::qdrant::{
    self as proto, FieldType, PayloadIndexParams, PayloadSchemaInfo, PayloadSchemaType as ProtoType, TokenizerType,
    stemming_algorithm,
};
use qdrant_edge::{PayloadFieldSchema, PayloadIndexInfo, PayloadSchemaParams, PayloadSchemaType};
use serde_json::{Map, Value, json};

use crate::error::Error;

/// The requested index.
pub(super) fn schema_from(
    field: &str,
    kind: Option<i32>,
    params: Option<PayloadIndexParams>,
) -> Result<PayloadFieldSchema, Error> {
    if let Some(params) = params.and_then(|params| params.index_params) {
        let mut json = params_json(params)?;
        json.retain(|_, value| !value.is_null());
        return serde_json::from_value::<PayloadSchemaParams>(Value::Object(json))
            .map(PayloadFieldSchema::FieldParams)
            .map_err(|error| Error::Format(format!("Malformed index parameters: {error}")));
    }
    let kind = kind.ok_or_else(|| {
        Error::BadInput(format!("Unable to infer type for the field '{field}'. Please specify `field_type`"))
    })?;
    let kind = FieldType::try_from(kind).map_err(|_| Error::Format(format!("Unknown field type {kind}")))?;
    Ok(PayloadFieldSchema::FieldType(match kind {
        FieldType::Keyword => PayloadSchemaType::Keyword,
        FieldType::Integer => PayloadSchemaType::Integer,
        FieldType::Float => PayloadSchemaType::Float,
        FieldType::Geo => PayloadSchemaType::Geo,
        FieldType::Text => PayloadSchemaType::Text,
        FieldType::Bool => PayloadSchemaType::Bool,
        FieldType::Datetime => PayloadSchemaType::Datetime,
        FieldType::Uuid => PayloadSchemaType::Uuid,
    }))
}

#[expect(deprecated, reason = "the engine has `on_disk`, which newer servers replace by `memory`")]
fn params_json(params: IndexParams) -> Result<Map<String, Value>, Error> {
    let value = match params {
        IndexParams::KeywordIndexParams(it) => {
            json!({ "type": "keyword", "is_tenant": it.is_tenant, "on_disk": it.on_disk, "enable_hnsw": it.enable_hnsw })
        }
        IndexParams::IntegerIndexParams(it) => json!({
            "type": "integer", "lookup": it.lookup, "range": it.range, "is_principal": it.is_principal,
            "on_disk": it.on_disk, "enable_hnsw": it.enable_hnsw,
        }),
        IndexParams::FloatIndexParams(it) => json!({
            "type": "float", "is_principal": it.is_principal, "on_disk": it.on_disk, "enable_hnsw": it.enable_hnsw,
        }),
        IndexParams::GeoIndexParams(it) => {
            json!({ "type": "geo", "on_disk": it.on_disk, "enable_hnsw": it.enable_hnsw })
        }
        IndexParams::BoolIndexParams(it) => {
            json!({ "type": "bool", "on_disk": it.on_disk, "enable_hnsw": it.enable_hnsw })
        }
        IndexParams::DatetimeIndexParams(it) => json!({
            "type": "datetime", "is_principal": it.is_principal, "on_disk": it.on_disk, "enable_hnsw": it.enable_hnsw,
        }),
        IndexParams::UuidIndexParams(it) => {
            json!({ "type": "uuid", "is_tenant": it.is_tenant, "on_disk": it.on_disk, "enable_hnsw": it.enable_hnsw })
        }
        IndexParams::TextIndexParams(it) => {
            let tokenizer = match it.tokenizer() {
                TokenizerType::Prefix => "prefix",
                TokenizerType::Whitespace => "whitespace",
                TokenizerType::Unknown | TokenizerType::Word => "word",
                TokenizerType::Multilingual => "multilingual",
                TokenizerType::Code => return Err(Error::Unimplemented("tokenizer `code`".to_owned())),
            };
            let stemmer = match it.stemmer.and_then(|stemmer| stemmer.stemming_params) {
                Some(stemming_algorithm::StemmingParams::Snowball(snowball)) => {
                    json!({ "type": "snowball", "language": snowball.language })
                }
                Some(stemming_algorithm::StemmingParams::Disabled(_)) | None => Value::Null,
            };
            let stopwords = it.stopwords.map(|words| json!({ "languages": words.languages, "custom": words.custom }));
            json!({
                "type": "text", "tokenizer": tokenizer, "lowercase": it.lowercase, "min_token_len": it.min_token_len,
                "max_token_len": it.max_token_len, "on_disk": it.on_disk, "stopwords": stopwords,
                "phrase_matching": it.phrase_matching, "stemmer": stemmer, "ascii_folding": it.ascii_folding,
                "enable_hnsw": it.enable_hnsw,
            })
        }
    };
    match value {
        Value::Object(object) => Ok(object),
        _ => Ok(Map::new()),
    }
}

/// The description of an index.
pub(super) fn schema_to(info: &PayloadIndexInfo) -> PayloadSchemaInfo {
    let kind = match info.data_type {
        PayloadSchemaType::Keyword => ProtoType::Keyword,
        PayloadSchemaType::Integer => ProtoType::Integer,
        PayloadSchemaType::Float => ProtoType::Float,
        PayloadSchemaType::Geo => ProtoType::Geo,
        PayloadSchemaType::Text => ProtoType::Text,
        PayloadSchemaType::Bool => ProtoType::Bool,
        PayloadSchemaType::Datetime => ProtoType::Datetime,
        PayloadSchemaType::Uuid => ProtoType::Uuid,
    };
    let params = info
        .params
        .as_ref()
        .and_then(|params| serde_json::to_value(params).ok())
        .map(|params| PayloadIndexParams { index_params: Some(params_to(kind, &Shown(&params))) });
    PayloadSchemaInfo { data_type: kind.into(), params, points: Some(info.points as u64) }
}

/// Index parameters as REST shows them.
struct Shown<'a>(&'a Value);

impl Shown<'_> {
    fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_u64)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }
}

#[expect(deprecated, reason = "clients read `on_disk` until all of them know its successor")]
fn params_to(kind: ProtoType, shown: &Shown<'_>) -> IndexParams {
    let (on_disk, enable_hnsw) = (shown.flag("on_disk"), shown.flag("enable_hnsw"));
    let (is_tenant, is_principal) = (shown.flag("is_tenant"), shown.flag("is_principal"));
    match kind {
        ProtoType::Keyword | ProtoType::UnknownType => IndexParams::KeywordIndexParams(proto::KeywordIndexParams {
            is_tenant,
            on_disk,
            enable_hnsw,
            ..Default::default()
        }),
        ProtoType::Integer => IndexParams::IntegerIndexParams(proto::IntegerIndexParams {
            lookup: shown.flag("lookup"),
            range: shown.flag("range"),
            is_principal,
            on_disk,
            enable_hnsw,
            ..Default::default()
        }),
        ProtoType::Float => IndexParams::FloatIndexParams(proto::FloatIndexParams {
            is_principal,
            on_disk,
            enable_hnsw,
            ..Default::default()
        }),
        ProtoType::Geo => {
            IndexParams::GeoIndexParams(proto::GeoIndexParams { on_disk, enable_hnsw, ..Default::default() })
        }
        ProtoType::Bool => {
            IndexParams::BoolIndexParams(proto::BoolIndexParams { on_disk, enable_hnsw, ..Default::default() })
        }
        ProtoType::Datetime => IndexParams::DatetimeIndexParams(proto::DatetimeIndexParams {
            is_principal,
            on_disk,
            enable_hnsw,
            ..Default::default()
        }),
        ProtoType::Uuid => IndexParams::UuidIndexParams(proto::UuidIndexParams {
            is_tenant,
            on_disk,
            enable_hnsw,
            ..Default::default()
        }),
        ProtoType::Text => IndexParams::TextIndexParams(text_to(shown, on_disk, enable_hnsw)),
    }
}

#[expect(deprecated, reason = "clients read `on_disk` until all of them know its successor")]
fn text_to(shown: &Shown<'_>, on_disk: Option<bool>, enable_hnsw: Option<bool>) -> proto::TextIndexParams {
    let tokenizer = match shown.text("tokenizer") {
        Some("prefix") => TokenizerType::Prefix,
        Some("whitespace") => TokenizerType::Whitespace,
        Some("multilingual") => TokenizerType::Multilingual,
        _ => TokenizerType::Word,
    };
    let texts = |value: Option<&Value>| {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|item| Some(item.as_str()?.to_owned())).collect::<Vec<_>>()
    };
    let stopwords = shown.0.get("stopwords").filter(|words| !words.is_null()).map(|words| match words.as_str() {
        Some(language) => proto::StopwordsSet { languages: vec![language.to_owned()], custom: Vec::new() },
        None => proto::StopwordsSet { languages: texts(words.get("languages")), custom: texts(words.get("custom")) },
    });
    let snowball = shown.0.get("stemmer").and_then(|stemmer| Some(stemmer.get("language")?.as_str()?.to_owned()));
    let stemmer = snowball.map(|language| proto::StemmingAlgorithm {
        stemming_params: Some(stemming_algorithm::StemmingParams::Snowball(proto::SnowballParams { language })),
    });
    proto::TextIndexParams {
        tokenizer: tokenizer.into(),
        lowercase: shown.flag("lowercase"),
        min_token_len: shown.number("min_token_len"),
        max_token_len: shown.number("max_token_len"),
        on_disk,
        stopwords,
        phrase_matching: shown.flag("phrase_matching"),
        stemmer,
        ascii_folding: shown.flag("ascii_folding"),
        enable_hnsw,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(deprecated, reason = "clients write `on_disk` until all of them know its successor")]
    fn parameters_are_described_as_they_were_given() {
        let text = IndexParams::TextIndexParams(proto::TextIndexParams {
            tokenizer: TokenizerType::Prefix.into(),
            lowercase: Some(true),
            min_token_len: Some(2),
            stopwords: Some(proto::StopwordsSet { languages: vec!["english".into()], custom: vec!["foo".into()] }),
            ..Default::default()
        });
        let keyword = IndexParams::KeywordIndexParams(proto::KeywordIndexParams {
            is_tenant: Some(true),
            on_disk: Some(false),
            ..Default::default()
        });
        for given in [text, keyword] {
            let params = PayloadIndexParams { index_params: Some(given.clone()) };
            let schema = schema_from("f", None, Some(params)).expect("a schema");
            let described = schema_to(&PayloadIndexInfo::new(schema, 3));
            assert_eq!(described.points, Some(3));
            assert_eq!(described.params.and_then(|params| params.index_params), Some(given));
        }
    }
}
