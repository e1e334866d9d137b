//! `kill`: SIGKILL to the service, which is started again over the same data when the fault is over.
//!
//! Evidence: bytes and connections that the worker sends while it is down.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{InjectContext, Revert, ServiceFaultError, ServiceKind, Undo};

pub(super) struct Kill;

impl ServiceKind for Kill {
    fn inject<'a>(&'a self, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<Undo, ServiceFaultError>> {
        async {
            let (stack, service) = context.stack()?;
            context.of_stack(stack.kill(service)).await?;
            Ok(Some(Box::new(StartAgain) as Box<dyn Revert>))
        }
        .boxed()
    }
}

#[derive(Debug)]
struct StartAgain;

impl Revert for StartAgain {
    fn revert<'a>(self: Box<Self>, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<(), ServiceFaultError>> {
        async {
            let (stack, service) = context.stack()?;
            context.of_stack(stack.start_again(service)).await
        }
        .boxed()
    }
}
