//! Tests the options of a single request, local origins and the bypass.

mod setting;

use std::{sync::Arc, time::Duration};

use http::{Method, Request, Response};
use larder_core::{
    Body, CacheKey, CacheMode, CacheResponse, FetchError, FetchOptions, Lookup, Origin, OriginError,
    OriginErrorKind, OverrideFn, Overrides, RequestHead, TargetUri, local_origin,
};
use setting::{FetchTask, Setting, content, read, request, setting};

/// Sends a request with options in a new task, with `extra` added to its key.
fn send(it: &Setting, request: Request<Body>, extra: &[u8], options: FetchOptions) -> FetchTask {
    let (cache, origin) = (it.cache.clone(), Arc::clone(&it.origin) as Arc<dyn Origin>);
    let key = CacheKey::new(&TargetUri::from_uri(request.uri()).expect("a target")).with_extra(extra);
    tokio::spawn(async move {
        let method = if options.body_in_key { &Method::GET } else { request.method() };
        match cache.lookup(&key, &RequestHead::new(method, request.headers())).await {
            Lookup::Hit(response) => Ok(response),
            Lookup::Miss(miss) => miss.fetch(request, origin, &options).await,
        }
    })
}

/// Returns options with this override.
fn with_override(
    decide: impl Fn(&larder_core::ResponseContext<'_>) -> Overrides + Send + Sync + 'static,
) -> FetchOptions {
    FetchOptions::default().with_overrides(OverrideFn::new(decide))
}

#[tokio::test]
async fn overrides_see_the_exchange_and_apply_after_a_304() {
    let mut it = setting();
    let one_minute = || {
        with_override(|received| {
            let mut overrides = Overrides::default();
            assert_eq!(received.uri, "http://example.com/page");
            let ours = received.headers.get("x-kind").is_some_and(|kind| kind == "ours");
            overrides.default_freshness = ours.then_some(Duration::from_secs(60));
            overrides
        })
    };
    let fields = [("x-kind", "ours"), ("etag", "\"a\"")];
    let fetch = send(&it, request("GET", "/page", &[]), b"", one_minute());
    it.requests.next().await.respond(200, &fields, b"x");
    assert_eq!(read(fetch).await.0, "fwd=uri-miss; fwd-status=200; stored");
    assert_eq!(read(send(&it, request("GET", "/page", &[]), b"", one_minute())).await.0, "hit; ttl=60");
    it.advance(61);
    let fetch = send(&it, request("GET", "/page", &[]), b"", one_minute());
    it.requests.next().await.respond(304, &[], b"");
    assert_eq!(read(fetch).await.0, "fwd=stale; fwd-status=304; stored");
    assert_eq!(read(send(&it, request("GET", "/page", &[]), b"", one_minute())).await.0, "hit; ttl=60");
}

#[tokio::test]
async fn a_body_over_the_requests_max_object_is_not_stored() {
    let mut it = setting();
    let options = FetchOptions::default().with_max_object(3);
    for (path, content, how) in [("/a", &b"abc"[..], "; stored"), ("/b", b"abcd", "")] {
        let fetch = send(&it, request("GET", path, &[]), b"", options.clone());
        it.requests.next().await.respond(200, &[("cache-control", "max-age=60")], content);
        assert_eq!(read(fetch).await.0, format!("fwd=uri-miss; fwd-status=200{how}"));
    }
}

/// Creates a POST request that is a safe query.
fn query(content: &'static str) -> Request<Body> {
    let request = Request::post("http://example.com/search").header("content-type", "text/plain");
    request.body(Body::from(content)).expect("a request")
}

#[tokio::test]
async fn a_query_is_served_again_and_invalidates_nothing() {
    let mut it = setting();
    let options = FetchOptions::default().with_body_in_key(true);
    let fields = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
    it.fetch_and_store("/search", &fields, b"a page").await;
    for text in ["one", "two"] {
        let fetch = send(&it, query(text), text.as_bytes(), options.clone());
        let mut received = it.requests.next().await;
        assert_eq!(received.request.method(), Method::POST);
        let sent = received.request.body_mut().chunk().await.expect("content").expect("whole");
        assert_eq!(sent, text, "the content reaches the origin");
        received.respond(200, &fields, text.as_bytes());
        assert_eq!(read(fetch).await, ("fwd=uri-miss; fwd-status=200; stored".to_owned(), text.into()));
    }
    for text in ["one", "two"] {
        let again = read(send(&it, query(text), text.as_bytes(), options.clone())).await;
        assert_eq!(again, ("hit; ttl=60".to_owned(), text.as_bytes().to_vec()));
    }
    assert_eq!(it.get_stored("/search").await.1, b"a page", "a query invalidates nothing (§4.4)");
    it.advance(61);
    let fetch = send(&it, query("one"), b"one", options.clone());
    let received = it.requests.next().await;
    assert!(!received.request.headers().contains_key("if-none-match"), "it would mean 412");
    received.respond(200, &fields, b"new");
    assert_eq!(read(fetch).await.1, b"new");
}

#[tokio::test]
async fn cache_modes_become_request_directives() {
    let mut it = setting();
    it.fetch_and_store("/", &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"x").await;
    let with = |mode: CacheMode| {
        let mut request = request("GET", "/", &[]);
        mode.apply(request.headers_mut());
        request
    };
    assert_eq!(read(it.send(with(CacheMode::OnlyIfCached))).await.0, "hit; ttl=60");
    let fetch = it.send(with(CacheMode::Reload));
    it.requests.next().await.respond(304, &[], b"");
    assert_eq!(read(fetch).await.0, "fwd=request; fwd-status=304; stored");
    it.advance(100);
    assert_eq!(read(it.send(with(CacheMode::PreferStale))).await.0, "hit; ttl=-40");
    assert_eq!(read(it.send(with(CacheMode::Offline))).await.0, "hit; ttl=-40");
    let status =
        it.send(with(CacheMode::OnlyIfCached)).await.expect("no panic").expect("a response").status();
    assert_eq!(status, 504, "only-if-cached does not accept a stale response");
    let fetch = it.send(with(CacheMode::NoStore));
    it.requests.next().await.respond(200, &[("cache-control", "max-age=60")], b"y");
    assert_eq!(read(fetch).await.0, "fwd=request; fwd-status=200; detail=request-no-store");
    assert!(it.requests.is_empty());
}

/// Fetches from a local origin of which `act` answers the requests; `None` drops one.
async fn fetch_from_local_origin(
    it: &Setting,
    mut act: impl FnMut(Request<Body>) -> Option<Result<Response<Body>, OriginError>>,
) -> Result<CacheResponse, FetchError> {
    let (origin, mut origin_requests) = local_origin(false);
    let fetching = it.cache.fetch(request("GET", "/local", &[]), Arc::new(origin));
    tokio::pin!(fetching);
    loop {
        tokio::select! {
            biased;
            Some(origin_request) = origin_requests.next() => if let Some(response) = act(origin_request.request.map(|_| Body::empty())) {
                origin_request.responder.send(response);
            },
            response = &mut fetching => return response,
        }
    }
}

impl Setting {
    async fn local_origin_status(&self, status: u16, fields: &'static [(&str, &str)]) -> String {
        let response = fetch_from_local_origin(self, |_| {
            let mut response = Response::builder().status(status);
            for (name, value) in fields {
                response = response.header(*name, *value);
            }
            Some(Ok(response.body(Body::from("x")).expect("a response")))
        });
        let response = response.await.expect("a response");
        let how = response.cache_status().to_string();
        assert_eq!(content(response).await.expect("whole"), b"x");
        how
    }
}

/// Stale-while-revalidate would call an origin that no longer exists, so it is revalidated first.
#[tokio::test]
async fn a_local_origin_is_called_while_its_request_lasts() {
    let it = setting();
    let fields = &[("cache-control", "max-age=60, stale-while-revalidate=60")];
    assert_eq!(it.local_origin_status(200, fields).await, "fwd=uri-miss; fwd-status=200; stored");
    assert_eq!(it.local_origin_status(200, fields).await, "hit; ttl=60");
    it.advance(61);
    assert_eq!(it.local_origin_status(200, fields).await, "fwd=stale; fwd-status=200; stored");
}

#[tokio::test]
async fn a_dropped_origin_request_is_an_error_and_does_not_hang() {
    let it = setting();
    let error = fetch_from_local_origin(&it, |_| None).await.expect_err("it was dropped");
    assert!(
        matches!(&error, FetchError::Origin(error) if error.kind() == OriginErrorKind::Closed),
        "{error:?}"
    );
}

/// A page with `no-store` is fetched without the engine until a response allows storing.
#[tokio::test]
async fn a_key_that_forbade_storing_can_be_bypassed() {
    let mut it = setting();
    let target = TargetUri::from_uri(request("GET", "/", &[]).uri()).expect("a target");
    let key = CacheKey::new(&target);
    let cache = it.cache.clone();
    let lookup_miss = async |fields: &[(&str, &str)]| {
        let fetch = request("GET", "/", fields);
        match cache.lookup(&key, &RequestHead::new(fetch.method(), fetch.headers())).await {
            Lookup::Miss(miss) => Some(miss),
            Lookup::Hit(_) => None,
        }
    };
    let lookup_bypass = async || lookup_miss(&[]).await.expect("nothing is stored").into_bypass();
    assert!(lookup_bypass().await.is_err(), "the key is unknown");
    it.fetch_and_store("/", &[("cache-control", "no-store")], b"mine").await;
    let bypass = lookup_bypass().await.expect("the last response forbade storing");
    assert!(
        lookup_miss(&[("cache-control", "only-if-cached")]).await.is_none(),
        "the lookup itself returns the 504"
    );
    let head = |value: &'static str| {
        http::HeaderMap::from_iter([(http::header::CACHE_CONTROL, http::HeaderValue::from_static(value))])
    };
    let status = bypass.record(http::StatusCode::OK, &head("private, no-store"));
    assert_eq!(status.to_string(), "fwd=uri-miss; fwd-status=200; detail=no-store");
    let bypass = lookup_bypass().await.expect("the last response forbade storing");
    let status = bypass.record(http::StatusCode::OK, &head("max-age=60"));
    assert_eq!(status.to_string(), "fwd=uri-miss; fwd-status=200");
    assert!(lookup_bypass().await.is_err(), "the last response allowed storing");
    it.fetch_and_store("/", &[("cache-control", "max-age=60")], b"ours").await;
    assert_eq!(it.get_stored("/").await.1, b"ours");
}

#[tokio::test(start_paused = true)]
async fn a_bypass_has_a_timeout() {
    let mut it = setting();
    it.fetch_and_store("/", &[("cache-control", "no-store")], b"mine").await;
    let fetch = request("GET", "/", &[]);
    let key = CacheKey::new(&TargetUri::from_uri(fetch.uri()).expect("a target"));
    let head = RequestHead::new(fetch.method(), fetch.headers());
    let Lookup::Miss(miss) = it.cache.lookup(&key, &head).await else { panic!("nothing is stored") };
    let bypass = miss.into_bypass().expect("the last response forbade storing");
    let error = bypass.call(std::future::pending::<()>()).await.expect_err("the origin never responds");
    assert_eq!(it.cache.error_response(&error).status(), http::StatusCode::GATEWAY_TIMEOUT);
}

/// A request that an operator excludes from the cache neither uses nor changes what is stored, and
/// does not wait for the fetch of another one. A PUT still invalidates.
#[tokio::test]
async fn a_request_past_the_cache_leaves_it_as_it_is() {
    let mut it = setting();
    let key = CacheKey::new(&TargetUri::from_uri(request("GET", "/", &[]).uri()).expect("a target"));
    let pass = |it: &Setting, method: &'static str| {
        let (miss, origin) = (it.cache.pass(&key), Arc::clone(&it.origin) as Arc<dyn Origin>);
        tokio::spawn(
            async move { miss.fetch(request(method, "/", &[]), origin, &FetchOptions::default()).await },
        )
    };
    let leader = it.get("/", &[]);
    let leading = it.requests.next().await;
    for content in [b"one", b"two"] {
        let passing = pass(&it, "GET");
        it.requests.next().await.respond(200, &[("cache-control", "no-store")], content);
        let (how, received) = read(passing).await;
        assert_eq!((&*how, &*received), ("fwd=bypass; fwd-status=200", &content[..]));
    }
    leading.respond(200, &[("cache-control", "max-age=60")], b"stored");
    assert_eq!(read(leader).await.1, b"stored"[..]);
    assert_eq!(it.get_stored("/").await.1, b"stored");
    let passing = pass(&it, "PUT");
    it.requests.next().await.respond(204, &[], b"");
    assert_eq!(read(passing).await.0, "fwd=bypass; fwd-status=204");
    let again = it.get("/", &[]);
    it.requests.next().await.respond(200, &[], b"new");
    assert_eq!(read(again).await.1, b"new"[..]);
}
