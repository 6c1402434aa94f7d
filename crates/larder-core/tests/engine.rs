//! What a request gets, one at a time: hits, validation, staleness, failures, methods.

mod setting;

use std::{sync::Arc, time::Duration};

use larder_core::{Body, CacheKey, FetchOptions, Lookup, Origin, OriginErrorKind, RequestHead, TargetUri};
use larder_testkit::{Fault, ManualOrigin};
use setting::{answered, content, read, request, setting, settle};

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[tokio::test]
async fn miss_hit_and_age() {
    let mut it = setting();
    let asked = it.ask("/", &[]);
    it.requests.next().await.answer(200, FRESH, b"x");
    assert_eq!(read(asked).await.0, "fwd=uri-miss; fwd-status=200; stored");
    it.advance(20);
    let answer = answered(it.ask("/", &[])).await;
    assert_eq!(answer.cache_status().to_string(), "hit; ttl=40");
    assert_eq!(answer.age().map(|age| age.as_secs()), Some(20));
    let response = it.cache.into_http(answer);
    assert_eq!(response.headers()["age"], "20");
    assert_eq!(response.headers()["cache-status"], "larder; hit; ttl=40");
}

/// Several header fields of one name became one; a date was rewritten.
#[tokio::test]
async fn every_line_of_every_field_comes_back_as_it_was() {
    let mut it = setting();
    let fields = [
        ("cache-control", "max-age=60"),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("age", "0"),
        ("link", "<a>"),
        ("link", "<b>"),
        ("cache-status", "upstream; hit"),
        ("x-obs", "caf\u{e9}"),
    ];
    // An old Date would make it stale: say so in the lifetime.
    let fields = fields
        .map(|(name, value)| (name, if name == "cache-control" { "max-age=2000000000" } else { value }));
    it.fetched("/", &fields, b"x").await;
    let response = it.cache.into_http(answered(it.ask("/", &[])).await);
    let lines = |name: &str| {
        response.headers().get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(lines("date"), [b"Sun, 06 Nov 1994 08:49:37 GMT"]);
    assert_eq!(lines("link"), [b"<a>", b"<b>"]);
    assert_eq!(lines("x-obs"), ["caf\u{e9}".as_bytes()]);
    assert_eq!(lines("cache-status")[0], b"upstream; hit", "the origin's own member stays, and comes first");
    assert_eq!(lines("cache-status").len(), 2);
}

#[tokio::test]
async fn a_304_freshens_and_the_body_stays() {
    let mut it = setting();
    it.fetched("/", &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"kept").await;
    it.advance(61);
    let asked = it.ask("/", &[]);
    let arrived = it.requests.next().await;
    assert_eq!(arrived.request.headers()["if-none-match"], "\"a\"");
    arrived.answer(304, &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-new", "1")], b"");
    let answer = answered(asked).await;
    assert_eq!(answer.cache_status().to_string(), "fwd=stale; fwd-status=304; stored");
    assert_eq!((answer.status().as_u16(), answer.headers()["x-new"].as_bytes()), (200, &b"1"[..]));
    assert_eq!(content(answer).await.expect("whole"), b"kept");
    assert_eq!(it.stored("/").await, ("hit; ttl=60".to_owned(), b"kept".to_vec()));
}

/// The answer to a revalidation was 200, and the store kept the old one.
#[tokio::test]
async fn a_200_to_a_revalidation_replaces() {
    let mut it = setting();
    it.fetched("/", &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"old").await;
    it.advance(61);
    let asked = it.ask("/", &[]);
    it.requests.next().await.answer(200, &[("cache-control", "max-age=60"), ("etag", "\"b\"")], b"new");
    assert_eq!(read(asked).await.1, b"new");
    assert_eq!(it.stored("/").await.1, b"new");
}

#[tokio::test]
async fn a_304_that_selects_none_of_several_is_asked_again_without_conditions() {
    let mut it = setting();
    for (language, tag) in [("de", "\"de\""), ("en", "\"en\"")] {
        let asked = it.ask("/", &[("accept-language", language)]);
        let fields = [("cache-control", "max-age=60"), ("vary", "accept-language"), ("etag", tag)];
        it.requests.next().await.answer(200, &fields, b"old");
        read(asked).await;
    }
    it.advance(61);
    let asked = it.ask("/", &[("accept-language", "de")]);
    let arrived = it.requests.next().await;
    assert_eq!(arrived.request.headers()["if-none-match"], "\"de\", \"en\"");
    arrived.answer(304, &[("etag", "\"fr\"")], b"");
    let again = it.requests.next().await;
    assert!(!again.request.headers().contains_key("if-none-match"));
    again.answer(200, &[("cache-control", "max-age=60"), ("vary", "accept-language")], b"new");
    assert_eq!(read(asked).await.1, b"new");
}

/// With a stale value at hand, the second request still waited for the refresh of the first.
#[tokio::test]
async fn stale_while_revalidate_makes_nobody_wait_and_asks_once() {
    let mut it = setting();
    let fields = [("cache-control", "max-age=60, stale-while-revalidate=60"), ("etag", "\"a\"")];
    it.fetched("/", &fields, b"old").await;
    it.advance(70);
    for _ in 0..10 {
        assert_eq!(read(it.ask("/", &[])).await, ("hit; ttl=-10".to_owned(), b"old".to_vec()));
    }
    let arrived = it.requests.next().await;
    settle().await;
    assert!(it.requests.is_empty(), "one revalidation for a key");
    arrived.answer(200, &fields, b"new");
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    assert_eq!(it.stored("/").await.1, b"new");
}

/// Looked up before a revalidation ended, and going on after it: what is stored is fresh by then.
#[tokio::test]
async fn a_request_overtaken_by_a_revalidation_begins_no_second_one() {
    let mut it = setting();
    let fields = [("cache-control", "max-age=60, stale-while-revalidate=60")];
    it.fetched("/", &fields, b"old").await;
    it.advance(70);
    let overtaken = request("GET", "/", &[]);
    let key = CacheKey::new(&TargetUri::from_uri(overtaken.uri()).expect("a target"));
    let head = RequestHead::new(overtaken.method(), overtaken.headers());
    let Lookup::Miss(found) = it.cache.lookup(&key, &head).await else { panic!("it is stale") };
    assert_eq!(read(it.ask("/", &[])).await.1, b"old");
    it.requests.next().await.answer(200, &fields, b"new");
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    let origin = Arc::clone(&it.origin) as Arc<dyn Origin>;
    let answer =
        it.cache.resume(found, overtaken, origin, &FetchOptions::default()).await.expect("an answer");
    assert!(answer.cache_status().hit);
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    assert!(it.requests.is_empty(), "asked a second time");
    assert_eq!(it.stored("/").await.1, b"new");
}

#[tokio::test]
async fn an_origin_that_is_gone_with_its_request_is_asked_before_the_answer() {
    let mut it = setting();
    let fields = [("cache-control", "max-age=60, stale-while-revalidate=60"), ("etag", "\"a\"")];
    it.fetched("/", &fields, b"old").await;
    it.advance(70);
    let (origin, mut requests) = ManualOrigin::of_one_request();
    let cache = it.cache.clone();
    let asked =
        tokio::spawn(async move { cache.fetch(request("GET", "/", &[]), origin as Arc<dyn Origin>).await });
    requests.next().await.answer(200, &fields, b"new");
    assert_eq!(read(asked).await.1, b"new");
}

/// It worked only on the request after the next: the background refresh hid the error.
#[tokio::test]
async fn stale_if_error_stands_in_on_the_very_request() {
    let mut it = setting();
    it.fetched("/", &[("cache-control", "max-age=60, stale-if-error=60")], b"old").await;
    it.advance(70);
    let asked = it.ask("/", &[]);
    it.requests.next().await.answer(503, &[], b"down");
    let (status, body) = read(asked).await;
    assert_eq!(
        (status.as_str(), &*body),
        ("fwd=stale; fwd-status=503; ttl=-10; detail=stale-if-error", &b"old"[..])
    );
    let asked = it.ask("/", &[]);
    it.requests.next().await.fail(OriginErrorKind::Connect);
    assert_eq!(read(asked).await.1, b"old");
}

/// `must-revalidate`, then the origin answered 503: the stale response was served with 200.
#[tokio::test]
async fn must_revalidate_and_a_503_is_a_503() {
    let mut it = setting();
    it.fetched("/", &[("cache-control", "max-age=60, must-revalidate, stale-if-error=60")], b"old").await;
    it.advance(70);
    let asked = it.ask("/", &[]);
    it.requests.next().await.answer(503, &[], b"down");
    let answer = answered(asked).await;
    assert_eq!(answer.status(), 503);
    let asked = it.ask("/", &[]);
    it.requests.next().await.fail(OriginErrorKind::Connect);
    assert_eq!(asked.await.expect("no panic").expect_err("nothing may be served").status(), 502);
}

#[tokio::test]
async fn only_if_cached_never_reaches_the_origin() {
    let mut it = setting();
    let answer = answered(it.ask("/", &[("cache-control", "only-if-cached")])).await;
    assert_eq!(answer.status(), 504);
    it.fetched("/", FRESH, b"x").await;
    assert_eq!(answered(it.ask("/", &[("cache-control", "only-if-cached")])).await.status(), 200);
    it.advance(61);
    assert_eq!(answered(it.ask("/", &[("cache-control", "only-if-cached")])).await.status(), 504);
    assert!(it.requests.is_empty());
}

#[tokio::test]
async fn conditions_ranges_and_head_are_answered_from_what_is_stored() {
    let mut it = setting();
    it.fetched(
        "/",
        &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("content-length", "10")],
        b"0123456789",
    )
    .await;
    let answer = answered(it.ask("/", &[("if-none-match", "W/\"a\"")])).await;
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("content-length")), (304, false));
    let answer = answered(it.ask("/", &[("range", "bytes=2-4")])).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-range"].as_bytes()),
        (206, &b"bytes 2-4/10"[..])
    );
    assert_eq!(content(answer).await.expect("whole"), b"234");
    let answer = answered(it.ask("/", &[("range", "bytes=10-")])).await;
    assert_eq!(answer.status(), 416);
    let answer = answered(it.send(request("HEAD", "/", &[]))).await;
    assert_eq!((answer.status().as_u16(), answer.content_length()), (200, Some(10)));
    assert_eq!(content(answer).await.expect("whole"), b"");
    assert!(it.requests.is_empty());
}

/// A range request on a miss was answered with a cut body, or 416; a 206 was stored and served as the whole.
#[tokio::test]
async fn a_range_on_a_miss_goes_to_the_origin_and_is_never_the_whole() {
    let mut it = setting();
    let asked = it.ask("/", &[("range", "bytes=2-4")]);
    let arrived = it.requests.next().await;
    assert_eq!(arrived.request.headers()["range"], "bytes=2-4");
    let fields = [("cache-control", "max-age=60"), ("content-range", "bytes 2-4/10"), ("etag", "\"a\"")];
    arrived.answer(206, &fields, b"234");
    assert_eq!(answered(asked).await.status(), 206);
    // Within the part: from the store.
    let answer = answered(it.ask("/", &[("range", "bytes=3-4")])).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-range"].as_bytes()),
        (206, &b"bytes 3-4/10"[..])
    );
    assert_eq!(content(answer).await.expect("whole"), b"34");
    assert!(it.requests.is_empty());
    // Beyond it, or all of it: not.
    let asked = it.ask("/", &[]);
    it.requests.next().await.answer(200, &[("cache-control", "max-age=60")], b"0123456789");
    assert_eq!(read(asked).await.1, b"0123456789");
}

#[tokio::test]
async fn a_206_of_another_length_than_it_says_is_passed_on_and_not_stored() {
    let mut it = setting();
    for _ in 0..2 {
        let asked = it.ask("/", &[("range", "bytes=2-6")]);
        let fields = [("cache-control", "max-age=60"), ("content-range", "bytes 2-6/10")];
        it.requests.next().await.answer(206, &fields, b"234");
        let answer = answered(asked).await;
        assert_eq!(answer.status(), 206);
        assert_eq!(content(answer).await.expect("as the origin sent it"), b"234");
    }
}

/// A conditional request on a cold cache never filled it.
#[tokio::test]
async fn a_conditional_request_that_brings_the_whole_fills_the_cache() {
    let mut it = setting();
    let asked = it.ask("/", &[("if-none-match", "\"old\"")]);
    let arrived = it.requests.next().await;
    assert_eq!(arrived.request.headers()["if-none-match"], "\"old\"", "the origin evaluates it");
    arrived.answer(200, &[("cache-control", "max-age=60"), ("etag", "\"new\"")], b"new");
    assert_eq!(read(asked).await.1, b"new");
    assert_eq!(it.stored("/").await.1, b"new");
}

#[tokio::test]
async fn a_clients_own_condition_is_answered_after_our_validation() {
    let mut it = setting();
    it.fetched("/", &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"old").await;
    it.advance(61);
    let asked = it.ask("/", &[("if-none-match", "\"a\"")]);
    it.requests.next().await.answer(304, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"");
    assert_eq!(answered(asked).await.status(), 304);
    it.advance(61);
    let asked = it.ask("/", &[("if-none-match", "\"b\"")]);
    it.requests.next().await.answer(200, &[("cache-control", "max-age=60"), ("etag", "\"b\"")], b"new");
    assert_eq!(answered(asked).await.status(), 304, "the client has what has just come");
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    assert_eq!(it.stored("/").await.1, b"new", "and it was stored all the same");
}

#[tokio::test]
async fn unsafe_methods_invalidate_before_their_client_hears_of_it() {
    let mut it = setting();
    for path in ["/a", "/b", "/c"] {
        it.fetched(path, FRESH, b"old").await;
    }
    let asked = it.send(request("POST", "/a", &[]));
    it.requests.next().await.answer(
        201,
        &[("location", "/b"), ("content-location", "http://other.org/c")],
        b"",
    );
    assert_eq!(answered(asked).await.status(), 201);
    for path in ["/a", "/b"] {
        let asked = it.ask(path, &[]);
        it.requests.next().await.answer(200, FRESH, b"new");
        assert_eq!(read(asked).await.1, b"new");
    }
    assert_eq!(it.stored("/c").await.1, b"old");
    let asked = it.send(request("DELETE", "/c", &[]));
    it.requests.next().await.answer(500, &[], b"");
    read(asked).await;
    assert_eq!(it.stored("/c").await.1, b"old", "an error invalidates nothing");
}

#[tokio::test]
async fn groups_are_invalidated_by_the_response_to_an_unsafe_request() {
    let mut it = setting();
    let grouped = [("cache-control", "max-age=60"), ("cache-groups", "\"users\"")];
    it.fetched("/users", &grouped, b"old").await;
    it.fetched("/users/42", &grouped, b"old").await;
    it.fetched("/about", FRESH, b"old").await;
    let asked = it.send(request("PUT", "/elsewhere", &[]));
    it.requests.next().await.answer(200, &[("cache-group-invalidation", "\"users\"")], b"");
    read(asked).await;
    for path in ["/users", "/users/42"] {
        let asked = it.ask(path, &[]);
        it.requests.next().await.answer(200, &grouped, b"new");
        assert_eq!(read(asked).await.1, b"new");
    }
    assert_eq!(it.stored("/about").await.1, b"old");
}

/// What a GET's content said to the origin is not in the key: its response must not be another's.
#[tokio::test]
async fn a_get_with_content_poisons_nobody() {
    let mut it = setting();
    let mut fat = request("GET", "/", &[]);
    *fat.body_mut() = Body::from("as=admin");
    let asked = it.send(fat);
    it.requests.next().await.answer(200, FRESH, b"for the admin");
    assert_eq!(read(asked).await.1, b"for the admin");
    let asked = it.ask("/", &[]);
    it.requests.next().await.answer(200, FRESH, b"for all");
    assert_eq!(read(asked).await.1, b"for all");
}

#[tokio::test]
async fn what_is_asked_for_is_what_is_keyed() {
    let mut it = setting();
    let asked = it.ask("/a/../b?x=%2f", &[]);
    let arrived = it.requests.next().await;
    assert_eq!(arrived.request.uri(), "http://example.com/b?x=%2F", "the origin gets the normal form");
    arrived.answer(200, FRESH, b"b");
    read(asked).await;
    assert_eq!(it.stored("/b?x=%2F").await.1, b"b");
}

/// The store is down, slow, or full: a client notices nothing but a miss.
#[tokio::test(start_paused = true)]
async fn a_store_fault_is_never_a_clients_error() {
    for fault in [
        Fault::Down,
        Fault::Hangs,
        Fault::Slow(Duration::from_secs(3)),
        Fault::FullAfter(3),
        Fault::FailsAtCommit,
    ] {
        let mut it = setting();
        it.fault(fault);
        for _ in 0..2 {
            let asked = it.ask("/", &[]);
            it.requests.next().await.answer(200, FRESH, b"from the origin");
            assert_eq!(read(asked).await.1, b"from the origin", "{fault:?}");
            it.cache.drain(Duration::from_secs(60)).await;
            if matches!(fault, Fault::Slow(_)) {
                break;
            }
        }
        it.fault(Fault::None);
    }
}

/// An object larger than the store was cut, status 200.
#[tokio::test]
async fn a_store_that_fills_up_half_way_cuts_nobody_off() {
    let mut it = setting();
    it.fault(Fault::FullAfter(100_000));
    let (quick, slow) = (it.ask("/", &[]), it.ask("/", &[]));
    let sending = it.requests.next().await.begin(200, FRESH, None);
    assert!(sending.chunk(vec![1; 65_536]).await);
    let (quick, slow) = (answered(quick).await, answered(slow).await);
    let (quick, slow) = (tokio::spawn(content(quick)), tokio::spawn(content(slow)));
    for _ in 0..20 {
        assert!(sending.chunk(vec![1; 65_536]).await);
    }
    sending.end().await;
    for reader in [quick, slow] {
        assert_eq!(reader.await.expect("no panic").expect("whole").len(), 21 * 65_536);
    }
    it.fault(Fault::None);
    let asked = it.ask("/", &[]);
    it.requests.next().await.answer(200, FRESH, b"again");
    assert_eq!(read(asked).await.1, b"again", "nothing of it was stored");
}

/// A corrupt or unreadable entry failed the request for ever: here the next one heals it.
#[tokio::test]
async fn an_endless_body_without_readers_is_given_up() {
    let mut it = setting();
    it.fault(Fault::FullAfter(1000));
    let asked = it.ask("/", &[]);
    let sending = it.requests.next().await.begin(200, FRESH, None);
    assert!(sending.chunk(vec![1; 65_536]).await);
    drop(answered(asked).await);
    while sending.chunk(vec![1; 65_536]).await {}
    sending.given_up().await;
}

#[tokio::test]
async fn a_vary_that_is_different_for_everyone_does_not_fill_the_store() {
    let mut it = setting();
    let fields = [("cache-control", "max-age=60"), ("vary", "user-agent")];
    for n in 0..200 {
        let asked = it.ask("/", &[("user-agent", &format!("agent {n}"))]);
        it.requests.next().await.answer(200, &fields, b"x");
        read(asked).await;
    }
    let kept =
        larder_core::CacheStore::lookup(&it.store, &larder_testkit::key("/")).await.expect("it looks up");
    assert!((1..=64).contains(&kept.len()), "{} variants", kept.len());
}

#[tokio::test]
async fn a_clock_that_went_back_makes_it_ask() {
    let mut it = setting();
    it.fetched("/", &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"x").await;
    it.clock.set_back(Duration::from_secs(86_400));
    let asked = it.ask("/", &[]);
    it.requests.next().await.answer(304, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"");
    assert_eq!(read(asked).await.1, b"x");
}
