//! The proxy over real sockets, without a fault and with faults that come and go. Each kind of fault has its own tests.

use futures::FutureExt as _;

use crate::faults::network::testing::*;

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
    let seen = closed(&proxy, 0).await;
    assert_eq!((seen.up, seen.down, seen.closed_by), (3_000_000, 3_000_000, Some(ClosedBy::Client)));
}

#[tokio::test]
async fn a_server_that_is_down_is_not_taken_for_a_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), nowhere.to_string(), None).await.unwrap();
    assert!(round_trip(&mut connect(&proxy).await, b"hello").await.is_err());
    assert_eq!(closed(&proxy, 0).await.closed_by, Some(ClosedBy::Unreachable));
}

#[tokio::test]
async fn a_client_that_only_half_closes_gets_its_answer() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    stream.write_all(&vec![9; 100_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, (100_000, false));
    assert_eq!(closed(&proxy, 0).await.closed_by, Some(ClosedBy::Client));
}

/// Consecutive numbers: a byte that is lost, duplicated or misplaced shows.
fn numbers(count: u32) -> Vec<u8> {
    (0..count).flat_map(u32::to_le_bytes).collect()
}

#[tokio::test]
async fn a_stream_stays_complete_while_faults_begin_and_end() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    // More than all queues on the way hold, so that every fault applies to some of it.
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
        // Each begins and ends in the middle of the stream: a fault without an effect would be waited for until the
        // timeout.
        for (mark, fault) in (2..).step_by(8).zip(faults) {
            passed(mark).await;
            let applied = proxy.apply(fault, Direction::Both);
            while !applied.effect.took_effect() {
                tokio::time::sleep(ms(1)).await;
            }
            let _ = proxy.revert(applied);
        }
    };
    let (sent, back, ()) = tokio::join!(
        to.write_all(&word),
        async {
            let mut back = vec![0; word.len()];
            from.read_exact(&mut back).await.map(|_| back)
        },
        tokio::time::timeout(Duration::from_secs(30), active_faults)
            .map(|ended| ended.expect("the stream made no progress"))
    );
    sent.unwrap();
    assert!(back.unwrap() == word, "bytes were changed");
}

#[tokio::test]
async fn a_fault_applies_to_a_stream_that_is_in_progress() {
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
                    // A blackhole passes nothing before it ends.
                    Err(_) => drop(applied.take().map(|applied| proxy.revert(applied))),
                }
                if came > 4 << 20 && !injected {
                    injected = true;
                    applied = Some(proxy.apply(fault, Direction::Down));
                }
            }
        };
        let both = async { tokio::join!(send, receive) };
        tokio::time::timeout(Duration::from_secs(20), both)
            .await
            .unwrap_or_else(|_| panic!("{fault:?} took no effect"));
        assert_eq!(closed(&proxy, 0).await.closed_by, Some(ClosedBy::Fault(by)), "{fault:?}");
    }
}

#[tokio::test]
async fn connections_and_listener_end_with_the_proxy() {
    let proxy = proxy().await;
    let address = proxy.address();
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"x").await.unwrap();
    drop(proxy);
    read_to_end(&mut stream).await;
    assert!(TcpStream::connect(address).await.is_err());
}
