//! Scheduled refresh: what servers state about lifetimes and pauses, what they get wrong, and
//! several processes on one store.
#![cfg(feature = "refresh")]

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::StreamExt as _;
use larder_core::{CacheStore, EntryId, StoreError, StoreWriter};
use larder_disk::{DiskOptions, DiskStore};
use larder_reqwest::{
    CachedClient, CachedClientBuilder, RefreshEvent, RefreshEvents, RefreshOutcome, RefreshReason, Schedule,
};
use larder_testkit::{DelegatingStore, RawOrigin, StoreDelegate};
use parking_lot::Mutex;
use tokio::time::Instant;

const SHORT: Duration = Duration::from_millis(100);

fn builder() -> CachedClientBuilder {
    CachedClient::builder().no_proxy().timeout(Duration::from_secs(10))
}

async fn next(events: &mut RefreshEvents) -> RefreshEvent {
    let event = tokio::time::timeout(Duration::from_secs(30), events.next()).await;
    event.expect("an event in time").expect("another event")
}

/// Starts a server that answers request number n, from 0, with what `respond` returns: the status
/// line with headers, and the body.
fn server(respond: impl Fn(usize, &str) -> (String, String) + Send + Sync + 'static) -> RawOrigin {
    let requests = AtomicUsize::new(0);
    RawOrigin::start(move |head, stream| {
        let (head, body) = respond(requests.fetch_add(1, Ordering::SeqCst), head);
        let length = if head.starts_with("304") {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        write!(stream, "HTTP/1.1 {head}\r\n{length}\r\n{body}").is_ok()
    })
}

/// Opens a store as a process of its own does.
fn open(folder: &tempfile::TempDir) -> CachedClient {
    let store = DiskStore::open(folder.path().join("cache"), DiskOptions::default()).expect("a store");
    builder().store(Arc::new(store)).partition("fleet").build().expect("a client")
}

/// Returns how long it is until the next run of the page of an event.
#[expect(clippy::disallowed_methods, reason = "compares with a time of the wall clock")]
fn until_next(event: &RefreshEvent) -> Duration {
    event.next.expect("a next run").duration_since(SystemTime::now()).unwrap_or_default()
}

/// A page with `max-age=5` was fetched after a minute: its lifetime was looked up before it was
/// stored. One with `max-age=1` was fetched ten times a second.
#[tokio::test]
async fn the_lifetime_is_that_of_the_response_and_has_a_floor() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = open(&folder);
    for (headers, expected) in [
        ("cache-control: max-age=10", 2..=9),
        ("cache-control: max-age=1000\r\nage: 990", 2..=9),
        ("cache-control: max-age=1", 0..=1),
        ("cache-control: no-store", 50..=60),
        ("x-no: lifetime", 50..=60),
    ] {
        let origin = server(move |_, _| (format!("200 OK\r\n{headers}"), "page".repeat(1000)));
        let (refresher, mut events) = client.refresher().start();
        refresher.add(origin.url(), Schedule::before_stale(Duration::from_secs(1))).expect("a URL");
        let event = next(&mut events).await;
        let wait = until_next(&event);
        assert!(expected.contains(&wait.as_secs()), "{headers}: {wait:?}");
        if headers.ends_with("max-age=1") {
            let start = Instant::now();
            for _ in 0..2 {
                next(&mut events).await;
            }
            assert!(start.elapsed() >= Duration::from_millis(1500), "a floor of one second");
        }
        refresher.stop().await;
    }
}

/// With `--every 1s`, each of three processes requested the page in each round.
#[tokio::test(flavor = "multi_thread")]
async fn processes_on_one_store_fetch_once_in_each_round() {
    for headers in [
        "x-no: lifetime",
        "cache-control: max-age=0",
        "cache-control: no-cache\r\netag: \"1\"",
        "cache-control: max-age=600",
        "cache-control: max-age=600\r\nage: 300",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let origin = server(move |n, head| {
            let status = if head.contains("if-none-match") { "304 Not Modified" } else { "200 OK" };
            (
                format!("{status}\r\n{headers}"),
                if status.starts_with("304") { String::new() } else { format!("page {}", n / 100) },
            )
        });
        let interval = Duration::from_secs(1);
        let start = Instant::now();
        let mut fleet = Vec::new();
        for _ in 0..3 {
            let (refresher, events) = open(&folder).refresher().start();
            refresher.add(origin.url(), Schedule::every(interval)).expect("a URL");
            fleet.push((refresher, events));
        }
        let mut elsewhere = 0;
        for round in 0..4 {
            for (_, events) in &mut fleet {
                let event = next(events).await;
                let is_known = matches!(
                    event.outcome,
                    RefreshOutcome::Unchanged | RefreshOutcome::Changed { before: None, .. }
                );
                assert!(is_known, "{headers}, round {round}: {event:?}");
                elsewhere += usize::from(event.reason == RefreshReason::Elsewhere);
            }
        }
        let (requests, rounds) = (origin.heads().len(), start.elapsed().as_secs_f64().ceil() as usize);
        assert!(requests <= rounds + 1, "{headers}: {requests} requests in {rounds} rounds");
        assert!(elsewhere >= 4, "{headers}: {elsewhere} of 12 events from another process");
        for (refresher, _) in fleet {
            refresher.stop().await;
        }
    }
}

/// A disk store that takes a while to commit.
#[derive(Debug)]
struct SlowCommits(DiskStore);

#[async_trait::async_trait]
impl StoreDelegate for SlowCommits {
    fn inner(&self) -> &dyn CacheStore {
        &self.0
    }

    async fn commit(&self, writer: Box<dyn StoreWriter>) -> Result<EntryId, StoreError> {
        tokio::time::sleep(Duration::from_millis(400)).await;
        writer.commit().await
    }
}

/// A process gave up its turn before the response was stored, and the next one found nothing. After
/// a redirect, which is no result for others, it waited a second for what did not come.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_lasts_until_the_response_is_stored() {
    let folder = tempfile::tempdir().expect("a folder");
    let origin = server(|_, head| match head.starts_with("GET /moved ") {
        true => ("302 Found\r\nlocation: /page".to_owned(), String::new()),
        false => ("200 OK\r\ncache-control: max-age=600".to_owned(), "page".to_owned()),
    });
    let open = || {
        let store = DiskStore::open(folder.path().join("cache"), DiskOptions::default()).expect("a store");
        let store = DelegatingStore::new(SlowCommits(store));
        builder().store(Arc::new(store)).partition("fleet").build().expect("a client")
    };
    let mut fleet = Vec::new();
    for _ in 0..3 {
        let (refresher, events) = open().refresher().start();
        refresher.add(origin.url(), Schedule::every(Duration::from_secs(600))).expect("a URL");
        fleet.push((refresher, events));
    }
    for (_, events) in &mut fleet {
        next(events).await;
    }
    assert_eq!(origin.heads().len(), 1);
    let (refresher, events) = &mut fleet[0];
    let start = Instant::now();
    refresher
        .add(format!("{}/moved", origin.url()), Schedule::every(Duration::from_secs(600)))
        .expect("a URL");
    next(events).await;
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
}

/// A process that dies is replaced by the others.
#[tokio::test(flavor = "multi_thread")]
async fn another_process_continues() {
    let folder = tempfile::tempdir().expect("a folder");
    let origin = server(|n, _| ("200 OK\r\ncache-control: max-age=0".to_owned(), format!("{n}")));
    let (first, mut of_first) = open(&folder).refresher().start();
    first.add(origin.url(), Schedule::every(Duration::from_millis(400))).expect("a URL");
    next(&mut of_first).await;
    let (second, mut of_second) = open(&folder).refresher().start();
    second.add(origin.url(), Schedule::every(Duration::from_millis(400))).expect("a URL");
    next(&mut of_second).await;
    drop(first);
    let before = origin.heads().len();
    while origin.heads().len() < before + 3 {
        next(&mut of_second).await;
    }
    second.stop().await;
}

/// A page that may not be stored was fetched a second time to be read.
#[tokio::test]
async fn events_carry_the_response() {
    let origin =
        server(|n, _| ("200 OK\r\ncache-control: no-store".to_owned(), format!("version {}", n / 2)));
    let client = builder().build().expect("a client");
    let (refresher, mut events) = client.refresher().start();
    refresher.add(origin.url(), Schedule::every(SHORT)).expect("a URL");
    let mut texts = Vec::new();
    for _ in 0..4 {
        let event = next(&mut events).await;
        assert_eq!(event.reason, RefreshReason::Content);
        let is_changed = matches!(event.outcome, RefreshOutcome::Changed { .. });
        assert_eq!(is_changed, event.response.is_some(), "{event:?}");
        if let Some(response) = event.response {
            texts.push(response.text().await.expect("a body"));
        }
    }
    refresher.stop().await;
    assert_eq!(texts, ["version 0", "version 1"]);
    // Longer bodies than the limit are not kept.
    let (refresher, mut events) = client.refresher().max_body(5).start();
    refresher.add(format!("{}/long", origin.url()), Schedule::every(SHORT)).expect("a URL");
    let event = next(&mut events).await;
    assert!(matches!(event.outcome, RefreshOutcome::Changed { .. }) && event.response.is_none());
    refresher.stop().await;
}

/// A server sent the same `ETag` for each version, another a new one for each response. Changes
/// were missed, and reported where there were none.
#[tokio::test]
async fn only_other_bytes_are_a_change() {
    for (name, has_changed) in [("same tag", true), ("new tag", false), ("new date", false)] {
        let origin = server(move |n, _| {
            let (tag, text) = match name {
                "same tag" => ("etag: \"same\"".to_owned(), format!("version {n}")),
                "new tag" => (format!("etag: \"{n}\""), "same".to_owned()),
                _ => (format!("last-modified: Tue, 24 Nov 2026 08:49:0{} GMT", n % 10), "same".to_owned()),
            };
            (format!("200 OK\r\n{tag}"), text)
        });
        let client = builder().build().expect("a client");
        let (refresher, mut events) = client.refresher().start();
        refresher.add(origin.url(), Schedule::every(SHORT)).expect("a URL");
        next(&mut events).await;
        for _ in 0..2 {
            let event = next(&mut events).await;
            assert_eq!(
                matches!(event.outcome, RefreshOutcome::Changed { .. }),
                has_changed,
                "{name}: {event:?}"
            );
            assert_eq!(event.reason, RefreshReason::Content, "{name}");
        }
        refresher.stop().await;
    }
}

/// A 429 with `Retry-After` was silence for an hour, and the other pages of the host were requested
/// meanwhile.
#[tokio::test]
async fn a_pause_is_reported_and_concerns_the_whole_host() {
    for (field, limit, expected) in [
        ("3600", Duration::from_secs(3600), 3600),
        ("86400", Duration::from_secs(3600), 3600),
        ("3600", Duration::from_secs(20), 20),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Duration::from_secs(60), 60),
    ] {
        let origin = server(move |n, _| match n {
            0 => (format!("429 Too Many Requests\r\nretry-after: {field}"), String::new()),
            _ => ("200 OK".to_owned(), String::new()),
        });
        let client = builder().build().expect("a client");
        let (refresher, mut events) = client.refresher().per_host(1).max_retry_after(limit).start();
        for n in 0..5 {
            refresher.add(format!("{}/{n}", origin.url()), Schedule::every(SHORT)).expect("a URL");
        }
        let first = next(&mut events).await;
        assert!(matches!(first.outcome, RefreshOutcome::ErrorStatus(status) if status == 429), "{first:?}");
        assert_eq!(first.retry_after, Some(Duration::from_secs(expected)), "{field}");
        for _ in 0..4 {
            let event = next(&mut events).await;
            assert!(matches!(event.outcome, RefreshOutcome::Blocked), "{event:?}");
            assert_eq!(event.reason, RefreshReason::Pause);
            assert!((expected - 15..=expected).contains(&until_next(&event).as_secs()), "{event:?}");
        }
        assert_eq!(origin.heads().len(), 1, "{field}");
        refresher.stop().await;
    }
}

/// Pages that had moved for good were followed at the old address for years, and those that were
/// gone requested forever.
#[tokio::test]
async fn moved_and_gone_pages_are_reported() {
    let paths: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&paths);
    let origin = server(move |_, head| {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        seen.lock().push(path.clone());
        match &*path {
            "/old" => ("308 Permanent Redirect\r\nlocation: /new".to_owned(), String::new()),
            "/detour" => ("302 Found\r\nlocation: /new".to_owned(), String::new()),
            "/gone" => ("410 Gone".to_owned(), String::new()),
            _ => ("200 OK".to_owned(), "page".to_owned()),
        }
    });
    let client = builder().build().expect("a client");
    let (refresher, mut events) = client.refresher().start();
    let url = |path: &str| format!("{}{path}", origin.url());
    refresher.add(url("/old"), Schedule::every(SHORT)).expect("a URL");
    let moved = next(&mut events).await;
    assert!(matches!(&moved.outcome, RefreshOutcome::Moved(to) if to.as_str() == url("/new")), "{moved:?}");
    let content = next(&mut events).await;
    assert!(matches!(content.outcome, RefreshOutcome::Changed { .. }), "{content:?}");
    assert!(matches!(next(&mut events).await.outcome, RefreshOutcome::Unchanged), "reported once");
    refresher.remove(url("/old")).expect("a URL");
    refresher.stop().await;

    let (refresher, mut events) = client.refresher().start();
    refresher.add(url("/gone"), Schedule::every(SHORT)).expect("a URL");
    let gone = next(&mut events).await;
    assert!(matches!(gone.outcome, RefreshOutcome::Gone) && gone.next.is_none(), "{gone:?}");
    refresher.add(url("/detour"), Schedule::every(SHORT)).expect("a URL");
    for _ in 0..3 {
        assert!(!matches!(next(&mut events).await.outcome, RefreshOutcome::Gone | RefreshOutcome::Moved(_)));
    }
    refresher.stop().await;
    assert_eq!(paths.lock().iter().filter(|path| *path == "/gone").count(), 1);
}

/// An interval of 500 billion years panicked.
#[tokio::test]
async fn no_duration_is_too_long() {
    let origin = server(|n, _| match n {
        0 => ("503 Service Unavailable\r\nretry-after: 99999999999999".to_owned(), String::new()),
        _ => ("200 OK\r\ncache-control: max-age=99999999999".to_owned(), String::new()),
    });
    let client = builder().build().expect("a client");
    for schedule in [
        Schedule::every(Duration::MAX),
        Schedule::before_stale(Duration::ZERO),
        Schedule::before_stale(Duration::MAX),
    ] {
        let (refresher, mut events) =
            client.refresher().max_backoff(Duration::MAX).max_retry_after(Duration::MAX).start();
        refresher.add(origin.url(), schedule).expect("a URL");
        next(&mut events).await;
        refresher.stop().await;
    }
    let (refresher, _) = client.refresher().jitter(Duration::MAX).start();
    refresher.add(origin.url(), Schedule::every(SHORT)).expect("a URL");
    refresher.stop().await;
}
