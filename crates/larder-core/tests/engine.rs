//! Tests what a single request gets: hits, validation, staleness, failures and methods.

mod setting;

use std::{sync::Arc, time::Duration};

use larder_core::{Body, CacheKey, FetchOptions, Lookup, Origin, OriginErrorKind, RequestHead, TargetUri};
use larder_testkit::{Fault, ManualOrigin};
use setting::{content, read, request, response_of, setting, settle};

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[tokio::test]
async fn miss_hit_and_age() {
    let mut it = setting();
    let fetch = it.get("/", &[]);
    it.requests.next().await.respond(200, FRESH, b"x");
    assert_eq!(read(fetch).await.0, "fwd=uri-miss; fwd-status=200; stored");
    it.advance(20);
    let response = response_of(it.get("/", &[])).await;
    assert_eq!(response.cache_status().to_string(), "hit; ttl=40");
    assert_eq!(response.age().map(|age| age.as_secs()), Some(20));
    let response = it.cache.into_http(response);
    assert_eq!(response.headers()["age"], "20");
    assert_eq!(response.headers()["cache-status"], "larder; hit; ttl=40");
}

/// Several header fields of one name were merged into one, and a date was rewritten.
#[tokio::test]
async fn every_header_line_is_served_unchanged() {
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
    // The old Date would make the response stale, so the lifetime is long.
    let fields = fields
        .map(|(name, value)| (name, if name == "cache-control" { "max-age=2000000000" } else { value }));
    it.fetch_and_store("/", &fields, b"x").await;
    let response = it.cache.into_http(response_of(it.get("/", &[])).await);
    let lines = |name: &str| {
        response.headers().get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(lines("date"), [b"Sun, 06 Nov 1994 08:49:37 GMT"]);
    assert_eq!(lines("link"), [b"<a>", b"<b>"]);
    assert_eq!(lines("x-obs"), ["caf\u{e9}".as_bytes()]);
    assert_eq!(lines("cache-status")[0], b"upstream; hit", "the origin's own member stays, and comes first");
    assert_eq!(lines("cache-status").len(), 2);
}

/// A page was stored. Alice revalidated it, and the 304 had a cookie for her: the next client got a
/// hit with Alice's cookie. HEAD with her session did the same.
#[tokio::test]
async fn one_users_304_or_head_does_not_change_what_others_get() {
    let mut it = setting();
    let page = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
    it.fetch_and_store("/", &page, b"page").await;
    let alice = [page[0], page[1], ("set-cookie", "session=alice")];
    let head = it.send(request("HEAD", "/", &[("cache-control", "no-cache")]));
    it.requests.next().await.respond(200, &alice, b"");
    assert_eq!(response_of(head).await.headers()["set-cookie"], "session=alice");
    assert_eq!(it.get_stored("/").await, ("hit; ttl=60".to_owned(), b"page".to_vec()));
    let response = response_of(it.get("/", &[])).await;
    assert!(!response.headers().contains_key("set-cookie"));

    it.advance(61);
    let fetch = it.get("/", &[]);
    it.requests.next().await.respond(304, &alice, b"");
    let response = response_of(fetch).await;
    assert_eq!(
        (response.status().as_u16(), response.headers()["set-cookie"].as_bytes()),
        (200, &b"session=alice"[..])
    );
    let fetch = it.get("/", &[]);
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["if-none-match"], "\"a\"", "the page is still stored");
    received.respond(304, &page, b"");
    let response = response_of(fetch).await;
    assert!(!response.headers().contains_key("set-cookie"));
    assert_eq!(content(response).await.expect("whole"), b"page");
}

#[tokio::test]
async fn a_304_freshens_and_the_body_stays() {
    let mut it = setting();
    it.fetch_and_store("/", &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"kept").await;
    it.advance(61);
    let fetch = it.get("/", &[]);
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["if-none-match"], "\"a\"");
    received.respond(304, &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-new", "1")], b"");
    let response = response_of(fetch).await;
    assert_eq!(response.cache_status().to_string(), "fwd=stale; fwd-status=304; stored");
    assert_eq!((response.status().as_u16(), response.headers()["x-new"].as_bytes()), (200, &b"1"[..]));
    assert_eq!(content(response).await.expect("whole"), b"kept");
    assert_eq!(it.get_stored("/").await, ("hit; ttl=60".to_owned(), b"kept".to_vec()));
}

/// The origin answered a revalidation with 200, and the store kept the old response.
#[tokio::test]
async fn a_200_to_a_revalidation_replaces() {
    let mut it = setting();
    it.fetch_and_store("/", &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"old").await;
    it.advance(61);
    let fetch = it.get("/", &[]);
    it.requests.next().await.respond(200, &[("cache-control", "max-age=60"), ("etag", "\"b\"")], b"new");
    assert_eq!(read(fetch).await.1, b"new");
    assert_eq!(it.get_stored("/").await.1, b"new");
}

#[tokio::test]
async fn a_304_that_selects_no_variant_is_fetched_again_without_conditions() {
    let mut it = setting();
    for (language, tag) in [("de", "\"de\""), ("en", "\"en\"")] {
        let fetch = it.get("/", &[("accept-language", language)]);
        let fields = [("cache-control", "max-age=60"), ("vary", "accept-language"), ("etag", tag)];
        it.requests.next().await.respond(200, &fields, b"old");
        read(fetch).await;
    }
    it.advance(61);
    let fetch = it.get("/", &[("accept-language", "de")]);
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["if-none-match"], "\"de\", \"en\"");
    received.respond(304, &[("etag", "\"fr\"")], b"");
    let again = it.requests.next().await;
    assert!(!again.request.headers().contains_key("if-none-match"));
    again.respond(200, &[("cache-control", "max-age=60"), ("vary", "accept-language")], b"new");
    assert_eq!(read(fetch).await.1, b"new");
}

/// A second request waited for the refresh of the first although a stale response was available.
#[tokio::test]
async fn stale_while_revalidate_serves_at_once_and_revalidates_once() {
    let mut it = setting();
    let fields = [("cache-control", "max-age=60, stale-while-revalidate=60"), ("etag", "\"a\"")];
    it.fetch_and_store("/", &fields, b"old").await;
    it.advance(70);
    for _ in 0..10 {
        assert_eq!(read(it.get("/", &[])).await, ("hit; ttl=-10".to_owned(), b"old".to_vec()));
    }
    let received = it.requests.next().await;
    settle().await;
    assert!(it.requests.is_empty(), "one revalidation for each key");
    received.respond(200, &fields, b"new");
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    assert_eq!(it.get_stored("/").await.1, b"new");
}

/// A lookup that happens before a revalidation ends, and continues after it, finds a fresh
/// response.
#[tokio::test]
async fn a_request_overtaken_by_a_revalidation_starts_no_second_one() {
    let mut it = setting();
    let fields = [("cache-control", "max-age=60, stale-while-revalidate=60")];
    it.fetch_and_store("/", &fields, b"old").await;
    it.advance(70);
    let overtaken = request("GET", "/", &[]);
    let key = CacheKey::new(&TargetUri::from_uri(overtaken.uri()).expect("a target"));
    let head = RequestHead::new(overtaken.method(), overtaken.headers());
    let Lookup::Miss(miss) = it.cache.lookup(&key, &head).await else { panic!("it is stale") };
    assert_eq!(read(it.get("/", &[])).await.1, b"old");
    it.requests.next().await.respond(200, &fields, b"new");
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    let origin = Arc::clone(&it.origin) as Arc<dyn Origin>;
    let response = miss.fetch(overtaken, origin, &FetchOptions::default()).await.expect("a response");
    assert!(response.cache_status().hit);
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    assert!(it.requests.is_empty(), "a second revalidation was sent");
    assert_eq!(it.get_stored("/").await.1, b"new");
}

#[tokio::test]
async fn an_origin_bound_to_its_request_revalidates_before_the_response() {
    let mut it = setting();
    let fields = [("cache-control", "max-age=60, stale-while-revalidate=60"), ("etag", "\"a\"")];
    it.fetch_and_store("/", &fields, b"old").await;
    it.advance(70);
    let (origin, mut requests) = ManualOrigin::single_request();
    let cache = it.cache.clone();
    let fetch =
        tokio::spawn(async move { cache.fetch(request("GET", "/", &[]), origin as Arc<dyn Origin>).await });
    requests.next().await.respond(200, &fields, b"new");
    assert_eq!(read(fetch).await.1, b"new");
}

/// A stale response was served only to the request after the next, because a background refresh hid
/// the error.
#[tokio::test]
async fn stale_if_error_applies_to_the_failed_request_itself() {
    let mut it = setting();
    it.fetch_and_store("/", &[("cache-control", "max-age=60, stale-if-error=60")], b"old").await;
    it.advance(70);
    let fetch = it.get("/", &[]);
    it.requests.next().await.respond(503, &[], b"down");
    let (status, body) = read(fetch).await;
    assert_eq!(
        (status.as_str(), &*body),
        ("fwd=stale; fwd-status=503; ttl=-10; detail=stale-if-error", &b"old"[..])
    );
    let fetch = it.get("/", &[]);
    it.requests.next().await.fail(OriginErrorKind::Connect);
    assert_eq!(read(fetch).await.1, b"old");
}

/// With `must-revalidate` and a 503 from the origin, the stale response was served with status 200.
#[tokio::test]
async fn must_revalidate_and_a_503_is_a_503() {
    let mut it = setting();
    it.fetch_and_store("/", &[("cache-control", "max-age=60, must-revalidate, stale-if-error=60")], b"old")
        .await;
    it.advance(70);
    let fetch = it.get("/", &[]);
    it.requests.next().await.respond(503, &[], b"down");
    let response = response_of(fetch).await;
    assert_eq!(response.status(), 503);
    let fetch = it.get("/", &[]);
    it.requests.next().await.fail(OriginErrorKind::Connect);
    assert_eq!(fetch.await.expect("no panic").expect_err("nothing may be served").status(), 502);
}

#[tokio::test]
async fn only_if_cached_never_reaches_the_origin() {
    let mut it = setting();
    let response = response_of(it.get("/", &[("cache-control", "only-if-cached")])).await;
    assert_eq!(response.status(), 504);
    it.fetch_and_store("/", FRESH, b"x").await;
    assert_eq!(response_of(it.get("/", &[("cache-control", "only-if-cached")])).await.status(), 200);
    it.advance(61);
    assert_eq!(response_of(it.get("/", &[("cache-control", "only-if-cached")])).await.status(), 504);
    assert!(it.requests.is_empty());
}

#[tokio::test]
async fn conditions_ranges_and_head_are_served_from_the_store() {
    let mut it = setting();
    it.fetch_and_store(
        "/",
        &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("content-length", "10")],
        b"0123456789",
    )
    .await;
    let response = response_of(it.get("/", &[("if-none-match", "W/\"a\"")])).await;
    assert_eq!((response.status().as_u16(), response.headers().contains_key("content-length")), (304, false));
    let response = response_of(it.get("/", &[("range", "bytes=2-4")])).await;
    assert_eq!(
        (response.status().as_u16(), response.headers()["content-range"].as_bytes()),
        (206, &b"bytes 2-4/10"[..])
    );
    assert_eq!(content(response).await.expect("whole"), b"234");
    let response = response_of(it.get("/", &[("range", "bytes=10-")])).await;
    assert_eq!(response.status(), 416);
    let response = response_of(it.send(request("HEAD", "/", &[]))).await;
    assert_eq!((response.status().as_u16(), response.content_length()), (200, Some(10)));
    assert_eq!(content(response).await.expect("whole"), b"");
    assert!(it.requests.is_empty());
}

/// The body of GET that a handler returned for HEAD was passed on to the client. A miss was then
/// another response than a hit.
#[tokio::test]
async fn a_response_to_head_has_no_body() {
    let mut it = setting();
    // With content, the request passes unchanged.
    let mut with_content = request("HEAD", "/", &[]);
    *with_content.body_mut() = Body::from("content");
    for (head, uncacheable) in [(request("HEAD", "/", &[]), false), (with_content, true)] {
        let fetch = it.send(head);
        it.requests.next().await.respond(200, FRESH, b"0123456789");
        let response = response_of(fetch).await;
        assert_eq!(response.content_length(), Some(10), "{uncacheable}");
        let response = it.cache.into_http(response);
        assert!(response.body().is_empty() && response.headers()["content-length"] == "10", "{uncacheable}");
    }
    let fetch = it.send(request("HEAD", "/", &[]));
    let body = it.requests.next().await.respond_streaming(200, &[("content-length", "7")], None);
    let response = it.cache.into_http(response_of(fetch).await);
    assert!(response.body().is_empty() && response.headers()["content-length"] == "7");
    drop(body);
    let not_cached = response_of(it.send(request("HEAD", "/", &[("cache-control", "only-if-cached")]))).await;
    assert_eq!((not_cached.status().as_u16(), content(not_cached).await.expect("whole").len()), (504, 0));
}

/// Responses of an origin without a clock, or of a handler, were stored and served without a date.
/// A server that adds the current time to each response made an old response look new.
#[tokio::test]
async fn a_response_without_a_date_gets_the_time_of_its_arrival() {
    const ARRIVED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    let mut it = setting();
    for (method, fields) in [("PUT", FRESH), ("GET", &[("cache-control", "no-store")]), ("HEAD", FRESH)] {
        let fetch = it.send(request(method, "/other", &[]));
        it.requests.next().await.respond(200, fields, b"x");
        assert_eq!(response_of(fetch).await.headers()["date"], ARRIVED, "{method}");
    }
    let fields = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
    it.fetch_and_store("/", &fields, b"x").await;
    it.advance(20);
    for condition in [&[][..], &[("if-none-match", "\"a\"")], &[("range", "bytes=0-0")]] {
        let hit = response_of(it.get("/", condition)).await;
        assert_eq!(
            (hit.age().map(|age| age.as_secs()), hit.headers()["date"].as_bytes()),
            (Some(20), ARRIVED.as_bytes())
        );
    }
    // A validation is as new as the 304.
    it.advance(50);
    let fetch = it.get("/", &[]);
    it.requests.next().await.respond(304, &fields, b"");
    assert_eq!(response_of(fetch).await.headers()["date"], "Tue, 14 Nov 2023 22:14:30 GMT");
    // An invalid date stays: the origin's field is not changed.
    let fetch = it.get("/invalid", &[]);
    it.requests.next().await.respond(200, &[("date", "yesterday")], b"x");
    assert_eq!(response_of(fetch).await.headers()["date"], "yesterday");
}

/// A range request on a miss got a cut body or a 416, and a 206 was stored and served as the whole.
#[tokio::test]
async fn a_range_on_a_miss_is_forwarded_and_never_served_as_the_whole() {
    let mut it = setting();
    let fetch = it.get("/", &[("range", "bytes=2-4")]);
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["range"], "bytes=2-4");
    let fields = [("cache-control", "max-age=60"), ("content-range", "bytes 2-4/10"), ("etag", "\"a\"")];
    received.respond(206, &fields, b"234");
    assert_eq!(response_of(fetch).await.status(), 206);
    // A range within the part is served from the store.
    let response = response_of(it.get("/", &[("range", "bytes=3-4")])).await;
    assert_eq!(
        (response.status().as_u16(), response.headers()["content-range"].as_bytes()),
        (206, &b"bytes 3-4/10"[..])
    );
    assert_eq!(content(response).await.expect("whole"), b"34");
    assert!(it.requests.is_empty());
    // A range beyond it, or the whole, is not.
    let fetch = it.get("/", &[]);
    it.requests.next().await.respond(200, &[("cache-control", "max-age=60")], b"0123456789");
    assert_eq!(read(fetch).await.1, b"0123456789");
}

#[tokio::test]
async fn a_206_of_the_wrong_length_is_forwarded_and_not_stored() {
    let mut it = setting();
    for _ in 0..2 {
        let fetch = it.get("/", &[("range", "bytes=2-6")]);
        let fields = [("cache-control", "max-age=60"), ("content-range", "bytes 2-6/10")];
        it.requests.next().await.respond(206, &fields, b"234");
        let response = response_of(fetch).await;
        assert_eq!(response.status(), 206);
        assert_eq!(content(response).await.expect("as the origin sent it"), b"234");
    }
}

/// A conditional request on a cold cache never filled it.
#[tokio::test]
async fn a_conditional_request_with_a_full_response_fills_the_cache() {
    let mut it = setting();
    let fetch = it.get("/", &[("if-none-match", "\"old\"")]);
    let received = it.requests.next().await;
    assert_eq!(received.request.headers()["if-none-match"], "\"old\"", "the origin evaluates it");
    received.respond(200, &[("cache-control", "max-age=60"), ("etag", "\"new\"")], b"new");
    assert_eq!(read(fetch).await.1, b"new");
    assert_eq!(it.get_stored("/").await.1, b"new");
}

#[tokio::test]
async fn a_clients_condition_is_evaluated_after_our_revalidation() {
    let mut it = setting();
    it.fetch_and_store("/", &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"old").await;
    it.advance(61);
    let fetch = it.get("/", &[("if-none-match", "\"a\"")]);
    it.requests.next().await.respond(304, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"");
    assert_eq!(response_of(fetch).await.status(), 304);
    it.advance(61);
    let fetch = it.get("/", &[("if-none-match", "\"b\"")]);
    it.requests.next().await.respond(200, &[("cache-control", "max-age=60"), ("etag", "\"b\"")], b"new");
    assert_eq!(response_of(fetch).await.status(), 304, "the client already has this response");
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    assert_eq!(it.get_stored("/").await.1, b"new", "it was stored nevertheless");
}

#[tokio::test]
async fn unsafe_methods_invalidate_before_the_client_gets_the_response() {
    let mut it = setting();
    for path in ["/a", "/b", "/c"] {
        it.fetch_and_store(path, FRESH, b"old").await;
    }
    let fetch = it.send(request("POST", "/a", &[]));
    it.requests.next().await.respond(
        201,
        &[("location", "/b"), ("content-location", "http://other.org/c")],
        b"",
    );
    assert_eq!(response_of(fetch).await.status(), 201);
    for path in ["/a", "/b"] {
        let fetch = it.get(path, &[]);
        it.requests.next().await.respond(200, FRESH, b"new");
        assert_eq!(read(fetch).await.1, b"new");
    }
    assert_eq!(it.get_stored("/c").await.1, b"old");
    let fetch = it.send(request("DELETE", "/c", &[]));
    it.requests.next().await.respond(500, &[], b"");
    read(fetch).await;
    assert_eq!(it.get_stored("/c").await.1, b"old", "an error invalidates nothing");
}

#[tokio::test]
async fn groups_are_invalidated_by_the_response_to_an_unsafe_request() {
    let mut it = setting();
    let grouped = [("cache-control", "max-age=60"), ("cache-groups", "\"users\"")];
    it.fetch_and_store("/users", &grouped, b"old").await;
    it.fetch_and_store("/users/42", &grouped, b"old").await;
    it.fetch_and_store("/about", FRESH, b"old").await;
    let fetch = it.send(request("PUT", "/elsewhere", &[]));
    it.requests.next().await.respond(200, &[("cache-group-invalidation", "\"users\"")], b"");
    read(fetch).await;
    for path in ["/users", "/users/42"] {
        let fetch = it.get(path, &[]);
        it.requests.next().await.respond(200, &grouped, b"new");
        assert_eq!(read(fetch).await.1, b"new");
    }
    assert_eq!(it.get_stored("/about").await.1, b"old");
}

/// The content of a GET is not in the key, so its response must not be served to other requests.
#[tokio::test]
async fn a_get_with_content_is_not_shared() {
    let mut it = setting();
    let mut fat = request("GET", "/", &[]);
    *fat.body_mut() = Body::from("as=admin");
    let fetch = it.send(fat);
    it.requests.next().await.respond(200, FRESH, b"for the admin");
    assert_eq!(read(fetch).await.1, b"for the admin");
    let fetch = it.get("/", &[]);
    it.requests.next().await.respond(200, FRESH, b"for all");
    assert_eq!(read(fetch).await.1, b"for all");
}

#[tokio::test]
async fn the_origin_gets_the_same_uri_as_the_key() {
    let mut it = setting();
    let fetch = it.get("/a/../b?x=%2f", &[]);
    let received = it.requests.next().await;
    assert_eq!(received.request.uri(), "http://example.com/b?x=%2F", "the origin gets the normal form");
    received.respond(200, FRESH, b"b");
    read(fetch).await;
    assert_eq!(it.get_stored("/b?x=%2F").await.1, b"b");
}

/// If the store is down, slow or full, a client observes nothing but a miss.
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
            let fetch = it.get("/", &[]);
            it.requests.next().await.respond(200, FRESH, b"from the origin");
            assert_eq!(read(fetch).await.1, b"from the origin", "{fault:?}");
            it.cache.drain(Duration::from_secs(60)).await;
            if matches!(fault, Fault::Slow(_)) {
                break;
            }
        }
        it.fault(Fault::None);
    }
}

/// An object larger than the store was cut off, with status 200.
#[tokio::test]
async fn a_store_that_fills_up_during_a_body_cuts_no_client_off() {
    let mut it = setting();
    it.fault(Fault::FullAfter(100_000));
    let (quick, slow) = (it.get("/", &[]), it.get("/", &[]));
    let sending = it.requests.next().await.respond_streaming(200, FRESH, None);
    assert!(sending.chunk(vec![1; 65_536]).await);
    let (quick, slow) = (response_of(quick).await, response_of(slow).await);
    let (quick, slow) = (tokio::spawn(content(quick)), tokio::spawn(content(slow)));
    for _ in 0..20 {
        assert!(sending.chunk(vec![1; 65_536]).await);
    }
    sending.end().await;
    for reader in [quick, slow] {
        assert_eq!(reader.await.expect("no panic").expect("whole").len(), 21 * 65_536);
    }
    it.fault(Fault::None);
    let fetch = it.get("/", &[]);
    it.requests.next().await.respond(200, FRESH, b"again");
    assert_eq!(read(fetch).await.1, b"again", "no part of it was stored");
}

/// A body that no client reads and that cannot be stored is not read to its end.
#[tokio::test]
async fn an_endless_body_without_readers_is_cancelled() {
    let mut it = setting();
    it.fault(Fault::FullAfter(1000));
    let fetch = it.get("/", &[]);
    let sending = it.requests.next().await.respond_streaming(200, FRESH, None);
    assert!(sending.chunk(vec![1; 65_536]).await);
    drop(response_of(fetch).await);
    while sending.chunk(vec![1; 65_536]).await {}
    sending.closed().await;
}

#[tokio::test]
async fn a_vary_that_differs_for_each_client_does_not_fill_the_store() {
    let mut it = setting();
    let fields = [("cache-control", "max-age=60"), ("vary", "user-agent")];
    for n in 0..200 {
        let fetch = it.get("/", &[("user-agent", &format!("agent {n}"))]);
        it.requests.next().await.respond(200, &fields, b"x");
        read(fetch).await;
    }
    let kept =
        larder_core::CacheStore::lookup(&it.store, &larder_testkit::key("/")).await.expect("it looks up");
    assert!((1..=64).contains(&kept.len()), "{} variants", kept.len());
}

#[tokio::test]
async fn a_clock_that_was_set_back_causes_a_revalidation() {
    let mut it = setting();
    it.fetch_and_store("/", &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"x").await;
    it.clock.set_back(Duration::from_secs(86_400));
    let fetch = it.get("/", &[]);
    it.requests.next().await.respond(304, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"");
    assert_eq!(read(fetch).await.1, b"x");
}

/// While the origin hung, each request for a stale page waited for the whole timeout.
#[tokio::test(start_paused = true)]
async fn a_failing_origin_is_not_waited_for_again() {
    const STALE: &[(&str, &str)] = &[("cache-control", "max-age=1, stale-if-error=600"), ("etag", "\"a\"")];
    let mut it = setting();
    it.fetch_and_store("/a", STALE, b"a").await;
    it.fetch_and_store("/b", STALE, b"b").await;
    it.advance(5);
    let started = tokio::time::Instant::now();
    let first = it.get("/a", &[]);
    let unanswered = it.requests.next().await;
    assert_eq!(read(first).await.1, b"a");
    assert_eq!(started.elapsed().as_secs(), 10, "the limit for a page that may be stale");

    // The next request, also for another page, is served at once and revalidates the page.
    let status = read(it.get("/b", &[])).await;
    assert_eq!((&*status.0, &*status.1), ("hit; ttl=-4; detail=stale-if-error", &b"b"[..]));
    assert_eq!(started.elapsed().as_secs(), 10);
    let revalidation = it.requests.next().await;
    assert_eq!(revalidation.request.uri().path(), "/b");
    // No client waits for it, so that a slow origin can recover.
    tokio::time::sleep(Duration::from_secs(30)).await;
    revalidation.respond(304, &[("cache-control", "max-age=60")], b"");
    settle().await;
    assert_eq!(read(it.get("/b", &[])).await.0, "hit; ttl=60");
    drop(unanswered);

    // After a while, a request waits for the origin again.
    it.advance(11);
    let fetch = it.get("/a", &[]);
    it.requests.next().await.respond(200, STALE, b"new");
    assert_eq!(read(fetch).await.1, b"new");
}
