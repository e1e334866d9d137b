//! A collection's configuration: as requested, as stored and shown, and as the engine needs it.

mod names;
mod params;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use qdrant_edge::{
    EdgeConfig, EdgeSparseVectorParams, EdgeVectorParams, HnswIndexConfig, QuantizationConfig, WalOptions,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::depth::check_object;
use super::error::Error;
use super::strict::StrictMode;
pub(super) use params::{HnswDiff, OptimizersDiff, SparseIndex, SparseVectorParams, VectorParams, Vectors, WalConfig};

/// Size of one file of the engine's log. Smaller than the engine's 32 MiB, so that a collection is cheap to create.
const WAL_SEGMENT: usize = 4 * 1024 * 1024;
/// Largest vector that Qdrant accepts.
const MAX_DIMENSIONS: u64 = 65_536;
/// Most edges per node of a graph: the engine reserves memory for all of them, for every point. The real server has no
/// limit, and ends when it has no more memory.
const MAX_EDGES: usize = 4096;

/// Body of `PUT /collections/{name}`, and what gRPC's request becomes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct CreateCollection {
    pub vectors: Vectors,
    pub sparse_vectors: Option<BTreeMap<String, SparseVectorParams>>,
    pub shard_number: Option<u32>,
    pub sharding_method: Option<Value>,
    pub replication_factor: Option<u32>,
    pub write_consistency_factor: Option<u32>,
    pub on_disk_payload: Option<bool>,
    pub hnsw_config: Option<HnswDiff>,
    pub wal_config: Option<WalConfig>,
    #[serde(alias = "optimizer_config")]
    pub optimizers_config: Option<OptimizersDiff>,
    #[serde(alias = "quantization")]
    pub quantization_config: Option<QuantizationConfig>,
    pub strict_mode_config: Option<StrictMode>,
    pub metadata: Option<Map<String, Value>>,
}

/// Vector settings that can be changed later.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct VectorDiff {
    /// Graph settings of this vector.
    pub hnsw_config: Option<HnswDiff>,
    /// Quantisation of this vector.
    pub quantization_config: Option<QuantizationDiff>,
    /// Whether vectors are served from disk.
    pub on_disk: Option<bool>,
}

/// A change of quantisation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "a quantisation, or \"Disabled\"")]
pub(super) enum QuantizationDiff {
    /// This quantisation from now on.
    Set(QuantizationConfig),
    /// No quantisation from now on.
    Off(Disabled),
}

/// The word for no quantisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Disabled {
    /// The only one.
    Disabled,
}

impl From<QuantizationDiff> for Option<QuantizationConfig> {
    fn from(diff: QuantizationDiff) -> Self {
        match diff {
            QuantizationDiff::Set(quantization) => Some(quantization),
            QuantizationDiff::Off(Disabled::Disabled) => None,
        }
    }
}

/// Body of `PATCH /collections/{name}`, and what gRPC's request becomes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct UpdateCollection {
    pub vectors: Option<BTreeMap<String, VectorDiff>>,
    pub sparse_vectors: Option<BTreeMap<String, SparseVectorParams>>,
    pub params: Option<ParamsDiff>,
    pub hnsw_config: Option<HnswDiff>,
    #[serde(alias = "optimizer_config")]
    pub optimizers_config: Option<OptimizersDiff>,
    pub quantization_config: Option<QuantizationDiff>,
    pub strict_mode_config: Option<StrictMode>,
    pub metadata: Option<Map<String, Value>>,
}

/// Collection parameters that can be changed later.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct ParamsDiff {
    /// Replicas of a shard. Stored only.
    pub replication_factor: Option<u32>,
    /// Replicas that must agree. Stored only.
    pub write_consistency_factor: Option<u32>,
    /// Whether payloads are served from disk.
    pub on_disk_payload: Option<bool>,
}

/// The part of a collection's configuration that is fixed at creation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Params {
    /// Dense vectors.
    pub vectors: Vectors,
    /// The engine does not shard: always 1. Shown as requested.
    pub shard_number: u32,
    /// Stored only.
    pub replication_factor: u32,
    /// Stored only.
    pub write_consistency_factor: u32,
    /// Whether payloads are served from disk.
    pub on_disk_payload: bool,
    /// Sparse vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse_vectors: Option<BTreeMap<String, SparseVectorParams>>,
}

/// A collection's configuration: what `GET /collections/{name}` shows under `config`, and what is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names are the API's")]
pub(super) struct Config {
    /// Fixed parameters.
    pub params: Params,
    /// Graph settings.
    pub hnsw_config: HnswIndexConfig,
    /// Optimiser settings.
    pub optimizer_config: OptimizersDiff,
    /// Log settings.
    pub wal_config: WalConfig,
    /// Quantisation of all vectors.
    pub quantization_config: Option<QuantizationConfig>,
    /// Limits on requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict_mode_config: Option<StrictMode>,
    /// Arbitrary metadata of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

impl Config {
    /// The configuration for a new collection.
    ///
    /// # Errors
    /// A value is out of range (422), nested too deeply (400), or not supported by the embedded engine (501).
    pub(super) fn new(request: CreateCollection) -> Result<Self, Error> {
        let unsupported = match &request {
            request if request.shard_number.is_some_and(|shards| shards != 1) => Some("more than one shard"),
            request if request.sharding_method.as_ref().is_some_and(|method| method != "auto") => {
                Some("custom sharding")
            }
            request if request.optimizers_config.as_ref().is_some_and(|it| it.prevent_unoptimized == Some(true)) => {
                Some("prevent_unoptimized")
            }
            _ => None,
        };
        if let Some(what) = unsupported {
            return Err(Error::Unimplemented(format!("creating a collection with {what}")));
        }
        let config = Self {
            params: Params {
                vectors: request.vectors,
                shard_number: 1,
                replication_factor: request.replication_factor.unwrap_or(1),
                write_consistency_factor: request.write_consistency_factor.unwrap_or(1),
                on_disk_payload: request.on_disk_payload.unwrap_or(true),
                sparse_vectors: request.sparse_vectors,
            },
            hnsw_config: request.hnsw_config.unwrap_or_default().apply(default_hnsw()),
            optimizer_config: request.optimizers_config.unwrap_or_default().over(OptimizersDiff::defaults()),
            wal_config: request.wal_config.unwrap_or_default(),
            quantization_config: request.quantization_config,
            strict_mode_config: request.strict_mode_config,
            metadata: request.metadata,
        };
        config.check()?;
        Ok(config)
    }

    /// Checks a configuration that comes from a client, also in a snapshot.
    ///
    /// # Errors
    /// A value is out of range (422) or nested too deeply (400).
    pub(super) fn check(&self) -> Result<(), Error> {
        for (name, params) in self.params.vectors.iter() {
            if params.size == 0 || params.size > MAX_DIMENSIONS {
                let place = if name.is_empty() { "vectors.size".to_owned() } else { format!("vectors.{name}.size") };
                return Err(Error::Invalid(format!(
                    "Validation error in JSON body: [{place}: value {} invalid, must be from 1 to {MAX_DIMENSIONS}]",
                    params.size
                )));
            }
            check_graph(&params.hnsw_config.unwrap_or_default().apply(self.hnsw_config))?;
        }
        check_graph(&self.hnsw_config)?;
        self.check_json()
    }

    /// Checks the settings that may be any JSON: they are stored, and must be readable at the next start.
    fn check_json(&self) -> Result<(), Error> {
        if let Some(Value::Array(_) | Value::Object(_)) = &self.optimizer_config.max_optimization_threads {
            return Err(Error::Format(
                "Format error in JSON body: max_optimization_threads: expected a number or \"auto\"".to_owned(),
            ));
        }
        self.metadata.as_ref().map_or(Ok(()), |object| check_object("metadata of the collection", object))?;
        self.strict_mode_config.as_ref().map_or(Ok(()), |strict| check_object("strict mode configuration", &strict.0))
    }

    /// Edges per node in the graph of the dense vector called `name`, 0 if it has no graph; `None` if there is no such vector.
    #[must_use]
    pub(super) fn graph_of(&self, name: &str) -> Option<usize> {
        let params = self.params.vectors.get(name)?;
        Some(params.hnsw_config.and_then(|diff| diff.m).unwrap_or(self.hnsw_config.m))
    }

    /// Applies the changes of `request`.
    ///
    /// # Errors
    /// A vector does not exist, or a value is out of range or nested too deeply; nothing has changed then.
    pub(super) fn update(&mut self, request: UpdateCollection) -> Result<(), Error> {
        let mut new = self.clone();
        for (name, diff) in request.vectors.into_iter().flatten() {
            let params = new.params.vectors.get_mut(&name).ok_or_else(|| Error::no_vector(&name))?;
            if let Some(hnsw) = diff.hnsw_config {
                params.hnsw_config = Some(hnsw.over(params.hnsw_config.unwrap_or_default()));
            }
            if let Some(quantization) = diff.quantization_config {
                params.quantization_config = quantization.into();
            }
            params.on_disk = diff.on_disk.or(params.on_disk);
        }
        for (name, diff) in request.sparse_vectors.into_iter().flatten() {
            let vectors = new.params.sparse_vectors.as_mut();
            let params = vectors.and_then(|all| all.get_mut(&name)).ok_or_else(|| Error::no_vector(&name))?;
            params.index = diff.index.or_else(|| params.index.take());
            params.modifier = diff.modifier.or(params.modifier);
        }
        if let Some(quantization) = request.quantization_config {
            new.quantization_config = quantization.into();
        }
        let params = request.params.unwrap_or_default();
        new.params.on_disk_payload = params.on_disk_payload.unwrap_or(new.params.on_disk_payload);
        new.params.replication_factor = params.replication_factor.unwrap_or(new.params.replication_factor);
        new.params.write_consistency_factor =
            params.write_consistency_factor.unwrap_or(new.params.write_consistency_factor);
        if let Some(diff) = request.hnsw_config {
            new.hnsw_config = diff.apply(new.hnsw_config);
        }
        if let Some(diff) = request.optimizers_config {
            new.optimizer_config = diff.over(new.optimizer_config);
        }
        if let Some(diff) = request.strict_mode_config {
            new.strict_mode_config = Some(diff.over(new.strict_mode_config.unwrap_or_default()));
        }
        if let Some(metadata) = request.metadata {
            new.metadata.get_or_insert_default().extend(metadata);
        }
        new.check()?;
        *self = new;
        Ok(())
    }

    /// Whether the collection has a sparse vector called `name`.
    #[must_use]
    pub(super) fn has_sparse(&self, name: &str) -> bool {
        self.params.sparse_vectors.as_ref().is_some_and(|vectors| vectors.contains_key(name))
    }

    /// Whether optimisation is disabled.
    #[must_use]
    pub(super) fn never_optimizes(&self) -> bool {
        self.optimizer_config.max_optimization_threads == Some(Value::from(0))
    }

    /// How vectors and payloads are stored. The engine applies it only when it opens a shard.
    #[must_use]
    pub(super) fn storage(&self) -> impl PartialEq + use<> {
        let dense = self.params.vectors.iter();
        let dense: Vec<_> =
            dense.map(|(name, params)| (name.to_owned(), params.on_disk, params.quantization_config.clone())).collect();
        (dense, self.params.sparse_vectors.clone(), self.params.on_disk_payload, self.quantization_config.clone())
    }

    /// Segments that a Qdrant server spreads points over: as asked for, or one for each core, from 2 to 8.
    fn segments(&self) -> usize {
        match self.optimizer_config.default_segment_number {
            None | Some(0) => std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8),
            Some(number) => number,
        }
    }

    /// Graph settings as the engine wants them. A server looks at all vectors of each segment below the threshold;
    /// the engine gathers the points in one segment, which is therefore compared with as many thresholds.
    fn graph(&self, diff: Option<HnswDiff>) -> HnswIndexConfig {
        let hnsw = diff.unwrap_or_default().apply(self.hnsw_config);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        HnswIndexConfig {
            full_scan_threshold: hnsw.full_scan_threshold.saturating_mul(self.segments()),
            // The engine starts as many threads as it is told.
            max_indexing_threads: hnsw.max_indexing_threads.min(cores),
            ..hnsw
        }
    }

    /// The configuration as the engine wants it.
    #[must_use]
    pub(super) fn engine(&self) -> EdgeConfig {
        let vectors = self.params.vectors.iter().map(|(name, params)| {
            let engine = EdgeVectorParams {
                size: usize::try_from(params.size).unwrap_or(usize::MAX),
                distance: params.distance,
                on_disk: params.on_disk,
                multivector_config: params.multivector_config,
                datatype: params.datatype,
                quantization_config: params.quantization_config.clone(),
                hnsw_config: params.hnsw_config.map(|diff| self.graph(Some(diff))),
            };
            (name.to_owned(), engine)
        });
        let sparse = self.params.sparse_vectors.iter().flatten().map(|(name, params)| {
            let index = params.index.clone().unwrap_or_default();
            let engine = EdgeSparseVectorParams {
                full_scan_threshold: index.full_scan_threshold,
                on_disk: index.on_disk,
                modifier: params.modifier,
                datatype: index.datatype,
            };
            (name.clone(), engine)
        });
        EdgeConfig {
            on_disk_payload: self.params.on_disk_payload,
            vectors: vectors.collect(),
            sparse_vectors: sparse.collect(),
            hnsw_config: self.graph(None),
            quantization_config: self.quantization_config.clone(),
            optimizers: self.optimizer_config.engine(),
            wal_options: Some(WalOptions {
                segment_capacity: WAL_SEGMENT,
                segment_queue_len: 0,
                retain_closed: NonZeroUsize::MIN,
            }),
        }
    }
}

/// Qdrant's own defaults, from its configuration file.
fn default_hnsw() -> HnswIndexConfig {
    HnswIndexConfig {
        m: 16,
        ef_construct: 100,
        full_scan_threshold: 10_000,
        max_indexing_threads: 0,
        on_disk: Some(false),
        payload_m: None,
        inline_storage: None,
    }
}

fn check_graph(hnsw: &HnswIndexConfig) -> Result<(), Error> {
    let invalid = |name: &str, value: usize, range: &str| {
        let text =
            format!("Validation error in JSON body: [hnsw_config.{name}: value {value} invalid, must be {range}]");
        Err(Error::Invalid(text))
    };
    let edges = format!("{MAX_EDGES} or smaller");
    match hnsw {
        HnswIndexConfig { ef_construct: ef @ 0..4, .. } => invalid("ef_construct", *ef, "4 or larger"),
        HnswIndexConfig { m, .. } if *m > MAX_EDGES => invalid("m", *m, &edges),
        HnswIndexConfig { payload_m: Some(m), .. } if *m > MAX_EDGES => invalid("payload_m", *m, &edges),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: Value) -> CreateCollection {
        serde_json::from_value(json).expect("a readable request")
    }

    #[test]
    fn a_graph_has_a_limited_number_of_edges_wherever_it_is_configured() {
        let vectors = serde_json::json!({ "size": 4, "distance": "Cosine" });
        let vector = serde_json::json!({ "size": 4, "distance": "Cosine", "hnsw_config": { "payload_m": 4097 } });
        for (config, field) in [
            (serde_json::json!({ "vectors": vectors, "hnsw_config": { "m": 4097 } }), "m: value 4097"),
            (serde_json::json!({ "vectors": { "a": vector } }), "payload_m: value 4097"),
            (serde_json::json!({ "vectors": vectors, "hnsw_config": { "ef_construct": 3 } }), "ef_construct: value 3"),
        ] {
            let error = Config::new(request(config)).expect_err("refused").to_string();
            assert!(error.contains(&format!("[hnsw_config.{field} invalid")), "{error}");
        }
        let many =
            serde_json::json!({ "vectors": vectors, "hnsw_config": { "m": 4096, "max_indexing_threads": 1_000_000 } });
        let engine = Config::new(request(many)).expect("accepted").engine();
        assert!(engine.hnsw_config.max_indexing_threads <= std::thread::available_parallelism().map_or(1, usize::from));
    }

    #[test]
    fn one_unnamed_vector_and_named_vectors_are_distinguished() {
        let single = request(serde_json::json!({"vectors": {"size": 4, "distance": "Cosine"}}));
        assert_eq!(single.vectors.get("").map(|params| params.size), Some(4));
        let named = request(serde_json::json!({"vectors": {"a": {"size": 3, "distance": "Dot"}}}));
        assert_eq!(named.vectors.get("a").map(|params| params.size), Some(3));
        assert_eq!(named.vectors.get(""), None);
    }

    #[test]
    fn the_defaults_are_shown_as_qdrant_shows_them() {
        let config = Config::new(request(serde_json::json!({
            "vectors": {"size": 1024, "distance": "Cosine"}, "hnsw_config": {"m": 32}
        })))
        .expect("a valid request");
        let json = serde_json::to_value(&config).expect("serialisable");
        assert_eq!(json["params"]["vectors"], serde_json::json!({"size": 1024, "distance": "Cosine"}));
        assert_eq!(json["hnsw_config"]["m"], 32);
        assert_eq!(json["hnsw_config"]["ef_construct"], 100);
        assert_eq!(json["optimizer_config"]["indexing_threshold"], 10_000);
    }

    #[test]
    fn a_stored_configuration_reads_back_the_same() {
        let config = Config::new(request(serde_json::json!({
            "vectors": {"a": {"size": 3, "distance": "Dot", "on_disk": true}},
            "sparse_vectors": {"s": {"modifier": "idf"}},
            "strict_mode_config": {"enabled": true}
        })))
        .expect("a valid request");
        let text = serde_json::to_string(&config).expect("serialisable");
        assert_eq!(serde_json::from_str::<Config>(&text).expect("readable"), config);
    }

    #[test]
    fn a_vector_of_size_zero_is_rejected() {
        let error = Config::new(request(serde_json::json!({"vectors": {"size": 0, "distance": "Dot"}}))).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}
