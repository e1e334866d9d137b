//! `shakedown serve` while clients try to keep it from answering.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use shakedown::settings::Endpoints;

use super::{Served, with_endpoints};
use crate::support::cli_sandbox::CliSandbox;
use crate::support::harness::TestStack;

/// How long a health answer may take, whatever others do.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// Starts the server with at most `files` open files.
fn start(sandbox: &CliSandbox, endpoints: &Endpoints, files: u32, arguments: &[&str]) -> Served {
    let program = sandbox.command(&["serve", "--listen", "127.0.0.1:0", "--history", "none"]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"]);
    command.arg(program.get_program()).args(program.get_args()).args(arguments);
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(program.get_current_dir().unwrap());
    Served::spawn(with_endpoints(&mut command, endpoints))
}

/// A connection that has sent `beginning`; none if the server is out of descriptors.
fn half_open(served: &Served, beginning: &str) -> Option<TcpStream> {
    let address = served.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(5)).ok()?;
    stream.write_all(beginning.as_bytes()).ok()?;
    Some(stream)
}

/// Asserts that health answers are fast and that no service appears to be down, for some heartbeats and checks.
fn assert_undisturbed(served: &Served) {
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        let begun = Instant::now();
        assert_eq!(served.get("/health/live").0, 200);
        assert!(begun.elapsed() < ANSWERED_WITHIN, "an answer took {:?}", begun.elapsed());
        let (code, text) = served.get("/health/ready");
        assert_eq!(code, 200, "{text}");
        let (code, text) = served.get("/health");
        assert!(code == 200 && !text.contains("was not asked"), "{text}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(!served.get("/").1.contains(">ongoing<"), "an incident is shown");
}

pub(super) fn half_sent_headers(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let endpoints = stack.prepared("half_sent_headers");
    let served = start(&sandbox, &endpoints, 200, &["--every", "1s", "--heartbeat", "200ms"]);
    served.until_judged();
    served.until("that it is ready", |served| served.get("/health/ready").0 == 200);
    let open: Vec<_> = (0..300).map(|_| half_open(&served, "GET /health/live HTTP/1.1\r\nhost: local")).collect();
    assert!(open.iter().all(Option::is_some), "every connection is accepted");
    assert_undisturbed(&served);
    assert_eq!(served.end(), Some(0));
}

pub(super) fn idle_connections(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let endpoints = stack.prepared("idle_connections");
    let served = start(&sandbox, &endpoints, 1024, &["--every", "1s", "--heartbeat", "200ms"]);
    served.until_judged();
    served.until("that it is ready", |served| served.get("/health/ready").0 == 200);
    let mut open: Vec<_> = (0..1000).filter_map(|_| half_open(&served, "")).collect();
    assert_eq!(open.len(), 1000);
    assert_undisturbed(&served);
    // The oldest made room for the latest, which still work.
    let mut latest = open.pop().unwrap();
    latest.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    latest.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert_eq!(served.end(), Some(0));
}

pub(super) fn other_hosts(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let endpoints = stack.prepared("other_hosts");
    let served = start(&sandbox, &endpoints, 1024, &["--host", "status.example"]);
    let ask = |host: &str| {
        let request = format!("GET /health/live HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let mut stream = half_open(&served, &request).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    for host in ["localhost:8090", "127.0.0.1", "[::1]", "status.example", "STATUS.example:80"] {
        assert!(ask(host).starts_with("HTTP/1.1 200"), "{host}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "a%0d%0ab"] {
        let answer = ask(host);
        assert!(answer.starts_with("HTTP/1.1 421") && answer.contains("--host NAME"), "{host}: {answer}");
    }
    let (code, text) = sandbox.run(&["serve", "--host", "http://status.example"]);
    assert!(code == 2 && text.contains("invalid host"), "{code} {text}");
    assert_eq!(served.end(), Some(0));
}
