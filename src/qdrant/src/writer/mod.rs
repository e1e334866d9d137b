//! One thread per collection that makes all of its changes: journal, apply, answer. It flushes and optimises when idle.
//!
//! Changes that arrive during another change form a batch: one write to the journal, then each is applied and answered.
//! Collections share nothing, so a slow one does not delay others.

mod size;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use qdrant_edge::{PointId, UpdateOperation};
use tokio::sync::oneshot;

use super::depth::STACK;
use super::disk::{check_room, used};
use super::error::Error;
use super::journal::{Journal, encode};
use super::resolve::{CHUNK, depends_on_points, keeps_parts, repeatable, resolve, store_once, storing};
use super::shard::Shard;
use size::vector_bytes;

/// Maximum number of changes per batch.
const GROUP: usize = 64;
/// Idle time after which changes are flushed.
const IDLE: Duration = Duration::from_millis(700);
/// Longest time between flushes under load, as Qdrant's default.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// Journal size that triggers a flush at once.
const JOURNAL_LIMIT: u64 = 256 * 1024 * 1024;
/// The state of a collection's optimiser, shared with readers.
#[derive(Debug, Default)]
pub(super) struct Health {
    optimizing: AtomicBool,
    pending: AtomicBool,
    failure: Mutex<Option<String>>,
    applied: AtomicU64,
}

impl Health {
    /// Whether segments are being rewritten, or soon will be.
    #[must_use]
    pub(super) fn is_optimizing(&self) -> bool {
        self.optimizing.load(Ordering::Relaxed) || self.pending.load(Ordering::Relaxed)
    }

    /// The error of the last optimisation.
    #[must_use]
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Number for a change that bypasses the writer's commands.
    pub(super) fn next_operation(&self) -> u64 {
        self.applied.fetch_add(1, Ordering::Relaxed)
    }

    fn set_failure(&self, failure: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// When a collection is optimised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// Bytes of new vectors that trigger an optimisation; `None` for never.
    pub after_bytes: Option<u64>,
}

/// Receives the number of a change.
type Reply = oneshot::Sender<Result<u64, Error>>;

enum Command {
    Write(Write),
    Policy(Policy),
    Optimized(Result<bool, Error>),
    Exclusive(Exclusive),
    Stop,
}

/// A requested change.
struct Write {
    operation: Box<UpdateOperation>,
    /// Whether the answer waits until the change is applied, not only journalled.
    waits: bool,
    reply: Reply,
}

/// A call that runs while nothing changes; its argument tells whether everything is flushed.
type Exclusive = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// The handle of a collection's writer; dropping it stops the writer after the last change.
#[derive(Debug)]
pub(super) struct Writer {
    commands: Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the writer. Changes in the journal are replayed first.
    ///
    /// # Errors
    /// The journal cannot be opened or read, or the thread cannot be started.
    pub(super) fn start(shard: Arc<Shard>, health: Arc<Health>, journal: &Path, policy: Policy) -> Result<Self, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Internal(format!("{}: {error}", journal.display()));
        let (mut journal_file, left) = Journal::open(journal).map_err(|error| failed(&error))?;
        if !left.is_empty() {
            tracing::info!(journal = %journal.display(), changes = left.len(), "replaying changes that were not flushed");
            for operation in left {
                let again =
                    repeatable(&shard, operation).and_then(|operation| operation.map_or(Ok(()), |it| shard.update(it)));
                match again {
                    Ok(()) => {}
                    // To continue would lose it, because the journal is cleared afterwards.
                    Err(error @ (Error::Internal(_) | Error::Unavailable(_))) => return Err(failed(&error)),
                    // Killed before the rejection was recorded: the change was never acknowledged.
                    Err(error) => tracing::debug!(%error, "the engine rejected a replayed change"),
                }
            }
            shard.flush()?;
            journal_file.clear().map_err(|error| failed(&error))?;
        }
        if shard.was_optimizing() {
            store_once(&shard, |operation| {
                let mut record = Vec::new();
                let written = encode(operation, &mut record).and_then(|()| journal_file.append(&record, 1));
                written.map(|_| ()).map_err(|error| failed(&error))
            })?;
            shard.flush()?;
            journal_file.clear().map_err(|error| failed(&error))?;
            shard.settled()?;
        }
        let (commands, inbox) = channel();
        let work = Work {
            shard,
            health,
            journal: journal_file,
            buffer: Vec::new(),
            policy,
            inbox,
            // The optimiser reports to the inbox it was started from.
            outbox: commands.clone(),
            unflushed: None,
            new_bytes: 0,
            wants_optimizing: true,
            kept: HashSet::new(),
            exclusive: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("collection".to_owned())
            .stack_size(STACK)
            .spawn(move || work.run())
            .map_err(|error| Error::Internal(format!("cannot start a thread: {error}")))?;
        Ok(Self { commands, thread: Mutex::new(Some(thread)) })
    }

    /// Makes one change; returns its number once it survives the death of the process and, if it `waits`, is applied.
    /// Later requests to the writer see it in either case.
    ///
    /// # Errors
    /// The engine rejects the change, the disk is full, or the collection is closing.
    pub(super) async fn write(&self, operation: UpdateOperation, waits: bool) -> Result<u64, Error> {
        let closing = || Error::Unavailable("the collection is closing".to_owned());
        let (reply, answer) = oneshot::channel();
        let write = Write { operation: Box::new(operation), waits, reply };
        self.commands.send(Command::Write(write)).map_err(|_| closing())?;
        answer.await.map_err(|_| closing())?
    }

    /// Changes when the collection is optimised, and checks at once whether it is due.
    pub(super) fn set_policy(&self, policy: Policy) {
        // A writer that has ended has no policy.
        let _ = self.commands.send(Command::Policy(policy));
    }

    /// Runs `call` on the writer's thread, while everything is flushed and nothing is optimised.
    ///
    /// # Errors
    /// Those of `call`; or flushing failed, or the collection is closing.
    pub(super) async fn exclusively<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let closing = || Error::Unavailable("the collection is closing".to_owned());
        let (reply, answer) = oneshot::channel();
        let run = move |flushed: Result<(), Error>| {
            // The caller may be gone.
            let _ = reply.send(flushed.and_then(|()| call()));
        };
        self.commands.send(Command::Exclusive(Box::new(run))).map_err(|_| closing())?;
        answer.await.map_err(|_| closing())?
    }

    /// Asks the writer to flush and stop, without waiting.
    pub(super) fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
    }

    /// Waits for the writer to end; call [`Self::stop`] first.
    pub(super) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("a collection's writer panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Work {
    shard: Arc<Shard>,
    health: Arc<Health>,
    journal: Journal,
    buffer: Vec<u8>,
    policy: Policy,
    inbox: Receiver<Command>,
    outbox: Sender<Command>,
    /// Time of the oldest change that is not flushed.
    unflushed: Option<Instant>,
    /// Bytes of new vectors since the last optimisation.
    new_bytes: u64,
    wants_optimizing: bool,
    /// Points whose full content is in the journal.
    kept: HashSet<PointId>,
    /// Calls that wait for the end of an optimisation.
    exclusive: Vec<Exclusive>,
}

impl Work {
    fn run(mut self) {
        loop {
            let busy = self.unflushed.is_some() || self.wants_optimizing;
            let first = if busy {
                match self.inbox.recv_timeout(IDLE) {
                    Ok(command) => command,
                    Err(RecvTimeoutError::Timeout) => {
                        self.rest();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            } else {
                match self.inbox.recv() {
                    Ok(command) => command,
                    Err(_) => break,
                }
            };
            if !self.handle(first) {
                break;
            }
            self.run_exclusive();
            let overdue = self.unflushed.is_some_and(|since| since.elapsed() > FLUSH_EVERY);
            if overdue || self.journal.len() > JOURNAL_LIMIT {
                self.flush();
            }
            // A long upload is never idle, but must not grow without an index either.
            let much = self.policy.after_bytes.is_some_and(|bytes| self.new_bytes >= bytes.saturating_mul(8));
            if much && !self.health.optimizing.load(Ordering::Relaxed) {
                self.flush();
                self.optimize();
            }
        }
        self.flush();
    }

    /// Handles `first` and everything queued behind it; `false` means stop.
    fn handle(&mut self, first: Command) -> bool {
        let mut group = Vec::new();
        let mut next = Some(first);
        let mut go_on = true;
        while let Some(command) = next {
            match command {
                Command::Write(write) if self.takes_a_look(&write.operation) => {
                    // Its points are known only once everything before it is applied.
                    self.write(std::mem::take(&mut group));
                    group.extend(self.resolve(write));
                }
                Command::Write(write) => group.push(write),
                Command::Policy(policy) => {
                    self.policy = policy;
                    self.wants_optimizing = true;
                }
                Command::Optimized(result) => self.optimized(result),
                Command::Exclusive(call) => self.exclusive.push(call),
                Command::Stop => go_on = false,
            }
            next = if go_on && group.len() < GROUP { self.inbox.try_recv().ok() } else { None };
        }
        self.write(group);
        go_on
    }

    /// Whether the points of a change must be read before it is journalled.
    fn takes_a_look(&self, operation: &UpdateOperation) -> bool {
        depends_on_points(operation) || self.health.optimizing.load(Ordering::Relaxed) && keeps_parts(operation)
    }

    /// The change with its points by id; answers here if there is nothing to change or the change is invalid.
    fn resolve(&mut self, write: Write) -> Option<Write> {
        let Write { operation, waits, reply } = write;
        let resolved = resolve(&self.shard, *operation).and_then(|operation| {
            operation.iter().try_for_each(|operation| self.journal_parts(operation))?;
            Ok(operation)
        });
        match resolved {
            Ok(Some(operation)) => return Some(Write { operation: Box::new(operation), waits, reply }),
            Ok(None) => answer(reply, Ok(self.health.next_operation())),
            Err(error) => answer(reply, Err(error)),
        }
        None
    }

    /// Journals what the change keeps of its points, while segments are rewritten.
    ///
    /// A changed point moves to another segment. The rewritten segment comes to the disk without it when the
    /// optimisation ends, and the other one with it only at the next flush: killed in between, it is in neither.
    fn journal_parts(&mut self, operation: &UpdateOperation) -> Result<(), Error> {
        if !self.health.optimizing.load(Ordering::Relaxed) || !keeps_parts(operation) {
            return Ok(());
        }
        let ids: Vec<_> = operation.point_ids().into_iter().flatten().filter(|id| !self.kept.contains(id)).collect();
        for ids in ids.chunks(CHUNK) {
            self.buffer.clear();
            let encoded = encode(&storing(&self.shard, ids)?, &mut self.buffer);
            encoded.map_err(|error| Error::Internal(format!("journal: {error}")))?;
            self.journal_group(1)?;
            self.kept.extend(ids);
        }
        Ok(())
    }

    fn write(&mut self, group: Vec<Write>) {
        if group.is_empty() {
            return;
        }
        self.buffer.clear();
        let mut ready = Vec::with_capacity(group.len());
        for write in group {
            match encode(&write.operation, &mut self.buffer) {
                Ok(()) => ready.push(write),
                Err(error) => answer(write.reply, Err(Error::Internal(format!("journal: {error}")))),
            }
        }
        let first = match self.journal_group(ready.len()) {
            Ok(first) => first,
            Err(error) => {
                for write in ready {
                    answer(write.reply, Err(error.clone()));
                }
                return;
            }
        };
        self.unflushed.get_or_insert_with(Instant::now);
        let mut journalled = Vec::with_capacity(ready.len());
        for (record, Write { operation, waits, reply }) in (first..).zip(ready) {
            let number = self.health.next_operation();
            let waiting = if waits {
                Some(reply)
            } else {
                answer(reply, Ok(number));
                None
            };
            journalled.push((record, operation, number, waiting));
        }
        for (record, operation, number, waiting) in journalled {
            self.new_bytes += vector_bytes(&operation);
            let result = self.shard.update(*operation);
            if let Err(error) = &result {
                // Before the answer: a change reported as failed must not be replayed after a kill. One that names
                // missing points among others has changed the others, and clients have seen it.
                if !matches!(error, Error::NotFound(_))
                    && let Err(error) = self.journal.refuse(record)
                {
                    tracing::warn!(%error, "the next start may replay a rejected change");
                }
                if waiting.is_none() {
                    tracing::warn!(%error, "the engine rejected a change without wait");
                }
            }
            if let Some(reply) = waiting {
                answer(reply, result.map(|()| number));
            }
        }
        self.wants_optimizing = true;
        let due = self.policy.after_bytes.is_some_and(|bytes| self.new_bytes >= bytes);
        self.health.pending.store(due, Ordering::Relaxed);
    }

    fn journal_group(&mut self, count: usize) -> Result<u64, Error> {
        // The journal, the engine's log and its storage each take about as much as the records.
        check_room(self.shard.directory(), 4 * self.buffer.len() as u64)?;
        self.journal.append(&self.buffer, count).map_err(|error| Error::Internal(format!("journal: {error}")))
    }

    /// Called when idle.
    fn rest(&mut self) {
        self.flush();
        if self.wants_optimizing && !self.health.optimizing.load(Ordering::Relaxed) {
            self.optimize();
        }
    }

    /// Flushes unless segments are being rewritten; until then the journal keeps the changes.
    fn flush(&mut self) {
        if self.unflushed.is_none() || self.health.optimizing.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.flush_now() {
            tracing::error!(%error, "flush failed; the journal keeps the changes");
        }
    }

    /// Flushes; no optimisation may be running.
    fn flush_now(&mut self) -> Result<(), Error> {
        // Also after a failure: the next attempt waits for the next change or idle time.
        self.unflushed = None;
        self.shard.flush()?;
        self.kept.clear();
        self.journal.clear().map_err(|error| Error::Internal(format!("clearing the journal: {error}")))
    }

    fn optimize(&mut self) {
        self.wants_optimizing = false;
        if self.policy.after_bytes.is_none() {
            self.health.pending.store(false, Ordering::Relaxed);
            return;
        }
        self.new_bytes = 0;
        self.health.optimizing.store(true, Ordering::Relaxed);
        let shard = Arc::clone(&self.shard);
        let outbox = self.outbox.clone();
        let started = std::thread::Builder::new().name("optimizer".to_owned()).stack_size(STACK).spawn(move || {
            // Segments are rewritten beside the old ones.
            let room = check_room(shard.directory(), used(shard.directory()));
            let result = room.and_then(|()| shard.optimize());
            // The shard is released first: the removal of a collection waits for it.
            drop(shard);
            let _ = outbox.send(Command::Optimized(result));
        });
        if let Err(error) = started {
            self.optimized(Err(Error::Internal(format!("cannot start a thread: {error}"))));
        }
    }

    fn optimized(&mut self, result: Result<bool, Error>) {
        self.health.optimizing.store(false, Ordering::Relaxed);
        self.health.pending.store(false, Ordering::Relaxed);
        match result {
            Ok(changed) => {
                self.health.set_failure(None);
                if changed {
                    self.unflushed.get_or_insert_with(Instant::now);
                }
            }
            Err(error) => {
                tracing::error!(%error, "optimisation failed");
                self.health.set_failure(Some(error.to_string()));
            }
        }
    }
}

impl Work {
    /// Runs calls that need the shard exclusively, unless segments are being rewritten.
    fn run_exclusive(&mut self) {
        if self.health.optimizing.load(Ordering::Relaxed) {
            return;
        }
        for call in std::mem::take(&mut self.exclusive) {
            // The journal is cleared too: its changes may not fit the new shard.
            call(self.flush_now());
        }
    }
}

fn answer(reply: Reply, result: Result<u64, Error>) {
    // The client may be gone; the change is made anyway.
    let _ = reply.send(result);
}
