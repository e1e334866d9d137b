//! Further stacks, for scenarios that disturb a service itself: what they do is felt by nobody else.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

use crate::outcome::Events;
use crate::stack::{Ports, ProviderKind, Stack, StackError, StackOptions};

/// How many there are at most. Such a scenario mostly waits for a service to come back, so two go side by side; more
/// would cost more memory than they save time.
pub(super) const POOL_SIZE: usize = 2;

/// How many there are for a worker with names of its own, every scenario of which needs a stack.
pub(super) const FIXED_NAMES: usize = 4;

/// Connections that its Postgres permits: one scenario needs a dozen, and one that takes all the others has taken
/// them in less than a second.
const CONNECTIONS: u32 = 40;

/// How a further stack is made.
#[derive(Debug, Clone)]
pub struct StackPoolOptions {
    /// The provider, the same as the first stack's.
    pub kind: ProviderKind,
    /// The options of the first stack; what stays or is shared does not apply to the others.
    pub stack: StackOptions,
}

/// Stacks that are made when they are first needed; each belongs to one scenario at a time.
#[derive(Debug)]
pub(super) struct StackPool {
    options: Option<StackPoolOptions>,
    permits: Semaphore,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    stacks: Vec<Arc<Stack>>,
    made: usize,
}

/// A stack, for as long as one scenario has it.
pub(super) struct StackLease<'a> {
    pool: &'a StackPool,
    pub(super) stack: Arc<Stack>,
    _permit: SemaphorePermit<'a>,
}

impl StackPool {
    pub(super) fn new(options: Option<StackPoolOptions>, most: usize) -> Self {
        Self { options, permits: Semaphore::new(most), idle: Mutex::default() }
    }

    /// Waits until one is free, or can be made. `None` where there can be none.
    pub(super) async fn acquire(&self) -> Result<Option<StackLease<'_>>, StackError> {
        let Some(options) = &self.options else { return Ok(None) };
        let Ok(permit) = self.permits.acquire().await else { return Ok(None) };
        let mut idle = self.idle.lock().await;
        if let Some(stack) = idle.stacks.pop() {
            return Ok(Some(StackLease { pool: self, stack, _permit: permit }));
        }
        idle.made += 1;
        let number = idle.made;
        drop(idle);
        let mut own = options.stack.clone();
        own.run = format!("{}-s{number}", own.run);
        own.keep = false;
        own.reuse = false;
        own.ports = Ports::default();
        own.postgres_connections = CONNECTIONS;
        let stack = Arc::new(Box::pin(Stack::start(options.kind, own, &Events::silent())).await?);
        Ok(Some(StackLease { pool: self, stack, _permit: permit }))
    }

    /// Removes them all; says what could not be removed.
    pub(super) async fn stop(&self) -> Vec<String> {
        let stacks = std::mem::take(&mut self.idle.lock().await.stacks);
        // One that somebody still has is removed when that one drops it.
        let stops = stacks.into_iter().filter_map(|stack| Arc::try_unwrap(stack).ok()).map(Stack::stop);
        futures::future::join_all(stops).await.into_iter().flatten().collect()
    }
}

impl StackLease<'_> {
    /// Gives it back; one that may be broken is removed instead, and gives what could not be.
    pub(super) async fn release(self, whole: bool) -> Vec<String> {
        if whole {
            self.pool.idle.lock().await.stacks.push(self.stack);
            return Vec::new();
        }
        match Arc::try_unwrap(self.stack) {
            Ok(stack) => stack.stop().await,
            Err(_) => Vec::new(),
        }
    }
}
