//! Reads `[desired]` and checks each value.

mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::reader::Reader;
use crate::settings::desired::{
    Desired, DesiredCollection, DesiredFiles, DesiredGrant, DesiredJina, DesiredJob, DesiredPostgres, DesiredQueue,
    DesiredRole, Distance, EF_CONSTRUCT, EVENTS, Keep, M, RateLimit,
};
use crate::settings::suggest::similar;
pub(super) use written::WrittenDesired;
use written::{WrittenCollection, WrittenGrant, WrittenJina, WrittenKeep, WrittenPostgres, WrittenQueue, WrittenRole};

/// Most texts in a request: with more, Jina's answers get slow and large.
const BATCH: u32 = 100;
/// Vector sizes that Qdrant accepts.
const SIZES: RangeInclusive<u32> = 1..=65_536;

/// Types of Qdrant's payload indexes.
const INDEXES: &[&str] = &["bool", "datetime", "float", "geo", "integer", "keyword", "text", "uuid"];
/// Table privileges of Postgres.
const RIGHTS: &[&str] = &["delete", "insert", "references", "select", "trigger", "truncate", "update"];
/// Jina's models: name prefix, largest vector size and accepted tasks (suites/FAILURES.md#jina.dimensions, #jina.task-mismatch).
const MODELS: &[(&str, u32, &[&str])] = &[
    ("jina-embeddings-v2-", 768, &[]),
    (
        "jina-embeddings-v3",
        1024,
        &["retrieval.query", "retrieval.passage", "text-matching", "classification", "separation"],
    ),
    (
        "jina-embeddings-v4",
        2048,
        &["retrieval.query", "retrieval.passage", "text-matching", "code.query", "code.passage"],
    ),
    (
        "jina-embeddings-v5-text-small",
        1024,
        &["retrieval.query", "retrieval.passage", "text-matching", "clustering", "classification"],
    ),
    (
        "jina-embeddings-v5-text-nano",
        768,
        &["retrieval.query", "retrieval.passage", "text-matching", "clustering", "classification"],
    ),
];

impl Reader<'_> {
    pub(in crate::settings::file) fn desired(&mut self, written: WrittenDesired) -> Desired {
        let jina_dimensions =
            written.jina.as_ref().and_then(|jina| jina.dimensions.as_ref().map(|size| *size.get_ref()));
        let collections = written.qdrant.map(|qdrant| qdrant.collections).unwrap_or_default();
        let names: BTreeSet<String> = collections.keys().map(|name| name.get_ref().clone()).collect();
        let mut taken = BTreeMap::new();
        let joined = |reader: &Self, path: &Path| reader.directory().join(path);
        Desired {
            keep: false,
            queue: written.queue.map(|queue| self.desired_queue(queue)),
            postgres: written.postgres.map(|postgres| self.desired_postgres(postgres)),
            collections: collections
                .into_iter()
                .filter_map(|(name, collection)| {
                    let named = self.name(name.clone(), "a collection", "/?#%")?;
                    let collection = self.collection(&named, collection, jina_dimensions);
                    self.check_aliases(&name, &collection, &names, &mut taken);
                    Some((named, collection))
                })
                .collect(),
            jina: written.jina.map(|jina| self.jina(jina)),
            files: DesiredFiles {
                compose: written.files.compose.map(|path| joined(self, &path)),
                dotenv: written.files.dotenv.map(|path| joined(self, &path)),
                worker: written.files.worker.map(|path| joined(self, &path)),
            },
        }
    }

    fn desired_queue(&mut self, queue: WrittenQueue) -> DesiredQueue {
        let job = queue.job;
        let backoff = job.backoff.map(|backoff| {
            if !(0.0..=1.0).contains(&backoff.get_ref().jitter) {
                self.report(backoff.span(), "`jitter` is not between 0 and 1", "write a fraction, e.g. jitter = 0.5");
            }
            backoff.into_inner()
        });
        DesiredQueue {
            name: queue.name.and_then(|name| self.name(name, "a queue", ":")),
            prefix: queue.prefix.and_then(|prefix| self.name(prefix, "a prefix", ":")),
            events: self.number("events", queue.events, 1..=u32::MAX).unwrap_or(EVENTS),
            concurrency: self.number("concurrency", queue.concurrency, 1..=u32::MAX),
            rate_limit: queue.rate_limit.and_then(|rate| {
                let max = self.number("max", Some(rate.max), 1..=u32::MAX)?;
                let per = self.time(&rate.per)?;
                Some(RateLimit { max, per })
            }),
            job: DesiredJob {
                attempts: self.number("attempts", job.attempts, 1..=1000),
                backoff,
                keep_completed: job.keep_completed.map(|keep| self.keep(keep)),
                keep_failed: job.keep_failed.map(|keep| self.keep(keep)),
            },
        }
    }

    fn keep(&mut self, keep: WrittenKeep) -> Keep {
        Keep { age: keep.age.and_then(|age| self.time(&age)), count: keep.count }
    }

    fn desired_postgres(&mut self, postgres: WrittenPostgres) -> DesiredPostgres {
        let mut roles = BTreeMap::new();
        for (name, role) in postgres.roles {
            if let Some(name) = self.identifier(&name, "a role") {
                let role = self.role(&name, role);
                roles.insert(name, role);
            }
        }
        DesiredPostgres {
            migrations: postgres.migrations.map(|path| self.directory().join(path)),
            extensions: postgres
                .extensions
                .unwrap_or_default()
                .into_iter()
                .filter_map(|name| self.name(name, "an extension", "\"'\\"))
                .collect(),
            extension_schema: postgres.extension_schema.and_then(|name| self.identifier(&name, "a schema")),
            roles,
            schemas: Vec::new(),
            tables: Vec::new(),
            rls: postgres.rls.unwrap_or_default().into_iter().filter_map(|table| self.table(&table)).collect(),
            grants: postgres.grants.unwrap_or_default().into_iter().filter_map(|grant| self.grant(&grant)).collect(),
        }
    }

    fn role(&mut self, name: &str, role: WrittenRole) -> DesiredRole {
        let variable = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
                && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        };
        let password = role.password.and_then(|password| {
            if variable(password.get_ref()) {
                return Some(password.into_inner());
            }
            // The value may be the password itself, so the message does not repeat it.
            self.report(
                password.span(),
                format!("`password` of role {name} is not a variable name; this file must not contain secrets"),
                "write the name of the variable that holds the password, e.g. password = \"INGEST_PASSWORD\"",
            );
            None
        });
        DesiredRole {
            login: role.login.unwrap_or(password.is_some()),
            bypass_rls: role.bypass_rls.unwrap_or(false),
            password,
        }
    }

    fn grant(&mut self, grant: &WrittenGrant) -> Option<DesiredGrant> {
        let to = self.identifier(&grant.to, "a role");
        let on = self.table(&grant.on);
        let mut rights: Vec<String> = grant.rights.get_ref().iter().map(|right| right.to_lowercase()).collect();
        rights.sort();
        rights.dedup();
        if let Some(wrong) = rights.iter().find(|right| !RIGHTS.contains(&right.as_str())) {
            self.report_unknown(grant.rights.span(), "table privilege", wrong, RIGHTS);
            return None;
        }
        if rights.is_empty() {
            self.report(
                grant.rights.span(),
                "`rights` is empty",
                format!("write one or more of {}", RIGHTS.join(", ")),
            );
            return None;
        }
        Some(DesiredGrant { to: to?, on: on?, rights })
    }

    fn collection(&mut self, name: &str, written: WrittenCollection, jina: Option<u32>) -> DesiredCollection {
        let span = written.size.as_ref().map(Spanned::span);
        let size = self.number("size", written.size, SIZES);
        if let (Some(size), Some(dimensions), Some(span)) = (size, jina, span)
            && size != dimensions
        {
            let problem =
                format!("collection {name} has vectors of {size} dimensions, but [desired.jina] requests {dimensions}");
            self.report(span, problem, "set `size` and `dimensions` to the same value, or leave `size` out");
        }
        let mut indexes = BTreeMap::new();
        for (field, kind) in written.indexes.unwrap_or_default() {
            if INDEXES.contains(&kind.get_ref().as_str()) {
                indexes.insert(field.into_inner(), kind.into_inner());
            } else {
                self.report_unknown(kind.span(), "payload index type", kind.get_ref(), INDEXES);
            }
        }
        DesiredCollection {
            size: size.or(jina),
            distance: written.distance.unwrap_or(Distance::Cosine),
            vector: written.vector.and_then(|vector| self.name(vector, "a vector", "/?#%")),
            on_disk: written.on_disk,
            on_disk_payload: written.on_disk_payload,
            m: self.number("m", written.hnsw.m, 0..=10_000).unwrap_or(M),
            ef_construct: self.number("ef_construct", written.hnsw.ef_construct, 4..=100_000).unwrap_or(EF_CONSTRUCT),
            indexes,
            replication_factor: self.number("replication_factor", written.replication_factor, 1..=64),
            write_consistency_factor: self.number("write_consistency_factor", written.write_consistency_factor, 1..=64),
            shards: self.number("shards", written.shards, 1..=1024),
            quantization: written.quantization,
            aliases: written
                .aliases
                .unwrap_or_default()
                .into_iter()
                .filter_map(|alias| self.name(alias, "an alias", "/?#%"))
                .collect(),
        }
    }

    /// An alias may refer to one collection only, and no collection may have its name.
    fn check_aliases(
        &mut self,
        name: &Spanned<String>,
        collection: &DesiredCollection,
        names: &BTreeSet<String>,
        taken: &mut BTreeMap<String, String>,
    ) {
        for alias in &collection.aliases {
            if names.contains(alias) {
                let problem =
                    format!("alias {alias} of collection {} is also the name of a collection", name.get_ref());
                self.report(name.span(), problem, "rename one of them");
            } else if let Some(other) = taken.insert(alias.clone(), name.get_ref().clone()) {
                let problem = format!("alias {alias} is assigned to {other} and to {}", name.get_ref());
                self.report(name.span(), problem, "an alias refers to one collection: remove it from the other");
            }
        }
    }

    fn jina(&mut self, jina: WrittenJina) -> DesiredJina {
        let spans = (jina.dimensions.as_ref().map(Spanned::span), jina.task.as_ref().map(Spanned::span));
        let desired = DesiredJina {
            model: jina.model.and_then(|model| self.name(model, "a model", "")),
            task: jina.task.map(Spanned::into_inner),
            dimensions: self.number("dimensions", jina.dimensions, SIZES),
            batch: self.number("batch", jina.batch, 1..=BATCH),
            requests_per_minute: self.number("requests_per_minute", jina.requests_per_minute, 1..=u32::MAX),
            tokens_per_minute: self.number("tokens_per_minute", jina.tokens_per_minute, 1..=u32::MAX),
        };
        let Some(model) = &desired.model else { return desired };
        // Limits of other models are not known here.
        let Some((_, most, tasks)) = MODELS.iter().find(|(known, ..)| model.starts_with(known)) else { return desired };
        if let (Some(dimensions), Some(span)) = (desired.dimensions.filter(|dimensions| dimensions > most), spans.0) {
            let problem = format!("{model} produces vectors of at most {most} dimensions, not {dimensions}");
            self.report(span, problem, format!("write {most} or less, or choose another model"));
        }
        if let (Some(task), Some(span)) = (desired.task.as_deref().filter(|task| !tasks.contains(task)), spans.1) {
            if tasks.is_empty() {
                self.report(span, format!("{model} has no tasks"), "leave `task` out, or choose another model");
            } else {
                self.report_unknown(span, &format!("task of {model}"), task, tasks);
            }
        }
        desired
    }

    /// Reports `word`, which is none of the `known` words.
    fn report_unknown(&mut self, span: std::ops::Range<usize>, what: &str, word: &str, known: &[&str]) {
        let suggestion = similar(word, known.iter().map(|word| (*word).to_owned()));
        let remedy = suggestion.map_or_else(
            || format!("use one of {}", known.join(", ")),
            |suggestion| format!("did you mean `{suggestion}`?"),
        );
        self.report(span, format!("`{word}` is not a {what}"), remedy);
    }

    fn number(&mut self, key: &str, number: Option<Spanned<u32>>, within: RangeInclusive<u32>) -> Option<u32> {
        let number = number?;
        if within.contains(number.get_ref()) {
            return Some(number.into_inner());
        }
        let most = if *within.end() == u32::MAX { String::new() } else { format!(" to {}", within.end()) };
        let problem = format!("`{key}` is {}", number.get_ref());
        self.report(number.span(), problem, format!("write a number from {}{most}", within.start()));
        None
    }

    fn time(&mut self, text: &Spanned<String>) -> Option<Duration> {
        let time = self.duration(text, "24h")?;
        if time.is_zero() {
            self.report(text.span(), "the duration is zero", "write a duration above zero, e.g. \"24h\"");
            return None;
        }
        Some(time)
    }

    fn name(&mut self, name: Spanned<String>, what: &str, without: &str) -> Option<String> {
        let text = name.get_ref();
        let wrong = text.chars().find(|c| c.is_whitespace() || c.is_control() || without.contains(*c));
        let problem = match wrong {
            Some(wrong) => format!("invalid name `{}` for {what}: it contains {wrong:?}", text.escape_debug()),
            None if text.is_empty() => format!("the name of {what} is empty"),
            None => return Some(name.into_inner()),
        };
        self.report(name.span(), problem, "use letters, digits, - and _");
        None
    }

    fn identifier(&mut self, name: &Spanned<String>, what: &str) -> Option<String> {
        if is_identifier(name.get_ref()) {
            return Some(name.get_ref().clone());
        }
        let problem = format!("invalid name `{}` for {what}", name.get_ref().escape_debug());
        self.report(name.span(), problem, "use at most 63 lower-case letters, digits and _, starting with a letter");
        None
    }

    fn table(&mut self, name: &Spanned<String>) -> Option<String> {
        let parts = name.get_ref().split_once('.');
        if parts.is_some_and(|(schema, table)| is_identifier(schema) && is_identifier(table)) {
            return Some(name.get_ref().clone());
        }
        let problem = format!("`{}` is not in the form `schema.table`", name.get_ref().escape_debug());
        self.report(name.span(), problem, "write it in lower case, e.g. \"public.documents\"");
        None
    }
}

fn is_identifier(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rstest::rstest;

    use crate::settings::config::Config;
    use crate::settings::file::parse;

    fn read(text: &str) -> Result<Config, String> {
        parse(&PathBuf::from("shakedown.toml"), text).map_err(|problems| {
            let line =
                |problem: &crate::settings::Problem| format!("{problem} {}", problem.remedy().unwrap_or_default());
            problems.iter().map(line).collect::<Vec<_>>().join("\n")
        })
    }

    #[rstest]
    #[case("[desired.queue]\nevnts = 5", "shakedown.toml:2:1: unknown field `evnts` did you mean `events`?")]
    #[case("[desired.queue]\nevents = 0", "shakedown.toml:2:10: `events` is 0 write a number from 1")]
    #[case("[desired.queue]\nname = \"a:b\"", "contains ':'")]
    #[case("[desired.queue]\nrate_limit = { max = 1, per = \"often\" }", "invalid duration `often`")]
    #[case("[desired.queue.job]\nbackoff = { type = \"fixed\", delay = 1, jitter = 2.0 }", "not between 0 and 1")]
    #[case("[desired.postgres]\nrls = [\"documents\"]", "`documents` is not in the form `schema.table`")]
    #[case("[desired.postgres.roles.ingest]\npassword = \"hunter2\"", "is not a variable name")]
    #[case(
        "[[desired.postgres.grants]]\nto = \"a\"\non = \"b.c\"\nrights = [\"selec\"]",
        "shakedown.toml:4:10: `selec` is not a table privilege did you mean `select`?"
    )]
    #[case("[desired.qdrant.collections.a]\ndistance = \"Cosin\"", "did you mean `Cosine`?")]
    #[case("[desired.qdrant.collections.a]\nindexes = { f = \"keywrd\" }", "did you mean `keyword`?")]
    #[case("[desired.qdrant.collections.\"a/b\"]", "invalid name `a/b` for a collection: it contains '/'")]
    #[case(
        "[desired.qdrant.collections.a]\naliases = [\"b\"]\n[desired.qdrant.collections.b]",
        "alias b of collection a is also the name of a collection"
    )]
    #[case(
        "[desired.qdrant.collections.a]\naliases = [\"x\"]\n[desired.qdrant.collections.b]\naliases = [\"x\"]",
        "alias x is assigned to a and to b"
    )]
    #[case("[desired.qdrant.collections.a]\nsize = 64\n[desired.jina]\ndimensions = 128", "vectors of 64 dimensions")]
    #[case("[desired.jina]\nbatch = 101", "`batch` is 101 write a number from 1 to 100")]
    #[case("[desired.jina]\nmodel = \"jina-embeddings-v3\"\ndimensions = 2048", "at most 1024 dimensions")]
    #[case(
        "[desired.jina]\nmodel = \"jina-embeddings-v3\"\ntask = \"clustering\"",
        "`clustering` is not a task of jina-embeddings-v3"
    )]
    #[case("[profile.production.desired.queue]\nevents = 0", "shakedown.toml:2:10: `events` is 0")]
    #[case("[desired.queue.job]\nkeep_failed = { age = \"0s\" }", "the duration is zero")]
    fn an_invalid_value_is_refused_at_its_place(#[case] text: &str, #[case] wanted: &str) {
        let problems = read(text).unwrap_err();
        assert!(problems.contains(wanted) && !problems.contains("hunter2"), "{problems}");
        assert_eq!(problems.lines().count(), 1, "reported once, not once for each profile: {problems}");
    }

    #[test]
    fn a_profile_overrides_single_keys_of_the_common_section() {
        let config = read(
            "[desired.queue]\nname = \"q\"\nconcurrency = 5\n\
             [desired.qdrant.collections.a]\nsize = 64\nhnsw = { m = 8 }\n\
             [profile.production.desired.queue]\nconcurrency = 50\n\
             [profile.production.desired.qdrant.collections.a]\nreplication_factor = 2\n\
             [profile.production.desired.qdrant.collections.b]\nsize = 32\n",
        )
        .unwrap();
        let (all, production) = (&config.desired["development"], &config.desired["production"]);
        let queue = production.queue.as_ref().unwrap();
        assert_eq!((queue.name.as_deref(), queue.concurrency), (Some("q"), Some(50)));
        assert_eq!(all.queue.as_ref().unwrap().concurrency, Some(5));
        let collection = &production.collections["a"];
        assert_eq!((collection.size, collection.m, collection.replication_factor), (Some(64), 8, Some(2)));
        assert_eq!((production.collections.len(), all.collections.len()), (2, 1));
        assert!(read("").unwrap().desired.is_empty());
    }
}
