//! The schedule: checks and pulses, and keeping the history.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::heartbeat::{Prober, probers};
use super::now_ms;
use super::status_store::StatusStore;
use super::store::Store;
use crate::outcome::{Event, Events};
use crate::runner::{CheckOptions, EnvironmentCheck};

/// A service that came or went is judged at once, and not more often than this.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Checks and pulses that go on until it is dropped.
#[derive(Debug)]
pub struct Watch {
    tasks: JoinSet<()>,
    status_store: StatusStore,
    store: Option<Arc<Store>>,
}

impl Watch {
    /// Begins at once; the history is kept in `store`, if there is one. To be called within a Tokio runtime.
    #[must_use]
    pub fn start(checkup: Arc<EnvironmentCheck>, status_store: StatusStore, store: Option<Arc<Store>>) -> Self {
        let mut tasks = JoinSet::new();
        let urgent = Arc::new(Notify::new());
        let felt = status_store.read().subject.felt.clone();
        for prober in probers(&checkup.endpoints, &checkup.given) {
            if felt.iter().any(|service| service == prober.service) {
                tasks.spawn(feel(prober, status_store.clone(), Arc::clone(&urgent)));
            }
        }
        tasks.spawn(check(checkup, status_store.clone(), store.clone(), urgent));
        Self { tasks, status_store, store }
    }

    /// The status_store that it writes on.
    #[must_use]
    pub const fn status_store(&self) -> &StatusStore {
        &self.status_store
    }

    /// Ends checks and pulses, and keeps what has changed in the history.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
        if let Some(store) = self.store.take() {
            keep(&self.status_store, store).await;
        }
    }
}

async fn feel(mut prober: Prober, status_store: StatusStore, urgent: Arc<Notify>) {
    let intervals = status_store.intervals();
    let pause = if prober.foreign { intervals.check.max(intervals.pulse) } else { intervals.pulse };
    loop {
        let begun = Instant::now();
        let (seen, took) = prober.feel().await;
        if status_store.feel(now_ms(), prober.service, &seen, took) {
            urgent.notify_one();
        }
        tokio::time::sleep_until(begun + pause).await;
    }
}

async fn check(
    checkup: Arc<EnvironmentCheck>,
    status_store: StatusStore,
    store: Option<Arc<Store>>,
    urgent: Arc<Notify>,
) {
    loop {
        let begun = Instant::now();
        let (events, mut heard) = Events::channel();
        let listener = {
            let status_store = status_store.clone();
            // Each verdict counts as soon as it is there: a dead service keeps the others waiting for nothing.
            async move {
                while let Some(event) = heard.recv().await {
                    if let Event::CaseFinished { record } = event {
                        status_store.judge(now_ms(), *record);
                    }
                }
            }
        };
        let options = CheckOptions { carried_over: status_store.check_begins(now_ms()), ..CheckOptions::once() };
        let judged = async {
            let report = checkup.evaluate(&options, &events).await;
            drop(events);
            report
        };
        let (report, ()) = tokio::join!(judged, listener);
        status_store.checked(now_ms(), report);
        if let Some(store) = &store {
            keep(&status_store, Arc::clone(store)).await;
        }
        tokio::time::sleep_until(begun + LEAST_PAUSE).await;
        tokio::select! {
            () = tokio::time::sleep_until(begun + status_store.intervals().check) => {}
            () = urgent.notified() => {}
        }
    }
}

/// Writes what has changed; a history that cannot be kept is said, and stops nothing.
async fn keep(status_store: &StatusStore, store: Arc<Store>) {
    let changes = status_store.changes();
    let kept = tokio::task::spawn_blocking(move || store.save(&changes)).await;
    let problem = match kept {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(error) => Some(format!("the history was not kept: {error}")),
    };
    status_store.note("history", problem);
}
