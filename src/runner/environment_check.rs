//! Judging an environment that is in use: what `shakedown check` does once, and `shakedown serve` again and again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{BilledCache, RunOptions, Selection, run, unreachable_service, waived};
use crate::outcome::{Events, Gate, Report, Trace, Verdict, merge};
use crate::settings::{Contract, Endpoints, Given, Settings, SettingsError};
use crate::spec::Suites;
use crate::stack::{Stack, ask_services, drop_names, names_for};

/// Cases at once: they share connections, so that more of them cost no more.
const JOBS: usize = 256;

/// An environment, and by what it is judged.
#[derive(Debug)]
pub struct EnvironmentCheck {
    /// What names the environment.
    pub settings: Settings,
    /// The suites to judge by.
    pub suites: Suites,
    /// Their cases that are judged.
    pub selection: Selection,
    /// Where the services are.
    pub endpoints: Endpoints,
    /// What somebody set.
    pub given: Arc<Given>,
    /// The shakedown binary, which some probes start.
    pub shakedown: PathBuf,
    /// Whether cases may write, under names of their own.
    pub canary: bool,
    /// The embeddings API is paid once, however often everything is judged.
    pub billed: BilledCache,
    /// Where what is judged is traced.
    pub trace: Trace,
}

/// How everything is judged once.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// The run's id; names that canaries make carry it.
    pub run: String,
    /// How often every case is judged.
    pub repeat: u32,
    /// Whether the first failed case is the last that is begun.
    pub fail_fast: bool,
    /// How long the cases may take altogether.
    pub timeout: Duration,
    /// What the report says of the gate.
    pub gate: Gate,
    /// Cases that are not judged anew: what was said of them stands.
    pub stands: BTreeMap<String, Verdict>,
}

impl CheckOptions {
    /// How long the cases may take altogether, when nobody says.
    pub const PATIENCE: Duration = Duration::from_secs(60);

    /// Everything once, under a run id of its own.
    #[must_use]
    pub fn once() -> Self {
        Self {
            run: Self::new_run(),
            repeat: 1,
            fail_fast: false,
            timeout: Self::PATIENCE,
            gate: Gate { attempts: 1, ..Gate::default() },
            stands: BTreeMap::new(),
        }
    }

    /// A run id that nothing else has.
    #[must_use]
    pub fn new_run() -> String {
        format!("{:08x}", rand::random::<u32>())
    }

    /// The id of one attempt: names that canaries make are told apart by it.
    fn attempt(&self, attempt: u32) -> String {
        if attempt == 1 { self.run.clone() } else { format!("{}-{attempt}", self.run) }
    }
}

impl EnvironmentCheck {
    /// What `settings` name, of a project in `directory`.
    ///
    /// # Errors
    /// None of the services is set, or a name is not to be used.
    pub fn new(
        settings: Settings,
        suites: Suites,
        selection: Selection,
        directory: &Path,
        shakedown: PathBuf,
    ) -> Result<Self, SettingsError> {
        let endpoints = settings.endpoints_to_check()?;
        let given = Arc::new(Given::of(&settings, directory.to_owned()));
        let (billed, trace) = (BilledCache::default(), Trace::off());
        Ok(Self { settings, suites, selection, endpoints, given, shakedown, canary: false, billed, trace })
    }

    /// Judges everything. `repeat` of zero counts as one.
    pub async fn judge(&self, occasion: &CheckOptions, events: &Events) -> Report {
        let span = self.trace.begin("check");
        let events = &events.within(&span);
        let stack = Stack::found(self.endpoints.clone(), self.canary);
        let directory = std::env::temp_dir();
        let mut options = RunOptions {
            run: occasion.run.clone(),
            jobs: JOBS,
            seed: 0,
            profile: self.settings.profile().to_owned(),
            variables: BTreeMap::new(),
            contract: Arc::new(Contract::reference(&self.shakedown, &directory)),
            shakedown: self.shakedown.clone(),
            directory,
            waivers: waived(&self.settings),
            keep_output: None,
            fail_fast: occasion.fail_fast,
            timeout: Some(occasion.timeout),
            gate: occasion.gate.clone(),
            endpoints: Some(self.endpoints.clone()),
            spare: None,
            given: Some(Arc::clone(&self.given)),
            billed: self.billed.clone(),
            stands: occasion.stands.clone(),
        };
        let silent = Events::silent();
        let dead = occasion.stands.values().filter_map(Verdict::reason).filter_map(unreachable_service);
        let dead = dead.map(ToOwned::to_owned).collect();
        // What the services say of themselves is for the report alone, and keeps no case waiting.
        let judged = run(&self.suites, &self.selection, &stack, &options, events);
        let (mut report, mut services) = tokio::join!(judged, ask_services(&self.endpoints, &dead, &silent));
        if occasion.repeat > 1 {
            let mut attempts = vec![report.clone()];
            for attempt in 2..=occasion.repeat {
                options.run = occasion.attempt(attempt);
                let judged = run(&self.suites, &self.selection, &stack, &options, events);
                let (again, records) = tokio::join!(judged, ask_services(&self.endpoints, &dead, &silent));
                attempts.push(again);
                services = records;
            }
            report = merge(attempts).unwrap_or(report);
        }
        occasion.run.clone_into(&mut report.run);
        report.services = services;
        "none: an environment is judged, and no worker".clone_into(&mut report.worker);
        report.environment = self.settings.resolved();
        report.notes.extend(span.trace().note());
        span.report(&report);
        report
    }

    /// Removes what canaries may have left when they were interrupted; gives what cannot be removed.
    pub async fn clear(&self, occasion: &CheckOptions) -> Vec<String> {
        let mut left = Vec::new();
        let writing = self.suites.cases.iter().filter(|case| self.selection.chooses(case) && case.writes());
        for case in writing {
            for attempt in 1..=occasion.repeat.max(1) {
                let names = names_for(&occasion.attempt(attempt), &case.id);
                let errors = drop_names(&self.endpoints, &names).await.err().unwrap_or_default();
                left.extend(errors.iter().map(ToString::to_string));
            }
        }
        left
    }
}
