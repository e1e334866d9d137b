//! Annotations of GitHub Actions for causes, and for cases that do not pass without a known one: `::error` for those that make the exit code nonzero,
//! `::warning` for the rest.
//!
//! Format and escapes: <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>.

use std::io::{self, Write};

use super::plain;
use crate::outcome::{CaseRecord, Level, Report, Word};

/// Writes one line for each cause, then for each case that fails, warns or is unknown and has no cause, the worst first:
/// GitHub shows ten of each kind per step.
pub fn render(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let report = &plain(report);
    for (place, cause) in report.causes.iter().enumerate() {
        let mut its = report.cases.iter().filter(|case| cause.cases.contains(&case.id));
        let kind = if its.any(|case| is_grave(case, report)) { "error" } else { "warning" };
        let noun = if cause.cases.len() == 1 { "case" } else { "cases" };
        let title = format!("cause {} of {} {noun}: {}", place + 1, cause.cases.len(), cause.sentence);
        let mut lines = cause.evidence.clone();
        lines.push(format!("remedy: {}", cause.remedy));
        lines.extend(cause.libraries.iter().map(|library| format!("{}: {}", library.library, library.remedy)));
        lines.push(format!("cases: {}", cause.cases.join(", ")));
        writeln!(out, "::{kind} title={}::{}", property(&title), data(&lines.join("\n")))?;
    }
    for wanted in [Word::Fail, Word::Unknown, Word::Warn] {
        let unexplained = |case: &&CaseRecord| case.verdict.word() == wanted && report.cause_numbers(case).is_empty();
        for case in report.cases.iter().filter(unexplained) {
            let kind = if is_grave(case, report) { "error" } else { "warning" };
            let reason = case.verdict.reason().unwrap_or_default();
            let title = format!("{} {}: {}", wanted, case.id, case.title);
            let text = format!("{reason}\nremedy: {}", case.remedy);
            writeln!(out, "::{kind} title={}::{}", property(&title), data(&text))?;
        }
    }
    Ok(())
}

/// Whether a case makes the exit code nonzero.
fn is_grave(case: &CaseRecord, report: &Report) -> bool {
    let grave = match case.verdict.word() {
        Word::Fail => true,
        Word::Unknown => case.level == Level::Must,
        Word::Warn => report.gate.strict,
        Word::Pass | Word::Skip | Word::Waived => false,
    };
    // With a baseline, only cases that got worse fail the job.
    let comparison = report.gate.comparison.as_ref();
    let is_new =
        comparison.is_none_or(|comparison| comparison.worse.contains(&case.id) || comparison.new.contains(&case.id));
    grave && is_new
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Comparison;
    use crate::outcome::testing::{cause, report};

    fn lines(report: &Report) -> Vec<String> {
        let mut out = Vec::new();
        render(report, &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_failure_is_an_error_a_warning_is_a_warning_and_a_line_break_is_escaped() {
        let mut report = report(&[("a", Word::Warn), ("b", Word::Pass), ("c", Word::Fail), ("d", Word::Unknown)]);
        report.cases[2].title = "50 %, or: less".to_owned();
        assert_eq!(
            lines(&report),
            [
                "::error title=fail c%3A 50 %25%2C or%3A less::because%0Aremedy: remedy",
                "::error title=unknown d%3A a title::because%0Aremedy: remedy",
                "::warning title=warn a%3A a title::because%0Aremedy: remedy",
            ]
        );
        report.gate.strict = true;
        assert!(lines(&report)[2].starts_with("::error"));
    }

    #[test]
    fn a_cause_is_annotated_once_instead_of_its_cases() {
        let mut report = report(&[("a", Word::Warn), ("b", Word::Fail), ("c", Word::Fail), ("d", Word::Fail)]);
        report.causes = vec![cause("slow"), cause("idle")];
        for (place, id) in [(0, "idle"), (1, "slow"), (2, "slow")] {
            report.cases[place].causes = vec![id.to_owned()];
        }
        report.settle(0);
        assert_eq!(
            lines(&report),
            [
                "::error title=cause 1 of 2 cases%3A The worker is slow.::it was slow%0Aremedy: Do not be slow.%0Acases: b, c",
                "::warning title=cause 2 of 1 case%3A The worker is idle.::it was idle%0Aremedy: Do not be idle.%0Acases: a",
                "::error title=fail d%3A a title::because%0Aremedy: remedy",
            ]
        );
    }

    #[test]
    fn with_a_baseline_a_known_failure_is_a_warning() {
        let mut report = report(&[("a", Word::Fail), ("b", Word::Fail)]);
        report.gate.comparison = Some(Comparison { worse: vec!["b".to_owned()], ..Comparison::default() });
        let lines = lines(&report);
        assert!(lines[0].starts_with("::warning title=fail a") && lines[1].starts_with("::error title=fail b"));
    }
}
