//! Many pages at once: limits, order, failures, memory.

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

/// Answers `/N` with N; counts how many are asked for at once.
#[derive(Clone, Default)]
struct Counts {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

fn counting(pause: Duration) -> (RawOrigin, Counts) {
    let counts = Counts::default();
    let counting = counts.clone();
    let origin = RawOrigin::start(move |head, stream| {
        let now = counting.now.fetch_add(1, Ordering::SeqCst) + 1;
        counting.most.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(pause);
        counting.now.fetch_sub(1, Ordering::SeqCst);
        let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        let head = format!("200 OK\r\ncache-control: max-age=60\r\ncontent-length: {}", path.len());
        write!(stream, "HTTP/1.1 {head}\r\n\r\n{path}").is_ok()
    });
    (origin, counts)
}

#[tokio::test]
async fn each_distinct_url_once_and_a_failure_stops_nobody() {
    let (origin, _) = counting(Duration::ZERO);
    let client = client();
    let url = |n: usize| format!("{}/{n}", origin.url());
    client.get(url(3)).send().await.expect("an answer").bytes().await.expect("whole");
    let urls = [url(1), url(2), url(1), "no url".to_owned(), url(3), url(2) + "#fragment"];
    let results: HashMap<_, _> = client
        .fetch_all(urls.clone())
        .map(|page| (page.url, page.result.map(|response| response.outcome()).map_err(|error| error.kind())))
        .collect()
        .await;
    assert_eq!(results.len(), 4);
    assert_eq!(results[&url(1)], Ok(CacheOutcome::Miss));
    assert_eq!(results[&url(3)], Ok(CacheOutcome::Hit));
    assert_eq!(results["no url"], Err(ErrorKind::Request));
    assert_eq!(origin.heads().len(), 3);
}

#[tokio::test]
async fn limits_hold_and_the_order_is_kept() {
    let (one, counts) = counting(Duration::from_millis(5));
    let (other, others) = counting(Duration::from_millis(5));
    let urls: Vec<String> =
        (0..120).map(|n| format!("{}/{n}", if n % 3 == 0 { other.url() } else { one.url() })).collect();
    let mut pages = client().fetch_all(urls.clone()).concurrency(7).per_host(4).in_order();
    let mut order = Vec::new();
    while let Some(page) = pages.next().await {
        let text = page.result.expect("an answer").text().await.expect("whole");
        assert!(page.url.ends_with(&format!("/{text}")), "{text} for {}", page.url);
        order.push(page.url);
    }
    assert_eq!(order, urls);
    let (most, most_others) = (counts.most.load(Ordering::SeqCst), others.most.load(Ordering::SeqCst));
    assert!((2..=4).contains(&most) && most_others <= 4, "{most} and {most_others} at once");
}

#[tokio::test]
async fn a_million_urls_are_taken_as_there_is_room() {
    let (origin, _) = counting(Duration::ZERO);
    let taken = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&taken);
    let url = origin.url();
    let urls = (0..1_000_000).map(move |n| {
        counting.fetch_add(1, Ordering::SeqCst);
        format!("{url}/{n}")
    });
    let mut pages = client().fetch_all(urls).concurrency(8);
    for given in 1..=200 {
        pages.next().await.expect("there are more").result.expect("an answer");
        let ahead = taken.load(Ordering::SeqCst) - given;
        assert!(ahead <= 8 * 9 + 8, "{ahead} URLs were taken ahead");
    }
    drop(pages);
    let taken_then = taken.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(taken.load(Ordering::SeqCst), taken_then, "dropped, it goes on with nothing");
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let asked: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counting = Arc::clone(&asked);
    let origin = RawOrigin::start(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let times = {
            let mut asked = counting.lock();
            let times = asked.entry(path.clone()).or_default();
            *times += 1;
            *times
        };
        let head = match (&*path, times) {
            // The first time is the connection's fault, and not counted.
            ("/broken", 1 | 2) => return false,
            ("/busy", 1) => "503 Service Unavailable\r\nretry-after: 1",
            ("/never", _) => "502 Bad Gateway",
            ("/wrong", _) => "404 Not Found",
            _ => "200 OK",
        };
        write!(stream, "HTTP/1.1 {head}\r\ncontent-length: 2\r\n\r\nok").is_ok()
    });
    let urls = ["/busy", "/broken", "/never", "/wrong"].map(|path| format!("{}{path}", origin.url()));
    let mut retry = larder_reqwest::Retry::times(2);
    retry.first = Duration::from_millis(1);
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
    assert_eq!(results, expected.map(|(path, found)| (path.to_owned(), found)).into());
}

/// A host that asks to be left alone is, with all its URLs; others are not kept waiting.
#[tokio::test]
async fn retry_after_holds_for_the_host() {
    let busy = RawOrigin::start({
        let asked = AtomicUsize::new(0);
        move |_, stream| {
            let head = match asked.fetch_add(1, Ordering::SeqCst) {
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
    assert_eq!(busy.heads().len(), 4, "once too early, and then each once");
}

#[tokio::test]
async fn bodies_may_be_left_to_the_reader() {
    let (origin, _) = counting(Duration::ZERO);
    let urls = (0..20).map({
        let url = origin.url();
        move |n| format!("{url}/{n}")
    });
    let mut pages = client().fetch_all(urls).streaming().each(|request| request.header("x-of", "batch"));
    while let Some(page) = pages.next().await {
        let mut response = page.result.expect("a head");
        let chunk = response.chunk().await.expect("whole").expect("some content");
        assert!(page.url.ends_with(std::str::from_utf8(&chunk).expect("digits")));
    }
    assert!(origin.heads().iter().all(|head| head.contains("x-of: batch")));
}
