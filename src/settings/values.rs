//! All settings of one invocation, read by name and type.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::config::Config;
use super::desired::Desired;
use super::endpoint::{Endpoints, JinaEndpoint, Names, PostgresEndpoint, QdrantEndpoint, RedisEndpoint};
use super::error::{Missing, Problem, SettingsError};
use super::load::{self, Ignored, Loaded, Resolved, invalid};
use super::machine;
use super::origin::Origin;
use super::source::Source;
use super::table::{Need, TABLE, entry};
use super::template::ENV;
use super::value::{self, shown_from};
use crate::outcome::EnvironmentRow;

/// All settings of one invocation, with their origins. `Debug` masks secrets.
#[derive(Debug, Clone)]
pub struct Settings {
    profile: &'static str,
    values: BTreeMap<&'static str, Resolved>,
    absent: BTreeMap<&'static str, String>,
    config: Config,
    environment: BTreeMap<String, SecretString>,
    ignored: BTreeSet<Ignored>,
}

impl Settings {
    /// Reads every source. All problems are reported together.
    ///
    /// Values of `SHAKEDOWN_` variables, flags and the profile are checked here. Other variables, which other programs
    /// may use differently, are checked when they are read.
    pub fn load(source: Source) -> Result<Self, SettingsError> {
        let Loaded { profile, values, absent, config, environment, ignored } = load::load(source)?;
        let mut settings = Self { profile, values, absent, config, environment, ignored };
        settings.derive_grpc_url();
        Ok(settings)
    }

    /// By default Qdrant serves REST on port 6333 and gRPC on port 6334.
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

    /// What `.env` and `shakedown.toml` set and was not used, because the working directory is not trusted.
    #[must_use]
    pub const fn ignored(&self) -> &BTreeSet<Ignored> {
        &self.ignored
    }

    /// The content of `shakedown.toml`.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The value of a variable; `None` if it is not set or is a secret.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let entry = entry(name)?;
        debug_assert!(!entry.is_secret(), "{name} is a secret: use `secret`");
        (!entry.is_secret()).then(|| self.raw(name)).flatten()
    }

    /// The value of a variable, secret or not; `None` if it is not set.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<SecretString> {
        self.values.get(name).map(|resolved| resolved.value.clone())
    }

    /// The origin of a variable's value; `None` if it is not set.
    #[must_use]
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.values.get(name).map(|resolved| &resolved.origin)
    }

    /// The value of a variable as a number; `None` if it is not set.
    pub fn number(&self, name: &str) -> Result<Option<u64>, SettingsError> {
        Ok(self.checked(name)?.and_then(|text| text.parse().ok()))
    }

    /// The value of a variable as a number; an error if it is not set.
    pub fn u64(&self, name: &'static str) -> Result<u64, SettingsError> {
        self.number(name)?.ok_or_else(|| self.missing(name, None).into())
    }

    /// The value of a variable as a number; an error if it is not set or above `u32::MAX`.
    pub fn u32(&self, name: &'static str) -> Result<u32, SettingsError> {
        let number = self.u64(name)?;
        u32::try_from(number).map_err(|_| self.out_of_range(name).into())
    }

    /// The value of a variable as a size or count in memory.
    pub fn usize(&self, name: &'static str) -> Result<usize, SettingsError> {
        let number = self.u64(name)?;
        usize::try_from(number).map_err(|_| self.out_of_range(name).into())
    }

    /// The duration in a variable of kind `Kind::Milliseconds`.
    pub fn duration(&self, name: &'static str) -> Result<Duration, SettingsError> {
        self.u64(name).map(Duration::from_millis)
    }

    /// The path in a variable; `None` if it is not set.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let path = Path::new(self.get(name)?);
        let from_file = matches!(self.origin(name), Some(Origin::Profile { through: None, .. }));
        let directory = self.config.path.as_deref().and_then(Path::parent).filter(|_| from_file);
        Some(directory.map_or_else(|| path.to_owned(), |directory| directory.join(path)))
    }

    /// Whether a variable of kind `Kind::Switch` is on; off if it is not set.
    pub fn switch(&self, name: &str) -> Result<bool, SettingsError> {
        Ok(self.checked(name)?.and_then(value::switch).unwrap_or(false))
    }

    /// The value of a variable, checked against the table.
    pub fn checked(&self, name: &str) -> Result<Option<&str>, SettingsError> {
        match (entry(name), self.values.get(name)) {
            (Some(entry), Some(resolved)) => {
                let text = resolved.value.expose_secret();
                invalid(entry, text, &resolved.origin).map_or(Ok(Some(text)), |problem| Err(problem.into()))
            }
            _ => Ok(None),
        }
    }

    /// Checks every variable that is set and that `verb` reads. All problems are reported together.
    pub fn validate(&self, verb: Need) -> Result<(), SettingsError> {
        let problems = TABLE
            .iter()
            .filter(|entry| entry.needs.contains(&verb))
            // Every OpenTelemetry program reads these; they are checked when a collector is set.
            .filter(|entry| !entry.is_telemetry())
            .filter_map(|entry| self.checked(entry.name).err())
            .flat_map(SettingsError::into_problems)
            .collect();
        SettingsError::unless_empty(problems)
    }

    /// The endpoints of a whole stack. All missing and invalid variables are reported together.
    pub fn endpoints(&self) -> Result<Endpoints, SettingsError> {
        self.endpoints_for(Need::Worker)
    }

    /// The endpoints that `verb` needs. `setup` requests no embeddings, so it does not require `JINA_API_KEY`.
    pub fn endpoints_for(&self, verb: Need) -> Result<Endpoints, SettingsError> {
        let mut required = vec!["REDIS_URL", "DATABASE_URL", "QDRANT_URL"];
        let jina_url = self.get("JINA_BASE_URL").unwrap_or_default();
        let is_jina = Url::parse(jina_url).is_ok_and(|url| url.host_str() == Some("api.jina.ai"));
        if is_jina && verb != Need::Setup {
            required.push("JINA_API_KEY");
        }
        self.require(&required)?;
        let text = |name: &str| self.raw(name).unwrap_or_default();
        let base = |name: &str| text(name).trim_end_matches('/').to_owned();
        let Some(grpc_url) = self.raw("QDRANT_GRPC_URL") else {
            let why = "it is derived from QDRANT_URL only if QDRANT_URL has port 6333 or no port";
            return Err(self.missing("QDRANT_GRPC_URL", Some(why.to_owned())).into());
        };
        self.checked("QDRANT_GRPC_URL")?;
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

    /// The endpoints for `check`. A service whose variable is missing or invalid has an empty address; the cases of the
    /// suite `env` report it.
    ///
    /// # Errors
    /// No service is set, or a name is invalid.
    pub fn endpoints_to_check(&self) -> Result<Endpoints, SettingsError> {
        let services = ["REDIS_URL", "DATABASE_URL", "QDRANT_URL"];
        let some = services.iter().chain(&["SUPABASE_URL", "JINA_API_KEY"]).any(|name| self.values.contains_key(name));
        if !some {
            self.require(&services)?;
        }
        let valid = |name: &str| match self.checked(name) {
            Ok(Some(text)) => text.trim_end_matches('/').to_owned(),
            Ok(None) | Err(_) => String::new(),
        };
        let dimensions = self.checked("EMBEDDING_DIMENSIONS").ok().flatten().and_then(|text| text.parse().ok());
        Ok(Endpoints {
            redis: RedisEndpoint { url: valid("REDIS_URL").into() },
            postgres: PostgresEndpoint { url: valid("DATABASE_URL").into() },
            qdrant: QdrantEndpoint {
                url: valid("QDRANT_URL"),
                grpc_url: valid("QDRANT_GRPC_URL"),
                api_key: self.secret("QDRANT_API_KEY"),
                vector: self.vector(),
            },
            jina: JinaEndpoint {
                base_url: valid("JINA_BASE_URL"),
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

    /// The Redis endpoint, for `ingest`.
    pub fn redis(&self) -> Result<RedisEndpoint, SettingsError> {
        self.require(&["REDIS_URL"])?;
        Ok(RedisEndpoint { url: self.raw("REDIS_URL").unwrap_or_default().into() })
    }

    /// The Postgres endpoint, for `db`.
    pub fn postgres(&self) -> Result<PostgresEndpoint, SettingsError> {
        self.require(&["DATABASE_URL"])?;
        Ok(PostgresEndpoint { url: self.raw("DATABASE_URL").unwrap_or_default().into() })
    }

    /// The Qdrant endpoint, for `plan` and `setup`.
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

    /// The target state of the stack, from `shakedown.toml` for the chosen profile.
    #[must_use]
    pub fn desired(&self) -> Option<&Desired> {
        self.config.desired.get(self.profile)
    }

    /// Any variable, known or not, from the environment or `.env`.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<SecretString> {
        self.secret(name).or_else(|| self.environment.get(name).cloned())
    }

    /// Variables whose names start with `prefix` and that the user set, known or not.
    pub(super) fn set_by_user(&self, prefix: &str) -> BTreeMap<String, SecretString> {
        let unknown = self.environment.iter().filter(|(name, value)| {
            let bare = name.strip_suffix("_FILE").unwrap_or(name);
            entry(bare).is_none() && !value.expose_secret().is_empty()
        });
        let unknown = unknown.map(|(name, value)| (name.clone(), value.clone()));
        let known = self.values.iter().filter(|(_, resolved)| !matches!(resolved.origin, Origin::Default));
        let known = known.map(|(name, resolved)| ((*name).to_owned(), resolved.value.clone()));
        unknown.chain(known).filter(|(name, _)| name.starts_with(prefix)).collect()
    }

    /// The name of the collection's vector; `None` for the unnamed vector.
    #[must_use]
    pub fn vector(&self) -> Option<String> {
        self.raw("QDRANT_VECTOR").filter(|name| !name.is_empty()).map(str::to_owned)
    }

    /// The names of queue, collection and table.
    pub fn names(&self) -> Result<Names, SettingsError> {
        let text = |name| Ok::<_, SettingsError>(self.checked(name)?.unwrap_or_default().to_owned());
        Ok(Names {
            queue: text("QUEUE_NAME")?,
            prefix: text("QUEUE_PREFIX")?,
            collection: text("QDRANT_COLLECTION")?,
            table: text("DOCUMENTS_TABLE")?,
        })
    }

    /// Every variable with its value and origin; secrets are masked.
    #[must_use]
    pub fn resolved(&self) -> Vec<EnvironmentRow> {
        let shown_entries = TABLE.iter().filter(|entry| !entry.hidden || self.values.contains_key(entry.name));
        shown_entries
            .map(|entry| {
                let resolved = self.values.get(entry.name);
                EnvironmentRow {
                    name: entry.name.to_owned(),
                    value: resolved.map_or_else(String::new, |found| {
                        shown_from(entry, found.value.expose_secret(), &found.origin)
                    }),
                    origin: resolved.map_or_else(|| "not set".to_owned(), |found| found.origin.to_string()),
                    secret: entry.is_secret() || resolved.is_some_and(|found| found.origin.is_indirect()),
                }
            })
            .collect()
    }

    /// Checks every variable that is set. All problems are reported together.
    pub fn check(&self) -> Result<(), SettingsError> {
        let invalid = TABLE.iter().filter_map(|entry| self.checked(entry.name).err());
        SettingsError::unless_empty(invalid.flat_map(SettingsError::into_problems).collect())
    }

    /// The directory of the clean-up ledgers.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.path("SHAKEDOWN_STATE_DIR")
            .unwrap_or_else(|| machine::state_dir_of(|name| Some(self.environment.get(name)?.expose_secret().into())))
    }

    /// The variables that `[worker] env` reads from the environment with `{{env.NAME}}`.
    ///
    /// # Errors
    /// One of them is not set.
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
                        problem: format!("{name} is not set"),
                        remedy: format!("set {name}, or remove the placeholder from shakedown.toml"),
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

    /// An error that lists every variable of `names` that is missing or invalid.
    fn require(&self, names: &[&'static str]) -> Result<(), SettingsError> {
        let mut problems: Vec<Problem> =
            names.iter().filter_map(|name| self.checked(name).err()).flat_map(SettingsError::into_problems).collect();
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

    fn out_of_range(&self, name: &str) -> Problem {
        let shown = entry(name)
            .zip(self.values.get(name))
            .map_or_else(String::new, |(entry, found)| shown_from(entry, found.value.expose_secret(), &found.origin));
        Problem::Invalid {
            name: name.to_owned(),
            shown: format!("`{shown}`"),
            origin: self.origin(name).map(ToString::to_string).unwrap_or_default(),
            problem: "too large".to_owned(),
            remedy: "use a smaller number".to_owned(),
        }
    }
}
