//! Every fault, over real sockets: it takes effect, records it, and is gone when lifted.

use futures::FutureExt as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::spec::Requests;

/// A server that sends back what it is sent, and closes when the client does.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn proxy() -> Proxy {
    let upstream = echo().await;
    Proxy::start("127.0.0.1:0".parse().unwrap(), upstream.to_string(), None).await.unwrap()
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// Says a word and waits for it to come back.
async fn says(stream: &mut TcpStream, word: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(word).await?;
    let mut back = vec![0; word.len()];
    stream.read_exact(&mut back).await?;
    Ok(back)
}

async fn silent(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    tokio::time::timeout(ms(150), stream.read(&mut byte)).await.is_err()
}

/// Reads until the connection ends; tells what came, and whether it ended with a reset.
async fn to_the_end(stream: &mut TcpStream) -> (usize, bool) {
    let mut all = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut all)).await.expect("it never ended");
    (all.len(), end.is_err())
}

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

async fn settled(proxy: &Proxy, nth: usize) -> Connection {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        let connections = proxy.connections();
        if let Some(connection) = connections.get(nth).filter(|connection| connection.closed.is_some()) {
            return connection.clone();
        }
        assert!(tokio::time::Instant::now() < deadline, "connection {nth} never closed: {connections:?}");
        tokio::time::sleep(ms(2)).await;
    }
}

#[tokio::test]
async fn without_a_fault_bytes_pass_unchanged_and_are_counted() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    let word: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let (mut from, mut to) = stream.split();
    let (sent, back) = tokio::join!(to.write_all(&word), async {
        let mut back = vec![0; word.len()];
        from.read_exact(&mut back).await.map(|_| back)
    });
    sent.unwrap();
    assert!(back.unwrap() == word, "bytes were changed");
    assert_eq!(proxy.open(), 1);
    drop(stream);
    let seen = settled(&proxy, 0).await;
    assert_eq!((seen.up, seen.down, seen.closed_by), (3_000_000, 3_000_000, Some(ClosedBy::Client)));
}

#[tokio::test]
async fn refuse_resets_old_and_new_connections_until_it_is_lifted() {
    let proxy = proxy().await;
    let mut old = connect(&proxy).await;
    says(&mut old, b"before").await.unwrap();
    let refuse = proxy.apply(NetworkFault::Refuse, Direction::Both);
    assert_eq!(to_the_end(&mut old).await, (0, true));
    // What the client sees is a reset, at once or with its first word.
    let mut new = connect(&proxy).await;
    assert!(says(&mut new, b"during").await.is_err());
    let effect = proxy.lift(refuse);
    assert_eq!(effect.connections(), 2);
    assert_eq!(settled(&proxy, 1).await.closed_by, Some(ClosedBy::Fault("refuse")));
    assert_eq!(says(&mut connect(&proxy).await, b"after").await.unwrap(), b"after");
}

#[tokio::test]
async fn cut_resets_what_is_open_and_nothing_that_comes_later() {
    let proxy = proxy().await;
    let (mut one, mut two) = (connect(&proxy).await, connect(&proxy).await);
    says(&mut one, b"x").await.unwrap();
    says(&mut two, b"x").await.unwrap();
    let effect = proxy.cut();
    assert!(to_the_end(&mut one).await.1 && to_the_end(&mut two).await.1);
    assert_eq!(says(&mut connect(&proxy).await, b"later").await.unwrap(), b"later");
    assert_eq!(effect.connections(), 2);
    assert_eq!(settled(&proxy, 0).await.closed_by, Some(ClosedBy::Fault("cut")));
}

#[tokio::test]
async fn a_fault_that_nothing_met_says_that_it_took_no_effect() {
    let proxy = proxy().await;
    let refuse = proxy.apply(NetworkFault::Refuse, Direction::Both);
    assert!(!proxy.lift(refuse).took_effect());
    assert!(!proxy.cut().took_effect());
}

#[tokio::test]
async fn blackhole_swallows_from_the_first_byte_and_resets_what_it_spoilt() {
    let proxy = proxy().await;
    let mut old = connect(&proxy).await;
    says(&mut old, b"before").await.unwrap();
    let hole = proxy.apply(NetworkFault::Blackhole, Direction::Both);
    let mut new = connect(&proxy).await;
    old.write_all(b"lost").await.unwrap();
    new.write_all(b"lost too").await.unwrap();
    assert!(silent(&mut old).await && silent(&mut new).await);
    let effect = proxy.lift(hole);
    assert!(to_the_end(&mut old).await.1 && to_the_end(&mut new).await.1);
    assert_eq!((effect.connections(), effect.bytes()), (2, 12));
}

#[tokio::test]
async fn a_connection_that_said_nothing_in_a_blackhole_goes_on_after_it() {
    let proxy = proxy().await;
    let mut idle = connect(&proxy).await;
    says(&mut idle, b"before").await.unwrap();
    let hole = proxy.apply(NetworkFault::Blackhole, Direction::Both);
    tokio::time::sleep(ms(30)).await;
    proxy.lift(hole);
    assert_eq!(says(&mut idle, b"after").await.unwrap(), b"after");
}

#[tokio::test]
async fn half_open_loses_one_direction_alone() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    says(&mut stream, b"before").await.unwrap();
    let half = proxy.apply(NetworkFault::HalfOpen, Direction::Down);
    stream.write_all(b"asked").await.unwrap();
    assert!(silent(&mut stream).await);
    // The request arrived, the answer did not.
    let seen = proxy.connections()[0].clone();
    assert_eq!((seen.up, seen.down), (11, 6));
    assert_eq!(proxy.lift(half).bytes(), 5);
    assert!(to_the_end(&mut stream).await.1);
}

#[tokio::test]
async fn latency_delays_and_keeps_the_order() {
    let proxy = proxy().await;
    let late = proxy.apply(NetworkFault::Latency { ms: 80, jitter_ms: 40 }, Direction::Down);
    let mut stream = connect(&proxy).await;
    let begun = tokio::time::Instant::now();
    let word: Vec<u8> = (0..200_u8).collect();
    for byte in &word {
        stream.write_all(&[*byte]).await.unwrap();
    }
    let mut back = vec![0; word.len()];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, word);
    assert!(begun.elapsed() >= ms(40), "{:?}", begun.elapsed());
    assert_eq!(proxy.lift(late).bytes(), 200);
}

#[tokio::test]
async fn bandwidth_is_what_was_asked_for() {
    let proxy = proxy().await;
    let narrow = proxy.apply(NetworkFault::Bandwidth { rate: 100_000 }, Direction::Up);
    let mut stream = connect(&proxy).await;
    let begun = tokio::time::Instant::now();
    says(&mut stream, &vec![7; 30_000]).await.unwrap();
    // 0.3 s for 30,000 bytes; more on a busy machine, never less.
    assert!(begun.elapsed() >= ms(290), "{:?}", begun.elapsed());
    assert_eq!(proxy.lift(narrow).bytes(), 30_000);
}

#[tokio::test]
async fn slow_close_keeps_the_other_side_waiting() {
    let proxy = proxy().await;
    let slow = proxy.apply(NetworkFault::SlowClose { ms: 200 }, Direction::Up);
    let mut stream = connect(&proxy).await;
    says(&mut stream, b"x").await.unwrap();
    let begun = tokio::time::Instant::now();
    stream.shutdown().await.unwrap();
    assert_eq!(to_the_end(&mut stream).await, (0, false));
    assert!(begun.elapsed() >= ms(190), "{:?}", begun.elapsed());
    assert!(proxy.lift(slow).took_effect());
}

#[tokio::test]
async fn limit_data_cuts_in_the_middle_of_a_message() {
    let proxy = proxy().await;
    let limit = proxy.apply(NetworkFault::LimitData { bytes: 1000 }, Direction::Down);
    let mut stream = connect(&proxy).await;
    stream.write_all(&[1; 4000]).await.unwrap();
    let (came, reset) = to_the_end(&mut stream).await;
    // A reset may overtake bytes that were not read yet; more than the limit never arrives.
    assert!(reset && came <= 1000, "{came} {reset}");
    assert_eq!(settled(&proxy, 0).await.down, 1000);
    assert_eq!(proxy.lift(limit).connections(), 1);
}

#[tokio::test]
async fn flap_refuses_and_serves_in_turn() {
    let proxy = proxy().await;
    let flap = proxy.apply(NetworkFault::Flap { ms: 100 }, Direction::Both);
    let (mut served, mut refused) = (0, 0);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while (served == 0 || refused < 2) && tokio::time::Instant::now() < deadline {
        match says(&mut connect(&proxy).await, b"now?").await {
            Ok(_) => served += 1,
            Err(_) => refused += 1,
        }
        tokio::time::sleep(ms(20)).await;
    }
    assert!(served > 0 && refused > 1, "served {served}, refused {refused}");
    assert!(proxy.lift(flap).took_effect());
    assert_eq!(says(&mut connect(&proxy).await, b"after").await.unwrap(), b"after");
}

#[tokio::test]
async fn a_server_that_is_down_is_told_apart_from_a_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), nowhere.to_string(), None).await.unwrap();
    assert!(says(&mut connect(&proxy).await, b"hello").await.is_err());
    assert_eq!(settled(&proxy, 0).await.closed_by, Some(ClosedBy::Unreachable));
}

#[tokio::test]
async fn a_client_that_only_half_closes_still_gets_its_answer() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    stream.write_all(&vec![9; 100_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(to_the_end(&mut stream).await, (100_000, false));
    assert_eq!(settled(&proxy, 0).await.closed_by, Some(ClosedBy::Client));
}

#[tokio::test]
async fn a_cut_ends_a_connection_whose_receiver_takes_nothing() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    // Fill every buffer on the way: nobody reads what comes back.
    let fill = async { while stream.write_all(&vec![0; 65_536]).await.is_ok() {} };
    assert!(tokio::time::timeout(ms(300), fill).await.is_err());
    proxy.cut();
    assert_eq!(settled(&proxy, 0).await.closed_by, Some(ClosedBy::Fault("cut")));
}

/// Numbers one after the other: whatever is lost, doubled or out of its place shows.
fn numbers(count: u32) -> Vec<u8> {
    (0..count).flat_map(u32::to_le_bytes).collect()
}

#[tokio::test]
async fn a_stream_stays_whole_through_faults_that_come_and_go() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    // More than all queues on the way hold, so that every fault meets some of it.
    let word = numbers(16 << 20);
    let (mut from, mut to) = stream.split();
    let passed = async |mark: u64| {
        while proxy.connections().iter().all(|connection| connection.down < mark << 20) {
            tokio::time::sleep(ms(1)).await;
        }
    };
    let active_faults = async {
        let faults = [
            NetworkFault::Latency { ms: 3, jitter_ms: 2 },
            NetworkFault::Bandwidth { rate: 50_000_000 },
            NetworkFault::Latency { ms: 1, jitter_ms: 0 },
        ];
        // Each meets a stream that is under way, and leaves one: one that met nothing would be waited for in vain.
        for (mark, fault) in (2..).step_by(8).zip(faults) {
            passed(mark).await;
            let applied = proxy.apply(fault, Direction::Both);
            while !applied.effect.took_effect() {
                tokio::time::sleep(ms(1)).await;
            }
            let _ = proxy.lift(applied);
        }
    };
    let (sent, back, ()) = tokio::join!(
        to.write_all(&word),
        async {
            let mut back = vec![0; word.len()];
            from.read_exact(&mut back).await.map(|_| back)
        },
        tokio::time::timeout(Duration::from_secs(30), active_faults)
            .map(|ended| ended.expect("the stream stood still"))
    );
    sent.unwrap();
    assert!(back.unwrap() == word, "bytes were changed");
}

#[tokio::test]
async fn a_fault_meets_a_stream_that_is_under_way() {
    for (fault, by) in [
        (NetworkFault::LimitData { bytes: 100_000 }, "limit_data"),
        (NetworkFault::Blackhole, "blackhole"),
        (NetworkFault::Refuse, "refuse"),
    ] {
        let proxy = proxy().await;
        let mut stream = connect(&proxy).await;
        let (mut from, mut to) = stream.split();
        let (mut applied, mut injected) = (None, false);
        let filling = vec![5; 65_536];
        let send = async { while to.write_all(&filling).await.is_ok() {} };
        let receive = async {
            let mut buffer = vec![0; 65_536];
            let mut came = 0;
            loop {
                match tokio::time::timeout(ms(200), from.read(&mut buffer)).await {
                    Ok(Ok(count @ 1..)) => came += count,
                    Ok(_) => break,
                    // Nothing comes out of a hole before it ends.
                    Err(_) => drop(applied.take().map(|applied| proxy.lift(applied))),
                }
                if came > 4 << 20 && !injected {
                    injected = true;
                    applied = Some(proxy.apply(fault, Direction::Down));
                }
            }
        };
        let both = async { tokio::join!(send, receive) };
        tokio::time::timeout(Duration::from_secs(20), both).await.unwrap_or_else(|_| panic!("{fault:?} met nothing"));
        assert_eq!(settled(&proxy, 0).await.closed_by, Some(ClosedBy::Fault(by)), "{fault:?}");
    }
}

#[tokio::test]
async fn everything_ends_with_the_proxy() {
    let proxy = proxy().await;
    let address = proxy.address();
    let mut stream = connect(&proxy).await;
    says(&mut stream, b"x").await.unwrap();
    drop(proxy);
    to_the_end(&mut stream).await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_answer_stands_in_for_the_service_over_http_1_and_2() {
    let proxy = proxy().await;
    let mut before = connect(&proxy).await;
    assert_eq!(says(&mut before, b"hello").await.unwrap(), b"hello");
    let applied =
        proxy.apply(NetworkFault::Answer { status: 503, retry_after_s: Some(7), only: None }, Direction::Both);
    assert_eq!(to_the_end(&mut before).await, (0, true), "what led to the service is reset");
    let url = format!("http://{}/any/path", proxy.address());
    let plain = reqwest::Client::builder().no_proxy();
    for client in
        [plain.build().unwrap(), reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap()]
    {
        let answer = client.post(&url).body("anything").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"7".parse().unwrap()));
    }
    assert_eq!(proxy.lift(applied).connections(), 2);
    let [first, again] = proxy.answered().try_into().unwrap();
    assert_eq!((first.request, first.wait), (again.request, Some(Duration::from_secs(7))));
    let mut after = connect(&proxy).await;
    assert_eq!(says(&mut after, b"hello").await.unwrap(), b"hello");
}

#[tokio::test]
async fn an_answer_to_some_requests_lets_the_others_through_over_http_1_and_2() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap().to_string();
    let says = |request: axum::extract::Request| async move { format!("{} {}", request.method(), request.uri()) };
    let serving = tokio::spawn(async move {
        let _ = axum::serve(listener, axum::Router::new().fallback(says)).await;
    });
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), upstream, None).await.unwrap();
    let fault = NetworkFault::Answer { status: 503, retry_after_s: None, only: Some(Requests::Removals) };
    let applied = proxy.apply(fault, Direction::Both);
    let base = format!("http://{}", proxy.address());
    let clients = [
        reqwest::Client::builder().no_proxy().build().unwrap(),
        reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap(),
    ];
    for client in &clients {
        for (path, status) in [
            ("/collections/a/points/delete?wait=true", 503),
            ("/qdrant.Points/Delete", 503),
            ("/collections/a/points/batch", 503),
            ("/collections/a/points/count", 200),
            ("/collections/delete/points?wait=true", 200),
        ] {
            let answer = client.post(format!("{base}{path}")).body("{}").send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{path}");
            let text = answer.text().await.unwrap();
            assert!(status == 503 || text.ends_with(path), "{path}: {text}");
        }
    }
    // What was let through met nothing.
    assert_eq!(proxy.lift(applied).connections(), 6);
    assert_eq!(proxy.answered().len(), 6);
    serving.abort();
}
