//! The schedule: checks and pulses, and keeping the history.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::board::Board;
use super::now_ms;
use super::pulse::{Finger, fingers};
use super::store::Store;
use crate::outcome::{Event, Events};
use crate::runner::{Checkup, Occasion};

/// A service that came or went is judged at once, and not more often than this.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Checks and pulses that go on until it is dropped.
#[derive(Debug)]
pub struct Watch {
    tasks: JoinSet<()>,
    board: Board,
    store: Option<Arc<Store>>,
}

impl Watch {
    /// Begins at once; the history is kept in `store`, if there is one. To be called within a Tokio runtime.
    #[must_use]
    pub fn start(checkup: Arc<Checkup>, board: Board, store: Option<Arc<Store>>) -> Self {
        let mut tasks = JoinSet::new();
        let urgent = Arc::new(Notify::new());
        let felt = board.read().subject.felt.clone();
        for finger in fingers(&checkup.endpoints, &checkup.given) {
            if felt.iter().any(|service| service == finger.service) {
                tasks.spawn(feel(finger, board.clone(), Arc::clone(&urgent)));
            }
        }
        tasks.spawn(check(checkup, board.clone(), store.clone(), urgent));
        Self { tasks, board, store }
    }

    /// The board that it writes on.
    #[must_use]
    pub const fn board(&self) -> &Board {
        &self.board
    }

    /// Ends checks and pulses, and keeps what has changed in the history.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
        if let Some(store) = self.store.take() {
            keep(&self.board, store).await;
        }
    }
}

async fn feel(mut finger: Finger, board: Board, urgent: Arc<Notify>) {
    let rhythm = board.rhythm();
    let pause = if finger.foreign { rhythm.check.max(rhythm.pulse) } else { rhythm.pulse };
    loop {
        let begun = Instant::now();
        let (seen, took) = finger.feel().await;
        if board.feel(now_ms(), finger.service, &seen, took) {
            urgent.notify_one();
        }
        tokio::time::sleep_until(begun + pause).await;
    }
}

async fn check(checkup: Arc<Checkup>, board: Board, store: Option<Arc<Store>>, urgent: Arc<Notify>) {
    loop {
        let begun = Instant::now();
        let (events, mut heard) = Events::channel();
        let listener = {
            let board = board.clone();
            // Each verdict counts as soon as it is there: a dead service keeps the others waiting for nothing.
            async move {
                while let Some(event) = heard.recv().await {
                    if let Event::CaseFinished { record } = event {
                        board.judge(now_ms(), *record);
                    }
                }
            }
        };
        let occasion = Occasion { stands: board.check_begins(now_ms()), ..Occasion::once() };
        let judged = async {
            let report = checkup.judge(&occasion, &events).await;
            drop(events);
            report
        };
        let (report, ()) = tokio::join!(judged, listener);
        board.checked(now_ms(), report);
        if let Some(store) = &store {
            keep(&board, Arc::clone(store)).await;
        }
        tokio::time::sleep_until(begun + LEAST_PAUSE).await;
        tokio::select! {
            () = tokio::time::sleep_until(begun + board.rhythm().check) => {}
            () = urgent.notified() => {}
        }
    }
}

/// Writes what has changed; a history that cannot be kept is said, and stops nothing.
async fn keep(board: &Board, store: Arc<Store>) {
    let changes = board.changes();
    let kept = tokio::task::spawn_blocking(move || store.save(&changes)).await;
    let problem = match kept {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(error) => Some(format!("the history was not kept: {error}")),
    };
    board.note("history", problem);
}
