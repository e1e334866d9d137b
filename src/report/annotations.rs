//! Annotations of GitHub Actions for cases that do not pass: `::error` for those that make the exit code nonzero,
//! `::warning` for the rest.
//!
//! Format and escapes: <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>.

use std::io::{self, Write};

use super::plain;
use crate::outcome::{Level, Report, Word};

/// Writes one line for each case that fails, warns or is unknown, the worst first: GitHub shows ten of each kind per step.
pub fn render(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let report = &plain(report);
    for wanted in [Word::Fail, Word::Unknown, Word::Warn] {
        for case in report.cases.iter().filter(|case| case.verdict.word() == wanted) {
            let grave = match wanted {
                Word::Fail => true,
                Word::Unknown => case.level == Level::Must,
                _ => report.gate.strict,
            };
            // With a baseline, only cases that got worse fail the job.
            let grave =
                grave
                    && report.gate.comparison.as_ref().is_none_or(|comparison| {
                        comparison.worse.contains(&case.id) || comparison.new.contains(&case.id)
                    });
            let kind = if grave { "error" } else { "warning" };
            let reason = case.verdict.reason().unwrap_or_default();
            let title = format!("{} {}: {}", wanted, case.id, case.title);
            let text = format!("{reason}\nremedy: {}", case.remedy);
            writeln!(out, "::{kind} title={}::{}", property(&title), data(&text))?;
        }
    }
    Ok(())
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
    use crate::outcome::testing::report;

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
    fn with_a_baseline_a_known_failure_is_a_warning() {
        let mut report = report(&[("a", Word::Fail), ("b", Word::Fail)]);
        report.gate.comparison = Some(Comparison { worse: vec!["b".to_owned()], ..Comparison::default() });
        let lines = lines(&report);
        assert!(lines[0].starts_with("::warning title=fail a") && lines[1].starts_with("::error title=fail b"));
    }
}
