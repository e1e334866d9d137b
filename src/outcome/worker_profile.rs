//! What was learned about a worker before the cases, from a few documents that it ingested.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was learned about a worker. Everything was observed from outside; what could not be observed is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerProfile {
    /// How it cut the document.
    pub chunks: ChunkProfile,
    /// The ids of its points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<IdProfile>,
    /// The most texts in one request to the embeddings API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_texts: Option<usize>,
    /// In how many changes of the collection the document was stored; removals count too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_changes: Option<u64>,
    /// The most jobs that were active at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_jobs: Option<usize>,
    /// How many jobs were enqueued at once when `active_jobs` was counted: it cannot be larger.
    pub enqueued_jobs: usize,
    /// The duration of a job's lock, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_ms: Option<u64>,
    /// The interval of the checks for stalled jobs, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_check_ms: Option<u64>,
    /// Attempts of a job in total, by the contract.
    pub attempts: u32,
    /// How it asked for embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<EmbeddingProfile>,
    /// How it ended after SIGTERM, or because no jobs waited, such as `exited with code 0`; absent if it had to be killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<String>,
    /// The time from SIGTERM to its end, in milliseconds; absent if it got none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_ms: Option<u64>,
}

/// How a worker cut a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChunkProfile {
    /// The number of points of the document.
    pub count: usize,
    /// Characters of the longest chunk; absent if the contract names no field with the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_characters: Option<usize>,
    /// Tokens (`cl100k_base`) of the longest chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_tokens: Option<usize>,
    /// Characters of the longest overlap of two consecutive chunks; absent if their order is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_characters: Option<usize>,
    /// Tokens of the longest overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_tokens: Option<usize>,
}

/// The ids of points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdProfile {
    /// Their kind.
    pub kind: IdKind,
    /// Whether a second ingestion of the same document gave the same ids; absent if it was not observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<bool>,
}

/// The two kinds of ids that Qdrant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdKind {
    /// UUIDs.
    Uuid,
    /// Unsigned integers.
    Integer,
}

/// How a worker asks the embeddings API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmbeddingProfile {
    /// `task`, if it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// `embedding_type`, if it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_type: Option<String>,
    /// Whether the texts had no newline although the document has.
    pub newlines_replaced: bool,
    /// Whether texts that are too long may be cut silently.
    pub truncate: bool,
    /// Whether all texts of a request are embedded as one text.
    pub late_chunking: bool,
}

/// Milliseconds as seconds, such as `30 s` or `0.5 s`.
#[expect(clippy::cast_precision_loss, reason = "hours in milliseconds are exact")]
fn seconds(ms: u64) -> String {
    format!("{} s", (ms as f64 / 1000.0 * 10.0).round() / 10.0)
}

impl WorkerProfile {
    /// The profile in plain words: a topic and a sentence for each line.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("chunks", self.chunks.sentence())];
        if let Some(ids) = &self.ids {
            lines.push(("point ids", ids.sentence().to_owned()));
        }
        lines.push(("batches", self.batches()));
        lines.push(("queue", self.queue()));
        if let Some(embeddings) = &self.embeddings {
            lines.push(("embeddings", embeddings.sentence()));
        }
        lines.push(("SIGTERM", self.end()));
        lines.retain(|(_, sentence)| !sentence.is_empty());
        lines
    }

    /// Its texts that come from the worker.
    pub(super) fn texts_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let requests =
            self.embeddings.iter_mut().flat_map(|requests| [&mut requests.task, &mut requests.embedding_type]);
        requests.flatten().chain(&mut self.exit)
    }

    fn batches(&self) -> String {
        let texts = self.most_texts.map(|most| format!("at most {most} texts in one request"));
        let changes = self.point_changes.filter(|changes| *changes > 0).map(|changes| {
            let noun = if changes == 1 { "change" } else { "changes" };
            format!("{} points stored in {changes} {noun} of the collection", self.chunks.count)
        });
        texts.into_iter().chain(changes).collect::<Vec<_>>().join("; ")
    }

    fn queue(&self) -> String {
        let active = self.active_jobs.filter(|active| *active > 0).map(|active| match active {
            active if active >= self.enqueued_jobs => format!("at least {active} jobs at once"),
            1 => "one job at a time".to_owned(),
            active => format!("{active} jobs at once"),
        });
        let lock = self.lock_ms.map(|ms| format!("locks of {}", seconds(ms)));
        let check = self.stalled_check_ms.map(|ms| format!("a check for stalled jobs every {}", seconds(ms)));
        let noun = if self.attempts == 1 { "attempt" } else { "attempts" };
        let attempts = format!("{} {noun} for each job", self.attempts);
        active.into_iter().chain(lock).chain(check).chain([attempts]).collect::<Vec<_>>().join("; ")
    }

    fn end(&self) -> String {
        match (&self.exit, self.exit_ms) {
            (Some(exit), Some(ms)) => format!("{exit} after {}", seconds(ms)),
            (Some(exit), None) => format!("{exit} when no jobs waited"),
            (None, _) => "did not end in time, and was killed".to_owned(),
        }
    }
}

impl ChunkProfile {
    fn sentence(&self) -> String {
        let mut text = format!("{} of the trial document", self.count);
        if let (Some(tokens), Some(characters)) = (self.most_tokens, self.most_characters) {
            text += &format!(", at most {tokens} tokens or {characters} characters long");
        }
        match (self.overlap_tokens, self.overlap_characters) {
            (Some(0), _) => text += ", without overlap",
            (Some(tokens), Some(characters)) => {
                text += &format!(", overlapping by at most {tokens} tokens or {characters} characters");
            }
            _ => {}
        }
        text
    }
}

impl IdProfile {
    const fn sentence(&self) -> &'static str {
        match (self.kind, self.stable) {
            (IdKind::Uuid, Some(true)) => "UUIDs, the same after a second ingestion",
            (IdKind::Uuid, Some(false)) => "UUIDs, other ones after a second ingestion",
            (IdKind::Uuid, None) => "UUIDs",
            (IdKind::Integer, Some(true)) => "integers, the same after a second ingestion",
            (IdKind::Integer, Some(false)) => "integers, other ones after a second ingestion",
            (IdKind::Integer, None) => "integers",
        }
    }
}

impl EmbeddingProfile {
    fn sentence(&self) -> String {
        let mut parts = vec![self.task.as_ref().map_or_else(|| "no task".to_owned(), |task| format!("task {task}"))];
        if let Some(kind) = &self.embedding_type {
            parts.push(format!("vectors as {kind}"));
        }
        if self.newlines_replaced {
            parts.push("newlines replaced".to_owned());
        }
        if self.truncate {
            parts.push("texts that are too long may be cut".to_owned());
        }
        if self.late_chunking {
            parts.push("late chunking".to_owned());
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(profile: &WorkerProfile) -> String {
        profile.lines().iter().map(|(topic, sentence)| format!("{topic}: {sentence}\n")).collect()
    }

    #[test]
    fn a_profile_is_said_in_plain_words() {
        let profile = WorkerProfile {
            chunks: ChunkProfile {
                count: 13,
                most_characters: Some(1000),
                most_tokens: Some(210),
                overlap_characters: Some(200),
                overlap_tokens: Some(40),
            },
            ids: Some(IdProfile { kind: IdKind::Uuid, stable: Some(false) }),
            most_texts: Some(13),
            point_changes: Some(1),
            active_jobs: Some(8),
            enqueued_jobs: 8,
            lock_ms: Some(30_000),
            stalled_check_ms: Some(500),
            attempts: 5,
            embeddings: Some(EmbeddingProfile { newlines_replaced: true, ..EmbeddingProfile::default() }),
            exit: Some("exited with code 0".to_owned()),
            exit_ms: Some(120),
        };
        let wanted = "chunks: 13 of the trial document, at most 210 tokens or 1000 characters long, overlapping by at most \
                      40 tokens or 200 characters\n\
                      point ids: UUIDs, other ones after a second ingestion\n\
                      batches: at most 13 texts in one request; 13 points stored in 1 change of the collection\n\
                      queue: at least 8 jobs at once; locks of 30 s; a check for stalled jobs every 0.5 s; 5 attempts for \
                      each job\n\
                      embeddings: no task, newlines replaced\n\
                      SIGTERM: exited with code 0 after 0.1 s\n";
        assert_eq!(text(&profile), wanted);
    }

    #[test]
    fn what_was_not_observed_is_not_said() {
        let profile = WorkerProfile { attempts: 1, ..WorkerProfile::default() };
        let wanted = "chunks: 0 of the trial document\nqueue: 1 attempt for each job\n\
                      SIGTERM: did not end in time, and was killed\n";
        assert_eq!(text(&profile), wanted);
    }
}
