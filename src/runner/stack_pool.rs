//! Further stacks, for scenarios that disturb a service: no other scenario runs on them at the same time.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

use crate::outcome::Events;
use crate::stack::{Ports, ProviderKind, Stack, StackError, StackOptions};

/// Maximum number of stacks in the pool. These scenarios mostly wait for a service to come back, so two at once help; more
/// would cost more memory than they save time.
pub(super) const POOL_SIZE: usize = 2;

/// Maximum number of stacks for a worker with fixed names, for which every scenario needs its own stack.
pub(super) const FIXED_NAMES: usize = 4;

/// Connection limit of Postgres in these stacks. A scenario needs a dozen; a fault that takes all other connections needs
/// less than a second for so few.
const CONNECTIONS: u32 = 40;

/// How to start a further stack.
#[derive(Debug, Clone)]
pub struct StackPoolOptions {
    /// The provider; the same as that of the first stack.
    pub kind: ProviderKind,
    /// The options of the first stack. `keep`, `reuse` and `ports` do not apply to further ones.
    pub stack: StackOptions,
}

/// Stacks that start when they are first needed. Each is leased to one scenario at a time.
#[derive(Debug)]
pub(super) struct StackPool {
    options: Option<StackPoolOptions>,
    permits: Semaphore,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    stacks: Vec<Arc<Stack>>,
    started: usize,
}

/// A stack that one scenario has to itself until it is released.
pub(super) struct StackLease<'a> {
    pool: &'a StackPool,
    pub(super) stack: Arc<Stack>,
    _permit: SemaphorePermit<'a>,
}

impl StackPool {
    pub(super) fn new(options: Option<StackPoolOptions>, size: usize) -> Self {
        Self { options, permits: Semaphore::new(size), idle: Mutex::default() }
    }

    /// Waits until a stack is free or can be started. `None` without options.
    pub(super) async fn acquire(&self) -> Result<Option<StackLease<'_>>, StackError> {
        let Some(options) = &self.options else { return Ok(None) };
        let Ok(permit) = self.permits.acquire().await else { return Ok(None) };
        let mut idle = self.idle.lock().await;
        if let Some(stack) = idle.stacks.pop() {
            return Ok(Some(StackLease { pool: self, stack, _permit: permit }));
        }
        idle.started += 1;
        let number = idle.started;
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

    /// Removes all stacks; gives one line for each error.
    pub(super) async fn stop(&self) -> Vec<String> {
        let stacks = std::mem::take(&mut self.idle.lock().await.stacks);
        // A stack that is still in use is removed when its last user drops it.
        let stops = stacks.into_iter().filter_map(|stack| Arc::try_unwrap(stack).ok()).map(Stack::stop);
        futures::future::join_all(stops).await.into_iter().flatten().collect()
    }
}

impl StackLease<'_> {
    /// Returns the stack to the pool, or removes it if it is not `intact`; gives one line for each error.
    pub(super) async fn release(self, intact: bool) -> Vec<String> {
        if intact {
            self.pool.idle.lock().await.stacks.push(self.stack);
            return Vec::new();
        }
        match Arc::try_unwrap(self.stack) {
            Ok(stack) => stack.stop().await,
            Err(_) => Vec::new(),
        }
    }
}
