//! What is overwritten in a collection while another one is filled from it: it is seen before that takes its place.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::provision_sandbox::{COLLECTION, ProvisionSandbox, code_and_text};
use crate::support::harness::TestStack;

/// A way to Qdrant on which something happens when the first points are about to be stored.
struct Way {
    address: String,
}

impl Way {
    /// `once` is done before the first request that stores points goes on. Ends with the scope's process.
    fn through<'scope>(
        scope: &'scope std::thread::Scope<'scope, '_>,
        to: &str,
        ended: &'scope AtomicBool,
        once: impl Fn() + Send + Sync + 'scope,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let to = to.to_owned();
        scope.spawn(move || {
            let first = AtomicBool::new(true);
            std::thread::scope(|connections| {
                for client in listener.incoming() {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    let (mut client, mut server) = (client.unwrap(), TcpStream::connect(&to).unwrap());
                    let (mut back, mut answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                    connections.spawn(move || {
                        let _ = std::io::copy(&mut answers, &mut back);
                        let _ = back.shutdown(Shutdown::Write);
                    });
                    let (first, once) = (&first, &once);
                    connections.spawn(move || {
                        let mut buffer = vec![0; 65_536];
                        while let Ok(read @ 1..) = client.read(&mut buffer) {
                            let head = String::from_utf8_lossy(&buffer[..read.min(200)]).into_owned();
                            let stores = head.starts_with("PUT ") && head.contains("/points?wait=true");
                            if stores && first.swap(false, Ordering::SeqCst) {
                                once();
                            }
                            if server.write_all(&buffer[..read]).is_err() {
                                break;
                            }
                        }
                        let _ = server.shutdown(Shutdown::Write);
                    });
                }
            });
        });
        Self { address }
    }

    /// Lets the listener see that it is over.
    fn end(&self, ended: &AtomicBool) {
        ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

fn overwrite(sandbox: &ProvisionSandbox, id: u32, text: &str) {
    let point = json!({ "id": id, "vector": [1.0, id, 0.0, 1.0], "payload": { "document_id": text } });
    sandbox.qdrant("PUT", "/collections/NAME/points?wait=true", json!({ "points": [point] }));
}

fn text_of(sandbox: &ProvisionSandbox, id: u32) -> Value {
    sandbox.qdrant("GET", &format!("/collections/NAME/points/{id}"), Value::Null)["result"]["payload"]["document_id"]
        .clone()
}

pub fn overwritten(stack: &TestStack) {
    let sandbox = ProvisionSandbox::new(stack, "overwritten", COLLECTION);
    sandbox.set_up(&[]);
    sandbox.store(300);
    sandbox.describe(&COLLECTION.replace("size = 4", "size = 4\ndistance = \"Dot\""));
    let ended = AtomicBool::new(false);
    let qdrant = url::Url::parse(&stack.stack.endpoints().qdrant.url).unwrap();
    let to = format!("{}:{}", qdrant.host_str().unwrap(), qdrant.port().unwrap());
    // The first points have been read, and are not stored yet: 7 is overwritten, and no point comes or goes.
    let (code, text) = std::thread::scope(|scope| {
        let way = Way::through(scope, &to, &ended, || overwrite(&sandbox, 7, "newer"));
        let mut command = sandbox.command(&["setup", "--yes"]);
        let output = command.env("QDRANT_URL", format!("http://{}", way.address)).output();
        way.end(&ended);
        code_and_text(&output.unwrap())
    });
    assert_eq!(code, 1, "{text}");
    for part in ["differs from", "in 1 points (7)", "shakedown queue pause", "was not changed"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!((sandbox.alias("NAME"), sandbox.points("NAME")), (None, 300), "nothing was switched");

    sandbox.set_up(&["--yes"]);
    assert_eq!(sandbox.plan(), (0, Vec::new()));
    assert_eq!((sandbox.alias("NAME").as_deref(), sandbox.points("NAME")), (Some("overwritten-1"), 300));
    assert_eq!(text_of(&sandbox, 7), "newer");
}

pub fn overwritten_after_a_kill(stack: &TestStack) {
    let sandbox = ProvisionSandbox::new(stack, "overwrittenlate", COLLECTION);
    sandbox.set_up(&[]);
    sandbox.store(3);
    sandbox.describe(&COLLECTION.replace("size = 4", "size = 4\ndistance = \"Dot\""));
    // The collection, its mark, an index, the points; and the mark that all are there.
    let killed = sandbox.command(&["setup", "--yes"]).env("SHAKEDOWN_DEFECT", "setup-ends-after-5").output().unwrap();
    assert_eq!(killed.status.code(), Some(137), "{:?}", code_and_text(&killed));
    assert_eq!(sandbox.alias("NAME--copied").as_deref(), Some("overwrittenlate-1"));
    overwrite(&sandbox, 2, "newer");
    let (code, text) = sandbox.run(&["setup", "--yes"]);
    assert!(code == 1 && text.contains("in 1 points (2)"), "{text}");
    sandbox.set_up(&["--yes"]);
    assert_eq!((sandbox.plan(), text_of(&sandbox, 2)), ((0, Vec::new()), json!("newer")));
}
