//! `shakedown check`: judge an environment that is in use, by reading.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use super::chosen::ChosenArgs;
use super::deliver::Output;
use super::failure::Failure;
use super::gate::{GateArgs, time};
use super::rerun::Rerun;
use super::signals::asked_to_end;
use super::traced::Traced;
use super::{Common, progress};
use crate::outcome::{Comparison, Events, Exit, Report, Word};
use crate::runner::{CheckOptions, EnvironmentCheck};

/// Judge an environment through its environment variables; reads only
///
/// What is wrong, what will break later, and how to mend each. Nothing is written anywhere, and the embeddings API is
/// called once, with one token.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    chosen: ChosenArgs,
    /// Also write, under names of its own that are removed again: a job, a row, points
    #[arg(long)]
    canary: bool,
    /// Try again until everything is in order, at most for this time, such as 60s: for pipelines that deploy
    #[arg(long, value_name = "TIME", value_parser = time)]
    wait: Option<Duration>,
    /// Judge again and again, that many seconds apart, and print what has changed, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10", conflicts_with = "wait",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
    #[command(flatten)]
    output: Output,
    /// List the cases and judge none
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    gate: GateArgs,
}

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let chosen = args.chosen.load(common, args.canary, args.gate.shard)?;
    if args.list {
        return Ok(super::run::list(&chosen.suites, &chosen.selection));
    }
    let chosen = chosen.some()?;
    let baseline = args.gate.baseline(&chosen.suites, &chosen.selection, chosen.settings.profile())?;
    let deadline = args.wait.map(|wait| Instant::now() + wait);
    let traced = Traced::start(&chosen.settings)?;
    let checkup = EnvironmentCheck { trace: traced.trace().clone(), ..chosen.checkup()? };
    let rerun = args.chosen.repeat(Rerun::new("check", common)).switch("--canary", args.canary);
    let check = Check { rerun: args.gate.repeat(rerun), args: &args, checkup };
    let outcome = check.run(baseline.as_ref(), deadline).await;
    traced.end().await;
    outcome
}

/// Says what is not yet in order, unless that was said already.
fn waits_for(report: &Report, told: &[String]) -> Vec<String> {
    let wrong = report.cases.iter().filter(|case| matches!(case.verdict.word(), Word::Fail | Word::Unknown));
    let wrong: Vec<String> =
        wrong.map(|case| format!("waiting for {}: {}", case.id, case.verdict.reason().unwrap_or_default())).collect();
    for line in wrong.iter().filter(|line| !told.contains(line)) {
        // Nobody to tell is no reason to stop.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    wrong
}

/// The cases whose verdict is another one than before, a line each, with the time.
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
    checkup: EnvironmentCheck,
    rerun: Rerun,
}

impl Check<'_> {
    /// Judges as often as somebody wants to wait for, and tells the outcome.
    async fn run(&self, baseline: Option<&Report>, deadline: Option<Instant>) -> Result<Exit, Failure> {
        if let Some(seconds) = self.args.watch {
            return self.watch(Duration::from_secs(seconds)).await;
        }
        let mut told = Vec::new();
        let mut ended = std::pin::pin!(asked_to_end()?);
        loop {
            let Some(mut report) = self.once().await? else { return Ok(Exit::Interrupted) };
            report.gate.comparison = baseline.map(|baseline| Comparison::of(baseline, &report));
            let exit = Exit::of(&report);
            let late = deadline.is_none_or(|deadline| Instant::now() + PAUSE > deadline);
            if exit == Exit::Ok || late {
                self.args.output.note(&mut report);
                self.args.output.deliver(&report, &self.checkup.settings, self.rerun.as_str())?;
                return Ok(exit);
            }
            if !self.args.output.quiet {
                told = waits_for(&report, &told);
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = &mut ended => return Ok(Exit::Interrupted),
            }
        }
    }

    /// Judges everything once; nothing when it was interrupted.
    async fn once(&self) -> Result<Option<Report>, Failure> {
        let (events, heard) = Events::channel();
        // Whoever waits is told what for, and not every time all of it.
        let style = progress::Style::for_stderr(
            self.args.output.quiet || self.args.wait.is_some() || self.args.watch.is_some(),
        );
        let listener = tokio::spawn(progress::follow(heard, style));
        let gate = &self.args.gate;
        let occasion = CheckOptions {
            run: CheckOptions::new_run(),
            repeat: gate.repeat,
            fail_fast: gate.fail_fast,
            timeout: gate.timeout.unwrap_or(CheckOptions::PATIENCE),
            gate: gate.gate(),
            stands: BTreeMap::new(),
        };
        let judged = tokio::select! {
            judged = self.checkup.judge(&occasion, &events) => Some(judged),
            () = asked_to_end()? => None,
        };
        drop(events);
        // Progress is told before the report, or not at all.
        let _ = tokio::time::timeout(Duration::from_secs(2), listener).await;
        if judged.is_none() && self.args.canary {
            for error in self.checkup.clear(&occasion).await {
                // Nobody to tell is no reason to stop.
                let _ = writeln!(std::io::stderr(), "could not be removed: {error}");
            }
        }
        Ok(judged)
    }

    /// Judges until asked to end: everything once, and then only what has changed. The last check counts.
    async fn watch(&self, pause: Duration) -> Result<Exit, Failure> {
        let mut before: Option<Report> = None;
        // Listens all the time: nobody asks twice.
        let mut ended = std::pin::pin!(asked_to_end()?);
        loop {
            let last = before.as_ref().map_or(Exit::Interrupted, Exit::of);
            let Some(mut report) = self.once().await? else { return Ok(last) };
            match &before {
                None => {
                    self.args.output.note(&mut report);
                    self.args.output.deliver(&report, &self.checkup.settings, self.rerun.as_str())?;
                }
                Some(before) => {
                    for line in changes(before, &report) {
                        // A reader that closed the pipe has seen enough.
                        let _ = writeln!(std::io::stdout(), "{line}");
                    }
                }
            }
            let last = Exit::of(&report);
            before = Some(report);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = &mut ended => return Ok(last),
            }
        }
    }
}
