//! One direction of one connection: bytes are read, held for as long as the faults in force say, and written.

use std::collections::VecDeque;
use std::future::pending;
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::editor::Editor;
use super::log::{ByteObserver, ClosedBy};
use super::pipe::Pipe;
use crate::faults::Direction;
use crate::faults::network::{ActiveFaults, BLACKHOLE, CUT, Shaper};

/// Bytes read at once.
const CHUNK: usize = 256 * 1024;
/// A read of this many bytes suggests that more follow: then a pipe pays, through which bytes go without being copied.
const BULK: usize = 64 * 1024;
/// What such a pipe holds: as much as Linux permits every user by default (`fs.pipe-max-size`). With a quarter of it, the
/// same bytes were measured to take half as much processor time again.
const PIPE: usize = 1 << 20;
/// Chunks that may wait to be written; beyond that the sender has to wait.
const MAX_QUEUE: usize = 64;

/// Why a direction ended.
pub(super) enum End {
    /// The sender closed, and the close was passed on.
    Closed,
    /// The connection must be reset.
    Reset(ClosedBy),
}

/// What waits until it is due.
enum Queued {
    Bytes(Vec<u8>),
    Close,
}

/// The pipe of one direction for bulk data.
enum BulkPipe {
    NotCreated,
    Created(Pipe),
    /// The system has none.
    Unavailable,
}

/// One direction, before it has its sockets.
pub(super) struct Link<'a> {
    pub(super) way: Direction,
    pub(super) active_faults: watch::Receiver<Arc<ActiveFaults>>,
    /// Cuts before this connection was opened.
    pub(super) cuts: usize,
    /// The fault that answers this connection, if the service does not.
    pub(super) answered: Option<u64>,
    /// Bytes that were passed on.
    pub(super) passed: &'a AtomicU64,
    /// Whether the client sent the last byte.
    pub(super) awaits_answer: &'a AtomicBool,
    /// Whether a fault has reset the connection: both directions notice, and it counts once.
    pub(super) is_reset: &'a AtomicBool,
    /// Reads the bytes that pass, where the log needs to know about them.
    pub(super) observer: Option<ByteObserver<'a>>,
    /// Refuses single requests, where the protocol is known.
    pub(super) editor: Option<Editor>,
}

impl Link<'_> {
    /// Passes bytes on until one side closes, fails, or a fault resets the connection.
    pub(super) async fn pump(self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> End {
        let pump = Pump {
            link: self,
            from,
            to,
            queue: VecDeque::new(),
            is_over: false,
            has_lost: false,
            shaper: Shaper::new(),
            pipe: BulkPipe::NotCreated,
        };
        pump.run().await
    }
}

struct Pump<'a> {
    link: Link<'a>,
    from: &'a mut OwnedReadHalf,
    to: &'a mut OwnedWriteHalf,
    queue: VecDeque<(Instant, Queued)>,
    /// Whether the sender has closed.
    is_over: bool,
    /// Whether bytes or a close were swallowed: the stream has a gap.
    has_lost: bool,
    shaper: Shaper,
    pipe: BulkPipe,
}

impl Pump<'_> {
    async fn run(mut self) -> End {
        let mut buffer = vec![0; CHUNK];
        loop {
            let faults = Arc::clone(&self.link.active_faults.borrow_and_update());
            if let Some(end) = self.reset_by_fault(&faults) {
                return end;
            }
            if self.has_lost && faults.swallowing(self.link.way).is_none() {
                return End::Reset(ClosedBy::Fault(BLACKHOLE));
            }
            let due = self.queue.front().map(|(due, _)| *due);
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => pending().await,
                }
            };
            let step = tokio::select! {
                biased;
                // Without its proxy a connection has no more faults; it goes on until it is dropped.
                Ok(()) = self.link.active_faults.changed() => Continue(()),
                () = wait => self.write_queued().await,
                read = self.from.read(&mut buffer), if !self.is_over && self.queue.len() < MAX_QUEUE => {
                    let Ok(count) = read else { return End::Reset(self.sender()) };
                    self.count_read();
                    if count == 0 { self.close(&faults).await } else { self.pass(&faults, &buffer[..count]).await }
                }
            };
            if let Break(end) = step {
                return end;
            }
        }
    }

    /// Writes what is due.
    async fn write_queued(&mut self) -> ControlFlow<End> {
        match self.queue.pop_front() {
            Some((_, Queued::Bytes(bytes))) => into_flow(self.write(&bytes).await),
            Some((_, Queued::Close)) => Break(self.shut_down().await),
            None => Continue(()),
        }
    }

    async fn shut_down(&mut self) -> End {
        // A receiver that has closed already needs no close.
        let _ = self.to.shutdown().await;
        End::Closed
    }

    /// The sender has closed.
    async fn close(&mut self, faults: &ActiveFaults) -> ControlFlow<End> {
        let now = Instant::now();
        self.is_over = true;
        if faults.swallowing(self.link.way).is_some() {
            // The close is swallowed too.
            self.has_lost = true;
            return Continue(());
        }
        let held_back = self.link.editor.as_mut().map(Editor::finish).unwrap_or_default();
        if !held_back.is_empty() {
            self.forward(faults, &held_back).await?;
        }
        let delay = Shaper::close_delay(faults, self.link.way);
        if self.queue.is_empty() && delay.is_zero() {
            return Break(self.shut_down().await);
        }
        let last = self.queue.back().map_or(now, |(due, _)| *due);
        self.queue.push_back((last.max(now + delay), Queued::Close));
        Continue(())
    }

    /// The sender has sent `bytes`.
    async fn pass(&mut self, faults: &ActiveFaults, bytes: &[u8]) -> ControlFlow<End> {
        if let Some(active) = faults.swallowing(self.link.way) {
            if !self.has_lost {
                active.effect.count_connection();
            }
            active.effect.count_bytes(bytes.len());
            self.has_lost = true;
            return Continue(());
        }
        let Some(editor) = &mut self.link.editor else { return self.forward(faults, bytes).await };
        let (edited, has_ended) = (editor.edit(faults, bytes), editor.has_ended());
        if !edited.is_empty() {
            self.forward(faults, &edited).await?;
        }
        if has_ended { self.close(faults).await } else { Continue(()) }
    }

    /// Passes on what the faults that change bytes on their way let through.
    async fn forward(&mut self, faults: &ActiveFaults, bytes: &[u8]) -> ControlFlow<End> {
        let (now, way, read) = (Instant::now(), self.link.way, bytes.len());
        let shaped = self.shaper.shape(faults, way, read, self.queue.is_empty(), now);
        let bytes = &bytes[..shaped.count];
        if self.queue.is_empty() && shaped.due <= now && shaped.rate.is_none() {
            if let Some(end) = self.write(bytes).await {
                return Break(end);
            }
            if read >= BULK
                && self.link.observer.is_none()
                && self.link.editor.is_none()
                && faults.is_empty_for(way)
                && let Some(end) = self.splice_bulk().await
            {
                return Break(end);
            }
        } else {
            // Bytes never overtake each other.
            let due = shaped.due.max(self.queue.back().map_or(now, |(due, _)| *due));
            self.enqueue(bytes, due, shaped.rate);
        }
        match shaped.reset_by {
            Some(word) => Break(self.flush_and_reset(word).await),
            None => Continue(()),
        }
    }

    /// Splices bulk data, where the system has a pipe for it.
    async fn splice_bulk(&mut self) -> Option<End> {
        let pipe = match std::mem::replace(&mut self.pipe, BulkPipe::Unavailable) {
            BulkPipe::NotCreated => Pipe::new(PIPE).ok()?,
            BulkPipe::Created(pipe) => pipe,
            BulkPipe::Unavailable => return None,
        };
        let end = self.splice(&pipe).await;
        self.pipe = BulkPipe::Created(pipe);
        end
    }

    /// Moves bytes on without looking at them, until the faults change or the sender has no more; then the loop of
    /// [`Pump::run`] takes over again.
    async fn splice(&mut self, pipe: &Pipe) -> Option<End> {
        loop {
            let mut rest = tokio::select! {
                biased;
                Ok(()) = self.link.active_faults.changed() => {
                    self.link.active_faults.mark_changed();
                    return None;
                }
                filled = pipe.fill(self.from) => match filled {
                    // The next read of the pump sees the close too.
                    Ok(0) => return None,
                    Ok(count) => count,
                    Err(_) => return Some(End::Reset(self.sender())),
                },
            };
            self.count_read();
            let mut has_changed = false;
            while rest > 0 {
                tokio::select! {
                    biased;
                    drained = pipe.drain(self.to, rest) => match drained {
                        Ok(0) | Err(_) => return Some(End::Reset(self.receiver())),
                        Ok(count) => {
                            self.count_passed(count);
                            rest -= count;
                        }
                    },
                    Ok(()) = self.link.active_faults.changed() => {
                        if let Some(end) = self.lose(rest).await {
                            return Some(end);
                        }
                        has_changed = true;
                    }
                }
            }
            // The new faults were applied to the bytes on their way only: they must apply to the next ones too.
            if has_changed {
                return None;
            }
        }
    }

    /// Queues bytes, in portions where bandwidth is limited.
    fn enqueue(&mut self, bytes: &[u8], due: Instant, rate: Option<u64>) {
        match rate {
            None => self.queue.push_back((due, Queued::Bytes(bytes.to_vec()))),
            Some(rate) => {
                let portions = self.shaper.throttle.portions(bytes, due, rate, CHUNK);
                self.queue.extend(portions.map(|(due, portion)| (due, Queued::Bytes(portion.to_vec()))));
            }
        }
    }

    /// Ends the connection after what the fault lets through has been written.
    async fn flush_and_reset(&mut self, word: &'static str) -> End {
        while let Some((due, Queued::Bytes(bytes))) = self.queue.pop_front() {
            tokio::time::sleep_until(due.into()).await;
            if let Some(end) = self.write(&bytes).await {
                return end;
            }
        }
        End::Reset(ClosedBy::Fault(word))
    }

    /// How a fault in force resets this connection, if one does.
    fn reset_by_fault(&self, faults: &ActiveFaults) -> Option<End> {
        let (effect, word) = if let Some(effect) = faults.cut(self.link.cuts) {
            (effect, CUT)
        } else if faults.answering().map(|(active, _)| active.id) != self.link.answered {
            // It leads to the service while a fault answers, or to a fault that is over.
            return Some(End::Reset(ClosedBy::Fault("answer")));
        } else {
            let active = faults.resetting()?;
            (&active.effect, active.fault.word())
        };
        if !self.link.is_reset.swap(true, Ordering::Relaxed) {
            effect.count_connection();
        }
        Some(End::Reset(ClosedBy::Fault(word)))
    }

    /// Writes all of `bytes`, unless a fault ends the connection in the meantime.
    async fn write(&mut self, bytes: &[u8]) -> Option<End> {
        let mut rest = bytes;
        while !rest.is_empty() {
            tokio::select! {
                biased;
                written = self.to.write(rest) => match written {
                    Ok(0) | Err(_) => return Some(End::Reset(self.receiver())),
                    Ok(count) => {
                        self.count_passed(count);
                        rest = &rest[count..];
                    }
                },
                // The receiver does not read: look at the faults meanwhile.
                Ok(()) = self.link.active_faults.changed() => {
                    if let Some(end) = self.lose(rest.len()).await {
                        return Some(end);
                    }
                }
            }
        }
        if let Some(observer) = &mut self.link.observer {
            observer.read(bytes);
        }
        None
    }

    /// How the connection ends if the faults, which have changed, take `rest` bytes that are on their way.
    async fn lose(&mut self, rest: usize) -> Option<End> {
        let faults = Arc::clone(&self.link.active_faults.borrow_and_update());
        if let Some(end) = self.reset_by_fault(&faults) {
            return Some(end);
        }
        // A part of the chunk has gone through. The rest is lost, so the stream is of no use any more.
        let active = faults.swallowing(self.link.way)?;
        active.effect.count_connection();
        active.effect.count_bytes(rest);
        self.link.active_faults.mark_changed();
        Some(self.swallow().await)
    }

    /// Swallows until no fault does so any more, then has the connection reset.
    async fn swallow(&mut self) -> End {
        let mut buffer = vec![0; CHUNK];
        loop {
            let faults = Arc::clone(&self.link.active_faults.borrow_and_update());
            if let Some(end) = self.reset_by_fault(&faults) {
                return end;
            }
            let Some(active) = faults.swallowing(self.link.way) else {
                return End::Reset(ClosedBy::Fault(BLACKHOLE));
            };
            tokio::select! {
                Ok(()) = self.link.active_faults.changed() => {}
                read = self.from.read(&mut buffer) => match read {
                    Ok(count) if count > 0 => active.effect.count_bytes(count),
                    _ => {
                        // The sender has closed; the receiver must not learn of it before the fault ends.
                        if self.link.active_faults.changed().await.is_err() {
                            return End::Closed;
                        }
                    }
                },
            }
        }
    }

    /// Records that the sender sent something.
    fn count_read(&self) {
        if self.link.way == Direction::Up {
            self.link.awaits_answer.store(true, Ordering::Relaxed);
        }
    }

    /// Records that `count` bytes were written.
    fn count_passed(&self, count: usize) {
        self.link.passed.fetch_add(count as u64, Ordering::Relaxed);
        if self.link.way == Direction::Down {
            self.link.awaits_answer.store(false, Ordering::Relaxed);
        }
    }

    /// Who closed the connection if it cannot be read.
    const fn sender(&self) -> ClosedBy {
        match self.link.way {
            Direction::Up => ClosedBy::Client,
            _ => ClosedBy::Server,
        }
    }

    /// Who closed the connection if it cannot be written.
    const fn receiver(&self) -> ClosedBy {
        match self.link.way {
            Direction::Up => ClosedBy::Server,
            _ => ClosedBy::Client,
        }
    }
}

fn into_flow(end: Option<End>) -> ControlFlow<End> {
    end.map_or(Continue(()), Break)
}
