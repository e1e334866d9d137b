//! "Did you mean": the known word that is most similar to an unknown one.

/// The candidate most similar to `word`, if any is similar enough to suggest.
#[must_use]
pub fn similar(word: &str, candidates: impl IntoIterator<Item = String>) -> Option<String> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, &candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, candidate)| candidate)
}
