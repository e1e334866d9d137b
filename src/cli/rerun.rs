//! The command that runs the same suites in the same way again, for the end of a report.

use std::fmt::Display;

use super::Common;

/// A command line that is put together flag by flag.
#[derive(Debug, Clone)]
pub(super) struct Rerun(String);

impl Rerun {
    /// The verb, with the flags that every verb takes.
    pub(super) fn new(verb: &str, common: &Common) -> Self {
        Self(format!("shakedown {verb}"))
            .option("--profile", common.profile.as_ref())
            .option("--config", common.config.as_ref().map(|path| path.display()))
            .switch("--trust", common.trust)
    }

    /// Adds a flag with its value, if there is one.
    pub(super) fn option(mut self, flag: &str, value: Option<impl Display>) -> Self {
        if let Some(value) = value {
            self.0.push_str(&format!(" {flag} {}", quoted(&value.to_string())));
        }
        self
    }

    /// Adds a flag without a value, if it is set.
    pub(super) fn switch(mut self, flag: &str, set: bool) -> Self {
        if set {
            self.0.push_str(&format!(" {flag}"));
        }
        self
    }

    /// The command.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-/:=,@%+".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_kept_and_quoted() {
        let common = Common { profile: Some("staging".to_owned()), config: None, trust: false };
        let rerun = Rerun::new("run", &common)
            .option("--worker", Some("it's mine.toml"))
            .option("--suites", None::<String>)
            .switch("--strict", true)
            .switch("--canary", false);
        assert_eq!(rerun.as_str(), "shakedown run --profile staging --worker 'it'\\''s mine.toml' --strict");
    }
}
