//! `--bundle DIR`: everything known about a run, for a reader who was not there. Secrets are masked.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::guide::catalogue::format_source;
use crate::outcome::{Cause, FileNote, Report};
use crate::redaction::{printable, redact};
use crate::report::{self, Format, ReportTarget};

/// The directory with the workers' output.
const OUTPUT: &str = "output";

/// A directory that a run fills.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    directory: PathBuf,
}

impl Bundle {
    /// Creates the directory. Refuses one that is not empty, so that no file is overwritten or mixed with another run's.
    pub(super) fn open(directory: &Path) -> Result<Self, Failure> {
        let refuse = |what: String| Failure::usage(format!("--bundle {}: {what}", directory.display()));
        let output = output(directory);
        match fs::read_dir(directory) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(refuse("the directory is not empty; choose a new one, or empty it".to_owned()));
                }
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(refuse(format!("cannot read the directory: {error}")));
            }
            Err(_) => {}
        }
        fs::create_dir_all(&output).map_err(|error| refuse(format!("cannot create the directory: {error}")))?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Writes the report, a timeline for each scenario in which a case did not pass, the plan and the machine.
    pub(super) fn fill(&self, report: &mut Report, plan: &str) -> Result<(), Failure> {
        let at = |name: &str| self.directory.join(name);
        let write = |name: &str, text: &str| {
            fs::write(at(name), printable(&redact(text)).as_bytes())
                .map_err(|error| Failure::usage(format!("cannot write {}: {error}", at(name).display())))
        };
        for timeline in &report.timelines {
            let mut text = format!("{}: {}\n", timeline.scenario, timeline.title);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "not passed: {}\n", timeline.cases.join(", "));
            let explains = |cause: &&Cause| timeline.cases.iter().any(|case| cause.cases.contains(case));
            for cause in report.causes.iter().filter(explains) {
                let evidence = cause.evidence.join("\n        ");
                let _ = writeln!(
                    text,
                    "cause:  {}\nseen:   {evidence}\nremedy: {}\nsource: {}\n",
                    cause.sentence,
                    cause.remedy,
                    format_source(&cause.source)
                );
            }
            for document in &timeline.documents {
                let _ = writeln!(text, "{}: {}, {}", document.document, document.outcome, document.why);
            }
            text.push('\n');
            for line in timeline.lines() {
                let _ = writeln!(text, "{line}");
            }
            for left in &timeline.left_out {
                let _ = writeln!(text, "{} more of {}", left.count, left.track.word());
            }
            write(&format!("{}.timeline.txt", timeline.scenario), &text)?;
        }
        write("plan.txt", plan)?;
        write("machine.txt", &machine())?;
        report.files.push(FileNote {
            path: std::path::absolute(&self.directory).unwrap_or_else(|_| self.directory.clone()).display().to_string(),
            action: "created".to_owned(),
            purpose: "the diagnostic bundle: report, timelines, workers' output, plan, machine".to_owned(),
        });
        for (name, format) in
            [("report.json", Format::Json), ("report.md", Format::Markdown), ("report.html", Format::Html)]
        {
            report::write_to_path(report, &ReportTarget { format, path: at(name) }).map_err(Failure::usage)?;
        }
        Ok(())
    }
}

/// The directory for the workers' output.
pub(super) fn output(directory: &Path) -> PathBuf {
    directory.join(OUTPUT)
}

/// The machine that ran the cases.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo").lines().next().unwrap_or_default().to_owned();
    let system = read("/etc/os-release");
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown").to_owned();
    format!(
        "shakedown {}\n{} {}, {}\nkernel {}\n{cores} cores, load {}\n{memory}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        system.trim_matches('"'),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").trim(),
    )
}
