//! Tests long representations that are fetched in slices (RFC 9111 §3.4): which slices are fetched,
//! who shares them, and that bytes of two representations are never mixed.

mod setting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use larder_core::{
    Body, CacheKey, CacheResponse, FetchOptions, Lookup, Origin, RangeOptions, RequestHead, Scope, TargetUri,
};
use larder_testkit::FnOrigin;
use parking_lot::Mutex;
use setting::{FetchTask, Setting, content, request, response_of, setting, settle};

const SLICE: usize = 65_536;
const LENGTH: usize = 300_000;

/// A film on an origin that serves ranges.
struct Film {
    it: Setting,
    origin: Arc<FnOrigin>,
    state: Arc<State>,
    options: FetchOptions,
}

/// What the origin does, and what it got.
#[derive(Default)]
struct State {
    /// The version that it has.
    version: AtomicU8,
    /// The number of requests after which it has the next version, if it is not zero.
    next_after: AtomicUsize,
    /// The version in its entity tags, if it lies about it.
    tag: Mutex<Option<String>>,
    /// Whether it ignores ranges from now on.
    ignores_ranges: Mutex<bool>,
    /// The ranges that were requested, with the number of conditions.
    requested: Mutex<Vec<String>>,
}

/// Returns the bytes of a version.
fn film(version: u8) -> Vec<u8> {
    (0..LENGTH).map(|n| (n / 251) as u8 ^ n as u8 ^ version.wrapping_mul(37)).collect()
}

impl State {
    fn respond(&self, number: usize, request: &Request<Body>) -> Response<Body> {
        let field = |name| request.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        let range = field("range");
        self.requested.lock().push(range.clone().unwrap_or_else(|| "all".to_owned()));
        let next_after = self.next_after.load(Ordering::SeqCst);
        if next_after != 0 && number >= next_after {
            self.version.store(1, Ordering::SeqCst);
        }
        let version = self.version.load(Ordering::SeqCst);
        let tag = self.tag.lock().clone().unwrap_or_else(|| format!("\"{version}\""));
        let response = Response::builder().header("cache-control", "max-age=60").header("etag", &tag);
        let response = response.header("content-type", "video/mp4");
        if field("if-none-match").is_some_and(|known| known == tag) {
            return response.status(304).body(Body::empty()).expect("a response");
        }
        let bytes = film(version);
        let Some(range) = range.filter(|_| !*self.ignores_ranges.lock()) else {
            return response.body(bytes.into()).expect("a response");
        };
        let (first, last) = range.strip_prefix("bytes=").expect("a unit").split_once('-').expect("a range");
        let first: usize = first.parse().expect("a number");
        let last = last.parse().unwrap_or(LENGTH - 1).min(LENGTH - 1);
        let response = response.status(206).header("content-range", format!("bytes {first}-{last}/{LENGTH}"));
        response.body(bytes[first..=last].to_vec().into()).expect("a response")
    }
}

impl Film {
    /// Creates the setting. The first range has been requested, so that the length is known.
    async fn known() -> Self {
        let state = Arc::new(State::default());
        let for_origin = Arc::clone(&state);
        let origin = FnOrigin::new(move |number, request| Ok(for_origin.respond(number, request)));
        let ranges = RangeOptions::default().with_whole_limit(1000).with_slice(SLICE as u64);
        let film =
            Self { it: setting(), origin, state, options: FetchOptions::default().with_ranges(ranges) };
        film.expect(0, 10..20).await;
        assert_eq!(film.requested(), ["bytes=10-19"]);
        film
    }

    async fn send(&self, fields: &[(&str, &str)]) -> CacheResponse {
        let request = request("GET", "/film", fields);
        let key = key();
        match self.it.cache.lookup(&key, &RequestHead::new(request.method(), request.headers())).await {
            Lookup::Hit(response) => response,
            Lookup::Miss(miss) => {
                let origin = Arc::clone(&self.origin) as Arc<dyn Origin>;
                miss.fetch(request, origin, &self.options).await.expect("a response")
            }
        }
    }

    /// Requests a range, and expects the bytes of this version.
    async fn expect(&self, version: u8, range: std::ops::Range<usize>) -> String {
        let (first, last) = (range.start, range.end - 1);
        let response = self.send(&[("range", &format!("bytes={first}-{last}"))]).await;
        assert_eq!(response.status(), 206);
        assert_eq!(response.headers()["content-range"], format!("bytes {first}-{last}/{LENGTH}"));
        assert_eq!(response.headers()["etag"], format!("\"{version}\""));
        assert_eq!(response.content_length(), Some(range.len() as u64));
        let status = response.cache_status().to_string();
        assert!(content(response).await.expect("whole") == film(version)[range], "other bytes");
        status
    }

    /// Returns what was requested from the origin since the last call.
    fn requested(&self) -> Vec<String> {
        std::mem::take(&mut self.state.requested.lock())
    }
}

fn key() -> CacheKey {
    CacheKey::new(&TargetUri::parse("http://example.com/film").expect("a target"))
}

/// Each jump of a player was a request to the origin, also to what others had seen.
#[tokio::test]
async fn ranges_are_fetched_in_slices_and_each_slice_once() {
    let film = Film::known().await;
    let status = film.expect(0, 70_000..140_000).await;
    assert_eq!(status, "fwd=partial; fwd-status=206");
    assert_eq!(film.requested(), ["bytes=65536-131071", "bytes=131072-196607"]);
    assert_eq!(film.expect(0, 65_536..196_608).await, "hit; ttl=60");
    assert_eq!(film.requested(), [""; 0]);
    film.expect(0, 131_000..200_000).await;
    assert_eq!(film.requested(), ["bytes=196608-262143"]);
    film.expect(0, 299_990..300_000).await;
    assert_eq!(film.requested(), ["bytes=262144-299999"]);
    let conditions = [("range", "bytes=70000-"), ("if-none-match", "\"0\"")];
    assert_eq!(film.send(&conditions).await.status(), 304);
    let beyond = film.send(&[("range", "bytes=300000-")]).await;
    assert_eq!(
        (beyond.status().as_u16(), &beyond.headers()["content-range"]),
        (416, &"bytes */300000".parse().expect("a value"))
    );
    assert_eq!(film.requested(), [""; 0]);
}

#[tokio::test]
async fn a_complete_set_of_slices_answers_everything() {
    let film = Film::known().await;
    film.expect(0, 0..250_000).await;
    film.requested();
    let whole = film.send(&[]).await;
    assert_eq!((whole.status().as_u16(), whole.cache_status().hit), (200, false), "a slice is missing");
    drop(whole);
    assert_eq!(film.requested(), ["all"]);
    let film = Film::known().await;
    film.expect(0, 0..LENGTH).await;
    assert_eq!(film.requested().len(), 5);
    let whole = film.send(&[]).await;
    assert_eq!((whole.status().as_u16(), whole.content_length()), (200, Some(LENGTH as u64)));
    assert!(!whole.headers().contains_key("content-range"));
    assert!(content(whole).await.expect("whole") == self::film(0));
    let several = film.send(&[("range", "bytes=0-9,100000-200000")]).await;
    let length = several.content_length().expect("a length");
    let body = content(several).await.expect("whole");
    assert_eq!(body.len() as u64, length);
    let all = self::film(0);
    for part in [&all[..10], &all[100_000..=200_000]] {
        assert!(body.windows(part.len()).any(|window| window == part));
    }
    // The representation is the one that the client has, or it gets all of the other one.
    let changed = film.send(&[("range", "bytes=0-9"), ("if-range", "\"other\"")]).await;
    assert_eq!(content(changed).await.expect("whole").len(), LENGTH);
    assert_eq!(film.requested(), [""; 0]);
}

/// The first half of one version and the second half of another is a file that never existed.
#[tokio::test]
async fn two_representations_are_never_mixed() {
    let film = Film::known().await;
    // The third request gets the next version: in the middle of the response.
    film.state.next_after.store(2, Ordering::SeqCst);
    let response = film.send(&[("range", "bytes=0-200000")]).await;
    let error = content(response).await.expect_err("the second slice is of another version");
    assert!(error.contains("another representation"), "{error}");
    film.requested();
    // What is stored of the former version is used no more.
    film.expect(1, 0..200_000).await;
    assert_eq!(film.requested(), ["bytes=0-199999"]);
    film.expect(1, 200_000..LENGTH).await;
    // At the first slice, the request is forwarded as it is.
    let film = Film::known().await;
    film.expect(0, 0..100).await;
    film.state.version.store(1, Ordering::SeqCst);
    film.requested();
    film.expect(1, 100_000..200_000).await;
    assert_eq!(film.requested(), ["bytes=65536-131071", "bytes=100000-199999"]);
    film.expect(1, 0..100).await;
}

/// A purge, or a PUT, and then the bytes of before: the origin had forgotten to change the tag.
#[tokio::test]
async fn purges_and_unsafe_requests_reach_the_slices() {
    for purge in [true, false] {
        let film = Film::known().await;
        film.expect(0, 0..LENGTH).await;
        film.state.version.store(1, Ordering::SeqCst);
        *film.state.tag.lock() = Some("\"0\"".to_owned());
        if purge {
            film.it.cache.purge(Scope::Key(&key())).await.expect("it purges");
        } else {
            let origin = Arc::clone(&film.origin) as Arc<dyn Origin>;
            film.it.cache.fetch(request("PUT", "/film", &[]), origin).await.expect("a response");
        }
        for range in [10..20, 100_000..200_000, 0..LENGTH] {
            let fields = format!("bytes={}-{}", range.start, range.end - 1);
            let bytes = content(film.send(&[("range", &fields)]).await).await.expect("whole");
            assert!(bytes == self::film(1)[range], "bytes from before the purge");
        }
    }
}

/// A minute later, all slices were fetched again, although nothing had changed.
#[tokio::test]
async fn one_validation_freshens_all_slices() {
    let film = Film::known().await;
    film.expect(0, 0..LENGTH).await;
    film.requested();
    film.it.advance(61);
    assert_eq!(film.expect(0, 0..LENGTH).await, "hit; ttl=60");
    assert_eq!(film.requested(), ["bytes=10-19"], "with the tag; the origin responds with 304");
    film.it.advance(61);
    film.state.version.store(1, Ordering::SeqCst);
    film.expect(1, 100_000..100_010).await;
    film.expect(1, 0..LENGTH).await;
    // A soft purge makes them stale, too.
    film.state.version.store(2, Ordering::SeqCst);
    film.it.advance(1);
    film.it.cache.soft_purge(Scope::Key(&key())).await.expect("it marks");
    film.expect(2, 0..LENGTH).await;
}

#[tokio::test]
async fn origins_without_strong_tags_or_ranges_get_no_slices() {
    let film = Film::known().await;
    film.it.cache.purge(Scope::Key(&key())).await.expect("it purges");
    *film.state.tag.lock() = Some("W/\"0\"".to_owned());
    film.requested();
    for range in [0..10, 100_000..200_000] {
        film.send(&[("range", &format!("bytes={}-{}", range.start, range.end - 1))]).await;
    }
    assert_eq!(film.requested(), ["bytes=0-9", "bytes=100000-199999"]);
    // An origin that had ranges and has none now.
    let film = Film::known().await;
    *film.state.ignores_ranges.lock() = true;
    let whole = film.send(&[("range", "bytes=100000-199999")]).await;
    assert_eq!((whole.status().as_u16(), content(whole).await.expect("whole").len()), (200, LENGTH));
    assert_eq!(film.expect(0, 5..10).await, "hit; ttl=60");
    // Without the option.
    let mut film = Film::known().await;
    film.options = FetchOptions::default().with_ranges(RangeOptions::default().with_whole_limit(1000));
    film.requested();
    film.expect(0, 70_000..140_000).await;
    assert_eq!(film.requested(), ["bytes=70000-139999"]);
}

/// Requests `range` from the scripted origin.
fn get(it: &Setting, range: &str) -> FetchTask {
    let ranges = RangeOptions::default().with_whole_limit(1000).with_slice(SLICE as u64);
    it.get_with("/film", &[("range", range)], &FetchOptions::default().with_ranges(ranges))
}

/// Creates a setting with a scripted origin, in which the length is known.
async fn scripted() -> (Setting, &'static [u8]) {
    let mut it = setting();
    let all: &'static [u8] = film(0).leak();
    let fetch = get(&it, "bytes=0-0");
    it.requests.next().await.respond(206, &fields("bytes 0-0/300000"), &all[..1]);
    response_of(fetch).await;
    (it, all)
}

fn fields(content_range: &str) -> Vec<(&'static str, &str)> {
    vec![("cache-control", "max-age=60"), ("etag", "\"0\""), ("content-range", content_range)]
}

/// Two hundred players began at the same place of a film.
#[tokio::test]
async fn misses_of_one_slice_at_once_are_one_fetch() {
    let (mut it, all) = scripted().await;
    let fetches: Vec<_> =
        (0..200).map(|n| get(&it, &format!("bytes={}-{}", 70_000 + n, 71_000 + n))).collect();
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["range"], "bytes=65536-131071");
    settle().await;
    assert!(it.requests.is_empty());
    let sending = received.respond_streaming(206, &fields("bytes 65536-131071/300000"), Some(SLICE as u64));
    assert!(sending.chunk(&all[SLICE..80_000]).await);
    for (n, fetch) in fetches.into_iter().enumerate() {
        assert!(content(response_of(fetch).await).await.expect("whole") == all[70_000 + n..=71_000 + n]);
    }
    assert!(sending.chunk(&all[80_000..2 * SLICE]).await);
    sending.end().await;
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    let hit = response_of(get(&it, "bytes=131071-131071")).await;
    assert!(hit.cache_status().hit && it.requests.is_empty());
}

/// A client that reads nothing more causes no more fetches. A slice that fails ends the body.
#[tokio::test]
async fn slices_are_fetched_as_the_client_reads_and_failures_end_the_body() {
    let (mut it, all) = scripted().await;
    let fetch = get(&it, "bytes=0-");
    it.requests.next().await.respond(206, &fields("bytes 0-65535/300000"), &all[..SLICE]);
    let response = response_of(fetch).await;
    assert_eq!(response.content_length(), Some(300_000));
    settle().await;
    assert!(it.requests.is_empty(), "the client has not read");
    let reading = tokio::spawn(content(response));
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["range"], "bytes=65536-131071");
    let sending = received.respond_streaming(206, &fields("bytes 65536-131071/300000"), Some(SLICE as u64));
    assert!(sending.chunk(&all[SLICE..70_000]).await);
    drop(sending);
    assert!(reading.await.expect("no panic").is_err(), "a truncated range ended as if it were whole");
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    // A slice that fails at once: the request is forwarded as it is.
    let fetch = get(&it, "bytes=65536-65537");
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["range"], "bytes=65536-131071");
    received.respond(500, &[], b"");
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["range"], "bytes=65536-65537");
    received.respond(206, &fields("bytes 65536-65537/300000"), &all[65_536..65_538]);
    assert!(content(response_of(fetch).await).await.expect("whole") == all[65_536..65_538]);
}
