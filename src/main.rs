//! The `shakedown` command: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    shakedown::cli::main()
}
