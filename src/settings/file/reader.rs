//! The state of reading `shakedown.toml`: where the text is, and which problems were found in it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use crate::redaction::carries_secret;
use crate::settings::error::{Place, Problem};
use crate::settings::table::{Entry, Kind, Secrecy};
use crate::settings::template::Template;

use crate::spec::parse_duration;

/// The file that is read, with the problems found so far.
pub(super) struct Reader<'a> {
    /// Path of the file, as the user named it.
    pub(super) path: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, problems: Vec::new() }
    }

    /// The problems that were found; empty if the file is valid.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    pub(super) fn place(&self, span: Range<usize>) -> Place {
        Place::from_span(self.path, self.text, span)
    }

    /// Notes a problem at its place, once: `[desired]` is read once for each profile that inherits it.
    pub(super) fn report(&mut self, span: Range<usize>, problem: impl Into<String>, remedy: impl Into<String>) {
        let (place, problem) = (self.place(span), problem.into());
        let is_same = |other: &Problem| matches!(other, Problem::At { place: at, problem: what, .. } if *at == place && *what == problem);
        if !self.problems.iter().any(is_same) {
            self.problems.push(Problem::At { place, problem, remedy: Some(remedy.into()) });
        }
    }

    /// The directory of the file.
    pub(super) fn directory(&self) -> PathBuf {
        self.path.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// `directory` joined to the directory of the file, as an absolute path: a process is started in it from anywhere.
    pub(super) fn absolute(&self, directory: &Path) -> PathBuf {
        let joined = Path::new(".").join(self.directory()).join(directory);
        std::path::absolute(&joined).unwrap_or(joined)
    }

    /// The duration in `text`; reports a text that is none. `example` is shown in the remedy.
    pub(super) fn duration(&mut self, text: &Spanned<String>, example: &str) -> Option<Duration> {
        let read = parse_duration(text.get_ref());
        if read.is_none() {
            let problem = format!("invalid duration `{}`", text.get_ref());
            self.report(
                text.span(),
                problem,
                format!("write a number with a unit (ms, s, m or h), e.g. \"{example}\""),
            );
        }
        read
    }

    /// The template in `text`, which may use `places` and, where `env` is true, `{{env.NAME}}`.
    pub(super) fn template(&mut self, text: &str, span: Range<usize>, places: &[&str], env: bool) -> Option<Template> {
        Template::parse(text, places, env)
            .map_err(|error| {
                let also = if env { ", env.NAME" } else { "" };
                self.report(span, error.to_string(), format!("known placeholders: {}{also}", places.join(", ")));
            })
            .ok()
    }

    /// Reports a secret that is written into the file itself.
    pub(super) fn report_secret(&mut self, span: Range<usize>, key: &str, what: &str, instead: &str) {
        self.report(
            span,
            format!("{key} {what}; this file must not contain secrets"),
            format!("write {instead}; rotate the secret if this file was ever shared"),
        );
    }
}

/// Whether `text`, as a value of `entry`, contains a secret.
pub(super) fn contains_secret(entry: &Entry, text: &str) -> bool {
    match entry.secrecy {
        Secrecy::Yes => true,
        Secrecy::Password => carries_secret(text),
        Secrecy::No => matches!(entry.kind, Kind::Url(_)) && text.contains('@') && carries_secret(text),
    }
}
