//! The rows of `fixtures/breakages/`, and the cases that need none because a planted defect proves them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use shakedown::spec::{Suites, builtin_suites};

use crate::support::fake_servers::Answer;
use crate::support::markdown::{blocks, section};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    breakage: Vec<Breakage>,
}

/// One way to break a stack or a worker.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Breakage {
    /// The case that must notice.
    pub(super) case: String,
    /// What is broken, where the case has several breakages.
    #[serde(default)]
    pub(super) name: Option<String>,
    /// What the reason must say: a failure for another reason proves nothing.
    pub(super) says: String,
    /// The verdict, where it is not the usual one of the case's level.
    #[serde(default)]
    pub(super) verdict: Option<String>,
    /// Redis commands.
    #[serde(default)]
    pub(super) redis: Vec<Vec<String>>,
    /// Postgres statements.
    #[serde(default)]
    pub(super) sql: Option<String>,
    /// A query that yields true once the statements have taken effect.
    #[serde(default)]
    pub(super) settles_sql: Option<String>,
    /// Requests to Qdrant.
    #[serde(default)]
    pub(super) qdrant: Vec<Request>,
    /// Behaviours of the Jina mock.
    #[serde(default)]
    pub(super) jina: Vec<Value>,
    /// Other addresses and keys: redis, postgres, qdrant, `qdrant_grpc`, `qdrant_key`, jina, `jina_key`.
    #[serde(default)]
    pub(super) endpoint: BTreeMap<String, String>,
    /// Fake servers.
    #[serde(default)]
    pub(super) answers: Answers,
    /// A server with TLS at `{{tls.address}}`, which shows such a certificate and says nothing.
    #[serde(default)]
    pub(super) tls: Option<Certificate>,
    /// `PgBouncer` before Postgres at `{{pooler.address}}`, in this mode.
    #[serde(default)]
    pub(super) pooler: Option<String>,
    /// Variables that are set besides those of the stack.
    #[serde(default)]
    pub(super) given: Option<BTreeMap<String, String>>,
    /// The selected profile.
    #[serde(default)]
    pub(super) profile: Option<String>,
    /// Files of the project, by their paths; Git keeps them.
    #[serde(default)]
    pub(super) files: BTreeMap<String, String>,
    /// A shell script in the place of `shakedown setup`.
    #[serde(default)]
    pub(super) setup: Option<String>,
    /// Other cases that rightly notice it too; with that, no other may.
    #[serde(default)]
    pub(super) also: BTreeSet<String>,
    /// What undoes it, where it outlives the case's names.
    #[serde(default)]
    pub(super) restore: Restore,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Answers {
    pub(super) redis: Option<BTreeMap<String, String>>,
    pub(super) qdrant: Option<Vec<Answer>>,
    pub(super) jina: Option<Vec<Answer>>,
    /// Supabase's API, and its management API.
    pub(super) supabase: Option<Vec<Answer>>,
}

/// A certificate that is signed by itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Certificate {
    /// Whom it is for.
    pub(super) name: String,
    /// The year on whose first day it expires.
    pub(super) until: i32,
    /// Whether the server is asked for TLS first, as Postgres is.
    #[serde(default)]
    pub(super) postgres: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Restore {
    pub(super) redis: Vec<Vec<String>>,
    pub(super) sql: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) body: Option<Value>,
}

impl Breakage {
    /// Whether it breaks one thing of a stack that is otherwise in order, so that no unrelated case may turn red. A server
    /// that makes things up, or an address that leads elsewhere, is a whole service gone.
    pub(super) fn is_one_thing(&self) -> bool {
        let Answers { redis, qdrant, jina, supabase } = &self.answers;
        redis.is_none()
            && qdrant.is_none()
            && jina.is_none()
            && supabase.is_none()
            && self.endpoint.is_empty()
            && self.tls.is_none()
            && self.setup.is_none()
    }

    pub(super) fn title(&self) -> String {
        self.name.as_ref().map_or_else(|| self.case.clone(), |name| format!("{} ({name})", self.case))
    }
}

/// The cases that a planted defect proves: in the reference worker, or in those for Node and Python.
pub(super) fn planted() -> Vec<String> {
    #[derive(Deserialize)]
    struct Table {
        defect: Vec<Row>,
    }
    #[derive(Deserialize)]
    struct Row {
        cases: Vec<String>,
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let reference = std::fs::read_dir(fixtures.join("defects")).unwrap().map(|entry| entry.unwrap().path());
    reference
        .chain(["node", "python"].map(|worker| fixtures.join("workers").join(worker).join("defects.toml")))
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            toml::from_str::<Table>(&text).unwrap().defect
        })
        .flat_map(|row| row.cases)
        .collect()
}

pub(super) fn read() -> Vec<Breakage> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/breakages");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            toml::from_str::<File>(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())).breakage
        })
        .collect()
}

/// The case and the row that the page "Add a built-in case" of `suites/README.md` adds, with the built-in suites.
pub(super) fn example_of_the_page() -> (Suites, Breakage) {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/README.md")).unwrap();
    let blocks = blocks(section(&page, "Add a built-in case"));
    let block = |words: &str| blocks.iter().find(|block| block.text.contains(words)).unwrap().text.clone();
    let breakage = toml::from_str::<File>(&block("[[breakage]]")).unwrap().breakage.remove(0);
    let (suite, _) = breakage.case.split_once('.').unwrap();
    let text = |name: &str, text: &str| {
        if name == suite { format!("{text}\n{}", block("[[case]]")) } else { text.to_owned() }
    };
    let texts: Vec<_> = builtin_suites().iter().map(|(name, of)| (PathBuf::from(name), text(name, of))).collect();
    (Suites::from_texts(&texts).unwrap(), breakage)
}
