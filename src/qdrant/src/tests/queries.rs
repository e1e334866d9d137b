//! Queries of every kind.

use super::*;

/// Twelve points on a quarter circle, four of each colour, with two numbers each.
async fn circle(server: &Server) {
    server.make("c").await;
    for (field, kind) in [("colour", "keyword"), ("n", "integer")] {
        let index = json!({ "field_name": field, "field_schema": kind });
        assert_eq!(server.put("/collections/c/index?wait=true", index).await.0, StatusCode::OK);
    }
    let points: Vec<Value> = (1..=12_u32)
        .map(|id| {
            let angle = f64::from(id) * std::f64::consts::FRAC_PI_2 / 12.0;
            let colour = ["red", "green", "blue"][id as usize % 3];
            json!({
                "id": id,
                "vector": [angle.cos(), angle.sin(), 0.0, 0.0],
                "payload": { "colour": colour, "n": id, "tags": [colour, id % 2] },
            })
        })
        .collect();
    let (status, answer) = server.put("/collections/c/points?wait=true", json!({ "points": points })).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

async fn result(server: &Server, path: &str, body: Value) -> Value {
    let (status, answer) = server.post(&format!("/collections/c{path}"), body.clone()).await;
    assert_eq!(status, StatusCode::OK, "{path} {body}: {answer}");
    answer["result"].clone()
}

fn ids(points: &Value) -> Vec<u64> {
    points.as_array().expect("points").iter().map(|point| point["id"].as_u64().expect("a number")).collect()
}

async fn refusal(server: &Server, path: &str, body: Value) -> (StatusCode, String) {
    let (status, answer) = server.post(&format!("/collections/c{path}"), body).await;
    (status, answer["status"]["error"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn points_can_be_search_targets_and_are_excluded_from_results() {
    let server = Server::start().await;
    circle(&server).await;
    let found = result(&server, "/points/query", json!({ "query": 6, "limit": 2 })).await;
    let mut near = ids(&found["points"]);
    near.sort_unstable();
    assert_eq!(near, [5, 7]);
    let page = json!({ "query": [1, 0, 0, 0], "limit": 3, "offset": 4 });
    assert_eq!(ids(&result(&server, "/points/query", page).await["points"]), [5, 6, 7]);
    let merged =
        json!({ "prefetch": { "query": [1, 0, 0, 0], "limit": 6 }, "query": [0, 1, 0, 0], "limit": 3, "offset": 4 });
    assert_eq!(ids(&result(&server, "/points/query", merged).await["points"]), [2, 1]);
    let (status, text) = refusal(&server, "/points/query", json!({ "query": 99 })).await;
    assert_eq!(
        (status, text.as_str()),
        (StatusCode::NOT_FOUND, "Not found: Vector with name \"\" for point not found")
    );
    let (status, text) = refusal(&server, "/points/recommend", json!({ "positive": [99], "limit": 1 })).await;
    assert_eq!((status, text.as_str()), (StatusCode::NOT_FOUND, "Not found: No point with id 99 found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_recommend_discover_and_give_context() {
    let server = Server::start().await;
    circle(&server).await;
    for path in ["/points/query", "/points/recommend"] {
        let body = match path {
            "/points/query" => json!({ "query": { "recommend": { "positive": [1], "negative": [12] } }, "limit": 3 }),
            _ => json!({ "positive": [1], "negative": [12], "limit": 3 }),
        };
        let found = result(&server, path, body).await;
        assert_eq!(ids(found.get("points").unwrap_or(&found)), [2, 3, 4], "{path}");
    }
    // Two points are equally near to the positive example; only the sum of scores distinguishes them.
    for (strategy, best) in [("best_score", &[1, 3][..]), ("sum_scores", &[1][..])] {
        let recommend = json!({ "positive": [2], "negative": [11], "strategy": strategy });
        let found = result(&server, "/points/query", json!({ "query": { "recommend": recommend }, "limit": 2 })).await;
        assert!(best.contains(&ids(&found["points"])[0]), "{strategy}: {found}");
    }
    let context = json!([{ "positive": 1, "negative": 12 }]);
    let discover = json!({ "query": { "discover": { "target": 6, "context": context } }, "limit": 10 });
    let found = result(&server, "/points/query", discover).await;
    // The examples are excluded, and points nearer to the positive one come first.
    assert_eq!(ids(&found["points"])[0], 5);
    assert_eq!(ids(&found["points"]).len(), 9);
    let older = json!({ "target": 6, "context": context, "limit": 10 });
    assert_eq!(ids(&result(&server, "/points/discover", older).await), ids(&found["points"]));
    let found = result(&server, "/points/query", json!({ "query": { "context": context }, "limit": 4 })).await;
    assert!(ids(&found["points"]).iter().all(|id| *id <= 6), "{found}");

    let (status, text) = refusal(&server, "/points/recommend", json!({ "negative": [1], "limit": 1 })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("At least one positive vector ID required"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_merged_varied_and_scored_by_formula() {
    let server = Server::start().await;
    circle(&server).await;
    let prefetch = json!([{ "query": [1, 0, 0, 0], "limit": 4 }, { "query": [0, 1, 0, 0], "limit": 4 }]);
    for fusion in [json!({ "fusion": "rrf" }), json!({ "fusion": "dbsf" }), json!({ "rrf": { "k": 60 } })] {
        let found =
            result(&server, "/points/query", json!({ "prefetch": prefetch, "query": fusion, "limit": 8 })).await;
        let mut all = ids(&found["points"]);
        assert!([1, 12].contains(&all[0]), "{fusion}: {found}");
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4, 9, 10, 11, 12], "{fusion}");
    }
    let weighted = json!({ "prefetch": prefetch, "query": { "rrf": { "weights": [1.0, 9.0] } }, "limit": 4 });
    let found = result(&server, "/points/query", weighted).await;
    assert_eq!(ids(&found["points"])[0], 12);

    let varied = json!({ "query": { "nearest": [1, 0, 0, 0], "mmr": { "diversity": 1.0, "candidates_limit": 12 } }, "limit": 2 });
    let found = result(&server, "/points/query", varied).await;
    assert_eq!(ids(&found["points"]), [1, 12]);

    // More than fits into any memory, at any depth.
    let much = json!({
        "prefetch": { "prefetch": { "query": [1, 0, 0, 0], "limit": 7_834_478_515_u64 }, "query": [1, 0, 0, 0], "limit": 7_834_478_515_u64 },
        "query": [1, 0, 0, 0],
        "limit": 2,
    });
    let found = result(&server, "/points/query", much).await;
    assert_eq!(ids(&found["points"]).len(), 2);

    let formula = json!({
        "prefetch": { "query": [1, 0, 0, 0], "limit": 12 },
        "query": { "formula": { "sum": ["$score", { "mult": [10.0, { "key": "colour", "match": { "value": "blue" } }] }, { "mult": [0.0, "missing"] }] }, "defaults": { "missing": 1 } },
        "limit": 5,
    });
    let found = result(&server, "/points/query", formula).await;
    assert_eq!(ids(&found["points"]), [2, 5, 8, 11, 1]);

    let (status, text) = refusal(&server, "/points/query", json!({ "prefetch": prefetch })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("Can't have prefetches without defining a query"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn points_of_another_collection_can_be_search_targets() {
    let server = Server::start().await;
    circle(&server).await;
    server.make("other").await;
    let point = json!({ "points": [{ "id": 3, "vector": [0, 1, 0, 0] }] });
    assert_eq!(server.put("/collections/other/points?wait=true", point).await.0, StatusCode::OK);
    let query = json!({ "query": 3, "lookup_from": { "collection": "other" }, "limit": 12 });
    let found = result(&server, "/points/query", query).await;
    // Point 3 of this collection is another point, and is found.
    assert_eq!(ids(&found["points"]).len(), 12);
    assert_eq!(ids(&found["points"])[0], 12);
    let query = json!({ "query": 3, "lookup_from": { "collection": "nowhere" } });
    let (status, text) = refusal(&server, "/points/query", query).await;
    assert_eq!((status, text.as_str()), (StatusCode::NOT_FOUND, "Not found: Collection nowhere not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_hold_the_best_points_of_each_value() {
    let server = Server::start().await;
    circle(&server).await;
    let bodies = [
        (
            "/points/query/groups",
            json!({ "query": [1, 0, 0, 0], "group_by": "colour", "group_size": 2, "limit": 2, "with_payload": true }),
        ),
        (
            "/points/search/groups",
            json!({ "vector": [1, 0, 0, 0], "group_by": "colour", "group_size": 2, "limit": 2, "with_payload": true }),
        ),
    ];
    for (path, body) in bodies {
        let found = result(&server, path, body).await;
        let groups = found["groups"].as_array().expect("groups");
        assert_eq!(groups.len(), 2, "{found}");
        assert_eq!((&groups[0]["id"], ids(&groups[0]["hits"])), (&json!("green"), vec![1, 4]));
        assert_eq!((&groups[1]["id"], ids(&groups[1]["hits"])), (&json!("blue"), vec![2, 5]));
        assert_eq!(groups[0]["hits"][0]["payload"]["n"], 1);
    }
    // One point may be in several groups, and numbers and strings may both be groups.
    let body = json!({ "query": [1, 0, 0, 0], "group_by": "tags[]", "group_size": 12, "limit": 10 });
    let found = result(&server, "/points/query/groups", body).await;
    let mut sizes: Vec<(String, usize)> = found["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .map(|group| (group["id"].to_string(), group["hits"].as_array().expect("hits").len()))
        .collect();
    sizes.sort_unstable();
    let expected = [("\"blue\"", 4), ("\"green\"", 4), ("\"red\"", 4), ("0", 6), ("1", 6)];
    assert_eq!(sizes, expected.map(|(id, size)| (id.to_owned(), size)));
    // A full group does not keep its points out of groups that are not full.
    let shared = json!({ "points": [
        { "id": 21, "vector": [1, 0, 0, 0], "payload": { "g": ["a"] } },
        { "id": 22, "vector": [1, 0.1, 0, 0], "payload": { "g": ["a", "b"] } },
        { "id": 23, "vector": [1, 0.2, 0, 0], "payload": { "g": ["a", "b"] } },
        { "id": 24, "vector": [1, 0.3, 0, 0], "payload": { "g": ["b"] } },
    ] });
    assert_eq!(server.put("/collections/c/points?wait=true", shared).await.0, StatusCode::OK);
    let body = json!({ "query": [1, 0, 0, 0], "group_by": "g[]", "group_size": 1, "limit": 2 });
    let found = result(&server, "/points/query/groups", body).await;
    assert_eq!(ids(&found["groups"][1]["hits"]), [22], "{found}");
    // The points of another collection whose ids are the group values.
    let body = json!({ "query": [1, 0, 0, 0], "group_by": "n", "group_size": 1, "limit": 1, "with_lookup": "c" });
    let found = result(&server, "/points/query/groups", body).await;
    assert_eq!(found["groups"][0]["lookup"]["payload"]["colour"], "green", "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_counted_and_distances_compared() {
    let server = Server::start().await;
    circle(&server).await;
    let found = result(&server, "/facet", json!({ "key": "colour", "exact": true })).await;
    let mut hits = found["hits"].as_array().expect("hits").clone();
    hits.sort_unstable_by_key(|hit| hit["value"].to_string());
    assert_eq!(hits, ["blue", "green", "red"].map(|value| json!({ "value": value, "count": 4 })));
    let filter = json!({ "must": [{ "key": "n", "range": { "lte": 2 } }] });
    let found = result(&server, "/facet", json!({ "key": "n", "filter": filter, "limit": 1 })).await;
    assert_eq!(found["hits"][0]["count"], 1);
    let (status, _) = refusal(&server, "/facet", json!({ "key": "unindexed" })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);

    let body = json!({ "sample": 12, "limit": 1, "filter": filter });
    let found = result(&server, "/points/search/matrix/pairs", body.clone()).await;
    let pairs = found["pairs"].as_array().expect("pairs");
    assert_eq!((&pairs[0]["a"], &pairs[0]["b"]), (&json!(1), &json!(2)));
    assert_eq!((&pairs[1]["a"], &pairs[1]["b"]), (&json!(2), &json!(1)));
    let found = result(&server, "/points/search/matrix/offsets", body).await;
    assert_eq!((&found["offsets_row"], &found["offsets_col"]), (&json!([0, 1]), &json!([1, 0])));
    assert_eq!(found["ids"], json!([1, 2]));
    // More than fits into any memory, and more than there are.
    let found = result(&server, "/points/search/matrix/pairs", json!({ "sample": 7_834_478_515_u64 })).await;
    assert!(!found["pairs"].as_array().expect("pairs").is_empty());
    let found =
        result(&server, "/points/query", json!({ "query": { "sample": "random" }, "limit": 7_834_478_515_u64 })).await;
    assert_eq!(found["points"].as_array().expect("points").len(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_answered_in_their_order() {
    let server = Server::start().await;
    circle(&server).await;
    let body = json!({ "searches": [{ "query": [1, 0, 0, 0], "limit": 1 }, { "query": [0, 1, 0, 0], "limit": 1 }] });
    let found = result(&server, "/points/query/batch", body).await;
    assert_eq!((ids(&found[0]["points"]), ids(&found[1]["points"])), (vec![1], vec![12]));
    let body = json!({ "searches": [{ "vector": [1, 0, 0, 0], "limit": 1 }, { "vector": [0, 1, 0, 0], "top": 1 }] });
    let found = result(&server, "/points/search/batch", body).await;
    assert_eq!((ids(&found[0]), ids(&found[1])), (vec![1], vec![12]));
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_mode_limits_are_enforced_by_name() {
    let server = Server::start().await;
    circle(&server).await;
    let limits = json!({ "strict_mode_config": {
        "enabled": true,
        "unindexed_filtering_retrieve": false,
        "max_query_limit": 20,
        "max_timeout": 5,
        "search_max_hnsw_ef": 64,
        "search_allow_exact": false,
        "search_max_batchsize": 1,
        "upsert_max_batchsize": 2,
        "filter_max_conditions": 1,
        "condition_max_size": 2,
        "max_points_count": 12,
        "max_payload_index_count": 2,
    } });
    assert_eq!(server.send(Method::PATCH, "/collections/c", Some(limits)).await.0, StatusCode::OK);
    let near = json!([1, 0, 0, 0]);
    let value = |key: &str| json!({ "key": key, "match": { "value": 1 } });
    let cases = [
        ("/points/query", json!({ "query": near, "limit": 21 }), "Limit exceeded 21 > 20 for \"limit\""),
        ("/points/query?timeout=6", json!({ "query": near }), "Limit exceeded 6 > 5 for \"timeout\""),
        ("/points/query", json!({ "query": near, "params": { "hnsw_ef": 65 } }), "for \"hnsw_ef\""),
        ("/points/query", json!({ "query": near, "params": { "exact": true } }), "Exact search disabled!"),
        ("/points/query/batch", json!({ "searches": [{ "query": near }, { "query": near }] }), "\"search batch size\""),
        ("/points/scroll", json!({ "filter": { "must": [value("n"), value("n")] } }), "Filter condition limit reached"),
        (
            "/points/scroll",
            json!({ "filter": { "must": [{ "key": "n", "match": { "any": [1, 2, 3] } }] } }),
            "Condition size limit reached",
        ),
        ("/points/count", json!({ "exact": true }), "Exact search disabled!"),
        ("/points/scroll", json!({ "filter": { "must": [value("tags")] } }), "Index required but not found"),
        (
            "/points/query/groups",
            json!({ "query": near, "group_by": "tags", "limit": 1, "group_size": 1 }),
            "Index required but not found for \"tags\"",
        ),
    ];
    for (path, body, expected) in cases {
        let (status, text) = refusal(&server, path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {expected}");
        assert!(text.contains(expected), "{path}: {text}");
    }
    let point = |id: u32| json!({ "id": id, "vector": near });
    for (points, expected) in
        [(vec![point(1), point(2), point(3)], "\"upsert limit\""), (vec![point(1)], "Max points count limit of 12")]
    {
        let (status, answer) = server.put("/collections/c/points", json!({ "points": points })).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer.to_string().contains(&expected.replace('"', "\\\"")), "{answer}");
    }
    let index = json!({ "field_name": "third", "field_schema": "keyword" });
    let (status, answer) = server.put("/collections/c/index", index).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_get_a_retry_after() {
    let server = Server::start().await;
    circle(&server).await;
    let rates = json!({ "strict_mode_config": { "enabled": true, "read_rate_limit": 3, "write_rate_limit": 2 } });
    assert_eq!(server.send(Method::PATCH, "/collections/c", Some(rates)).await.0, StatusCode::OK);
    let count = || async {
        let request = server.client.post(server.url("/collections/c/points/count")).header("api-key", KEY);
        request.json(&json!({})).send().await.expect("an answer")
    };
    for _ in 0..3 {
        assert_eq!(count().await.status(), StatusCode::OK);
    }
    let refused = count().await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = refused.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=20).contains(&seconds), "{seconds}");
    assert!(refused.text().await.expect("a body").contains("Rate limiting exceeded: Read rate limit exceeded"));

    let delete = |points: Value| server.post("/collections/c/points/delete?wait=true", json!({ "points": points }));
    let (status, answer) = delete(json!([1, 2, 3])).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.to_string().contains("please try to split your request"), "{answer}");
    assert_eq!(delete(json!([1, 2])).await.0, StatusCode::OK);
    assert_eq!(delete(json!([3])).await.0, StatusCode::TOO_MANY_REQUESTS);

    let off = json!({ "strict_mode_config": { "enabled": false } });
    assert_eq!(server.send(Method::PATCH, "/collections/c", Some(off)).await.0, StatusCode::OK);
    assert_eq!(server.count("c").await, 10);
}
