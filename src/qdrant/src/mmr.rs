//! Results diversified by MMR for sparse vectors: the engine supports dense ones only.
//!
//! Source of the rule: maximal marginal relevance. The nearest point comes first; each next one has the best `lambda *
//! relevance - (1 - lambda) * (greatest similarity to those chosen)`.

use qdrant_edge::{Mmr, ScoredPoint, SparseVector, VectorInternal};

use super::query::pick;

/// The best `limit` of `candidates`, which carry their vectors and are sorted best first.
pub(super) fn select(candidates: Vec<ScoredPoint>, mmr: &Mmr, limit: usize) -> Vec<ScoredPoint> {
    let mut rest: Vec<(SparseVector, ScoredPoint)> = candidates
        .into_iter()
        .filter_map(|mut point| match point.vector.take().and_then(|vectors| pick(vectors, &mmr.using)) {
            Some(VectorInternal::Sparse(vector)) => Some((vector, point)),
            _ => None,
        })
        .collect();
    let lambda = mmr.lambda.into_inner();
    let mut chosen: Vec<(SparseVector, ScoredPoint)> = Vec::with_capacity(limit.min(rest.len()));
    while chosen.len() < limit && !rest.is_empty() {
        let worth = |(vector, point): &(SparseVector, ScoredPoint)| {
            let closest = chosen
                .iter()
                .map(|(other, _)| dot(vector, other))
                .fold(None, |best: Option<f32>, next| Some(best.map_or(next, |best| best.max(next))));
            match closest {
                None => point.score,
                Some(closest) => lambda * point.score - (1.0 - lambda) * closest,
            }
        };
        let best = rest
            .iter()
            .map(worth)
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best });
        chosen.push(rest.remove(best.0));
    }
    chosen.into_iter().map(|(_, point)| point).collect()
}

/// Both have their indices in ascending order.
fn dot(left: &SparseVector, right: &SparseVector) -> f32 {
    let (mut sum, mut i, mut j) = (0.0, 0, 0);
    while let (Some(a), Some(b)) = (left.indices.get(i), right.indices.get(j)) {
        match a.cmp(b) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                sum += left.values[i] * right.values[j];
                i += 1;
                j += 1;
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use qdrant_edge::VectorStructInternal;

    fn point(id: u64, score: f32, values: [f32; 2]) -> ScoredPoint {
        let vector = SparseVector { indices: vec![1, 2], values: values.to_vec() };
        let vectors = [("s".to_owned(), VectorInternal::Sparse(vector))].into();
        ScoredPoint {
            id: id.into(),
            version: 0,
            score,
            payload: None,
            vector: Some(VectorStructInternal::Named(vectors)),
            shard_key: None,
            order_value: None,
        }
    }

    fn order(lambda: f32) -> Vec<String> {
        let candidates = vec![point(1, 1.0, [1.0, 0.0]), point(2, 0.99, [0.99, 0.1]), point(3, 0.2, [0.2, 0.9])];
        let vector = VectorInternal::Sparse(SparseVector { indices: vec![1], values: vec![1.0] });
        let mmr = Mmr { vector, using: "s".to_owned(), lambda: lambda.into(), candidates_limit: 3 };
        select(candidates, &mmr, 2).into_iter().map(|point| point.id.to_string()).collect()
    }

    #[test]
    fn pure_relevance_keeps_the_order_and_pure_diversity_picks_dissimilar_points() {
        assert_eq!(order(1.0), ["1", "2"]);
        assert_eq!(order(0.0), ["1", "3"]);
    }
}
