//! Tests requests for ranges of bytes on stored responses and on a cold key (RFC 9110 §14,
//! RFC 9111 §3.3): what is requested from the origin, and what the client gets.
//!
//! `range_origins.rs` has the origins that treat ranges badly.

mod setting;

use std::{sync::Arc, time::Duration};

use larder_core::{CacheKey, CacheResponse, FetchOptions, Origin, RangeOptions, Scope, TargetUri};
use larder_testkit::{FnOrigin, ReceivedRequest};
use setting::{FetchTask, content, read, request, response_of, setting, settle};

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
const TEN: &[u8] = b"0123456789";

/// Returns the status code, `Content-Range` and content of a response.
async fn part(fetch: FetchTask) -> (u16, String, String) {
    let response = response_of(fetch).await;
    let status = response.status().as_u16();
    let range = response.headers().get("content-range").map(|range| range.to_str().expect("text").to_owned());
    let bytes = content(response).await.expect("the content is whole");
    (status, range.unwrap_or_default(), String::from_utf8(bytes).expect("text"))
}

/// Returns what `part` returns for this range of ten bytes.
fn of_ten(first: usize, last: usize) -> (u16, String, String) {
    let bytes = std::str::from_utf8(&TEN[first..=last]).expect("text");
    (206, format!("bytes {first}-{last}/10"), bytes.to_owned())
}

/// Responds with the requested range of ten bytes, or with all of them.
fn respond_with_ten(received: ReceivedRequest) {
    let range = received.request.headers().get("range").map(|range| range.to_str().expect("text").to_owned());
    let Some(range) = range else { return received.respond(200, FRESH, TEN) };
    let (first, last) = range.strip_prefix("bytes=").expect("a unit").split_once('-').expect("a range");
    let (first, last): (usize, usize) = (first.parse().expect("a number"), last.parse().expect("a number"));
    let content_range = format!("bytes {first}-{last}/10");
    received.respond(206, &[FRESH, &[("content-range", &content_range)]].concat(), &TEN[first..=last]);
}

/// Returns whether the request is for the whole, without conditions.
fn asks_for_whole(received: &ReceivedRequest) -> bool {
    let fields = received.request.headers();
    ["range", "if-range", "if-none-match", "if-modified-since"].iter().all(|name| !fields.contains_key(*name))
}

/// Splits a multipart body into the `Content-Range` and the bytes of each part.
async fn parts_of(response: CacheResponse) -> Vec<(String, Vec<u8>)> {
    assert_eq!(response.status(), 206);
    assert!(!response.headers().contains_key("content-range"), "RFC 9110 §15.3.7.2");
    let content_type = response.headers()["content-type"].to_str().expect("text").to_owned();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").expect("a boundary");
    let announced = response.content_length();
    let body = content(response).await.expect("whole");
    assert_eq!(announced, Some(body.len() as u64));
    let body = String::from_utf8(body).expect("text");
    let (body, rest) = body.split_once(&format!("\r\n--{boundary}--\r\n")).expect("an end");
    assert_eq!(rest, "");
    let part = |part: &str| {
        let (head, bytes) = part.split_once("\r\n\r\n").expect("a head");
        let lines: Vec<_> = head.lines().collect();
        assert_eq!(lines[0], "content-type: text/plain");
        (lines[1].strip_prefix("content-range: ").expect("a range").to_owned(), bytes.as_bytes().to_vec())
    };
    body.split(&format!("\r\n--{boundary}\r\n")).skip(1).map(part).collect()
}

/// A reader of a document requested two sections, and got the whole document.
#[tokio::test]
async fn several_ranges_of_a_stored_body_are_parts() {
    let mut it = setting();
    let fields = [FRESH, &[("content-type", "text/plain"), ("content-length", "10")]].concat();
    it.fetch_and_store("/", &fields, TEN).await;
    let parts = parts_of(response_of(it.get("/", &[("range", "bytes=7-8,0-1,-1,30-")])).await).await;
    assert_eq!(parts, [("bytes 7-9/10".into(), b"789".to_vec()), ("bytes 0-1/10".into(), b"01".to_vec())]);
    // A single range that is left is no multipart body.
    assert_eq!(part(it.get("/", &[("range", "bytes=0-3,2-5,30-")])).await, of_ten(0, 5));
    let none = part(it.get("/", &[("range", "bytes=30-,40-")])).await;
    assert_eq!(none, (416, "bytes */10".into(), String::new()));
    let changed = read(it.get("/", &[("range", "bytes=0-0,9-9"), ("if-range", "\"b\"")])).await;
    assert_eq!(changed.1, TEN);
    assert!(it.requests.is_empty());
}

/// Each range of a document went to the origin: a reader's hundred requests were a hundred fetches.
#[tokio::test]
async fn the_second_range_of_a_short_representation_fetches_the_whole() {
    let mut it = setting();
    let first = it.get("/", &[("range", "bytes=2-4")]);
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["range"], "bytes=2-4", "the length is not known yet");
    respond_with_ten(received);
    assert_eq!(part(first).await, of_ten(2, 4));
    assert_eq!(part(it.get("/", &[("range", "bytes=3-4")])).await, of_ten(3, 4), "from the stored part");
    let conditions = [("range", "bytes=6-7"), ("if-range", "\"a\""), ("if-none-match", "\"other\"")];
    let second = it.get("/", &conditions);
    let received = it.requests.next().await;
    assert!(asks_for_whole(&received));
    respond_with_ten(received);
    let second = response_of(second).await;
    assert_eq!(second.cache_status().to_string(), "fwd=partial; fwd-status=200; stored");
    assert_eq!((second.status().as_u16(), content(second).await.expect("whole")), (206, b"67".to_vec()));
    assert_eq!(part(it.get("/", &[("range", "bytes=-2")])).await, of_ten(8, 9));
    assert_eq!(it.get_stored("/").await.1, TEN);
}

#[tokio::test]
async fn twenty_requests_for_everything_as_a_range_are_one_fetch() {
    let mut it = setting();
    let fetches: Vec<_> = (0..20).map(|_| it.get("/", &[("range", "bytes=0-")])).collect();
    let received = it.requests.next().await;
    assert!(asks_for_whole(&received));
    settle().await;
    assert!(it.requests.is_empty());
    respond_with_ten(received);
    for fetch in fetches {
        assert_eq!(part(fetch).await, of_ten(0, 9));
    }
    assert_eq!(part(it.get("/", &[("range", "bytes=0-")])).await, of_ten(0, 9));
    assert_eq!(it.get_stored("/").await.1, TEN);
}

/// A player's clients began at the same second, and each request was a fetch.
#[tokio::test]
async fn two_hundred_ranges_at_once_are_two_fetches() {
    let mut it = setting();
    let range = |n: usize| (n % 7, n % 7 + n % 3);
    let get = |n: usize| {
        let (first, last) = range(n);
        it.get("/", &[("range", &format!("bytes={first}-{last}"))])
    };
    let fetches: Vec<_> = (0..200).map(get).collect();
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["range"], "bytes=0-0");
    settle().await;
    assert!(it.requests.is_empty(), "the others wait until the length is known");
    respond_with_ten(received);
    let received = it.requests.next().await;
    assert!(asks_for_whole(&received));
    settle().await;
    assert!(it.requests.is_empty());
    respond_with_ten(received);
    for (n, fetch) in fetches.into_iter().enumerate() {
        let (first, last) = range(n);
        assert_eq!(part(fetch).await, of_ten(first, last));
    }
    assert!(it.requests.is_empty());
}

#[tokio::test]
async fn ranges_and_the_whole_share_a_fetch() {
    let mut it = setting();
    let whole = it.get("/", &[]);
    let received = it.requests.next().await;
    let (one, several) = (it.get("/", &[("range", "bytes=2-3")]), it.get("/", &[("range", "bytes=0-0,9-9")]));
    settle().await;
    assert!(it.requests.is_empty());
    received.respond(200, &[FRESH, &[("content-type", "text/plain")]].concat(), TEN);
    assert_eq!(read(whole).await.1, TEN);
    assert_eq!(part(one).await, of_ten(2, 3));
    let several = parts_of(response_of(several).await).await;
    assert_eq!(several, [("bytes 0-0/10".into(), b"0".to_vec()), ("bytes 9-9/10".into(), b"9".to_vec())]);
}

/// If a range waited for the whole body, a film would start after its end has arrived.
#[tokio::test]
async fn a_range_is_read_while_the_whole_is_arriving() {
    let mut it = setting();
    let leader = it.get("/", &[("range", "bytes=0-")]);
    let received = it.requests.next().await;
    let follower = it.get("/", &[("range", "bytes=4-5")]);
    let several = it.get("/", &[("range", "bytes=1-1,5-5")]);
    let fields = [FRESH, &[("content-type", "text/plain")]].concat();
    let sending = received.respond_streaming(200, &fields, Some(10));
    assert!(sending.chunk("012").await);
    let mut leader = response_of(leader).await.into_body();
    assert_eq!(leader.chunk().await.expect("a chunk").expect("it reads"), "012");
    assert!(sending.chunk("3456").await);
    assert_eq!(part(follower).await, of_ten(4, 5));
    assert_eq!(parts_of(response_of(several).await).await.len(), 2);
    drop(leader);
    assert!(sending.chunk("789").await, "the fetch continues without clients");
    sending.end().await;
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    assert_eq!(it.get_stored("/").await.1, TEN);
}

/// A player requested the index at the end of a film, and waited until all of it had arrived.
#[tokio::test]
async fn a_range_far_ahead_of_an_arriving_body_is_forwarded() {
    let mut it = setting();
    let options = FetchOptions::default().with_ranges(RangeOptions::default().with_whole_limit(4));
    let leader = it.get_with("/", &[("range", "bytes=0-")], &options);
    let sending = it.requests.next().await.respond_streaming(200, FRESH, Some(10));
    let leader = response_of(leader).await;
    for range in ["bytes=8-9", "bytes=0-0,9-9", "bytes=3-3,0-0"] {
        let ahead = it.get_with("/", &[("range", range)], &options);
        let received = it.requests.next().await;
        assert_eq!(received.request.headers()["range"], range);
        received.respond(206, &[FRESH, &[("content-range", "bytes 8-9/10")]].concat(), b"89");
        assert_eq!(part(ahead).await, of_ten(8, 9));
    }
    let near = it.get_with("/", &[("range", "bytes=4-5")], &options);
    assert!(sending.chunk(TEN).await);
    assert_eq!(part(near).await, of_ten(4, 5));
    sending.end().await;
    assert_eq!(content(leader).await.expect("whole"), TEN);
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    assert_eq!(it.get_stored("/").await.1, TEN, "the part did not replace the whole");
}

/// A long film is not fetched whole for a few bytes; the same bytes are fetched once.
#[tokio::test]
async fn ranges_of_a_long_representation_are_forwarded() {
    let mut it = setting();
    let ranges = RangeOptions::default().with_whole_limit(9);
    let options = FetchOptions::default().with_ranges(ranges);
    let first = it.get_with("/", &[("range", "bytes=0-1")], &options);
    respond_with_ten(it.requests.next().await);
    assert_eq!(part(first).await, of_ten(0, 1));
    let get = |range| it.get_with("/", &[("range", range)], &options);
    let (same, other) = ([get("bytes=4-5"), get("bytes=4-5"), get("bytes=4-5")], get("bytes=7-8"));
    let received = [it.requests.next().await, it.requests.next().await];
    settle().await;
    assert!(it.requests.is_empty());
    received.into_iter().for_each(respond_with_ten);
    for fetch in same {
        assert_eq!(part(fetch).await, of_ten(4, 5));
    }
    assert_eq!(part(other).await, of_ten(7, 8));
}

#[tokio::test]
async fn without_a_limit_for_wholes_ranges_are_forwarded() {
    let mut it = setting();
    let options = FetchOptions::default().with_ranges(RangeOptions::default().with_whole_limit(0));
    for (first, last) in [(0, 1), (3, 4), (0, 9)] {
        let fetch = it.get_with("/", &[("range", &format!("bytes={first}-{last}"))], &options);
        let received = it.requests.next().await;
        assert!(received.request.headers().contains_key("range"));
        respond_with_ten(received);
        assert_eq!(part(fetch).await, of_ten(first, last));
    }
}

/// Twenty players revalidated a film, each on its own.
#[tokio::test]
async fn ranges_of_a_stale_response_are_one_revalidation() {
    let mut it = setting();
    it.fetch_and_store("/", FRESH, TEN).await;
    it.advance(61);
    let fetches: Vec<_> =
        (0..20).map(|n| it.get("/", &[("range", &format!("bytes=1-{}", n % 9 + 1))])).collect();
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["if-none-match"], "\"a\"");
    assert!(!received.request.headers().contains_key("range"));
    settle().await;
    assert!(it.requests.is_empty());
    received.respond(304, FRESH, b"");
    for (n, fetch) in fetches.into_iter().enumerate() {
        assert_eq!(part(fetch).await, of_ten(1, n % 9 + 1));
    }
    // A new representation: its range.
    it.advance(61);
    let fetch = it.get("/", &[("range", "bytes=1-2")]);
    it.requests.next().await.respond(
        200,
        &[("cache-control", "max-age=60"), ("etag", "\"b\"")],
        b"abcdefghij",
    );
    assert_eq!(part(fetch).await, (206, "bytes 1-2/10".into(), "bc".into()));
}

/// A client that continued a download got the rest of another version.
#[tokio::test]
async fn if_range_is_evaluated_on_the_whole() {
    let mut it = setting();
    let changed = it.get("/", &[("range", "bytes=0-"), ("if-range", "\"old\"")]);
    let received = it.requests.next().await;
    let (same, weak) =
        ([("range", "bytes=3-"), ("if-range", "\"a\"")], [("range", "bytes=3-"), ("if-range", "W/\"a\"")]);
    let (same, weak) = (it.get("/", &same), it.get("/", &weak));
    settle().await;
    respond_with_ten(received);
    let whole = (200, String::new(), "0123456789".to_owned());
    assert_eq!(part(changed).await, whole);
    assert_eq!(part(same).await, of_ten(3, 9));
    assert_eq!(part(weak).await, whole);
    assert!(it.requests.is_empty());
}

#[tokio::test]
async fn conditions_with_a_range_are_evaluated() {
    let mut it = setting();
    let current = [("range", "bytes=0-"), ("if-none-match", "\"a\"")];
    let fetch = it.get("/", &current);
    let received = it.requests.next().await;
    assert!(asks_for_whole(&received));
    respond_with_ten(received);
    assert_eq!(response_of(fetch).await.status(), 304);
    assert_eq!(it.get_stored("/").await.1, TEN);
    // A precondition is for the origin (RFC 9111 §4.3.2), and HEAD has no ranges.
    let fetch = it.get("/", &[("range", "bytes=0-"), ("if-match", "\"b\"")]);
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["range"], "bytes=0-");
    received.respond(412, &[], b"");
    assert_eq!(response_of(fetch).await.status(), 412);
    let fetch = it.send(request("HEAD", "/cold", &[("range", "bytes=0-")]));
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["range"], "bytes=0-");
    received.respond(200, FRESH, TEN);
    assert_eq!(response_of(fetch).await.content_length(), Some(10));
}

/// A purge during the fetch of the whole must win, for ranges as for all requests.
#[tokio::test]
async fn a_purge_during_the_fetch_of_the_whole_wins() {
    let mut it = setting();
    let before = it.get("/", &[("range", "bytes=0-")]);
    let sending = it.requests.next().await.respond_streaming(200, FRESH, Some(10));
    let before = response_of(before).await;
    let key = CacheKey::new(&TargetUri::parse("http://example.com/").expect("a target"));
    it.cache.purge(Scope::Key(&key)).await.expect("it purges");
    let after = it.get("/", &[("range", "bytes=0-")]);
    it.requests.next().await.respond(200, FRESH, b"abcdefghij");
    assert_eq!(part(after).await.2, "abcdefghij");
    assert!(sending.chunk(TEN).await);
    sending.end().await;
    assert_eq!(content(before).await.expect("whole"), TEN);
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    assert_eq!(it.get_stored("/").await.1, b"abcdefghij");
}

/// The length was being learned when the page was purged.
#[tokio::test]
async fn a_purge_while_the_length_is_learned_wins() {
    let mut it = setting();
    let before = it.get("/", &[("range", "bytes=2-4")]);
    let old = it.requests.next().await;
    let key = CacheKey::new(&TargetUri::parse("http://example.com/").expect("a target"));
    it.cache.purge(Scope::Key(&key)).await.expect("it purges");
    let after = it.get("/", &[("range", "bytes=2-4")]);
    let new = it.requests.next().await;
    respond_with_ten(old);
    assert_eq!(part(before).await, of_ten(2, 4));
    let fields = [FRESH, &[("content-range", "bytes 2-4/10")]].concat();
    new.respond(206, &fields, b"cde");
    assert_eq!(part(after).await.2, "cde", "a request after the purge got the purged response");
    assert_eq!(part(it.get("/", &[("range", "bytes=2-4")])).await.2, "cde");
}

/// A range of a variant must not be cut out of another one.
#[tokio::test]
async fn variants_keep_their_ranges() {
    let it = setting();
    let origin = FnOrigin::new(|_, request| {
        let coded = request.headers().contains_key("accept-encoding");
        let mut response = http::Response::builder().header("cache-control", "max-age=60");
        response = response.header("vary", "accept-encoding");
        if coded {
            response = response.header("content-encoding", "gzip");
        }
        let content = if coded { "coded, and shorter" } else { "plain, and rather longer" };
        Ok(response.body(content.into()).expect("a response"))
    });
    for _ in 0..2 {
        for (fields, expected) in
            [(&[][..], "in, and rather longer"), (&[("accept-encoding", "gzip")], "ed, and shorter")]
        {
            let fields = [&[("range", "bytes=0-")], fields].concat();
            let response = it
                .cache
                .fetch(request("GET", "/", &fields), Arc::clone(&origin) as Arc<dyn Origin>)
                .await
                .expect("a response");
            assert_eq!(response.headers().contains_key("content-encoding"), fields.len() == 2);
            let fields = [&[("range", "bytes=3-")], &fields[1..]].concat();
            let response = it
                .cache
                .fetch(request("GET", "/", &fields), Arc::clone(&origin) as Arc<dyn Origin>)
                .await
                .expect("a response");
            assert_eq!(content(response).await.expect("whole"), expected.as_bytes());
        }
    }
    assert_eq!(origin.count(), 2, "one fetch for each variant");
}
