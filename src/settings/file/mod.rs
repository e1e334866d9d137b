//! Reads `shakedown.toml`: unknown keys are refused, values become typed data.

mod contract;
mod desired;
mod place;
mod profile;
mod reader;
mod renamed;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::civil::Date;
use serde::Deserialize;
use toml::{Spanned, Value};

use self::contract::{WrittenChunks, WrittenContract, WrittenEmbeddings, WrittenEvidence, WrittenQueue, WrittenWorker};
use self::desired::WrittenDesired;
pub use self::place::contract_place;
use self::reader::Reader;
use super::config::Config;
use super::error::{Place, Problem};
use super::profile::PROFILES;
use super::suggest::similar;
use super::waiver::Waiver;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    profile: WrittenProfiles,
    worker: Option<Spanned<WrittenWorker>>,
    queue: Option<WrittenQueue>,
    evidence: Option<Spanned<WrittenEvidence>>,
    chunks: Option<Spanned<WrittenChunks>>,
    embeddings: Option<WrittenEmbeddings>,
    #[serde(default)]
    waive: Vec<Spanned<WrittenWaiver>>,
    desired: Option<WrittenDesired>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProfiles {
    development: Option<WrittenProfile>,
    staging: Option<WrittenProfile>,
    production: Option<WrittenProfile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProfile {
    #[serde(default)]
    env: BTreeMap<Spanned<String>, Spanned<Value>>,
    desired: Option<WrittenDesired>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWaiver {
    case: String,
    reason: Spanned<String>,
    expires: Spanned<Value>,
}

/// Reads `text`, the content of the `shakedown.toml` at `path`.
pub(super) fn parse(path: &Path, text: &str) -> Result<Config, Vec<Problem>> {
    let written: Written = toml::from_str(text).map_err(|error| vec![syntax_problem(path, text, &error)])?;
    let mut reader = Reader::new(path, text);
    let config = reader.config(written);
    let problems = reader.into_problems();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// A TOML error at its place. A renamed key is reported with its new name, another unknown key with the most similar
/// known one.
fn syntax_problem(path: &Path, text: &str, error: &toml::de::Error) -> Problem {
    let mut problem = error.message().lines().collect::<Vec<_>>().join("; ");
    let quoted: Vec<String> = problem.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let mut remedy = None;
    if let Some((unknown, known)) = quoted.split_first().filter(|_| problem.starts_with("unknown ")) {
        // serde lists every known key after the unknown one; the remedy names them.
        problem.truncate(problem.find(", expected").unwrap_or(problem.len()));
        if let Some(new) = renamed::new_name(unknown, known) {
            problem = format!("`{unknown}` is now `{new}`");
            remedy = Some(format!("rename the key to `{new}`"));
        } else {
            remedy = Some(similar(unknown, known.iter().cloned()).map_or_else(
                || format!("use one of: {}", known.join(", ")),
                |suggestion| format!("did you mean `{suggestion}`?"),
            ));
        }
    }
    Problem::At { place: Place::from_span(path, text, error.span().unwrap_or(0..0)), problem, remedy }
}

impl Reader<'_> {
    fn config(&mut self, written: Written) -> Config {
        let WrittenProfiles { development, staging, production } = written.profile;
        let (mut profiles, mut desired) = (BTreeMap::new(), BTreeMap::new());
        for (name, profile) in PROFILES.iter().zip([development, staging, production]) {
            let (env, own) = profile.map_or((None, None), |profile| (Some(profile.env), profile.desired));
            if let Some(env) = env {
                profiles.insert(*name, self.profile(env));
            }
            let merged = match own {
                Some(own) => Some(own.over_all(written.desired.clone())),
                None => written.desired.clone(),
            };
            if let Some(merged) = merged {
                desired.insert(*name, self.desired(merged));
            }
        }
        let sections = WrittenContract {
            worker: written.worker,
            queue: written.queue,
            evidence: written.evidence,
            chunks: written.chunks,
            embeddings: written.embeddings,
        };
        let (queue, contract) = self.contract(sections);
        Config {
            path: Some(self.path.to_owned()),
            queue,
            contract,
            waivers: written.waive.into_iter().filter_map(|waiver| self.waiver(waiver)).collect(),
            desired,
            profiles,
        }
    }

    fn waiver(&mut self, waiver: Spanned<WrittenWaiver>) -> Option<Waiver> {
        let WrittenWaiver { case, reason, expires } = waiver.into_inner();
        if reason.get_ref().trim().is_empty() {
            let problem = format!("the waiver for `{case}` has an empty reason");
            self.report(reason.span(), problem, "write why the failure is accepted");
            return None;
        }
        let text = match expires.get_ref() {
            Value::String(text) => text.clone(),
            // TOML's own dates need no quotes.
            Value::Datetime(date) => date.to_string(),
            other => other.to_string(),
        };
        let Ok(date) = text.parse::<Date>() else {
            let problem = format!("invalid date `{text}` in the waiver for `{case}`");
            self.report(expires.span(), problem, "write an existing date as \"YYYY-MM-DD\"");
            return None;
        };
        Some(Waiver { case, reason: reason.into_inner(), expires: date })
    }
}
