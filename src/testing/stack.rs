//! A stack for one test: names, mock and fault proxies of its own.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::TestError;
use super::host::Host;
use crate::faults::{Applied, Direction, NetworkFault, Proxy};
use crate::scenario::{Proxies, set_up};
use crate::settings::{Contract, Endpoints};
use crate::spec::Target;
use crate::stack::jina::{Behaviour, JinaConfig, JinaMock, JinaRequest};
use crate::stack::names_for;

/// Redis with a queue, Postgres with a table, Qdrant with a collection, and a mock of the embeddings API: all of them
/// this test's alone, each behind a fault proxy.
#[derive(Debug)]
pub struct TestStack {
    endpoints: Endpoints,
    proxies: Proxies,
    mock: JinaMock,
}

impl TestStack {
    /// Prepares queue, table and collection on the stack of this process, which the first call starts.
    ///
    /// # Errors
    /// A service cannot be started or prepared; the error says which, and the remedy.
    pub async fn start() -> Result<Self, TestError> {
        let host = Host::get().await?;
        let failed = |error: &dyn std::fmt::Display| TestError::Stack(error.to_string());
        let mut endpoints = host.stack.endpoints().clone();
        endpoints.names = names_for(&host.run, &host.name());
        let model = JinaConfig {
            model: endpoints.jina.model.clone(),
            dimensions: endpoints.jina.dimensions,
            seed: 1,
            ..JinaConfig::default()
        };
        let mock = JinaMock::start(model).await.map_err(|error| failed(&error))?;
        endpoints.jina = mock.endpoint();
        let directory = std::env::temp_dir();
        let contract = Contract::reference(&host.shakedown, &directory);
        set_up(&endpoints, &contract, &host.shakedown).await.map_err(|error| failed(&error))?;
        let targets = [Target::Redis, Target::Postgres, Target::Qdrant, Target::Jina];
        let (proxies, endpoints) = Proxies::start(targets, &endpoints).await.map_err(|error| failed(&error))?;
        Ok(Self { endpoints, proxies, mock })
    }

    /// Where everything is, by way of the proxies, with the names that are this test's.
    #[must_use]
    pub const fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The same as the variables that a worker is given: `REDIS_URL`, `DATABASE_URL`, `QDRANT_URL`, `JINA_BASE_URL`,
    /// `QUEUE_NAME` and so on. Credentials are in it: they are of this throwaway stack.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        let variables = self.endpoints.environment().into_iter();
        variables.map(|variable| (variable.name.to_owned(), variable.value.expose_secret().to_owned())).collect()
    }

    /// The URL of Redis, with its password.
    #[must_use]
    pub fn redis_url(&self) -> &str {
        self.endpoints.redis.url.expose_secret()
    }

    /// The URL of Postgres, with its password.
    #[must_use]
    pub fn database_url(&self) -> &str {
        self.endpoints.postgres.url.expose_secret()
    }

    /// The URL of Qdrant's REST API.
    #[must_use]
    pub fn qdrant_url(&self) -> &str {
        &self.endpoints.qdrant.url
    }

    /// Qdrant's key.
    #[must_use]
    pub fn qdrant_key(&self) -> Option<&str> {
        self.endpoints.qdrant.api_key.as_ref().map(SecretString::expose_secret)
    }

    /// The base URL of the mock: requests go to `{base}/embeddings`.
    #[must_use]
    pub fn jina_url(&self) -> &str {
        &self.endpoints.jina.base_url
    }

    /// What is broken between the code under test and Redis.
    #[must_use]
    pub fn redis(&self) -> Faults<'_> {
        Faults(self.proxies.to(Target::Redis))
    }

    /// What is broken between the code under test and Postgres.
    #[must_use]
    pub fn postgres(&self) -> Faults<'_> {
        Faults(self.proxies.to(Target::Postgres))
    }

    /// What is broken between the code under test and Qdrant, REST and gRPC alike.
    #[must_use]
    pub fn qdrant(&self) -> Faults<'_> {
        Faults(self.proxies.to(Target::Qdrant))
    }

    /// What is broken between the code under test and the embeddings API.
    #[must_use]
    pub fn jina(&self) -> Faults<'_> {
        Faults(self.proxies.to(Target::Jina))
    }

    /// Every request for embeddings so far.
    #[must_use]
    pub fn embedding_requests(&self) -> Vec<JinaRequest> {
        self.mock.requests()
    }

    /// Lets the embeddings API behave like this from now on, instead of as it did.
    pub fn embeddings_behave(&self, behaviours: Vec<Behaviour>) {
        self.mock.behave(behaviours);
    }

    /// The vector that the mock gives for a text, asked with this `task` or with none: what must be stored for it.
    #[must_use]
    pub fn vector_of(&self, task: Option<&str>, text: &str) -> Vec<f32> {
        self.mock.vector_for(task, text)
    }
}

/// The fault proxies before one service.
#[derive(Debug, Clone, Copy)]
pub struct Faults<'a>(&'a [Proxy]);

impl<'a> Faults<'a> {
    /// Resets every open connection, once.
    pub fn cut(&self) {
        for proxy in self.0 {
            proxy.cut();
        }
    }

    /// Lets this happen to every connection, to those that are open and to new ones, until the guard is dropped.
    #[must_use = "the fault is lifted when the guard is dropped"]
    pub fn apply(&self, fault: NetworkFault) -> Broken<'a> {
        self.apply_to(fault, fault.usual_direction())
    }

    /// The same for one direction.
    #[must_use = "the fault is lifted when the guard is dropped"]
    pub fn apply_to(&self, fault: NetworkFault, direction: Direction) -> Broken<'a> {
        Broken(self.0.iter().map(|proxy| (proxy, Some(proxy.apply(fault, direction)))).collect())
    }

    /// Connections that were made so far, attempts included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.iter().map(|proxy| proxy.connections().len()).sum()
    }
}

/// A fault in force; lifted when this is dropped.
#[derive(Debug)]
pub struct Broken<'a>(Vec<(&'a Proxy, Option<Applied>)>);

impl Broken<'_> {
    /// Connections that it has met so far: a fault that met none proves nothing.
    #[must_use]
    pub fn met(&self) -> u64 {
        self.0.iter().filter_map(|(_, applied)| applied.as_ref()).map(|applied| applied.effect.connections()).sum()
    }
}

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        for (proxy, applied) in &mut self.0 {
            if let Some(applied) = applied.take() {
                proxy.revert(applied);
            }
        }
    }
}
