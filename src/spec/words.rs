//! Scenarios in words, for `shakedown explain`.

use std::fmt;
use std::time::Duration;

use super::{Fault, Scenario, Step, When};

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "when {:.0} % of the jobs have ended", share * 100.0),
            Self::After(time) => write!(f, "after {} ms", time.as_millis()),
            Self::Count(count, milestone, Duration::ZERO) => write!(f, "at {count} {}", milestone.word()),
            Self::Count(count, milestone, later) => {
                write!(f, "{} ms after {count} {}", later.as_millis(), milestone.word())
            }
            Self::Into(time, fault) => write!(f, "{} ms into fault {fault}", time.as_millis()),
        }
    }
}

impl Step {
    /// What the step does, in a few words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Ingest => "enqueue every document",
            Self::Truncate => "enqueue a shorter version of each document",
            Self::Edit => "enqueue a different version of the same length of each document",
            Self::Revise => "enqueue the next revision of each document",
            Self::Empty => "enqueue a version without text of each document",
            Self::Delete => "enqueue the removal of every other document",
            Self::Idle => "enqueue nothing",
        }
    }
}

impl Fault {
    /// When the fault begins, how long it lasts and what it is.
    #[must_use]
    pub fn words(&self) -> String {
        let step = self.step.filter(|step| *step > 1).map_or_else(String::new, |step| format!("in step {step}, "));
        let lasts = match (self.lasts, self.until_step) {
            (None, _) => String::new(),
            (Some(most), Some(step)) => format!(", until the jobs of step {step} have ended, {most} at most"),
            (Some(lasts), None) => format!(", {lasts}"),
        };
        format!("{step}{}{lasts}: {self}", self.at)
    }
}

impl Scenario {
    /// What the scenario does, line by line: the kind of line and its text.
    #[must_use]
    pub fn words(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let count = &self.documents;
        let counts = [
            (count.generated, "generated".to_owned()),
            (count.huge, "of 330 KB".to_owned()),
            (count.tiny, "tiny".to_owned()),
            (count.sized, format!("of {} MB", count.sized_mb)),
            (count.rejected, "that the embeddings API rejects".to_owned()),
            (count.rejected_late, "of 330 KB whose end the embeddings API rejects".to_owned()),
            (count.similar_ids, "with similar ids".to_owned()),
            (count.beginnings.len(), "that are beginnings of one long text".to_owned()),
            (count.rejected_beginnings.len(), "of these, with an end that the embeddings API rejects".to_owned()),
        ];
        let mut documents: Vec<String> =
            counts.iter().filter(|(number, _)| *number > 0).map(|(number, kind)| format!("{number} {kind}")).collect();
        match &count.named {
            Some(named) => documents.push(format!("the built-in ones named {}", named.join(", "))),
            None if documents.is_empty() => documents.push("all built-in ones".to_owned()),
            None => {}
        }
        lines.push(("documents", documents.join(", ")));
        lines.extend(self.otherwise.map(|sized| ("otherwise", format!("{sized}, if the premise is not met"))));
        let begins =
            |step| self.overlap(step).map_or_else(String::new, |at| format!(" {at}, before the others have ended"));
        lines.extend(
            self.steps.iter().enumerate().map(|(at, step)| ("step", format!("{}{}", step.words(), begins(at + 1)))),
        );
        lines.extend(self.workers.map(|workers| ("workers", workers.to_string())));
        lines.extend(self.env.iter().map(|(name, value)| ("variable", format!("{name}={value}"))));
        if !self.jina.is_empty() {
            lines.push(("jina", jina_line(self.jina.len())));
        }
        lines.extend(self.faults.iter().map(|fault| ("fault", fault.words())));
        lines
    }
}

/// How many kinds of abnormal answers the embeddings API gives.
fn jina_line(kinds: usize) -> String {
    if kinds == 1 { "1 kind of abnormal answer".to_owned() } else { format!("{kinds} kinds of abnormal answers") }
}

#[cfg(test)]
mod tests {
    use crate::spec::Suites;

    #[test]
    fn every_built_in_scenario_is_described() {
        for scenario in Suites::builtin().unwrap().scenarios.values() {
            let words = scenario.words();
            assert!(words.iter().any(|(kind, _)| *kind == "step"));
            assert!(words.iter().all(|(_, line)| !line.is_empty()), "{words:?}");
            assert_eq!(words.iter().filter(|(kind, _)| *kind == "fault").count(), scenario.faults.len());
        }
    }
}
