//! One direction of one connection: bytes are read, held for as long as the active faults says, and written.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::active::ActiveFaults;
use super::log::{ClosedBy, Tapped};
use super::pipe::Pipe;
use crate::faults::Direction;

/// Bytes read at once.
const CHUNK: usize = 256 * 1024;
/// One that reads this much at once has more to come: it is worth a pipe, through which bytes go without being copied.
const BULK: usize = 64 * 1024;
/// What such a pipe holds: as much as Linux permits everybody by default (`fs.pipe-max-size`). A quarter of it was
/// measured to take half as long again of the processor for the same bytes.
const PIPE: usize = 1 << 20;
/// Chunks that may wait for their time; then the sender has to wait.
const WAITING: usize = 64;
/// A connection of limited bandwidth gets its bytes in turns of this length.
const TURN: Duration = Duration::from_millis(20);

/// Why a direction ended.
pub(super) enum End {
    /// The sender closed, and the receiver was told.
    Closed,
    /// The connection must be reset.
    Reset(ClosedBy),
}

/// Something that waits for its time.
enum Held {
    Bytes(Vec<u8>),
    Close,
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
    /// Whether the client spoke last.
    pub(super) asked: &'a AtomicBool,
    /// Whether a fault has reset the connection: both directions notice, and it counts once.
    pub(super) injected: &'a AtomicBool,
    /// What is read of the bytes that pass, where somebody wants to know.
    pub(super) tap: Option<Tapped<'a>>,
}

impl Link<'_> {
    /// Passes bytes on until one side closes, fails, or a fault resets the connection.
    pub(super) async fn pump(self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> End {
        Pump { line: self, from, to }.run().await
    }
}

struct Pump<'a> {
    line: Link<'a>,
    from: &'a mut OwnedReadHalf,
    to: &'a mut OwnedWriteHalf,
}

impl Pump<'_> {
    async fn run(mut self) -> End {
        let mut buffer = vec![0; CHUNK];
        let mut queue: VecDeque<(Instant, Held)> = VecDeque::new();
        let mut over = false;
        let mut swallowed = false;
        let mut pipe = None;
        // What a limit has let through, and the fault that it belongs to.
        let mut limited: Option<(u64, u64)> = None;
        // The faults that held bytes back last.
        let (mut delayed, mut slowed) = (None, None);
        // When the next byte of limited bandwidth may go.
        let mut free = Instant::now();
        loop {
            let active_faults = Arc::clone(&self.line.active_faults.borrow_and_update());
            if let Some(end) = self.injected(&active_faults) {
                return end;
            }
            if swallowed && active_faults.swallowing(self.line.way).is_none() {
                return End::Reset(ClosedBy::Fault("blackhole"));
            }
            let due = queue.front().map(|(due, _)| *due);
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                // A proxy that is gone has no active faults any more: the connection goes on until it is dropped.
                Ok(()) = self.line.active_faults.changed() => {}
                () = wait => {
                    let Some((_, held)) = queue.pop_front() else { continue };
                    match held {
                        Held::Bytes(bytes) => {
                            if let Some(end) = self.write(&bytes).await {
                                return end;
                            }
                        }
                        Held::Close => {
                            // One that is closed already needs no telling.
                            let _ = self.to.shutdown().await;
                            return End::Closed;
                        }
                    }
                }
                read = self.from.read(&mut buffer), if !over && queue.len() < WAITING => {
                    let Ok(count) = read else { return End::Reset(self.sender()) };
                    let now = Instant::now();
                    self.came();
                    if count == 0 {
                        over = true;
                        if active_faults.swallowing(self.line.way).is_some() {
                            // A close that goes nowhere either.
                            swallowed = true;
                            continue;
                        }
                        let delay = active_faults.slow_close(self.line.way).map_or(Duration::ZERO, |(active, delay)| {
                            active.effect.hit();
                            delay
                        });
                        if queue.is_empty() && delay.is_zero() {
                            let _ = self.to.shutdown().await;
                            return End::Closed;
                        }
                        let last = queue.back().map_or(now, |(due, _)| *due);
                        queue.push_back((last.max(now + delay), Held::Close));
                        continue;
                    }
                    if let Some(active) = active_faults.swallowing(self.line.way) {
                        if !swallowed {
                            active.effect.hit();
                        }
                        active.effect.touch(count);
                        swallowed = true;
                        continue;
                    }
                    let mut bytes = &buffer[..count];
                    let mut cut_after = None;
                    if let Some((active, limit)) = active_faults.limit(self.line.way) {
                        let seen = match limited {
                            Some((id, seen)) if id == active.id => seen,
                            _ => 0,
                        };
                        let room = usize::try_from(limit.saturating_sub(seen)).unwrap_or(usize::MAX);
                        if count > room {
                            bytes = &bytes[..room];
                            active.effect.hit();
                            active.effect.touch(count - room);
                            cut_after = Some(End::Reset(ClosedBy::Fault("limit_data")));
                        }
                        limited = Some((active.id, seen + count as u64));
                    }
                    let mut due = now;
                    if let Some((active, (delay, jitter))) = active_faults.latency(self.line.way) {
                        due += spread(delay, jitter);
                        if delayed.replace(active.id) != Some(active.id) || queue.is_empty() {
                            active.effect.hit();
                        }
                        active.effect.touch(count);
                    }
                    let rate = active_faults.bandwidth(self.line.way).map(|(active, rate)| {
                        if slowed.replace(active.id) != Some(active.id) || free <= now {
                            active.effect.hit();
                        }
                        active.effect.touch(count);
                        rate
                    });
                    let direct = queue.is_empty() && due <= now && rate.is_none();
                    if direct {
                        let bytes = bytes.len();
                        if let Some(end) = write(&mut self, &buffer[..bytes]).await {
                            return end;
                        }
                        if count >= BULK
                            && self.line.tap.is_none()
                            && active_faults.is_empty_for(self.line.way)
                            && let Some(pipe) = pipe.get_or_insert_with(|| Pipe::new(PIPE).ok())
                            && let Some(end) = splice(&mut self, pipe).await
                        {
                            return end;
                        }
                    } else {
                        // Bytes never overtake each other.
                        due = due.max(queue.back().map_or(now, |(due, _)| *due));
                        hold(&mut queue, bytes, due, rate, &mut free);
                    }
                    if let Some(end) = cut_after {
                        // What was let through arrives before the reset.
                        while let Some((due, Held::Bytes(bytes))) = queue.pop_front() {
                            tokio::time::sleep_until(due.into()).await;
                            if let Some(end) = self.write(&bytes).await {
                                return end;
                            }
                        }
                        return end;
                    }
                }
            }
        }
    }

    /// Whether the active faults resets this connection.
    fn injected(&self, active_faults: &ActiveFaults) -> Option<End> {
        let (effect, word) = if let Some(effect) = active_faults.cut(self.line.cuts) {
            (effect, "cut")
        } else if active_faults.answering().map(|(active, _)| active.id) != self.line.answered {
            // It leads to the service while a fault is to answer, or to a fault that is over.
            return Some(End::Reset(ClosedBy::Fault("answer")));
        } else {
            let active = active_faults.refusing()?;
            (&active.effect, active.fault.word())
        };
        if !self.line.injected.swap(true, Ordering::Relaxed) {
            effect.hit();
        }
        Some(End::Reset(ClosedBy::Fault(word)))
    }

    async fn write(&mut self, bytes: &[u8]) -> Option<End> {
        write(self, bytes).await
    }

    /// Something was read.
    fn came(&self) {
        if self.line.way == Direction::Up {
            self.line.asked.store(true, Ordering::Relaxed);
        }
    }

    /// So many bytes were written.
    fn passed(&self, count: usize) {
        self.line.passed.fetch_add(count as u64, Ordering::Relaxed);
        if self.line.way == Direction::Down {
            self.line.asked.store(false, Ordering::Relaxed);
        }
    }

    /// Who is to blame if nothing can be read.
    const fn sender(&self) -> ClosedBy {
        match self.line.way {
            Direction::Up => ClosedBy::Client,
            _ => ClosedBy::Server,
        }
    }

    /// Who is to blame if nothing can be written.
    const fn receiver(&self) -> ClosedBy {
        match self.line.way {
            Direction::Up => ClosedBy::Server,
            _ => ClosedBy::Client,
        }
    }
}

/// Moves bytes on without looking at them, until the active faults changes or the sender has no more: the loop of the pump
/// sees to both.
async fn splice(pump: &mut Pump<'_>, pipe: &Pipe) -> Option<End> {
    loop {
        let mut rest = tokio::select! {
            biased;
            Ok(()) = pump.line.active_faults.changed() => {
                pump.line.active_faults.mark_changed();
                return None;
            }
            filled = pipe.fill(pump.from) => match filled {
                // Whoever reads next is told the same.
                Ok(0) => return None,
                Ok(count) => count,
                Err(_) => return Some(End::Reset(pump.sender())),
            },
        };
        pump.came();
        let mut turned = false;
        while rest > 0 {
            tokio::select! {
                biased;
                drained = pipe.drain(pump.to, rest) => match drained {
                    Ok(0) | Err(_) => return Some(End::Reset(pump.receiver())),
                    Ok(count) => {
                        pump.passed(count);
                        rest -= count;
                    }
                },
                Ok(()) = pump.line.active_faults.changed() => {
                    if let Some(end) = lost(pump, rest).await {
                        return Some(end);
                    }
                    turned = true;
                }
            }
        }
        // The active faults has been looked at for what was on its way only: what comes next must meet it too.
        if turned {
            return None;
        }
    }
}

/// What the active faults, which has changed, makes of `rest` bytes that are on their way.
async fn lost(pump: &mut Pump<'_>, rest: usize) -> Option<End> {
    let active_faults = Arc::clone(&pump.line.active_faults.borrow_and_update());
    if let Some(end) = pump.injected(&active_faults) {
        return Some(end);
    }
    // Half a chunk has gone through: the rest goes nowhere, and the stream is of no use any more.
    let active = active_faults.swallowing(pump.line.way)?;
    active.effect.hit();
    active.effect.touch(rest);
    pump.line.active_faults.mark_changed();
    Some(hole(pump).await)
}

/// Writes all of `bytes`, unless a fault strikes in the meantime.
async fn write(pump: &mut Pump<'_>, bytes: &[u8]) -> Option<End> {
    let mut rest = bytes;
    while !rest.is_empty() {
        tokio::select! {
            biased;
            written = pump.to.write(rest) => match written {
                Ok(0) | Err(_) => return Some(End::Reset(pump.receiver())),
                Ok(count) => {
                    pump.passed(count);
                    rest = &rest[count..];
                }
            },
            // The receiver takes nothing, so the active faults is asked instead.
            Ok(()) = pump.line.active_faults.changed() => {
                if let Some(end) = lost(pump, rest.len()).await {
                    return Some(end);
                }
            }
        }
    }
    if let Some(tap) = &mut pump.line.tap {
        tap.read(bytes);
    }
    None
}

/// Swallows until the blackhole ends, then has the connection reset.
async fn hole(pump: &mut Pump<'_>) -> End {
    let mut buffer = vec![0; CHUNK];
    loop {
        let active_faults = Arc::clone(&pump.line.active_faults.borrow_and_update());
        if let Some(end) = pump.injected(&active_faults) {
            return end;
        }
        let Some(active) = active_faults.swallowing(pump.line.way) else {
            return End::Reset(ClosedBy::Fault("blackhole"));
        };
        tokio::select! {
            Ok(()) = pump.line.active_faults.changed() => {}
            read = pump.from.read(&mut buffer) => match read {
                Ok(count) if count > 0 => active.effect.touch(count),
                _ => {
                    // The sender has gone; the receiver must not know before the hole ends.
                    if pump.line.active_faults.changed().await.is_err() {
                        return End::Closed;
                    }
                }
            },
        }
    }
}

/// Puts bytes in the queue, in turns where bandwidth is limited.
fn hold(queue: &mut VecDeque<(Instant, Held)>, bytes: &[u8], due: Instant, rate: Option<u64>, free: &mut Instant) {
    let Some(rate) = rate else {
        queue.push_back((due, Held::Bytes(bytes.to_vec())));
        return;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "bytes of a turn"
    )]
    let turn = ((rate as f64 * TURN.as_secs_f64()) as usize).clamp(1, CHUNK);
    for part in bytes.chunks(turn) {
        #[expect(clippy::cast_precision_loss, reason = "a share of a second")]
        let takes = Duration::from_secs_f64(part.len() as f64 / rate as f64);
        *free = (*free).max(due) + takes;
        queue.push_back((*free, Held::Bytes(part.to_vec())));
    }
}

/// `delay`, give or take `jitter`.
fn spread(delay: Duration, jitter: Duration) -> Duration {
    if jitter.is_zero() {
        return delay;
    }
    let share: f64 = rand::rng().random_range(-1.0..=1.0);
    let moved = delay.as_secs_f64() + share * jitter.as_secs_f64();
    Duration::from_secs_f64(moved.max(0.0))
}
