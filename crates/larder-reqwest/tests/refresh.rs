//! Pages fetched again on time: what the origin sees, and what is told.
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
    CacheOutcome, CachedClient, CachedClientBuilder, Events, RefreshOutcome, Refresher, Schedule,
};
use larder_testkit::RawOrigin;
use parking_lot::Mutex;
use tokio::time::Instant;

const OFTEN: Duration = Duration::from_millis(120);

fn builder() -> CachedClientBuilder {
    CachedClient::builder().no_proxy().timeout(Duration::from_secs(10))
}

fn start(client: &CachedClient) -> (Refresher, Events) {
    client.refresher().start()
}

async fn next(events: &mut Events) -> RefreshOutcome {
    let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
    event.expect("in time").expect("there are more").outcome
}

/// Has one version of a page; a request that knows it is told so.
#[derive(Clone, Default)]
struct Versions {
    now: Arc<AtomicUsize>,
    bodies: Arc<AtomicUsize>,
}

fn versions(fields: &'static str) -> (RawOrigin, Versions) {
    let versions = Versions::default();
    let it = versions.clone();
    let origin = RawOrigin::start(move |head, stream| {
        let tag = format!("\"{}\"", it.now.load(Ordering::SeqCst));
        if head.contains(&format!("if-none-match: {tag}")) {
            return write!(stream, "HTTP/1.1 304 Not Modified\r\netag: {tag}\r\n{fields}\r\n").is_ok();
        }
        it.bodies.fetch_add(1, Ordering::SeqCst);
        let length = tag.len();
        write!(stream, "HTTP/1.1 200 OK\r\netag: {tag}\r\n{fields}content-length: {length}\r\n\r\n{tag}")
            .is_ok()
    });
    (origin, versions)
}

#[tokio::test]
async fn an_unchanged_page_costs_no_body() {
    let (origin, versions) = versions("cache-control: max-age=60\r\n");
    let client = builder().build().expect("a client");
    let (refresher, mut events) = start(&client);
    refresher.add(origin.url(), Schedule::every(OFTEN)).expect("a URL");
    assert!(matches!(next(&mut events).await, RefreshOutcome::Changed { before: None, .. }));
    for _ in 0..3 {
        assert!(matches!(next(&mut events).await, RefreshOutcome::Unchanged));
    }
    assert_eq!(versions.bodies.load(Ordering::SeqCst), 1);
    versions.now.store(1, Ordering::SeqCst);
    let changed = loop {
        if let RefreshOutcome::Changed { before, now } = next(&mut events).await {
            break (before.and_then(|before| before.etag), now.etag);
        }
    };
    assert_eq!(changed, (Some("\"0\"".parse().unwrap()), Some("\"1\"".parse().unwrap())));
    let page = client.get(origin.url()).send().await.expect("an answer");
    assert_eq!((page.outcome(), page.text().await.expect("whole")), (CacheOutcome::Hit, "\"1\"".to_owned()));
    refresher.remove(origin.url()).expect("a URL");
    refresher.stop().await;
    while events.next().await.is_some() {}
}

/// No validators: the content is compared.
#[tokio::test]
async fn a_page_without_validators_is_compared() {
    let content = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&content);
    let origin = RawOrigin::start(move |_, stream| {
        let text = now.load(Ordering::SeqCst);
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{text}").is_ok()
    });
    let client = builder().build().expect("a client");
    let (refresher, mut events) = start(&client);
    refresher.add(origin.url(), Schedule::every(OFTEN)).expect("a URL");
    assert!(matches!(next(&mut events).await, RefreshOutcome::Changed { before: None, .. }));
    assert!(matches!(next(&mut events).await, RefreshOutcome::Unchanged));
    content.store(1, Ordering::SeqCst);
    while !matches!(next(&mut events).await, RefreshOutcome::Changed { before: Some(_), .. }) {}
}

/// The second one to come finds what the first has fetched.
#[tokio::test]
async fn of_a_fleet_one_refreshes() {
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
    // Those that began at the same instant did so before anything was stored: they were collapsed only within themselves.
    let begun = origin.heads().len();
    assert!(begun <= 3);
    for (refresher, events) in &mut fleet {
        refresher.add(origin.url(), Schedule::every(Duration::from_secs(30))).expect("a URL");
        next(events).await;
    }
    assert_eq!(origin.heads().len(), begun, "what is younger than a round is not asked for");
}

#[tokio::test]
async fn before_it_goes_stale() {
    let (origin, versions) = versions("cache-control: max-age=2\r\n");
    let client = builder().build().expect("a client");
    let (refresher, mut events) = start(&client);
    refresher.add(origin.url(), Schedule::before_stale(Duration::from_millis(1900))).expect("a URL");
    assert!(matches!(next(&mut events).await, RefreshOutcome::Changed { .. }));
    assert!(matches!(next(&mut events).await, RefreshOutcome::Unchanged));
    assert_eq!(versions.bodies.load(Ordering::SeqCst), 1);
    let page = client.get(origin.url()).send().await.expect("an answer");
    assert_eq!(page.outcome(), CacheOutcome::Hit, "nobody finds it stale");
}

#[tokio::test]
async fn failures_are_told_and_left_alone() {
    let asked: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let noting = Arc::clone(&asked);
    let origin = RawOrigin::start(move |_, stream| {
        let times = {
            let mut asked = noting.lock();
            asked.push(Instant::now());
            asked.len()
        };
        let head = match times {
            1 => "429 Too Many Requests\r\nretry-after: 1",
            // The client itself asks once more.
            2 | 3 => return false,
            _ => "200 OK",
        };
        write!(stream, "HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n").is_ok()
    });
    let client = builder().build().expect("a client");
    let (refresher, mut events) = start(&client);
    refresher.add(origin.url(), Schedule::every(OFTEN)).expect("a URL");
    assert!(matches!(next(&mut events).await, RefreshOutcome::ErrorStatus(status) if status == 429));
    assert!(matches!(next(&mut events).await, RefreshOutcome::Failed(_)));
    let left_alone = {
        let asked = asked.lock();
        asked[1] - asked[0]
    };
    assert!(left_alone >= Duration::from_secs(1), "for as long as it asks to be: {left_alone:?}");
    assert!(matches!(next(&mut events).await, RefreshOutcome::Changed { .. }));
}

/// A slow page is not asked for again while it is on its way, and what was missed is not made up for.
#[tokio::test]
async fn missed_ticks_do_not_pile_up() {
    let origin = RawOrigin::start(|_, stream| {
        std::thread::sleep(OFTEN * 5);
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_ok()
    });
    let client = builder().build().expect("a client");
    let (refresher, mut events) = start(&client);
    refresher.add(origin.url(), Schedule::every(OFTEN)).expect("a URL");
    let begun = Instant::now();
    for _ in 0..3 {
        next(&mut events).await;
    }
    assert!(begun.elapsed() >= OFTEN * 15, "three runs, one after the other");
    assert!(origin.heads().len() <= 4);
    // With a run on its way, and nobody who reads on: it ends all the same.
    refresher.stop().await;
    assert!(events.next().await.is_none_or(|event| event.url.as_str().starts_with(&origin.url())));
}

#[tokio::test]
async fn nobody_reads_and_nothing_hangs() {
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
