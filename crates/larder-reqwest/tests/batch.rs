//! Batches: limits, order, failures, retries and memory.

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
use larder_reqwest::{CacheOutcome, CachedClient, ErrorKind};
use larder_testkit::RawOrigin;
use parking_lot::Mutex;

fn client() -> CachedClient {
    CachedClient::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client")
}

/// The number of concurrent requests to a server, now and at most.
#[derive(Clone, Default)]
struct Counts {
    now: Arc<AtomicUsize>,
    max: Arc<AtomicUsize>,
}

/// Starts a server that responds to `/N` with N after a pause, and counts concurrent requests.
fn counting(pause: Duration) -> (RawOrigin, Counts) {
    let counts = Counts::default();
    let counting = counts.clone();
    let origin = RawOrigin::start(move |head, stream| {
        let now = counting.now.fetch_add(1, Ordering::SeqCst) + 1;
        counting.max.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(pause);
        counting.now.fetch_sub(1, Ordering::SeqCst);
        let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        let head = format!("200 OK\r\ncache-control: max-age=60\r\ncontent-length: {}", path.len());
        write!(stream, "HTTP/1.1 {head}\r\n\r\n{path}").is_ok()
    });
    (origin, counts)
}

#[tokio::test]
async fn each_distinct_url_is_fetched_once_and_a_failure_affects_no_other() {
    let (origin, _) = counting(Duration::ZERO);
    let client = client();
    let url = |n: usize| format!("{}/{n}", origin.url());
    client.get(url(3)).send().await.expect("a response").bytes().await.expect("a complete body");
    let urls = [url(1), url(2), url(1), "not a url".to_owned(), url(3), url(2) + "#fragment"];
    let results: HashMap<_, _> = client
        .fetch_all(urls.clone())
        .map(|page| (page.url, page.result.map(|response| response.outcome()).map_err(|error| error.kind())))
        .collect()
        .await;
    assert_eq!(results.len(), 4);
    assert_eq!(results[&url(1)], Ok(CacheOutcome::Miss));
    assert_eq!(results[&url(3)], Ok(CacheOutcome::Hit));
    assert_eq!(results["not a url"], Err(ErrorKind::Request));
    assert_eq!(origin.heads().len(), 3);
}

#[tokio::test]
async fn limits_hold_and_results_are_ordered() {
    let (one, counts) = counting(Duration::from_millis(5));
    let (other, others) = counting(Duration::from_millis(5));
    let urls: Vec<String> =
        (0..120).map(|n| format!("{}/{n}", if n % 3 == 0 { other.url() } else { one.url() })).collect();
    let mut pages = client().fetch_all(urls.clone()).concurrency(7).per_host(4).in_order();
    let mut order = Vec::new();
    while let Some(page) = pages.next().await {
        let text = page.result.expect("a response").text().await.expect("a complete body");
        assert!(page.url.ends_with(&format!("/{text}")), "{text} for {}", page.url);
        order.push(page.url);
    }
    assert_eq!(order, urls);
    let (max, max_others) = (counts.max.load(Ordering::SeqCst), others.max.load(Ordering::SeqCst));
    assert!((2..=4).contains(&max) && max_others <= 4, "{max} and {max_others} concurrent requests");
}

#[tokio::test]
async fn urls_are_taken_as_slots_become_free() {
    let (origin, _) = counting(Duration::ZERO);
    let taken = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&taken);
    let url = origin.url();
    let urls = (0..1_000_000).map(move |n| {
        counting.fetch_add(1, Ordering::SeqCst);
        format!("{url}/{n}")
    });
    let mut pages = client().fetch_all(urls).concurrency(8);
    for returned in 1..=200 {
        pages.next().await.expect("another result").result.expect("a response");
        let ahead = taken.load(Ordering::SeqCst) - returned;
        assert!(ahead <= 8 * 9 + 8, "{ahead} URLs taken ahead");
    }
    drop(pages);
    let taken_before = taken.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(taken.load(Ordering::SeqCst), taken_before, "a dropped batch takes no more URLs");
}

#[tokio::test]
async fn transient_failures_are_retried() {
    let requests: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counting = Arc::clone(&requests);
    let origin = RawOrigin::start(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let attempt = {
            let mut requests = counting.lock();
            let attempt = requests.entry(path.clone()).or_default();
            *attempt += 1;
            *attempt
        };
        let head = match (&*path, attempt) {
            // The client repeats the first request itself, since its connection broke; that is no
            // retry.
            ("/broken", 1 | 2) => return false,
            ("/busy", 1) => "503 Service Unavailable\r\nretry-after: 1",
            ("/never", _) => "502 Bad Gateway",
            ("/wrong", _) => "404 Not Found",
            _ => "200 OK",
        };
        write!(stream, "HTTP/1.1 {head}\r\ncontent-length: 2\r\n\r\nok").is_ok()
    });
    let urls = ["/busy", "/broken", "/never", "/wrong"].map(|path| format!("{}{path}", origin.url()));
    let retry = larder_reqwest::Retry::new(2).with_base_delay(Duration::from_millis(1));
    let results: HashMap<String, (u16, u32)> = client()
        .fetch_all(urls)
        .retry(retry)
        .map(|page| {
            let path = page.url.rsplit('/').next().unwrap_or_default().to_owned();
            (path, (page.result.map_or(0, |response| response.status().as_u16()), page.attempts))
        })
        .collect()
        .await;
    let expected = [("busy", (200, 2)), ("broken", (200, 2)), ("never", (502, 3)), ("wrong", (404, 1))];
    assert_eq!(results, expected.map(|(path, result)| (path.to_owned(), result)).into());
}

/// `Retry-After` pauses all URLs of the host, and no other host.
#[tokio::test]
async fn retry_after_pauses_the_host() {
    let busy = RawOrigin::start({
        let requests = AtomicUsize::new(0);
        move |_, stream| {
            let head = match requests.fetch_add(1, Ordering::SeqCst) {
                0 => "429 Too Many Requests\r\nretry-after: 1",
                _ => "200 OK",
            };
            write!(stream, "HTTP/1.1 {head}\r\ncontent-length: 2\r\n\r\nok").is_ok()
        }
    });
    let (other, _) = counting(Duration::ZERO);
    let urls = ["/a", "/b", "/c"].map(|path| format!("{}{path}", busy.url()));
    let urls = urls.into_iter().chain([format!("{}/1", other.url())]);
    let order: Vec<(bool, u16)> = client()
        .fetch_all(urls)
        .per_host(1)
        .retry(1)
        .map(|page| {
            let status = page.result.map_or(0, |response| response.status().as_u16());
            (page.url.starts_with(&busy.url()), status)
        })
        .collect()
        .await;
    assert_eq!(order, [(false, 200), (true, 200), (true, 200), (true, 200)]);
    assert_eq!(busy.heads().len(), 4, "one request before the pause, then one for each URL");
}

#[tokio::test]
async fn streaming_leaves_bodies_to_the_caller() {
    let (origin, _) = counting(Duration::ZERO);
    let urls = (0..20).map({
        let url = origin.url();
        move |n| format!("{url}/{n}")
    });
    let mut pages =
        client().fetch_all(urls).streaming().map_request(|request| request.header("x-of", "batch"));
    while let Some(page) = pages.next().await {
        let mut response = page.result.expect("a response");
        let chunk = response.chunk().await.expect("a complete body").expect("a chunk");
        assert!(page.url.ends_with(std::str::from_utf8(&chunk).expect("digits")));
    }
    assert!(origin.heads().iter().all(|head| head.contains("x-of: batch")));
}
