//! From a case as written to a case that can be run.

use std::path::Path;

use globset::{Glob, GlobSet, GlobSetBuilder};
use toml::Spanned;

use super::lines::Lines;
use super::read_only;
use super::references::References;
use super::written::{CaseWritten, ScenarioSource};
use super::{Case, Check, Expect, Expectation, Matcher, Need, Place, SpecError, SuiteWritten, Verb};

/// One file while it is resolved.
pub(super) struct Reader<'a> {
    file: &'a Path,
    pub(super) text: &'a str,
    lines: Lines<'a>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, lines: Lines::new(text) }
    }

    /// The place of byte `offset`.
    pub(super) fn place_of_byte(&self, offset: usize) -> Place {
        self.lines.place(self.file, offset)
    }

    pub(super) fn place<T>(&self, at: &Spanned<T>) -> Place {
        self.place_of_byte(at.span().start)
    }

    pub(super) fn error<T>(&self, at: &Spanned<T>, message: impl Into<String>) -> SpecError {
        SpecError::Malformed { place: self.place(at), message: message.into() }
    }

    /// Resolves a case of `suite`; what it refers to is added to `references`.
    pub(super) fn case(
        &self,
        suite: &SuiteWritten,
        written: &CaseWritten,
        references: &mut References,
    ) -> Result<Case, SpecError> {
        self.check_texts(suite, written)?;
        let id = written.id.get_ref().clone();
        let mut requires = Vec::new();
        for name in suite.requires.iter().chain(&written.requires) {
            if *name.get_ref() != id && !requires.contains(name.get_ref()) {
                references.required_cases.push((self.place(name), name.get_ref().clone()));
                requires.push(name.get_ref().clone());
            }
        }
        let check = self.check(written, references)?;
        let documents_matching =
            written.documents_matching.as_deref().map(|globs| self.globs(&written.id, globs)).transpose()?;
        if documents_matching.is_some() && matches!(check, Check::Probe(..)) {
            return Err(self.error(
                &written.id,
                format!("`documents_matching` of `{id}` selects documents, and a probe has none; remove it"),
            ));
        }
        if !written.premise.is_empty() && matches!(check, Check::Probe(..)) {
            return Err(self.error(
                &written.id,
                format!("`premise` of `{id}` is about a scenario run, and a probe has none; remove it"),
            ));
        }
        let verbs = match (&check, written.verbs.as_ref().or(suite.verbs.as_ref())) {
            (Check::Scenario(..), _) => vec![Verb::Run],
            (Check::Probe(..), None) => vec![Verb::Run, Verb::Check],
            (Check::Probe(..), Some(words)) => words.iter().map(|word| self.verb(word)).collect::<Result<_, _>>()?,
        };
        Ok(Case {
            id,
            suite: suite.suite.get_ref().clone(),
            title: written.title.clone(),
            level: written.level,
            why: written.why.trim().to_owned(),
            remedy: written.remedy.trim().to_owned(),
            source: written.source.clone(),
            requires,
            needs: self.needs(written, &check)?,
            verbs,
            spends: written.spends,
            tags: written.tags.clone(),
            documents_matching,
            premises: written.premise.clone(),
            check,
        })
    }

    /// Checks the id, and that the texts which a report prints are not empty.
    fn check_texts(&self, suite: &SuiteWritten, written: &CaseWritten) -> Result<(), SpecError> {
        let (suite, id) = (suite.suite.get_ref(), written.id.get_ref());
        let words = id.strip_prefix(suite.as_str()).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
        if words.is_empty()
            || !words.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        {
            return Err(self.error(
                &written.id,
                format!("invalid case id `{id}`: expected `{suite}.` followed by a-z, 0-9 and dashes"),
            ));
        }
        for (field, text) in
            [("title", &written.title), ("why", &written.why), ("remedy", &written.remedy), ("source", &written.source)]
        {
            if text.trim().is_empty() {
                return Err(
                    self.error(&written.id, format!("`{field}` of `{id}` is empty; the report prints it on a failure"))
                );
            }
        }
        Ok(())
    }

    fn check(&self, written: &CaseWritten, references: &mut References) -> Result<Check, SpecError> {
        match (&written.probe, &written.scenario) {
            (Some(probe), None) if !written.writes => {
                read_only::check_probe(probe.get_ref()).map_err(|reason| {
                    let id = written.id.get_ref();
                    self.error(
                        probe,
                        format!(
                            "`{id}` has no `writes = true`, but {reason}; with it, the case runs only \
                        where it may write: `check --canary`, or a stack that Shakedown starts"
                        ),
                    )
                })?;
                Ok(Check::Probe(Box::new(probe.get_ref().clone()), self.matchers(&written.expect)?))
            }
            (Some(probe), None) => Ok(Check::Probe(Box::new(probe.get_ref().clone()), self.matchers(&written.expect)?)),
            (None, Some(scenario)) => {
                let name = match scenario.get_ref() {
                    ScenarioSource::Own(_) => written.id.get_ref().clone(),
                    ScenarioSource::Named(name) => {
                        references.scenarios.push((self.place(scenario), name.clone()));
                        name.clone()
                    }
                };
                Ok(Check::Scenario(name, self.expectations(&written.expect)?))
            }
            _ => {
                let id = written.id.get_ref();
                Err(self.error(&written.id, format!("`{id}` needs exactly one of `probe` and `scenario`")))
            }
        }
    }

    fn needs(&self, written: &CaseWritten, check: &Check) -> Result<Vec<Need>, SpecError> {
        let mut needs = Vec::new();
        for word in &written.needs {
            let need = Need::ALL.iter().find(|(name, _)| name == word.get_ref()).map(|(_, need)| *need);
            needs.push(need.ok_or_else(|| {
                let known = Need::ALL.map(|(name, _)| name).join(", ");
                self.error(word, format!("unknown capability `{}`: expected one of {known}", word.get_ref()))
            })?);
        }
        if written.writes {
            needs.push(Need::Write);
        }
        if matches!(check, Check::Scenario(..)) {
            needs.extend([Need::Write, Need::Mock, Need::Worker]);
        }
        needs.sort_unstable();
        needs.dedup();
        Ok(needs)
    }

    fn verb(&self, word: &Spanned<String>) -> Result<Verb, SpecError> {
        let verb = Verb::ALL.iter().find(|(name, _)| name == word.get_ref()).map(|(_, verb)| *verb);
        verb.ok_or_else(|| self.error(word, format!("unknown verb `{}`: expected one of run, check", word.get_ref())))
    }

    fn globs<T>(&self, at: &Spanned<T>, globs: &[String]) -> Result<GlobSet, SpecError> {
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            set.add(Glob::new(glob).map_err(|error| self.error(at, format!("invalid glob `{glob}`: {error}")))?);
        }
        set.build().map_err(|error| self.error(at, error.to_string()))
    }

    fn matchers(&self, at: &Spanned<Expect>) -> Result<Vec<Matcher>, SpecError> {
        let Expect { matchers, expectations } = at.get_ref();
        if let Some((key, _)) = expectations.first() {
            return Err(self.error(at, format!("a probe yields one value, and `{key}` needs a scenario")));
        }
        if matchers.is_empty() {
            return Err(
                self.error(at, "`expect` is empty; give e.g. `equals`, `at_least`, `matches` or `answers = true`")
            );
        }
        Ok(matchers.iter().map(|(_, matcher)| matcher.clone()).collect())
    }

    fn expectations(&self, at: &Spanned<Expect>) -> Result<Vec<Expectation>, SpecError> {
        let Expect { matchers, expectations } = at.get_ref();
        if let Some((key, _)) = matchers.first() {
            return Err(self.error(at, format!("`{key}` matches the value of a probe, and this case has a scenario")));
        }
        if expectations.is_empty() {
            return Err(self.error(at, "`expect` is empty; give e.g. `delivered = \"all\"`"));
        }
        Ok(expectations.iter().map(|(_, expectation)| expectation.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rstest::rstest;

    use crate::spec::Suites;

    fn error(checks: &str) -> String {
        let text = format!(
            "suite = \"mine\"\ntitle = \"t\"\n[[case]]\nid = \"mine.one\"\ntitle = \"One\"\nlevel = \"must\"\n{checks}\n\
             why = \"w\"\nremedy = \"r\"\nsource = \"s\"\n"
        );
        Suites::from_texts(&[(PathBuf::from("mine.toml"), text)]).unwrap_err().to_string()
    }

    #[rstest]
    #[case("probe.env.variable = \"A\"\nexpect = { delivered = \"all\" }", "`delivered` needs a scenario")]
    #[case("probe.env.variable = \"A\"\nexpect = { exists = true, unchanged = true }", "`unchanged` needs a scenario")]
    #[case("scenario = {}\nexpect = { delivered = \"all\", at_most = 1 }", "`at_most` matches the value of a probe")]
    #[case("scenario = {}\nexpect = {}", "`expect` is empty")]
    #[case("probe.env.variable = \"A\"\nexpect = {}", "`expect` is empty")]
    #[case("expect = { exists = true }", "exactly one of `probe` and `scenario`")]
    #[case("probe.sql.query = \"delete from a\"\nexpect = { equals = 1 }", "DELETE is not a statement that only reads")]
    #[case("probe.sql = { query = \"select 1\", after = [\"drop table a\"] }\nexpect = { equals = 1 }", "`after` run")]
    #[case("probe.redis.command = [\"SET\", \"a\", \"b\"]\nexpect = { equals = 1 }", "SET may write")]
    #[case(
        "probe.http = { service = \"qdrant\", path = \"/\", method = \"PUT\" }\nexpect = { equals = 1 }",
        "PUT may write"
    )]
    #[case(
        "probe.env.variable = \"A\"\npremise = [\"retried\"]\nexpect = { exists = true }",
        "`premise` of `mine.one` is about a scenario run"
    )]
    #[case("probe.env.variable = \"A\"\nneeds = [\"luck\"]\nexpect = { exists = true }", "unknown capability `luck`")]
    fn an_invalid_case_is_refused_with_its_place(#[case] checks: &str, #[case] message: &str) {
        let error = error(checks);
        assert!(error.contains(message) && error.starts_with("mine.toml:"), "{error}");
    }
}
