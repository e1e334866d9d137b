//! `shakedown schema`: the JSON Schemas of suites and reports.

use std::io::Write;

use clap::ValueEnum;
use miette::IntoDiagnostic;

use crate::outcome::Exit;
use crate::spec::SuiteWritten;

/// Print the JSON Schema of suite files or of the report
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
}

/// Prints the schema.
pub(super) fn run(args: &Args) -> miette::Result<Exit> {
    let schema = match args.what {
        What::Suite => schemars::schema_for!(SuiteWritten).to_value(),
        What::Report => crate::report::json::schema(),
    };
    let text = serde_json::to_string_pretty(&schema).into_diagnostic()?;
    writeln!(std::io::stdout(), "{text}").into_diagnostic()?;
    Ok(Exit::Ok)
}
