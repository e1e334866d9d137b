//! The preflight after a contract was written: one document through it, on a throwaway stack.

use std::path::Path;
use std::time::Duration;

use super::super::case_selection::read_suites;
use super::super::failure::Failure;
use super::super::print::print;
use super::super::progress;
use super::super::signals::end_signal;
use super::super::started::Started;
use crate::outcome::{Event, Events, Exit};
use crate::project::{Kind, Manifest, Project};
use crate::runner::Selection;
use crate::settings::{Settings, Source};
use crate::spec::{Suites, Verb};
use crate::stack::{adopt_orphans, clean_up_now, replay_on_panic};

/// Tries the contract in `path`. That the preflight cannot be made is said, and is no failure of `init`.
pub(super) async fn run(project: &Project, path: &Path, source: Source) -> Result<Exit, Failure> {
    if let Some(reason) = impossible(project) {
        print(&format!("\npreflight: not made, {reason}\n{}", next()));
        return Ok(Exit::Ok);
    }
    let source = Source { config: Some(path.to_owned()), ..source };
    let settings = super::super::load(source)?;
    let suites = read_suites(&settings)?;
    let selection = Selection::new(&[], &[], None)?.for_verb(Verb::Run);
    replay_on_panic();
    adopt_orphans();
    let (events, heard) = Events::channel();
    let listener = tokio::spawn(progress::follow(heard, progress::Style::for_stderr(false)));
    let outcome = tokio::select! {
        outcome = attempt(&settings, &suites, &selection, &events) => Some(outcome),
        () = end_signal()? => None,
    };
    if outcome.is_none() {
        // The future was dropped with what it had created; the ledger lists the rest.
        events.send(Event::TornDown { left: clean_up_now() });
    }
    drop(events);
    // The progress must not mix with the result.
    let _ = tokio::time::timeout(Duration::from_secs(2), listener).await;
    match outcome {
        None => Ok(Exit::Interrupted),
        Some(Ok(Tried::Passed)) => {
            print(
                "\npreflight: one document went through the contract\nnext: `shakedown run --quick`, then `shakedown run`\n",
            );
            Ok(Exit::Ok)
        }
        Some(Ok(Tried::NoStack(failure))) => {
            let reason = failure.report.to_string();
            print(&format!("\npreflight: not made, no stack could be started: {reason}\n{}", next()));
            Ok(Exit::Ok)
        }
        Some(Err(failure)) => Err(failure),
    }
}

/// What became of the preflight.
enum Tried {
    Passed,
    NoStack(Failure),
}

async fn attempt(
    settings: &Settings,
    suites: &Suites,
    selection: &Selection,
    events: &Events,
) -> Result<Tried, Failure> {
    let mut started = match Started::start(settings, settings, rand::random::<u32>().into(), events).await {
        Ok(started) => started,
        Err(failure) => return Ok(Tried::NoStack(failure)),
    };
    started.build_worker(events).await?;
    started.preflight(suites, selection, events).await?;
    events.send(Event::TearingDown);
    let left = started.stack.stop().await;
    events.send(Event::TornDown { left });
    Ok(Tried::Passed)
}

/// Why the worker cannot be started as the project is.
fn impossible(project: &Project) -> Option<String> {
    let manifests = &project.manifests;
    let own = manifests.own.as_ref();
    match own {
        Some(Manifest { install: Some(install), is_installed: false, .. }) => {
            Some(format!("the dependencies are not installed; run `{install}` first"))
        }
        _ if manifests.kind == Kind::Unknown => Some("no worker was found here; set `command` in the file".to_owned()),
        _ => None,
    }
}

fn next() -> &'static str {
    "next: read the file, then `shakedown run --dry-run`, then `shakedown run`, which tries the contract first\n"
}
