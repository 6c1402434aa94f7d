//! Tests requests for ranges on a cold key with an origin that treats them badly, fails, or
//! forbids storing: the client never gets other bytes than the response states.

mod setting;

use std::{sync::Arc, time::Duration};

use larder_core::{FetchOptions, Lookup, Origin, OriginErrorKind, RangeOptions, RequestHead};
use larder_testkit::ManualOrigin;
use setting::{FetchTask, Setting, content, read, request, response_of, setting, settle};

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

/// Returns what `part` returns.
fn is(status: u16, range: &str, bytes: &str) -> (u16, String, String) {
    (status, range.to_owned(), bytes.to_owned())
}

/// Requests a range of `/`.
fn get(it: &Setting, range: &str) -> FetchTask {
    it.get("/", &[("range", range)])
}

/// Fetches the first two of `length` bytes, so that the length is known.
async fn learn(it: &mut Setting, length: &str) {
    let fetch = get(it, "bytes=0-1");
    let range = format!("bytes 0-1/{length}");
    it.requests.next().await.respond(206, &[FRESH, &[("content-range", &range)]].concat(), b"01");
    assert_eq!(part(fetch).await, is(206, &range, "01"));
}

#[tokio::test]
async fn a_range_beyond_the_end_is_the_origins_answer() {
    let mut it = setting();
    for _ in 0..2 {
        let fetches = [get(&it, "bytes=90-"), get(&it, "bytes=91-")];
        for _ in 0..2 {
            it.requests.next().await.respond(416, &[("content-range", "bytes */10")], b"");
        }
        for fetch in fetches {
            assert_eq!(part(fetch).await, is(416, "bytes */10", ""));
        }
    }
    // It concerns no other ranges: they share their fetch.
    let fetches = [get(&it, "bytes=0-1"), get(&it, "bytes=1-1")];
    let received = it.requests.next().await;
    settle().await;
    assert!(it.requests.is_empty());
    received.respond(206, &[FRESH, &[("content-range", "bytes 0-1/10")]].concat(), b"01");
    for (fetch, expected) in fetches.into_iter().zip(["01", "1"]) {
        assert_eq!(part(fetch).await.2, expected);
    }
}

/// An origin without ranges: each range of a document fetched all of it.
#[tokio::test]
async fn an_origin_that_ignores_ranges_is_asked_once() {
    let mut it = setting();
    let fetches: Vec<_> = (0..20).map(|n| get(&it, &format!("bytes={}-{}", n % 5, n % 5 + 1))).collect();
    let received = it.requests.next().await;
    settle().await;
    assert!(it.requests.is_empty());
    received.respond(200, FRESH, TEN);
    let mut fetches = fetches.into_iter();
    let leader = fetches.next().expect("twenty requests");
    assert_eq!(
        part(leader).await,
        is(200, "", "0123456789"),
        "the origin's answer, which RFC 9110 §14.2 permits"
    );
    for (n, fetch) in (1..).zip(fetches) {
        let (first, last) = (n % 5, n % 5 + 1);
        assert_eq!(
            part(fetch).await,
            is(
                206,
                &format!("bytes {first}-{last}/10"),
                std::str::from_utf8(&TEN[first..=last]).expect("text")
            )
        );
    }
    assert_eq!(part(get(&it, "bytes=9-")).await, is(206, "bytes 9-9/10", "9"));
    assert_eq!(it.get_stored("/").await.1, TEN);
}

/// The client compares `Content-Range` with its range; another client must not get it.
#[tokio::test]
async fn a_part_that_was_not_asked_for_goes_to_nobody_else() {
    let mut it = setting();
    let (leader, follower) = (get(&it, "bytes=0-1"), get(&it, "bytes=0-1"));
    it.requests.next().await.respond(206, &[FRESH, &[("content-range", "bytes 5-6/10")]].concat(), b"56");
    assert_eq!(part(leader).await, is(206, "bytes 5-6/10", "56"));
    let received = it.requests.next().await;
    assert!(!received.request.headers().contains_key("range"));
    received.respond(200, FRESH, TEN);
    assert_eq!(part(follower).await, is(206, "bytes 0-1/10", "01"));
}

/// A part that states a length that the whole does not have, and parts with too few or too many
/// bytes.
#[tokio::test]
async fn an_origin_that_lies_about_the_length_harms_nobody() {
    for (length, whole) in [("99", TEN), ("5", TEN), ("10", b"01")] {
        let mut it = setting();
        learn(&mut it, length).await;
        let fetch = get(&it, "bytes=4-5");
        it.requests.next().await.respond(200, FRESH, whole);
        let expected = if whole == TEN { is(206, "bytes 4-5/10", "45") } else { is(416, "bytes */2", "") };
        assert_eq!(part(fetch).await, expected);
        assert_eq!(it.get_stored("/").await.1, whole);
    }
    for bytes in [&b"0"[..], b"0123"] {
        let mut it = setting();
        let fetch = get(&it, "bytes=0-1");
        let sending = it.requests.next().await.respond_streaming(
            206,
            &[FRESH, &[("content-range", "bytes 0-1/10")]].concat(),
            None,
        );
        sending.chunk(bytes).await;
        sending.end().await;
        assert!(content(response_of(fetch).await).await.is_err(), "the body does not have the stated length");
        let again = get(&it, "bytes=0-1");
        it.requests.next().await.respond(206, &[FRESH, &[("content-range", "bytes 0-1/10")]].concat(), b"01");
        assert_eq!(part(again).await.2, "01", "nothing was stored");
    }
}

/// Without the length nothing can be decided: each request goes to the origin, without waiting.
#[tokio::test]
async fn parts_of_an_unknown_whole_are_forwarded() {
    let mut it = setting();
    let fields = [FRESH, &[("content-range", "bytes 0-1/*")]].concat();
    for round in 0..2 {
        let fetches: Vec<_> = (0..5).map(|_| get(&it, "bytes=0-1")).collect();
        if round == 0 {
            // The others wait for the first one, once.
            it.requests.next().await.respond(206, &fields, b"01");
        }
        let mut received = Vec::new();
        for _ in 0..5 - usize::from(round == 0) {
            received.push(it.requests.next().await);
        }
        received.into_iter().for_each(|one| one.respond(206, &fields, b"01"));
        for fetch in fetches {
            assert_eq!(part(fetch).await, is(206, "bytes 0-1/*", "01"));
        }
    }
}

/// The page of one user was fetched whole for a range, and would have been shared.
#[tokio::test]
async fn what_may_not_be_stored_is_forwarded_range_by_range() {
    for directive in ["no-store", "private"] {
        let mut it = setting();
        let fields = [("cache-control", directive), ("content-range", "bytes 0-1/10")];
        for round in 0..2 {
            let fetches: Vec<_> = (0..5).map(|_| get(&it, "bytes=0-1")).collect();
            let mut received = vec![it.requests.next().await];
            if round == 0 {
                settle().await;
                received.remove(0).respond(206, &fields, b"01");
            }
            while received.len() < 5 - usize::from(round == 0) {
                received.push(it.requests.next().await);
            }
            for one in received {
                assert_eq!(one.request.headers()["range"], "bytes=0-1");
                one.respond(206, &fields, b"01");
            }
            for fetch in fetches {
                assert_eq!(part(fetch).await, is(206, "bytes 0-1/10", "01"));
            }
        }
        assert!(it.stored("/").await.is_empty());
    }
}

/// The whole must not be stored, which its part did not show. The client still gets its range, out
/// of the same response.
#[tokio::test]
async fn a_range_is_cut_out_of_a_whole_that_may_not_be_stored() {
    let no_store = [("cache-control", "no-store"), ("etag", "\"a\"")];
    let mut it = setting();
    learn(&mut it, "10").await;
    let (fetch, beyond) = (get(&it, "bytes=4-5"), get(&it, "bytes=20-"));
    let sending = it.requests.next().await.respond_streaming(200, &no_store, Some(10));
    let cut = response_of(fetch).await;
    assert_eq!((cut.status().as_u16(), cut.content_length()), (206, Some(2)));
    let cut = tokio::spawn(content(cut));
    for chunk in ["01", "2", "34", "56"] {
        assert!(sending.chunk(chunk).await);
    }
    assert_eq!(cut.await.expect("no panic").expect("whole"), b"45");
    sending.closed().await;
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["range"], "bytes=20-");
    received.respond(416, &[], b"");
    assert_eq!(response_of(beyond).await.status(), 416);
    assert_eq!(it.stored("/").await.len(), 1, "the part, and no whole");
    // Without a length there is no Content-Range: the whole.
    let mut it = setting();
    learn(&mut it, "10").await;
    let fetch = get(&it, "bytes=4-5");
    let sending = it.requests.next().await.respond_streaming(200, &no_store, None);
    let whole = response_of(fetch).await;
    assert_eq!(whole.status(), 200);
    let whole = tokio::spawn(content(whole));
    assert!(sending.chunk(TEN).await);
    sending.end().await;
    assert_eq!(whole.await.expect("no panic").expect("whole"), TEN);
}

/// A truncated body must not look like the whole range.
#[tokio::test]
async fn a_whole_that_fails_in_the_middle_fails_the_ranges_that_lack_bytes() {
    for directive in ["max-age=60", "no-store"] {
        let mut it = setting();
        let leader = get(&it, "bytes=0-");
        let received = it.requests.next().await;
        let followers = [get(&it, "bytes=1-2"), get(&it, "bytes=3-8")];
        settle().await;
        let sending = received.respond_streaming(200, &[("cache-control", directive)], Some(10));
        assert!(sending.chunk("01234").await);
        let leader = response_of(leader).await;
        assert_eq!((leader.status().as_u16(), leader.content_length()), (206, Some(10)));
        if directive == "max-age=60" {
            let [short, long] = followers;
            assert_eq!(part(short).await, is(206, "bytes 1-2/10", "12"));
            let long = response_of(long).await;
            drop(sending);
            assert!(content(long).await.is_err(), "a truncated range ended as if it were whole");
        } else {
            drop(sending);
            for _ in followers {
                drop(it.requests.next().await);
            }
        }
        assert!(content(leader).await.is_err(), "a truncated range ended as if it were whole");
        assert!(it.cache.drain(Duration::from_secs(5)).await);
        assert!(it.stored("/").await.is_empty());
    }
}

#[tokio::test]
async fn a_whole_that_fails_at_once_is_tried_twice_and_is_then_an_error() {
    let mut it = setting();
    learn(&mut it, "10").await;
    let fetches: Vec<_> = (2..9).map(|n| get(&it, &format!("bytes={n}-"))).collect();
    it.requests.next().await.fail(OriginErrorKind::Connect);
    it.requests.next().await.fail(OriginErrorKind::Connect);
    for fetch in fetches {
        assert_eq!(fetch.await.expect("no panic").expect_err("no response").status(), 502);
    }
    // A server error is passed on.
    let fetch = get(&it, "bytes=2-");
    it.requests.next().await.respond(503, &[], b"busy");
    assert_eq!(part(fetch).await, is(503, "", "busy"));
    assert_eq!(part(get(&it, "bytes=1-1")).await, is(206, "bytes 1-1/10", "1"), "the part is still stored");
}

/// A client disconnects: before the head another one takes over, after it the fetch continues.
#[tokio::test]
async fn a_client_that_disconnects_takes_nothing_from_the_others() {
    let mut it = setting();
    let leader = get(&it, "bytes=0-1");
    let first = it.requests.next().await;
    let followers = [get(&it, "bytes=3-4"), get(&it, "bytes=5-6")];
    settle().await;
    leader.abort();
    let second = it.requests.next().await;
    assert!(!first.is_awaited());
    assert_eq!(second.request.headers()["range"], "bytes=3-4");
    second.respond(206, &[FRESH, &[("content-range", "bytes 3-4/10")]].concat(), b"34");
    let [three, five] = followers;
    assert_eq!(part(three).await.2, "34");
    let third = it.requests.next().await;
    let sending = third.respond_streaming(200, FRESH, Some(10));
    drop(response_of(five).await);
    settle().await;
    assert!(sending.chunk(TEN).await, "the store still takes it");
    sending.end().await;
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    assert_eq!(part(get(&it, "bytes=7-8")).await, is(206, "bytes 7-8/10", "78"));
}

/// A handler of the same program serves one request, which is enough for the whole.
#[tokio::test]
async fn an_origin_for_one_request_serves_the_whole() {
    let it = setting();
    let (origin, mut requests) = ManualOrigin::single_request();
    let sent = request("GET", "/", &[("range", "bytes=0-")]);
    let key = larder_core::CacheKey::from_parts("http", "example.com", "/").expect("a key");
    let cache = it.cache.clone();
    let fetch: FetchTask = tokio::spawn(async move {
        let Lookup::Miss(miss) = cache.lookup(&key, &RequestHead::new(sent.method(), sent.headers())).await
        else {
            panic!("nothing is stored")
        };
        miss.fetch(sent, origin as Arc<dyn Origin>, &FetchOptions::default()).await
    });
    let received = requests.next().await;
    assert!(!received.request.headers().contains_key("range"));
    received.respond(200, FRESH, TEN);
    assert_eq!(part(fetch).await, is(206, "bytes 0-9/10", "0123456789"));
    assert_eq!(part(get(&it, "bytes=3-3")).await, is(206, "bytes 3-3/10", "3"));
}

/// What is too long for the store is not fetched again and again as a whole.
#[tokio::test]
async fn a_range_of_a_whole_that_is_too_long_to_store() {
    let mut it = setting();
    let options = FetchOptions::default().with_max_object(5).with_ranges(RangeOptions::default());
    learn(&mut it, "10").await;
    let fetch = it.get_with("/", &[("range", "bytes=4-5")], &options);
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["range"], "bytes=4-5", "the whole could not be stored");
    received.respond(206, &[FRESH, &[("content-range", "bytes 4-5/10")]].concat(), b"45");
    assert_eq!(part(fetch).await, is(206, "bytes 4-5/10", "45"));
    // Unless the client wants all of it.
    let fetch = it.get_with("/other", &[("range", "bytes=0-")], &options);
    it.requests.next().await.respond(200, FRESH, TEN);
    assert_eq!(part(fetch).await, is(206, "bytes 0-9/10", "0123456789"));
    assert!(it.stored("/other").await.is_empty());
    let whole = it.get_with("/other", &[], &options);
    it.requests.next().await.respond(200, FRESH, TEN);
    assert_eq!(read(whole).await.1, TEN);
}
