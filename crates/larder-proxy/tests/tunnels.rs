//! Connections that have switched protocols: how long they last, what they use, and how they end.
#![cfg(feature = "tls")]

mod setting;

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use setting::{
    Protocol, Setup, read_to_end,
    websocket::{GET, HANDSHAKE, accepting, echo, expect, switched},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

/// Each side can close its sending side, and still gets what the other one sends.
#[tokio::test]
async fn the_end_of_each_direction_is_passed_on() {
    for protocol in [Protocol::Http1, Protocol::Http1Tls] {
        let origin = accepting(|stream| {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).expect("an end");
            write!(stream, "{} bytes", all.len()).expect("it reads");
        });
        let proxy = Setup::new(protocol).in_front_of(&origin);
        let mut stream = proxy.open().await;
        stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
        switched(&mut stream).await;
        stream.write_all(&[7; 100_000]).await.expect("it reads");
        stream.shutdown().await.expect("it closes");
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.expect("an orderly end");
        assert_eq!(rest, "100000 bytes", "{protocol:?}");

        let origin = accepting(|stream| {
            stream.write_all(b"bye").expect("it reads");
            stream.shutdown(Shutdown::Write).expect("it closes");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).expect("an end");
            assert_eq!(all, b"still here");
        });
        let proxy = Setup::new(protocol).in_front_of(&origin);
        let mut stream = proxy.open().await;
        stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
        switched(&mut stream).await;
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.expect("an orderly end");
        assert_eq!(rest, "bye", "{protocol:?}");
        stream.write_all(b"still here").await.expect("it reads");
        stream.shutdown().await.expect("it closes");
    }
}

/// When one side is gone, the other one learns it at once, not after a timeout.
#[tokio::test]
async fn the_end_of_one_side_is_that_of_the_other() {
    let origin = accepting(|_| {});
    let proxy = Setup::new(Protocol::Http1).in_front_of(&origin);
    let mut stream = proxy.tcp().await;
    stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
    switched(&mut stream).await;
    assert_eq!(read_to_end(&mut stream).await, "", "the origin has died");

    for is_reset in [false, true] {
        let (gone, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let origin = accepting(move |stream| {
            let read = stream.read(&mut [0]);
            gone.send(
                matches!(read, Ok(0))
                    || read.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock),
            )
            .expect("the test waits");
        });
        let proxy = Setup::new(Protocol::Http1).in_front_of(&origin);
        let mut stream = proxy.tcp().await;
        stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
        switched(&mut stream).await;
        if is_reset {
            stream.set_zero_linger().expect("a reset");
        }
        drop(stream);
        let gone = timeout(setting::PATIENCE, ended.recv()).await.expect("at once").expect("an end");
        assert!(gone, "the client has left, reset: {is_reset}");
    }
}

/// A client that reads slowly makes the origin wait, and the proxy keeps only what one read gives.
#[tokio::test]
async fn long_transfers_in_both_directions_need_little_memory() {
    const LENGTH: usize = 64 << 20;
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let origin = accepting(move |stream| {
        let mut reading = stream.try_clone().expect("a second handle");
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            reading.read_to_end(&mut all).expect("an end");
            assert!(all.len() == LENGTH && all.iter().all(|byte| *byte == 1));
        });
        for _ in 0..LENGTH / 65_536 {
            stream.write_all(&[2; 65_536]).expect("it reads");
            counter.fetch_add(65_536, Ordering::SeqCst);
        }
        reader.join().expect("everything arrives");
        stream.shutdown(Shutdown::Both).expect("it closes");
    });
    let proxy = Setup::new(Protocol::Http1).in_front_of(&origin);
    let mut stream = proxy.tcp().await;
    stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
    switched(&mut stream).await;
    // The client reads nothing yet, and its own bytes go on.
    for _ in 0..LENGTH / 65_536 {
        let writing = stream.write_all(&[1; 65_536]);
        timeout(setting::PATIENCE, writing).await.expect("it goes on").expect("it reads");
    }
    let mut before = u64::MAX;
    while sent.load(Ordering::SeqCst) != before {
        before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // The buffers of the system on the way: at most some 6 MiB on each side of a connection.
    assert!(before < 40 << 20, "{before} bytes were taken from the origin and are in no one's hands");
    stream.shutdown().await.expect("it closes");
    let mut all = Vec::new();
    timeout(2 * setting::PATIENCE, stream.read_to_end(&mut all)).await.expect("in time").expect("an end");
    assert!(all.len() == LENGTH && all.iter().all(|byte| *byte == 2), "{} bytes", all.len());
}

/// An idle WebSocket was not to be cut by the timeouts of HTTP, but it has its own.
#[tokio::test]
async fn only_its_own_timeout_ends_a_silent_connection() {
    let origin = accepting(echo);
    let short = Duration::from_millis(100);
    let proxy = Setup::new(Protocol::Http1)
        .server(|options| options.with_keep_alive(short).with_request_timeout(short).with_send_timeout(short))
        .in_front_of(&origin);
    let mut stream = proxy.tcp().await;
    stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
    switched(&mut stream).await;
    for _ in 0..3 {
        tokio::time::sleep(2 * short).await;
        stream.write_all(b"still open").await.expect("it reads");
        expect(&mut stream, b"still open").await;
    }
    let proxy = Setup::new(Protocol::Http1)
        .server(|options| options.with_upgrade_timeout(Duration::from_millis(300)))
        .in_front_of(&origin);
    let mut stream = proxy.tcp().await;
    stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
    switched(&mut stream).await;
    assert_eq!(read_to_end(&mut stream).await, "", "it was silent for too long");
}

/// A client that takes nothing holds its connection no longer than one of HTTP.
#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
    let origin = accepting(move |stream| {
        while stream.write_all(&[0; 65_536]).is_ok() {}
        ended.send(()).expect("the test waits");
    });
    let proxy = Setup::new(Protocol::Http1)
        .server(|options| options.with_send_timeout(Duration::from_millis(300)))
        .in_front_of(&origin);
    let mut stream = proxy.tcp().await;
    stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
    switched(&mut stream).await;
    timeout(setting::PATIENCE, end.recv()).await.expect("it is cut").expect("an end");
}

/// A connection that is open for hours must not keep the server from stopping.
#[tokio::test]
async fn a_shutdown_ends_within_its_time() {
    for is_graceful in [true, false] {
        let origin = accepting(echo);
        let limit = if is_graceful { Duration::from_millis(300) } else { Duration::from_secs(3600) };
        let mut proxy = Setup::new(Protocol::Http1)
            .server(|options| options.with_shutdown_timeout(limit))
            .in_front_of(&origin);
        let mut stream = proxy.tcp().await;
        stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
        switched(&mut stream).await;
        match is_graceful {
            true => proxy.handle.shutdown(),
            false => proxy.handle.close(),
        }
        assert_eq!(read_to_end(&mut stream).await, "");
        proxy.join();
    }
}

/// The connection still counts for its client.
#[tokio::test]
async fn it_counts_among_the_connections_of_its_client() {
    let origin = accepting(echo);
    let proxy = Setup::new(Protocol::Http1)
        .server(|options| options.with_max_connections_per_client(1))
        .in_front_of(&origin);
    let mut stream = proxy.tcp().await;
    stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
    switched(&mut stream).await;
    assert_eq!(proxy.raw(GET).await, "", "the second is closed");
    stream.shutdown().await.expect("it closes");
    assert_eq!(read_to_end(&mut stream).await, "");
    while proxy.raw(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await.is_empty() {}
}
