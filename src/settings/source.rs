//! The input of settings: flags, environment and files.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The raw input of settings; tests construct their own.
#[derive(Clone, Default)]
pub struct Source {
    /// Values of flags, by variable name.
    pub flags: BTreeMap<&'static str, String>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Names of variables whose value is not UTF-8.
    pub not_unicode: Vec<String>,
    /// The `.env` file to read, if any; it need not exist.
    pub dotenv: Option<PathBuf>,
    /// `--config`: overrides `SHAKEDOWN_CONFIG`, and must exist.
    pub config: Option<PathBuf>,
    /// `--profile`: overrides `SHAKEDOWN_PROFILE`.
    pub profile: Option<String>,
    /// `--trust`: the files of the working directory may decide which programs and suites run.
    pub trusted: bool,
    /// Whether the secrets are this process's own, which the redactor of the process must know.
    pub is_process: bool,
}

impl Source {
    /// The environment of this process and `.env` in its working directory.
    #[must_use]
    pub fn process() -> Self {
        let mut source = Self { dotenv: Some(PathBuf::from(".env")), is_process: true, ..Self::default() };
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        for (name, value) in std::env::vars_os() {
            // A name that is not UTF-8 cannot be in the table.
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(source.environment.insert(name, value)),
                Err(_) => source.not_unicode.push(name),
            }
        }
        source
    }

    /// This source for a verb that runs a program of the working directory anyway.
    #[must_use]
    pub fn trusted(mut self) -> Self {
        self.trusted = true;
        self
    }

    /// This source with the value of a flag, if the flag was given.
    #[must_use]
    pub fn flag(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.flags.insert(name, value.to_string());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_environment_is_read() {
        let source = Source::process();
        assert!(source.environment.contains_key("PATH"));
        assert_eq!(source.dotenv.as_deref(), Some(std::path::Path::new(".env")));
    }
}
