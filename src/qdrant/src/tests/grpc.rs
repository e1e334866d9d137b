//! gRPC, through the official client.

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder, DeletePointsBuilder,
    Distance, FieldType, Filter, GetPointsBuilder, HnswConfigDiffBuilder, PointStruct, QueryPointsBuilder,
    ScrollPointsBuilder, UpdateCollectionBuilder, UpsertPointsBuilder, VectorParamsBuilder,
};
use tonic::Code;

use super::*;

pub(super) fn client(server: &Server, key: &str) -> Qdrant {
    let url = format!("http://{}", server.bound.grpc);
    Qdrant::from_url(&url).api_key(key).skip_compatibility_check().build().expect("a client")
}

pub(super) fn code(error: &qdrant_client::QdrantError) -> (Code, String) {
    match error {
        qdrant_client::QdrantError::ResponseError { status } => (status.code(), status.message().to_owned()),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_stores_finds_and_deletes() {
    let server = Server::start().await;
    let client = client(&server, KEY);
    client
        .create_collection(
            CreateCollectionBuilder::new("c").vectors_config(VectorParamsBuilder::new(4, Distance::Cosine)),
        )
        .await
        .expect("made");
    client
        .create_field_index(CreateFieldIndexCollectionBuilder::new("c", "document_id", FieldType::Keyword).wait(true))
        .await
        .expect("indexed");
    let points: Vec<PointStruct> = (0..20_u64)
        .map(|id| {
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let x = id as f32;
            let payload = [("document_id", "a".into()), ("chunk_index", i64::try_from(id).expect("small").into())];
            PointStruct::new(id, vec![1.0, x, -x, 0.5], payload)
        })
        .collect();
    let answer = client.upsert_points(UpsertPointsBuilder::new("c", points).wait(true)).await.expect("stored");
    assert_eq!(answer.result.expect("a result").status, 2, "completed");

    let filter = Filter::must([Condition::matches("document_id", "a".to_owned())]);
    let count = client.count(CountPointsBuilder::new("c").filter(filter.clone()).exact(true)).await.expect("counted");
    assert_eq!(count.result.expect("a result").count, 20);

    let query = QueryPointsBuilder::new("c").query(vec![1.0, 3.0, -3.0, 0.5]).limit(1).with_payload(true);
    let found = client.query(query).await.expect("found").result;
    assert_eq!(found[0].id, Some(3.into()));
    assert_eq!(found[0].payload["chunk_index"].as_integer(), Some(3));

    let got = client.get_points(GetPointsBuilder::new("c", [3.into(), 99.into()]).with_vectors(true)).await;
    let got = got.expect("fetched").result;
    assert_eq!(got.len(), 1);
    assert!(got[0].payload.is_empty(), "payloads are not asked for");
    assert!(got[0].vectors.is_some());

    let page = client.scroll(ScrollPointsBuilder::new("c").limit(15).filter(filter.clone())).await.expect("a page");
    assert_eq!((page.result.len(), page.next_page_offset), (15, Some(15.into())));

    client.delete_points(DeletePointsBuilder::new("c").points(filter).wait(true)).await.expect("deleted");
    assert_eq!(server.count("c").await, 0, "both protocols see the same");

    let change = UpdateCollectionBuilder::new("c").hnsw_config(HnswConfigDiffBuilder::default().m(24));
    client.update_collection(change).await.expect("changed");
    let info = client.collection_info("c").await.expect("described").result.expect("a result");
    assert_eq!(info.config.expect("a config").hnsw_config.expect("hnsw").m, Some(24));
    assert_eq!(info.payload_schema["document_id"].data_type, 1);
    assert!(client.collection_exists("c").await.expect("asked"));
    client.delete_collection("c").await.expect("deleted");
    assert!(!client.collection_exists("c").await.expect("asked"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_codes_and_texts_of_the_real_server() {
    let server = Server::start().await;
    server.make("c").await;
    let official = client(&server, KEY);
    let wrong = PointStruct::new(1, vec![1.0, 2.0], [("n", 1.into())]);
    let error = official.upsert_points(UpsertPointsBuilder::new("c", [wrong])).await.expect_err("refused");
    let text = "Wrong input: Vector dimension error: expected dim: 4, got 2".to_owned();
    assert_eq!(code(&error), (Code::InvalidArgument, text));
    let error = official.count(CountPointsBuilder::new("x")).await.expect_err("refused");
    assert_eq!(code(&error), (Code::NotFound, "Not found: Collection `x` doesn't exist!".to_owned()));
    let error = official.list_snapshots("x").await.expect_err("refused");
    assert_eq!(code(&error).0, Code::NotFound);

    let stranger = client(&server, "wrong");
    assert_eq!(code(&stranger.list_collections().await.expect_err("refused")).0, Code::Unauthenticated);
    stranger.health_check().await.expect("health is open");
}
