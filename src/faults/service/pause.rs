//! `pause`: SIGSTOP to the service, and SIGCONT when the fault is over.
//!
//! Evidence: bytes and connections that the worker sends while it is stopped.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{InjectContext, Revert, ServiceFaultError, ServiceKind, Undo};

pub(super) struct Pause;

impl ServiceKind for Pause {
    fn inject<'a>(&'a self, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<Undo, ServiceFaultError>> {
        async {
            let (stack, service) = context.stack()?;
            context.of_stack(stack.pause(service)).await?;
            Ok(Some(Box::new(Resume) as Box<dyn Revert>))
        }
        .boxed()
    }
}

#[derive(Debug)]
struct Resume;

impl Revert for Resume {
    fn revert<'a>(self: Box<Self>, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<(), ServiceFaultError>> {
        async {
            let (stack, service) = context.stack()?;
            context.of_stack(stack.resume(service)).await
        }
        .boxed()
    }
}
