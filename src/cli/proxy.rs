//! `shakedown proxy`: a fault proxy as a program of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;

use super::failure::Failure;
use super::print::print;
use super::signals::end_signal;
use crate::faults::{ClosedBy, Connection, ConnectionEvent, Effect, NetworkFault, Proxy, ScheduledFault};
use crate::outcome::Exit;

/// Run a TCP proxy that injects network faults, until Ctrl-C
///
/// Prints one JSON line when a connection opens or closes, and when a fault begins or ends; the last one says what the
/// fault did. Exit code 3 if a fault never took effect.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address to listen on; port 0 takes a free port and prints it
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Address to forward connections to
    #[arg(long, value_name = "HOST:PORT", value_parser = upstream)]
    upstream: String,
    /// Fault to inject: KIND[=VALUE][:up|:down][@START][+DURATION]. Can be repeated. Examples: cut@5s;
    /// latency=200ms~50ms:down@5s+10s. Kinds: refuse, cut, blackhole, latency, bandwidth, `slow_close`, `limit_data`,
    /// `half_open`, flap, answer (an HTTP status), hold (a delay)
    #[arg(long, value_name = "FAULT")]
    fault: Vec<ScheduledFault>,
}

fn upstream(text: &str) -> Result<String, String> {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(port) if port > 0 => Ok(text.to_owned()),
        _ => Err(format!("invalid address `{text}`: expected host:port, e.g. 127.0.0.1:6379")),
    }
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let ended = end_signal()?;
    let (sender, mut heard) = mpsc::unbounded_channel();
    let proxy = Proxy::start(args.listen, args.upstream.clone(), Some(sender)).await.map_err(|error| {
        Failure::usage(format!("cannot listen on {}: {error}; choose another address with --listen", args.listen))
    })?;
    print_line(&json!({ "listening": proxy.address().to_string(), "upstream": args.upstream }));
    let begun = tokio::time::Instant::now();
    let mut results = Vec::new();
    let active_faults = async {
        let faults = args.fault.iter().map(|scheduled| run_fault(&proxy, *scheduled, begun));
        futures::future::join_all(faults).await
    };
    let mut active_faults = std::pin::pin!(active_faults);
    let mut ended = std::pin::pin!(ended);
    let mut passed = args.fault.is_empty();
    loop {
        tokio::select! {
            () = &mut ended => break,
            effects = &mut active_faults, if !passed => {
                passed = true;
                results = effects;
            }
            Some(event) = heard.recv() => print_line(&connection(&event)),
        }
    }
    while let Ok(event) = heard.try_recv() {
        print_line(&connection(&event));
    }
    if !passed {
        return Ok(Exit::Interrupted);
    }
    // Faults without a duration report at the end what they did.
    let effects = results.into_iter().map(|result| match result {
        FaultRun::Ended { took_effect } => took_effect,
        FaultRun::Active(fault, effect) => print_effect(fault, &effect, begun),
    });
    let idle = effects.filter(|took_effect| !took_effect).count();
    Ok(if idle == 0 { Exit::Ok } else { Exit::Inconclusive })
}

/// A fault after its schedule.
enum FaultRun {
    /// It has ended.
    Ended { took_effect: bool },
    /// It has no duration, and is active until the end.
    Active(NetworkFault, Arc<Effect>),
}

/// Starts a fault, and ends it after its duration if it has one.
async fn run_fault(proxy: &Proxy, scheduled: ScheduledFault, begun: tokio::time::Instant) -> FaultRun {
    let ScheduledFault { fault, direction, start, lasts } = scheduled;
    tokio::time::sleep_until(begun + start).await;
    print_line(&json!({ "fault": fault.word(), "began_ms": begun.elapsed().as_millis() }));
    let effect = match (fault, lasts) {
        (NetworkFault::Cut, None) => {
            let effect = proxy.cut();
            // The connections need a moment to close.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            effect
        }
        (_, Some(lasts)) => {
            let applied = proxy.apply(fault, direction);
            tokio::time::sleep(lasts).await;
            proxy.revert(applied)
        }
        // Dropping the handle does not end the fault.
        (_, None) => return FaultRun::Active(fault, Arc::clone(&proxy.apply(fault, direction).effect)),
    };
    FaultRun::Ended { took_effect: print_effect(fault, &effect, begun) }
}

/// Prints what a fault did; returns whether it took effect.
fn print_effect(fault: NetworkFault, effect: &Effect, begun: tokio::time::Instant) -> bool {
    print_line(&json!({
        "fault": fault.word(),
        "ended_ms": begun.elapsed().as_millis(),
        "connections": effect.connections(),
        "bytes": effect.bytes(),
        "took_effect": effect.took_effect(),
    }));
    effect.took_effect()
}

fn connection(event: &ConnectionEvent) -> serde_json::Value {
    let (word, Connection { id, opened, closed, closed_by, up, down, .. }) = match event {
        ConnectionEvent::Opened(connection) => ("opened", connection),
        ConnectionEvent::Closed(connection) => ("closed", connection),
    };
    json!({
        "connection": id,
        "is": word,
        "opened_ms": opened.as_millis(),
        "closed_ms": closed.map(|closed| closed.as_millis()),
        "closed_by": closed_by.map(ClosedBy::word),
        "up": up,
        "down": down,
    })
}

fn print_line(line: &serde_json::Value) {
    print(&format!("{line}\n"));
}
