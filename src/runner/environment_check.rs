//! Checks an environment in use: once for `shakedown check`, repeatedly for `shakedown serve`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};

use super::{BilledCache, RunOptions, Selection, run, unreachable_service, waived};
use crate::outcome::{Events, Gate, Report, Trace, Verdict, merge};
use crate::settings::{Contract, Endpoints, Given, Settings, SettingsError};
use crate::spec::Suites;
use crate::stack::{Entry, Ledger, RemoteData, Stack, StackError, ask_services, clean_remote_data, names_for};

/// How many cases run at once. They share connections, so more cases need no more of them.
const JOBS: usize = 256;
/// How many names are removed at the same time.
const REMOVALS: usize = 8;

/// An environment, and the cases to check it with.
#[derive(Debug)]
pub struct EnvironmentCheck {
    /// The settings with the addresses of the services.
    pub settings: Settings,
    /// The suites.
    pub suites: Suites,
    /// The selected cases.
    pub selection: Selection,
    /// The addresses of the services.
    pub endpoints: Endpoints,
    /// The user's settings as they were given.
    pub given: Arc<Given>,
    /// The shakedown binary; some probes start it.
    pub shakedown: PathBuf,
    /// Whether cases may write, under their own names.
    pub canary: bool,
    /// Billed answers of the embeddings API; repeated checks reuse them.
    pub billed: BilledCache,
    /// The trace of the checks.
    pub trace: Trace,
    /// What canary writes are recorded in; [`EnvironmentCheck::record_canary_writes`] opens it.
    pub ledger: Option<Ledger>,
}

/// The options of one check.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// The run's id; every name that canary writes create contains it.
    pub run: String,
    /// How many times every case is judged.
    pub repeat: u32,
    /// Whether no case starts after the first failed one.
    pub fail_fast: bool,
    /// Time limit for all cases together.
    pub timeout: Duration,
    /// What the report says about the gate.
    pub gate: Gate,
    /// Verdicts that are carried over: these cases are not judged again.
    pub carried_over: BTreeMap<String, Verdict>,
}

impl CheckOptions {
    /// The default of [`CheckOptions::timeout`].
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

    /// Every case once, under a new run id.
    #[must_use]
    pub fn once() -> Self {
        Self {
            run: Self::new_run(),
            repeat: 1,
            fail_fast: false,
            timeout: Self::DEFAULT_TIMEOUT,
            gate: Gate { attempts: 1, ..Gate::default() },
            carried_over: BTreeMap::new(),
        }
    }

    /// A random run id.
    #[must_use]
    pub fn new_run() -> String {
        format!("{:08x}", rand::random::<u32>())
    }

    /// The run id of one attempt. It differs between attempts, so that their canary names do.
    fn attempt(&self, attempt: u32) -> String {
        if attempt == 1 { self.run.clone() } else { format!("{}-{attempt}", self.run) }
    }
}

impl EnvironmentCheck {
    /// A check of the services that `settings` name, for a project in `directory`.
    ///
    /// # Errors
    /// No service is set, or a name is not allowed.
    pub fn new(
        settings: Settings,
        suites: Suites,
        selection: Selection,
        directory: &Path,
        shakedown: PathBuf,
    ) -> Result<Self, SettingsError> {
        let endpoints = settings.endpoints_to_check()?;
        let given = Arc::new(Given::from_settings(&settings, directory.to_owned()));
        let (billed, trace) = (BilledCache::default(), Trace::off());
        Ok(Self {
            settings,
            suites,
            selection,
            endpoints,
            given,
            shakedown,
            canary: false,
            billed,
            trace,
            ledger: None,
        })
    }

    /// Records canary writes in a ledger, so that `shakedown clean` removes what a killed check leaves; and removes what
    /// dead checks left in these services, after `say` has named it. Returns what is left, one line each.
    ///
    /// # Errors
    /// The directory of ledgers cannot be written or read.
    pub async fn record_canary_writes(&mut self, run: &str, say: impl FnMut(&str)) -> Result<Vec<String>, StackError> {
        let state_dir = self.settings.state_dir();
        self.ledger = Some(Ledger::open(&state_dir, run)?);
        let cleaned = clean_remote_data(&state_dir, Some(&self.endpoints), false, say).await;
        cleaned.map_err(|cause| StackError::Ledger { path: state_dir, cause })
    }

    /// Judges the selected cases. A `repeat` of 0 counts as 1.
    pub async fn evaluate(&self, check: &CheckOptions, events: &Events) -> Report {
        let span = self.trace.begin("check");
        let events = &events.within(&span);
        let stack = Stack::from_endpoints(self.endpoints.clone(), self.canary).recorded_in(self.ledger.clone());
        let directory = std::env::temp_dir();
        let contract = Arc::new(Contract::reference(&self.shakedown, &directory));
        let mut options = RunOptions {
            jobs: JOBS,
            seed: 0,
            profile: self.settings.profile().to_owned(),
            waivers: waived(&self.settings),
            fail_fast: check.fail_fast,
            timeout: Some(check.timeout),
            gate: check.gate.clone(),
            endpoints: Some(self.endpoints.clone()),
            given: Some(Arc::clone(&self.given)),
            billed: self.billed.clone(),
            carried_over: check.carried_over.clone(),
            ..RunOptions::new(&check.run, &self.shakedown, contract, directory)
        };
        let silent = Events::silent();
        let unreachable = check.carried_over.values().filter_map(Verdict::reason).filter_map(unreachable_service);
        let unreachable = unreachable.map(ToOwned::to_owned).collect();
        // The services' versions and settings are only for the report, so no case waits for them.
        let judged = run(&self.suites, &self.selection, &stack, &options, events);
        let (mut report, mut services) = tokio::join!(judged, ask_services(&self.endpoints, &unreachable, &silent));
        if check.repeat > 1 {
            let mut attempts = vec![report.clone()];
            for attempt in 2..=check.repeat {
                options.run = check.attempt(attempt);
                let judged = run(&self.suites, &self.selection, &stack, &options, events);
                let (again, records) = tokio::join!(judged, ask_services(&self.endpoints, &unreachable, &silent));
                attempts.push(again);
                services = records;
            }
            report = merge(attempts).unwrap_or(report);
        }
        check.run.clone_into(&mut report.run);
        report.services = services;
        "none: the check covers the environment only".clone_into(&mut report.worker);
        report.environment = self.settings.resolved();
        report.notes.extend(span.trace().note());
        span.report(&report);
        report
    }

    /// Removes what interrupted canary writes may have left; gives one line for each error. A service that does not
    /// answer is given up after a few seconds.
    pub async fn clean_up(&self, check: &CheckOptions) -> Vec<String> {
        let removals = self.canary_writes(check).into_iter().map(|(entry, data)| async move {
            let errors = data.remove(&self.endpoints).await;
            if let Some((ledger, entry)) = self.ledger.as_ref().zip(entry).filter(|_| errors.is_empty()) {
                ledger.mark_removed(entry);
            }
            errors
        });
        stream::iter(removals).buffer_unordered(REMOVALS).concat().await
    }

    /// What canary writes may have left: what the ledger lists, or without one everything that they could write.
    fn canary_writes(&self, check: &CheckOptions) -> Vec<(Option<Entry>, RemoteData)> {
        if let Some(ledger) = &self.ledger {
            return ledger.remote_data().into_iter().map(|(entry, data)| (Some(entry), data)).collect();
        }
        let writing = self.suites.cases.iter().filter(|case| self.selection.chooses(case) && case.writes());
        let attempts = 1..=check.repeat.max(1);
        let names = writing.flat_map(|case| attempts.clone().map(|nth| names_for(&check.attempt(nth), &case.id)));
        names.map(|names| (None, RemoteData::new(&Endpoints { names, ..self.endpoints.clone() }))).collect()
    }
}
