//! A second stack, for scenarios that disturb a service itself: what they do is felt by nobody else.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use crate::outcome::Events;
use crate::stack::{ProviderKind, Stack, StackError, StackOptions};

/// How the second stack is made.
#[derive(Debug, Clone)]
pub struct SpareOptions {
    /// The provider, the same as the first stack's.
    pub kind: ProviderKind,
    /// The options of the first stack; what stays or is shared does not apply to the second.
    pub stack: StackOptions,
}

/// Made when it is first needed; one scenario at a time has it.
#[derive(Debug)]
pub(super) struct Spare {
    options: Option<SpareOptions>,
    stack: Mutex<Option<Arc<Stack>>>,
}

/// The second stack, for as long as one scenario has it.
pub(super) struct Lent<'a>(MutexGuard<'a, Option<Arc<Stack>>>);

impl Spare {
    pub(super) fn new(options: Option<SpareOptions>) -> Self {
        Self { options, stack: Mutex::new(None) }
    }

    /// Waits until nobody else has it; starts it if it is not there. `None` where there can be none.
    pub(super) async fn lend(&self) -> Result<Option<(Lent<'_>, Arc<Stack>)>, StackError> {
        let Some(options) = &self.options else { return Ok(None) };
        let mut place = self.stack.lock().await;
        if place.is_none() {
            let mut own = options.stack.clone();
            own.run = format!("{}-b", own.run);
            own.keep = false;
            own.reuse = false;
            own.ports = crate::stack::Ports::default();
            *place = Some(Arc::new(Box::pin(Stack::start(options.kind, own, &Events::silent())).await?));
        }
        Ok(place.clone().map(|stack| (Lent(place), stack)))
    }

    /// Removes it; says what could not be removed.
    pub(super) async fn stop(&self) -> Vec<String> {
        let Some(stack) = self.stack.lock().await.take() else { return Vec::new() };
        match Arc::try_unwrap(stack) {
            Ok(stack) => stack.stop().await,
            // Whoever still has it removes it by dropping it.
            Err(_) => Vec::new(),
        }
    }
}

impl Lent<'_> {
    /// It may be broken: the next scenario gets a new one.
    pub(super) async fn discard(mut self) {
        if let Some(stack) = self.0.take().and_then(|stack| Arc::try_unwrap(stack).ok()) {
            stack.stop().await;
        }
    }
}
