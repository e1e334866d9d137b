//! `shakedown compose`: write a Docker Compose file, or check one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Common;
use super::failure::Failure;
use super::print::{Format, print};
use crate::outcome::Exit;
use crate::settings::Settings;
use crate::stack::{COMPOSE_RULES, Images, check_compose, write_compose};

/// Write a Docker Compose file for local development, or check one
///
/// The file has Redis, Postgres and Qdrant with volumes, health checks and limits, bull-board in the profile `board` and
/// your worker in the profile `worker`. Exit codes of --check: 0 no problems; 1 problems; 2 no such file, or not a
/// compose file.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory to write to
    #[arg(long, value_name = "DIR", default_value = "compose")]
    out: PathBuf,
    /// Name of the compose project
    #[arg(long, value_name = "NAME", default_value = PROJECT)]
    project: String,
    /// Overwrite existing files; .env, which has the secrets, is never overwritten
    #[arg(long)]
    force: bool,
    /// Check this file, and write nothing [default: the one in --out]
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with = "force")]
    #[expect(clippy::option_option, reason = "absent, given, given with a value: clap's own way to say it")]
    check: Option<Option<PathBuf>>,
    /// Output format of --check; json also finds a file with a usual name in this directory
    #[arg(long, value_enum, default_value_t, requires = "check")]
    format: Format,
}

/// The default name of the project.
pub(super) const PROJECT: &str = "shakedown";

/// The usual names of compose files, in the order in which the compose tool looks for them.
const USUAL: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

pub(super) fn run(args: &Args, common: &Common) -> Result<Exit, Failure> {
    if let Some(file) = &args.check {
        if args.format == Format::Json {
            let ours = args.out.join("compose.yaml");
            let usual = USUAL.iter().map(PathBuf::from).chain([ours]);
            return check_as_json(file.clone().or_else(|| usual.into_iter().find(|path| path.is_file())).as_deref());
        }
        return check(file.as_deref().unwrap_or(&args.out.join("compose.yaml")));
    }
    let letters = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '-' | '_');
    if args.project.is_empty() || !args.project.chars().all(letters) || args.project.starts_with(['-', '_']) {
        return Err(Failure::usage(format!(
            "invalid project name `{}`: expected lower-case letters, digits, - and _, beginning with a letter or digit",
            args.project
        )));
    }
    let settings = super::load(common.source())?;
    let written = write_compose(&args.out, &args.project, &images(&settings), args.force).map_err(Failure::usage)?;
    let mut text = String::new();
    for path in written {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "created {}", path.display());
    }
    let _ = writeln!(text, "next: cd {} && docker compose up -d --wait", args.out.display());
    print(&text);
    Ok(Exit::Ok)
}

/// The images that the settings name.
pub(super) fn images(settings: &Settings) -> Images {
    let image = |name| settings.get(name).map(str::to_owned);
    Images {
        redis: image("SHAKEDOWN_REDIS_IMAGE"),
        postgres: image("SHAKEDOWN_POSTGRES_IMAGE"),
        qdrant: image("SHAKEDOWN_QDRANT_IMAGE"),
    }
}

fn check(path: &Path) -> Result<Exit, Failure> {
    let (findings, tool) = check_compose(path).map_err(Failure::usage)?;
    let mut text = String::new();
    for finding in &findings {
        let service = if finding.service.is_empty() { String::new() } else { format!("{}: ", finding.service) };
        let _ = writeln!(text, "{service}{}\n    remedy: {}", finding.what, finding.remedy);
    }
    if !tool {
        text.push_str("docker compose is not installed: only the file itself was checked\n");
    }
    let _ = match findings.len() {
        0 => writeln!(text, "{}: no problems", path.display()),
        1 => writeln!(text, "{}: 1 problem", path.display()),
        many => writeln!(text, "{}: {many} problems", path.display()),
    };
    print(&text);
    Ok(if findings.is_empty() { Exit::Ok } else { Exit::NotConformant })
}

/// The findings by rule; `skip` in a directory without a compose file.
fn check_as_json(path: Option<&Path>) -> Result<Exit, Failure> {
    let Some(path) = path else {
        let reason = format!("there is no compose file here: {}", USUAL.join(", "));
        print(&format!("{:#}\n", json!({ "verdict": "skip", "reason": reason })));
        return Ok(Exit::Ok);
    };
    let (findings, tool) = check_compose(path).map_err(Failure::usage)?;
    let findings_of = |rule: &str| -> Vec<String> {
        let broken = findings.iter().filter(|finding| finding.rule == rule);
        broken.map(|finding| format!("{} {}", finding.service, finding.what).trim().to_owned()).collect()
    };
    let mut rules: serde_json::Map<_, _> =
        COMPOSE_RULES.iter().map(|rule| ((*rule).to_owned(), json!(findings_of(rule)))).collect();
    if !tool {
        // The rule was not checked.
        rules.remove("tool");
    }
    print(&format!("{:#}\n", json!({ "rules": rules, "evidence": { "file": path } })));
    Ok(if findings.is_empty() { Exit::Ok } else { Exit::NotConformant })
}
