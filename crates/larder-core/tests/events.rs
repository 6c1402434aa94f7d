//! Tests what the observer of a cache receives.

mod setting;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Request;
use larder_core::{Body, Cache, CacheOutcome, Event, FetchError, Observer, Origin, OriginErrorKind};
use larder_memory::MemoryStore;
use larder_testkit::{Fault, FaultyStore, ManualClock, ManualOrigin};
use setting::{content, request};

/// Writes each event as one line, without its durations.
#[derive(Debug, Default)]
struct Lines(Mutex<Vec<String>>);

impl Observer for Lines {
    fn on_event(&self, event: &Event<'_>) {
        let line = match event {
            Event::Answered(it) => {
                format!("{} {} {} {}", it.method, it.key.target(), it.outcome, it.status.as_u16())
            }
            Event::Finished(it) => format!(
                "finished {}: {} bytes sent, {} from the origin{}",
                it.answered.key.target(),
                it.bytes_sent,
                it.bytes_from_origin,
                if it.complete { "" } else { ", incomplete" }
            ),
            Event::NotStored(it) => format!("{} not stored: {}", it.key.target(), it.reason.token()),
            Event::Stored(it) => format!("{} stored: {} bytes", it.key.target(), it.bytes),
            Event::BodyBroken(it) => format!("{} broken", it.key.target()),
            Event::StoreFailed(it) => format!("store failed: {}", it.step),
            _ => "unknown".to_owned(),
        };
        self.0.lock().expect("no panic").push(line.replace("http://example.com", ""));
    }
}

impl Lines {
    /// Returns the lines since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

/// Creates a cache with this observer.
fn observed(observer: &Arc<impl Observer>) -> (Cache, FaultyStore, ManualClock) {
    let (store, clock) = (FaultyStore::new(Arc::new(MemoryStore::default())), ManualClock::at(1_700_000_000));
    let cache = Cache::builder(Arc::new(store.clone()))
        .clock(Arc::new(clock.clone()))
        .observer(Arc::clone(observer) as _)
        .build();
    (cache, store, clock)
}

/// Sends a request in a task, and reads the response to its end.
fn send(
    cache: &Cache,
    origin: &Arc<ManualOrigin>,
    request: Request<Body>,
) -> tokio::task::JoinHandle<Result<usize, FetchError>> {
    let (cache, origin) = (cache.clone(), Arc::clone(origin) as Arc<dyn Origin>);
    tokio::spawn(async move {
        let response = cache.fetch(request, origin).await?;
        Ok(content(response).await.map_or(0, |content| content.len()))
    })
}

#[tokio::test]
async fn each_request_is_reported_with_its_outcome_and_bytes() {
    let lines = Arc::new(Lines::default());
    let (cache, store, clock) = observed(&lines);
    let (origin, mut requests) = ManualOrigin::new();
    let fields = [("cache-control", "max-age=60"), ("etag", "\"a\"")];

    let miss = send(&cache, &origin, request("GET", "/", &[]));
    requests.next().await.respond(200, &fields, b"hello");
    miss.await.expect("no panic").expect("a response");
    assert_eq!(
        lines.take(),
        ["/ stored: 5 bytes", "GET / miss 200", "finished /: 5 bytes sent, 5 from the origin"]
    );

    send(&cache, &origin, request("HEAD", "/", &[])).await.expect("no panic").expect("a response");
    assert_eq!(lines.take(), ["HEAD / hit 200", "finished /: 0 bytes sent, 0 from the origin"]);

    clock.advance(Duration::from_secs(70));
    let revalidated = send(&cache, &origin, request("GET", "/", &[]));
    requests.next().await.respond(304, &fields, b"");
    revalidated.await.expect("no panic").expect("a response");
    assert_eq!(lines.take(), ["GET / revalidated 200", "finished /: 5 bytes sent, 0 from the origin"]);

    let posted = send(&cache, &origin, request("POST", "/form", &[]));
    requests.next().await.respond(201, &[], b"ok");
    posted.await.expect("no panic").expect("a response");
    assert_eq!(
        lines.take(),
        [
            "/form not stored: method",
            "POST /form pass 201",
            "finished /form: 2 bytes sent, 2 from the origin"
        ]
    );

    let failed = send(&cache, &origin, request("GET", "/down", &[]));
    requests.next().await.fail(OriginErrorKind::Connect);
    failed.await.expect("no panic").expect_err("the origin failed");
    assert_eq!(lines.take(), ["GET /down failed 502"]);

    store.set(Fault::Down);
    let without_store = send(&cache, &origin, request("GET", "/", &[]));
    requests.next().await.respond(200, &fields, b"hello");
    without_store.await.expect("no panic").expect("a response");
    assert_eq!(
        lines.take(),
        [
            "store failed: lookup",
            "store failed: write",
            "GET / miss 200",
            "finished /: 5 bytes sent, 5 from the origin"
        ]
    );
}

/// A client that stops reading in the middle of a body received only a part of it, while the whole
/// body was stored.
#[tokio::test]
async fn a_client_that_stops_reading_is_reported_as_incomplete() {
    let lines = Arc::new(Lines::default());
    let (cache, ..) = observed(&lines);
    let (origin, mut requests) = ManualOrigin::new();
    let fetch = tokio::spawn({
        let (cache, origin) = (cache.clone(), Arc::clone(&origin) as Arc<dyn Origin>);
        async move { cache.fetch(request("GET", "/", &[]), origin).await }
    });
    let body = requests.next().await.respond_streaming(200, &[("cache-control", "max-age=60")], Some(10));
    let mut response = fetch.await.expect("no panic").expect("a response").into_body();
    assert!(body.chunk("hello").await);
    assert_eq!(response.chunk().await.expect("a chunk").expect("no error"), "hello");
    drop(response);
    assert!(body.chunk("world").await);
    body.end().await;
    assert!(cache.drain(Duration::from_secs(5)).await);
    assert_eq!(
        lines.take(),
        ["GET / miss 200", "finished /: 5 bytes sent, 5 from the origin, incomplete", "/ stored: 10 bytes"]
    );
}

/// The outcome of a request, and the durations of its lookup, the origin's head and the whole.
type Measured = (CacheOutcome, Duration, Option<Duration>, Duration);

/// Keeps the durations of each request.
#[derive(Debug, Default)]
struct Durations(Mutex<Vec<Measured>>);

impl Observer for Durations {
    fn on_event(&self, event: &Event<'_>) {
        if let Event::Finished(it) = event {
            let answered = it.answered;
            let durations = (answered.outcome, answered.lookup, answered.origin_head, it.whole);
            self.0.lock().expect("no panic").push(durations);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn durations_are_those_of_the_lookup_the_origin_and_the_whole() {
    let durations = Arc::new(Durations::default());
    let (cache, store, _) = observed(&durations);
    let (origin, mut requests) = ManualOrigin::new();
    let fetch = send(&cache, &origin, request("GET", "/", &[]));
    let received = requests.next().await;
    tokio::time::advance(Duration::from_secs(3)).await;
    let body = received.respond_streaming(200, &[("cache-control", "max-age=60")], None);
    assert!(body.chunk("hello").await);
    setting::settle().await;
    tokio::time::advance(Duration::from_secs(2)).await;
    body.end().await;
    fetch.await.expect("no panic").expect("a response");
    store.set(Fault::Slow(Duration::from_millis(100)));
    send(&cache, &origin, request("GET", "/", &[])).await.expect("no panic").expect("a hit");
    let secs = Duration::from_secs;
    let slow = Duration::from_millis(100);
    assert_eq!(
        *durations.0.lock().expect("no panic"),
        [(CacheOutcome::Miss, Duration::ZERO, Some(secs(3)), secs(5)), (CacheOutcome::Hit, slow, None, slow)]
    );
}
