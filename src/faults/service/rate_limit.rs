//! `rate_limit`: Qdrant's strict mode limits the writes per minute to this collection, and answers 429 with `Retry-After`
//! beyond that.
//!
//! Evidence: bytes and connections that the worker sends meanwhile.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{InjectContext, Revert, ServiceFaultError, ServiceKind, Undo};
use crate::services::http::Http;

pub(super) struct RateLimit {
    pub(super) per_minute: u32,
}

impl ServiceKind for RateLimit {
    fn inject<'a>(&'a self, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<Undo, ServiceFaultError>> {
        async {
            set_strict_mode(context, json!({ "enabled": true, "write_rate_limit": self.per_minute })).await?;
            Ok(Some(Box::new(NoLimit) as Box<dyn Revert>))
        }
        .boxed()
    }
}

#[derive(Debug)]
struct NoLimit;

impl Revert for NoLimit {
    fn revert<'a>(self: Box<Self>, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<(), ServiceFaultError>> {
        set_strict_mode(context, json!({ "enabled": false })).boxed()
    }
}

async fn set_strict_mode(context: &InjectContext<'_>, config: Value) -> Result<(), ServiceFaultError> {
    let http = context.service(Http::qdrant(&context.endpoints.qdrant))?;
    let path = format!("/collections/{}", context.endpoints.names.collection);
    let body = json!({ "strict_mode_config": config });
    context.service(http.call("PATCH", &path, Some(&body)).await).map(|_| ())
}
