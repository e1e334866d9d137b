//! `shakedown check`: judge an environment that is in use, by reading.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::failure::Failure;
use super::gate::{GateArgs, time};
use super::signals::asked_to_end;
use super::traced::Traced;
use super::{Common, deliver, progress};
use crate::outcome::{Comparison, Events, Exit, Report, Word};
use crate::report::{Format, ReportTarget};
use crate::runner::{Checkup, Occasion, Selection};
use crate::settings::Settings;
use crate::spec::{Suites, Verb};

/// Judge an environment through its environment variables; reads only
///
/// What is wrong, what will break later, and how to mend each. Nothing is written anywhere, and the embeddings API is
/// called once, with one token.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Args {
    /// Directory of suites to judge by instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    suites: Option<PathBuf>,
    /// Suites to judge by; globs, and ! to leave out; may be given several times
    #[arg(long, value_name = "GLOB")]
    suite: Vec<String>,
    /// Cases to judge; globs, and ! to leave out; may be given several times
    #[arg(long, value_name = "GLOB")]
    case: Vec<String>,
    /// Leave out cases that are less binding: must, should or may
    #[arg(long, value_name = "LEVEL", value_parser = super::run::level)]
    level: Option<crate::outcome::Level>,
    /// Also write, under names of its own that are removed again: a job, a row, points
    #[arg(long)]
    canary: bool,
    /// Leave out what costs money: the one call of the embeddings API
    #[arg(long)]
    no_spend: bool,
    /// Try again until everything is in order, at most for this time, such as 60s: for pipelines that deploy
    #[arg(long, value_name = "TIME", value_parser = time)]
    wait: Option<Duration>,
    /// Judge again and again, that many seconds apart, and print what has changed, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10", conflicts_with = "wait",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
    /// Write a report: json, html, junit, markdown, terminal or short, then = and a path; may be given several times
    #[arg(long, value_name = "FORMAT=PATH")]
    report: Vec<ReportTarget>,
    /// What to print at the end: terminal, short, json, junit, markdown or html
    #[arg(long, value_name = "FORMAT", default_value = "terminal")]
    format: Format,
    /// List the cases and judge none
    #[arg(long)]
    list: bool,
    /// No progress on standard error
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    gate: GateArgs,
}

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let source = common.source().flag("SHAKEDOWN_SUITES", args.suites.as_ref().map(|path| path.display().to_string()));
    let settings = Settings::load(source)?;
    let suites = match settings.path("SHAKEDOWN_SUITES") {
        Some(directory) => Suites::from_directory(&directory)?,
        None => Suites::builtin()?,
    };
    let mut selection = Selection::new(&args.suite, &args.case, args.level)?
        .with_slow(true)
        .for_verb(Verb::Check)
        .only_reading(!args.canary)
        .without_spending(args.no_spend);
    selection.check(&suites)?;
    if let Some(shard) = args.gate.shard {
        selection = selection.sharded(&suites, shard);
    }
    if args.list {
        return Ok(super::run::list(&suites, &selection));
    }
    if !suites.cases.iter().any(|case| selection.chooses(case)) {
        let remedy = "`shakedown check --list` shows them all, and --canary adds those that write";
        return Err(Failure::usage(format!("the filters leave no case to judge; {remedy}")));
    }
    let baseline = args.gate.baseline(&suites, &selection, settings.profile())?;
    let deadline = args.wait.map(|wait| Instant::now() + wait);
    let traced = Traced::start(&settings)?;
    let checkup = checkup(settings, suites, selection, args.canary)?;
    let check = Check { args: &args, checkup: Checkup { trace: traced.trace().clone(), ..checkup } };
    let outcome = check.run(baseline.as_ref(), deadline).await;
    traced.end().await;
    outcome
}

/// An environment in use, as the settings name it, of the project in the working directory.
pub(super) fn checkup(
    settings: Settings,
    suites: Suites,
    selection: Selection,
    canary: bool,
) -> Result<Checkup, Failure> {
    let directory = std::env::current_dir()
        .map_err(|error| Failure::usage(format!("the working directory cannot be read: {error}")))?;
    let shakedown = std::env::current_exe()
        .map_err(|error| Failure::harness(format!("this program's own file cannot be found: {error}")))?;
    Ok(Checkup { canary, ..Checkup::new(settings, suites, selection, &directory, shakedown)? })
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
    checkup: Checkup,
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
                deliver::note(&mut report, &self.args.report);
                deliver::deliver(&report, &self.args.report, self.args.format, &self.checkup.settings)?;
                return Ok(exit);
            }
            if !self.args.quiet {
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
        let style =
            progress::Style::for_stderr(self.args.quiet || self.args.wait.is_some() || self.args.watch.is_some());
        let listener = tokio::spawn(progress::follow(heard, style));
        let gate = &self.args.gate;
        let occasion = Occasion {
            run: Occasion::new_run(),
            repeat: gate.repeat,
            fail_fast: gate.fail_fast,
            timeout: gate.timeout.unwrap_or(Occasion::PATIENCE),
            gate: gate.gate(),
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
                    deliver::note(&mut report, &self.args.report);
                    deliver::deliver(&report, &self.args.report, self.args.format, &self.checkup.settings)?;
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
