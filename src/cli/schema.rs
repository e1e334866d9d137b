//! `shakedown schema`: the JSON Schemas of suites and reports, and what other programs are given.

use std::io::Write;

use clap::ValueEnum;
use miette::IntoDiagnostic;

use crate::outcome::Exit;
use crate::serve::monitoring;
use crate::spec::{SuiteWritten, Suites};

/// Print the JSON Schema of suite files or of the report, or what Prometheus and Grafana make of `shakedown serve`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which schema
    what: What,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// The files that --suites reads
    Suite,
    /// What --report json=PATH writes
    Report,
    /// Alert rules for Prometheus, from the built-in cases
    Alerts,
    /// A dashboard for Grafana, from the built-in cases
    Grafana,
}

/// Prints the schema.
pub(super) fn run(args: &Args) -> miette::Result<Exit> {
    let schema = |schema: serde_json::Value| format!("{schema:#}\n");
    let text = match args.what {
        What::Suite => schema(schemars::schema_for!(SuiteWritten).to_value()),
        What::Report => schema(crate::report::json::schema()),
        What::Alerts => monitoring::alerts(&Suites::builtin().into_diagnostic()?),
        What::Grafana => monitoring::dashboard(&Suites::builtin().into_diagnostic()?),
    };
    std::io::stdout().write_all(text.as_bytes()).into_diagnostic()?;
    Ok(Exit::Ok)
}
