//! `shakedown check`: check an environment in use, by reading only.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::case_selection::CaseArgs;
use super::failure::Failure;
use super::gate::{GateArgs, time};
use super::output::Output;
use super::print::{note, print};
use super::rerun::Rerun;
use super::signals::end_signal;
use super::trace_export::TraceExport;
use super::{Common, progress};
use crate::outcome::{Comparison, Events, Exit, Report, Word};
use crate::runner::{CheckOptions, EnvironmentCheck};

/// Check an environment that is in use; reads only
///
/// Reports what is wrong, what will break later, and how to fix it. The environment variables name the services.
/// Nothing is written, and the embeddings API is called once, with one token.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selected: CaseArgs,
    /// Also run the cases that write a job, a row or points, under their own names, and remove them again
    #[arg(long)]
    canary: bool,
    /// Check again until every case passes, for at most this time, such as 60s; for deployment pipelines
    #[arg(long, value_name = "TIME", value_parser = time)]
    wait: Option<Duration>,
    /// Check every SECONDS seconds until Ctrl-C, and print what changed
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10", conflicts_with = "wait",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
    #[command(flatten)]
    output: Output,
    /// List the cases and run none
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    gate: GateArgs,
}

/// The pause between two checks of `--wait`.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let selected = args.selected.load(common, args.canary, args.gate.shard)?;
    if args.list {
        return Ok(super::run::list(&selected.suites, &selected.selection));
    }
    let selected = selected.require_cases()?;
    let baseline = args.gate.baseline(&selected.suites, &selected.selection, selected.settings.profile())?;
    let deadline = args.wait.map(|wait| Instant::now() + wait);
    let trace_export = TraceExport::start(&selected.settings)?;
    let mut environment = EnvironmentCheck { trace: trace_export.trace().clone(), ..selected.environment_check()? };
    if args.canary {
        let say = note;
        let left = environment.record_canary_writes(&CheckOptions::new_run(), say).await?;
        for line in &left {
            say(&format!("could not remove: {line}"));
        }
    }
    let rerun = args.selected.repeat(Rerun::new("check", common)).switch("--canary", args.canary);
    let check = Check { rerun: args.gate.repeat(rerun), args: &args, environment };
    let outcome = check.run(baseline.as_ref(), deadline).await;
    trace_export.end().await;
    outcome
}

/// Prints the cases that do not pass yet, except those in `printed`; returns all of them.
fn print_pending(report: &Report, printed: &[String]) -> Vec<String> {
    let wrong = report.cases.iter().filter(|case| matches!(case.verdict.word(), Word::Fail | Word::Unknown));
    let wrong: Vec<String> =
        wrong.map(|case| format!("waiting for {}: {}", case.id, case.verdict.reason().unwrap_or_default())).collect();
    for line in wrong.iter().filter(|line| !printed.contains(line)) {
        note(line);
    }
    wrong
}

/// One line, with the time, for each case whose verdict changed.
fn changes(before: &Report, now: &Report) -> Vec<String> {
    let time = jiff::Zoned::now().strftime("%H:%M:%S");
    let changed = now.cases.iter().filter_map(|case| {
        let was = before.cases.iter().find(|other| other.id == case.id).map(|other| other.verdict.word());
        let is = case.verdict.word();
        if was == Some(is) {
            return None;
        }
        let was = was.map_or_else(|| "new".to_owned(), |word| word.to_string());
        let reason = case.verdict.reason().map_or_else(String::new, |reason| format!(": {reason}"));
        Some(format!("{time} {} {was} → {is}{reason}", case.id))
    });
    changed.collect()
}

struct Check<'a> {
    args: &'a Args,
    environment: EnvironmentCheck,
    rerun: Rerun,
}

impl Check<'_> {
    /// Checks until every case passes or the deadline is over, and prints the report.
    async fn run(&self, baseline: Option<&Report>, deadline: Option<Instant>) -> Result<Exit, Failure> {
        if let Some(seconds) = self.args.watch {
            return self.watch(Duration::from_secs(seconds)).await;
        }
        let mut printed = Vec::new();
        let mut ended = std::pin::pin!(end_signal()?);
        loop {
            let Some(mut report) = self.once().await? else { return Ok(Exit::Interrupted) };
            report.gate.comparison = baseline.map(|baseline| Comparison::between(baseline, &report));
            let exit = Exit::from_report(&report);
            let late = deadline.is_none_or(|deadline| Instant::now() + PAUSE > deadline);
            if exit == Exit::Ok || late {
                self.args.output.list_files(&mut report);
                self.args.output.write(&report, &self.environment.settings, self.rerun.as_str())?;
                return Ok(exit);
            }
            if !self.args.output.quiet {
                printed = print_pending(&report, &printed);
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = &mut ended => return Ok(Exit::Interrupted),
            }
        }
    }

    /// Runs every case once; returns none when interrupted.
    async fn once(&self) -> Result<Option<Report>, Failure> {
        let (events, heard) = Events::channel();
        // `--wait` and `--watch` print their own lines instead of the progress.
        let style = progress::Style::for_stderr(
            self.args.output.quiet || self.args.wait.is_some() || self.args.watch.is_some(),
        );
        let listener = tokio::spawn(progress::follow(heard, style));
        let gate = &self.args.gate;
        let options = CheckOptions {
            run: CheckOptions::new_run(),
            repeat: gate.repeat,
            fail_fast: gate.fail_fast,
            timeout: gate.timeout.unwrap_or(CheckOptions::DEFAULT_TIMEOUT),
            gate: gate.gate(),
            carried_over: BTreeMap::new(),
        };
        let judged = tokio::select! {
            judged = self.environment.evaluate(&options, &events) => Some(judged),
            () = end_signal()? => None,
        };
        drop(events);
        // The progress must not mix with the report.
        let _ = tokio::time::timeout(Duration::from_secs(2), listener).await;
        if judged.is_none() && self.args.canary {
            for error in self.environment.clean_up(&options).await {
                note(&format!("could not remove: {error}"));
            }
        }
        Ok(judged)
    }

    /// Checks until a signal ends it, and prints the first report and then what changed. The last check gives the exit code.
    async fn watch(&self, pause: Duration) -> Result<Exit, Failure> {
        let mut before: Option<Report> = None;
        // Listens all the time, so that one signal is enough.
        let mut ended = std::pin::pin!(end_signal()?);
        loop {
            let last = before.as_ref().map_or(Exit::Interrupted, Exit::from_report);
            let Some(mut report) = self.once().await? else { return Ok(last) };
            match &before {
                None => {
                    self.args.output.list_files(&mut report);
                    self.args.output.write(&report, &self.environment.settings, self.rerun.as_str())?;
                }
                Some(before) => {
                    for line in changes(before, &report) {
                        print(&format!("{line}\n"));
                    }
                }
            }
            let last = Exit::from_report(&report);
            before = Some(report);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = &mut ended => return Ok(last),
            }
        }
    }
}
