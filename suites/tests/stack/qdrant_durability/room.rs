//! A full disk, a full house, and an end in the middle of work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::server::{Rest, Server};

/// A small disk in memory; dropping it takes it away.
struct Disk(PathBuf);

impl Disk {
    /// `None` where nothing may be mounted.
    fn mount(place: &Path, megabytes: u64) -> Option<Self> {
        fs::create_dir_all(place).unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(place).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(place.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server that a failed test leaves may still use it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn points(ids: std::ops::Range<u64>, size: usize) -> Value {
    let points: Vec<Value> = ids
        .map(|id| {
            let number = f64::from(u16::try_from(id % 1000).unwrap()) / 8.0;
            let vector: Vec<f64> =
                (0..size).map(|i| number + f64::from(u16::try_from(i % 64).unwrap()) / 4.0).collect();
            json!({ "id": id, "vector": vector, "payload": { "n": id } })
        })
        .collect();
    json!({ "points": points })
}

async fn make(rest: &Rest, name: &str, size: usize, threshold: u64) {
    let optimizers = json!({ "indexing_threshold": threshold });
    let body = json!({ "vectors": { "size": size, "distance": "Dot" }, "optimizers_config": optimizers });
    rest.put(&format!("/collections/{name}"), body).await;
}

async fn count(rest: &Rest, name: &str) -> u64 {
    let path = format!("/collections/{name}/points/count");
    rest.post(&path, json!({ "exact": true })).await["count"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_writes_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("disk");
    let Some(disk) = Disk::mount(&place, 160) else {
        println!("left out: a file system cannot be mounted here, which takes root");
        return;
    };
    let storage = place.join("storage");
    let server = Server::start(&storage);
    let rest = server.rest();
    make(&rest, "c", 256, 10_000).await;
    let mut stored = 0;
    let refusal = loop {
        let body = points(stored..stored + 200, 256);
        let (status, answer) = rest.send("PUT", "/collections/c/points?wait=true", Some(&body)).await;
        if status != 200 {
            break (status, answer);
        }
        stored += 200;
        assert!(stored < 1_000_000, "the disk is never full");
    };
    assert_eq!(refusal.0, 500, "{}", refusal.1);
    let text = refusal.1["status"]["error"].as_str().unwrap().to_owned();
    assert!(text.contains("No space left on device"), "{text}");
    // Another file uses up the remaining space.
    let filler = place.join("filler");
    let mut room = vec![0_u8; 1 << 20];
    room.fill(1);
    let mut file = fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &room).is_ok() {}
    drop(file);
    for _ in 0..3 {
        let (status, answer) =
            rest.send("PUT", "/collections/c/points?wait=true", Some(&points(stored..stored + 1, 256))).await;
        assert_eq!(status, 500, "{answer}");
    }
    assert_eq!(count(&rest, "c").await, stored);
    let (status, answer) = rest.send("GET", "/collections/c/points/7", None).await;
    assert_eq!((status, &answer["result"]["payload"]["n"]), (200, &json!(7)));
    fs::remove_file(&filler).unwrap();
    let (_, answer) =
        rest.send("POST", "/collections/c/points/delete?wait=true", Some(&json!({ "points": [3] }))).await;
    let deleted = u64::from(answer["status"] == "ok");
    server.kill();

    // A larger disk, as one who has freed room.
    let status = Command::new("mount").args(["-o", "remount,size=400m"]).arg(&place).status().unwrap();
    assert!(status.success());
    let server = Server::start(&storage);
    let rest = server.rest();
    assert_eq!(count(&rest, "c").await, stored - deleted);
    rest.put("/collections/c/points?wait=true", points(stored..stored + 200, 256)).await;
    assert_eq!(count(&rest, "c").await, stored + 200 - deleted);
    let (status, _) = server.terminate();
    assert!(status.success());
    drop(disk);
}

/// What the server has used at most, in bytes.
fn peak(server: &Server) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// What 64 batches of 100 vectors of 1024 numbers may take at once: 6.5 million numbers, each about 10 bytes as text,
/// 8 while it is read, 4 as it is kept, 4 in the journal and 4 in the engine make 200 MB; five times that.
const BOUND: u64 = 1 << 30;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_at_once_take_bounded_memory() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("storage"));
    make(&server.rest(), "c", 1024, 1_000_000).await;
    let clients = (0..64).map(|client| {
        let rest = server.rest();
        async move {
            // The same points every time: the storage does not grow, so that what grows is the requests.
            let body = points(client * 100..client * 100 + 100, 1024);
            for _ in 0..3 {
                rest.put("/collections/c/points?wait=true", body.clone()).await;
            }
        }
    });
    futures::future::join_all(clients).await;
    assert_eq!(count(&server.rest(), "c").await, 6400);
    let peak = peak(&server);
    println!("peak of 64 clients: {} MiB", peak >> 20);
    assert!(peak < BOUND, "{peak} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_under_load_ends_the_server_in_time_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let storage = directory.path().join("storage");
    let server = Server::start(&storage);
    let rest = server.rest();
    make(&rest, "other", 16, 10_000).await;
    rest.put("/collections/other/points?wait=true", points(0..10, 16)).await;
    make(&rest, "c", 256, 100).await;
    let stop = Arc::new(AtomicBool::new(false));
    let stored = Arc::new(AtomicU64::new(0));
    let writer = {
        let (rest, stop, stored) = (rest.clone(), Arc::clone(&stop), Arc::clone(&stored));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let next = stored.load(Ordering::Relaxed);
                let body = points(next..next + 100, 256);
                match rest.try_send("PUT", "/collections/c/points?wait=true", Some(&body)).await {
                    Some((200, _)) => stored.store(next + 100, Ordering::Relaxed),
                    _ => return,
                }
            }
        })
    };
    // While an index is built in one, both can be read.
    rest.until("/collections/c", |answer| answer["status"] == "yellow").await;
    let mut meanwhile = 0;
    for _ in 0..20 {
        assert_eq!(count(&rest, "other").await, 10);
        assert!(count(&rest, "c").await >= 100);
        meanwhile += u32::from(rest.get("/collections/c").await["status"] == "yellow");
    }
    assert!(meanwhile > 0, "no index was being built while the collections were read");
    let (status, took) = server.terminate();
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    assert!(status.success(), "{status}");
    // A promise of the server's, and not a measure of its speed.
    assert!(took < Duration::from_secs(2), "{took:?}");
    let server = Server::start(&storage);
    let (acknowledged, found) = (stored.load(Ordering::Relaxed), count(&server.rest(), "c").await);
    assert!(found == acknowledged || found == acknowledged + 100, "{acknowledged} acknowledged, {found} found");
}
