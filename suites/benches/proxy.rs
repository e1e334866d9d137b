//! Speed of the fault proxy, as ratios measured in one run: bytes a second through it and past it, and what it adds to
//! a round trip. Nothing here passes or fails: a benchmark is no test.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use shakedown::faults::Proxy;

const BYTES: usize = 1 << 30;
const ROUNDS: usize = 7;
const TRIPS: usize = 5000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (sink, echo) = (sink(), echo());
    let (before_sink, before_echo) = runtime.block_on(async {
        let local = "127.0.0.1:0".parse().unwrap();
        let before_sink = Proxy::start(local, sink.to_string(), None).await.unwrap();
        (before_sink, Proxy::start(local, echo.to_string(), None).await.unwrap())
    });
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    let (mut direct_trip, mut through_trip) = (Vec::new(), Vec::new());
    // Interleaved, so that whatever else the machine does slows both alike.
    for _ in 0..ROUNDS {
        direct.push(throughput(sink));
        through.push(throughput(before_sink.address()));
        direct_trip.push(trip(echo));
        through_trip.push(trip(before_echo.address()));
    }
    let [direct, through, direct_trip, through_trip] = [direct, through, direct_trip, through_trip].map(median);
    let gigabytes = |time: f64| BYTES as f64 / time / 1e9;
    println!(
        "one stream        {:.2} GB/s = {:.2} × direct's {:.2} GB/s (aim ≥ 0.7)",
        gigabytes(through),
        direct / through,
        gigabytes(direct)
    );
    println!(
        "median round trip {:.1} µs, {:.1} µs more than direct (aim ≤ 80 µs more)",
        through_trip * 1e6,
        (through_trip - direct_trip) * 1e6
    );
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Takes everything, and answers with one byte when the client is done.
fn sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = vec![0; 256 * 1024];
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
                let _ = stream.write_all(&[1]);
            });
        }
    });
    address
}

fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

/// Seconds until the other side has all bytes.
fn throughput(address: SocketAddr) -> f64 {
    let mut stream = TcpStream::connect(address).unwrap();
    let buffer = vec![7; 256 * 1024];
    let begun = Instant::now();
    for _ in 0..BYTES / buffer.len() {
        stream.write_all(&buffer).unwrap();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    begun.elapsed().as_secs_f64()
}

/// Median seconds of one byte there and back.
fn trip(address: SocketAddr) -> f64 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let trips = (0..TRIPS).map(|_| {
        let begun = Instant::now();
        stream.write_all(&[1]).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        begun.elapsed().as_secs_f64()
    });
    median(trips.collect())
}
