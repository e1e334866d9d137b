//! The schedule of checks and heartbeats; saves the history.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::heartbeat::{ProbeFailure, Prober, probers};
use super::history_file::HistoryFile;
use super::now_ms;
use super::status_store::StatusStore;
use crate::outcome::{Event, Events};
use crate::runner::{CheckOptions, EnvironmentCheck};

/// A service that starts or stops answering triggers a check, at most once in this time.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Checks and heartbeats that run until it is dropped.
#[derive(Debug)]
pub struct Watch {
    tasks: JoinSet<()>,
    status_store: StatusStore,
    history_file: Option<Arc<HistoryFile>>,
}

impl Watch {
    /// Starts at once; saves the history in `history_file`, if there is one. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(
        environment: Arc<EnvironmentCheck>,
        status_store: StatusStore,
        history_file: Option<Arc<HistoryFile>>,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let urgent = Arc::new(Notify::new());
        let probed = status_store.read().targets.probed.clone();
        for prober in probers(&environment.endpoints, &environment.given) {
            if probed.iter().any(|service| service == prober.service) {
                tasks.spawn(probe(prober, status_store.clone(), Arc::clone(&urgent)));
            }
        }
        tasks.spawn(check(environment, status_store.clone(), history_file.clone(), urgent));
        Self { tasks, status_store, history_file }
    }

    /// The status store that it writes to.
    #[must_use]
    pub const fn status_store(&self) -> &StatusStore {
        &self.status_store
    }

    /// Ends checks and heartbeats, and saves the history.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
        if let Some(history_file) = self.history_file.take() {
            save(&self.status_store, history_file).await;
        }
    }
}

async fn probe(mut prober: Prober, status_store: StatusStore, urgent: Arc<Notify>) {
    let intervals = status_store.intervals();
    let pause = if prober.is_public { intervals.check.max(intervals.heartbeat) } else { intervals.heartbeat };
    loop {
        let begun = Instant::now();
        let (result, took) = prober.probe().await;
        let result = match result {
            Ok(found) => Ok(found),
            Err(ProbeFailure::NoAnswer(reason)) => Err(reason),
            Err(ProbeFailure::OwnLimit(reason)) => {
                status_store.record_unasked(prober.service, reason);
                tokio::time::sleep_until(begun + pause).await;
                continue;
            }
        };
        if status_store.record_heartbeat(now_ms(), prober.service, &result, took) {
            urgent.notify_one();
        }
        tokio::time::sleep_until(begun + pause).await;
    }
}

async fn check(
    environment: Arc<EnvironmentCheck>,
    status_store: StatusStore,
    history_file: Option<Arc<HistoryFile>>,
    urgent: Arc<Notify>,
) {
    loop {
        let begun = Instant::now();
        let (events, mut heard) = Events::channel();
        let listener = {
            let status_store = status_store.clone();
            // Each verdict is stored at once, so that a dead service does not delay the others.
            async move {
                while let Some(event) = heard.recv().await {
                    if let Event::CaseFinished { record } = event {
                        status_store.record_case(now_ms(), *record);
                    }
                }
            }
        };
        let options = CheckOptions { carried_over: status_store.start_check(now_ms()), ..CheckOptions::once() };
        let judged = async {
            let report = environment.evaluate(&options, &events).await;
            drop(events);
            report
        };
        let (report, ()) = tokio::join!(judged, listener);
        status_store.finish_check(now_ms(), report);
        if let Some(history_file) = &history_file {
            save(&status_store, Arc::clone(history_file)).await;
        }
        tokio::time::sleep_until(begun + LEAST_PAUSE).await;
        tokio::select! {
            () = tokio::time::sleep_until(begun + status_store.intervals().check) => {}
            () = urgent.notified() => {}
        }
    }
}

/// Saves the changes of the history. A failure becomes a message for the operator, and stops nothing.
async fn save(status_store: &StatusStore, history_file: Arc<HistoryFile>) {
    let changes = status_store.changes();
    let saved = tokio::task::spawn_blocking(move || history_file.save(&changes)).await;
    let problem = match saved {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(error) => Some(format!("could not save the history: {error}")),
    };
    status_store.note("history", problem);
}
