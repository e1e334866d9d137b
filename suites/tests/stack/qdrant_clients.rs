//! The embedded Qdrant tested with independent clients and an independent oracle: `fixtures/clients/qdrant`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "where the clients are is no setting of the program")]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateAliasBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder,
    DeletePointsBuilder, Direction, Distance, FacetCountsBuilder, FieldType, Filter, HnswConfigDiffBuilder,
    OrderByBuilder, PointId, PointStruct, Query, QueryPointGroupsBuilder, QueryPointsBuilder, Range,
    ScrollPointsBuilder, SearchParamsBuilder, UpsertPointsBuilder, VectorParamsBuilder, facet_value, group_id,
    point_id::PointIdOptions,
};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rstest::rstest;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tonic::Code;

const KEY: &str = "judges-key";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/clients/qdrant")
}

/// Where `scripts/install clients` has put the clients.
fn clients() -> PathBuf {
    let directory = crate::support::client_packages::home("");
    let mut digest = Sha256::new();
    for name in ["requirements.txt", "package.json", "package-lock.json"] {
        digest.update(fs::read(fixtures().join(name)).unwrap());
    }
    let wanted: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let stamp = fs::read_to_string(directory.join("installed")).unwrap_or_default();
    assert_eq!(
        stamp.trim(),
        wanted,
        "the clients that judge the embedded Qdrant are not in {}: run scripts/install clients",
        directory.display()
    );
    directory
}

/// A server of its own for each judge.
struct Server {
    process: Child,
    http: String,
    grpc: String,
    errors: Option<JoinHandle<String>>,
    _storage: TempDir,
}

impl Server {
    fn start() -> Self {
        let storage = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_shakedown"))
            .args(["qdrant", "--http-port", "0", "--grpc-port", "0", "--storage"])
            .arg(storage.path())
            .env("QDRANT_API_KEY", KEY)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let bound: BTreeMap<String, String> = serde_json::from_str(&line).expect("the line that says it is ready");
        let mut stderr = process.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let (http, grpc) = (bound["http"].clone(), bound["grpc"].clone());
        Self { process, http, grpc, errors: Some(errors), _storage: storage }
    }

    /// Ends the server, which must have served until now without a panic.
    fn acquit(mut self) {
        assert_eq!(self.process.try_wait().unwrap(), None, "the server has ended");
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.process.id().cast_signed()),
            nix::sys::signal::Signal::SIGTERM,
        )
        .unwrap();
        assert!(self.process.wait().unwrap().success());
        let errors = self.errors.take().unwrap().join().unwrap();
        assert!(!errors.contains("panicked at"), "{errors}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The number of random rounds: 1 by default.
fn rounds() -> String {
    std::env::var("SHAKEDOWN_CLIENTS_ROUNDS").unwrap_or_else(|_| "1".to_owned())
}

#[rstest]
#[case::session_over_rest("session.py", &["--transport", "rest"])]
#[case::session_over_grpc("session.py", &["--transport", "grpc"])]
#[case::oracle_over_rest("oracle.py", &["--transport", "rest"])]
#[case::oracle_over_grpc("oracle.py", &["--transport", "grpc"])]
#[case::fuzz("fuzz.py", &[])]
fn python(#[case] program: &str, #[case] arguments: &[&str]) {
    let clients = clients();
    let server = Server::start();
    let port = server.grpc.rsplit_once(':').unwrap().1.to_owned();
    assert_succeeds(
        Command::new(clients.join("python/bin/python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(fixtures().join(program))
            .args(["--url", &format!("http://{}", server.http), "--grpc-port", &port, "--api-key", KEY])
            .args(["--rounds", &rounds()])
            .args(arguments),
    );
    server.acquit();
}

#[test]
fn javascript() {
    let clients = clients();
    let server = Server::start();
    assert_succeeds(
        Command::new("node")
            .arg(fixtures().join("session.mjs"))
            .args(["--url", &format!("http://{}", server.http), "--api-key", KEY, "--modules"])
            .arg(&clients),
    );
    server.acquit();
}

fn assert_succeeds(program: &mut Command) {
    let output = program.output().unwrap_or_else(|error| panic!("{program:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let end: Vec<&str> = text.lines().rev().take(60).collect();
    let end: Vec<&str> = end.into_iter().rev().collect();
    assert!(output.status.success(), "{program:?}: {}\n{}", output.status, end.join("\n"));
}

const COUNT: u64 = 10_000;
const SIZE: u64 = 16;
const COLOURS: [&str; 5] = ["red", "green", "blue", "white", "black"];

/// A point as the judge remembers it.
struct Made {
    vector: Vec<f32>,
    document: String,
    colour: &'static str,
    price: f64,
}

fn vector(random: &mut impl Rng) -> Vec<f32> {
    (0..SIZE).map(|_| random.random_range(-1.0..1.0)).collect()
}

fn made(random: &mut impl Rng) -> Vec<Made> {
    (0..COUNT)
        .map(|id| Made {
            vector: vector(random),
            document: format!("doc-{}", id / 100),
            colour: COLOURS[random.random_range(0..COLOURS.len())],
            price: f64::from(random.random_range(0..100_000)) / 1000.0,
        })
        .collect()
}

fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

/// Ids of the nearest points that are kept, from the points themselves.
fn best(made: &[Made], query: &[f32], limit: usize, keep: impl Fn(&Made) -> bool) -> Vec<u64> {
    let kept = (0..).zip(made).filter(|(_, point)| keep(point));
    let mut scored: Vec<(f64, u64)> = kept.map(|(id, point)| (cosine(&point.vector, query), id)).collect();
    scored.sort_by(|left, right| right.0.total_cmp(&left.0));
    scored.into_iter().take(limit).map(|(_, id)| id).collect()
}

fn number(id: Option<&PointId>) -> u64 {
    match id.and_then(|id| id.point_id_options.as_ref()) {
        Some(PointIdOptions::Num(number)) => *number,
        other => panic!("not a number: {other:?}"),
    }
}

async fn scroll_all(client: &Qdrant, name: &str, page: u32, filter: Option<Filter>) -> Vec<u64> {
    let (mut ids, mut offset) = (Vec::new(), None);
    loop {
        let mut request = ScrollPointsBuilder::new(name).limit(page).with_payload(false);
        if let Some(offset) = offset {
            request = request.offset::<PointId>(offset);
        }
        if let Some(filter) = filter.clone() {
            request = request.filter(filter);
        }
        let answer = client.scroll(request).await.unwrap();
        assert!(answer.result.len() <= page as usize);
        ids.extend(answer.result.iter().map(|point| number(point.id.as_ref())));
        offset = answer.next_page_offset;
        if offset.is_none() {
            return ids;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rust() {
    let server = Server::start();
    let client = Qdrant::from_url(&format!("http://{}", server.grpc)).api_key(KEY).build().unwrap();
    let seed = rand::rng().random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let made = made(&mut random);

    client
        .create_collection(
            CreateCollectionBuilder::new("session")
                .vectors_config(VectorParamsBuilder::new(SIZE, Distance::Cosine))
                .hnsw_config(HnswConfigDiffBuilder::default().m(16).ef_construct(100)),
        )
        .await
        .unwrap();
    for (field, kind) in [("document", FieldType::Keyword), ("colour", FieldType::Keyword), ("price", FieldType::Float)]
    {
        let index = CreateFieldIndexCollectionBuilder::new("session", field, kind).wait(true);
        client.create_field_index(index).await.unwrap();
    }
    let points: Vec<PointStruct> = (0..)
        .zip(&made)
        .map(|(id, point): (u64, _)| {
            let payload = [
                ("document", point.document.clone().into()),
                ("colour", point.colour.into()),
                ("price", point.price.into()),
            ];
            PointStruct::new(id, point.vector.clone(), payload)
        })
        .collect();
    for batch in points.chunks(500) {
        client.upsert_points(UpsertPointsBuilder::new("session", batch).wait(true)).await.unwrap();
    }
    reads(&client, &made, &mut random).await;
    changes(&client, &made).await;
    server.acquit();
}

async fn reads(client: &Qdrant, made: &[Made], random: &mut StdRng) {
    let count = client.count(CountPointsBuilder::new("session").exact(true)).await.unwrap();
    assert_eq!(count.result.unwrap().count, COUNT);
    for page in [37, 1000, 10_000] {
        assert_eq!(scroll_all(client, "session", page, None).await, (0..COUNT).collect::<Vec<_>>());
    }
    let order = OrderByBuilder::new("price").direction(Direction::Desc as i32);
    let answer = client.scroll(ScrollPointsBuilder::new("session").limit(50).order_by(order)).await.unwrap();
    let mut dearest: Vec<f64> = made.iter().map(|point| point.price).collect();
    dearest.sort_by(|left, right| right.total_cmp(left));
    let got: Vec<f64> = answer.result.iter().map(|point| point.payload["price"].as_double().unwrap()).collect();
    assert_eq!(got, dearest[..50]);

    let exact = || SearchParamsBuilder::default().exact(true);
    let blue = Filter::must([Condition::matches("colour", "blue".to_owned())]);
    let range = Range { gte: Some(20.0), lt: Some(30.0), ..Range::default() };
    let cheap = Filter::must([Condition::range("price", range)]);
    for _ in 0..3 {
        let query = vector(random);
        let expected = [
            (blue.clone(), best(made, &query, 10, |point| point.colour == "blue")),
            (cheap.clone(), best(made, &query, 10, |point| (20.0..30.0).contains(&point.price))),
        ];
        for (filter, expected) in expected {
            let request = QueryPointsBuilder::new("session").query(query.clone()).filter(filter).params(exact());
            let found = client.query(request.limit(10)).await.unwrap().result;
            assert_eq!(found.iter().map(|point| number(point.id.as_ref())).collect::<Vec<_>>(), expected);
        }
    }

    let query = vec![1.0; 16];
    let mut expected: Vec<(&str, Vec<u64>)> = Vec::new();
    for id in best(made, &query, made.len(), |_| true) {
        let colour = made[usize::try_from(id).unwrap()].colour;
        match expected.iter_mut().find(|(known, _)| *known == colour) {
            Some((_, ids)) => ids.push(id),
            None => expected.push((colour, vec![id])),
        }
    }
    let request = QueryPointGroupsBuilder::new("session", "colour").query(Query::from(query)).params(exact());
    let groups = client.query_groups(request.limit(3_u64).group_size(4_u64)).await.unwrap().result.unwrap().groups;
    assert_eq!(groups.len(), 3);
    for (group, (colour, ids)) in groups.iter().zip(&expected) {
        let id = group.id.as_ref().unwrap().kind.clone();
        assert_eq!(id, Some(group_id::Kind::StringValue((*colour).to_owned())));
        let hits: Vec<u64> = group.hits.iter().map(|hit| number(hit.id.as_ref())).collect();
        assert_eq!(hits, ids[..4]);
    }
    let facets = client.facet(FacetCountsBuilder::new("session", "colour").exact(true)).await.unwrap().hits;
    let counted: HashMap<String, u64> = facets
        .into_iter()
        .map(|hit| match hit.value.unwrap().variant {
            Some(facet_value::Variant::StringValue(text)) => (text, hit.count),
            other => panic!("{other:?}"),
        })
        .collect();
    let known = expected.iter().map(|(colour, ids)| ((*colour).to_owned(), ids.len() as u64)).collect();
    assert_eq!(counted, known);
}

async fn changes(client: &Qdrant, made: &[Made]) {
    let seven = Filter::must([Condition::matches("document", "doc-7".to_owned())]);
    client.delete_points(DeletePointsBuilder::new("session").points(seven).wait(true)).await.unwrap();
    let left: Vec<u64> = (0..).zip(made).filter(|(_, point)| point.document != "doc-7").map(|(id, _)| id).collect();
    assert_eq!(scroll_all(client, "session", 1000, None).await, left);

    client.create_alias(CreateAliasBuilder::new("session", "live")).await.unwrap();
    assert_eq!(scroll_all(client, "live", 5000, None).await.len(), left.len());
    let aliases = client.list_aliases().await.unwrap().aliases;
    assert_eq!(aliases[0].collection_name, "session");

    let wrong = vec![PointStruct::new(1, vec![1.0, 2.0], [("a", 1.into())])];
    let refused = client.upsert_points(UpsertPointsBuilder::new("session", wrong)).await.unwrap_err();
    let (code, text) = status(refused);
    assert_eq!(code, Code::InvalidArgument);
    assert!(text.contains("expected dim: 16, got 2"), "{text}");
    let (code, text) = status(client.count(CountPointsBuilder::new("nowhere")).await.unwrap_err());
    assert_eq!((code, text.as_str()), (Code::NotFound, "Not found: Collection `nowhere` doesn't exist!"));
}

fn status(error: qdrant_client::QdrantError) -> (Code, String) {
    match error {
        qdrant_client::QdrantError::ResponseError { status } => (status.code(), status.message().to_owned()),
        other => panic!("{other}"),
    }
}
