//! The settings of a collection's configuration: as in Qdrant's API, and as stored.

use std::collections::BTreeMap;

use qdrant_edge::{
    DEFAULT_VECTOR_NAME, Distance, EdgeOptimizersConfig, HnswIndexConfig, Modifier, MultiVectorConfig,
    QuantizationConfig, VectorStorageDatatype,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Parameters of one dense vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct VectorParams {
    /// Number of dimensions.
    pub size: u64,
    /// How vectors are compared.
    pub distance: Distance,
    /// Differences from the collection's graph settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hnsw_config: Option<HnswDiff>,
    /// Quantisation of this vector alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization_config: Option<QuantizationConfig>,
    /// Whether vectors are served from disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    /// How numbers are stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datatype: Option<VectorStorageDatatype>,
    /// Several vectors per point under one name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multivector_config: Option<MultiVectorConfig>,
}

/// One unnamed vector, or several named ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "vectors: an object with `size` and `distance`, or an object of such objects by vector name"
)]
pub(crate) enum Vectors {
    /// The unnamed vector.
    Single(Box<VectorParams>),
    /// Named vectors.
    Named(BTreeMap<String, VectorParams>),
}

impl Default for Vectors {
    fn default() -> Self {
        Self::Named(BTreeMap::new())
    }
}

impl Vectors {
    /// Each vector with its name; the unnamed one is called `""`.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = (&str, &VectorParams)> + '_> {
        match self {
            Self::Single(params) => Box::new(std::iter::once((DEFAULT_VECTOR_NAME, &**params))),
            Self::Named(map) => Box::new(map.iter().map(|(name, params)| (name.as_str(), params))),
        }
    }

    /// The parameters of the vector called `name`.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<&VectorParams> {
        match self {
            Self::Single(params) => (name == DEFAULT_VECTOR_NAME).then_some(&**params),
            Self::Named(map) => map.get(name),
        }
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut VectorParams> {
        match self {
            Self::Single(params) => (name == DEFAULT_VECTOR_NAME).then_some(&mut **params),
            Self::Named(map) => map.get_mut(name),
        }
    }
}

/// Settings of a sparse vector's index.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SparseIndex {
    /// Below this number of vectors a search scans all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_scan_threshold: Option<usize>,
    /// Whether the index is served from disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    /// How weights are stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datatype: Option<VectorStorageDatatype>,
}

/// Parameters of one sparse vector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SparseVectorParams {
    /// Its index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<SparseIndex>,
    /// Modifier of weights when scoring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modifier: Option<Modifier>,
}

/// Graph settings, each optional.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HnswDiff {
    /// Edges per node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub m: Option<usize>,
    /// Neighbours considered while building.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ef_construct: Option<usize>,
    /// Size in KB below which a search scans all vectors.
    #[serde(default, alias = "full_scan_threshold_kb", skip_serializing_if = "Option::is_none")]
    pub full_scan_threshold: Option<usize>,
    /// Threads for building; 0 lets the engine choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_indexing_threads: Option<usize>,
    /// Whether the graph is served from disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    /// Edges per node in graphs of payload indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_m: Option<usize>,
    /// Whether vectors are copied into the graph's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_storage: Option<bool>,
}

impl HnswDiff {
    /// These differences, and those of `base` for what these leave open.
    #[must_use]
    pub(crate) fn over(self, base: Self) -> Self {
        Self {
            m: self.m.or(base.m),
            ef_construct: self.ef_construct.or(base.ef_construct),
            full_scan_threshold: self.full_scan_threshold.or(base.full_scan_threshold),
            max_indexing_threads: self.max_indexing_threads.or(base.max_indexing_threads),
            on_disk: self.on_disk.or(base.on_disk),
            payload_m: self.payload_m.or(base.payload_m),
            inline_storage: self.inline_storage.or(base.inline_storage),
        }
    }

    /// `base` with these differences.
    #[must_use]
    pub(crate) fn apply(&self, base: HnswIndexConfig) -> HnswIndexConfig {
        HnswIndexConfig {
            m: self.m.unwrap_or(base.m),
            ef_construct: self.ef_construct.unwrap_or(base.ef_construct),
            full_scan_threshold: self.full_scan_threshold.unwrap_or(base.full_scan_threshold),
            max_indexing_threads: self.max_indexing_threads.unwrap_or(base.max_indexing_threads),
            on_disk: self.on_disk.or(base.on_disk),
            payload_m: self.payload_m.or(base.payload_m),
            inline_storage: self.inline_storage.or(base.inline_storage),
        }
    }
}

/// Optimiser settings, each optional; also how they are stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct OptimizersDiff {
    /// Share of deleted vectors from which a segment is rewritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_threshold: Option<f64>,
    /// Number of vectors from which a segment is rewritten at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vacuum_min_vector_number: Option<usize>,
    /// Number of segments aimed at; 0 lets the engine choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_segment_number: Option<usize>,
    /// Largest segment in KB.
    #[serde(default, alias = "max_segment_size_kb", skip_serializing_if = "Option::is_none")]
    pub max_segment_size: Option<usize>,
    /// Stored and shown only; the engine has no such setting any more.
    #[serde(default, alias = "memmap_threshold_kb", skip_serializing_if = "Option::is_none")]
    pub memmap_threshold: Option<usize>,
    /// Size in KB from which a segment gets a graph; 0 never.
    #[serde(default, alias = "indexing_threshold_kb", skip_serializing_if = "Option::is_none")]
    pub indexing_threshold: Option<usize>,
    /// Seconds between flushes. Stored and shown only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flush_interval_sec: Option<u64>,
    /// Stored and shown; 0 switches optimisation off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_optimization_threads: Option<Value>,
    /// Whether points beyond the threshold are hidden until they are indexed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prevent_unoptimized: Option<bool>,
}

impl OptimizersDiff {
    pub(super) fn defaults() -> Self {
        Self {
            deleted_threshold: Some(0.2),
            vacuum_min_vector_number: Some(1000),
            default_segment_number: Some(0),
            indexing_threshold: Some(10_000),
            flush_interval_sec: Some(5),
            ..Self::default()
        }
    }

    pub(super) fn over(self, base: Self) -> Self {
        Self {
            deleted_threshold: self.deleted_threshold.or(base.deleted_threshold),
            vacuum_min_vector_number: self.vacuum_min_vector_number.or(base.vacuum_min_vector_number),
            default_segment_number: self.default_segment_number.or(base.default_segment_number),
            max_segment_size: self.max_segment_size.or(base.max_segment_size),
            memmap_threshold: self.memmap_threshold.or(base.memmap_threshold),
            indexing_threshold: self.indexing_threshold.or(base.indexing_threshold),
            flush_interval_sec: self.flush_interval_sec.or(base.flush_interval_sec),
            max_optimization_threads: self.max_optimization_threads.or(base.max_optimization_threads),
            prevent_unoptimized: self.prevent_unoptimized.or(base.prevent_unoptimized),
        }
    }

    pub(super) fn engine(&self) -> EdgeOptimizersConfig {
        EdgeOptimizersConfig {
            deleted_threshold: self.deleted_threshold,
            vacuum_min_vector_number: self.vacuum_min_vector_number,
            default_segment_number: self.default_segment_number,
            max_segment_size: self.max_segment_size,
            indexing_threshold: self.indexing_threshold,
            // Points are never hidden here: the engine defers them only if a writer asks for it.
            prevent_unoptimized: None,
        }
    }
}

/// Log settings. Stored and shown only: the embedded engine keeps a small log of its own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "the names are the API's")]
pub(crate) struct WalConfig {
    /// Size of one log file in MiB.
    pub wal_capacity_mb: usize,
    /// Files made in advance.
    pub wal_segments_ahead: usize,
    /// Closed files kept.
    pub wal_retain_closed: usize,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self { wal_capacity_mb: 32, wal_segments_ahead: 0, wal_retain_closed: 1 }
    }
}
