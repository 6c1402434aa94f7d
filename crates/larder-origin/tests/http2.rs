//! HTTP/2: several exchanges on one connection, and those that the origin declines.

mod setting;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use larder_core::{Body, OriginErrorKind};
use setting::{Server, content, fetch, get, kind, request, sending, settle, with};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
};

/// A server over HTTP/2 that responds when the test allows it, and counts its connections and the
/// exchanges of each.
#[derive(Clone)]
struct Http2 {
    connections: Arc<AtomicUsize>,
    most_streams: Arc<AtomicUsize>,
    answers: Arc<Semaphore>,
}

impl Http2 {
    /// Starts the server. Each connection allows `streams` exchanges at a time.
    async fn start(streams: u32) -> (Self, String) {
        let server = Server::bind().await;
        let url = server.url();
        let this = Self {
            connections: Arc::default(),
            most_streams: Arc::default(),
            answers: Arc::new(Semaphore::new(0)),
        };
        let state = this.clone();
        tokio::spawn(async move {
            loop {
                let stream = TokioIo::new(server.accept().await.0);
                state.connections.fetch_add(1, Ordering::SeqCst);
                let (open, state) = (Arc::new(AtomicUsize::new(0)), state.clone());
                let service = service_fn(move |_: http::Request<Incoming>| {
                    let (open, state) = (Arc::clone(&open), state.clone());
                    async move {
                        state
                            .most_streams
                            .fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        state.answers.acquire().await.expect("open").forget();
                        open.fetch_sub(1, Ordering::SeqCst);
                        Ok::<_, Infallible>(http::Response::new(Full::<Bytes>::from("ok")))
                    }
                });
                let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                builder.max_concurrent_streams(streams);
                tokio::spawn(builder.serve_connection(stream, service));
            }
        });
        (this, url)
    }
}

#[tokio::test]
async fn one_connection_of_http2_serves_all() {
    let (server, url) = Http2::start(100).await;
    let origin = with(&url, |options| options.http2_only = true);
    let all: Vec<_> = (0..50).map(|_| sending(&origin, get("/"))).collect();
    server.answers.add_permits(50);
    for got in all {
        assert_eq!(content(got.await.expect("no panic")), "ok");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_full_connection_of_http2_gets_company() {
    let (server, url) = Http2::start(4).await;
    let origin = with(&url, |options| options.http2_only = true);
    // With the first response arrive the settings: how many streams the origin allows.
    server.answers.add_permits(1);
    assert_eq!(content(fetch(&origin, get("/")).await), "ok");
    let all: Vec<_> = (0..12).map(|_| sending(&origin, get("/"))).collect();
    while server.connections.load(Ordering::SeqCst) < 3 {
        settle().await;
    }
    server.answers.add_permits(12);
    for got in all {
        assert_eq!(content(got.await.expect("no panic")), "ok");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 3, "12 exchanges, 4 on each");
    assert_eq!(server.most_streams.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn connections_of_http2_are_limited_too() {
    let (server, url) = Http2::start(2).await;
    let origin = with(&url, |options| (options.http2_only, options.max_connections) = (true, 2));
    server.answers.add_permits(1);
    assert_eq!(content(fetch(&origin, get("/")).await), "ok");
    let all: Vec<_> = (0..20).map(|_| sending(&origin, get("/"))).collect();
    server.answers.add_permits(20);
    for got in all {
        assert_eq!(content(got.await.expect("no panic")), "ok");
    }
    assert!(server.connections.load(Ordering::SeqCst) <= 2);
}

/// Clients that give up must not leave streams behind that count.
#[tokio::test]
async fn cancelled_exchanges_of_http2_leave_room() {
    let (server, url) = Http2::start(2).await;
    let origin = with(&url, |options| (options.http2_only, options.max_connections) = (true, 1));
    for _ in 0..20 {
        let got = sending(&origin, get("/"));
        settle().await;
        got.abort();
        assert!(got.await.is_err());
    }
    server.answers.add_permits(100);
    assert_eq!(content(fetch(&origin, get("/")).await), "ok");
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

/// How an origin over HTTP/2 declines a request that it has not processed.
#[derive(Debug, Clone, Copy)]
enum Declining {
    RefusedStream,
    GoAway,
}

/// Serves HTTP/2 with raw frames: the first request of each connection gets a 200, and the first
/// connection declines the second one. Returns the number of requests that were answered.
async fn serve_declining(server: Server, declining: Declining) -> Arc<AtomicUsize> {
    let answered = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&answered);
    tokio::spawn(async move {
        let mut is_first = true;
        loop {
            let stream = server.accept().await.0;
            tokio::spawn(decline(stream, is_first.then_some(declining), Arc::clone(&counted)));
            is_first = false;
        }
    });
    answered
}

async fn decline(
    mut stream: TcpStream,
    declining: Option<Declining>,
    answered: Arc<AtomicUsize>,
) -> Option<()> {
    fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(id.to_be_bytes());
        frame.extend(payload);
        frame
    }
    stream.read_exact(&mut [0; 24]).await.ok()?;
    stream.write_all(&frame(4, 0, 0, &[])).await.ok()?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await.ok()?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let answer = match (head[3], declining) {
            (4, _) if head[4] & 1 == 0 => frame(4, 1, 0, &[]),
            (1, Some(Declining::RefusedStream)) if id > 1 => frame(3, 0, id, &7_u32.to_be_bytes()),
            (1, Some(Declining::GoAway)) if id > 1 => frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
            // Field 8 of the static table is `:status: 200` (RFC 7541, appendix A).
            (1, _) => {
                answered.fetch_add(1, Ordering::SeqCst);
                frame(1, 5, id, &[0x88])
            }
            _ => continue,
        };
        stream.write_all(&answer).await.ok()?;
    }
}

/// The client got 502, although the origin had stated that it did not process the request.
#[tokio::test]
async fn a_request_that_the_origin_did_not_process_is_sent_again() {
    for declining in [Declining::GoAway, Declining::RefusedStream] {
        let server = Server::bind().await;
        let origin = with(&server.url(), |options| options.http2_only = true);
        let answered = serve_declining(server, declining).await;
        assert_eq!(content(fetch(&origin, get("/")).await), "");
        let post = fetch(&origin, request("POST", "/", Body::from("content"))).await;
        match declining {
            Declining::GoAway => {
                assert_eq!(content(post), "");
                assert_eq!(answered.load(Ordering::SeqCst), 2);
            }
            // Refused again, on the same connection: the origin is full.
            Declining::RefusedStream => assert_eq!(kind(post), OriginErrorKind::Protocol),
        }
    }
}

/// One of the two connections was never opened.
#[tokio::test]
async fn as_many_connections_of_http2_are_opened_as_allowed() {
    let (server, url) = Http2::start(1).await;
    let origin = with(&url, |options| {
        (options.http2_only, options.max_connections, options.max_waiting) = (true, 3, 2);
    });
    server.answers.add_permits(1);
    assert_eq!(content(fetch(&origin, get("/")).await), "ok");
    let mut all: Vec<_> = (0..3).map(|_| sending(&origin, get("/"))).collect();
    while server.connections.load(Ordering::SeqCst) < 3 {
        settle().await;
    }
    // Two wait, and a third one would be too many.
    all.extend((0..2).map(|_| sending(&origin, get("/"))));
    settle().await;
    assert_eq!(kind(fetch(&origin, get("/")).await), OriginErrorKind::Busy);
    server.answers.add_permits(5);
    for got in all {
        assert_eq!(content(got.await.expect("no panic")), "ok");
    }
}
