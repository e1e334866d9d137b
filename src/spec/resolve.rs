//! From suites as written to cases that can be run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::written::{CaseWritten, ExpectWritten, ScenarioSource};
use super::{Expectation, Matcher, Place, Probe, Range, Scenario, SpecError, SuiteWritten};
use crate::outcome::{CaseRecord, Level, Verdict};

/// Something a case cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The stack may be written to.
    Write,
    /// Services can be restarted.
    Restart,
    /// The embeddings API is the mock, so that requests are seen and vectors are known.
    Mock,
    /// There is a worker to judge.
    Worker,
}

impl Need {
    const ALL: [(&'static str, Self); 4] =
        [("write", Self::Write), ("restart", Self::Restart), ("mock", Self::Mock), ("worker", Self::Worker)];

    /// The word used in suites.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, need)| *need == self).map_or("", |(word, _)| word)
    }
}

/// Who judges a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// `shakedown run`: a stack that may be written to and broken, and a worker.
    Run,
    /// `shakedown check`: an environment that is in use.
    Check,
}

impl Verb {
    const ALL: [(&'static str, Self); 2] = [("run", Self::Run), ("check", Self::Check)];

    /// The word used in suites.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, verb)| *verb == self).map_or("", |(word, _)| word)
    }
}

/// What a case does, and what must then hold.
#[derive(Debug, Clone)]
pub enum Check {
    /// Observe, and match the value.
    Probe(Box<Probe>, Vec<Matcher>),
    /// Judge a scenario, by the name under which [`Suites::scenarios`] has it.
    Scenario(String, Vec<Expectation>),
}

/// One requirement, ready to run.
#[derive(Debug, Clone)]
pub struct Case {
    /// `<suite>.<words>`.
    pub id: String,
    /// The suite's name.
    pub suite: String,
    /// The requirement in one line.
    pub title: String,
    /// How binding it is.
    pub level: Level,
    /// What breaks when it is not met.
    pub why: String,
    /// How to mend it.
    pub remedy: String,
    /// Where it comes from.
    pub source: String,
    /// Ids of the cases that must not have failed before.
    pub requires: Vec<String>,
    /// Capabilities it cannot do without.
    pub needs: Vec<Need>,
    /// Who judges it.
    pub verbs: Vec<Verb>,
    /// Whether it costs money to judge it.
    pub spends: bool,
    /// Free words for choosing it.
    pub tags: Vec<String>,
    /// Judge documents with these names only; absent means all.
    pub documents_matching: Option<GlobSet>,
    /// What to do.
    pub check: Check,
}

impl Case {
    /// Whether it takes minutes, and runs only when asked for.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.has_tag("slow")
    }

    /// Whether it is run only when it, or its suite, is named: it needs what must be installed first.
    #[must_use]
    pub fn is_by_name(&self) -> bool {
        self.has_tag("by-name")
    }

    /// Whether it changes something on the stack to judge it.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.needs.contains(&Need::Write)
    }

    /// Whether it carries this tag.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|other| other == tag)
    }

    /// A record of this case that is yet to be judged.
    #[must_use]
    pub fn record(&self) -> CaseRecord {
        let mut record = CaseRecord {
            id: self.id.clone(),
            suite: self.suite.clone(),
            title: self.title.clone(),
            level: self.level,
            verdict: Verdict::Pass,
            reason: None,
            waived_until: None,
            evidence: Vec::new(),
            why: self.why.clone(),
            remedy: self.remedy.clone(),
            source: self.source.clone(),
            duration_ms: 0,
            attempts: Vec::new(),
            flaky: false,
            scenario: match &self.check {
                Check::Scenario(name, _) => Some(name.clone()),
                Check::Probe(..) => None,
            },
        };
        record.judge(Verdict::unknown("not judged"));
        record
    }
}

/// One suite, resolved.
#[derive(Debug, Clone)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// What it judges.
    pub title: String,
    /// Ids of its cases, in order.
    pub cases: Vec<String>,
}

/// All suites of a run.
#[derive(Debug, Clone)]
pub struct Suites {
    /// The suites in reading order.
    pub suites: Vec<Suite>,
    /// Every case in reading order.
    pub cases: Vec<Arc<Case>>,
    /// Scenarios by name.
    pub scenarios: BTreeMap<String, Scenario>,
    /// Fingerprint of the texts: the first 12 hex digits of their SHA-256.
    pub version: String,
}

/// What suites name, with the place where they do, and the cases that there are.
struct Open {
    required: Vec<(Place, String)>,
    judged: Vec<(Place, String)>,
    seen: BTreeMap<String, Place>,
}

impl Suites {
    /// Reads every `.toml` file of `directory`, in the order of their names.
    pub fn from_directory(directory: &Path) -> Result<Self, SpecError> {
        Self::from_texts(&Self::texts(directory)?)
    }

    /// What is wrong with the suites of `directory`: with each file by itself, or else with all of them together.
    pub fn lint(directory: &Path) -> Result<Vec<SpecError>, SpecError> {
        let texts = Self::texts(directory)?;
        let mut sound = Vec::new();
        let mut wrong = Vec::new();
        for text in &texts {
            // What one requires may be in another: that is looked at when each is sound.
            match Self::from_part(std::slice::from_ref(text)) {
                Ok(_) => sound.push(text.clone()),
                Err(error) => wrong.push(error),
            }
        }
        if wrong.is_empty() {
            wrong.extend(Self::from_texts(&sound).err());
        }
        Ok(wrong)
    }

    /// Every `.toml` file of `directory` with its text, in the order of their names.
    fn texts(directory: &Path) -> Result<Vec<(PathBuf, String)>, SpecError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| SpecError::Unreadable { path, source }
        };
        let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
            .map_err(unreadable(directory))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(unreadable(directory))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        paths.sort();
        if paths.is_empty() {
            return Err(SpecError::NoSuites { path: directory.to_owned() });
        }
        paths
            .into_iter()
            .map(|path| std::fs::read_to_string(&path).map_err(unreadable(&path)).map(|text| (path, text)))
            .collect()
    }

    /// The suites inside the binary.
    pub fn builtin() -> Result<Self, SpecError> {
        let texts: Vec<_> = super::builtin_suites()
            .iter()
            .map(|(name, text)| (PathBuf::from(format!("builtin:{name}")), (*text).to_owned()))
            .collect();
        Self::from_texts(&texts)
    }

    /// Resolves suites from their texts, each with the file it came from.
    pub fn from_texts(texts: &[(PathBuf, String)]) -> Result<Self, SpecError> {
        let (all, open) = Self::from_part(texts)?;
        all.closed(open)
    }

    /// Some of the suites, and what they name that may be in others.
    fn from_part(texts: &[(PathBuf, String)]) -> Result<(Self, Open), SpecError> {
        let mut digest = Sha256::new();
        let mut all =
            Self { suites: Vec::new(), cases: Vec::new(), scenarios: BTreeMap::new(), version: String::new() };
        let mut required: Vec<(Place, String)> = Vec::new();
        let mut judged: Vec<(Place, String)> = Vec::new();
        let mut seen: BTreeMap<String, Place> = BTreeMap::new();
        for (file, text) in texts {
            digest.update(text.as_bytes());
            let reader = Reader { file, text };
            let written: SuiteWritten = toml::from_str(text).map_err(|error| SpecError::Malformed {
                place: Place::at(file, text, error.span().map_or(0, |span| span.start)),
                message: error.message().to_owned(),
            })?;
            let name = written.suite.get_ref().clone();
            if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                || name.is_empty()
            {
                return Err(reader.error(&written.suite, "a suite's name is made of a-z, 0-9 and dashes"));
            }
            if all.suites.iter().any(|suite| suite.name == name) {
                return Err(reader.error(&written.suite, format!("there is already a suite `{name}`; rename one")));
            }
            for (scenario_name, scenario) in &written.scenario {
                let scenario = Scenario::resolve(scenario, &written.defaults, scenario_name)
                    .map_err(|what| reader.error(&written.suite, format!("scenario `{scenario_name}`: {what}")))?;
                if all.add_scenario(scenario_name, scenario) {
                    return Err(reader
                        .error(&written.suite, format!("there is already a scenario `{scenario_name}`; rename one")));
                }
            }
            let mut suite = Suite { name: name.clone(), title: written.title.clone(), cases: Vec::new() };
            for case in &written.case {
                if let Some(source) = &case.scenario
                    && let ScenarioSource::Own(own) = source.get_ref()
                {
                    let scenario = Scenario::resolve(own, &written.defaults, &case.title)
                        .map_err(|what| reader.error(source, what))?;
                    // A case's id has a dot, so no other scenario has this name; a double id is told below.
                    all.add_scenario(case.id.get_ref(), scenario);
                }
                let case = reader.case(&name, &written, case, &mut required, &mut judged)?;
                let place = seen.get(&case.id).cloned();
                if let Some(first) = place {
                    let written_case = written.case.iter().rfind(|other| *other.id.get_ref() == case.id);
                    let place = written_case.map_or_else(|| first.clone(), |other| reader.place(&other.id));
                    return Err(SpecError::Malformed {
                        place,
                        message: format!(
                            "there is already a case `{}` at {first}; ids are unique among all suites",
                            case.id
                        ),
                    });
                }
                if let Some(written_case) = written.case.iter().find(|other| *other.id.get_ref() == case.id) {
                    seen.insert(case.id.clone(), reader.place(&written_case.id));
                }
                suite.cases.push(case.id.clone());
                all.cases.push(Arc::new(case));
            }
            all.suites.push(suite);
        }
        all.version = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Ok((all, Open { required, judged, seen }))
    }

    /// The same suites, when everything that they name is there.
    fn closed(self, open: Open) -> Result<Self, SpecError> {
        let Open { required, judged, seen } = open;
        for (place, id) in required {
            if !seen.contains_key(&id) {
                let message = format!(
                    "`requires` names `{id}`, which no suite has{}",
                    meant(&id, seen.keys().map(String::as_str))
                );
                return Err(SpecError::Malformed { place, message });
            }
        }
        for (place, name) in judged {
            if !self.scenarios.contains_key(&name) {
                let message =
                    format!("there is no scenario `{name}`{}", meant(&name, self.scenarios.keys().map(String::as_str)));
                return Err(SpecError::Malformed { place, message });
            }
        }
        if let Some(id) = self.circle() {
            let place = seen.get(&id).cloned().unwrap_or_else(|| Place { file: PathBuf::new(), line: 1, column: 1 });
            return Err(SpecError::Malformed {
                place,
                message: format!("`{id}` requires itself through its prerequisites"),
            });
        }
        Ok(self)
    }

    /// Adds a scenario, and the baseline one that it is compared with; whether there was one of this name.
    fn add_scenario(&mut self, name: &str, mut scenario: Scenario) -> bool {
        if let Some((baseline, without_faults)) = scenario.without_faults() {
            scenario.baseline = Some(baseline.clone());
            self.scenarios.insert(baseline, without_faults);
        }
        self.scenarios.insert(name.to_owned(), scenario).is_some()
    }

    /// A case that requires itself through others, if there is one: it would wait for ever.
    fn circle(&self) -> Option<String> {
        let mut done: BTreeSet<&str> = BTreeSet::new();
        loop {
            let before = done.len();
            for case in &self.cases {
                if case.requires.iter().all(|id| done.contains(id.as_str())) {
                    done.insert(&case.id);
                }
            }
            if done.len() == before {
                return self.cases.iter().find(|case| !done.contains(case.id.as_str())).map(|case| case.id.clone());
            }
        }
    }

    /// The case with this id.
    #[must_use]
    pub fn case(&self, id: &str) -> Option<&Arc<Case>> {
        self.cases.iter().find(|case| case.id == id)
    }
}

/// `; did you mean …?` when something known is close enough to `word`, else nothing.
#[must_use]
pub fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|known| (strsim::jaro_winkler(word, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map_or_else(String::new, |(_, known)| format!("; did you mean `{known}`?"))
}

/// One file while it is resolved.
struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn place<T>(&self, at: &Spanned<T>) -> Place {
        Place::at(self.file, self.text, at.span().start)
    }

    fn error<T>(&self, at: &Spanned<T>, message: impl Into<String>) -> SpecError {
        SpecError::Malformed { place: self.place(at), message: message.into() }
    }

    fn case(
        &self,
        suite: &str,
        of: &SuiteWritten,
        written: &CaseWritten,
        required: &mut Vec<(Place, String)>,
        judged: &mut Vec<(Place, String)>,
    ) -> Result<Case, SpecError> {
        let id = written.id.get_ref().clone();
        let rest = id.strip_prefix(suite).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
        if rest.is_empty()
            || !rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        {
            return Err(
                self.error(&written.id, format!("`{id}` is no case id; write `{suite}.` and then a-z, 0-9 and dashes"))
            );
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
        let mut requires = Vec::new();
        for name in of.requires.iter().chain(&written.requires) {
            if *name.get_ref() != id && !requires.contains(name.get_ref()) {
                required.push((self.place(name), name.get_ref().clone()));
                requires.push(name.get_ref().clone());
            }
        }
        let mut needs = Vec::new();
        for word in &written.needs {
            let need = Need::ALL.iter().find(|(name, _)| name == word.get_ref()).map(|(_, need)| *need);
            needs.push(need.ok_or_else(|| {
                let known = Need::ALL.map(|(name, _)| name).join(", ");
                self.error(word, format!("there is no capability `{}`; there are {known}", word.get_ref()))
            })?);
        }
        if written.writes {
            needs.push(Need::Write);
        }
        let documents_matching =
            written.documents_matching.as_deref().map(|globs| self.globs(&written.id, globs)).transpose()?;
        let check = match (&written.probe, &written.scenario) {
            (Some(probe), None) => {
                if documents_matching.is_some() {
                    return Err(self.error(
                        &written.id,
                        format!("`documents_matching` of `{id}` chooses documents, and a probe has none; remove it"),
                    ));
                }
                Check::Probe(Box::new(probe.get_ref().clone()), self.matchers(&written.expect)?)
            }
            (None, Some(scenario)) => {
                let name = match scenario.get_ref() {
                    ScenarioSource::Own(_) => id.clone(),
                    ScenarioSource::Named(name) => {
                        judged.push((self.place(scenario), name.clone()));
                        name.clone()
                    }
                };
                needs.extend([Need::Write, Need::Mock, Need::Worker]);
                Check::Scenario(name, self.expectations(&written.expect)?)
            }
            _ => {
                return Err(self.error(&written.id, format!("`{id}` needs either `probe` or `scenario`")));
            }
        };
        needs.sort_unstable();
        needs.dedup();
        let verbs = match (&check, written.verbs.as_ref().or(of.verbs.as_ref())) {
            (Check::Scenario(..), _) => vec![Verb::Run],
            (Check::Probe(..), None) => vec![Verb::Run, Verb::Check],
            (Check::Probe(..), Some(words)) => words.iter().map(|word| self.verb(word)).collect::<Result<_, _>>()?,
        };
        Ok(Case {
            id,
            suite: suite.to_owned(),
            title: written.title.clone(),
            level: written.level,
            why: written.why.trim().to_owned(),
            remedy: written.remedy.trim().to_owned(),
            source: written.source.clone(),
            requires,
            needs,
            verbs,
            spends: written.spends,
            tags: written.tags.clone(),
            documents_matching,
            check,
        })
    }

    fn verb(&self, word: &Spanned<String>) -> Result<Verb, SpecError> {
        let verb = Verb::ALL.iter().find(|(name, _)| name == word.get_ref()).map(|(_, verb)| *verb);
        verb.ok_or_else(|| self.error(word, format!("no verb `{}` judges cases; there are run, check", word.get_ref())))
    }

    fn globs<T>(&self, at: &Spanned<T>, globs: &[String]) -> Result<GlobSet, SpecError> {
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            set.add(Glob::new(glob).map_err(|error| self.error(at, format!("`{glob}` is no glob: {error}")))?);
        }
        set.build().map_err(|error| self.error(at, error.to_string()))
    }

    fn matchers(&self, at: &Spanned<ExpectWritten>) -> Result<Vec<Matcher>, SpecError> {
        let expect = at.get_ref();
        if !self.scenario_expectations(at)?.is_empty() {
            return Err(self.error(at, "a probe yields one value, and this expectation is for a scenario"));
        }
        let mut matchers = Vec::new();
        if expect.answers == Some(true) {
            matchers.push(Matcher::Answers);
        }
        if expect.refused == Some(true) {
            matchers.push(Matcher::Refused);
        }
        if expect.or_denied == Some(true) {
            matchers.push(Matcher::OrDenied);
        }
        matchers.extend(expect.equals.clone().map(Matcher::Equals));
        matchers.extend(expect.not_equals.clone().map(Matcher::NotEquals));
        matchers.extend(expect.one_of.clone().map(Matcher::OneOf));
        let regex = |name: &str, text: &str| {
            regex::Regex::new(text).map(Box::new).map_err(|error| self.error(at, format!("`{name}`: {error}")))
        };
        if let Some(text) = &expect.matches {
            matchers.push(Matcher::Matches(regex("matches", text)?));
        }
        if let Some(text) = &expect.not_matches {
            matchers.push(Matcher::NotMatches(regex("not_matches", text)?));
        }
        matchers.extend(expect.contains.clone().map(Matcher::Contains));
        if expect.at_least.is_some() || expect.at_most.is_some() {
            matchers.push(Matcher::Within(Range { at_least: expect.at_least, at_most: expect.at_most }));
        }
        matchers.extend(expect.version_at_least.clone().map(Matcher::VersionAtLeast));
        matchers.extend(expect.empty.map(Matcher::Empty));
        matchers.extend(expect.exists.map(Matcher::Exists));
        if matchers.is_empty() {
            return Err(self.error(
                at,
                "nothing is expected; give for instance `equals`, `at_least`, `matches` or `answers = true`",
            ));
        }
        Ok(matchers)
    }

    fn expectations(&self, at: &Spanned<ExpectWritten>) -> Result<Vec<Expectation>, SpecError> {
        let expectations = self.scenario_expectations(at)?;
        if expectations.is_empty() {
            return Err(self.error(at, "nothing is expected of the scenario; give for instance `delivered = \"all\"`"));
        }
        Ok(expectations)
    }

    /// The expectations among the expectations. `false` would mean "must not hold", which no case wants.
    fn scenario_expectations(&self, at: &Spanned<ExpectWritten>) -> Result<Vec<Expectation>, SpecError> {
        let expect = at.get_ref();
        let mut found = Vec::new();
        let flags = [
            (expect.queue_drained, Expectation::QueueDrained),
            (expect.vectors_match_texts, Expectation::VectorsMatchTexts),
            (expect.reassembled, Expectation::Reassembled),
            (expect.chunks_numbered, Expectation::ChunksNumbered),
            (expect.requests_well_formed, Expectation::RequestsWellFormed),
            (expect.requests_untruncated, Expectation::RequestsUntruncated),
            (expect.late_chunking_apart, Expectation::LateChunkingApart),
            (expect.requests_accepted, Expectation::RequestsAccepted),
            (expect.empty_skipped, Expectation::EmptySkipped),
            (expect.writes_awaited, Expectation::WritesAwaited),
            (expect.rows_agree, Expectation::RowsAgree),
            (expect.payload_complete, Expectation::PayloadComplete),
            (expect.unchanged, Expectation::Unchanged),
            (expect.no_stale_chunks, Expectation::NoStaleChunks),
            (expect.unicode_intact, Expectation::UnicodeIntact),
            (expect.exits_cleanly, Expectation::ExitsCleanly),
            (expect.log_holds_no_secret, Expectation::LogHoldsNoSecret),
            (expect.log_is_json, Expectation::LogIsJson),
            (expect.worker_registered, Expectation::WorkerRegistered),
            (expect.only_rejected_fail, Expectation::OnlyRejectedFail),
            (expect.failed_rows_marked, Expectation::FailedRowsMarked),
            (expect.row_status_matches_job, Expectation::RowStatusMatchesJob),
            (expect.log_holds_no_text, Expectation::LogHoldsNoText),
            (expect.reasons_hold_no_secret, Expectation::ReasonsHoldNoSecret),
            (expect.row_after_points, Expectation::RowAfterPoints),
            (expect.all_or_nothing, Expectation::AllOrNothing),
            (expect.points_never_drop, Expectation::PointsNeverDrop),
            (expect.nothing_completed, Expectation::NothingCompleted),
            (expect.backoff_grows, Expectation::BackoffGrows),
            (expect.backoff_jitters, Expectation::BackoffJitters),
            (expect.retry_after_honoured, Expectation::RetryAfterHonoured),
            (expect.connections_closed, Expectation::ConnectionsClosed),
            (expect.no_job_after_sigterm, Expectation::NoJobAfterSigterm),
            (expect.none_left_active, Expectation::NoneLeftActive),
            (expect.deleted, Expectation::Deleted),
            (expect.other_documents_unchanged, Expectation::OtherDocumentsUnchanged),
            (expect.previous_version_kept, Expectation::PreviousVersionKept),
        ];
        // A lost document is said before what else is wrong.
        found.extend(expect.documents.map(|_| Expectation::DocumentsIntact));
        found.extend(expect.delivered.map(|_| Expectation::Delivered));
        found.extend(expect.jobs_completed.map(|_| Expectation::JobsCompleted));
        for (flag, expectation) in flags {
            match flag {
                Some(true) => found.push(expectation),
                Some(false) => {
                    return Err(self.error(at, "only `true` can be expected here; remove what need not hold"));
                }
                None => {}
            }
        }
        found.extend(expect.max_recovery_s.map(Expectation::MaxRecoveryS));
        found.extend(expect.max_attempts.map(Expectation::MaxAttempts));
        found.extend(expect.max_duplicates.map(Expectation::MaxDuplicates));
        found.extend(expect.chunk_tokens.map(Expectation::ChunkTokens));
        found.extend(expect.overlap_tokens.map(Expectation::OverlapTokens));
        found.extend(expect.max_texts_per_request.map(Expectation::MaxTextsPerRequest));
        found.extend(expect.batches_filled.map(Expectation::BatchesFilled));
        found.extend(expect.max_requests_in_flight.map(Expectation::MaxRequestsInFlight));
        found.extend(expect.max_tokens_wasted.map(Expectation::MaxTokensWasted));
        found.extend(expect.max_memory_mib.map(Expectation::MaxMemoryMib));
        found.extend(expect.max_return_bytes.map(Expectation::MaxReturnBytes));
        found.extend(expect.max_notes_bytes.map(Expectation::MaxNotesBytes));
        found.extend(expect.max_idle_transaction_ms.map(Expectation::MaxIdleTransactionMs));
        found.extend(expect.max_executions.map(Expectation::MaxExecutions));
        found.extend(expect.stalls.map(Expectation::Stalls));
        found.extend(expect.max_calls_per_s.map(Expectation::MaxCallsPerS));
        found.extend(expect.max_probes_per_s.map(Expectation::MaxProbesPerS));
        let at_once = expect.max_connections.iter().flatten();
        found.extend(at_once.map(|(target, most)| Expectation::MaxConnections(*target, *most)));
        let made = expect.max_connections_made.iter().flatten();
        found.extend(made.map(|(target, most)| Expectation::MaxConnectionsMade(*target, *most)));
        Ok(found)
    }
}
