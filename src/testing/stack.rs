//! A stack for one test with its own names, mock and fault proxies.

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

/// Redis with a queue, Postgres with a table, Qdrant with a collection, and a mock of the embeddings API. All of them
/// belong to one test, and each is behind a fault proxy.
#[derive(Debug)]
pub struct TestStack {
    endpoints: Endpoints,
    proxies: Proxies,
    mock: JinaMock,
}

impl TestStack {
    /// Creates queue, table and collection on the stack of this process. The first call starts that stack.
    ///
    /// # Errors
    /// A service cannot be started or prepared. The error names it and the remedy.
    pub async fn start() -> Result<Self, TestError> {
        let host = Host::get().await?;
        let failed = |error: &dyn std::fmt::Display| TestError::Stack(error.to_string());
        let mut endpoints = host.stack.endpoints().clone();
        endpoints.names = names_for(&host.run, &host.unique_name());
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

    /// The endpoints of the proxies, with the names of this test.
    #[must_use]
    pub const fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The endpoints as the environment variables of a worker: `REDIS_URL`, `DATABASE_URL`, `QDRANT_URL`,
    /// `JINA_BASE_URL`, `QUEUE_NAME` and so on. They contain the credentials of this throwaway stack.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        let variables = self.endpoints.environment().into_iter();
        variables.map(|variable| (variable.name.to_owned(), variable.value.expose_secret().to_owned())).collect()
    }

    /// The URL of Redis with its password.
    #[must_use]
    pub fn redis_url(&self) -> &str {
        self.endpoints.redis.url.expose_secret()
    }

    /// The URL of Postgres with its password.
    #[must_use]
    pub fn database_url(&self) -> &str {
        self.endpoints.postgres.url.expose_secret()
    }

    /// The URL of Qdrant's REST API.
    #[must_use]
    pub fn qdrant_url(&self) -> &str {
        &self.endpoints.qdrant.url
    }

    /// The API key of Qdrant.
    #[must_use]
    pub fn qdrant_key(&self) -> Option<&str> {
        self.endpoints.qdrant.api_key.as_ref().map(SecretString::expose_secret)
    }

    /// The base URL of the mock: requests go to `{base}/embeddings`.
    #[must_use]
    pub fn jina_url(&self) -> &str {
        &self.endpoints.jina.base_url
    }

    /// The faults between the code under test and Redis.
    #[must_use]
    pub fn redis(&self) -> Faults<'_> {
        Faults(self.proxies.to(Target::Redis))
    }

    /// The faults between the code under test and Postgres.
    #[must_use]
    pub fn postgres(&self) -> Faults<'_> {
        Faults(self.proxies.to(Target::Postgres))
    }

    /// The faults between the code under test and Qdrant, for REST and gRPC.
    #[must_use]
    pub fn qdrant(&self) -> Faults<'_> {
        Faults(self.proxies.to(Target::Qdrant))
    }

    /// The faults between the code under test and the embeddings API.
    #[must_use]
    pub fn jina(&self) -> Faults<'_> {
        Faults(self.proxies.to(Target::Jina))
    }

    /// Every request for embeddings so far.
    #[must_use]
    pub fn embedding_requests(&self) -> Vec<JinaRequest> {
        self.mock.requests()
    }

    /// Replaces the behaviours of the embeddings API.
    pub fn embeddings_behave(&self, behaviours: Vec<Behaviour>) {
        self.mock.behave(behaviours);
    }

    /// The vector of the mock for a text and `task`, which must be stored for the text.
    #[must_use]
    pub fn vector_of(&self, task: Option<&str>, text: &str) -> Vec<f32> {
        self.mock.vector_for(task, text)
    }
}

/// The fault proxies of one service.
#[derive(Debug, Clone, Copy)]
pub struct Faults<'a>(&'a [Proxy]);

impl<'a> Faults<'a> {
    /// Resets every open connection, once.
    pub fn cut(&self) {
        for proxy in self.0 {
            proxy.cut();
        }
    }

    /// Applies a fault to all open and new connections until the guard is dropped.
    #[must_use = "the fault is reverted when the guard is dropped"]
    pub fn apply(&self, fault: NetworkFault) -> FaultGuard<'a> {
        self.apply_to(fault, fault.usual_direction())
    }

    /// Applies a fault in one direction.
    #[must_use = "the fault is reverted when the guard is dropped"]
    pub fn apply_to(&self, fault: NetworkFault, direction: Direction) -> FaultGuard<'a> {
        FaultGuard(self.0.iter().map(|proxy| (proxy, Some(proxy.apply(fault, direction)))).collect())
    }

    /// The number of connections so far, including attempts.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.iter().map(|proxy| proxy.connections().len()).sum()
    }
}

/// The guard of an active fault, which is reverted when the guard is dropped.
#[derive(Debug)]
pub struct FaultGuard<'a>(Vec<(&'a Proxy, Option<Applied>)>);

impl FaultGuard<'_> {
    /// The number of connections that it has affected so far. A fault that affected none proves nothing.
    #[must_use]
    pub fn affected_connections(&self) -> u64 {
        self.0.iter().filter_map(|(_, applied)| applied.as_ref()).map(|applied| applied.effect.connections()).sum()
    }
}

impl Drop for FaultGuard<'_> {
    fn drop(&mut self) {
        for (proxy, applied) in &mut self.0 {
            if let Some(applied) = applied.take() {
                proxy.revert(applied);
            }
        }
    }
}
