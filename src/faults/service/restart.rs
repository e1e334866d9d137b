//! `restart`: the service is ended politely and started again over the same data. It is over at once.
//!
//! Evidence: connections that the service ended.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Counted, InjectContext, ServiceFaultError, ServiceKind, Undo};
use crate::spec::Target;

pub(super) struct Restart;

impl ServiceKind for Restart {
    fn inject<'a>(&'a self, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<Undo, ServiceFaultError>> {
        async {
            let (stack, service) = context.stack()?;
            context.of_stack(stack.restart(service)).await?;
            Ok(None)
        }
        .boxed()
    }

    fn counted(&self, _on: Target) -> Counted {
        Counted::EndedConnections
    }
}
