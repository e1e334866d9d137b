//! Cases and scenarios in words, for people who want to know what would be done before it is done.

use std::fmt;
use std::time::Duration;

use super::{Expectation, Fault, Probe, Scenario, Step, When};

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

impl fmt::Display for Expectation {
    /// The name with its spaces, and what it is given: `recovered within s 30`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{self:?}");
        let (name, given) = text.split_once('(').map_or((text.as_str(), None), |(name, rest)| (name, Some(rest)));
        for (place, letter) in name.chars().enumerate() {
            if letter.is_uppercase() && place > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{}", letter.to_lowercase())?;
        }
        match (self, given) {
            (Self::ChunkTokens(range) | Self::OverlapTokens(range) | Self::Stalls(range), _) => write!(f, " {range}"),
            (Self::MaxConnections(target, most) | Self::MaxConnectionsMade(target, most), _) => {
                write!(f, " to {}: at most {most}", target.word())
            }
            (_, Some(given)) => write!(f, " {}", given.trim_end_matches(')').trim_end_matches(".0")),
            (_, None) => Ok(()),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(probe) => {
                write!(f, "Redis: {}", probe.command.join(" "))?;
                probe.field.iter().try_for_each(|field| write!(f, ", its field {field}"))
            }
            Self::Sql(probe) if probe.keeps_session => {
                f.write_str("Postgres: several sessions, each with a few transactions")
            }
            Self::Sql(probe) => write!(f, "Postgres: {}", probe.query.split_whitespace().collect::<Vec<_>>().join(" ")),
            Self::Http(probe) => {
                let method = probe.method.as_deref().unwrap_or("GET");
                write!(f, "{}: {method} {}", probe.service, probe.path)
            }
            Self::Env(probe) => write!(f, "the setting {}", probe.variable),
            Self::Consistency(probe) => write!(f, "the settings, compared with each other: {:?}", probe.rule),
            Self::Queue(probe) => write!(f, "a private queue: {:?}", probe.canary),
            Self::QueueState(probe) => write!(f, "the queue as it is: {:?}", probe.yields),
            Self::Search(probe) => write!(f, "searches for 16 stored vectors: {:?}", probe.yields),
            Self::Migrations(probe) => write!(f, "migrations of the directory and of the database: {:?}", probe.yields),
            Self::Jina(probe) => write!(f, "a call of the embeddings API: {:?}", probe.yields),
            Self::Interop(probe) => {
                let names: Vec<&str> = probe.jobs.iter().map(|job| job.name.as_str()).collect();
                write!(f, "jobs of each of BullMQ's libraries for each of the others: {}", names.join(", "))
            }
            Self::Tcp(probe) => write!(f, "a connection to {}: {:?}", probe.address, probe.yields),
            Self::Dns(probe) => write!(f, "the name {}: {:?}", probe.host, probe.yields),
            Self::Tls(probe) => write!(f, "the certificate of {}: {:?}", probe.address, probe.yields),
            Self::Command(probe) => {
                let command = probe.command.join(" ");
                write!(
                    f,
                    "the program `{}`: {:?}",
                    command.split_whitespace().collect::<Vec<_>>().join(" "),
                    probe.yields
                )
            }
            Self::Ingestion(probe) => {
                write!(f, "ingest a tiny document on names of its own, within {} s", probe.within_s)
            }
            Self::Setup(probe) => write!(f, "`shakedown setup`, run {} times: {:?}", probe.times, probe.yields),
        }
    }
}

impl Step {
    /// What is done, in a few words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Ingest => "hand over every document",
            Self::Truncate => "hand over a shorter version of each",
            Self::Edit => "hand over versions that are as long and say something else",
            Self::Empty => "hand over a version of each that has no text",
            Self::Delete => "remove every other document",
            Self::Idle => "hand over nothing",
        }
    }
}

impl Fault {
    /// When, for how long and what.
    #[must_use]
    pub fn words(&self) -> String {
        let step = self.step.filter(|step| *step > 1).map_or_else(String::new, |step| format!("in step {step}, "));
        let lasts = self.lasts.as_ref().map_or_else(String::new, |lasts| format!(", for {} ms", lasts.0.as_millis()));
        format!("{step}{}{lasts}: {self}", self.at)
    }
}

impl Scenario {
    /// What is done, line by line: a word for the kind of line, and the line.
    #[must_use]
    pub fn words(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let of = &self.documents;
        let counts = [
            (of.generated, "generated".to_owned()),
            (of.huge, "of 330 KB".to_owned()),
            (of.tiny, "tiny".to_owned()),
            (of.sized, format!("of {} MB", of.sized_mb)),
            (of.rejected, "that the embeddings API rejects".to_owned()),
            (of.rejected_late, "of 330 KB whose end the embeddings API rejects".to_owned()),
            (of.similar_ids, "whose ids are nearly the same".to_owned()),
        ];
        let mut documents: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{count} {kind}")).collect();
        match &of.named {
            Some(named) => documents.push(format!("the built-in ones named {}", named.join(", "))),
            None if documents.is_empty() => documents.push("all built-in ones".to_owned()),
            None => {}
        }
        lines.push(("documents", documents.join(", ")));
        lines.extend(self.steps.iter().map(|step| ("step", step.words().to_owned())));
        lines.extend(self.workers.map(|workers| ("workers", workers.to_string())));
        lines.extend(self.env.iter().map(|(name, value)| ("variable", format!("{name}={value}"))));
        if !self.jina.is_empty() {
            lines.push(("jina", format!("answers otherwise in {} ways", self.jina.len())));
        }
        lines.extend(self.faults.iter().map(|fault| ("fault", fault.words())));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Range, Suites, Target};

    #[test]
    fn demands_are_told_with_what_they_are_given() {
        let range = Range { at_least: Some(1.0), at_most: Some(512.0) };
        for (demand, words) in [
            (Expectation::DocumentsIntact, "documents intact"),
            (Expectation::MaxRecoveryS(30.0), "max recovery s 30"),
            (Expectation::ChunkTokens(range), "chunk tokens 1 to 512"),
            (Expectation::MaxConnections(Target::Redis, 20.0), "max connections to redis: at most 20"),
        ] {
            assert_eq!(demand.to_string(), words);
        }
    }

    #[test]
    fn every_built_in_scenario_can_be_told() {
        for scenario in Suites::builtin().unwrap().scenarios.values() {
            let words = scenario.words();
            assert!(words.iter().any(|(kind, _)| *kind == "step"));
            assert!(words.iter().all(|(_, line)| !line.is_empty()), "{words:?}");
            assert_eq!(words.iter().filter(|(kind, _)| *kind == "fault").count(), scenario.faults.len());
        }
    }
}
