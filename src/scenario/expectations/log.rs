//! Secrets and texts of documents in the worker's log, in reasons and in errors.

use super::super::output::own_lines;
use super::finding::Finding;
use super::scope::Scope;

/// How many wrong lines are examined: a worker may print millions.
const MAX_WRONG_LINES: usize = 10_000;

impl Scope<'_> {
    pub(super) fn log_holds_no_secret(&self) -> Finding {
        use secrecy::ExposeSecret;
        let mut finding = Finding::over("secrets");
        for (variable, secret) in &self.observations.contract.secrets {
            finding.examine();
            if self.observations.workers.log.contains(secret.expose_secret()) {
                finding.wrong("the worker's log", format!("holds the value of {variable}"));
            }
        }
        if self.observations.workers.log.contains(crate::worker::OMISSION_MARK) {
            finding.undecided =
                Some("the worker's output is longer than what is kept, and its middle was not examined".to_owned());
        }
        finding
    }

    pub(super) fn log_is_json(&self) -> Finding {
        let mut finding = Finding::over("lines of the log");
        let workers = &self.observations.workers;
        // Each worker has a start of its own.
        let mut outputs: Vec<&str> = workers.outputs.iter().map(|output| output.text.as_str()).collect();
        if outputs.is_empty() {
            outputs.push(&workers.log);
        }
        for (number, line) in outputs.into_iter().flat_map(own_lines) {
            finding.examine();
            if !serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.is_object()) {
                let line: String = line.chars().take(120).collect();
                finding.wrong(format!("line {number}"), format!("is not a JSON object: {line}"));
                if finding.wrong.len() == MAX_WRONG_LINES {
                    finding.fact("lines after this many wrong ones", "not examined");
                    break;
                }
            }
        }
        finding
    }

    pub(super) fn log_holds_no_text(&self) -> Finding {
        let mut finding = Finding::over("texts of documents");
        let log = &self.observations.workers.log;
        for document in self.observations.steps.iter().take(1).flat_map(|step| &step.documents) {
            let Some(excerpts) = excerpts(&document.text) else { continue };
            finding.examine();
            if excerpts.iter().any(|excerpt| log.contains(excerpt)) {
                finding.wrong("the worker's log", format!("repeats the text of {}", document.id));
            }
        }
        finding
    }

    pub(super) fn reasons_hold_no_secret(&self) -> Finding {
        use secrecy::ExposeSecret;
        let mut finding = Finding::over("reasons, return values and errors");
        for step in &self.observations.steps {
            let jobs = step.jobs.iter().flat_map(|(document, (_, job))| {
                [("the failed reason of", &job.failed_reason), ("the return value of", &job.returnvalue)]
                    .map(|(what, text)| (what, document, text))
            });
            let rows = step.snapshot.rows.iter().map(|(document, row)| ("the row of", document, &row.error));
            for (what, document, text) in jobs.chain(rows) {
                let Some(text) = text else { continue };
                finding.examine();
                for (variable, secret) in &self.observations.contract.secrets {
                    if text.contains(secret.expose_secret()) {
                        finding.wrong(format!("{what} {document}"), format!("holds the value of {variable}"));
                    }
                }
            }
        }
        finding
    }
}

/// Length of an excerpt in characters: long enough to identify a document.
const EXCERPT: usize = 60;

/// Excerpts from the beginning, middle and end of `text`, plain and escaped as in JSON. `None` if the text is too short to
/// be recognised.
fn excerpts(text: &str) -> Option<Vec<String>> {
    let characters: Vec<char> = text.trim().chars().collect();
    let last = characters.len().checked_sub(2 * EXCERPT)? + EXCERPT;
    let mut found = Vec::new();
    for at in [0, last / 2, last] {
        let plain: String = characters[at..at + EXCERPT].iter().collect();
        let escaped = serde_json::Value::from(plain.as_str()).to_string();
        found.push(escaped[1..escaped.len() - 1].to_owned());
        found.push(plain);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{SECRET, TestRun};
    use super::super::testing::check;
    use super::*;

    #[test]
    fn excerpts_are_from_the_beginning_middle_and_end() {
        let text = format!("{}\n\"{}", "abcdefghij".repeat(12), "ü".repeat(40));
        let found = excerpts(&text).unwrap();
        assert!(found.iter().any(|piece| piece.contains("j\\n\\\"ü")), "{found:?}");
        assert!(found.iter().any(|piece| text.starts_with(piece.as_str())));
        assert!(found.iter().any(|piece| text.ends_with(piece.as_str())));
        assert_eq!(excerpts("too short"), None);
    }

    /// A run whose workers printed `line` too.
    fn printed(run: &TestRun, line: &str) -> TestRun {
        run.edit(|seen| seen.workers.log.push_str(line))
    }

    #[test]
    fn the_log_may_hold_no_secret() {
        let run = TestRun::two_documents();
        check("log_holds_no_secret = true")
            .passes(&run)
            .fails(&printed(&run, &format!("connected to {SECRET}")), "the worker's log: holds the value of REDIS_URL")
            .is_unknown(
                &printed(&run, crate::worker::OMISSION_MARK),
                "the worker's output is longer than what is kept, and its middle was not examined",
            );
    }

    #[test]
    fn every_line_of_the_log_must_be_a_json_object() {
        let run = TestRun::two_documents();
        check("log_is_json = true")
            .passes(&run)
            .fails(&printed(&run, "ready"), "line 2: is not a JSON object: ready")
            .is_unknown(&run.edit(|seen| seen.workers.log.clear()), "there were no lines of the log to evaluate");
    }

    #[test]
    fn the_log_may_repeat_no_text_of_a_document() {
        let text = "A sentence that is long enough to be recognised. ".repeat(4);
        let run = TestRun::ingested(&[("a.md", &[&text])]);
        check("log_holds_no_text = true")
            .passes(&run)
            .fails(&printed(&run, &text), "the worker's log: repeats the text of a.md")
            .is_unknown(&TestRun::two_documents(), "there were no texts of documents to evaluate");
    }

    #[test]
    fn no_reason_return_value_or_error_may_hold_a_secret() {
        let run = TestRun::two_documents();
        let reason = |text: &str| run.edit_step(|step| step.job("a.md").failed_reason = Some(text.to_owned()));
        check("reasons_hold_no_secret = true")
            .passes(&reason("no answer"))
            .fails(
                &reason(&format!("no answer from {SECRET}")),
                "the failed reason of a.md: holds the value of REDIS_URL",
            )
            .fails(
                &run.edit_step(|step| step.row("b.md").error = Some(SECRET.to_owned())),
                "the row of b.md: holds the value of REDIS_URL",
            )
            .is_unknown(&run, "there were no reasons, return values and errors to evaluate");
    }
}
