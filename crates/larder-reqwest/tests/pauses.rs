//! Hosts that request a pause: nothing more is sent to them, and that is reported.
#![cfg(feature = "refresh")]

use std::{
    collections::HashMap,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use larder_reqwest::{CacheOutcome, CachedClient, ErrorKind, Retry};
use larder_testkit::RawOrigin;
use parking_lot::Mutex;

fn client() -> CachedClient {
    CachedClient::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client")
}

/// Starts a server that answers the first `good` requests with a page, and then only with `head`.
fn limited(good: usize, head: &'static str) -> RawOrigin {
    let requests = AtomicUsize::new(0);
    RawOrigin::start(move |_, stream| {
        let head = match requests.fetch_add(1, Ordering::SeqCst) < good {
            true => "200 OK\r\ncache-control: max-age=60",
            false => head,
        };
        write!(stream, "HTTP/1.1 {head}\r\ncontent-length: 2\r\n\r\nok").is_ok()
    })
}

/// The result of a batch: for each path, the status or whether the host was blocked.
type Results = HashMap<String, Result<u16, bool>>;

/// Fetches `/0` to `/59` with one request at a time to the host.
async fn fetch(client: &CachedClient, origin: &RawOrigin, retry: Retry) -> (Results, Vec<(Duration, bool)>) {
    let pauses: Arc<Mutex<Vec<_>>> = Arc::default();
    let noted = Arc::clone(&pauses);
    let urls: Vec<_> = (0..60).map(|n| format!("{}/{n}", origin.url())).collect();
    let results = client
        .fetch_all(urls)
        .per_host(1)
        .retry(retry)
        .on_pause(move |pause| noted.lock().push((pause.pause, pause.is_waiting)))
        .map(|page| {
            let path = page.url.rsplit('/').next().unwrap_or_default().to_owned();
            let is_blocked = |kind| matches!(kind, ErrorKind::HostBlocked(left) if !left.is_zero());
            let result = page.result.map(|response| response.status().as_u16());
            (path, result.map_err(|error| is_blocked(error.kind())))
        })
        .collect()
        .await;
    let pauses = pauses.lock().clone();
    (results, pauses)
}

/// A batch of 60 URLs sent all of them to a host that had answered 429 to the first, and a batch
/// with retries was silent for an hour.
#[tokio::test]
async fn a_host_that_asks_for_a_pause_is_left_alone() {
    let hour = Duration::from_secs(3600);
    let day = Duration::from_secs(86_400);
    for (head, retry, expected) in [
        ("429 Too Many Requests\r\nretry-after: 3600", Retry::new(0), hour),
        ("503 Service Unavailable\r\nretry-after: 3600", Retry::new(0), hour),
        ("429 Too Many Requests", Retry::new(0), Duration::from_secs(60)),
        ("503 Service Unavailable\r\nretry-after: 86400", Retry::new(5), day),
        (
            "429 Too Many Requests\r\nretry-after: 3600",
            Retry::new(5).with_max_retry_after(Duration::from_secs(60)),
            hour,
        ),
    ] {
        let (client, origin) = (client(), limited(3, head));
        // In the cache already: it needs no request.
        let cached = format!("{}/59", origin.url());
        client.get(&cached).send().await.expect("a response").bytes().await.expect("a body");
        let (results, pauses) = fetch(&client, &origin, retry).await;
        assert_eq!(results.len(), 60);
        let count = |wanted| results.values().filter(|result| **result == wanted).count();
        let status = head[..3].parse().expect("a status");
        assert_eq!((count(Ok(200)), count(Ok(status)), count(Err(true))), (3, 1, 56), "{head}: {results:?}");
        assert_eq!(origin.heads().len(), 4, "{head}");
        assert_eq!(pauses, [(expected, false)], "{head}");
    }
}

#[tokio::test]
async fn an_error_of_one_page_blocks_no_host() {
    let (client, origin) = (client(), limited(3, "503 Service Unavailable"));
    let (results, pauses) = fetch(&client, &origin, Retry::new(0)).await;
    assert_eq!((origin.heads().len(), pauses.len()), (60, 0));
    assert_eq!(results.values().filter(|result| **result == Ok(503)).count(), 57);
}

/// A host was blamed for the pause that another one had requested, to which it redirects.
#[tokio::test]
async fn a_pause_concerns_the_host_that_requested_it() {
    let other = limited(0, "429 Too Many Requests\r\nretry-after: 3600");
    let target = other.url();
    let origin = RawOrigin::start(move |head, stream| {
        let head = match head.starts_with("GET /moved ") {
            true => format!("302 Found\r\nlocation: {target}/page"),
            false => "200 OK".to_owned(),
        };
        write!(stream, "HTTP/1.1 {head}\r\ncontent-length: 2\r\n\r\nok").is_ok()
    });
    let (here, there) = (|path| format!("{}{path}", origin.url()), format!("{}/more", other.url()));
    let hosts: Arc<Mutex<Vec<_>>> = Arc::default();
    let noted = Arc::clone(&hosts);
    let pages: Vec<_> = client()
        .fetch_all([here("/moved"), here("/page"), there.clone()])
        .concurrency(1)
        .on_pause(move |pause| noted.lock().push(pause.host.clone()))
        .map(|page| page.result.map(|page| page.status().as_u16()).map_err(|error| error.kind()))
        .collect()
        .await;
    assert!(matches!(pages[..], [Ok(429), Ok(200), Err(ErrorKind::HostBlocked(_))]), "{pages:?}");
    assert_eq!(*hosts.lock(), [other.url()]);

    let client = client();
    let (refresher, mut events) = client.refresher().concurrency(1).start();
    for url in [here("/moved"), here("/page"), there] {
        refresher.add(url, larder_reqwest::Schedule::every(Duration::from_secs(600))).expect("a URL");
    }
    let mut outcomes = HashMap::new();
    for _ in 0..3 {
        let event = events.next().await.expect("an event");
        outcomes.insert(event.url.path().to_owned(), event.outcome.name());
    }
    let expected = [("/moved", "refused"), ("/page", "changed"), ("/more", "blocked")];
    assert_eq!(outcomes, expected.map(|(path, outcome)| (path.to_owned(), outcome)).into());
}

/// `Retry-After` as a date, within the limit: all URLs wait, and that is reported once.
#[tokio::test]
async fn a_short_pause_is_waited_for_and_reported() {
    let requests = AtomicUsize::new(0);
    let origin = RawOrigin::start(move |_, stream| {
        let head = match requests.fetch_add(1, Ordering::SeqCst) {
            0 => "429 Too Many Requests\r\nretry-after: Fri, 01 Jan 1999 00:00:00 GMT".to_owned(),
            1 => "503 Service Unavailable\r\nretry-after: 1".to_owned(),
            _ => "200 OK".to_owned(),
        };
        write!(stream, "HTTP/1.1 {head}\r\ncontent-length: 2\r\n\r\nok").is_ok()
    });
    let retry = Retry::new(2).with_base_delay(Duration::from_millis(1));
    let (results, pauses) = fetch(&client(), &origin, retry).await;
    assert!(results.values().all(|result| *result == Ok(200)), "{results:?}");
    assert_eq!(pauses, [(Duration::from_secs(1), true)], "a date in the past is no pause");
    assert_eq!(origin.heads().len(), 62);
}

/// Starts a server that answers request number n, from 0, with what `respond` returns: the time
/// before the response, and its head. Also returns the times of the requests.
fn noting(
    respond: impl Fn(usize) -> (Duration, &'static str) + Send + Sync + 'static,
) -> (RawOrigin, Arc<Mutex<Vec<tokio::time::Instant>>>) {
    let arrivals: Arc<Mutex<Vec<_>>> = Arc::default();
    let noted = Arc::clone(&arrivals);
    let origin = RawOrigin::start(move |_, stream| {
        let number = {
            let mut arrivals = noted.lock();
            arrivals.push(tokio::time::Instant::now());
            arrivals.len() - 1
        };
        let (wait, head) = respond(number);
        std::thread::sleep(wait);
        write!(stream, "HTTP/1.1 {head}\r\ncontent-length: 2\r\n\r\nok").is_ok()
    });
    (origin, arrivals)
}

/// Requests that waited for their turn at a limited rate were sent during a pause that another one
/// had begun.
#[tokio::test]
async fn a_pause_concerns_requests_that_wait_for_their_turn() {
    let limit = larder_reqwest::RateLimit::new(4, Duration::from_secs(1));
    for (retry, pause, requests) in [
        (Retry::new(0), "429 Too Many Requests\r\nretry-after: 3600", 1),
        (Retry::new(1), "429 Too Many Requests\r\nretry-after: 2", 5),
    ] {
        let (origin, arrivals) = noting(move |n| (Duration::ZERO, if n == 0 { pause } else { "200 OK" }));
        let urls: Vec<_> = (0..4).map(|n| format!("{}/{n}", origin.url())).collect();
        let pages: Vec<_> = client().fetch_all(urls).retry(retry).rate_limit(limit).collect().await;
        let blocked = pages.iter().filter_map(|page| page.result.as_ref().err()).map(|error| error.kind());
        let is_blocked = |kind| matches!(kind, ErrorKind::HostBlocked(left) if !left.is_zero());
        assert_eq!(blocked.filter(|kind| is_blocked(*kind)).count(), if requests == 1 { 3 } else { 0 });
        let arrivals = arrivals.lock();
        assert_eq!(arrivals.len(), requests);
        assert!(arrivals.iter().skip(1).all(|at| *at - arrivals[0] >= Duration::from_secs(2)));
    }
    let (origin, _) = noting(|n| match n {
        0 => (Duration::ZERO, "429 Too Many Requests\r\nretry-after: 3600"),
        _ => (Duration::ZERO, "200 OK"),
    });
    let client = client();
    let (refresher, mut events) = client.refresher().rate_limit(limit).start();
    for n in 0..3 {
        let url = format!("{}/{n}", origin.url());
        refresher.add(url, larder_reqwest::Schedule::every(Duration::from_secs(600))).expect("a URL");
    }
    for expected in ["refused", "blocked", "blocked"] {
        assert_eq!(events.next().await.expect("an event").outcome.name(), expected);
    }
    assert_eq!(origin.heads().len(), 1);
}

/// The second of two responses requested a longer pause, and was ignored.
#[tokio::test]
async fn the_later_end_of_two_pauses_counts() {
    let (origin, arrivals) = noting(|n| match n {
        0 => (Duration::ZERO, "429 Too Many Requests\r\nretry-after: 1"),
        1 => (Duration::from_millis(300), "429 Too Many Requests\r\nretry-after: 3"),
        _ => (Duration::ZERO, "200 OK"),
    });
    let urls: Vec<_> = (0..4).map(|n| format!("{}/{n}", origin.url())).collect();
    let pages: Vec<_> = client().fetch_all(urls).per_host(2).retry(2).collect().await;
    assert!(pages.iter().all(|page| page.result.as_ref().is_ok_and(|page| page.status() == 200)));
    let arrivals = arrivals.lock();
    let first = arrivals[2] - arrivals[1];
    assert!(first >= Duration::from_secs(3), "{first:?}");
}

/// A POST was sent again after its connection had broken, and the order was placed twice.
#[tokio::test]
async fn requests_that_may_have_had_an_effect_are_not_repeated() {
    for (head, requests) in [
        (None, 1),
        (Some("502 Bad Gateway"), 1),
        (Some("504 Gateway Timeout"), 1),
        (Some("503 Service Unavailable"), 3),
    ] {
        let origin = RawOrigin::start(move |_, stream| match head {
            Some(head) => write!(stream, "HTTP/1.1 {head}\r\ncontent-length: 2\r\n\r\nno").is_ok(),
            None => false,
        });
        let retry = Retry::new(2).with_base_delay(Duration::from_millis(1));
        let orders = client()
            .fetch_all([origin.url()])
            .method(http::Method::POST)
            .retry(retry)
            .map_request(|request| request.body("an order"))
            .collect::<Vec<_>>();
        assert_eq!(orders.await.len(), 1);
        assert_eq!(origin.heads().len(), requests, "{head:?}");
    }
}

#[tokio::test]
async fn default_headers_keep_all_their_values() {
    let origin = RawOrigin::fixed("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let mut headers = http::HeaderMap::new();
    for value in ["1", "2", "3"] {
        headers.append("x-a", value.parse().expect("a value"));
    }
    let client = CachedClient::builder().no_proxy().default_headers(headers).build().expect("a client");
    let response = client.get(origin.url()).send().await.expect("a response");
    assert_eq!(response.outcome(), CacheOutcome::Miss);
    client.get(origin.url()).header("x-a", "mine").send().await.expect("a response");
    let values = |head: &str| head.lines().filter(|line| line.starts_with("x-a: ")).count();
    assert_eq!(origin.heads().iter().map(|head| values(head)).collect::<Vec<_>>(), [3, 1]);
}

/// A crawl at two requests a second was blocked, since each page was requested as soon as the one
/// before it had arrived. What is in the cache takes no time.
#[tokio::test]
async fn requests_that_reach_a_host_are_spaced_and_hits_are_free() {
    use larder_reqwest::{RateLimit, Schedule};
    let arrivals: Arc<Mutex<Vec<tokio::time::Instant>>> = Arc::default();
    let start = || {
        let noted = Arc::clone(&arrivals);
        noted.lock().clear();
        RawOrigin::start(move |_, stream| {
            noted.lock().push(tokio::time::Instant::now());
            write!(stream, "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 2\r\n\r\nok")
                .is_ok()
        })
    };
    let interval = Duration::from_millis(200);
    let limit = RateLimit::new(5, Duration::from_secs(1));
    let is_spaced = |count: usize| {
        let arrivals = arrivals.lock();
        assert_eq!(arrivals.len(), count);
        let total = *arrivals.last().expect("a request") - arrivals[0];
        // A request may be late, and the next one in time.
        assert!(total + interval / 2 >= interval * (count as u32 - 1), "{count} requests in {total:?}");
    };
    // A batch: the second time all pages are in the cache, at a rate of one a day.
    let (client, origin) = (client(), start());
    let urls: Vec<_> = (0..6).map(|n| format!("{}/{n}", origin.url())).collect();
    client.fetch_all(urls.clone()).rate_limit(limit).collect::<Vec<_>>().await;
    is_spaced(6);
    let once_a_day = RateLimit::new(1, Duration::from_secs(86_400));
    let pages: Vec<_> = client.fetch_all(urls.clone()).rate_limit(once_a_day).collect().await;
    assert!(
        pages.iter().all(|page| page.result.as_ref().is_ok_and(|page| page.outcome() == CacheOutcome::Hit))
    );
    // The client, with concurrent requests and another host beside.
    let (origin, other) = (start(), RawOrigin::fixed("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    let limited = CachedClient::builder().no_proxy().rate_limit(limit).build().expect("a client");
    let requests = (0..5).map(|n| limited.get(format!("{}/{n}", origin.url())).send());
    futures_util::future::join_all(requests).await;
    is_spaced(5);
    limited.get(other.url()).timeout(interval * 50).send().await.expect("another host");
    // A refresher.
    let origin = start();
    let (refresher, mut events) = client.refresher().rate_limit(limit).start();
    for n in 0..4 {
        refresher
            .add(format!("{}/{n}", origin.url()), Schedule::every(Duration::from_secs(600)))
            .expect("a URL");
    }
    for _ in 0..4 {
        events.next().await.expect("an event");
    }
    is_spaced(4);
    // A caller's limit includes the wait for its turn.
    let slow = CachedClient::builder().no_proxy().rate_limit(once_a_day).build().expect("a client");
    slow.get(format!("{}/a", origin.url())).send().await.expect("the first");
    let late = slow.get(format!("{}/b", origin.url())).timeout(interval).send().await;
    assert_eq!(late.expect_err("a timeout").kind(), ErrorKind::Timeout);
}
