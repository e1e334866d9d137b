//! `--bundle DIR`: all that is known of a run, for somebody who was not there. No secret is in it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::outcome::{FileNote, Report};
use crate::report::source::format_source;
use crate::report::{self, Format, ReportTarget};

/// Where the output of workers is kept.
const OUTPUT: &str = "output";

/// A directory that is filled in the course of a run.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    directory: PathBuf,
}

impl Bundle {
    /// Creates the directory; one that holds something already is refused, for nothing in it may be lost or mixed up.
    pub(super) fn open(directory: &Path) -> Result<Self, Failure> {
        let refuse = |what: String| Failure::usage(format!("--bundle {}: {what}", directory.display()));
        let output = output(directory);
        match fs::read_dir(directory) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(refuse("the directory is not empty; name a new one, or empty it".to_owned()));
                }
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(refuse(format!("cannot be read: {error}")));
            }
            Err(_) => {}
        }
        fs::create_dir_all(&output).map_err(|error| refuse(format!("cannot be made: {error}")))?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Writes the report, a timeline for each scenario that was not passed, the plan and the machine.
    pub(super) fn fill(&self, report: &mut Report, plan: &str) -> Result<(), Failure> {
        let at = |name: &str| self.directory.join(name);
        let write = |name: &str, text: &str| {
            fs::write(at(name), text)
                .map_err(|error| Failure::usage(format!("{} cannot be written: {error}", at(name).display())))
        };
        for timeline in &report.timelines {
            let mut text = format!("{}: {}\n", timeline.scenario, timeline.title);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "not passed: {}\n", timeline.cases.join(", "));
            for diagnosis in &timeline.diagnoses {
                let _ = writeln!(
                    text,
                    "seen:   {}\nmeans:  {}\nremedy: {}\nsource: {}\n",
                    diagnosis.seen,
                    diagnosis.means,
                    diagnosis.remedy,
                    format_source(&diagnosis.source)
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
            purpose: "the diagnostic bundle: report, timelines, output of workers, plan, machine".to_owned(),
        });
        for (name, format) in
            [("report.json", Format::Json), ("report.md", Format::Markdown), ("report.html", Format::Html)]
        {
            report::write_to_path(report, &ReportTarget { format, path: at(name) }).map_err(Failure::usage)?;
        }
        Ok(())
    }
}

/// Where the runner keeps the output of workers.
pub(super) fn output(directory: &Path) -> PathBuf {
    directory.join(OUTPUT)
}

/// What the run was made on.
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
