//! The worker as a process: its log, its memory, its end.

use std::time::Duration;

use super::{Finding, Scope};

impl Scope<'_> {
    pub(super) fn exits(&self) -> Finding {
        let mut finding = Finding::over("ends");
        finding.look();
        match (&self.observations.died, &self.observations.ended) {
            (Some(how), _) => finding.wrong("the worker", format!("{how} before it was told to end")),
            (None, None) => {
                finding.wrong(
                    "the worker",
                    format!("did not end within {} s of SIGTERM", self.observations.grace.as_secs()),
                );
            }
            (None, Some(ended)) => {
                finding.fact("how it ended", ended.how.clone());
                if ended.code != Some(0) {
                    finding.wrong("the worker", format!("{} after SIGTERM, wanted exit code 0", ended.how));
                }
                if ended.after > self.observations.grace {
                    let (took, grace) = (ended.after.as_secs_f32(), self.observations.grace.as_secs_f32());
                    finding.wrong("the worker", format!("took {took:.1} s to end, and has a grace of {grace:.1} s"));
                }
            }
        }
        for exit in &self.observations.exits {
            finding.look();
            let at = format!("the worker that was told to end after {} ms", exit.signalled.as_millis());
            finding.fact("how one ended that was told to", exit.how.clone());
            if exit.killed {
                finding.wrong(at, exit.how.clone());
            } else if exit.code != Some(0) {
                finding.wrong(at, format!("{} after SIGTERM, wanted exit code 0", exit.how));
            } else if exit.after > exit.grace + Duration::from_millis(500) {
                let (took, grace) = (exit.after.as_secs_f32(), exit.grace.as_secs_f32());
                finding.wrong(at, format!("took {took:.1} s to end, and has a grace of {grace:.1} s"));
            }
        }
        finding
    }

    pub(super) fn taken_after_sigterm(&self) -> Finding {
        let mut finding = Finding::over("workers that were told to end alone");
        for exit in &self.observations.exits {
            let Some(taken) = &exit.taken else { continue };
            finding.look();
            if !taken.is_empty() {
                finding.wrong("the worker", format!("took {} jobs after SIGTERM: {}", taken.len(), taken.join(", ")));
            }
        }
        finding
    }

    pub(super) fn left_active(&self) -> Finding {
        let mut finding = Finding::over("workers that were told to end alone");
        for exit in &self.observations.exits {
            let Some(left) = &exit.left else { continue };
            finding.look();
            if !left.is_empty() {
                finding.wrong(
                    "the worker",
                    format!("{}, and left {} jobs in work: {}", exit.how, left.len(), left.join(", ")),
                );
            }
        }
        finding
    }

    pub(super) fn log_secrets(&self) -> Finding {
        use secrecy::ExposeSecret;
        let mut finding = Finding::over("secrets");
        for (variable, secret) in &self.observations.secrets {
            finding.look();
            if self.observations.log.contains(secret.expose_secret()) {
                finding.wrong("the worker's log", format!("holds the value of {variable}"));
            }
        }
        if self.observations.log.contains(crate::worker::OMISSION_MARK) {
            finding.undecided =
                Some("the worker put out more than is kept, and its middle was not looked at".to_owned());
        }
        finding
    }

    pub(super) fn log_texts(&self) -> Finding {
        let mut finding = Finding::over("texts of documents");
        let log = &self.observations.log;
        for document in self.observations.steps.iter().take(1).flat_map(|step| &step.documents) {
            let Some(excerpts) = excerpts(&document.text) else { continue };
            finding.look();
            if excerpts.iter().any(|excerpt| log.contains(excerpt)) {
                finding.wrong("the worker's log", format!("repeats the text of {}", document.id));
            }
        }
        finding
    }

    pub(super) fn reason_secrets(&self) -> Finding {
        use secrecy::ExposeSecret;
        let mut finding = Finding::over("reasons, return values and errors");
        for step in &self.observations.steps {
            let jobs = step.jobs.iter().flat_map(|(document, (_, job))| {
                [("the failed reason of", &job.failed_reason), ("what is returned by", &job.returnvalue)]
                    .map(|(what, said)| (what, document, said))
            });
            let rows = step.snapshot.rows.iter().map(|(document, row)| ("the row of", document, &row.error));
            for (what, document, said) in jobs.chain(rows) {
                let Some(said) = said else { continue };
                finding.look();
                for (variable, secret) in &self.observations.secrets {
                    if said.contains(secret.expose_secret()) {
                        finding.wrong(format!("{what} {document}"), format!("holds the value of {variable}"));
                    }
                }
            }
        }
        finding
    }

    pub(super) fn log_json(&self) -> Finding {
        let mut finding = Finding::over("lines of log");
        for (number, line) in self.observations.log.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            finding.look();
            if !serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.is_object()) {
                let line: String = line.chars().take(120).collect();
                finding.wrong(format!("line {}", number + 1), format!("is no JSON object: {line}"));
            }
        }
        finding
    }

    pub(super) fn registered(&self) -> Finding {
        let mut finding = Finding::over("workers");
        finding.look();
        let attached = self.observations.attached;
        finding.fact("connections under BullMQ's worker name", attached.registered);
        match (attached.registered, attached.unregistered) {
            (0, 0) => finding.wrong("the queue", "no connection carries BullMQ's worker name"),
            (0, others) => finding.wrong(
                "the queue",
                format!(
                    "{others} connections carry the queue's plain name, which BullMQ's getWorkers does not look for"
                ),
            ),
            _ => {}
        }
        finding
    }

    pub(super) fn memory(&self, most: f64) -> Finding {
        let mut finding = Finding::over("workers");
        match self.observations.peak_memory_mib {
            None => finding.undecided = Some("the worker's memory cannot be read on this system".to_owned()),
            Some(peak) => {
                finding.look();
                finding.fact("peak resident memory, MiB", peak.round());
                if peak > most {
                    finding.wrong(
                        "the worker",
                        format!("{peak:.0} MiB at its peak in one process, wanted at most {most}"),
                    );
                }
            }
        }
        finding
    }
}

/// Characters of a piece of text by which a document is known.
const EXCERPT: usize = 60;

/// Pieces of `text` from its beginning, middle and end, as they are and as JSON has them; none of a text that is too
/// short to be told from anything else.
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
    use super::*;

    #[test]
    fn a_document_is_known_by_its_beginning_middle_and_end() {
        let text = format!("{}\n\"{}", "abcdefghij".repeat(12), "ü".repeat(40));
        let found = excerpts(&text).unwrap();
        assert!(found.iter().any(|piece| piece.contains("j\\n\\\"ü")), "{found:?}");
        assert!(found.iter().any(|piece| text.starts_with(piece.as_str())));
        assert!(found.iter().any(|piece| text.ends_with(piece.as_str())));
        assert_eq!(excerpts("too short"), None);
    }
}
