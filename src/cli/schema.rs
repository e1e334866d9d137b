//! `shakedown schema`: JSON Schemas of suites and reports, and files for Prometheus and Grafana.

use clap::ValueEnum;
use miette::IntoDiagnostic;

use super::print::try_print;
use crate::outcome::Exit;
use crate::serve::monitoring;
use crate::spec::{SuiteWritten, Suites};

/// Print the JSON Schema of suites or reports, alert rules for Prometheus, or a dashboard for Grafana
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to print
    what: What,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// JSON Schema of the files that --suites reads
    Suite,
    /// JSON Schema of what --report json=PATH writes
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
    try_print(&text).into_diagnostic()?;
    Ok(Exit::Ok)
}
