//! What the test targets share: one stack in a place of its own, and trials that are made on it one after the other.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libtest_mimic::Trial;
use shakedown::outcome::Events;
use shakedown::runner::{RunOptions, StackPoolOptions};
use shakedown::settings::{Contract, Endpoints};
use shakedown::stack::{ProviderKind, Stack, StackOptions, names_for};
use tempfile::TempDir;

use super::groups::{self, Group};

/// The program under test.
pub const SHAKEDOWN: &str = env!("CARGO_BIN_EXE_shakedown");

/// One runtime for a whole test target.
pub fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // Two crates of the tree each bring a cryptographic provider; one has to be named.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // The mock's library panics whenever a fault breaks a request off: that is meant, and hides what is not.
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panic.location().is_some_and(|location| location.file().contains("/wiremock-")) {
                previous(panic);
            }
        }));
        shakedown::runner::runtime().expect("a runtime")
    })
}

/// A stack with its data and its ledgers in a temporary directory.
pub struct TestStack {
    pub stack: Stack,
    spare: StackPoolOptions,
    place: TempDir,
}

impl TestStack {
    pub async fn launch(kind: ProviderKind, run: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir_in(shakedown::stack::usual_data_dir()).unwrap();
        // Postgres' user must be able to pass through.
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let data = place.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let mut options = StackOptions::new(run, SHAKEDOWN);
        options.data_dir = Some(data);
        options.state_dir = place.path().join("state");
        options.jina.seed = 1;
        let spare = StackPoolOptions { kind, stack: options.clone() };
        let stack = Stack::start(kind, options, &Events::silent()).await.unwrap();
        Self { stack, spare, place }
    }

    pub fn directory(&self) -> PathBuf {
        self.stack.directory().map_or_else(|| self.place.path().to_owned(), Path::to_owned)
    }

    pub fn options(&self, run: &str) -> RunOptions {
        let contract = Arc::new(Contract::reference(Path::new(SHAKEDOWN), &self.directory()));
        RunOptions {
            stack_pool: Some(self.spare.clone()),
            ..RunOptions::new(run, SHAKEDOWN, contract, self.directory())
        }
    }

    /// The stack under names that are prepared, as a worker would find them.
    #[allow(dead_code, reason = "not every test target needs it")]
    pub fn prepared(&self, run: &str) -> Endpoints {
        let mut whole = self.stack.endpoints().clone();
        whole.names = names_for(run, "run");
        let contract = self.options(run).contract;
        runtime().block_on(shakedown::scenario::set_up(&whole, &contract, Path::new(SHAKEDOWN))).unwrap();
        whole
    }

    /// Stops the stack; what could not be removed is given back.
    pub async fn stop(self) -> Vec<String> {
        self.stack.stop().await
    }
}

/// A test on a stack.
#[allow(dead_code, reason = "not every test target needs it")]
pub type Test = fn(&TestStack);

/// A group of `tests` on one native stack, one after the other, as some break it for a while. The first of them starts
/// the stack. `others` need none, or start their own; their names begin with the group's.
#[allow(dead_code, reason = "not every test target needs it")]
pub fn on_one_stack(run: &'static str, tests: &[(&str, Test)], others: Vec<Trial>) -> Group {
    let stack: Arc<Mutex<Option<TestStack>>> = Arc::default();
    let trial = |(name, test): &(&str, Test)| {
        let (stack, test) = (Arc::clone(&stack), *test);
        Trial::test(groups::name(run, name), move || {
            let mut stack = stack.lock().unwrap_or_else(PoisonError::into_inner);
            let stack = stack.get_or_insert_with(|| runtime().block_on(TestStack::launch(ProviderKind::Native, run)));
            test(stack);
            Ok(())
        })
    };
    let trials = tests.iter().map(trial).chain(others).collect();
    Group::with_end(run, trials, move |_| {
        let left =
            stack.lock().unwrap_or_else(PoisonError::into_inner).take().map(|stack| runtime().block_on(stack.stop()));
        assert_eq!(left.unwrap_or_default(), Vec::<String>::new(), "something could not be removed");
    })
}
