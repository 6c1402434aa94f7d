//! Scheduled refresh: the requests that the origin gets, and the events.
#![cfg(feature = "refresh")]

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use larder_memory::MemoryStore;
use larder_reqwest::{
    CacheOutcome, CachedClient, CachedClientBuilder, RefreshEvents, RefreshOutcome, Refresher, Schedule,
};
use larder_testkit::RawOrigin;
use parking_lot::Mutex;
use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_millis(120);

fn builder() -> CachedClientBuilder {
    CachedClient::builder().no_proxy().timeout(Duration::from_secs(10))
}

fn start(client: &CachedClient) -> (Refresher, RefreshEvents) {
    client.refresher().start()
}

async fn next(events: &mut RefreshEvents) -> RefreshOutcome {
    let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
    event.expect("an event in time").expect("another event").outcome
}

/// The version of a page, and the number of bodies sent.
#[derive(Clone, Default)]
struct Versions {
    current: Arc<AtomicUsize>,
    bodies: Arc<AtomicUsize>,
}

/// Starts a server with a versioned page, and 304 for requests with the current version.
fn versions(headers: &'static str) -> (RawOrigin, Versions) {
    let versions = Versions::default();
    let counting = versions.clone();
    let origin = RawOrigin::start(move |head, stream| {
        let tag = format!("\"{}\"", counting.current.load(Ordering::SeqCst));
        if head.contains(&format!("if-none-match: {tag}")) {
            return write!(stream, "HTTP/1.1 304 Not Modified\r\netag: {tag}\r\n{headers}\r\n").is_ok();
        }
        counting.bodies.fetch_add(1, Ordering::SeqCst);
        let length = tag.len();
        write!(stream, "HTTP/1.1 200 OK\r\netag: {tag}\r\n{headers}content-length: {length}\r\n\r\n{tag}")
            .is_ok()
    });
    (origin, versions)
}

#[tokio::test]
async fn an_unchanged_page_is_not_transferred_again() {
    let (origin, versions) = versions("cache-control: max-age=60\r\n");
    let client = builder().build().expect("a client");
    let (refresher, mut events) = start(&client);
    refresher.add(origin.url(), Schedule::every(INTERVAL)).expect("a URL");
    assert!(matches!(next(&mut events).await, RefreshOutcome::Changed { before: None, .. }));
    for _ in 0..3 {
        assert!(matches!(next(&mut events).await, RefreshOutcome::Unchanged));
    }
    assert_eq!(versions.bodies.load(Ordering::SeqCst), 1);
    versions.current.store(1, Ordering::SeqCst);
    let changed = loop {
        if let RefreshOutcome::Changed { before, now } = next(&mut events).await {
            break (before.and_then(|before| before.etag), now.etag);
        }
    };
    assert_eq!(changed, (Some("\"0\"".parse().unwrap()), Some("\"1\"".parse().unwrap())));
    let page = client.get(origin.url()).send().await.expect("a response");
    assert_eq!(
        (page.outcome(), page.text().await.expect("a complete body")),
        (CacheOutcome::Hit, "\"1\"".to_owned())
    );
    refresher.remove(origin.url()).expect("a URL");
    refresher.stop().await;
    while events.next().await.is_some() {}
}

/// Without validators, the content is compared.
#[tokio::test]
async fn a_page_without_validators_is_compared_by_content() {
    let content = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&content);
    let origin = RawOrigin::start(move |_, stream| {
        let text = now.load(Ordering::SeqCst);
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{text}").is_ok()
    });
    let client = builder().build().expect("a client");
    let (refresher, mut events) = start(&client);
    refresher.add(origin.url(), Schedule::every(INTERVAL)).expect("a URL");
    assert!(matches!(next(&mut events).await, RefreshOutcome::Changed { before: None, .. }));
    assert!(matches!(next(&mut events).await, RefreshOutcome::Unchanged));
    content.store(1, Ordering::SeqCst);
    while !matches!(next(&mut events).await, RefreshOutcome::Changed { before: Some(_), .. }) {}
}

/// A process finds the response that another process has just fetched.
#[tokio::test]
async fn processes_with_one_store_fetch_each_page_once() {
    let (origin, _) = versions("cache-control: max-age=60\r\n");
    let store = Arc::new(MemoryStore::default());
    let mut fleet = Vec::new();
    for _ in 0..3 {
        let client = builder().store(Arc::clone(&store) as _).partition("fleet").build().expect("a client");
        let (refresher, events) = start(&client);
        refresher.add(origin.url(), Schedule::every(Duration::from_secs(30))).expect("a URL");
        fleet.push((refresher, events));
    }
    for (_, events) in &mut fleet {
        assert!(matches!(next(events).await, RefreshOutcome::Changed { .. }));
    }
    // Clients that started at the same instant found nothing stored, and requests are collapsed
    // only within one client.
    let first_round = origin.heads().len();
    assert!(first_round <= 3);
    for (refresher, events) in &mut fleet {
        refresher.add(origin.url(), Schedule::every(Duration::from_secs(30))).expect("a URL");
        next(events).await;
    }
    assert_eq!(origin.heads().len(), first_round, "a response younger than a round is not fetched again");
}

#[tokio::test]
async fn a_page_is_refreshed_before_it_is_stale() {
    let (origin, versions) = versions("cache-control: max-age=2\r\n");
    let client = builder().build().expect("a client");
    let (refresher, mut events) = start(&client);
    refresher.add(origin.url(), Schedule::before_stale(Duration::from_millis(1900))).expect("a URL");
    assert!(matches!(next(&mut events).await, RefreshOutcome::Changed { .. }));
    assert!(matches!(next(&mut events).await, RefreshOutcome::Unchanged));
    assert_eq!(versions.bodies.load(Ordering::SeqCst), 1);
    let page = client.get(origin.url()).send().await.expect("a response");
    assert_eq!(page.outcome(), CacheOutcome::Hit, "no request finds it stale");
}

#[tokio::test]
async fn failures_are_reported_and_followed_by_pauses() {
    let requests: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let recording = Arc::clone(&requests);
    let origin = RawOrigin::start(move |_, stream| {
        let count = {
            let mut requests = recording.lock();
            requests.push(Instant::now());
            requests.len()
        };
        let head = match count {
            1 => "429 Too Many Requests\r\nretry-after: 1",
            // The client itself repeats the request once.
            2 | 3 => return false,
            _ => "200 OK",
        };
        write!(stream, "HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n").is_ok()
    });
    let client = builder().build().expect("a client");
    let (refresher, mut events) = start(&client);
    refresher.add(origin.url(), Schedule::every(INTERVAL)).expect("a URL");
    assert!(matches!(next(&mut events).await, RefreshOutcome::ErrorStatus(status) if status == 429));
    assert!(matches!(next(&mut events).await, RefreshOutcome::Failed(_)));
    let pause = {
        let requests = requests.lock();
        requests[1] - requests[0]
    };
    assert!(pause >= Duration::from_secs(1), "Retry-After of one second: {pause:?}");
    assert!(matches!(next(&mut events).await, RefreshOutcome::Changed { .. }));
}

/// A slow page is not requested again while a run is in progress, and missed runs are skipped.
#[tokio::test]
async fn missed_runs_are_skipped() {
    let origin = RawOrigin::start(|_, stream| {
        std::thread::sleep(INTERVAL * 5);
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_ok()
    });
    let client = builder().build().expect("a client");
    let (refresher, mut events) = start(&client);
    refresher.add(origin.url(), Schedule::every(INTERVAL)).expect("a URL");
    let start_time = Instant::now();
    for _ in 0..3 {
        next(&mut events).await;
    }
    assert!(start_time.elapsed() >= INTERVAL * 15, "three runs, one after the other");
    assert!(origin.heads().len() <= 4);
    // With a run in progress and unread events, it stops nevertheless.
    refresher.stop().await;
    assert!(events.next().await.is_none_or(|event| event.url.as_str().starts_with(&origin.url())));
}

#[tokio::test]
async fn unread_events_do_not_block_stopping() {
    let (origin, _) = versions("cache-control: max-age=60\r\n");
    let client = builder().build().expect("a client");
    let (refresher, events) = start(&client);
    for n in 0..3000 {
        refresher
            .add(format!("{}/{n}", origin.url()), Schedule::every(Duration::from_secs(3600)))
            .expect("a URL");
    }
    while origin.heads().len() < 1000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    refresher.stop().await;
    drop(events);
}
