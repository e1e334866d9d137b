//! The desired shape of a collection, and how an existing one differs from it.

use serde_json::{Map, Value, json};

use crate::settings::{DesiredCollection, Distance, Quantization};

/// The desired shape of a collection.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    wanted: DesiredCollection,
    size: u32,
}

/// How a collection differs.
#[derive(Debug, Default)]
pub(super) struct ShapeDiff {
    /// Differences that need a new collection.
    pub(super) rebuild: Vec<String>,
    /// Differences that can change in place.
    pub(super) changed: Vec<String>,
    /// The body of the `PATCH` request.
    pub(super) patch: Value,
    /// Differences that stay.
    pub(super) drift: Vec<String>,
}

/// The name of a vector in the old and in the new collection; empty for the unnamed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carry {
    from: String,
    pub(super) to: String,
}

impl Carry {
    /// A point's vectors as the new collection stores them.
    pub(super) fn vector(&self, stored: Value) -> Value {
        let mut vectors = match stored {
            Value::Object(vectors) => vectors,
            unnamed => Map::from_iter([(String::new(), unnamed)]),
        };
        if let Some(vector) = vectors.remove(&self.from) {
            vectors.insert(self.to.clone(), vector);
        }
        // A single unnamed vector is written without a map.
        if vectors.len() == 1
            && let Some(vector) = vectors.remove("")
        {
            return vector;
        }
        vectors.into()
    }
}

impl Shape {
    pub(super) fn new(wanted: &DesiredCollection, dimensions: u32) -> Self {
        Self { wanted: wanted.clone(), size: wanted.size.unwrap_or(dimensions) }
    }

    /// The name of the vector, if it has one.
    pub(super) fn vector(&self) -> Option<&str> {
        self.wanted.vector.as_deref()
    }

    /// Whether its vector is stored with length 1.
    pub(super) fn is_cosine(&self) -> bool {
        self.wanted.distance == Distance::Cosine
    }

    /// Size and distance as text.
    pub(super) fn size_and_distance(&self) -> String {
        format!("{} dimensions with distance {}", self.size, self.wanted.distance.word())
    }

    /// A summary for the plan.
    pub(super) fn summary(&self) -> Vec<String> {
        let Self { wanted, size } = self;
        let mut summary = vec![format!("{size} dimensions"), wanted.distance.word().to_owned()];
        summary.push(format!("hnsw m {}, ef_construct {}", wanted.m, wanted.ef_construct));
        summary.extend(wanted.vector.as_ref().map(|vector| format!("vector {vector}")));
        if let Some(quantization) = wanted.quantization.filter(|kind| *kind != Quantization::None) {
            summary.push(format!("{} quantization", quantization.word()));
        }
        summary
    }

    fn quantization(&self) -> Option<Value> {
        Some(match self.wanted.quantization? {
            Quantization::None => Value::Null,
            Quantization::Scalar => json!({ "scalar": { "type": "int8", "always_ram": true } }),
            Quantization::Binary => json!({ "binary": { "always_ram": true } }),
            Quantization::Product => json!({ "product": { "compression": "x16", "always_ram": true } }),
        })
    }

    /// The body that creates it.
    pub(super) fn body(&self) -> Value {
        let Self { wanted, size } = self;
        let mut vector = json!({ "size": size, "distance": wanted.distance.word() });
        set(&mut vector, "on_disk", wanted.on_disk);
        let mut body = json!({
            "vectors": wanted.vector.as_ref().map_or_else(|| vector.clone(), |name| json!({ name: vector })),
            "hnsw_config": { "m": wanted.m, "ef_construct": wanted.ef_construct },
        });
        set(&mut body, "on_disk_payload", wanted.on_disk_payload);
        set(&mut body, "replication_factor", wanted.replication_factor);
        set(&mut body, "write_consistency_factor", wanted.write_consistency_factor);
        set(&mut body, "shard_number", wanted.shards);
        set(&mut body, "quantization_config", self.quantization().filter(|config| !config.is_null()));
        body
    }

    /// The body that creates it as a replacement of `found`, including settings and vectors that are not described.
    pub(super) fn body_beside(&self, found: &Value) -> Value {
        let mut body = self.body();
        let params = &found["config"]["params"];
        let own = self.wanted.vector.as_deref();
        let from = self.carry(found).map(|carry| carry.from);
        if let (Some(_), Some(others)) =
            (own, params["vectors"].as_object().filter(|_| params["vectors"]["size"].is_null()))
        {
            for (name, other) in others {
                if own != Some(name) && from.as_ref() != Some(name) {
                    body["vectors"][name] = other.clone();
                }
            }
        }
        if let Some(sparse) = params["sparse_vectors"].as_object() {
            body["sparse_vectors"] = sparse.clone().into();
        }
        if self.wanted.shards.is_none() {
            set(&mut body, "shard_number", params["shard_number"].as_u64());
        }
        for (key, wanted) in [
            ("replication_factor", self.wanted.replication_factor.is_some()),
            ("write_consistency_factor", self.wanted.write_consistency_factor.is_some()),
            ("on_disk_payload", self.wanted.on_disk_payload.is_some()),
        ] {
            if !wanted && !params[key].is_null() {
                body[key] = params[key].clone();
            }
        }
        let config = &found["config"];
        for (key, from) in [("optimizers_config", "optimizer_config"), ("strict_mode_config", "strict_mode_config")] {
            if !config[from].is_null() {
                body[key] = config[from].clone();
            }
        }
        if self.wanted.quantization.is_none() && !config["quantization_config"].is_null() {
            body["quantization_config"] = config["quantization_config"].clone();
        }
        body
    }

    /// The described vector in `found`: the one of that name, or the unnamed one.
    fn own<'a>(&self, found: &'a Value) -> Option<&'a Value> {
        let vectors = &found["config"]["params"]["vectors"];
        let own = match &self.wanted.vector {
            Some(name) if vectors["size"].is_null() => vectors.get(name)?,
            Some(_) => return None,
            None => vectors,
        };
        own["size"].is_u64().then_some(own)
    }

    /// How points of `found` become points of this shape; `None` if their vectors have another size or the vector is
    /// ambiguous.
    pub(super) fn carry(&self, found: &Value) -> Option<Carry> {
        let to = self.wanted.vector.clone().unwrap_or_default();
        let vectors = found["config"]["params"]["vectors"].as_object()?;
        let fits = |vector: &Value| vector["size"].as_u64() == Some(u64::from(self.size));
        if vectors.get("size").is_some_and(Value::is_u64) {
            return fits(&Value::Object(vectors.clone())).then(|| Carry { from: String::new(), to });
        }
        if let Some(own) = vectors.get(&to) {
            return fits(own).then(|| Carry { from: to.clone(), to });
        }
        let mut all = vectors.iter();
        match (all.next(), all.next()) {
            (Some((only, vector)), None) if fits(vector) => Some(Carry { from: only.clone(), to }),
            _ => None,
        }
    }

    /// How `found` differs.
    pub(super) fn compare(&self, found: &Value) -> ShapeDiff {
        let mut diff = ShapeDiff { patch: json!({}), ..ShapeDiff::default() };
        let Some(own) = self.own(found) else {
            let name = |name: Option<&str>| name.map_or("unnamed".to_owned(), |name| format!("`{name}`"));
            let vectors = &found["config"]["params"]["vectors"];
            let there = match vectors.as_object() {
                Some(vectors) if vectors.contains_key("size") => name(None),
                Some(vectors) if !vectors.is_empty() => {
                    vectors.keys().map(|key| name(Some(key))).collect::<Vec<_>>().join(", ")
                }
                _ => "none".to_owned(),
            };
            diff.rebuild.push(format!("vector: {there} → {}", name(self.wanted.vector.as_deref())));
            return diff;
        };
        let (size, distance) = (own["size"].as_u64().unwrap_or_default(), own["distance"].as_str().unwrap_or_default());
        if size != u64::from(self.size) {
            diff.rebuild.push(format!("vector size: {size} → {}", self.size));
        }
        if distance != self.wanted.distance.word() {
            diff.rebuild.push(format!("distance: {distance} → {}", self.wanted.distance.word()));
        }
        self.compare_graph(&mut diff, found, own);
        self.compare_storage(&mut diff, found, own);
        diff
    }

    fn compare_graph(&self, diff: &mut ShapeDiff, found: &Value, own: &Value) {
        let whole = &found["config"]["hnsw_config"];
        let name = self.wanted.vector.clone().unwrap_or_default();
        for (key, wanted) in [("m", self.wanted.m), ("ef_construct", self.wanted.ef_construct)] {
            // A vector's own setting overrides the collection's.
            let special = own["hnsw_config"][key].as_u64();
            let Some(is) = special.or_else(|| whole[key].as_u64()).filter(|is| *is != u64::from(wanted)) else {
                continue;
            };
            diff.changed.push(format!("hnsw {key}: {is} → {wanted}"));
            if special.is_some() {
                diff.patch["vectors"][&name]["hnsw_config"][key] = wanted.into();
            } else {
                diff.patch["hnsw_config"][key] = wanted.into();
            }
        }
        if let Some(wanted) = self.wanted.quantization {
            let special = &own["quantization_config"];
            let config = if special.is_null() { &found["config"]["quantization_config"] } else { special };
            let is = config.as_object().and_then(|config| config.keys().next()).map_or("none", String::as_str);
            if is != wanted.word() {
                diff.changed.push(format!("quantization: {is} → {}", wanted.word()));
                let config =
                    self.quantization().filter(|config| !config.is_null()).unwrap_or_else(|| "Disabled".into());
                if special.is_null() {
                    diff.patch["quantization_config"] = config;
                } else {
                    diff.patch["vectors"][&name]["quantization_config"] = config;
                }
            }
        }
    }

    fn compare_storage(&self, diff: &mut ShapeDiff, found: &Value, own: &Value) {
        let params = &found["config"]["params"];
        if let Some(wanted) = self.wanted.on_disk
            && own["on_disk"].as_bool().unwrap_or(false) != wanted
        {
            diff.changed.push(format!("vectors on disk: {} → {wanted}", !wanted));
            let name = self.wanted.vector.clone().unwrap_or_default();
            diff.patch["vectors"][&name]["on_disk"] = wanted.into();
        }
        let numbers = [
            ("replication_factor", self.wanted.replication_factor),
            ("write_consistency_factor", self.wanted.write_consistency_factor),
        ];
        let wanted = numbers.map(|(key, wanted)| (key, wanted.map(Value::from)));
        for (key, wanted) in
            wanted.into_iter().chain([("on_disk_payload", self.wanted.on_disk_payload.map(Value::from))])
        {
            if let Some(wanted) = wanted.filter(|wanted| params[key] != *wanted) {
                diff.changed.push(format!("{key}: {} → {wanted}", params[key]));
                diff.patch["params"][key] = wanted;
            }
        }
        if let (Some(wanted), Some(is)) = (self.wanted.shards, params["shard_number"].as_u64())
            && is != u64::from(wanted)
        {
            diff.drift.push(format!("{is} shards instead of {wanted}; the number is fixed at creation"));
        }
    }
}

fn set(body: &mut Value, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body[key] = value.into();
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn shape(vector: Option<&str>) -> Shape {
        let wanted =
            DesiredCollection { vector: vector.map(str::to_owned), ..DesiredCollection::new(4, Distance::Cosine) };
        Shape::new(&wanted, 1024)
    }

    fn found(vectors: &Value) -> Value {
        json!({ "config": { "params": { "vectors": vectors }, "hnsw_config": { "m": 16, "ef_construct": 100 } } })
    }

    #[rstest]
    #[case(None, json!({ "size": 4, "distance": "Cosine" }), &[])]
    #[case(None, json!({ "size": 8, "distance": "Cosine" }), &["vector size: 8 → 4"])]
    #[case(None, json!({ "size": 4, "distance": "Dot" }), &["distance: Dot → Cosine"])]
    #[case(None, json!({ "dense": { "size": 4, "distance": "Cosine" } }), &["vector: `dense` → unnamed"])]
    #[case(Some("dense"), json!({ "size": 4, "distance": "Cosine" }), &["vector: unnamed → `dense`"])]
    #[case(Some("dense"), json!({ "dense": { "size": 4, "distance": "Cosine" } }), &[])]
    #[case(None, json!({}), &["vector: none → unnamed"])]
    fn only_another_collection_has_another_vector(
        #[case] vector: Option<&str>,
        #[case] vectors: Value,
        #[case] wanted: &[&str],
    ) {
        assert_eq!(shape(vector).compare(&found(&vectors)).rebuild, wanted);
    }

    #[rstest]
    #[case(None, json!({ "size": 4, "distance": "Dot" }), json!([1, 2]), Some(json!([1, 2])))]
    #[case(Some("v"), json!({ "size": 4 }), json!([1, 2]), Some(json!({ "v": [1, 2] })))]
    #[case(Some("v"), json!({ "v": { "size": 4 }, "w": { "size": 4 } }), json!({ "v": [1], "w": [2] }), Some(json!({ "v": [1], "w": [2] })))]
    #[case(None, json!({ "only": { "size": 4 } }), json!({ "only": [1] }), Some(json!([1])))]
    #[case(None, json!({ "only": { "size": 4 } }), json!({ "only": [1], "sparse": { "indices": [3] } }), Some(json!({ "": [1], "sparse": { "indices": [3] } })))]
    #[case(None, json!({ "a": { "size": 4 }, "b": { "size": 4 } }), json!({}), None)]
    #[case(None, json!({ "size": 8 }), json!([]), None)]
    fn points_are_copied_where_their_vectors_fit(
        #[case] vector: Option<&str>,
        #[case] vectors: Value,
        #[case] stored: Value,
        #[case] wanted: Option<Value>,
    ) {
        let carry = shape(vector).carry(&found(&vectors));
        assert_eq!(carry.map(|carry| carry.vector(stored)), wanted);
    }

    #[test]
    fn what_a_vector_has_of_its_own_is_changed_there() {
        let own = json!({ "size": 4, "distance": "Cosine", "hnsw_config": { "m": 8 } });
        let diff = shape(None).compare(&found(&own));
        assert_eq!(diff.changed, ["hnsw m: 8 → 16"]);
        assert_eq!(diff.patch, json!({ "vectors": { "": { "hnsw_config": { "m": 16 } } } }));
    }
}
