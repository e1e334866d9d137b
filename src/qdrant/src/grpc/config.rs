//! Converts collection configuration between gRPC messages and REST's form.

use std::collections::BTreeMap;

use qdrant_client::qdrant::quantization_config::Quantization;
use qdrant_client::qdrant::{
    self as proto, CollectionConfig, CollectionParams, CompressionRatio, Datatype, HnswConfigDiff, Modifier,
    OptimizersConfigDiff, SparseVectorConfig, StrictModeConfig, VectorsConfig, WalConfigDiff,
    binary_quantization_query_encoding, max_optimization_threads, quantization_config_diff, vectors_config,
    vectors_config_diff,
};
use qdrant_edge::{Distance, MultiVectorComparator, MultiVectorConfig, QuantizationConfig, VectorStorageDatatype};
use serde_json::{Map, Value, json};

use super::convert::{object_from, object_to};
use super::required;
use crate::config::{
    Config, CreateCollection, Disabled, HnswDiff, OptimizersDiff, ParamsDiff, QuantizationDiff, SparseIndex,
    SparseVectorParams, UpdateCollection, VectorDiff, VectorParams, Vectors, WalConfig,
};
use crate::error::Error;
use crate::strict::StrictMode;

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A request to create a collection.
#[expect(deprecated, reason = "the engine has `on_disk`, which newer servers replace by `memory`")]
pub(super) fn create_from(request: proto::CreateCollection) -> Result<CreateCollection, Error> {
    Ok(CreateCollection {
        vectors: request.vectors_config.map(vectors_from).transpose()?.unwrap_or_default(),
        sparse_vectors: request.sparse_vectors_config.map(sparse_from).transpose()?,
        shard_number: request.shard_number,
        sharding_method: (request.sharding_method == Some(proto::ShardingMethod::Custom.into()))
            .then(|| "custom".into()),
        replication_factor: request.replication_factor,
        write_consistency_factor: request.write_consistency_factor,
        on_disk_payload: request.on_disk_payload,
        hnsw_config: request.hnsw_config.map(hnsw_from),
        wal_config: request.wal_config.map(wal_from),
        optimizers_config: request.optimizers_config.map(optimizers_from),
        quantization_config: request.quantization_config.map(quantization_from).transpose()?,
        strict_mode_config: request.strict_mode_config.as_ref().map(strict_from),
        metadata: (!request.metadata.is_empty()).then(|| object_from(request.metadata)).transpose()?,
    })
}

/// A request to change a collection.
#[expect(deprecated, reason = "the engine has `on_disk`, which newer servers replace by `memory`")]
pub(super) fn update_from(request: proto::UpdateCollection) -> Result<UpdateCollection, Error> {
    let diff = |diff: proto::VectorParamsDiff| {
        Ok::<_, Error>(VectorDiff {
            hnsw_config: diff.hnsw_config.map(hnsw_from),
            quantization_config: diff.quantization_config.map(quantization_diff_from).transpose()?,
            on_disk: diff.on_disk,
        })
    };
    let vectors = request.vectors_config.and_then(|config| config.config).map(|config| match config {
        vectors_config_diff::Config::Params(params) => Ok(BTreeMap::from([(String::new(), diff(params)?)])),
        vectors_config_diff::Config::ParamsMap(map) => {
            map.map.into_iter().map(|(name, params)| Ok((name, diff(params)?))).collect::<Result<_, Error>>()
        }
    });
    Ok(UpdateCollection {
        vectors: vectors.transpose()?,
        sparse_vectors: request.sparse_vectors_config.map(sparse_from).transpose()?,
        params: request.params.map(|params| ParamsDiff {
            replication_factor: params.replication_factor,
            write_consistency_factor: params.write_consistency_factor,
            on_disk_payload: params.on_disk_payload,
        }),
        hnsw_config: request.hnsw_config.map(hnsw_from),
        optimizers_config: request.optimizers_config.map(optimizers_from),
        quantization_config: request.quantization_config.map(quantization_diff_from).transpose()?,
        strict_mode_config: request.strict_mode_config.as_ref().map(strict_from),
        metadata: (!request.metadata.is_empty()).then(|| object_from(request.metadata)).transpose()?,
    })
}

fn vectors_from(config: VectorsConfig) -> Result<Vectors, Error> {
    match required(config.config, "vectors_config")? {
        vectors_config::Config::Params(params) => Ok(Vectors::Single(Box::new(vector_from(params)?))),
        vectors_config::Config::ParamsMap(map) => {
            let named = map.map.into_iter().map(|(name, params)| Ok((name, vector_from(params)?)));
            Ok(Vectors::Named(named.collect::<Result<_, Error>>()?))
        }
    }
}

#[expect(deprecated, reason = "the engine has `on_disk`, which newer servers replace by `memory`")]
fn vector_from(params: proto::VectorParams) -> Result<VectorParams, Error> {
    Ok(VectorParams {
        size: params.size,
        distance: distance_from(params.distance())?,
        hnsw_config: params.hnsw_config.map(hnsw_from),
        quantization_config: params.quantization_config.map(quantization_from).transpose()?,
        on_disk: params.on_disk,
        datatype: params.datatype.map(datatype_from).transpose()?.flatten(),
        multivector_config: params
            .multivector_config
            .map(|_| MultiVectorConfig { comparator: MultiVectorComparator::MaxSim }),
    })
}

pub(super) fn distance_from(distance: proto::Distance) -> Result<Distance, Error> {
    match distance {
        proto::Distance::Cosine => Ok(Distance::Cosine),
        proto::Distance::Euclid => Ok(Distance::Euclid),
        proto::Distance::Dot => Ok(Distance::Dot),
        proto::Distance::Manhattan => Ok(Distance::Manhattan),
        proto::Distance::UnknownDistance => Err(Error::Format("distance is required".to_owned())),
    }
}

pub(super) fn datatype_from(datatype: i32) -> Result<Option<VectorStorageDatatype>, Error> {
    match Datatype::try_from(datatype) {
        Ok(Datatype::Default) => Ok(None),
        Ok(Datatype::Float32) => Ok(Some(VectorStorageDatatype::Float32)),
        Ok(Datatype::Float16) => Ok(Some(VectorStorageDatatype::Float16)),
        Ok(Datatype::Uint8) => Ok(Some(VectorStorageDatatype::Uint8)),
        _ => Err(Error::Unimplemented(format!("vector datatype {datatype}"))),
    }
}

#[expect(deprecated, reason = "the engine has `on_disk`, which newer servers replace by `memory`")]
fn sparse_from(config: SparseVectorConfig) -> Result<BTreeMap<String, SparseVectorParams>, Error> {
    let vectors = config.map.into_iter().map(|(name, params)| {
        let idf = params.modifier == Some(Modifier::Idf.into());
        let index = params.index.map(|index| {
            Ok::<_, Error>(SparseIndex {
                full_scan_threshold: index.full_scan_threshold.map(size),
                on_disk: index.on_disk,
                datatype: index.datatype.map(datatype_from).transpose()?.flatten(),
            })
        });
        let modifier = idf.then_some(qdrant_edge::Modifier::Idf);
        Ok((name, SparseVectorParams { index: index.transpose()?, modifier }))
    });
    vectors.collect()
}

#[expect(deprecated, reason = "the engine has `on_disk`, which newer servers replace by `memory`")]
fn hnsw_from(diff: HnswConfigDiff) -> HnswDiff {
    HnswDiff {
        m: diff.m.map(size),
        ef_construct: diff.ef_construct.map(size),
        full_scan_threshold: diff.full_scan_threshold.map(size),
        max_indexing_threads: diff.max_indexing_threads.map(size),
        on_disk: diff.on_disk,
        payload_m: diff.payload_m.map(size),
        inline_storage: diff.inline_storage,
    }
}

fn wal_from(diff: WalConfigDiff) -> WalConfig {
    let defaults = WalConfig::default();
    WalConfig {
        wal_capacity_mb: diff.wal_capacity_mb.map_or(defaults.wal_capacity_mb, size),
        wal_segments_ahead: diff.wal_segments_ahead.map_or(defaults.wal_segments_ahead, size),
        wal_retain_closed: diff.wal_retain_closed.map_or(defaults.wal_retain_closed, size),
    }
}

fn optimizers_from(diff: OptimizersConfigDiff) -> OptimizersDiff {
    let threads = diff.max_optimization_threads.and_then(|threads| threads.variant).map(|variant| match variant {
        max_optimization_threads::Variant::Value(number) => number.into(),
        max_optimization_threads::Variant::Setting(_) => "auto".into(),
    });
    OptimizersDiff {
        deleted_threshold: diff.deleted_threshold,
        vacuum_min_vector_number: diff.vacuum_min_vector_number.map(size),
        default_segment_number: diff.default_segment_number.map(size),
        max_segment_size: diff.max_segment_size.map(size),
        memmap_threshold: diff.memmap_threshold.map(size),
        indexing_threshold: diff.indexing_threshold.map(size),
        flush_interval_sec: diff.flush_interval_sec,
        max_optimization_threads: threads,
        prevent_unoptimized: diff.prevent_unoptimized,
    }
}

fn quantization_diff_from(diff: proto::QuantizationConfigDiff) -> Result<QuantizationDiff, Error> {
    let set = match required(diff.quantization, "quantization")? {
        quantization_config_diff::Quantization::Disabled(_) => return Ok(QuantizationDiff::Off(Disabled::Disabled)),
        quantization_config_diff::Quantization::Scalar(it) => Quantization::Scalar(it),
        quantization_config_diff::Quantization::Product(it) => Quantization::Product(it),
        quantization_config_diff::Quantization::Binary(it) => Quantization::Binary(it),
        quantization_config_diff::Quantization::Turboquant(it) => Quantization::Turboquant(it),
    };
    quantization_from(proto::QuantizationConfig { quantization: Some(set) }).map(QuantizationDiff::Set)
}

/// Names of the encodings of binary quantisation, in the order of the message's numbers.
const BINARY_ENCODINGS: [&str; 3] = ["one_bit", "two_bits", "one_and_half_bits"];
/// Names of the encodings of queries, in the order of the message's numbers.
const QUERY_ENCODINGS: [&str; 4] = ["default", "binary", "scalar4bits", "scalar8bits"];
/// Names of the sizes of turbo quantisation, in the order of the message's numbers.
const TURBO_BITS: [&str; 4] = ["bits1", "bits1_5", "bits2", "bits4"];

/// The name at a message's number.
fn named(names: &[&'static str], number: Option<i32>, what: &str) -> Result<Option<&'static str>, Error> {
    let Some(number) = number else { return Ok(None) };
    let name = usize::try_from(number).ok().and_then(|number| names.get(number));
    name.map(|name| Some(*name)).ok_or_else(|| Error::Unimplemented(format!("{what} {number}")))
}

/// The message's number for a name.
fn number(names: &[&str], value: Option<&Value>) -> Option<i32> {
    let name = value?.as_str()?;
    i32::try_from(names.iter().position(|known| *known == name)?).ok()
}

#[expect(deprecated, reason = "the engine has `always_ram`, which newer servers replace by `memory`")]
fn quantization_from(config: proto::QuantizationConfig) -> Result<QuantizationConfig, Error> {
    let value = match required(config.quantization, "quantization")? {
        Quantization::Scalar(it) => {
            // Through text, to keep the message's number of digits.
            let quantile = it.quantile.and_then(|quantile| quantile.to_string().parse::<f64>().ok());
            json!({ "scalar": { "type": "int8", "quantile": quantile, "always_ram": it.always_ram } })
        }
        Quantization::Product(it) => {
            let compression = match it.compression() {
                CompressionRatio::X4 => "x4",
                CompressionRatio::X8 => "x8",
                CompressionRatio::X16 => "x16",
                CompressionRatio::X32 => "x32",
                CompressionRatio::X64 => "x64",
            };
            json!({ "product": { "compression": compression, "always_ram": it.always_ram } })
        }
        Quantization::Binary(it) => {
            let query = it.query_encoding.and_then(|encoding| encoding.variant).map(|variant| match variant {
                binary_quantization_query_encoding::Variant::Setting(setting) => setting,
            });
            json!({ "binary": {
                "always_ram": it.always_ram,
                "encoding": named(&BINARY_ENCODINGS, it.encoding, "binary quantisation with encoding")?,
                "query_encoding": named(&QUERY_ENCODINGS, query, "binary quantisation with query encoding")?,
            } })
        }
        Quantization::Turboquant(it) => json!({ "turbo": {
            "always_ram": it.always_ram, "bits": named(&TURBO_BITS, it.bits, "turbo quantisation with bit size")?,
        } }),
    };
    serde_json::from_value(value).map_err(|error| Error::Format(format!("Malformed quantisation: {error}")))
}

#[expect(deprecated, reason = "the message has a field that only older servers use")]
fn strict_from(config: &StrictModeConfig) -> StrictMode {
    let value = json!({
        "enabled": config.enabled,
        "max_query_limit": config.max_query_limit,
        "max_timeout": config.max_timeout,
        "unindexed_filtering_retrieve": config.unindexed_filtering_retrieve,
        "unindexed_filtering_update": config.unindexed_filtering_update,
        "search_max_hnsw_ef": config.search_max_hnsw_ef,
        "search_allow_exact": config.search_allow_exact,
        "search_max_oversampling": config.search_max_oversampling,
        "upsert_max_batchsize": config.upsert_max_batchsize,
        "search_max_batchsize": config.search_max_batchsize,
        "max_collection_vector_size_bytes": config.max_collection_vector_size_bytes,
        "read_rate_limit": config.read_rate_limit,
        "write_rate_limit": config.write_rate_limit,
        "max_collection_payload_size_bytes": config.max_collection_payload_size_bytes,
        "filter_max_conditions": config.filter_max_conditions,
        "condition_max_size": config.condition_max_size,
        "max_points_count": config.max_points_count,
        "max_payload_index_count": config.max_payload_index_count,
        "max_resident_memory_percent": config.max_resident_memory_percent,
    });
    match value {
        Value::Object(mut object) => {
            object.retain(|_, value| !value.is_null());
            StrictMode(object)
        }
        _ => StrictMode(Map::new()),
    }
}

fn strict_to(strict: &StrictMode) -> StrictModeConfig {
    let flag = |name: &str| strict.0.get(name).and_then(Value::as_bool);
    let number = |name: &str| strict.0.get(name).and_then(Value::as_u64);
    let small = |name: &str| number(name).and_then(|number| u32::try_from(number).ok());
    StrictModeConfig {
        enabled: flag("enabled"),
        max_query_limit: small("max_query_limit"),
        max_timeout: small("max_timeout"),
        unindexed_filtering_retrieve: flag("unindexed_filtering_retrieve"),
        unindexed_filtering_update: flag("unindexed_filtering_update"),
        search_max_hnsw_ef: small("search_max_hnsw_ef"),
        search_allow_exact: flag("search_allow_exact"),
        upsert_max_batchsize: number("upsert_max_batchsize"),
        search_max_batchsize: number("search_max_batchsize"),
        filter_max_conditions: number("filter_max_conditions"),
        condition_max_size: number("condition_max_size"),
        max_points_count: number("max_points_count"),
        max_payload_index_count: number("max_payload_index_count"),
        ..StrictModeConfig::default()
    }
}

#[expect(deprecated, reason = "clients read `on_disk_payload` until all of them know its successor")]
/// A collection's configuration as a message.
pub(super) fn config_to(config: Config) -> CollectionConfig {
    let params = config.params;
    let vectors = match params.vectors {
        Vectors::Single(single) => vectors_config::Config::Params(vector_to(&single)),
        Vectors::Named(named) => vectors_config::Config::ParamsMap(proto::VectorParamsMap {
            map: named.into_iter().map(|(name, params)| (name, vector_to(&params))).collect(),
        }),
    };
    let hnsw = config.hnsw_config;
    let wal = config.wal_config;
    CollectionConfig {
        params: Some(CollectionParams {
            shard_number: params.shard_number,
            on_disk_payload: params.on_disk_payload,
            vectors_config: Some(VectorsConfig { config: Some(vectors) }),
            replication_factor: Some(params.replication_factor),
            write_consistency_factor: Some(params.write_consistency_factor),
            sparse_vectors_config: params.sparse_vectors.map(sparse_to),
            ..CollectionParams::default()
        }),
        hnsw_config: Some(hnsw_to(HnswDiff {
            m: Some(hnsw.m),
            ef_construct: Some(hnsw.ef_construct),
            full_scan_threshold: Some(hnsw.full_scan_threshold),
            max_indexing_threads: Some(hnsw.max_indexing_threads),
            on_disk: hnsw.on_disk,
            payload_m: hnsw.payload_m,
            inline_storage: hnsw.inline_storage,
        })),
        optimizer_config: Some(optimizers_to(&config.optimizer_config)),
        wal_config: Some(WalConfigDiff {
            wal_capacity_mb: Some(wal.wal_capacity_mb as u64),
            wal_segments_ahead: Some(wal.wal_segments_ahead as u64),
            wal_retain_closed: Some(wal.wal_retain_closed as u64),
        }),
        quantization_config: config.quantization_config.as_ref().and_then(quantization_to),
        strict_mode_config: config.strict_mode_config.as_ref().map(strict_to),
        metadata: config.metadata.map(object_to).unwrap_or_default(),
    }
}

#[expect(deprecated, reason = "clients read `on_disk` until all of them know its successor")]
fn vector_to(params: &VectorParams) -> proto::VectorParams {
    let distance = match params.distance {
        Distance::Cosine => proto::Distance::Cosine,
        Distance::Euclid => proto::Distance::Euclid,
        Distance::Dot => proto::Distance::Dot,
        Distance::Manhattan => proto::Distance::Manhattan,
    };
    proto::VectorParams {
        size: params.size,
        distance: distance.into(),
        hnsw_config: params.hnsw_config.map(hnsw_to),
        quantization_config: params.quantization_config.as_ref().and_then(quantization_to),
        on_disk: params.on_disk,
        datatype: params.datatype.map(datatype_to),
        multivector_config: params
            .multivector_config
            .map(|_| proto::MultiVectorConfig { comparator: proto::MultiVectorComparator::MaxSim.into() }),
        memory: None,
    }
}

fn datatype_to(datatype: VectorStorageDatatype) -> i32 {
    match serde_json::to_value(datatype).ok().as_ref().and_then(Value::as_str) {
        Some("float32") => Datatype::Float32.into(),
        Some("float16") => Datatype::Float16.into(),
        Some("uint8") => Datatype::Uint8.into(),
        _ => Datatype::Default.into(),
    }
}

#[expect(deprecated, reason = "clients read `on_disk` until all of them know its successor")]
fn hnsw_to(diff: HnswDiff) -> HnswConfigDiff {
    let number = |number: Option<usize>| number.map(|number| number as u64);
    HnswConfigDiff {
        m: number(diff.m),
        ef_construct: number(diff.ef_construct),
        full_scan_threshold: number(diff.full_scan_threshold),
        max_indexing_threads: number(diff.max_indexing_threads),
        on_disk: diff.on_disk,
        payload_m: number(diff.payload_m),
        inline_storage: diff.inline_storage,
        memory: None,
    }
}

fn optimizers_to(config: &OptimizersDiff) -> OptimizersConfigDiff {
    let number = |number: Option<usize>| number.map(|number| number as u64);
    let threads = config.max_optimization_threads.as_ref().map(|threads| match threads.as_u64() {
        Some(number) => max_optimization_threads::Variant::Value(number),
        None => max_optimization_threads::Variant::Setting(max_optimization_threads::Setting::Auto.into()),
    });
    OptimizersConfigDiff {
        deleted_threshold: config.deleted_threshold,
        vacuum_min_vector_number: number(config.vacuum_min_vector_number),
        default_segment_number: number(config.default_segment_number),
        max_segment_size: number(config.max_segment_size),
        memmap_threshold: number(config.memmap_threshold),
        indexing_threshold: number(config.indexing_threshold),
        flush_interval_sec: config.flush_interval_sec,
        max_optimization_threads: threads.map(|variant| proto::MaxOptimizationThreads { variant: Some(variant) }),
        prevent_unoptimized: config.prevent_unoptimized,
        ..OptimizersConfigDiff::default()
    }
}

#[expect(deprecated, reason = "clients read `on_disk` until all of them know its successor")]
fn sparse_to(vectors: BTreeMap<String, SparseVectorParams>) -> SparseVectorConfig {
    let map = vectors.into_iter().map(|(name, params)| {
        let index = params.index.map(|index| proto::SparseIndexConfig {
            full_scan_threshold: index.full_scan_threshold.map(|number| number as u64),
            on_disk: index.on_disk,
            datatype: index.datatype.map(datatype_to),
            memory: None,
        });
        let modifier = params.modifier.map(|modifier| match modifier {
            qdrant_edge::Modifier::Idf => Modifier::Idf.into(),
            qdrant_edge::Modifier::None => Modifier::None.into(),
        });
        (name, proto::SparseVectorParams { index, modifier })
    });
    SparseVectorConfig { map: map.collect() }
}

/// `None` for kinds that are not in the message.
#[expect(deprecated, reason = "clients read `always_ram` until all of them know its successor")]
#[expect(clippy::cast_possible_truncation, reason = "a quantile needs no more digits")]
fn quantization_to(config: &QuantizationConfig) -> Option<proto::QuantizationConfig> {
    let value = serde_json::to_value(config).ok()?;
    let (kind, inner) = value.as_object()?.iter().next()?;
    let always_ram = inner.get("always_ram").and_then(Value::as_bool);
    let quantization = match kind.as_str() {
        "scalar" => Quantization::Scalar(proto::ScalarQuantization {
            r#type: proto::QuantizationType::Int8.into(),
            quantile: inner.get("quantile").and_then(Value::as_f64).map(|quantile| quantile as f32),
            always_ram,
            memory: None,
        }),
        "product" => Quantization::Product(proto::ProductQuantization {
            compression: CompressionRatio::from_str_name(inner.get("compression")?.as_str()?)?.into(),
            always_ram,
            memory: None,
        }),
        "binary" => Quantization::Binary(proto::BinaryQuantization {
            always_ram,
            encoding: number(&BINARY_ENCODINGS, inner.get("encoding")),
            query_encoding: number(&QUERY_ENCODINGS, inner.get("query_encoding")).map(|setting| {
                let variant = Some(binary_quantization_query_encoding::Variant::Setting(setting));
                proto::BinaryQuantizationQueryEncoding { variant }
            }),
            memory: None,
        }),
        "turbo" => Quantization::Turboquant(proto::TurboQuantization {
            always_ram,
            bits: number(&TURBO_BITS, inner.get("bits")),
            memory: None,
        }),
        _ => return None,
    };
    Some(proto::QuantizationConfig { quantization: Some(quantization) })
}
