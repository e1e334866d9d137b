//! The models that the mock knows, as the documentation of Jina describes them.

/// A model and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) name: &'static str,
    pub(super) max_dimensions: u32,
    /// The maximum of tokens of one text.
    pub(super) context: usize,
    pub(super) tasks: &'static [&'static str],
    /// The default task; empty if there is none.
    pub(super) default_task: &'static str,
    pub(super) late_chunking: bool,
    /// The maximum of texts in one request.
    pub(super) max_texts: usize,
}

const V5_TASKS: &[&str] = &["retrieval.query", "retrieval.passage", "text-matching", "clustering", "classification"];

const MODELS: &[Model] = &[
    Model {
        name: "jina-embeddings-v3",
        max_dimensions: 1024,
        context: 8192,
        tasks: &["retrieval.query", "retrieval.passage", "text-matching", "classification", "separation"],
        default_task: "",
        late_chunking: true,
        max_texts: 2048,
    },
    Model {
        name: "jina-embeddings-v4",
        max_dimensions: 2048,
        context: 32_768,
        tasks: &["text-matching", "retrieval.query", "retrieval.passage", "code.query", "code.passage"],
        default_task: "text-matching",
        late_chunking: true,
        max_texts: 512,
    },
    Model {
        name: "jina-embeddings-v5-text-small",
        max_dimensions: 1024,
        context: 32_768,
        tasks: V5_TASKS,
        default_task: "text-matching",
        late_chunking: false,
        max_texts: 2048,
    },
    Model {
        name: "jina-embeddings-v5-text-nano",
        max_dimensions: 768,
        context: 8192,
        tasks: V5_TASKS,
        default_task: "text-matching",
        late_chunking: false,
        max_texts: 2048,
    },
    Model {
        name: "jina-embeddings-v2-base-en",
        max_dimensions: 768,
        context: 8192,
        tasks: &[],
        default_task: "",
        late_chunking: false,
        max_texts: 2048,
    },
];

/// The model of that name.
pub(super) fn find(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}

/// The maximum of tokens of one text; that of v3 for an unknown model.
#[must_use]
pub fn context_of(name: &str) -> usize {
    find(name).map_or(8192, |model| model.context)
}

/// The dimensions of vectors for a request that names none; `None` for an unknown model.
#[must_use]
pub fn max_dimensions_of(name: &str) -> Option<u32> {
    find(name).map(|model| model.max_dimensions)
}

/// The names of all models.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|model| model.name)
}
