//! The signals that end the program.

use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;

/// Installs the handlers now; the future resolves at the first SIGINT, SIGTERM or SIGHUP.
pub(super) fn end_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::harness(format!("cannot install signal handlers: {error}")));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}
