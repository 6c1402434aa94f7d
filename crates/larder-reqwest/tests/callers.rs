//! Two callers on one fetch, of which one has a limit: in each order, the other one gets the whole
//! response.

use std::{
    io::Write as _,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use larder_core::CacheStore;
use larder_disk::{DiskOptions, DiskStore};
use larder_memory::MemoryStore;
use larder_reqwest::{CacheOutcome, CachedClient, Error, ErrorKind, RequestBuilder};
use larder_testkit::RawOrigin;
use tokio::sync::Notify;

/// How a caller stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Timeout,
    Cancelled,
    MaxBody,
}

/// When it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    BeforeHead,
    WithinBody,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    limit: Limit,
    phase: Phase,
    /// Whether the caller with the limit sends its request first.
    is_first: bool,
    /// Whether the length of the body is known before its end.
    has_length: bool,
    on_disk: bool,
}

/// The first part of the body, which is longer than what the engine reads ahead.
const BEGINNING: usize = 100_000;
const LENGTH: usize = 300_000;
/// Longer than the first part.
const MAX_BODY: u64 = 150_000;

/// A server that waits at both gates: before the head, and after the first part of the body.
struct Server {
    origin: RawOrigin,
    gates: Arc<(Mutex<[bool; 2]>, Condvar)>,
}

impl Server {
    fn start(has_length: bool) -> Self {
        let gates: Arc<(Mutex<[bool; 2]>, Condvar)> = Arc::default();
        let open = Arc::clone(&gates);
        let origin = RawOrigin::start(move |_, stream| {
            let wait = |gate: usize| {
                drop(
                    open.1
                        .wait_while(open.0.lock().expect("no panic"), |open| !open[gate])
                        .expect("no panic"),
                );
            };
            wait(0);
            let framing =
                if has_length { format!("content-length: {LENGTH}") } else { "connection: close".to_owned() };
            let head = format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n{framing}\r\n\r\n");
            let begun = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&[b'x'; BEGINNING]));
            wait(1);
            begun.is_ok() && stream.write_all(&[b'x'; LENGTH - BEGINNING]).is_ok() && has_length
        });
        Self { origin, gates }
    }

    fn open(&self, gate: usize) {
        self.gates.0.lock().expect("no panic")[gate] = true;
        self.gates.1.notify_all();
    }

    /// Waits until this many requests have arrived.
    async fn received(&self, count: usize) {
        while self.origin.heads().len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Sends a request and reads its first part. Then it notifies the test, and reads the rest.
async fn call(request: RequestBuilder, begun: Arc<Notify>) -> Result<usize, Error> {
    let result = read(request, &begun).await;
    // Also if there is no first part.
    begun.notify_one();
    result
}

async fn read(request: RequestBuilder, begun: &Notify) -> Result<usize, Error> {
    let mut response = request.send().await?;
    let mut length = 0;
    while let Some(chunk) = response.chunk().await? {
        length += chunk.len();
        if length >= BEGINNING {
            begun.notify_one();
        }
    }
    Ok(length)
}

async fn check(case: Case) {
    let folder = tempfile::tempdir().expect("a folder");
    let store: Arc<dyn CacheStore> = if case.on_disk {
        Arc::new(DiskStore::open(folder.path(), DiskOptions::default()).expect("a store"))
    } else {
        Arc::new(MemoryStore::default())
    };
    let client = CachedClient::builder().no_proxy().store(store).build().expect("a client");
    let server = Server::start(case.has_length);
    let request = || client.get(server.origin.url());
    let limited = match (case.limit, case.phase) {
        (Limit::Timeout, Phase::BeforeHead) => request().timeout(Duration::from_millis(300)),
        (Limit::Timeout, Phase::WithinBody) => request().timeout(Duration::from_secs(3)),
        (Limit::Cancelled, _) => request(),
        (Limit::MaxBody, _) => request().max_body(MAX_BODY),
    };
    let begun = [Arc::new(Notify::new()), Arc::new(Notify::new())];
    let spawn = |request, index: usize| tokio::spawn(call(request, Arc::clone(&begun[index])));
    let (limited, other) = if case.is_first {
        let limited = spawn(limited, 0);
        server.received(1).await;
        (limited, spawn(request(), 1))
    } else {
        let other = spawn(request(), 1);
        server.received(1).await;
        (spawn(limited, 0), other)
    };
    if case.phase == Phase::WithinBody {
        server.open(0);
        begun[1].notified().await;
        begun[0].notified().await;
    } else {
        // Until both wait for the head. Otherwise the second one leads: also correct.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    match case.limit {
        Limit::Timeout => {
            let error = limited.await.expect("no panic").expect_err("a timeout");
            assert_eq!(error.kind(), ErrorKind::Timeout, "{case:?}: {error}");
        }
        Limit::Cancelled => {
            limited.abort();
            assert!(limited.await.expect_err("cancelled").is_cancelled());
        }
        Limit::MaxBody => {
            server.open(0);
            server.open(1);
            let error = limited.await.expect("no panic").expect_err("too long");
            assert_eq!(error.kind(), ErrorKind::BodyTooLarge(MAX_BODY), "{case:?}: {error}");
        }
    }
    server.open(0);
    server.open(1);
    let length = other.await.expect("no panic").unwrap_or_else(|error| panic!("{case:?}: {error}"));
    assert_eq!(length, LENGTH, "{case:?}");
    let requests = server.origin.heads().len();
    let repeats = case.is_first && (case.phase == Phase::BeforeHead || case.limit == Limit::MaxBody);
    assert!(requests == 1 || repeats && requests == 2, "{case:?}: {requests} requests");
    assert!(client.cache().drain(Duration::from_secs(60)).await, "{case:?}: a fill is still running");
    let again = client.get(server.origin.url()).send().await.expect("a response");
    // That of the first caller, which is the one that stores, may not have been for all.
    if !(case.is_first && case.limit == Limit::MaxBody && !case.has_length) {
        assert_eq!(again.outcome(), CacheOutcome::Hit, "{case:?}");
    }
    assert_eq!(again.bytes().await.expect("a body").len(), LENGTH, "{case:?}");
}

async fn check_all(limit: Limit) {
    let mut cases = Vec::new();
    for phase in [Phase::BeforeHead, Phase::WithinBody] {
        for is_first in [true, false] {
            for has_length in [true, false] {
                for on_disk in [false, true] {
                    let case = Case { limit, phase, is_first, has_length, on_disk };
                    let checked = tokio::time::timeout(Duration::from_secs(120), check(case));
                    cases.push(async move { checked.await.unwrap_or_else(|_| panic!("{case:?} hangs")) });
                }
            }
        }
    }
    futures_util::future::join_all(cases).await;
}

#[tokio::test]
async fn a_timeout_is_its_callers() {
    check_all(Limit::Timeout).await;
}

#[tokio::test]
async fn a_cancelled_caller_is_the_only_one() {
    check_all(Limit::Cancelled).await;
}

#[tokio::test]
async fn the_limit_of_a_body_is_its_callers() {
    check_all(Limit::MaxBody).await;
}
