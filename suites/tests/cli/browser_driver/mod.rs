//! A browser that is steered by tests, through the protocol of `WebDriver`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "what was left out is part of the test's report")]
#![expect(clippy::disallowed_methods, reason = "the location of the browser is not a setting of the program")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use futures::FutureExt;
use hyper_util::client::legacy::connect::HttpConnector;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

/// A browser, its driver, and the rules that pages are held to.
struct Tools {
    driver: PathBuf,
    browser: PathBuf,
    rules: String,
}

fn tools() -> Result<Tools, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = |names: &[&str]| {
        let all = names.iter().flat_map(|name| std::env::split_paths(&path).map(move |directory| directory.join(name)));
        all.into_iter().find(|path| path.is_file())
    };
    let missing = |what: &str| format!("{what} is not installed here: scripts/install clients installs it");
    let axe = crate::support::client_packages::home("axe");
    Ok(Tools {
        driver: program(&["chromedriver"]).ok_or_else(|| missing("chromedriver"))?,
        browser: program(&["google-chrome", "chromium"]).ok_or_else(|| missing("chromium"))?,
        rules: fs::read_to_string(axe.join("node_modules/axe-core/axe.min.js")).map_err(|_| missing("axe-core"))?,
    })
}

/// Runs `test` with its own browser, which is always ended. Without a browser the test is skipped with a message; in CI
/// it fails.
pub fn run_scenario(test: impl AsyncFnOnce(&Browser)) {
    let tools = match tools() {
        Ok(tools) => tools,
        Err(reason) => {
            assert!(std::env::var_os("CI").is_none(), "{reason}");
            println!("left out: {reason}");
            return;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let browser = Browser::start(tools).await;
        let outcome = AssertUnwindSafe(test(&browser)).catch_unwind().await;
        browser.end().await;
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

/// The driver's process; with it ends all that it has started.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// A browser with a profile of its own.
pub struct Browser {
    client: Client,
    rules: String,
    // In this order: the driver writes into the profile until it ends.
    _driver: Driver,
    _profile: TempDir,
}

/// A command of the browser's own, beyond the protocol.
#[derive(Debug)]
struct Order(&'static str, Value);

impl WebDriverCompatibleCommand for Order {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.0))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.1.to_string()))
    }
}

/// How often a driver is started that finds no port.
const DRIVERS: u32 = 5;

/// Starts a driver; gives it and its port, or nothing when it ended instead.
fn drive(driver: &Path, profile: &Path) -> Option<(Driver, String)> {
    let mut driver = Command::new(driver)
        .arg("--port=0")
        .env("TMPDIR", profile)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let driver = Driver(driver);
    let port = lines.find_map(|line| {
        let line = line.unwrap();
        line.split_once("started successfully on port ").map(|(_, port)| port.trim_end_matches('.').to_owned())
    })?;
    // The driver keeps writing, and a full pipe would block it.
    std::thread::spawn(move || lines.for_each(drop));
    Some((driver, port))
}

impl Browser {
    async fn start(tools: Tools) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The driver chooses a port and may find it taken a moment later; then it ends, and is started again.
        let (driver, port) = (0..DRIVERS).find_map(|_| drive(&tools.driver, profile.path())).unwrap();
        // Root is refused a sandbox, and containers have little shared memory.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"];
        let arguments = arguments.map(str::to_owned).into_iter();
        let arguments: Vec<String> =
            arguments.chain([format!("--user-data-dir={}", profile.path().join("profile").display())]).collect();
        let wishes = json!({
            "goog:chromeOptions": { "binary": tools.browser, "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wishes.as_object().unwrap().clone())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        let browser = Self { client, rules: tools.rules, _driver: driver, _profile: profile };
        browser.resize(1280).await;
        browser
    }

    async fn end(self) {
        // The driver's group is killed in any case.
        let _ = self.client.close().await;
    }

    async fn order(&self, path: &'static str, body: Value) -> Value {
        self.client.issue_cmd(Order(path, body)).await.unwrap()
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.order("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Where the browser is.
    pub async fn address(&self) -> String {
        self.client.current_url().await.unwrap().to_string()
    }

    /// Runs a script in the page, and gives what it returns.
    pub async fn ask(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Waits until a script returns true.
    pub async fn until(&self, script: &str) {
        let mut seen = Value::Null;
        for _ in 0..200 {
            seen = self.ask(script).await;
            if seen == true {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("never true, but {seen}: {script}");
    }

    /// Puts the keyboard's focus on an element.
    pub async fn focus(&self, selector: &str) {
        self.client.find(Locator::Css(selector)).await.unwrap();
        self.client.execute("document.querySelector(arguments[0]).focus()", vec![selector.into()]).await.unwrap();
    }

    /// Presses keys, wherever the focus is.
    pub async fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })])
            .collect();
        self.order("actions", json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] })).await;
    }

    /// Creates the page so many pixels wide.
    pub async fn resize(&self, width: u32) {
        let phone = width < 500;
        let size = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": phone });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Says which theme the system prefers.
    pub async fn prefer(&self, theme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// What the browser complains of: errors of scripts, and what a page was refused.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.order("se/log", json!({ "type": "browser" })).await;
        log.as_array().unwrap().iter().map(|entry| entry["message"].to_string()).collect()
    }

    /// Holds the page to axe-core's rules.
    pub async fn assert_accessible(&self, what: &str) {
        self.client.execute(&self.rules, Vec::new()).await.unwrap();
        let script = "const done = arguments[0]; axe.run({ resultTypes: ['violations'] }).then((found) => done(\
                      found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => \
                      n.html.slice(0, 200) + ' ' + n.failureSummary)}`)), (error) => done([String(error)]))";
        let found = self.client.execute_async(script, Vec::new()).await.unwrap();
        assert_eq!(found, json!([]), "{what}");
    }

    /// Saves a picture of the whole page in the directory of test results.
    pub async fn picture(&self, name: &str) {
        let taken = self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        let bytes = base64::engine::general_purpose::STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), bytes).unwrap();
    }
}
