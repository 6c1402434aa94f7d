//! What clients get whose browsers list other codings, and how often the origin is asked for it.

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

struct Setting {
    cache: Cache,
    clock: ManualClock,
    compression: Arc<Compression>,
}

fn setting() -> Setting {
    let clock = ManualClock::at(1_700_000_000);
    let cache = Cache::builder(Arc::new(MemoryStore::default())).clock(Arc::new(clock.clone())).build();
    Setting { cache, clock, compression: Arc::default() }
}

impl Setting {
    /// As an adapter does it.
    async fn ask(&self, origin: &Arc<dyn Origin>, mut request: Request<Body>) -> CacheResponse {
        let key = CacheKey::new(&TargetUri::from_uri(request.uri()).expect("a target"));
        let coding = self.compression.negotiate(request.headers());
        let fields = Negotiated::new(request.headers(), coding);
        match self.cache.lookup(&key, &RequestHead::new(request.method(), &fields)).await {
            Lookup::Hit(answer) => answer,
            Lookup::Miss(found) => {
                coding.ask(request.headers_mut());
                let origin = CompressingOrigin::new(
                    Arc::clone(origin),
                    self.cache.clone(),
                    key,
                    coding,
                    Arc::clone(&self.compression),
                );
                let options = FetchOptions::default();
                self.cache.resume(found, request, Arc::new(origin), &options).await.expect("an answer")
            }
        }
    }

    async fn get(&self, origin: &Arc<dyn Origin>, accepts: &str) -> (HeaderMap, Bytes) {
        let (_, fields, content) =
            read(self.ask(origin, request(&[("accept-encoding", accepts)])).await).await;
        (fields, content)
    }
}

fn request(fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get(URL);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).expect("a request")
}

async fn read(mut answer: CacheResponse) -> (u16, HeaderMap, Bytes) {
    let mut body = std::mem::take(answer.body_mut());
    let mut content = Vec::new();
    while let Some(chunk) = body.chunk().await {
        content.extend_from_slice(&chunk.expect("a whole body"));
    }
    (answer.status().as_u16(), answer.headers().clone(), content.into())
}

fn decoded(fields: &HeaderMap, content: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match fields.get("content-encoding").map(|coding| coding.to_str().expect("a name")) {
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

fn fields_of(response: http::response::Builder) -> http::response::Builder {
    response.header("cache-control", "max-age=60").header("content-type", "text/html; charset=utf-8")
}

fn pages() -> Arc<FnOrigin> {
    FnOrigin::new(|_, _| {
        let response = fields_of(Response::builder()).header("etag", "\"v1\"").header("content-digest", "x");
        Ok(response.body(Body::from(page())).expect("a response"))
    })
}

#[tokio::test]
async fn each_coding_is_made_once_and_the_page_too() {
    let it = setting();
    let counted = pages();
    let origin = Arc::clone(&counted) as Arc<dyn Origin>;
    for (accepts, coding, tag) in [
        ("gzip, deflate, br, zstd", Some("br"), "W/\"v1-br\""),
        ("zstd", Some("zstd"), "W/\"v1-zstd\""),
        ("gzip", Some("gzip"), "W/\"v1-gzip\""),
        ("", None, "W/\"v1\""),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", Some("br"), "W/\"v1-br\""),
    ] {
        let (fields, content) = it.get(&origin, accepts).await;
        assert_eq!(fields.get("content-encoding").map(|coding| coding.to_str().expect("a name")), coding);
        assert_eq!(decoded(&fields, &content), page().as_bytes(), "{accepts}");
        assert_eq!(fields["etag"], tag);
        assert_eq!(fields["vary"], "accept-encoding");
        assert!(
            coding.is_none() || content.len() < page().len() / 10 && !fields.contains_key("content-digest")
        );
        let again = it.ask(&origin, request(&[("accept-encoding", accepts)])).await;
        assert!(again.cache_status().hit, "{accepts}");
        assert_eq!(again.content_length(), Some(content.len() as u64), "ready");
    }
    assert_eq!(counted.count(), 1, "the other codings were made of the first");
}

/// Made over, a page is as old as it was, and is confirmed under the tag of its coding without being encoded again.
#[tokio::test]
async fn age_and_validators_survive() {
    let it = setting();
    let asked = FnOrigin::new(|_, request| {
        let known = request.headers().get_all("if-none-match").iter().any(|line| {
            line.to_str().expect("tags").split(", ").any(|tag| tag == "W/\"v1\"" || tag == "\"v1\"")
        });
        let response = fields_of(Response::builder()).header("etag", "\"v1\"");
        let response = if known { response.status(304) } else { response };
        Ok(response.body(if known { Body::empty() } else { Body::from(page()) }).expect("a response"))
    });
    let origin = Arc::clone(&asked) as Arc<dyn Origin>;
    it.get(&origin, "br").await;
    it.clock.advance(Duration::from_secs(50));
    it.get(&origin, "gzip").await;
    let hit = it.ask(&origin, request(&[("accept-encoding", "gzip")])).await;
    assert_eq!((hit.age().map(|age| age.as_secs()), hit.cache_status().hit), (Some(50), true));
    it.clock.advance(Duration::from_secs(20));
    for (accepts, said, count) in
        [("gzip", "fwd=stale; fwd-status=304; stored", 2), ("br", "fwd=stale; fwd-status=304; stored", 2)]
    {
        let answer = it.ask(&origin, request(&[("accept-encoding", accepts)])).await;
        assert!(
            answer.cache_status().to_string().starts_with("fwd=stale; fwd-status=304"),
            "{said}: {}",
            answer.cache_status()
        );
        let (_, fields, content) = read(answer).await;
        assert_eq!(decoded(&fields, &content), page().as_bytes());
        assert_eq!(fields["content-encoding"], accepts);
        assert_eq!(asked.count(), count, "{accepts}: one confirmation for all codings");
    }
    // A client's own condition.
    let not_modified =
        it.ask(&origin, request(&[("accept-encoding", "br"), ("if-none-match", "W/\"v1-br\"")])).await;
    assert_eq!(not_modified.status(), 304);
    let other =
        it.ask(&origin, request(&[("accept-encoding", "br"), ("if-none-match", "W/\"v1-gzip\"")])).await;
    assert_eq!(other.status(), 200, "another coding is another representation");
}

#[tokio::test]
async fn what_is_left_as_it_is() {
    let long = "0123456789abcdef".repeat(64);
    for (kind, fields, content, status) in [
        ("text/plain", vec![], "short".to_owned(), 200),
        ("image/png", vec![], long.clone(), 200),
        ("text/event-stream", vec![], long.clone(), 200),
        ("text/plain", vec![("cache-control", "no-transform")], long.clone(), 200),
        ("text/plain", vec![("content-encoding", "compress")], long.clone(), 200),
        ("text/plain", vec![("content-encoding", "br, gzip")], long.clone(), 200),
        ("text/plain", vec![("content-range", "bytes 0-1023/2048")], long.clone(), 206),
        ("text/plain", vec![], String::new(), 204),
    ] {
        let it = setting();
        let body = content.clone();
        let given = fields.clone();
        let origin = FnOrigin::new(move |_, _| {
            let mut response =
                Response::builder().status(status).header("content-type", kind).header("etag", "\"a\"");
            for (name, value) in &given {
                response = response.header(*name, *value);
            }
            Ok(response.body(Body::from(body.clone())).expect("a response"))
        }) as Arc<dyn Origin>;
        let (answer, got) = it.get(&origin, "gzip, br").await;
        let before = fields.iter().find(|(name, _)| *name == "content-encoding").map(|(_, value)| *value);
        assert_eq!(
            answer.get("content-encoding").map(|coding| coding.to_str().expect("a name")),
            before,
            "{kind} {fields:?}"
        );
        assert_eq!(
            (&*got, &answer["etag"]),
            (content.as_bytes(), &"\"a\"".parse().expect("a tag")),
            "{kind} {fields:?}"
        );
    }
}

/// What does not get shorter by it, large and random, is not encoded; the length says which.
#[tokio::test]
async fn what_would_get_longer() {
    let it = setting();
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(100_000)
    .collect();
    let content = Bytes::from(noise);
    let given = content.clone();
    let origin = FnOrigin::new(move |_, _| {
        Ok(fields_of(Response::builder()).body(Body::from(given.clone())).expect("a response"))
    }) as Arc<dyn Origin>;
    let (fields, got) = it.get(&origin, "gzip").await;
    assert!(!fields.contains_key("content-encoding") && got == content);
    assert_eq!(fields["vary"], "accept-encoding");
}

/// A page that is made bit by bit: what is there goes out, although an encoder would like to see more first.
#[tokio::test]
async fn a_stream_is_passed_on_as_it_comes() {
    let it = Arc::new(setting());
    let (origin, mut requests) = ManualOrigin::new();
    let origin = origin as Arc<dyn Origin>;
    for coding in ["gzip", "br", "zstd"] {
        let asking = {
            let (it, origin) = (Arc::clone(&it), Arc::clone(&origin));
            tokio::spawn(
                async move { it.ask(&origin, request(&[("accept-encoding", coding), ("x", "y")])).await },
            )
        };
        let sending = requests.next().await.begin(200, &[("content-type", "text/html")], None);
        assert!(sending.chunk("first").await);
        let mut answer = asking.await.expect("no panic");
        let mut body = std::mem::take(answer.body_mut());
        let first = tokio::time::timeout(Duration::from_secs(5), body.chunk()).await;
        let first = first.expect("it does not wait for more").expect("a chunk").expect("no failure");
        assert!(!first.is_empty());
        let ending = tokio::spawn(async move {
            sending.chunk("second").await && {
                sending.end().await;
                true
            }
        });
        let mut all = first.to_vec();
        while let Some(chunk) = body.chunk().await {
            all.extend_from_slice(&chunk.expect("no failure"));
        }
        assert!(ending.await.expect("no panic"));
        assert_eq!(decoded(answer.headers(), &all), b"firstsecond");
    }
}

/// A stream that breaks is a body that breaks, and nothing is stored of it; nor is what can't be decoded.
#[tokio::test]
async fn what_breaks_off_is_not_ended() {
    let it = Arc::new(setting());
    let (origin, mut requests) = ManualOrigin::new();
    let origin = origin as Arc<dyn Origin>;
    let asking = {
        let (it, origin) = (Arc::clone(&it), Arc::clone(&origin));
        tokio::spawn(async move { it.ask(&origin, request(&[("accept-encoding", "gzip")])).await })
    };
    let sending = requests.next().await.begin(
        200,
        &[("content-type", "text/html"), ("cache-control", "max-age=60"), ("content-length", "2000")],
        Some(2000),
    );
    assert!(sending.chunk("half of it").await);
    let answer = asking.await.expect("no panic");
    drop(sending);
    let mut body = answer.into_body();
    let mut failed = false;
    while let Some(chunk) = body.chunk().await {
        failed |= chunk.is_err();
        if failed {
            break;
        }
    }
    assert!(failed, "never a shorter body");
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    let asking = {
        let (it, origin) = (Arc::clone(&it), Arc::clone(&origin));
        tokio::spawn(async move { it.ask(&origin, request(&[("accept-encoding", "gzip")])).await })
    };
    requests.next().await.fail(OriginErrorKind::Connect);
    assert!(asking.await.is_err(), "nothing was stored");

    // An origin that says gzip and sends something else: whoever asks for it gets it, whoever needs it decoded a failure.
    let lying = FnOrigin::new(|_, _| {
        let response = fields_of(Response::builder()).header("content-encoding", "gzip");
        Ok(response.body(Body::from("no gzip at all. ".repeat(100))).expect("a response"))
    }) as Arc<dyn Origin>;
    let (fields, _) = it.get(&lying, "gzip").await;
    assert_eq!(fields["content-encoding"], "gzip");
    let broken = it.ask(&lying, request(&[("accept-encoding", "br")])).await;
    assert!(broken.into_body().chunk().await.is_some_and(|chunk| chunk.is_err()));
}

#[tokio::test]
async fn heads_say_what_a_get_would_get() {
    let it = setting();
    let origin = FnOrigin::new(|_, _| {
        let response =
            fields_of(Response::builder()).header("etag", "\"a\"").header("content-length", "5000");
        Ok(response.body(Body::empty()).expect("a response"))
    }) as Arc<dyn Origin>;
    let mut head = request(&[("accept-encoding", "gzip")]);
    *head.method_mut() = Method::HEAD;
    let (_, fields, _) = read(it.ask(&origin, head).await).await;
    assert_eq!(
        (&fields["content-encoding"], &fields["etag"]),
        (&"gzip".parse().expect("a name"), &"W/\"a-gzip\"".parse().expect("a tag"))
    );
    assert!(!fields.contains_key("content-length"));
    assert_eq!(Coding::Gzip.name(), "gzip");
}
