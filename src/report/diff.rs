//! The comparison of two reports, for a terminal, as Markdown, as HTML and as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Value, json};

use super::html::{Page, page, took};
use crate::outcome::{CaseRecord, Comparison, Report, RunVerdict, Word};

const TEMPLATE: &str = include_str!("templates/diff.html.j2");

/// A case is slower if it took at least this many times as long, and at least this many milliseconds longer.
const SLOWER_TIMES: u64 = 2;
const SLOWER_MS: u64 = 1000;

/// A format of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffFormat {
    /// Text for a terminal.
    Terminal,
    /// For job summaries and pull requests.
    Markdown,
    /// A page for a browser.
    Html,
    /// For programs.
    Json,
}

impl DiffFormat {
    const ALL: [(&'static str, Self); 4] =
        [("terminal", Self::Terminal), ("markdown", Self::Markdown), ("html", Self::Html), ("json", Self::Json)];
}

impl FromStr for DiffFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, format)| *format).ok_or_else(|| {
            let known = Self::ALL.map(|(name, _)| name).join(", ");
            format!("unknown format `{text}`: expected one of {known}")
        })
    }
}

/// One of the two reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// The run's id.
    pub run: String,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Its verdict.
    pub verdict: RunVerdict,
    /// How many cases it has.
    pub cases: usize,
    /// The version of shakedown that wrote it.
    pub shakedown: String,
}

/// A case with another verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The case's id.
    pub id: String,
    /// Its requirement in one line.
    pub title: String,
    /// Its verdict in the earlier report, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<Word>,
    /// Its verdict in the later report, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is: Option<Word>,
    /// The reason of the later verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A case that takes longer; times in milliseconds for one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slower {
    /// The case's id.
    pub id: String,
    /// Its requirement in one line.
    pub title: String,
    /// The earlier time.
    pub was_ms: u64,
    /// The later time.
    pub is_ms: u64,
}

/// The differences between two reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diff {
    /// The version of shakedown that made the comparison.
    pub shakedown: &'static str,
    /// The earlier report.
    pub before: Side,
    /// The later one.
    pub after: Side,
    /// Why the comparison is limited: other suites, another profile, other cases.
    pub notes: Vec<String>,
    /// Cases whose verdict is worse; also cases that passed and are now skipped.
    pub worse: Vec<Change>,
    /// Cases without an earlier verdict that do not pass.
    pub new: Vec<Change>,
    /// Cases that pass now and did not before.
    pub fixed: Vec<Change>,
    /// Cases that are only in the earlier report.
    pub gone: Vec<Change>,
    /// Cases that take at least twice as long and at least a second longer.
    pub slower: Vec<Slower>,
}

impl Diff {
    /// Compares `after` with `before`, by the rule of `--baseline`.
    #[must_use]
    pub fn between(before: &Report, after: &Report) -> Self {
        let comparison = Comparison::between(before, after);
        let (old, now) = (by_id(before), by_id(after));
        let changes = |ids: &[String]| -> Vec<Change> {
            let change = |id: &String| {
                let (was, is) = (old.get(id.as_str()), now.get(id.as_str()));
                Some(Change {
                    id: id.clone(),
                    title: is.or(was)?.title.clone(),
                    was: was.map(|case| case.verdict.word()),
                    is: is.map(|case| case.verdict.word()),
                    reason: is.and_then(|case| case.verdict.reason()).map(ToOwned::to_owned),
                })
            };
            ids.iter().filter_map(change).collect()
        };
        Self {
            shakedown: env!("CARGO_PKG_VERSION"),
            before: side(before),
            after: side(after),
            notes: notes(before, after),
            worse: changes(&comparison.worse),
            new: changes(&comparison.new),
            fixed: changes(&comparison.fixed),
            gone: changes(&comparison.gone),
            slower: after.cases.iter().filter_map(|case| slower(old.get(case.id.as_str())?, case)).collect(),
        }
    }

    /// Whether no case is worse or newly failing.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.worse.is_empty() && self.new.is_empty()
    }

    /// The comparison in one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        let counts: Vec<String> = self
            .groups()
            .iter()
            .filter(|group| !group.changes.is_empty())
            .map(|group| format!("{} {}", group.changes.len(), group.name))
            .collect();
        let counts = if counts.is_empty() { "nothing changed".to_owned() } else { counts.join(", ") };
        format!("run {} against run {}: {counts}", self.after.run, self.before.run)
    }

    fn groups(&self) -> [Group; 5] {
        let changes = |changes: &[Change]| -> Vec<Value> { changes.iter().map(|change| json!(change)).collect() };
        let slower = self.slower.iter().map(|case| {
            let times = format!("{} → {}", took(case.was_ms), took(case.is_ms));
            json!({ "id": case.id, "title": case.title, "times": times })
        });
        let group = |name, means, changes| Group { name, means, changes };
        [
            group("worse", "The verdict is worse than before.", changes(&self.worse)),
            group("new", "No verdict before, and not passed now.", changes(&self.new)),
            group("fixed", "Passes now, and did not before.", changes(&self.fixed)),
            group("gone", "Not in the later report.", changes(&self.gone)),
            group("slower", "At least twice as long, and at least a second longer.", slower.collect()),
        ]
    }
}

/// The cases of one kind of change.
#[derive(Serialize)]
struct Group {
    name: &'static str,
    means: &'static str,
    changes: Vec<Value>,
}

fn by_id(report: &Report) -> BTreeMap<&str, &CaseRecord> {
    report.cases.iter().map(|case| (case.id.as_str(), case)).collect()
}

fn side(report: &Report) -> Side {
    Side {
        run: report.run.clone(),
        started_at: report.started_at.clone(),
        duration_ms: report.duration_ms,
        verdict: report.verdict,
        cases: report.cases.len(),
        shakedown: report.shakedown.clone(),
    }
}

/// The differences of the runs themselves.
fn notes(before: &Report, after: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let properties = [
        ("suites", &before.suite_version, &after.suite_version),
        ("profile", &before.profile, &after.profile),
        ("provider", &before.provider, &after.provider),
        ("worker", &before.worker, &after.worker),
    ];
    for (what, was, is) in properties {
        if was != is {
            notes.push(format!("{what}: {was} before, {is} now"));
        }
    }
    let (old, now) = (by_id(before), by_id(after));
    let more = after.cases.iter().filter(|case| !old.contains_key(case.id.as_str()));
    let passed = more.filter(|case| case.verdict.word() == Word::Pass).count();
    if passed > 0 {
        notes.push(format!("new cases that pass: {passed}"));
    }
    let gone = before.cases.iter().filter(|case| !now.contains_key(case.id.as_str())).count();
    if gone > 0 {
        notes.push(format!("cases that are no longer there: {gone}"));
    }
    notes
}

/// The case, if it takes longer. Reports have the time of all attempts together; the time of one is compared.
fn slower(was: &CaseRecord, is: &CaseRecord) -> Option<Slower> {
    if [was, is].iter().any(|case| case.verdict.word() == Word::Skip) {
        return None;
    }
    let one = |case: &CaseRecord| case.duration_ms / u64::try_from(case.attempts.len()).map_or(1, |count| count.max(1));
    let (was_ms, is_ms) = (one(was), one(is));
    let slower = is_ms >= was_ms.saturating_mul(SLOWER_TIMES) && is_ms >= was_ms.saturating_add(SLOWER_MS);
    slower.then(|| Slower { id: is.id.clone(), title: is.title.clone(), was_ms, is_ms })
}

/// Writes `diff` in `format`.
pub fn write(diff: &Diff, format: DiffFormat, out: &mut impl Write) -> io::Result<()> {
    match format {
        DiffFormat::Terminal => terminal(diff, out),
        DiffFormat::Markdown => markdown(diff, out),
        DiffFormat::Html => html(diff, out),
        DiffFormat::Json => {
            serde_json::to_writer_pretty(&mut *out, diff)?;
            writeln!(out)
        }
    }
}

/// The change in words: the two verdicts, or the two times.
fn from_to(change: &Value) -> String {
    if let Some(times) = change["times"].as_str() {
        return times.to_owned();
    }
    [&change["was"], &change["is"]].iter().filter_map(|word| word.as_str()).collect::<Vec<_>>().join(" → ")
}

/// The text on one line.
fn flat(text: &Value) -> String {
    let text = super::printable(text.as_str().unwrap_or_default());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn terminal(diff: &Diff, out: &mut impl Write) -> io::Result<()> {
    for note in &diff.notes {
        writeln!(out, "note: {note}")?;
    }
    for group in diff.groups().into_iter().filter(|group| !group.changes.is_empty()) {
        writeln!(out, "\n{} ({})", group.name, group.changes.len())?;
        for change in &group.changes {
            writeln!(out, "  {:<18} {}  {}", from_to(change), flat(&change["id"]), flat(&change["title"]))?;
            if change["reason"].is_string() {
                writeln!(out, "  {:<18} {}", "", flat(&change["reason"]))?;
            }
        }
    }
    writeln!(out, "\n{}", diff.sentence())
}

fn markdown(diff: &Diff, out: &mut impl Write) -> io::Result<()> {
    use super::markdown::cell;
    writeln!(out, "# {}\n", cell(&diff.sentence()))?;
    for note in &diff.notes {
        writeln!(out, "- {}", cell(note))?;
    }
    for group in diff.groups().into_iter().filter(|group| !group.changes.is_empty()) {
        writeln!(out, "\n## {} {}\n\n{}\n", group.changes.len(), group.name, group.means)?;
        writeln!(out, "| case | change | requirement | found |\n|---|---|---|---|")?;
        for change in &group.changes {
            let [id, title, reason] = ["id", "title", "reason"].map(|key| cell(&flat(&change[key])));
            writeln!(out, "| `{id}` | {} | {title} | {reason} |", from_to(change))?;
        }
    }
    Ok(())
}

fn html(diff: &Diff, out: &mut impl Write) -> io::Result<()> {
    let groups = diff.groups();
    let side = |which: &str, side: &Side| {
        let mut value = json!(side);
        value["which"] = which.into();
        value["took"] = took(side.duration_ms).into();
        value
    };
    let (worse, new) = (diff.worse.len(), diff.new.len());
    let headline = if diff.holds() { "nothing is worse".to_owned() } else { format!("{worse} worse, {new} new") };
    let context = json!({
        "diff": diff,
        "holds": diff.holds(),
        "headline": headline,
        "sentence": diff.sentence(),
        "sides": [side("before", &diff.before), side("now", &diff.after)],
        "groups": groups.iter().filter(|group| !group.changes.is_empty()).collect::<Vec<_>>(),
    });
    page(
        Page { name: "diff.html", template: TEMPLATE, context, lazy: Vec::new(), style: "", script: "", live: false },
        out,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::testing::report;

    fn written(diff: &Diff, format: DiffFormat) -> String {
        let mut out = Vec::new();
        write(diff, format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn ids(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|change| change.id.as_str()).collect()
    }

    #[test]
    fn every_kind_of_change_is_found_and_shown_in_every_format() {
        let mut before = report(&[
            ("a.worse", Word::Pass),
            ("a.fixed", Word::Fail),
            ("a.gone", Word::Pass),
            ("a.slower", Word::Pass),
            ("a.same", Word::Fail),
        ]);
        let mut after = report(&[
            ("a.worse", Word::Fail),
            ("a.fixed", Word::Pass),
            ("a.slower", Word::Pass),
            ("a.same", Word::Fail),
            ("a.new", Word::Warn),
            ("a.more", Word::Pass),
        ]);
        before.cases[3].duration_ms = 900;
        after.cases[2].duration_ms = 2000;
        "staging".clone_into(&mut after.profile);
        let diff = Diff::between(&before, &after);
        assert_eq!(ids(&diff.worse), ["a.worse"]);
        assert_eq!(ids(&diff.fixed), ["a.fixed"]);
        assert_eq!(ids(&diff.new), ["a.new"]);
        assert_eq!(ids(&diff.gone), ["a.gone"]);
        assert_eq!(diff.slower.iter().map(|case| (case.was_ms, case.is_ms)).collect::<Vec<_>>(), [(900, 2000)]);
        assert!(!diff.holds());
        assert!(diff.notes.contains(&"profile: development before, staging now".to_owned()), "{:?}", diff.notes);
        assert!(diff.notes.contains(&"new cases that pass: 1".to_owned()), "{:?}", diff.notes);
        for (_, format) in DiffFormat::ALL {
            let text = written(&diff, format);
            for id in ["a.worse", "a.fixed", "a.new", "a.gone", "a.slower"] {
                assert!(text.contains(id), "{format:?} leaves out {id}: {text}");
            }
            assert!(!text.contains("a.same") && !text.contains("a.more"), "{text}");
        }
        assert!(written(&diff, DiffFormat::Terminal).contains("pass → fail"));
    }

    #[test]
    fn a_report_is_not_otherwise_than_itself() {
        let one = report(&[("a", Word::Fail), ("b", Word::Pass)]);
        let diff = Diff::between(&one, &one);
        assert!(diff.holds() && diff.notes.is_empty());
        assert!(written(&diff, DiffFormat::Terminal).contains("nothing changed"));
        assert!(written(&diff, DiffFormat::Html).contains("nothing is worse"));
    }

    #[rstest::rstest]
    #[case::a_second_more_but_not_twice(4000, 5500, 1, false)]
    #[case::twice_but_not_a_second_more(100, 900, 1, false)]
    #[case::twice_and_a_second_more(1000, 2000, 1, true)]
    #[case::three_attempts_that_took_as_long_each(1000, 3000, 3, false)]
    fn slower_is_twice_as_long_and_a_second_more(
        #[case] was: u64,
        #[case] is: u64,
        #[case] attempts: usize,
        #[case] slower: bool,
    ) {
        let (mut before, mut after) = (report(&[("a", Word::Pass)]), report(&[("a", Word::Pass)]));
        before.cases[0].duration_ms = was;
        after.cases[0].duration_ms = is;
        after.cases[0].attempts = vec![Word::Pass; attempts];
        assert_eq!(!Diff::between(&before, &after).slower.is_empty(), slower);
    }

    #[test]
    fn a_skip_is_never_slower() {
        let (before, mut after) = (report(&[("a", Word::Pass)]), report(&[("a", Word::Skip)]));
        after.cases[0].duration_ms = 99_000;
        assert!(Diff::between(&before, &after).slower.is_empty());
    }
}
