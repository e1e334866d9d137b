//! `shakedown proxy`: one of the harness's fault proxies, alone.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;

use super::failure::Failure;
use super::signals::asked_to_end;
use crate::faults::{ClosedBy, Connection, ConnectionEvent, Effect, NetworkFault, Proxy, ScheduledFault};
use crate::outcome::Exit;

/// A TCP proxy that breaks connections on purpose, until Ctrl-C
///
/// Standard output carries one JSON line for each connection that opens or closes, for each fault that begins, and for
/// each that ends, with what it did. Exit code 3: a fault never took effect, so that it proved nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen; port 0 is a free one, and is printed
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where connections go: host:port
    #[arg(long, value_name = "HOST:PORT", value_parser = upstream)]
    upstream: String,
    /// KIND[=VALUE][:up|:down][@START][+DURATION], for instance cut@5s or latency=200ms~50ms:down@5s+10s; may be given
    /// several times. Kinds: refuse, cut, blackhole, latency, bandwidth, `slow_close`, `limit_data`, `half_open`, flap,
    /// answer (an HTTP status)
    #[arg(long, value_name = "FAULT")]
    fault: Vec<ScheduledFault>,
}

fn upstream(text: &str) -> Result<String, String> {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(port) if port > 0 => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is no host:port; write for instance 127.0.0.1:6379")),
    }
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let ended = asked_to_end()?;
    let (sender, mut heard) = mpsc::unbounded_channel();
    let proxy = Proxy::start(args.listen, args.upstream.clone(), Some(sender)).await.map_err(|error| {
        Failure::usage(format!("cannot listen on {}: {error}; choose another address with --listen", args.listen))
    })?;
    say(&json!({ "listening": proxy.address().to_string(), "upstream": args.upstream }));
    let begun = tokio::time::Instant::now();
    let mut happened = Vec::new();
    let active_faults = async {
        let faults = args.fault.iter().map(|scheduled| happen(&proxy, *scheduled, begun));
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
                happened = effects;
            }
            Some(said) = heard.recv() => say(&connection(&said)),
        }
    }
    while let Ok(said) = heard.try_recv() {
        say(&connection(&said));
    }
    if !passed {
        return Ok(Exit::Interrupted);
    }
    // Faults that stay are asked at the very end what they did.
    let told = happened.into_iter().map(|happened| match happened {
        Happened::Over { took_effect } => took_effect,
        Happened::Retention(fault, effect) => tell(fault, &effect, begun),
    });
    let idle = told.filter(|took_effect| !took_effect).count();
    Ok(if idle == 0 { Exit::Ok } else { Exit::Inconclusive })
}

/// What became of a fault.
enum Happened {
    /// It is over.
    Over { took_effect: bool },
    /// It has no duration, and may yet do something.
    Retention(NetworkFault, Arc<Effect>),
}

/// Lets a fault begin and end at its time. One without a duration stays.
async fn happen(proxy: &Proxy, scheduled: ScheduledFault, begun: tokio::time::Instant) -> Happened {
    let ScheduledFault { fault, direction, start, lasts } = scheduled;
    tokio::time::sleep_until(begun + start).await;
    say(&json!({ "fault": fault.word(), "began_ms": begun.elapsed().as_millis() }));
    let effect = match (fault, lasts) {
        (NetworkFault::Cut, None) => {
            let effect = proxy.cut();
            // The connections notice in their own time.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            effect
        }
        (_, Some(lasts)) => {
            let applied = proxy.apply(fault, direction);
            tokio::time::sleep(lasts).await;
            proxy.revert(applied)
        }
        // Its handle is what ends it, and is given to nobody.
        (_, None) => return Happened::Retention(fault, Arc::clone(&proxy.apply(fault, direction).effect)),
    };
    Happened::Over { took_effect: tell(fault, &effect, begun) }
}

/// Says what a fault did; gives whether it did anything.
fn tell(fault: NetworkFault, effect: &Effect, begun: tokio::time::Instant) -> bool {
    say(&json!({
        "fault": fault.word(),
        "ended_ms": begun.elapsed().as_millis(),
        "connections": effect.connections(),
        "bytes": effect.bytes(),
        "took_effect": effect.took_effect(),
    }));
    effect.took_effect()
}

fn connection(said: &ConnectionEvent) -> serde_json::Value {
    let (word, Connection { id, opened, closed, closed_by, up, down, .. }) = match said {
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

fn say(line: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    // A reader that closed the pipe has seen enough; the proxy goes on.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
