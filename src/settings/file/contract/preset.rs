//! Presets: what follows from a library alone, as TOML beneath the keys of the file.

use toml::Spanned;

use super::super::reader::Reader;
use super::written::WrittenPreset;
use crate::settings::suggest::similar;

/// The presets by name.
const PRESETS: [(&str, &str); 5] = [
    ("langchain-js", include_str!("../../presets/langchain-js.toml")),
    ("langchain-py", include_str!("../../presets/langchain-py.toml")),
    ("llama-index-ts", include_str!("../../presets/llama-index-ts.toml")),
    ("llama-index-py", include_str!("../../presets/llama-index-py.toml")),
    ("nestjs", include_str!("../../presets/nestjs.toml")),
];

impl Reader<'_> {
    /// The preset of this name; reports an unknown one.
    pub(super) fn preset(&mut self, name: &Spanned<String>) -> Option<WrittenPreset> {
        let names = PRESETS.map(|(name, _)| name);
        let Some((_, text)) = PRESETS.iter().find(|(known, _)| known == name.get_ref()) else {
            let remedy = similar(name.get_ref(), names.map(str::to_owned)).map_or_else(
                || format!("use one of: {}", names.join(", ")),
                |suggestion| format!("did you mean `{suggestion}`?"),
            );
            self.report(name.span(), format!("unknown preset `{}`", name.get_ref()), remedy);
            return None;
        };
        // A test reads every preset.
        toml::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    fn every_preset_can_be_read(#[values(0, 1, 2, 3, 4)] number: usize) {
        let (name, text) = PRESETS[number];
        let preset: Result<WrittenPreset, _> = toml::from_str(text);
        assert!(preset.is_ok(), "{name}: {:?}", preset.err());
    }
}
