//! Invariants over a voyage, one function each. They say what is wrong with which document, or nothing.

use std::collections::{BTreeMap, BTreeSet};

use globset::GlobSet;
use serde_json::json;

use super::documents::Document;
use super::evidence::Point;
use super::voyage::{JobState, StepRecord, Voyage};
use crate::outcome::{Evidence, Level, Verdict};
use crate::spec::{Invariant, Range};

/// How many faults a verdict names one by one.
const NAMED: usize = 6;

/// Cosine distance up to which a stored vector is the mock's: Qdrant normalises and stores f32.
const VECTOR_TOLERANCE: f64 = 1e-4;

/// What an invariant found: how much it looked at, what was wrong, and facts worth showing.
#[derive(Debug, Default)]
struct Finding {
    looked_at: usize,
    of: &'static str,
    wrong: Vec<(String, String)>,
    facts: Vec<Evidence>,
    undecided: Option<String>,
}

impl Finding {
    fn over(of: &'static str) -> Self {
        Self { of, ..Self::default() }
    }

    fn look(&mut self) {
        self.looked_at += 1;
    }

    fn wrong(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.wrong.push((at.into(), what.into()));
    }

    fn fact(&mut self, what: &str, seen: impl Into<serde_json::Value>) {
        self.facts.push(Evidence::seen(what, seen));
    }
}

/// Judges `invariants` over `voyage`, looking only at documents that `among` matches.
#[must_use]
pub fn judge(
    invariants: &[Invariant],
    voyage: &Voyage,
    among: Option<&GlobSet>,
    level: Level,
) -> (Verdict, Vec<Evidence>) {
    let mut evidence = Vec::new();
    let mut verdict = Verdict::Pass;
    for invariant in invariants {
        let scope = Scope { voyage, among };
        let finding = scope.find(*invariant);
        evidence.push(Evidence::seen(finding.of, finding.looked_at));
        evidence.extend(finding.facts);
        for (at, what) in finding.wrong.iter().take(NAMED) {
            evidence.push(Evidence::seen(at.clone(), what.clone()));
        }
        if finding.wrong.len() > NAMED {
            evidence.push(Evidence::seen("further ones like these", finding.wrong.len() - NAMED));
        }
        let found = if let Some((at, what)) = finding.wrong.first() {
            let more = if finding.wrong.len() > 1 {
                format!(" (and {} more)", finding.wrong.len() - 1)
            } else {
                String::new()
            };
            Verdict::unmet(level, format!("{at}: {what}{more}"))
        } else if let Some(reason) = finding.undecided {
            Verdict::unknown(reason)
        } else if finding.looked_at == 0 {
            // Nothing to look at proves nothing.
            Verdict::unknown(format!("there were no {} to judge", finding.of))
        } else {
            Verdict::Pass
        };
        let graver = |verdict: &Verdict| match verdict {
            Verdict::Pass => 0,
            Verdict::Unknown { .. } => 1,
            _ => 2,
        };
        if graver(&found) > graver(&verdict) {
            verdict = found;
        }
    }
    if !matches!(verdict, Verdict::Pass) {
        if let Some(died) = &voyage.died {
            evidence.push(Evidence::seen("the worker", died.clone()));
        }
        let lines: Vec<&str> = voyage.log.lines().collect();
        evidence.push(Evidence::seen("the worker's last output", lines[lines.len().saturating_sub(3)..].join("\n")));
    }
    (verdict, evidence)
}

/// The part of a voyage that a case judges.
struct Scope<'a> {
    voyage: &'a Voyage,
    among: Option<&'a GlobSet>,
}

impl<'a> Scope<'a> {
    fn find(&self, invariant: Invariant) -> Finding {
        match invariant {
            Invariant::Delivered => self.delivered(),
            Invariant::JobsCompleted => self.jobs_completed(),
            Invariant::QueueDrained => self.queue_drained(),
            Invariant::AttemptsAtMost(most) => self.attempts(most),
            Invariant::DuplicatesAtMost(most) => self.duplicates(most),
            Invariant::VectorsMatchTexts => self.vectors(),
            Invariant::ChunkTokens(range) => self.chunk_tokens(range),
            Invariant::OverlapTokens(range) => self.overlap_tokens(range),
            Invariant::Reassembled => self.reassembled(),
            Invariant::ChunksNumbered => self.numbered(),
            Invariant::TextsPerRequest(most) => self.texts_per_request(most),
            Invariant::BatchesFilled(size) => self.batches_filled(size),
            Invariant::RequestsInFlight(most) => self.in_flight(most),
            Invariant::RequestsWellFormed => self.well_formed(),
            Invariant::RequestsAccepted => self.accepted(),
            Invariant::TokensWasted(most) => self.wasted(most),
            Invariant::EmptySkipped => self.empty_skipped(),
            Invariant::RowsAgree => self.rows_agree(),
            Invariant::PayloadComplete => self.payload(),
            Invariant::Unchanged => self.unchanged(),
            Invariant::NoStaleTail => self.stale_tail(),
            Invariant::UnicodeIntact => self.unicode(),
            Invariant::ExitsCleanly => self.exits(),
            Invariant::LogHoldsNoSecret => self.log_secrets(),
            Invariant::LogIsJson => self.log_json(),
            Invariant::WorkerRegistered => self.registered(),
            Invariant::MemoryMib(most) => self.memory(most),
            Invariant::PoisonIsolated => self.poison(),
        }
    }

    fn chosen(&self, document: &Document) -> bool {
        self.among.is_none_or(|globs| globs.is_match(&document.id))
    }

    /// Documents of the last step that must be delivered, with that step.
    fn good(&self) -> impl Iterator<Item = (&'a StepRecord, &'a Document)> {
        self.last().filter(|(_, document)| document.has_text() && !document.poison)
    }

    fn last(&self) -> impl Iterator<Item = (&'a StepRecord, &'a Document)> {
        let voyage = self.voyage;
        voyage
            .last()
            .into_iter()
            .flat_map(|step| step.documents.iter().map(move |document| (step, document)))
            .filter(|(_, document)| self.chosen(document))
    }

    /// Points of chosen documents after the last step.
    fn points(&self) -> impl Iterator<Item = (&'a str, &'a Point)> {
        let voyage = self.voyage;
        voyage
            .last()
            .into_iter()
            .flat_map(|step| step.snapshot.points.iter())
            .filter(|(document, _)| self.among.is_none_or(|globs| globs.is_match(document.as_str())))
            .flat_map(|(document, points)| points.iter().map(move |point| (document.as_str(), point)))
    }

    fn delivered(&self) -> Finding {
        let mut finding = Finding::over("documents with text");
        for (step, document) in self.good() {
            finding.look();
            let (state, job) = &step.jobs[&document.id];
            let points = step.snapshot.points_of(&document.id).len();
            let row = step.snapshot.rows.get(&document.id);
            let problem = match (state, row) {
                (JobState::Unfinished, _) => Some(format!("lost: its job never ended, attempts {}", job.attempts)),
                (JobState::Missing, _) => Some("lost: its job vanished from Redis".to_owned()),
                (JobState::Failed, _) => {
                    Some(format!("lost: its job failed: {}", job.failed_reason.as_deref().unwrap_or("no reason given")))
                }
                (JobState::Completed, _) if points == 0 => {
                    Some("lost: its job completed and it has no point".to_owned())
                }
                (JobState::Completed, None) => Some("lost: its job completed and it has no row".to_owned()),
                (JobState::Completed, Some(row)) if row.status != "ready" => {
                    Some(format!("its job completed and its row says `{}`", row.status))
                }
                (JobState::Completed, Some(row)) if row.chunks != Some(points as u64) => {
                    Some(format!("{points} points, and the row says {:?} chunks", row.chunks))
                }
                (JobState::Completed, Some(_)) => None,
            };
            if let Some(problem) = problem {
                finding.wrong(&document.id, problem);
            }
        }
        finding
    }

    fn jobs_completed(&self) -> Finding {
        let mut finding = Finding::over("jobs");
        for (step, document) in self.last().filter(|(_, document)| !document.poison) {
            finding.look();
            let (state, job) = &step.jobs[&document.id];
            if *state != JobState::Completed {
                let reason = job.failed_reason.as_deref().unwrap_or("no reason given");
                finding.wrong(&document.id, format!("{state:?}, {} attempts, {reason}", job.attempts));
            }
        }
        finding
    }

    fn queue_drained(&self) -> Finding {
        let mut finding = Finding::over("queues");
        finding.look();
        let counts = &self.voyage.counts;
        if counts.pending() > 0 {
            finding.wrong("the queue", format!("still holds {} jobs: {counts:?}", counts.pending()));
        }
        finding.fact("completed, failed", json!([counts.completed, counts.failed]));
        finding
    }

    fn attempts(&self, most: f64) -> Finding {
        let mut finding = Finding::over("jobs");
        for (step, document) in self.last() {
            finding.look();
            let (_, job) = &step.jobs[&document.id];
            if count(job.attempts) > most {
                let reason = job.failed_reason.as_deref().unwrap_or("no reason given");
                finding.wrong(&document.id, format!("{} attempts, last reason: {reason}", job.attempts));
            }
        }
        finding
    }

    fn duplicates(&self, most: f64) -> Finding {
        let mut finding = Finding::over("points");
        let mut seen: BTreeMap<(&str, Option<u64>), usize> = BTreeMap::new();
        for (document, point) in self.points() {
            finding.look();
            *seen.entry((document, point.chunk)).or_default() += 1;
        }
        let doubles: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
        let extra: usize = doubles.iter().map(|(_, times)| *times - 1).sum();
        finding.fact("duplicates", extra);
        if count(extra as u64) > most {
            for ((document, chunk), times) in doubles {
                let chunk = chunk.map_or_else(|| "without an index".to_owned(), |chunk| chunk.to_string());
                finding.wrong(*document, format!("chunk {chunk} is stored {times} times"));
            }
        }
        finding
    }

    fn vectors(&self) -> Finding {
        let mut finding = Finding::over("vectors");
        let mut worst = 0.0_f64;
        for (document, point) in self.points() {
            finding.look();
            let Some(text) = &point.text else {
                finding.undecided =
                    Some("points carry no text, so no vector can be compared; set `text` in [evidence]".to_owned());
                continue;
            };
            let wanted = self.voyage.mock.vector_for(Some("retrieval.passage"), text);
            let distance = cosine_distance(&wanted, &point.vector);
            worst = worst.max(distance);
            if distance.is_nan() || distance > VECTOR_TOLERANCE {
                let chunk = point.chunk.map_or_else(|| "?".to_owned(), |chunk| chunk.to_string());
                let size = point.vector.len();
                finding.wrong(
                    document,
                    format!("the vector of chunk {chunk} ({size} numbers) is not the one given for its text (cosine distance {distance:.3})"),
                );
            }
        }
        finding.fact("largest cosine distance", format!("{worst:.6}"));
        finding
    }

    fn chunk_tokens(&self, range: Range) -> Finding {
        let mut finding = Finding::over("chunks");
        let (mut least, mut most) = (usize::MAX, 0);
        for (document, point) in self.points() {
            finding.look();
            let Some(text) = &point.text else { continue };
            let tokens = tokens(text);
            least = least.min(tokens);
            most = most.max(tokens);
            if !range.holds(count(tokens as u64)) {
                let chunk = point.chunk.map_or_else(|| "?".to_owned(), |chunk| chunk.to_string());
                finding.wrong(document, format!("chunk {chunk} has {tokens} tokens, wanted {range}"));
            }
        }
        if finding.looked_at > 0 {
            finding.fact("tokens per chunk, least and most", json!([least, most]));
        }
        finding
    }

    fn overlap_tokens(&self, range: Range) -> Finding {
        let mut finding = Finding::over("neighbouring chunks");
        let (mut least, mut most) = (usize::MAX, 0);
        for (step, document) in self.good() {
            let texts = texts(step, document);
            let places = places(&document.text, &texts);
            for (at, pair) in places.windows(2).enumerate() {
                let ([left, right], next) = (pair, at + 1) else { continue };
                if leaves_no_room(&document.text, right.start) {
                    continue;
                }
                finding.look();
                let shared = if right.start < left.end { &document.text[right.start..left.end] } else { "" };
                let tokens = tokens(shared);
                least = least.min(tokens);
                most = most.max(tokens);
                if !range.holds(count(tokens as u64)) {
                    finding
                        .wrong(&document.id, format!("chunks {at} and {next} share {tokens} tokens, wanted {range}"));
                }
            }
        }
        if finding.looked_at > 0 {
            finding.fact("shared tokens, least and most", json!([least, most]));
        }
        finding
    }

    fn reassembled(&self) -> Finding {
        let mut finding = Finding::over("documents");
        for (step, document) in self.good() {
            finding.look();
            if let Err(problem) = reassemble(&document.text, &texts(step, document)) {
                finding.wrong(&document.id, problem);
            }
        }
        finding
    }

    fn numbered(&self) -> Finding {
        let mut finding = Finding::over("documents");
        for (step, document) in self.good() {
            finding.look();
            let numbers: BTreeSet<Option<u64>> =
                step.snapshot.points_of(&document.id).iter().map(|point| point.chunk).collect();
            let wanted: BTreeSet<Option<u64>> = (0..numbers.len() as u64).map(Some).collect();
            if numbers.is_empty() || numbers != wanted {
                let missing: Vec<_> = wanted.difference(&numbers).flatten().collect();
                finding.wrong(&document.id, format!("{} chunk indices, missing {missing:?}", numbers.len()));
            }
        }
        finding
    }

    fn texts_per_request(&self, most: f64) -> Finding {
        let mut finding = Finding::over("requests");
        let mut largest = 0;
        for (number, request) in self.voyage.requests.iter().enumerate() {
            finding.look();
            largest = largest.max(request.texts.len());
            if count(request.texts.len() as u64) > most {
                finding.wrong(
                    format!("request {}", number + 1),
                    format!("{} texts, wanted at most {most}", request.texts.len()),
                );
            }
        }
        finding.fact("most texts in one request", largest);
        finding
    }

    fn batches_filled(&self, size: f64) -> Finding {
        let mut finding = Finding::over("documents");
        for (step, document) in self.good() {
            let texts: BTreeSet<&str> = texts(step, document).into_iter().collect();
            if texts.is_empty() {
                continue;
            }
            finding.look();
            // A request belongs to the document whose chunks it carries; shared texts count for either.
            let requests = self
                .voyage
                .requests
                .iter()
                .filter(|request| request.status == 200)
                .filter(|request| request.texts.iter().all(|text| texts.contains(text.as_str())))
                .count();
            let chunks = step.snapshot.points_of(&document.id).len();
            let enough = (count(chunks as u64) / size).ceil();
            let own: usize = self
                .voyage
                .steps
                .iter()
                .map(|step| {
                    step.jobs.get(&document.id).map_or(0, |(_, job)| usize::try_from(job.attempts).unwrap_or(1).max(1))
                })
                .sum();
            if count(requests as u64) > enough * count(own as u64) && document.text.len() > 20_000 {
                finding.wrong(&document.id, format!("{requests} requests for {chunks} chunks, {enough} would do"));
            }
        }
        finding
    }

    fn in_flight(&self, most: f64) -> Finding {
        let mut finding = Finding::over("requests");
        let mut peak = 0;
        for request in &self.voyage.requests {
            finding.look();
            peak = peak.max(request.in_flight);
        }
        finding.fact("most requests at once", peak);
        if f64::from(peak) > most {
            finding.wrong("the embeddings API", format!("{peak} requests at once, wanted at most {most}"));
        }
        finding
    }

    fn well_formed(&self) -> Finding {
        let mut finding = Finding::over("requests");
        let wanted = &self.voyage.jina;
        for (number, request) in self.voyage.requests.iter().enumerate() {
            finding.look();
            let at = format!("request {}", number + 1);
            if request.task.as_deref() != Some("retrieval.passage") {
                finding.wrong(at.clone(), format!("task is {:?}, wanted retrieval.passage", request.task));
            }
            if request.dimensions != Some(wanted.dimensions) {
                finding.wrong(
                    at.clone(),
                    format!("dimensions are {:?}, wanted {}", request.dimensions, wanted.dimensions),
                );
            }
            if !request.authorised {
                finding.wrong(at, "carries no valid key");
            }
        }
        finding
    }

    fn accepted(&self) -> Finding {
        let mut finding = Finding::over("requests");
        for (number, request) in self.voyage.requests.iter().enumerate() {
            finding.look();
            if request.status != 200 {
                finding.wrong(format!("request {}", number + 1), format!("was answered with {}", request.status));
            }
        }
        finding
    }

    fn wasted(&self, most: f64) -> Finding {
        let mut finding = Finding::over("texts sent");
        let mut owed: BTreeMap<&str, usize> = BTreeMap::new();
        for step in &self.voyage.steps {
            for point in step.snapshot.points.values().flatten() {
                *owed.entry(point.text.as_deref().unwrap_or_default()).or_default() += 1;
            }
        }
        let mut wasted = 0;
        for text in
            self.voyage.requests.iter().filter(|request| request.status == 200).flat_map(|request| request.texts.iter())
        {
            finding.look();
            match owed.get_mut(text.as_str()) {
                Some(left) if *left > 0 => *left -= 1,
                _ => wasted += tokens(text),
            }
        }
        finding.fact("tokens embedded without need", wasted);
        if count(wasted as u64) > most {
            finding.wrong("the embeddings API", format!("{wasted} tokens were embedded that no stored chunk needed"));
        }
        finding
    }

    fn empty_skipped(&self) -> Finding {
        let mut finding = Finding::over("documents without text");
        let sent: BTreeSet<&str> =
            self.voyage.requests.iter().flat_map(|request| request.texts.iter().map(String::as_str)).collect();
        for (step, document) in self.last().filter(|(_, document)| !document.has_text()) {
            finding.look();
            let row = step.snapshot.rows.get(&document.id);
            match row {
                None => finding.wrong(&document.id, "has no row: it was skipped without a word"),
                Some(row) if row.status != "skipped" => {
                    finding.wrong(&document.id, format!("its row says `{}`, wanted `skipped`", row.status));
                }
                Some(_) => {}
            }
            let points = step.snapshot.points_of(&document.id).len();
            if points > 0 {
                finding.wrong(&document.id, format!("has {points} points, and no text"));
            }
            if sent.contains(document.text.as_str()) {
                finding.wrong(&document.id, "was sent to the embeddings API, which rejects empty input");
            }
            if step.jobs[&document.id].0 != JobState::Completed {
                finding.wrong(&document.id, format!("its job ended as {:?}", step.jobs[&document.id].0));
            }
        }
        if self.voyage.requests.iter().any(|request| request.texts.iter().any(|text| text.trim().is_empty())) {
            finding.wrong("the embeddings API", "was sent a text without a letter");
        }
        finding
    }

    fn rows_agree(&self) -> Finding {
        let mut finding = Finding::over("rows");
        for (step, document) in self.good() {
            finding.look();
            let points = step.snapshot.points_of(&document.id);
            match step.snapshot.rows.get(&document.id) {
                None => finding.wrong(&document.id, format!("{} points and no row", points.len())),
                Some(row) => {
                    if row.chunks != Some(points.len() as u64) {
                        finding.wrong(
                            &document.id,
                            format!("the row says {:?} chunks, there are {} points", row.chunks, points.len()),
                        );
                    }
                    if points.iter().any(|point| point.version.is_some() && point.version != row.version) {
                        finding.wrong(&document.id, "points are of another version than the row");
                    }
                }
            }
        }
        let known: BTreeSet<&str> = self
            .voyage
            .last()
            .into_iter()
            .flat_map(|step| step.documents.iter().map(|document| document.id.as_str()))
            .collect();
        for (document, _) in self.points() {
            if !known.contains(document) {
                finding.wrong(format!("`{document}`"), "orphaned: points of a document that was never ingested");
            }
        }
        finding
    }

    fn payload(&self) -> Finding {
        let mut finding = Finding::over("points");
        for (document, point) in self.points() {
            finding.look();
            let mut missing = Vec::new();
            if point.document.is_none() {
                missing.push("document");
            }
            if point.chunk.is_none() {
                missing.push("chunk");
            }
            if point.text.is_none() {
                missing.push("text");
            }
            if !missing.is_empty() {
                let at = if document.is_empty() { format!("point {}", point.id) } else { document.to_owned() };
                finding.wrong(at, format!("the payload does not name its {}", missing.join(", ")));
            }
        }
        finding
    }

    fn unchanged(&self) -> Finding {
        let mut finding = Finding::over("documents");
        let [.., before, after] = self.voyage.steps.as_slice() else {
            finding.undecided = Some("the scenario has one step; there is nothing to compare it with".to_owned());
            return finding;
        };
        let ids = |step: &'a StepRecord, document: &str| -> BTreeSet<&'a str> {
            step.snapshot.points_of(document).iter().map(|point| point.id.as_str()).collect()
        };
        for (_, document) in self.last() {
            finding.look();
            let (old, new) = (ids(before, &document.id), ids(after, &document.id));
            if old != new {
                finding.wrong(
                    &document.id,
                    format!(
                        "{} points before, {} after, {} of them new",
                        old.len(),
                        new.len(),
                        new.difference(&old).count()
                    ),
                );
            }
            if before.snapshot.rows.get(&document.id) != after.snapshot.rows.get(&document.id) {
                finding.wrong(&document.id, "its row is another one than before");
            }
        }
        finding
    }

    fn stale_tail(&self) -> Finding {
        let mut finding = Finding::over("documents");
        for (step, document) in self.good() {
            finding.look();
            let points = step.snapshot.points_of(&document.id);
            let versions: BTreeSet<_> = points.iter().map(|point| point.version.as_deref().unwrap_or("none")).collect();
            if versions.len() > 1 {
                finding.wrong(&document.id, format!("points of {} versions are served side by side", versions.len()));
            }
            let foreign = points
                .iter()
                .filter(|point| point.text.as_deref().is_some_and(|text| !document.text.contains(text)))
                .count();
            if foreign > 0 {
                finding.wrong(&document.id, format!("{foreign} points hold text that the document no longer has"));
            }
        }
        finding
    }

    fn unicode(&self) -> Finding {
        let mut finding = Finding::over("documents");
        for (step, document) in self.good() {
            finding.look();
            let stored = step.snapshot.points_of(&document.id).iter().filter_map(|point| point.text.as_deref());
            let known: BTreeSet<char> = document.text.chars().collect();
            let mut there: BTreeSet<char> = BTreeSet::new();
            for text in stored {
                there.extend(text.chars());
            }
            if let Some(foreign) = there.difference(&known).next() {
                finding.wrong(
                    &document.id,
                    format!("holds U+{:04X}, which the document does not have", u32::from(*foreign)),
                );
            } else if let Some(lost) = known.difference(&there).next() {
                finding.wrong(&document.id, format!("has lost every U+{:04X}", u32::from(*lost)));
            }
        }
        finding
    }

    fn exits(&self) -> Finding {
        let mut finding = Finding::over("ends");
        finding.look();
        match (&self.voyage.died, &self.voyage.ended) {
            (Some(how), _) => finding.wrong("the worker", format!("{how} before it was told to end")),
            (None, None) => {
                finding.wrong("the worker", format!("did not end within {} s of SIGTERM", self.voyage.grace.as_secs()));
            }
            (None, Some(ended)) => {
                finding.fact("how it ended", ended.how.clone());
                if ended.code != Some(0) {
                    finding.wrong("the worker", format!("{} after SIGTERM, wanted exit code 0", ended.how));
                }
                if ended.after > self.voyage.grace {
                    let (took, grace) = (ended.after.as_secs_f32(), self.voyage.grace.as_secs_f32());
                    finding.wrong("the worker", format!("took {took:.1} s to end, and has a grace of {grace:.1} s"));
                }
            }
        }
        finding
    }

    fn log_secrets(&self) -> Finding {
        use secrecy::ExposeSecret;
        let mut finding = Finding::over("secrets");
        for (variable, secret) in &self.voyage.secrets {
            finding.look();
            if self.voyage.log.contains(secret.expose_secret()) {
                finding.wrong("the worker's log", format!("holds the value of {variable}"));
            }
        }
        finding
    }

    fn log_json(&self) -> Finding {
        let mut finding = Finding::over("lines of log");
        for (number, line) in self.voyage.log.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            finding.look();
            if !serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.is_object()) {
                let line: String = line.chars().take(120).collect();
                finding.wrong(format!("line {}", number + 1), format!("is no JSON object: {line}"));
            }
        }
        finding
    }

    fn registered(&self) -> Finding {
        let mut finding = Finding::over("workers");
        finding.look();
        finding.fact("connections under BullMQ's worker name", self.voyage.registered);
        if self.voyage.registered == 0 {
            finding.wrong("the queue", "no connection carries BullMQ's worker name");
        }
        finding
    }

    fn memory(&self, most: f64) -> Finding {
        let mut finding = Finding::over("workers");
        match self.voyage.peak_memory_mib {
            None => finding.undecided = Some("the worker's memory cannot be read on this system".to_owned()),
            Some(peak) => {
                finding.look();
                finding.fact("peak resident memory, MiB", peak.round());
                if peak > most {
                    finding.wrong("the worker", format!("{peak:.0} MiB at its peak, wanted at most {most}"));
                }
            }
        }
        finding
    }

    fn poison(&self) -> Finding {
        let mut finding = Finding::over("poison documents");
        for (step, document) in self.last() {
            let (state, job) = &step.jobs[&document.id];
            if !document.poison {
                continue;
            }
            finding.look();
            if *state != JobState::Failed {
                finding.wrong(&document.id, format!("its job ended as {state:?}, although its text was rejected"));
            }
            if job.attempts > 1 {
                finding
                    .wrong(&document.id, format!("was tried {} times: a rejected text stays rejected", job.attempts));
            }
            if job.failed_reason.as_deref().unwrap_or_default().is_empty() {
                finding.wrong(&document.id, "failed without a reason");
            }
            if step.snapshot.rows.get(&document.id).is_some_and(|row| row.status == "ready") {
                finding.wrong(&document.id, "its row says `ready`");
            }
        }
        finding
    }
}

/// Counts stay far below 2^52, where f64 is exact.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
const fn count(number: u64) -> f64 {
    number as f64
}

fn tokens(text: &str) -> usize {
    bpe_openai::cl100k_base().count(text)
}

/// The texts of a document's chunks in the order of their indices.
fn texts<'a>(step: &'a StepRecord, document: &Document) -> Vec<&'a str> {
    step.snapshot.points_of(&document.id).iter().filter_map(|point| point.text.as_deref()).collect()
}

/// Where each chunk stands in the document, up to the first that fits nowhere.
///
/// A chunk begins after its predecessor's start and no later than its end. Repeated text may fit in several
/// places; the one whose overlap is nearest to [`USUAL_OVERLAP`] tokens is tried first, and others when a later
/// chunk then fits nowhere.
fn places(document: &str, chunks: &[&str]) -> Vec<std::ops::Range<usize>> {
    let mut budget = SEARCH_BUDGET;
    let mut path: Vec<std::ops::Range<usize>> = Vec::new();
    let mut best: Vec<std::ops::Range<usize>> = Vec::new();
    let mut open: Vec<Vec<usize>> = chunks.first().map(|first| candidates(document, first, None)).into_iter().collect();
    while let Some(options) = open.last_mut() {
        let Some(start) = options.pop().filter(|_| budget > 0) else {
            open.pop();
            path.pop();
            continue;
        };
        budget -= 1;
        path.push(start..start + chunks[path.len()].len());
        let reach = |path: &[std::ops::Range<usize>]| (path.len(), path.last().map_or(0, |place| place.end));
        if reach(&path) > reach(&best) {
            best.clone_from(&path);
        }
        match chunks.get(path.len()) {
            Some(next) => open.push(candidates(document, next, path.last())),
            None if path.last().is_some_and(|place| place.end == document.len()) => break,
            // It fits, and leaves the end of the document out: there may be a better way.
            None => drop(path.pop()),
        }
    }
    best
}

/// The overlap, in tokens, that a chunk most likely has with its predecessor: the contract's default.
const USUAL_OVERLAP: usize = 50;

/// How many placements are tried before the search for a fit is given up.
const SEARCH_BUDGET: usize = 20_000;

/// The starts at which `chunk` may stand after `previous`, the likeliest last.
fn candidates(document: &str, chunk: &str, previous: Option<&std::ops::Range<usize>>) -> Vec<usize> {
    let Some(previous) = previous else {
        return document.find(chunk).into_iter().collect();
    };
    let mut found = Vec::new();
    let mut at = next_char(document, previous.start);
    while at <= previous.end {
        let Some(offset) = document.get(at..).and_then(|rest| rest.find(chunk)) else { break };
        let place = at + offset;
        if place > previous.end {
            break;
        }
        found.push(place);
        at = next_char(document, place);
    }
    if found.len() > 1 {
        let before = &document[previous.clone()];
        let encoding = bpe_openai::cl100k_base();
        let ids = encoding.encode(before);
        let tail = &ids[ids.len().saturating_sub(USUAL_OVERLAP)..];
        let overlap: usize = tail.iter().map(|id| encoding.bpe.token_bytes(*id).len()).sum();
        let likely = previous.end.saturating_sub(overlap);
        found.sort_by_key(|place| std::cmp::Reverse(place.abs_diff(likely)));
    }
    found
}

/// Whether the grapheme at `at` leaves no room for an overlap: a letter under hundreds of combining marks, which
/// fills a chunk alone, or is cut into pieces because it fits into none.
fn leaves_no_room(text: &str, at: usize) -> bool {
    use unicode_segmentation::GraphemeCursor;
    let boundary = GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0).unwrap_or(true);
    let end = GraphemeCursor::new(at, text.len(), true).next_boundary(text, 0).ok().flatten().unwrap_or(text.len());
    !boundary || tokens(&text[at..end]) > MOST_OF_A_CHUNK
}

/// A grapheme of more tokens than this does not fit into one chunk with the overlap.
const MOST_OF_A_CHUNK: usize = 400;

fn next_char(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(text.len() + 1, |character| at + character.len_utf8())
}

/// Whether the chunks, laid over each other, give the document back without a gap.
fn reassemble(document: &str, chunks: &[&str]) -> Result<(), String> {
    if chunks.is_empty() {
        return Err("has no chunk".to_owned());
    }
    let places = places(document, chunks);
    let mut covered = 0;
    for (number, place) in places.iter().enumerate() {
        if place.start > covered {
            return Err(format!("{} bytes are missing before chunk {number}", place.start - covered));
        }
        covered = covered.max(place.end);
    }
    if let Some(chunk) = chunks.get(places.len()) {
        let start: String = chunk.chars().take(40).collect();
        let number = places.len();
        return Err(format!("chunk {number} of {} is not where the document goes on: {start:?}", chunks.len()));
    }
    if covered < document.len() {
        return Err(format!("its last {} of {} bytes are in no chunk", document.len() - covered, document.len()));
    }
    Ok(())
}

fn cosine_distance(left: &[f32], right: &[f32]) -> f64 {
    if left.len() != right.len() {
        return f64::NAN;
    }
    let dot = |left: &[f32], right: &[f32]| -> f64 {
        left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
    };
    1.0 - dot(left, right) / (dot(left, left).sqrt() * dot(right, right).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_that_overlap_give_the_document_back() {
        assert_eq!(reassemble("abcdefghij", &["abcde", "defgh", "ghij"]), Ok(()));
        assert_eq!(reassemble("aaaaaaaaaa", &["aaaaa", "aaaaa", "aaa"]), Ok(()), "repeated text is no gap");
    }

    #[test]
    fn a_gap_a_lost_tail_and_foreign_text_are_told_apart() {
        assert!(reassemble("abcdefghij", &["abc", "efghij"]).unwrap_err().contains("not where the document goes on"));
        assert!(reassemble("abcdefghij", &["abcde", "defgh"]).unwrap_err().contains("last 2 of 10 bytes"));
        assert!(
            reassemble("abcdefghij", &["bcde", "efghij"]).unwrap_err().contains("1 bytes are missing before chunk 0")
        );
        assert!(reassemble("abcdefghij", &["abcde", "dXfghij"]).unwrap_err().contains("chunk 1"));
        assert!(reassemble("abc", &[]).unwrap_err().contains("no chunk"));
    }
}
