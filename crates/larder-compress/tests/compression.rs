//! Checks what clients with different `Accept-Encoding` receive, and how many requests the origin
//! receives.

use std::{io::Read as _, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use larder_compress::{Coding, CompressingOrigin, Compression, Negotiated};
use larder_core::{
    Body, Cache, CacheKey, CacheResponse, FetchOptions, Lookup, Origin, OriginErrorKind, RequestHead,
    TargetUri,
};
use larder_memory::MemoryStore;
use larder_testkit::{FnOrigin, ManualClock, ManualOrigin};

const URL: &str = "http://example.com/page";

struct TestCache {
    cache: Cache,
    clock: ManualClock,
    compression: Arc<Compression>,
}

fn test_cache() -> TestCache {
    let clock = ManualClock::at(1_700_000_000);
    let cache = Cache::builder(Arc::new(MemoryStore::default())).clock(Arc::new(clock.clone())).build();
    TestCache { cache, clock, compression: Arc::default() }
}

impl TestCache {
    /// Sends a request through the cache, as an adapter does.
    async fn request(&self, origin: &Arc<dyn Origin>, mut request: Request<Body>) -> CacheResponse {
        let key = CacheKey::new(&TargetUri::from_uri(request.uri()).expect("a target"));
        let coding = self.compression.negotiate(request.headers());
        let headers = Negotiated::new(request.headers(), coding);
        match self.cache.lookup(&key, &RequestHead::new(request.method(), &headers)).await {
            Lookup::Hit(response) => response,
            Lookup::Miss(miss) => {
                coding.set_accept_encoding(request.headers_mut());
                let origin = CompressingOrigin::new(
                    Arc::clone(origin),
                    self.cache.clone(),
                    key,
                    coding,
                    Arc::clone(&self.compression),
                );
                let options = FetchOptions::default();
                miss.fetch(request, Arc::new(origin), &options).await.expect("a response")
            }
        }
    }

    async fn get(&self, origin: &Arc<dyn Origin>, accepts: &str) -> (HeaderMap, Bytes) {
        let (_, headers, content) =
            read(self.request(origin, request(&[("accept-encoding", accepts)])).await).await;
        (headers, content)
    }
}

fn request(headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get(URL);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).expect("a request")
}

async fn read(mut response: CacheResponse) -> (u16, HeaderMap, Bytes) {
    let content = std::mem::take(response.body_mut()).into_bytes(usize::MAX).await.expect("a whole body");
    (response.status().as_u16(), response.headers().clone(), content)
}

fn decoded(headers: &HeaderMap, content: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match headers.get("content-encoding").map(|coding| coding.to_str().expect("a name")) {
        None => plain.extend_from_slice(content),
        Some("gzip") => drop(flate2::read::GzDecoder::new(content).read_to_end(&mut plain).expect("gzip")),
        Some("br") => drop(brotli::Decompressor::new(content, 4096).read_to_end(&mut plain).expect("br")),
        Some("zstd") => plain = zstd::decode_all(content).expect("zstd"),
        Some(other) => panic!("{other}"),
    }
    plain
}

fn page() -> String {
    "The same words again, and again. ".repeat(300)
}

fn cacheable_html(response: http::response::Builder) -> http::response::Builder {
    response.header("cache-control", "max-age=60").header("content-type", "text/html; charset=utf-8")
}

fn pages() -> Arc<FnOrigin> {
    FnOrigin::new(|_, _| {
        let response =
            cacheable_html(Response::builder()).header("etag", "\"v1\"").header("content-digest", "x");
        Ok(response.body(Body::from(page())).expect("a response"))
    })
}

#[tokio::test]
async fn each_coding_is_encoded_once_from_one_origin_response() {
    let cache = test_cache();
    let counted = pages();
    let origin = Arc::clone(&counted) as Arc<dyn Origin>;
    for (accepts, coding, tag) in [
        ("gzip, deflate, br, zstd", Some("br"), "W/\"v1-br\""),
        ("zstd", Some("zstd"), "W/\"v1-zstd\""),
        ("gzip", Some("gzip"), "W/\"v1-gzip\""),
        ("", None, "W/\"v1\""),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", Some("br"), "W/\"v1-br\""),
    ] {
        let (headers, content) = cache.get(&origin, accepts).await;
        assert_eq!(headers.get("content-encoding").map(|coding| coding.to_str().expect("a name")), coding);
        assert_eq!(decoded(&headers, &content), page().as_bytes(), "{accepts}");
        assert_eq!(headers["etag"], tag);
        assert_eq!(headers["vary"], "accept-encoding");
        assert!(
            coding.is_none() || content.len() < page().len() / 10 && !headers.contains_key("content-digest")
        );
        let again = cache.request(&origin, request(&[("accept-encoding", accepts)])).await;
        assert!(again.cache_status().hit, "{accepts}");
        assert_eq!(again.content_length(), Some(content.len() as u64), "stored with its encoded length");
    }
    assert_eq!(counted.count(), 1, "the other codings were made from the first response");
}

/// A response converted to another coding keeps its age, and is revalidated under the tag of its
/// coding without being encoded again.
#[tokio::test]
async fn age_and_validators_survive_conversion() {
    let cache = test_cache();
    let counted = FnOrigin::new(|_, request| {
        let known = request.headers().get_all("if-none-match").iter().any(|line| {
            line.to_str().expect("tags").split(", ").any(|tag| tag == "W/\"v1\"" || tag == "\"v1\"")
        });
        let response = cacheable_html(Response::builder()).header("etag", "\"v1\"");
        let response = if known { response.status(304) } else { response };
        Ok(response.body(if known { Body::empty() } else { Body::from(page()) }).expect("a response"))
    });
    let origin = Arc::clone(&counted) as Arc<dyn Origin>;
    cache.get(&origin, "br").await;
    cache.clock.advance(Duration::from_secs(50));
    cache.get(&origin, "gzip").await;
    let hit = cache.request(&origin, request(&[("accept-encoding", "gzip")])).await;
    assert_eq!((hit.age().map(|age| age.as_secs()), hit.cache_status().hit), (Some(50), true));
    cache.clock.advance(Duration::from_secs(20));
    for (accepts, status, count) in
        [("gzip", "fwd=stale; fwd-status=304; stored", 2), ("br", "fwd=stale; fwd-status=304; stored", 2)]
    {
        let response = cache.request(&origin, request(&[("accept-encoding", accepts)])).await;
        assert!(
            response.cache_status().to_string().starts_with("fwd=stale; fwd-status=304"),
            "{status}: {}",
            response.cache_status()
        );
        let (_, headers, content) = read(response).await;
        assert_eq!(decoded(&headers, &content), page().as_bytes());
        assert_eq!(headers["content-encoding"], accepts);
        assert_eq!(counted.count(), count, "{accepts}: one revalidation for all codings");
    }
    // A condition in the client's request.
    let not_modified =
        cache.request(&origin, request(&[("accept-encoding", "br"), ("if-none-match", "W/\"v1-br\"")])).await;
    assert_eq!(not_modified.status(), 304);
    let other = cache
        .request(&origin, request(&[("accept-encoding", "br"), ("if-none-match", "W/\"v1-gzip\"")]))
        .await;
    assert_eq!(other.status(), 200, "another coding is another representation");
}

#[tokio::test]
async fn responses_that_are_not_encoded() {
    let long = "0123456789abcdef".repeat(64);
    for (kind, headers, content, status) in [
        ("text/plain", vec![], "short".to_owned(), 200),
        ("image/png", vec![], long.clone(), 200),
        ("text/event-stream", vec![], long.clone(), 200),
        ("text/plain", vec![("cache-control", "no-transform")], long.clone(), 200),
        ("text/plain", vec![("content-encoding", "compress")], long.clone(), 200),
        ("text/plain", vec![("content-encoding", "br, gzip")], long.clone(), 200),
        ("text/plain", vec![("content-range", "bytes 0-1023/2048")], long.clone(), 206),
        ("text/plain", vec![], String::new(), 204),
    ] {
        let cache = test_cache();
        let body = content.clone();
        let extra = headers.clone();
        let origin = FnOrigin::new(move |_, _| {
            let mut response =
                Response::builder().status(status).header("content-type", kind).header("etag", "\"a\"");
            for (name, value) in &extra {
                response = response.header(*name, *value);
            }
            Ok(response.body(Body::from(body.clone())).expect("a response"))
        }) as Arc<dyn Origin>;
        let (received, got) = cache.get(&origin, "gzip, br").await;
        let original = headers.iter().find(|(name, _)| *name == "content-encoding").map(|(_, value)| *value);
        assert_eq!(
            received.get("content-encoding").map(|coding| coding.to_str().expect("a name")),
            original,
            "{kind} {headers:?}"
        );
        assert_eq!(
            (&*got, &received["etag"]),
            (content.as_bytes(), &"\"a\"".parse().expect("a tag")),
            "{kind} {headers:?}"
        );
    }
}

/// Content that encoding does not make shorter, here random bytes, is not encoded.
#[tokio::test]
async fn content_that_would_become_longer_is_not_encoded() {
    let cache = test_cache();
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(100_000)
    .collect();
    let content = Bytes::from(noise);
    let body = content.clone();
    let origin = FnOrigin::new(move |_, _| {
        Ok(cacheable_html(Response::builder()).body(Body::from(body.clone())).expect("a response"))
    }) as Arc<dyn Origin>;
    let (headers, got) = cache.get(&origin, "gzip").await;
    assert!(!headers.contains_key("content-encoding") && got == content);
    assert_eq!(headers["vary"], "accept-encoding");
}

/// A page that is produced in parts: each part is sent when it is there, although an encoder would
/// compress better with more input.
#[tokio::test]
async fn a_stream_is_passed_on_as_it_comes() {
    let cache = Arc::new(test_cache());
    let (origin, mut requests) = ManualOrigin::new();
    let origin = origin as Arc<dyn Origin>;
    for coding in ["gzip", "br", "zstd"] {
        let fetching = {
            let (cache, origin) = (Arc::clone(&cache), Arc::clone(&origin));
            tokio::spawn(async move {
                cache.request(&origin, request(&[("accept-encoding", coding), ("x", "y")])).await
            })
        };
        let sender = requests.next().await.respond_streaming(200, &[("content-type", "text/html")], None);
        assert!(sender.chunk("first").await);
        let mut response = fetching.await.expect("no panic");
        let mut body = std::mem::take(response.body_mut());
        let first = tokio::time::timeout(Duration::from_secs(5), body.chunk()).await;
        let first =
            first.expect("the encoder does not wait for more input").expect("a chunk").expect("no error");
        assert!(!first.is_empty());
        let finish = tokio::spawn(async move {
            sender.chunk("second").await && {
                sender.end().await;
                true
            }
        });
        let mut all = first.to_vec();
        while let Some(chunk) = body.chunk().await {
            all.extend_from_slice(&chunk.expect("no error"));
        }
        assert!(finish.await.expect("no panic"));
        assert_eq!(decoded(response.headers(), &all), b"firstsecond");
    }
}

/// An incomplete stream becomes an incomplete body, and is not stored. A body that can't be decoded
/// ends with an error.
#[tokio::test]
async fn an_incomplete_body_ends_with_an_error() {
    let cache = Arc::new(test_cache());
    let (origin, mut requests) = ManualOrigin::new();
    let origin = origin as Arc<dyn Origin>;
    let fetching = {
        let (cache, origin) = (Arc::clone(&cache), Arc::clone(&origin));
        tokio::spawn(async move { cache.request(&origin, request(&[("accept-encoding", "gzip")])).await })
    };
    let sender = requests.next().await.respond_streaming(
        200,
        &[("content-type", "text/html"), ("cache-control", "max-age=60"), ("content-length", "2000")],
        Some(2000),
    );
    assert!(sender.chunk("half of it").await);
    let response = fetching.await.expect("no panic");
    drop(sender);
    let mut body = response.into_body();
    let mut failed = false;
    while let Some(chunk) = body.chunk().await {
        failed |= chunk.is_err();
        if failed {
            break;
        }
    }
    assert!(failed, "the body must not end as if it were complete");
    assert!(cache.cache.drain(Duration::from_secs(5)).await);
    let fetching = {
        let (cache, origin) = (Arc::clone(&cache), Arc::clone(&origin));
        tokio::spawn(async move { cache.request(&origin, request(&[("accept-encoding", "gzip")])).await })
    };
    requests.next().await.fail(OriginErrorKind::Connect);
    assert!(fetching.await.is_err(), "nothing was stored");

    // The origin sends `Content-Encoding: gzip` with other content. A client that accepts gzip
    // receives it unchanged; a client that needs it decoded receives an error.
    let mislabelled = FnOrigin::new(|_, _| {
        let response = cacheable_html(Response::builder()).header("content-encoding", "gzip");
        Ok(response.body(Body::from("no gzip at all. ".repeat(100))).expect("a response"))
    }) as Arc<dyn Origin>;
    let (headers, _) = cache.get(&mislabelled, "gzip").await;
    assert_eq!(headers["content-encoding"], "gzip");
    let broken = cache.request(&mislabelled, request(&[("accept-encoding", "br")])).await;
    assert!(broken.into_body().chunk().await.is_some_and(|chunk| chunk.is_err()));
}

#[tokio::test]
async fn head_has_the_headers_of_get() {
    let cache = test_cache();
    let origin = FnOrigin::new(|_, _| {
        let response =
            cacheable_html(Response::builder()).header("etag", "\"a\"").header("content-length", "5000");
        Ok(response.body(Body::empty()).expect("a response"))
    }) as Arc<dyn Origin>;
    let mut head = request(&[("accept-encoding", "gzip")]);
    *head.method_mut() = Method::HEAD;
    let (_, headers, _) = read(cache.request(&origin, head).await).await;
    assert_eq!(
        (&headers["content-encoding"], &headers["etag"]),
        (&"gzip".parse().expect("a name"), &"W/\"a-gzip\"".parse().expect("a tag"))
    );
    assert!(!headers.contains_key("content-length"));
    assert_eq!(Coding::Gzip.name(), "gzip");
}
