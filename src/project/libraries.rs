//! What calls and packages of well-known libraries mean: `libraries.toml`.

use std::sync::LazyLock;

use serde::Deserialize;

/// The table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Libraries {
    pub(super) splitter: Vec<SplitterEntry>,
    pub(super) store: Vec<StoreEntry>,
    pub(super) embeddings: Vec<EmbeddingsEntry>,
    pub(super) package: Vec<PackageEntry>,
}

/// The unit of a splitter's sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Characters.
    Characters,
    /// Tokens.
    Tokens,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SplitterEntry {
    pub(super) calls: Vec<String>,
    pub(super) unit: Unit,
    pub(super) size: Vec<String>,
    pub(super) overlap: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoreEntry {
    pub(super) calls: Vec<String>,
    pub(super) collection: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EmbeddingsEntry {
    pub(super) calls: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PackageEntry {
    pub(super) name: String,
    pub(super) preset: String,
}

/// The table.
pub(super) fn libraries() -> &'static Libraries {
    static LIBRARIES: LazyLock<Libraries> = LazyLock::new(|| read().unwrap_or_default());
    &LIBRARIES
}

fn read() -> Result<Libraries, toml::de::Error> {
    toml::from_str(include_str!("libraries.toml"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_of_libraries_can_be_read() {
        assert_eq!(super::read().err(), None);
    }
}
