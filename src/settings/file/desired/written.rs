//! `[desired]` as written, and how a profile's section overrides the common one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::settings::contract::Backoff;
use crate::settings::desired::{Distance, Quantization};

/// Merging of two sections: values of `self` win, missing ones come from `base`.
pub(super) trait Over: Sized {
    fn over(self, base: Self) -> Self;
}

impl<T: Over> Over for Option<T> {
    fn over(self, base: Self) -> Self {
        match (self, base) {
            (Some(mine), Some(base)) => Some(mine.over(base)),
            (mine, base) => mine.or(base),
        }
    }
}

impl<T: Over> Over for BTreeMap<Spanned<String>, T> {
    fn over(self, mut base: Self) -> Self {
        for (name, mine) in self {
            let mine = match base.remove(&name) {
                Some(base) => mine.over(base),
                None => mine,
            };
            base.insert(name, mine);
        }
        base
    }
}

/// Tables whose keys are all optional. A key of a profile replaces the same key of the common section; a key marked `@`
/// is a table that is merged in the same way.
macro_rules! tables {
    ($($(#[$about:meta])* $name:ident { $($key:ident: $kind:ty,)* $(@ $inner:ident: $table:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(in crate::settings::file) struct $name {
            $(pub(super) $key: Option<$kind>,)*
            $(pub(super) $inner: $table,)*
        }

        impl Over for $name {
            fn over(self, base: Self) -> Self {
                Self {
                    $($key: self.$key.or(base.$key),)*
                    $($inner: self.$inner.over(base.$inner),)*
                }
            }
        }
    )*};
}

tables! {
    WrittenDesired {
        @ queue: Option<WrittenQueue>,
        @ postgres: Option<WrittenPostgres>,
        @ qdrant: Option<WrittenQdrant>,
        @ jina: Option<WrittenJina>,
        @ files: WrittenFiles,
    }
    WrittenQueue {
        name: Spanned<String>,
        prefix: Spanned<String>,
        events: Spanned<u32>,
        concurrency: Spanned<u32>,
        rate_limit: WrittenRate,
        @ job: WrittenJob,
    }
    WrittenJob {
        attempts: Spanned<u32>,
        backoff: Spanned<Backoff>,
        keep_completed: WrittenKeep,
        keep_failed: WrittenKeep,
    }
    WrittenPostgres {
        migrations: PathBuf,
        extensions: Vec<Spanned<String>>,
        extension_schema: Spanned<String>,
        rls: Vec<Spanned<String>>,
        grants: Vec<WrittenGrant>,
        @ roles: BTreeMap<Spanned<String>, WrittenRole>,
    }
    WrittenRole {
        login: bool,
        bypass_rls: bool,
        password: Spanned<String>,
    }
    WrittenQdrant {
        @ collections: BTreeMap<Spanned<String>, WrittenCollection>,
    }
    WrittenCollection {
        size: Spanned<u32>,
        distance: Distance,
        vector: Spanned<String>,
        on_disk: bool,
        on_disk_payload: bool,
        indexes: BTreeMap<Spanned<String>, Spanned<String>>,
        replication_factor: Spanned<u32>,
        write_consistency_factor: Spanned<u32>,
        shards: Spanned<u32>,
        quantization: Quantization,
        aliases: Vec<Spanned<String>>,
        @ hnsw: WrittenHnsw,
    }
    WrittenHnsw {
        m: Spanned<u32>,
        ef_construct: Spanned<u32>,
    }
    WrittenJina {
        model: Spanned<String>,
        task: Spanned<String>,
        dimensions: Spanned<u32>,
        batch: Spanned<u32>,
        requests_per_minute: Spanned<u32>,
        tokens_per_minute: Spanned<u32>,
    }
    WrittenFiles {
        compose: PathBuf,
        dotenv: PathBuf,
        worker: PathBuf,
    }
}

impl WrittenDesired {
    /// A profile's section merged over `all`, the common one.
    pub(in crate::settings::file) fn over_all(self, all: Option<Self>) -> Self {
        Some(self).over(all).unwrap_or_default()
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings::file) struct WrittenRate {
    pub(super) max: Spanned<u32>,
    pub(super) per: Spanned<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings::file) struct WrittenKeep {
    pub(super) age: Option<Spanned<String>>,
    pub(super) count: Option<u32>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings::file) struct WrittenGrant {
    pub(super) to: Spanned<String>,
    pub(super) on: Spanned<String>,
    pub(super) rights: Spanned<Vec<String>>,
}
