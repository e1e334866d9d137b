//! Every text of a report that may come from elsewhere: masked, or made printable.

use std::borrow::Cow;

use serde_json::Value;

use super::cause::Cause;
use super::record::{CaseRecord, Report};
use super::timeline::Timeline;
use super::verdict::{Evidence, Verdict};
use super::worker_profile::WorkerProfile;
use crate::redaction::Redactor;

/// Masks one text.
fn masking(redactor: &Redactor) -> impl Fn(&mut String) {
    |text| {
        if let Cow::Owned(masked) = redactor.redact(text) {
            *text = masked;
        }
    }
}

/// Masks the texts of a value.
fn masking_json(redactor: &Redactor) -> impl Fn(&mut Value) {
    |value| *value = redactor.redact_json(value.take())
}

impl Report {
    /// Masks every text.
    pub fn mask(&mut self, redactor: &Redactor) {
        self.map_texts(&masking(redactor), &masking_json(redactor));
    }

    /// Replaces every text: only times, counts, the version of Shakedown and words of ours stay as they are. `json`
    /// replaces the texts of evidence.
    pub fn map_texts(&mut self, text: &impl Fn(&mut String), json: &impl Fn(&mut Value)) {
        [
            &mut self.suite_version,
            &mut self.run,
            &mut self.profile,
            &mut self.provider,
            &mut self.provider_reason,
            &mut self.worker,
        ]
        .into_iter()
        .chain(&mut self.notes)
        .chain(&mut self.gate.shard)
        .chain(self.worker_profile.iter_mut().flat_map(WorkerProfile::texts_mut))
        .for_each(text);
        if let Some(comparison) = &mut self.gate.comparison {
            text(&mut comparison.baseline);
            let lists = [&mut comparison.fixed, &mut comparison.worse, &mut comparison.new, &mut comparison.gone];
            lists.into_iter().flatten().for_each(text);
        }
        for service in &mut self.services {
            [&mut service.name, &mut service.version, &mut service.endpoint, &mut service.kind]
                .into_iter()
                .for_each(text);
            let parameters = std::mem::take(&mut service.parameters).into_iter();
            service.parameters = parameters.map(|(name, value)| (changed(name, text), changed(value, text))).collect();
        }
        for row in &mut self.environment {
            [&mut row.name, &mut row.value, &mut row.origin].into_iter().for_each(text);
        }
        for file in &mut self.files {
            [&mut file.path, &mut file.action, &mut file.purpose].into_iter().for_each(text);
        }
        for cause in &mut self.causes {
            cause.map_texts(text);
        }
        for case in &mut self.cases {
            case.map_texts(text, json);
        }
        for timeline in &mut self.timelines {
            timeline.map_texts(text);
        }
    }
}

impl CaseRecord {
    /// Masks every text.
    pub fn mask(&mut self, redactor: &Redactor) {
        self.map_texts(&masking(redactor), &masking_json(redactor));
    }

    fn map_texts(&mut self, text: &impl Fn(&mut String), json: &impl Fn(&mut Value)) {
        [&mut self.id, &mut self.suite, &mut self.title, &mut self.why, &mut self.remedy, &mut self.source]
            .into_iter()
            .chain(&mut self.reason)
            .chain(&mut self.scenario)
            .chain(&mut self.causes)
            .for_each(text);
        self.verdict.map_texts(text);
        for evidence in &mut self.evidence {
            evidence.map_texts(text, json);
        }
    }
}

impl Verdict {
    /// Masks the reason.
    pub fn mask(&mut self, redactor: &Redactor) {
        self.map_texts(&masking(redactor));
    }

    fn map_texts(&mut self, text: &impl Fn(&mut String)) {
        match self {
            Self::Pass => {}
            Self::Fail { reason }
            | Self::Warn { reason }
            | Self::Skip { reason }
            | Self::Unknown { reason }
            | Self::Waived { reason, .. } => text(reason),
        }
    }
}

impl Evidence {
    /// Masks what was observed.
    pub fn mask(&mut self, redactor: &Redactor) {
        self.map_texts(&masking(redactor), &masking_json(redactor));
    }

    fn map_texts(&mut self, text: &impl Fn(&mut String), json: &impl Fn(&mut Value)) {
        text(&mut self.what);
        json(&mut self.seen);
        self.wanted.iter_mut().for_each(text);
    }
}

impl Cause {
    fn map_texts(&mut self, text: &impl Fn(&mut String)) {
        [&mut self.id, &mut self.sentence, &mut self.remedy, &mut self.source]
            .into_iter()
            .chain(&mut self.evidence)
            .chain(&mut self.cases)
            .for_each(text);
        for library in &mut self.libraries {
            [&mut library.library, &mut library.remedy].into_iter().for_each(text);
        }
    }
}

impl Timeline {
    fn map_texts(&mut self, text: &impl Fn(&mut String)) {
        [&mut self.scenario, &mut self.title].into_iter().chain(&mut self.cases).for_each(text);
        for document in &mut self.documents {
            [&mut document.document, &mut document.outcome, &mut document.why].into_iter().for_each(text);
        }
        for event in &mut self.events {
            [&mut event.subject, &mut event.what].into_iter().for_each(text);
        }
    }
}

fn changed(mut value: String, text: &impl Fn(&mut String)) -> String {
    text(&mut value);
    value
}
