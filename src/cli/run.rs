//! `shakedown run`: start the stack, run the cases, write the reports.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bundle::{self, Bundle};
use super::case_selection::FilterArgs;
use super::failure::Failure;
use super::gate::GateArgs;
use super::output::Output;
use super::print::{print, try_print};
use super::rerun::Rerun;
use super::signals::end_signal;
use super::stack::StackArgs;
use super::started::{Started, contract};
use super::trace_export::TraceExport;
use super::{Common, plan, progress};
use crate::outcome::{Comparison, Event, Events, Exit, FileNote, Report, Span, merge};
use crate::runner::{self, Selection};
use crate::settings::{Settings, Source};
use crate::spec::{Suites, Verb};
use crate::stack::{adopt_orphans, clean_up_now, replay_on_panic};

/// Start a stack, run the cases against it and your worker, and report
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Args {
    #[command(flatten)]
    stack: StackArgs,
    #[command(flatten)]
    filters: FilterArgs,
    /// Write reports, timelines, plan and the workers' output to this new directory; secrets are masked
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
    /// Number of cases to run in parallel
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Also run the cases that take minutes: long outages, 2,000 documents, 50 MB
    #[arg(long)]
    slow: bool,
    /// Run only the fifteen cases that find the most defects; takes half a minute, for every push
    #[arg(long, conflicts_with = "slow")]
    quick: bool,
    /// List the cases and run none
    #[arg(long)]
    list: bool,
    /// File with the [worker], [queue] and [evidence] tables, instead of shakedown.toml in this directory
    #[arg(long, value_name = "FILE")]
    worker: Option<PathBuf>,
    /// Print what would run, and start nothing
    #[arg(long)]
    dry_run: bool,
    /// Run the cases without trying the contract with one document first
    #[arg(long)]
    no_preflight: bool,
    /// Seed of every random choice
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    gate: GateArgs,
}

pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let source = args.filters.suites.onto(args.stack.onto(common.source().trusted()));
    let source = source.flag("SHAKEDOWN_JOBS", args.jobs).flag("SHAKEDOWN_SEED", args.seed);
    let settings = super::load(source)?;
    let (suites, selection) = args.filters.select(&settings, args.gate.shard, |selection| {
        selection.with_slow(args.slow).only_quick(args.quick).for_verb(Verb::Run)
    })?;
    if args.list {
        return Ok(list(&suites, &selection));
    }
    if !suites.cases.iter().any(|case| selection.chooses(case)) {
        return Err(Failure::usage("the filters select no case; `shakedown run --list` lists the cases"));
    }
    let described = described(&args, common)?;
    let described = described.as_ref().unwrap_or(&settings);
    if args.dry_run {
        let contract = contract(described, Path::new("shakedown"), Path::new("."));
        described.variables_of_worker()?;
        settings.telemetry()?;
        let text = plan::plan(&settings, &contract, &suites, &selection);
        print(&text);
        return Ok(Exit::Ok);
    }
    let bundle = args.bundle.as_deref().map(Bundle::open).transpose()?;
    let baseline = args.gate.baseline(&suites, &selection, settings.profile())?;
    replay_on_panic();
    adopt_orphans();
    let trace_export = TraceExport::start(&settings)?;
    let span = trace_export.trace().begin("run");
    let rerun = Rerun::new("run", common).option("--worker", args.worker.as_ref().map(|path| path.display()));
    let session = Session {
        rerun: args.gate.repeat(args.stack.repeat(args.filters.suites.repeat(rerun))),
        args: &args,
        settings: &settings,
        described,
        suites: &suites,
        selection: &selection,
        baseline: baseline.as_ref(),
        bundle: bundle.as_ref(),
    };
    let outcome = Box::pin(session.run(&span)).await;
    match &outcome {
        Ok(Exit::Interrupted) => span.fail("interrupted"),
        Ok(_) => {}
        Err(failure) => span.fail(&failure.report),
    }
    drop(span);
    trace_export.end().await;
    outcome
}

/// The settings with the file that `--worker` names, where it names one.
fn described(args: &Args, common: &Common) -> Result<Option<Settings>, Failure> {
    let Some(path) = &args.worker else { return Ok(None) };
    let settings = super::load(Source { config: Some(path.clone()), ..common.source().trusted() })?;
    if settings.config().contract.is_none() {
        let remedy = "add [worker] with command = [\"node\", \"dist/worker.js\"], or run `shakedown init`";
        return Err(Failure::usage(format!("{} has no [worker]; {remedy}", path.display())));
    }
    Ok(Some(settings))
}

/// Everything that one run is made from.
struct Session<'a> {
    args: &'a Args,
    settings: &'a Settings,
    /// The settings that describe the worker; those of `--worker` where it is given.
    described: &'a Settings,
    suites: &'a Suites,
    selection: &'a Selection,
    baseline: Option<&'a Report>,
    bundle: Option<&'a Bundle>,
    rerun: Rerun,
}

impl Session<'_> {
    /// Runs the cases, writes the reports, and gives the exit code.
    async fn run(&self, span: &Span) -> Result<Exit, Failure> {
        let Self { args, settings, described, suites, selection, .. } = *self;
        let (untraced, heard) = Events::channel();
        let events = untraced.within(span);
        // The progress ends when the last sender is dropped.
        drop(untraced);
        let style = progress::Style::for_stderr(args.output.quiet);
        let listener = tokio::spawn(progress::follow(heard, style));
        let seed = match settings.number("SHAKEDOWN_SEED")? {
            Some(seed) => seed,
            None => rand::random::<u32>().into(),
        };
        let outcome = tokio::select! {
            outcome = self.attempts(seed, &events) => Some(outcome),
            () = end_signal()? => None,
        };
        let Some(outcome) = outcome else {
            // The future that ran was dropped with what it had created; the ledger lists the rest.
            let left = clean_up_now();
            events.send(Event::TornDown { left });
            drop(events);
            let _ = listener.await;
            return Ok(Exit::Interrupted);
        };
        drop(events);
        // The progress must not mix with the report.
        let _ = tokio::time::timeout(Duration::from_secs(2), listener).await;
        let mut report = outcome?;
        report.notes.extend(span.trace().note());
        span.report(&report);
        report.gate.comparison = self.baseline.map(|baseline| Comparison::between(baseline, &report));
        args.output.list_files(&mut report);
        if let Some(bundle) = self.bundle {
            let contract = contract(described, Path::new("shakedown"), Path::new("."));
            bundle.fill(&mut report, &plan::plan(settings, &contract, suites, selection))?;
        }
        args.output.write(&report, settings, self.rerun.as_str())?;
        Ok(Exit::from_report(&report))
    }

    /// Starts the stack, runs the cases as often as `--repeat` asks, stops the stack.
    async fn attempts(&self, seed: u64, events: &Events) -> Result<Report, Failure> {
        let Self { args, settings, described, suites, selection, .. } = *self;
        let mut started = Started::start(settings, described, seed, events).await?;
        started.options.keep_output = args.bundle.as_deref().map(bundle::output);
        started.options.fail_fast = args.gate.fail_fast;
        started.options.timeout = args.gate.timeout;
        started.options.gate = args.gate.gate();
        started.build_worker(events).await?;
        if !args.no_preflight {
            started.preflight(suites, selection, events).await?;
        }
        let Started { stack, mut options, directory, keep } = started;
        let run = options.run.clone();
        let mut attempts = Vec::new();
        for attempt in 1..=args.gate.repeat {
            if attempt > 1 {
                // Each attempt uses its own names.
                options.run = format!("{run}-{attempt}");
            }
            attempts.push(runner::run(suites, selection, &stack, &options, events).await);
            if args.gate.fail_fast && attempts.iter().any(|report| report.totals.fail > 0) {
                break;
            }
        }
        let several = attempts.len() > 1;
        let mut report = if several { merge(attempts) } else { attempts.pop() }
            .ok_or_else(|| Failure::harness("no attempt was made"))?;
        report.run = run;
        events.send(Event::TearingDown);
        report.notes.extend(stack.retention_notice());
        let phase = events.trace().begin("stop stack");
        let left = stack.stop().await;
        drop(phase);
        report.notes.extend(left.iter().map(|left| format!("could not be removed: {left}")));
        events.send(Event::TornDown { left });
        if keep {
            report.files.push(FileNote {
                path: directory.display().to_string(),
                action: "created".to_owned(),
                purpose: "the temporary directory, kept because of --keep".to_owned(),
            });
        }
        Ok(report)
    }
}

pub(super) fn list(suites: &Suites, selection: &Selection) -> Exit {
    for suite in &suites.suites {
        let chosen: Vec<_> =
            suites.cases.iter().filter(|case| case.suite == suite.name && selection.chooses(case)).collect();
        if chosen.is_empty() {
            continue;
        }
        let mut text = format!("{} ({})\n", suite.title, suite.name);
        for case in chosen {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {:<6} {:<34} {}", case.level, case.id, case.title);
        }
        // The reader may have closed the pipe.
        if try_print(&text).is_err() {
            break;
        }
    }
    Exit::Ok
}
