//! The pool: how many connections are open, and how long they are used.

mod setting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use larder_core::{Body, OriginErrorKind};
use larder_origin::HyperOptions;
use setting::{Server, content, fetch, get, kind, sending, settle, with};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn no_more_connections_are_opened_than_allowed() {
    let server = Server::bind().await;
    let origin = with(&server.url(), |options| options.max_connections = 2);
    let all: Vec<_> = (0..5).map(|_| sending(&origin, get("/"))).collect();
    let (mut one, mut two) = (server.accept().await, server.accept().await);
    assert!(one.head().await.is_some() && two.head().await.is_some());
    settle().await;
    assert!(!server.has_pending_connection().await, "a third connection");
    // Those that wait take over the connections.
    one.send(OK).await;
    two.send(OK).await;
    for _ in 0..2 {
        assert!(one.head().await.is_some());
        one.send(OK).await;
    }
    assert!(two.head().await.is_some());
    two.send(OK).await;
    for got in all {
        assert_eq!(content(got.await.expect("no panic")), "ok");
    }
    assert!(!server.has_pending_connection().await);
}

#[tokio::test]
async fn a_request_beyond_those_that_may_wait_fails_at_once() {
    let server = Server::bind().await;
    let origin = with(&server.url(), |options| {
        (options.max_connections, options.max_waiting) = (1, 1);
    });
    let first = sending(&origin, get("/"));
    let mut peer = server.accept().await;
    assert!(peer.head().await.is_some());
    let waiting = sending(&origin, get("/"));
    settle().await;
    assert_eq!(kind(fetch(&origin, get("/")).await), OriginErrorKind::Busy);
    // A request that has given up makes room for another.
    waiting.abort();
    assert!(waiting.await.is_err());
    let waiting = sending(&origin, get("/"));
    settle().await;
    peer.send(OK).await;
    assert_eq!(content(first.await.expect("no panic")), "ok");
    assert!(peer.head().await.is_some());
    peer.send(OK).await;
    assert_eq!(content(waiting.await.expect("no panic")), "ok");
}

/// A request that is cancelled, at each of its stages, leaves room for the next.
#[tokio::test]
async fn cancelled_requests_release_their_connection() {
    let server = Server::bind().await;
    let origin = with(&server.url(), |options| options.max_connections = 1);
    for stage in ["connecting", "head", "body"] {
        let got = sending(&origin, get("/"));
        if stage != "connecting" {
            let mut peer = server.accept().await;
            assert!(peer.head().await.is_some());
            if stage == "body" {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
                settle().await;
            }
        }
        got.abort();
        assert!(got.await.is_err());
    }
    let got = sending(&origin, get("/"));
    loop {
        let mut peer = server.accept().await;
        if peer.head().await.is_some() {
            peer.send(OK).await;
            break;
        }
    }
    assert_eq!(content(got.await.expect("no panic")), "ok");
}

#[tokio::test]
async fn a_failed_connection_leaves_room_for_the_next() {
    let server = Server::bind().await;
    let (url, address) = (server.url(), server.0.local_addr().expect("an address"));
    drop(server);
    let origin = with(&url, |options| options.max_connections = 1);
    for _ in 0..3 {
        let error = fetch(&origin, get("/")).await.expect_err("refused");
        assert_eq!(error.kind(), OriginErrorKind::Connect);
        assert!(format!("{error:?}").contains(&address.to_string()), "{error:?}");
    }
}

/// An address may have changed since the connection was opened.
#[tokio::test]
async fn a_connection_that_is_too_old_is_not_used_again() {
    let server = Server::bind().await;
    let origin = with(&server.url(), |options| options.max_age = Duration::ZERO);
    for _ in 0..2 {
        let got = sending(&origin, get("/"));
        let mut peer = server.accept().await;
        assert!(peer.head().await.is_some());
        peer.send(OK).await;
        assert_eq!(content(got.await.expect("no panic")), "ok");
        peer.closed().await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_further_request() {
    let server = Server::bind().await;
    let origin = with(&server.url(), |options| options.idle_timeout = Duration::from_millis(50));
    let got = sending(&origin, get("/"));
    let mut peer = server.accept().await;
    assert!(peer.head().await.is_some());
    peer.send(OK).await;
    assert_eq!(content(got.await.expect("no panic")), "ok");
    peer.closed().await;
}

#[tokio::test]
async fn a_response_that_never_ends_is_cut_at_the_total_timeout() {
    let server = Server::bind().await;
    let origin = with(&server.url(), |options| options.total_timeout = Some(Duration::from_millis(200)));
    let got = sending(&origin, get("/"));
    let mut peer = server.accept().await;
    assert!(peer.head().await.is_some());
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let dripping = tokio::spawn(async move {
        loop {
            peer.send("1\r\nx\r\n").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (_, body) = got.await.expect("no panic").expect("a head");
    let error = body.expect_err("cut");
    assert!(error.to_string().contains("within 200ms"), "{error}");
    assert!(dripping.await.is_err(), "the connection is closed");
    let got = sending(&origin, get("/"));
    let mut silent = server.accept().await;
    assert!(silent.head().await.is_some());
    assert!(matches!(kind(got.await.expect("no panic")), OriginErrorKind::Timeout(_)));
}

/// A scheduler fetches from thousands of hosts: those that are done with are forgotten.
#[tokio::test]
async fn each_server_has_its_own_connections() {
    let origin = Arc::new(larder_origin::HyperOrigin::new(HyperOptions::default()).expect("valid options"));
    let servers = [Server::bind().await, Server::bind().await];
    for round in 0..2 {
        for server in &servers {
            let mut request = http::Request::new(Body::empty());
            *request.uri_mut() = format!("{}/", server.url()).parse().expect("a URI");
            let got = sending(&origin, request);
            let mut peer = server.accept().await;
            let head = peer.head().await.expect("a request");
            assert!(head.contains(server.url().trim_start_matches("http://")), "{round}: {head}");
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
            assert_eq!(content(got.await.expect("no panic")), "ok");
        }
    }
}

/// The task of a connection, on another thread, may learn of the end of a response after its
/// reader has. The next request then opens another one, which must stay an exception.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_turn_share_a_connection() {
    let server = Server::bind().await;
    let origin = with(&server.url(), |_| {});
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let mut peer = server.accept().await;
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                while peer.head().await.is_some() {
                    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
                        .await;
                }
            });
        }
    });
    for _ in 0..2000 {
        assert_eq!(content(fetch(&origin, get("/")).await), "ok");
    }
    let connections = connections.load(Ordering::SeqCst);
    assert!(connections <= 50, "{connections} connections for 2,000 requests");
}
