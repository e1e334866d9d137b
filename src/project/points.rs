//! Splitters with their sizes, collections of Qdrant, the fields of payloads, and what embeds.

use super::jobs::number;
use super::libraries::{Unit, libraries};
use super::place::Place;
use super::sources::{At, Sources};
use super::syntax::{Kind, Role};
use super::value::Value;

/// A splitter of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splitter {
    /// Its class or function.
    pub name: String,
    /// The unit of its sizes.
    pub unit: Unit,
    /// The size of a chunk, if the source names it.
    pub size: Option<u32>,
    /// The overlap of two chunks, if the source names it.
    pub overlap: Option<u32>,
    /// Whether it adds the place of a chunk to its metadata, as `LangChain` for Python can.
    pub start_index: bool,
    /// Where.
    pub place: Place,
}

/// A field of a payload or of a document's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name; in a filter, its path in the payload.
    pub name: String,
    /// Where.
    pub place: Place,
}

/// What the project stores in Qdrant.
#[derive(Debug, Clone, Default)]
pub struct Points {
    /// Splitters.
    pub splitters: Vec<Splitter>,
    /// Collections as often as they are named.
    pub collections: Vec<(Value, Place)>,
    /// Fields of payloads.
    pub payload: Vec<Field>,
    /// Fields of the metadata of documents, which a vector store puts into the payload.
    pub metadata: Vec<Field>,
    /// Paths that points are filtered by.
    pub filters: Vec<Field>,
    /// Where a collection is created.
    pub created: Option<Place>,
    /// The task that a request for embeddings names.
    pub task: Option<(String, Place)>,
    /// What embeds without naming a task.
    pub without_task: Option<(String, Place)>,
}

/// The tasks of Jina's embeddings.
const TASKS: &[&str] =
    &["retrieval.passage", "retrieval.query", "text-matching", "classification", "separation", "code.passage"];

impl Sources {
    /// What the sources store in Qdrant.
    pub(super) fn points(&self) -> Points {
        let mut points = Points { splitters: self.splitters(), ..Points::default() };
        for store in &libraries().store {
            let names: Vec<&str> = store.collection.iter().map(String::as_str).collect();
            for call in self.calls_of(&store.calls.iter().map(String::as_str).collect::<Vec<_>>()) {
                let value = call.option(&names).and_then(At::value);
                points.collections.extend(value.map(|value| (value, call.place())));
            }
        }
        self.clients(&mut points);
        for at in self.of_kinds(&[Kind::Pair, Kind::Bind, Kind::Call]) {
            points.add(at);
        }
        let embeds: Vec<&str> =
            libraries().embeddings.iter().flat_map(|entry| entry.calls.iter().map(String::as_str)).collect();
        let classes = self.calls_of(&embeds).into_iter();
        let client = self.calls_of(&["create"]).into_iter().filter(|call| {
            let path = call.role(Role::Function).map(At::path).unwrap_or_default();
            matches!(path.as_slice(), [.., "embeddings", "create"])
        });
        points.without_task = classes.chain(client).map(|call| (name_of(call), call.place())).next();
        points
    }

    fn splitters(&self) -> Vec<Splitter> {
        let mut splitters = Vec::new();
        for entry in &libraries().splitter {
            let (size, overlap): (Vec<&str>, Vec<&str>) =
                (entry.size.iter().map(String::as_str).collect(), entry.overlap.iter().map(String::as_str).collect());
            for call in self.calls_of(&entry.calls.iter().map(String::as_str).collect::<Vec<_>>()) {
                splitters.push(Splitter {
                    name: name_of(call),
                    unit: entry.unit,
                    size: call.option(&size).and_then(number),
                    overlap: call.option(&overlap).and_then(number),
                    start_index: call.option(&["add_start_index"]).is_some_and(|at| at.text() == "True"),
                    place: call.place(),
                });
            }
        }
        splitters
    }

    /// The collections that calls of Qdrant's own client name.
    fn clients(&self, points: &mut Points) {
        const CALLS: &[&str] = &[
            "upsert",
            "upload_points",
            "upload_collection",
            "delete",
            "scroll",
            "search",
            "count",
            "retrieve",
            "getCollection",
            "get_collection",
            "createCollection",
            "create_collection",
            "recreate_collection",
            "collectionExists",
            "collection_exists",
            "query_points",
        ];
        for call in self.calls_of(CALLS) {
            let name = call.callee().unwrap_or_default();
            let arguments = call.arguments();
            let named = call.option(&["collection_name"]);
            // `map.delete(key)` and `db.upsert({…})` have one argument.
            let first = arguments
                .first()
                .copied()
                .filter(|_| arguments.len() > 1 || name.to_lowercase().contains("collection"));
            let value = named.or(first).and_then(At::value);
            let about_points = named.is_some()
                || name.to_lowercase().contains("collection")
                || call.option(&["points", "filter", "ids", "points_selector", "exact", "wait", "limit"]).is_some();
            if let Some(value) = value.filter(|_| about_points) {
                points.collections.push((value, call.place()));
                if matches!(name, "createCollection" | "create_collection" | "recreate_collection") {
                    points.created.get_or_insert(call.place());
                }
            }
        }
    }
}

impl Points {
    /// Adds what a node says.
    fn add(&mut self, at: At<'_>) {
        let field = |name: String, at: At<'_>| Field { name, place: at.place() };
        match at.kind() {
            Kind::Pair => {
                let (Some(key), Some(value)) = (at.role(Role::Key).and_then(At::key), at.role(Role::Value)) else {
                    return;
                };
                match key.as_str() {
                    "payload" | "metadata" | "metadatas" => {
                        let into = if key == "payload" { &mut self.payload } else { &mut self.metadata };
                        let object = value.structure(6).filter(|object| object.is(Kind::Object));
                        into.extend(
                            object.map(At::entries).unwrap_or_default().into_iter().map(|(name, at)| field(name, at)),
                        );
                    }
                    // `{ key: "document_id", match: { value } }`, `FieldCondition(key="document_id", …)`.
                    "key" => {
                        let list = at.parent();
                        let compares = list.is_some_and(|list| list.entry(&["match", "range"]).is_some());
                        let path = value.value().filter(|_| compares);
                        self.filters.extend(path.and_then(|path| Some(field(path.text()?.to_owned(), at))));
                    }
                    "task" => {
                        let task = value.value().and_then(|value| Some(value.text()?.to_owned()));
                        if let Some(task) = task.filter(|task| TASKS.contains(&task.as_str())) {
                            self.task.get_or_insert((task, at.place()));
                        }
                    }
                    _ => {}
                }
            }
            // `chunk.metadata.index = i`, `chunk.metadata["index"] = i`.
            Kind::Bind => {
                let Some(target) = at.role(Role::Target) else { return };
                let (object, name) = match target.kind() {
                    Kind::Member => (target.role(Role::Object), target.role(Role::Name).map(|at| at.text().to_owned())),
                    Kind::Index => (target.role(Role::Object), target.role(Role::Key).and_then(At::literal)),
                    _ => return,
                };
                let of_metadata = object.is_some_and(|at| at.path().last() == Some(&"metadata") && at.path().len() > 1);
                self.metadata.extend(name.filter(|_| of_metadata).map(|name| field(name, at)));
            }
            // `splitter.createDocuments([text], [{ documentId }])`, `store.add_texts(texts, [{…}])`.
            Kind::Call
                if matches!(
                    at.callee(),
                    Some("createDocuments" | "create_documents" | "fromTexts" | "add_texts" | "from_texts")
                ) =>
            {
                let second = at.arguments().get(1).copied().or_else(|| at.option(&["metadatas"]));
                let object = second.and_then(|at| at.descendants().find(|at| at.is(Kind::Object)));
                let fields = object.map(At::entries).unwrap_or_default().into_iter();
                self.metadata.extend(fields.map(|(name, at)| field(name, at)));
            }
            _ => {}
        }
    }
}

/// The class or function of a call, as it is written.
fn name_of(call: At<'_>) -> String {
    let path = call.role(Role::Function).map(At::path).unwrap_or_default();
    path.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
}
