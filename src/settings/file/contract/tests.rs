//! What the sections of the contract are read as, and which values are refused.

use std::path::Path;

use crate::settings::contract::{
    ChunkFigure, ChunksContract, Contract, DocumentId, Dropped, Embedded, EmbeddingsContract, Idle, Order, PointIds,
    SizeUnit, Whitespace,
};
use crate::settings::error::Problem;
use crate::settings::file::parse;
use crate::spec::Range;

fn contract(text: &str) -> Contract {
    let config = parse(Path::new("shakedown.toml"), &format!("[worker]\ncommand = [\"w\"]\n{text}"));
    config.unwrap_or_else(|problems| panic!("{text}\n{problems:?}")).contract.unwrap()
}

/// The problem of an invalid contract, and what the file has at its place.
fn problem(text: &str) -> (String, String) {
    let text = format!("[worker]\ncommand = [\"w\"]\n{text}");
    let problems = parse(Path::new("shakedown.toml"), &text).err().unwrap_or_else(|| panic!("accepted:\n{text}"));
    let [Problem::At { place, problem, remedy }] = problems.as_slice() else { panic!("{problems:?}") };
    let line = text.lines().nth(place.line - 1).unwrap_or_default().to_owned();
    (format!("{problem}; {}", remedy.as_deref().unwrap_or_default()), line)
}

#[test]
fn an_ordinary_worker_needs_to_say_nothing_about_chunks_and_requests() {
    let contract = contract("");
    assert_eq!(contract.chunks, ChunksContract::default());
    assert_eq!((contract.chunks.size, contract.chunks.ids), (ChunkFigure::Undeclared, None));
    assert!(contract.chunks.trims() && contract.chunks.may_drop('\0'));
    assert_eq!(contract.chunks.embedded, Embedded { newlines_replaced: true, prefix: true });
    assert_eq!(contract.embeddings, EmbeddingsContract::default());
    assert_eq!(contract.embeddings.task.as_deref(), Some("retrieval.passage"));
    assert_eq!((contract.worker.exit_codes, contract.worker.idle), (vec![0, 143], Idle::Waits));
}

#[test]
fn every_promise_can_be_written() {
    let contract = contract(
        r#"exit_codes = [0]
idle = "exits"
[[worker.sidecar]]
command = ["postgrest"]
ready = { http = "http://127.0.0.1:{{sidecar.port}}/" }
[queue]
children = ["embeddings"]
before = { sql = "insert into {{postgres.table}} (id) values ({{document.id}})" }
delete = { queue = "cleanup", name = "remove", attempts = 3, data = { size = "{{document.bytes}}" } }
document = { id = "uuid", order = "row" }
[chunks]
characters = { at_least = 1, at_most = 1000 }
overlap = 200
whitespace = "exact"
drops = []
ids = "replaced"
embedded = { newlines = "kept", prefix = false }
[embeddings]
task = "none"
setup_texts = ["dummy_text"]
[evidence]
qdrant = { document = "metadata.id", offset = "metadata.loc.lines.from", text = "_node_content|json.text", filter = { kind = "chunk" } }
"#,
    );
    let within = |at_least, at_most| ChunkFigure::Within(SizeUnit::Characters, Range { at_least, at_most });
    assert_eq!(contract.chunks.size, within(Some(1.0), Some(1000.0)));
    assert_eq!(
        contract.chunks.overlap,
        within(None, Some(200.0)),
        "a number is the upper bound, in the unit of the size"
    );
    assert_eq!(contract.chunks.whitespace, Whitespace::Exact);
    assert_eq!(contract.chunks.drops, Vec::<Dropped>::new());
    assert_eq!(contract.chunks.ids, Some(PointIds::Replaced));
    assert_eq!(contract.chunks.embedded, Embedded { newlines_replaced: false, prefix: false });
    assert_eq!(contract.embeddings.task, None);
    assert_eq!(contract.embeddings.setup_texts, ["dummy_text"]);
    assert_eq!((contract.worker.exit_codes, contract.worker.idle), (vec![0], Idle::Exits));
    assert_eq!(contract.worker.sidecars[0].command, ["postgrest"]);
    assert_eq!(contract.queue.others().collect::<Vec<_>>(), ["cleanup", "embeddings"]);
    assert_eq!(contract.queue.delete.as_ref().and_then(|job| job.attempts), Some(3));
    assert_eq!((contract.queue.document.id, contract.queue.document.order), (DocumentId::Uuid, Some(Order::Row)));
    assert!(contract.queue.before.is_some());
    let keys = &contract.evidence.qdrant;
    assert_eq!((keys.chunk.as_deref(), keys.offset.as_deref()), (None, Some("metadata.loc.lines.from")));
    assert_eq!(keys.filter["kind"], "chunk");
}

#[test]
fn a_figure_may_be_excluded_from_judging() {
    let contract = contract("[chunks]\ntokens = false\noverlap = false");
    assert_eq!((contract.chunks.size, contract.chunks.overlap), (ChunkFigure::NotJudged, ChunkFigure::NotJudged));
}

#[rstest::rstest]
#[case("exit_codes = []", "`exit_codes` are not numbers from 0 to 255", "exit_codes")]
#[case("exit_codes = [0, 300]", "`exit_codes` are not numbers from 0 to 255", "exit_codes")]
#[case("preset = \"langchain\"", "unknown preset `langchain`; did you mean `langchain-", "preset")]
#[case("[[worker.sidecar]]\ncommand = []", "the command of the sidecar is empty", "command = []")]
#[case("[[worker.sidecar]]\ncommand = [\"s\"]\nready = \"queue\"", "a sidecar is not registered on the queue", "ready")]
#[case("[chunks]\ntokens = true", "invalid bounds `true`", "tokens")]
#[case("[chunks]\ntokens = {}", "the bounds are empty", "tokens")]
#[case("[chunks]\ntokens = { at_least = 9, at_most = 3 }", "no number is 9 to 3", "tokens")]
#[case("[chunks]\ntokens = { most = 3 }", "unknown field `most`", "tokens")]
#[case("[chunks]\noverlap = -1", "invalid bound `-1`", "overlap")]
#[case("[chunks]\ntokens = 1\ncharacters = 2", "`tokens` and `characters` are both set", "characters")]
#[case("[chunks]\nwhitespace = \"none\"", "unknown variant `none`", "whitespace")]
#[case("[chunks]\ndrops = [\"tabs\"]", "unknown variant `tabs`", "drops")]
#[case("[chunks]\nids = \"random\"", "unknown variant `random`", "ids")]
#[case("[chunks]\nembedded = { newlines = \"none\" }", "unknown variant `none`", "embedded")]
#[case("[embeddings]\ntask = \"\"", "`task` is empty", "task")]
#[case("[queue]\nchildren = [\"bull:a\"]", "`bull:a` is not the name of a queue", "children")]
#[case("[queue]\nbefore = { sql = \" \" }", "the statement is empty", "before")]
#[case("[queue]\nbefore = { sql = \"select {{redis.url}}\" }", "unknown placeholder `{{redis.url}}`", "before")]
#[case("[queue]\ndocument = { id = \"number\" }", "unknown variant `number`", "document")]
#[case("[queue]\ndocument = { order = \"version\" }", "unknown variant `version`", "document")]
#[case("[queue]\ndocument = { order = \"row\" }", "[queue] has no `before`", "document")]
#[case(
    "[queue]\njob = { name = \"a\", data = { id = \"{{document.id}}\" } }\n[queue.document]\norder = \"data\"",
    "the data of `job` does not say the order of jobs; add a field with {{document.sequence}}",
    "order"
)]
#[case(
    "[queue]\ndelete = { name = \"a\", data = { id = \"{{document.id}}\" } }\n[queue.document]\norder = \"data\"",
    "the data of `delete` does not say",
    "order"
)]
#[case("[evidence]\nqdrant = { text = \"t\" }", "`qdrant` does not name the field with a document's id", "qdrant")]
#[case("[evidence]\nqdrant = { document = \"d\", text = \"a|b\" }", "the path `a|b` has a `|`", "qdrant")]
#[case("[evidence]\nqdrant = { document = \"a..b\" }", "the path `a..b` has an empty name", "qdrant")]
#[case(
    "[evidence]\nqdrant = { document = \"d\", chunk = \"c\", offset = \"o\" }",
    "`chunk` and `offset` are both set",
    "qdrant"
)]
fn a_wrong_value_is_refused_at_its_line(#[case] text: &str, #[case] wanted: &str, #[case] line: &str) {
    let (problem, at) = problem(text);
    assert!(problem.contains(wanted), "{problem}");
    assert!(at.contains(line), "{problem} at {at}");
}

#[test]
fn the_keys_of_a_file_go_over_those_of_its_preset() {
    let contract = contract(
        "preset = \"langchain-js\"\n[evidence]\nqdrant = { document = \"metadata.docId\", text = \"body\" }\n\
         [chunks]\ncharacters = 1000\nids = \"stable\"",
    );
    let keys = &contract.evidence.qdrant;
    assert_eq!((keys.document.as_str(), keys.text.as_deref()), ("metadata.docId", Some("body")));
    assert_eq!(keys.offset.as_deref(), Some("metadata.loc.lines.from"));
    assert_eq!(contract.chunks.ids, Some(PointIds::Stable));
    assert_eq!(contract.chunks.embedded, Embedded { newlines_replaced: true, prefix: false });
    let range = Range { at_least: None, at_most: Some(1000.0) };
    assert_eq!(contract.chunks.size, ChunkFigure::Within(SizeUnit::Characters, range));
}

#[test]
fn an_index_of_the_file_replaces_the_offset_of_its_preset() {
    let contract = contract(
        "preset = \"langchain-py\"\n[evidence]\nqdrant = { document = \"metadata.id\", chunk = \"metadata.index\" }",
    );
    let keys = &contract.evidence.qdrant;
    assert_eq!((keys.chunk.as_deref(), keys.offset.as_deref()), (Some("metadata.index"), None));
    assert_eq!(contract.embeddings.setup_texts, ["dummy_text"]);
}

#[test]
fn a_preset_names_the_field_of_a_document_only_where_its_library_does() {
    let (problem, _) = problem("preset = \"langchain-js\"");
    assert!(problem.contains("does not name the field with a document's id"), "{problem}");
    let contract = contract("preset = \"llama-index-py\"");
    assert_eq!(contract.evidence.postgres, None);
    assert_eq!(contract.evidence.qdrant.document, "ref_doc_id");
    assert_eq!(contract.evidence.qdrant.text.as_deref(), Some("_node_content|json.text"));
}
