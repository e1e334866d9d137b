//! Payload index types and their parameters.

use qdrant_client::qdrant::payload_index_params::IndexParams;
use qdrant_client::qdrant::{
    FieldType, PayloadIndexParams, PayloadSchemaInfo, PayloadSchemaType as ProtoType, TokenizerType, stemming_algorithm,
};
use qdrant_edge::{PayloadFieldSchema, PayloadIndexInfo, PayloadSchemaParams, PayloadSchemaType};
use serde_json::{Map, Value, json};

use crate::subjects::qdrant::error::Error;

/// The index asked for.
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

/// An index as it is described; parameters are shown by REST alone.
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
    PayloadSchemaInfo { data_type: kind.into(), params: None, points: Some(info.points as u64) }
}
