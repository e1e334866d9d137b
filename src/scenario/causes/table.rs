//! The vocabulary of causes: `suites/causes/*.toml`. `suites/README.md` documents its keys.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Regex, RegexSet};
use serde::Deserialize;

use super::effect::Effect;
use crate::spec::Target;

/// The files, in the order in which their causes are tried: the most specific cause comes first.
const FILES: [&str; 7] = [
    include_str!("../../../suites/causes/start.toml"),
    include_str!("../../../suites/causes/redis.toml"),
    include_str!("../../../suites/causes/postgres.toml"),
    include_str!("../../../suites/causes/qdrant.toml"),
    include_str!("../../../suites/causes/embeddings.toml"),
    include_str!("../../../suites/causes/process.toml"),
    include_str!("../../../suites/causes/jobs.toml"),
];

/// Something that is computed from the observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Sign {
    /// A worker ended without being told to.
    Died,
    /// A worker exited with code 0 without being told to.
    Exited,
    /// A worker was killed by a signal that the scenario did not send.
    Killed,
    /// A worker was sent SIGTERM before it took jobs, and did not exit with code 0.
    StoppedDuringStart,
    /// A worker without open jobs did not end after SIGTERM, while every service was there.
    HangsOnClose,
    /// The same while a service was broken.
    HangsWithoutService,
    /// Jobs waited at the end, none was active, and the worker was running.
    Idle,
    /// Jobs were active at the end.
    Stuck,
    /// An older job of a document ended after the newest one had begun, and something else is stored than the newest one makes
    /// of the document.
    OlderJobWon,
    /// A job completed, but its document has no points.
    DoneWithoutPoints,
    /// Jobs of lost documents failed permanently after several attempts, the last of them while a service was broken.
    AttemptsUsedUp,
    /// Jobs of lost documents failed permanently at the first attempt, while a service was broken.
    FailedAtFirstAttempt,
    /// Jobs of lost documents failed with the same error in a run without faults.
    JobsFailAlike,
    /// Documents whose job was executed more than once are stored more than once.
    StoredTwice,
    /// Jobs stalled while their worker was running, nothing was broken, and the worker did nothing.
    StalledWhileRunning,
    /// The rows or the table that the contract names do not exist.
    RowsUnreadable,
    /// The row of a document whose job failed permanently has a status that is neither done nor failed.
    RowLeftBehind,
    /// Requests without a valid key.
    KeyRefused,
    /// Requests whose JSON has half of a surrogate pair, and lost documents with characters that need a pair.
    CharacterSplit,
    /// Vectors are all zero, or a quarter of the configured size.
    VectorsDecodedWrongly,
    /// Within whole requests, each text has the vector of another text of the request.
    VectorsPairedByPosition,
    /// Texts have vectors of others of their request, and a response was defective.
    ResponseUnchecked,
    /// Texts have vectors of texts that were sent in other requests.
    VectorsOfOtherRequests,
    /// The vectors are those of the texts with spaces instead of newlines.
    NewlinesReplaced,
    /// The vectors are those of longer texts that contain the stored ones.
    TextExtended,
    /// The vectors are those of the texts without a task.
    TaskMissing,
    /// The vectors are those of the texts for another task.
    TaskWrong,
    /// The same request was repeated before its Retry-After.
    RetryAfterIgnored,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    cause: Vec<Row>,
}

/// One cause. It applies if every condition that it names is met.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// Its name.
    pub(super) id: String,
    /// What must have been computed.
    #[serde(default)]
    pub(super) sign: Option<Sign>,
    /// What must not have been computed.
    #[serde(default)]
    pub(super) unless_sign: Option<Sign>,
    /// A regular expression that a line of a worker's output, or the reason of a failed job, matches. What its first named
    /// group matches is the subject.
    #[serde(default)]
    pub(super) output: Option<String>,
    /// A regular expression that one of the lines after that one matches.
    #[serde(default)]
    pub(super) then: Option<String>,
    /// Services of which at least one must have been broken.
    #[serde(default)]
    pub(super) fault_on: Vec<Target>,
    /// Services of which none may have been broken.
    #[serde(default)]
    pub(super) no_fault_on: Vec<Target>,
    /// The cause in a sentence; `{subject}` is replaced.
    pub(super) sentence: String,
    /// What it explains.
    #[serde(default = "failed_jobs")]
    pub(super) explains: Vec<Effect>,
    /// Of documents that are not delivered, only those with one of these outcomes; all if empty.
    #[serde(default)]
    pub(super) outcomes: Vec<String>,
    /// Whether it explains what it explains for all documents, and not only for those it was seen with.
    #[serde(default)]
    pub(super) whole_run: bool,
    pub(super) remedy: String,
    pub(super) source: String,
    /// The remedy for libraries, by their name in the manifest.
    #[serde(default)]
    pub(super) libraries: BTreeMap<String, String>,
}

/// What follows from a failed job.
fn failed_jobs() -> Vec<Effect> {
    vec![Effect::Delivery, Effect::Content, Effect::Attempts]
}

/// The vocabulary with its compiled expressions.
pub(super) struct Vocabulary {
    pub(super) rows: Vec<Row>,
    /// The expression `output` of each row.
    output: Vec<Option<Regex>>,
    /// The expression `then` of each row.
    then: Vec<Option<Regex>>,
    /// All expressions `output`, to read each line once.
    all: RegexSet,
    /// The row of each expression of `all`.
    row_of: Vec<usize>,
}

/// The built-in vocabulary. A test checks that the files are valid.
pub(super) static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| {
    let tables = FILES.iter().filter_map(|text| toml::from_str::<Table>(text).ok());
    Vocabulary::new(tables.flat_map(|table| table.cause).collect())
});

impl Vocabulary {
    fn new(rows: Vec<Row>) -> Self {
        let compile = |pattern: &Option<String>| pattern.as_deref().and_then(|pattern| Regex::new(pattern).ok());
        let output: Vec<Option<Regex>> = rows.iter().map(|row| compile(&row.output)).collect();
        let then = rows.iter().map(|row| compile(&row.then)).collect();
        let valid = output.iter().enumerate().filter_map(|(row, regex)| Some((row, regex.as_ref()?)));
        let (row_of, patterns): (Vec<usize>, Vec<&str>) = valid.map(|(row, regex)| (row, regex.as_str())).unzip();
        let all = RegexSet::new(&patterns).unwrap_or_else(|_| RegexSet::empty());
        Self { rows, output, then, all, row_of }
    }

    /// The rows whose `output` matches `line`, each with its subject.
    pub(super) fn matching(&self, line: &str) -> Vec<(usize, Option<String>)> {
        let rows = self.all.matches(line).into_iter().filter_map(|place| self.row_of.get(place).copied());
        rows.map(|row| (row, self.subject(row, line))).collect()
    }

    /// What the first named group of the row's `output` that takes part in the match of `line` matches.
    fn subject(&self, row: usize, line: &str) -> Option<String> {
        let regex = self.output.get(row)?.as_ref()?;
        let found = regex.captures(line)?;
        regex.capture_names().flatten().find_map(|name| Some(found.name(name)?.as_str().to_owned()))
    }

    /// Whether the row's `output` matches `text`.
    pub(super) fn is_output_of(&self, row: usize, text: &str) -> bool {
        self.output.get(row).and_then(Option::as_ref).is_some_and(|regex| regex.is_match(text))
    }

    /// Whether the row has no `then`, or one of `lines` matches it.
    pub(super) fn continues<'a>(&self, row: usize, mut lines: impl Iterator<Item = &'a str>) -> bool {
        self.then.get(row).and_then(Option::as_ref).is_none_or(|regex| lines.any(|line| regex.is_match(line)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_has_a_condition_and_valid_expressions_and_its_own_name() {
        let mut names = BTreeSet::new();
        let rows = FILES.iter().flat_map(|text| toml::from_str::<Table>(text).unwrap().cause);
        for row in rows {
            assert!(row.output.is_some() || row.sign.is_some(), "{} has no condition", row.id);
            assert!(row.then.is_none() || row.output.is_some(), "{} continues nothing", row.id);
            assert!(!row.explains.is_empty(), "{} explains nothing", row.id);
            for pattern in row.output.iter().chain(&row.then) {
                Regex::new(pattern).unwrap();
            }
            let has_subject = row.sign.is_some() || row.output.as_ref().is_some_and(|output| output.contains("(?<"));
            assert!(has_subject || !row.sentence.contains("{subject}"), "{} has no subject", row.id);
            assert!(row.outcomes.iter().all(|outcome| ["lost", "corrupted", "duplicated"].contains(&outcome.as_str())));
            assert!(names.insert(row.id.clone()), "{} is there twice", row.id);
        }
        assert_eq!(VOCABULARY.rows.len(), names.len());
        assert_eq!(VOCABULARY.all.len(), VOCABULARY.output.iter().flatten().count());
    }

    #[test]
    fn the_subject_is_what_the_first_group_that_matches_says() {
        let found = |line: &str| {
            let rows = VOCABULARY.matching(line).into_iter();
            rows.map(|(row, subject)| (VOCABULARY.rows[row].id.clone(), subject)).collect::<Vec<_>>()
        };
        let one = |id: &str, subject: &str| vec![(id.to_owned(), Some(subject.to_owned()))];
        for (line, id, subject) in [
            ("Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'pg' imported from /w/a.js", "module-missing", "pg"),
            ("Error: Cannot find module '@scope/x'", "module-missing", "@scope/x"),
            ("ModuleNotFoundError: No module named 'langchain_qdrant'", "module-missing", "langchain_qdrant"),
            ("python3: can't open file '/w/worker.py': [Errno 2] No such file", "file-missing", "/w/worker.py"),
            ("error: column \"hash\" of relation \"documents\" does not exist", "column-missing", "hash"),
            ("column d.hash does not exist", "column-missing", "d.hash"),
            ("Could not find the 'hash' column of 'documents' in the schema cache", "column-missing", "hash"),
            ("relation \"public.documents\" does not exist", "table-missing", "public.documents"),
            ("Wrong input: Vector dimension error: expected dim: 1024, got 256", "qdrant-vector-size", "1024, got 256"),
        ] {
            assert_eq!(found(line), one(id, subject), "{line}");
        }
    }

    #[test]
    fn lines_that_only_resemble_a_cause_match_none() {
        for line in [
            "loading module 'pg'",
            "documents: 3 columns, hash does not exist in the cache",
            "column count does not match",
            "relation between chunks does not matter",
            "connected to redis, NOAUTHORITY",
            "401 Unauthorized",
            "reading file '/w/worker.py'",
            "{\"level\":\"error\",\"msg\":\"no answer\"}",
            "upserted 12 points, expected dimensions 1024",
        ] {
            assert_eq!(VOCABULARY.matching(line), [], "{line}");
        }
    }
}
