//! Starting the provider: old leftovers removed, images pulled, containers created or taken over.

use super::clean::remove_old;
use super::engine::Engine;
use super::image_set::ImageSet;
use super::labels::Retention;
use super::launch::LaunchContext;
use super::services::{Containers, Secrets, Started, remove_failed};
use super::warm;
use crate::outcome::Events;
use crate::stack::cleanup::ledger::Ledger;
use crate::stack::cleanup::resource::Resource;
use crate::stack::error::StackError;
use crate::stack::options::StackOptions;

/// Starts all three services and waits until each is ready, or takes over the warm containers of an earlier run.
pub(in crate::stack) async fn start(
    engine: Engine,
    options: &StackOptions,
    ledger: &Ledger,
    events: &Events,
) -> Result<Started, StackError> {
    remove_old(&engine, events).await;
    let images = ImageSet::resolve_images(&engine, options, events).await?;
    if options.reuse {
        return Box::pin(warm::start(&engine, options, &images, ledger, events)).await;
    }
    let retention = if options.keep { Retention::Keep } else { Retention::Remove };
    let entry = ledger.add(Resource::Containers { engine: engine.host.clone(), keep: options.keep })?;
    let secrets = Secrets::random();
    let context = LaunchContext::new(&engine, &options.run, ledger.mark(), retention, options.container_memory_mb);
    match Box::pin(Containers::launch(&context, options, &images, &secrets, events)).await {
        Ok((mut containers, addresses, records)) => {
            containers.entry = Some((ledger.clone(), entry));
            Ok((containers, addresses, records))
        }
        Err(error) => {
            remove_failed(&engine, ledger, entry).await;
            Err(error)
        }
    }
}
