//! `shakedown up`: a stack for development, until Ctrl-C.

use std::io::Write;
use std::path::PathBuf;
use std::pin::pin;

use secrecy::ExposeSecret;

use super::Common;
use super::failure::Failure;
use super::print::note;
use super::signals::end_signal;
use super::stack::{self, StackArgs};
use crate::outcome::{Event, Events, Exit};
use crate::settings::Variable;
use crate::stack::{Ports, ProviderKind, Stack, adopt_orphans, replay_on_panic};

/// Start a temporary stack, print its environment variables, and keep it running until Ctrl-C
///
/// Standard output has only `export NAME=value` lines; everything else goes to standard error.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    stack: StackArgs,
    /// Port for Redis instead of a free one
    #[arg(long, value_name = "PORT")]
    redis_port: Option<u16>,
    /// Port for Postgres instead of a free one
    #[arg(long, value_name = "PORT")]
    postgres_port: Option<u16>,
    /// Port for Qdrant's REST API instead of a free one
    #[arg(long, value_name = "PORT")]
    qdrant_http_port: Option<u16>,
    /// Port for Qdrant's gRPC API instead of a free one
    #[arg(long, value_name = "PORT")]
    qdrant_grpc_port: Option<u16>,
    /// Port for the Jina mock instead of a free one
    #[arg(long, value_name = "PORT")]
    jina_port: Option<u16>,
    /// The redis-server or valkey-server to run
    #[arg(long, value_name = "FILE")]
    redis_server: Option<PathBuf>,
    /// The postgres to run; initdb must be in the same directory
    #[arg(long, value_name = "FILE")]
    postgres: Option<PathBuf>,
    /// The qdrant to run instead of the embedded one
    #[arg(long, value_name = "FILE")]
    qdrant: Option<PathBuf>,
}

/// Starts the stack, prints its environment, waits for SIGINT, SIGTERM or SIGHUP, removes everything.
pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let source = args
        .stack
        .onto(common.source())
        .flag("SHAKEDOWN_REDIS_SERVER", args.redis_server.as_ref().map(|path| path.display()))
        .flag("SHAKEDOWN_POSTGRES", args.postgres.as_ref().map(|path| path.display()))
        .flag("SHAKEDOWN_QDRANT", args.qdrant.as_ref().map(|path| path.display()));
    let settings = super::load(source)?;
    let run = format!("up-{:08x}", rand::random::<u32>());
    let (kind, mut options) = stack::options(&settings, &run)?;
    // The stack can run for a long time, so its data is kept on disk and not in memory.
    options.data_dir.get_or_insert_with(std::env::temp_dir);
    if kind == ProviderKind::Remote {
        return Err(Failure::usage(
            "a remote stack already runs: `shakedown up` starts one with --provider native or containers",
        ));
    }
    options.ports = Ports {
        redis: args.redis_port,
        postgres: args.postgres_port,
        qdrant_http: args.qdrant_http_port,
        qdrant_grpc: args.qdrant_grpc_port,
        jina: args.jina_port,
    };
    replay_on_panic();
    adopt_orphans();
    let mut end_signal = pin!(end_signal()?);

    let (events, mut heard) = Events::channel();
    let listener = tokio::spawn(async move {
        while let Some(event) = heard.recv().await {
            print_event(&event);
        }
    });
    let keep = options.keep;
    let stack = tokio::select! {
            started = Stack::start(kind, options, &events) => started?,
    // Dropping the future removes what it has started.
            () = &mut end_signal => return Ok(Exit::Interrupted),
        };

    let mut variables = stack.endpoints().environment();
    variables.sort_by_key(|variable| variable.name);
    let lines: String = variables.iter().map(export).collect();
    let mut stdout = std::io::stdout().lock();
    // With the passwords, because the reader is a shell that needs them, and not through `print`. The reader may have closed the pipe; the stack keeps running.
    let _ = stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush());
    drop(stdout);
    note("ready; press Ctrl-C to stop and remove everything");

    end_signal.await;
    events.send(Event::TearingDown);
    let directory = stack.directory().map(std::path::Path::to_owned);
    let retention_notice = stack.retention_notice();
    let left = stack.stop().await;
    events.send(Event::TornDown { left });
    drop(events);
    listener.await.map_err(|error| Failure::harness(format!("listening to events: {error}")))?;
    if let Some(retention_notice) = retention_notice {
        note(&retention_notice);
    }
    if let Some(directory) = directory.filter(|_| keep) {
        note(&format!("kept {}", directory.display()));
    }
    Ok(Exit::Ok)
}

/// A line that any POSIX shell reads, whatever the value holds.
fn export(variable: &Variable) -> String {
    format!("export {}='{}'\n", variable.name, variable.value.expose_secret().replace('\'', r"'\''"))
}

fn print_event(event: &Event) {
    match event {
        Event::ServiceReady { service, version, after } => {
            note(&format!("{service} {version} ready after {:.2} s", after.as_secs_f64()));
        }
        Event::StackReady { after } => note(&format!("stack ready after {:.2} s", after.as_secs_f64())),
        Event::Note { text } | Event::Remark { text } => note(text),
        Event::TearingDown => note("removing everything"),
        Event::TornDown { left } => left.iter().for_each(|left| note(&format!("could not remove {left}"))),
        Event::Provider { name, reason } => note(&format!("stack: {name} ({reason})")),
        Event::Planned { .. } | Event::CaseStarted { .. } | Event::CaseFinished { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_line_survives_quotes_in_the_value() {
        let variable = Variable { name: "NAME", value: "it's $HOME".into(), secret: false };
        let script = format!("{}printf %s \"$NAME\"", export(&variable));
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "it's $HOME");
    }
}
