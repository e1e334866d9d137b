//! The flags that choose where the stack comes from, and the stack options that follow from them and the settings.

use std::path::PathBuf;

use super::failure::Failure;
use super::rerun::Rerun;
use crate::settings::{Settings, Source};
use crate::stack::{CONTAINER_MEMORY_MB, Images, Overrides, ProviderKind, StackOptions};

/// Where the stack comes from.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Stack")]
pub(super) struct StackArgs {
    /// Where the stack comes from: auto, native, containers or remote
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// Redis image of the containers provider
    #[arg(long, value_name = "IMAGE")]
    redis_image: Option<String>,
    /// Postgres image of the containers provider
    #[arg(long, value_name = "IMAGE")]
    postgres_image: Option<String>,
    /// Qdrant image of the containers provider
    #[arg(long, value_name = "IMAGE")]
    qdrant_image: Option<String>,
    /// Keep the containers running for the next run with the same flags, and use those of the last run
    #[arg(long)]
    reuse: bool,
    /// Keep the temporary directory with the workers' output, and keep the containers running
    #[arg(long, conflicts_with = "reuse")]
    keep: bool,
    /// Directory in which the temporary directory is created
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl StackArgs {
    /// `source` with these flags.
    pub(super) fn onto(&self, source: Source) -> Source {
        source
            .flag("SHAKEDOWN_PROVIDER", self.provider.as_deref())
            .flag("SHAKEDOWN_REDIS_IMAGE", self.redis_image.as_deref())
            .flag("SHAKEDOWN_POSTGRES_IMAGE", self.postgres_image.as_deref())
            .flag("SHAKEDOWN_QDRANT_IMAGE", self.qdrant_image.as_deref())
            .flag("SHAKEDOWN_REUSE", self.reuse.then_some("1"))
            .flag("SHAKEDOWN_KEEP", self.keep.then_some("1"))
            .flag("SHAKEDOWN_DATA_DIR", self.data_dir.as_ref().map(|path| path.display()))
    }

    /// `rerun` with the flags that choose the stack.
    pub(super) fn repeat(&self, rerun: Rerun) -> Rerun {
        rerun
            .option("--provider", self.provider.as_ref())
            .option("--redis-image", self.redis_image.as_ref())
            .option("--postgres-image", self.postgres_image.as_ref())
            .option("--qdrant-image", self.qdrant_image.as_ref())
    }
}

/// The provider and the stack options of `settings`.
pub(super) fn options(settings: &Settings, run: &str) -> Result<(ProviderKind, StackOptions), Failure> {
    let kind = match settings.get("SHAKEDOWN_PROVIDER").unwrap_or("auto") {
        "native" => ProviderKind::Native,
        "containers" => ProviderKind::Containers,
        "remote" => ProviderKind::Remote,
        _ => ProviderKind::Auto,
    };
    let shakedown = std::env::current_exe()
        .map_err(|error| Failure::harness(format!("cannot find the path of this program: {error}")))?;
    let image = |name| settings.get(name).map(str::to_owned);
    let mut options = StackOptions::new(run, shakedown);
    options.keep = settings.switch("SHAKEDOWN_KEEP")?;
    options.reuse = settings.switch("SHAKEDOWN_REUSE")?;
    options.data_dir = settings.path("SHAKEDOWN_DATA_DIR");
    options.state_dir = settings.state_dir();
    options.programs = Overrides {
        redis: settings.path("SHAKEDOWN_REDIS_SERVER"),
        postgres: settings.path("SHAKEDOWN_POSTGRES"),
        qdrant: settings.path("SHAKEDOWN_QDRANT"),
    };
    options.images = Images {
        redis: image("SHAKEDOWN_REDIS_IMAGE"),
        postgres: image("SHAKEDOWN_POSTGRES_IMAGE"),
        qdrant: image("SHAKEDOWN_QDRANT_IMAGE"),
    };
    options.container_memory_mb = settings.number("SHAKEDOWN_CONTAINER_MEMORY_MB")?.unwrap_or(CONTAINER_MEMORY_MB);
    if kind == ProviderKind::Remote {
        options.endpoints = Some(settings.endpoints()?);
    }
    Ok((kind, options))
}
