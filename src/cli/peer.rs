//! `shakedown peer`: BullMQ's Rust library as a peer of the interop suite. For internal use.

use super::failure::Failure;
use crate::interop_peer;
use crate::outcome::Exit;
use crate::settings::process_variable;

/// Run the BullMQ commands on standard input, one JSON object per line, on the Redis of `REDIS_URL`
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Runs until standard input ends.
pub(super) async fn run(_args: Args) -> Result<Exit, Failure> {
    let redis_url = process_variable("REDIS_URL").ok_or_else(|| {
        Failure::usage("REDIS_URL is not set; the interop suite sets it, and this verb has no other use")
    })?;
    let planted = cfg!(feature = "defects") && process_variable("PEER_DEFECTS").as_deref() == Some("rust");
    interop_peer::run(redis_url, planted).await.map_err(Failure::harness)?;
    Ok(Exit::Ok)
}
