//! `shakedown plan`, and `shakedown setup` with a `[desired]` table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use secrecy::SecretString;

use serde_json::json;

use super::Common;
use super::compose::{PROJECT, images};
use super::confirm::confirm;
use super::failure::Failure;
use super::print::{Format, print};
use super::steps::{as_json, as_text, exit_of};
use crate::operations::provision::{self, Action, Change, Consent, File, PlanError, SetupTarget, Step, WriteCounter};
use crate::outcome::Exit;
use crate::redaction;
use crate::settings::{self, Desired, Settings};
use crate::stack::compose_files;

/// Variables that workers read and that can contradict [desired].
const COMPARED: [&str; 3] = ["JINA_MODEL", "EMBEDDING_DIMENSIONS", "EMBED_BATCH"];

/// Compare the stack with [desired] in shakedown.toml, and print what `setup` would change; reads only
///
/// `create`: it is missing. `change`: it can be changed in place. `re-create`: it cannot be changed in place, such as the
/// size or distance of a vector, so a new one is created beside it. `drift`: it differs, and `setup` does not touch it.
/// Exit codes: 0 nothing to do; 4 changes are pending; 2 bad usage or settings; 3 a service failed or did not answer.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Plan what `setup --force` would do, which overwrites files
    #[arg(long)]
    force: bool,
}

/// Flags that agree to a change in advance.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Agreed {
    /// Replace what the plan re-creates without asking; for pipelines
    #[arg(long)]
    yes: bool,
    /// Discard the points that a re-created collection cannot take over
    #[arg(long)]
    discard: bool,
    /// Overwrite files with other contents
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let settings = super::load(common.source())?;
    let Some(desired) = settings.desired() else {
        return Err(Failure::usage(
            "shakedown.toml has no [desired]\n  remedy: add [desired.queue], [desired.postgres] or \
             [desired.qdrant.collections.NAME]; without them `shakedown setup` creates what a worker needs",
        ));
    };
    let changes = provision::plan(desired, &place(&settings, desired)?, args.force).await.map_err(unplanned)?;
    let pending = changes.iter().any(Change::is_pending);
    print(&match args.format {
        Format::Text => format_changes(&changes),
        Format::Json => {
            let all: Vec<_> = changes.iter().map(Change::json).collect();
            format!("{:#}\n", json!({ "profile": settings.profile(), "pending": pending, "changes": all }))
        }
    });
    Ok(if pending { Exit::Pending } else { Exit::Ok })
}

/// Applies the plan.
pub(super) async fn set_up(
    settings: &Settings,
    desired: &Desired,
    agreed: Agreed,
    format: Format,
) -> Result<Exit, Failure> {
    let place = place(settings, desired)?;
    let mut consent = Consent { replace: agreed.yes, discard: agreed.discard, force: agreed.force };
    // If planning fails there is nothing to confirm; applying then reports the step that fails.
    if let Ok(changes) = provision::plan(desired, &place, agreed.force).await
        && changes.iter().any(|change| change.destroys.is_some())
        && !agreed.yes
    {
        if format == Format::Text {
            print(&format_changes(&changes));
        }
        let why: Vec<&str> = changes.iter().filter_map(|change| change.destroys.as_deref()).collect();
        if !confirm(&format!("{}. Continue?", why.join(". ")), false, "`shakedown plan`")? {
            print("nothing was changed\n");
            return Ok(Exit::Ok);
        }
        consent.replace = true;
    }
    let mut writes = WriteCounter::ending_after(end_after(settings));
    let print_step = |step: &Step| {
        if format == Format::Text {
            print(&as_text(step));
        }
    };
    let steps = provision::apply(desired, &place, consent, &mut writes, print_step).await;
    if format == Format::Json {
        print(&as_json(&steps));
    }
    exit_of(steps)
}

/// The number of writes after which the process ends, for tests only.
#[cfg(feature = "defects")]
fn end_after(settings: &Settings) -> Option<u32> {
    settings.get("SHAKEDOWN_DEFECT")?.strip_prefix("setup-ends-after-")?.parse().ok()
}

#[cfg(not(feature = "defects"))]
const fn end_after(_: &Settings) -> Option<u32> {
    None
}

/// The stack that the variables name. A service without an entry in [desired] needs no address.
fn place(settings: &Settings, desired: &Desired) -> Result<SetupTarget, Failure> {
    let roles = desired.postgres.iter().flat_map(|postgres| postgres.roles.values());
    let passwords: BTreeMap<String, SecretString> = roles
        .filter_map(|role| {
            let variable = role.password.as_ref()?;
            Some((variable.clone(), settings.variable(variable)?))
        })
        .collect();
    redaction::learn(passwords.iter().map(|(name, password)| (name.as_str(), password)));
    let compared = COMPARED.into_iter().filter_map(|name| Some((name, settings.get(name)?.to_owned())));
    Ok(SetupTarget {
        redis: desired.queue.as_ref().map(|_| settings.redis()).transpose()?,
        postgres: desired.postgres.as_ref().map(|_| settings.postgres()).transpose()?,
        qdrant: (!desired.collections.is_empty()).then(|| settings.qdrant()).transpose()?,
        names: settings.names()?,
        dimensions: settings.u32("EMBEDDING_DIMENSIONS")?,
        passwords,
        variables: compared.collect(),
        files: files(settings, desired),
    })
}

/// The files of [desired.files]: the example of variables, and the compose files.
fn files(settings: &Settings, desired: &Desired) -> Vec<File> {
    let dotenv = desired.files.dotenv.iter().map(|path| File {
        path: path.clone(),
        text: settings::dotenv(),
        private: false,
        lines: Vec::new(),
    });
    let compose = desired.files.compose.iter().flat_map(|path| compose_files(path, PROJECT, &images(settings)));
    let compose =
        compose.map(|file| File { path: file.path, text: file.text, private: file.private, lines: file.lines });
    dotenv.chain(compose).collect()
}

fn unplanned(failed: PlanError) -> Failure {
    let PlanError { service, error } = failed;
    let remedy = error.remedy().map_or_else(String::new, |remedy| format!("\n  remedy: {remedy}"));
    Failure { exit: error.exit(), report: miette::miette!("cannot compare {service}: {error}{remedy}") }
}

fn format_changes(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let sign = match change.action {
            Action::Create => "+",
            Action::Change => "~",
            Action::Recreate => "±",
            Action::Drift => "!",
        };
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "{sign} {:<9} {:<9} {} {}", change.action.word(), change.service, change.kind, change.what);
        for detail in &change.details {
            let _ = writeln!(text, "      {detail}");
        }
        if let Some(loss) = &change.destroys {
            let _ = writeln!(text, "      {loss}");
        }
    }
    let count = |action: Action| changes.iter().filter(|change| change.action == action).count();
    let _ = if changes.iter().any(Change::is_pending) {
        writeln!(
            text,
            "{} to create, {} to change, {} to re-create; {} drifted and left as they are",
            count(Action::Create),
            count(Action::Change),
            count(Action::Recreate),
            count(Action::Drift)
        )
    } else {
        writeln!(text, "nothing to do; {} drifted and left as they are", count(Action::Drift))
    };
    text
}
