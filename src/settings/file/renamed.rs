//! Keys of `shakedown.toml` that were renamed. An old key is refused with its new name.

/// Old and new name of each renamed key.
const RENAMED: &[(&str, &str)] = &[("patience", "timeout_factor"), ("makes", "creates")];

/// The new name of the key `old`, if it was renamed in a table whose valid keys are `known`.
pub(super) fn new_name(old: &str, known: &[String]) -> Option<&'static str> {
    let (_, new) = RENAMED.iter().find(|(name, new)| *name == old && known.iter().any(|key| key == new))?;
    Some(new)
}
