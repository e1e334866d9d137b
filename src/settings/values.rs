//! Every setting of one invocation, asked for by name and type.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::config::Config;
use super::desired::Desired;
use super::endpoint::{Endpoints, JinaEndpoint, Names, PostgresEndpoint, QdrantEndpoint, RedisEndpoint};
use super::error::{Missing, Problem, SettingsError};
use super::load::{self, Loaded, Resolved, judge};
use super::machine;
use super::origin::Origin;
use super::source::Source;
use super::table::{Need, TABLE, entry};
use super::template::ENV;
use super::value::{self, shown};
use crate::outcome::EnvironmentRow;

/// Every setting of one invocation, with its origin. Secrets stay secret in `Debug`.
#[derive(Debug, Clone)]
pub struct Settings {
    profile: &'static str,
    values: BTreeMap<&'static str, Resolved>,
    absent: BTreeMap<&'static str, String>,
    config: Config,
    environment: BTreeMap<String, SecretString>,
}

impl Settings {
    /// Reads every source. All problems are reported together.
    ///
    /// Variables that start with `SHAKEDOWN_`, flags and the profile are judged here; other
    /// variables, which other programs may use in their own way, when they are asked for.
    pub fn load(source: Source) -> Result<Self, SettingsError> {
        let Loaded { profile, values, absent, config, environment } = load::load(source)?;
        let mut settings = Self { profile, values, absent, config, environment };
        settings.derive_grpc_url();
        Ok(settings)
    }

    /// Qdrant serves gRPC on the port after REST, by convention of its defaults 6333 and 6334.
    fn derive_grpc_url(&mut self) {
        if self.values.contains_key("QDRANT_GRPC_URL") {
            return;
        }
        let Some(mut url) = self.get("QDRANT_URL").and_then(|url| Url::parse(url).ok()) else { return };
        if matches!(url.port(), None | Some(6333)) && url.set_port(Some(6334)).is_ok() {
            let value = SecretString::from(url.to_string().trim_end_matches('/').to_owned());
            self.values.insert("QDRANT_GRPC_URL", Resolved { value, origin: Origin::Derived { from: "QDRANT_URL" } });
        }
    }

    /// The chosen profile.
    #[must_use]
    pub const fn profile(&self) -> &'static str {
        self.profile
    }

    /// What `shakedown.toml` says.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The value of a variable that is no secret; `None` when it is not set, or when it is a secret.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let entry = entry(name)?;
        debug_assert!(!entry.is_secret(), "{name} is a secret: ask `secret`");
        (!entry.is_secret()).then(|| self.raw(name)).flatten()
    }

    /// The value of a variable that is a secret; `None` when it is not set.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<SecretString> {
        self.values.get(name).map(|resolved| resolved.value.clone())
    }

    /// Where the value of a variable came from; `None` when it is not set.
    #[must_use]
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.values.get(name).map(|resolved| &resolved.origin)
    }

    /// The number that a variable holds; `None` when it is not set.
    pub fn number(&self, name: &str) -> Result<Option<u64>, SettingsError> {
        Ok(self.judged(name)?.and_then(|text| text.parse().ok()))
    }

    /// The number that a variable holds; an error when it is not set.
    pub fn u64(&self, name: &'static str) -> Result<u64, SettingsError> {
        self.number(name)?.ok_or_else(|| self.missing(name, None).into())
    }

    /// The number that a variable holds; an error when it is not set or above `u32::MAX`.
    pub fn u32(&self, name: &'static str) -> Result<u32, SettingsError> {
        let number = self.u64(name)?;
        u32::try_from(number).map_err(|_| self.refused(name, "it is too large", "choose a smaller number").into())
    }

    /// The number that a variable holds, for sizes and counts in memory.
    pub fn usize(&self, name: &'static str) -> Result<usize, SettingsError> {
        let number = self.u64(name)?;
        usize::try_from(number).map_err(|_| self.refused(name, "it is too large", "choose a smaller number").into())
    }

    /// The duration that a variable of kind `Kind::Milliseconds` holds.
    pub fn duration(&self, name: &'static str) -> Result<Duration, SettingsError> {
        self.u64(name).map(Duration::from_millis)
    }

    /// The path that a variable holds; `None` when it is not set.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let path = Path::new(self.get(name)?);
        let beside = matches!(self.origin(name), Some(Origin::Profile { through: None, .. }));
        let directory = self.config.path.as_deref().and_then(Path::parent).filter(|_| beside);
        Some(directory.map_or_else(|| path.to_owned(), |directory| directory.join(path)))
    }

    /// Whether a variable of kind `Kind::Switch` is on; one that is not set is off.
    pub fn switch(&self, name: &str) -> Result<bool, SettingsError> {
        Ok(self.judged(name)?.and_then(value::switch).unwrap_or(false))
    }

    /// The value of a variable once it is known to be what the table wants.
    pub fn judged(&self, name: &str) -> Result<Option<&str>, SettingsError> {
        match (entry(name), self.values.get(name)) {
            (Some(entry), Some(resolved)) => {
                let text = resolved.value.expose_secret();
                judge(entry, text, &resolved.origin).map_or(Ok(Some(text)), |problem| Err(problem.into()))
            }
            _ => Ok(None),
        }
    }

    /// Judges every variable that is set and that `verb` reads; all problems are reported together.
    pub fn validate(&self, verb: Need) -> Result<(), SettingsError> {
        let problems = TABLE
            .iter()
            .filter(|entry| entry.needs.contains(&verb))
            // They are everybody's, and judged once a collector is named.
            .filter(|entry| !entry.is_of_telemetry())
            .filter_map(|entry| self.judged(entry.name).err())
            .flat_map(SettingsError::into_problems)
            .collect();
        SettingsError::unless_empty(problems)
    }

    /// A whole stack from the variables. All missing and malformed variables are reported together.
    pub fn endpoints(&self) -> Result<Endpoints, SettingsError> {
        self.endpoints_for(Need::Worker)
    }

    /// The endpoints that `verb` needs.
    ///
    /// `setup` makes no embeddings, so it does without `JINA_API_KEY`.
    pub fn endpoints_for(&self, verb: Need) -> Result<Endpoints, SettingsError> {
        let mut required = vec!["REDIS_URL", "DATABASE_URL", "QDRANT_URL"];
        let jina_url = self.get("JINA_BASE_URL").unwrap_or_default();
        let jinas_own = Url::parse(jina_url).is_ok_and(|url| url.host_str() == Some("api.jina.ai"));
        if jinas_own && verb != Need::Setup {
            required.push("JINA_API_KEY");
        }
        self.require(&required)?;
        let text = |name: &str| self.raw(name).unwrap_or_default();
        let base = |name: &str| text(name).trim_end_matches('/').to_owned();
        let Some(grpc_url) = self.raw("QDRANT_GRPC_URL") else {
            let why = "the gRPC port follows from QDRANT_URL only when that has port 6333 or none";
            return Err(self.missing("QDRANT_GRPC_URL", Some(why.to_owned())).into());
        };
        self.judged("QDRANT_GRPC_URL")?;
        Ok(Endpoints {
            redis: self.redis()?,
            postgres: PostgresEndpoint { url: text("DATABASE_URL").into() },
            qdrant: QdrantEndpoint {
                url: base("QDRANT_URL"),
                grpc_url: grpc_url.trim_end_matches('/').to_owned(),
                api_key: self.secret("QDRANT_API_KEY"),
                vector: self.vector(),
            },
            jina: JinaEndpoint {
                base_url: base("JINA_BASE_URL"),
                api_key: self.secret("JINA_API_KEY"),
                model: text("JINA_MODEL").to_owned(),
                dimensions: self.u32("EMBEDDING_DIMENSIONS")?,
            },
            names: self.names()?,
        })
    }

    /// The environment as `check` judges it: of a service whose variable is not set or not to be read, the address is
    /// empty, and the cases of the suite `env` say so.
    ///
    /// # Errors
    /// None of the services is set, or a name is not to be used.
    pub fn endpoints_to_check(&self) -> Result<Endpoints, SettingsError> {
        let services = ["REDIS_URL", "DATABASE_URL", "QDRANT_URL"];
        let some = services.iter().chain(&["SUPABASE_URL", "JINA_API_KEY"]).any(|name| self.values.contains_key(name));
        if !some {
            self.require(&services)?;
        }
        let sound = |name: &str| match self.judged(name) {
            Ok(Some(text)) => text.trim_end_matches('/').to_owned(),
            Ok(None) | Err(_) => String::new(),
        };
        let dimensions = self.judged("EMBEDDING_DIMENSIONS").ok().flatten().and_then(|text| text.parse().ok());
        Ok(Endpoints {
            redis: RedisEndpoint { url: sound("REDIS_URL").into() },
            postgres: PostgresEndpoint { url: sound("DATABASE_URL").into() },
            qdrant: QdrantEndpoint {
                url: sound("QDRANT_URL"),
                grpc_url: sound("QDRANT_GRPC_URL"),
                api_key: self.secret("QDRANT_API_KEY"),
                vector: self.vector(),
            },
            jina: JinaEndpoint {
                base_url: sound("JINA_BASE_URL"),
                api_key: self.secret("JINA_API_KEY"),
                model: self.raw("JINA_MODEL").unwrap_or_default().to_owned(),
                dimensions: dimensions.unwrap_or_default(),
            },
            names: self.names()?,
        })
    }

    /// Every variable of the environment and of `.env`.
    pub(super) const fn environment(&self) -> &BTreeMap<String, SecretString> {
        &self.environment
    }

    /// Redis alone: all that `ingest` needs beside [`Settings::names`].
    pub fn redis(&self) -> Result<RedisEndpoint, SettingsError> {
        self.require(&["REDIS_URL"])?;
        Ok(RedisEndpoint { url: self.raw("REDIS_URL").unwrap_or_default().into() })
    }

    /// Postgres alone: all that `db` needs.
    pub fn postgres(&self) -> Result<PostgresEndpoint, SettingsError> {
        self.require(&["DATABASE_URL"])?;
        Ok(PostgresEndpoint { url: self.raw("DATABASE_URL").unwrap_or_default().into() })
    }

    /// Qdrant alone: all that `plan` and `setup` need of it.
    pub fn qdrant(&self) -> Result<QdrantEndpoint, SettingsError> {
        self.require(&["QDRANT_URL"])?;
        let base = |name: &str| self.raw(name).unwrap_or_default().trim_end_matches('/').to_owned();
        Ok(QdrantEndpoint {
            url: base("QDRANT_URL"),
            grpc_url: base("QDRANT_GRPC_URL"),
            api_key: self.secret("QDRANT_API_KEY"),
            vector: self.vector(),
        })
    }

    /// What the stack is to look like, as `shakedown.toml` says for the chosen profile.
    #[must_use]
    pub fn desired(&self) -> Option<&Desired> {
        self.config.desired.get(self.profile)
    }

    /// A variable of somebody's own, from the environment or `.env`.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<SecretString> {
        self.secret(name).or_else(|| self.environment.get(name).cloned())
    }

    /// What somebody set under names that begin with `prefix`, known or not.
    pub(super) fn set_by_somebody(&self, prefix: &str) -> BTreeMap<String, SecretString> {
        let foreign = self.environment.iter().filter(|(name, value)| {
            let bare = name.strip_suffix("_FILE").unwrap_or(name);
            entry(bare).is_none() && !value.expose_secret().is_empty()
        });
        let foreign = foreign.map(|(name, value)| (name.clone(), value.clone()));
        let known = self.values.iter().filter(|(_, resolved)| !matches!(resolved.origin, Origin::Default));
        let known = known.map(|(name, resolved)| ((*name).to_owned(), resolved.value.clone()));
        foreign.chain(known).filter(|(name, _)| name.starts_with(prefix)).collect()
    }

    /// The name of the collection's vector, where it has one.
    #[must_use]
    pub fn vector(&self) -> Option<String> {
        self.raw("QDRANT_VECTOR").filter(|name| !name.is_empty()).map(str::to_owned)
    }

    /// The names of queue, collection and table.
    pub fn names(&self) -> Result<Names, SettingsError> {
        let text = |name| Ok::<_, SettingsError>(self.judged(name)?.unwrap_or_default().to_owned());
        Ok(Names {
            queue: text("QUEUE_NAME")?,
            prefix: text("QUEUE_PREFIX")?,
            collection: text("QDRANT_COLLECTION")?,
            table: text("DOCUMENTS_TABLE")?,
        })
    }

    /// Every variable with its value, masked where it is a secret, and its origin.
    #[must_use]
    pub fn resolved(&self) -> Vec<EnvironmentRow> {
        let shown_entries = TABLE.iter().filter(|entry| !entry.hidden || self.values.contains_key(entry.name));
        shown_entries
            .map(|entry| {
                let resolved = self.values.get(entry.name);
                EnvironmentRow {
                    name: entry.name.to_owned(),
                    value: resolved.map_or_else(String::new, |found| shown(entry, found.value.expose_secret())),
                    origin: resolved.map_or_else(|| "not set".to_owned(), |found| found.origin.to_string()),
                    secret: entry.is_secret(),
                }
            })
            .collect()
    }

    /// Judges every variable that is set; all problems are reported together.
    pub fn check(&self) -> Result<(), SettingsError> {
        let judged = TABLE.iter().filter_map(|entry| self.judged(entry.name).err());
        SettingsError::unless_empty(judged.flat_map(SettingsError::into_problems).collect())
    }

    /// Where the list of things to clean up is kept.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.path("SHAKEDOWN_STATE_DIR")
            .unwrap_or_else(|| machine::state_dir_of(|name| Some(self.environment.get(name)?.expose_secret().into())))
    }

    /// The variables that `[worker] env` takes from the environment by `{{env.NAME}}`.
    ///
    /// # Errors
    /// One of them is not set; it is named with the place that wants it.
    pub fn variables_of_worker(&self) -> Result<BTreeMap<String, SecretString>, SettingsError> {
        let mut problems = Vec::new();
        let mut variables = BTreeMap::new();
        let templates = self.config.contract.iter().flat_map(|contract| &contract.worker.env);
        for (variable, template) in templates {
            for name in template.places().filter_map(|place| place.strip_prefix(ENV)) {
                let own = self.values.get(name).map(|resolved| &resolved.value);
                if let Some(value) = own.or_else(|| self.environment.get(name)) {
                    variables.insert(name.to_owned(), value.clone());
                } else if entry(name).is_none() {
                    problems.push(Problem::Invalid {
                        name: variable.clone(),
                        shown: format!("`{template}`"),
                        origin: "[worker] env".to_owned(),
                        problem: format!("`{{{{env.{name}}}}}` has no value"),
                        remedy: "set the variable that it stands for, or remove it from shakedown.toml".to_owned(),
                    });
                }
            }
        }
        SettingsError::unless_empty(problems)?;
        Ok(variables)
    }

    fn raw(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|resolved| resolved.value.expose_secret())
    }

    /// Refuses missing and malformed values of `names`, all together.
    fn require(&self, names: &[&'static str]) -> Result<(), SettingsError> {
        let mut problems: Vec<Problem> =
            names.iter().filter_map(|name| self.judged(name).err()).flat_map(SettingsError::into_problems).collect();
        let missing: Vec<Missing> = names
            .iter()
            .filter(|name| !self.values.contains_key(**name))
            .filter_map(|name| match self.missing(name, None) {
                Problem::Missing(missing) => missing.into_iter().next(),
                _ => None,
            })
            .collect();
        if !missing.is_empty() {
            problems.push(Problem::Missing(missing));
        }
        SettingsError::unless_empty(problems)
    }

    fn missing(&self, name: &'static str, note: Option<String>) -> Problem {
        let note = note.or_else(|| self.absent.get(name).cloned());
        let (meaning, example) = entry(name).map_or(("", ""), |entry| (entry.meaning, entry.example));
        Problem::Missing(vec![Missing { name, meaning, example, note }])
    }

    fn refused(&self, name: &str, problem: &str, remedy: &str) -> Problem {
        let shown = entry(name).map_or_else(String::new, |entry| shown(entry, self.raw(name).unwrap_or_default()));
        Problem::Invalid {
            name: name.to_owned(),
            shown: format!("`{shown}`"),
            origin: self.origin(name).map(ToString::to_string).unwrap_or_default(),
            problem: problem.to_owned(),
            remedy: remedy.to_owned(),
        }
    }
}
