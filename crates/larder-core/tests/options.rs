//! What a request wants beyond its fields, and origins that can't leave it.

mod setting;

use std::{sync::Arc, time::Duration};

use http::{Method, Request, Response};
use larder_core::{
    Body, CacheKey, CacheMode, CacheResponse, FetchError, FetchOptions, Lookup, Origin, OriginError,
    OriginErrorKind, OverrideFn, Overrides, RequestHead, TargetUri, local_origin,
};
use setting::{Asked, Setting, content, read, request, setting};

fn ask(it: &Setting, request: Request<Body>, extra: &[u8], options: FetchOptions) -> Asked {
    let (cache, origin) = (it.cache.clone(), Arc::clone(&it.origin) as Arc<dyn Origin>);
    let key = CacheKey::new(&TargetUri::from_uri(request.uri()).expect("a target")).with_extra(extra);
    tokio::spawn(async move {
        let method = if options.body_in_key { &Method::GET } else { request.method() };
        match cache.lookup(&key, &RequestHead::new(method, request.headers())).await {
            Lookup::Hit(answer) => Ok(answer),
            Lookup::Miss(found) => cache.resume(found, request, origin, &options).await,
        }
    })
}

fn overriding(
    says: impl Fn(&larder_core::ResponseContext<'_>) -> Overrides + Send + Sync + 'static,
) -> FetchOptions {
    let mut options = FetchOptions::default();
    options.overrides = Some(OverrideFn::by(says));
    options
}

#[tokio::test]
async fn overrides_see_the_exchange_and_last_through_a_304() {
    let mut it = setting();
    let minute = || {
        overriding(|arrived| {
            let mut overrides = Overrides::default();
            assert_eq!(arrived.uri, "http://example.com/page");
            let ours = arrived.headers.get("x-kind").is_some_and(|kind| kind == "ours");
            overrides.default_freshness = ours.then_some(Duration::from_secs(60));
            overrides
        })
    };
    let fields = [("x-kind", "ours"), ("etag", "\"a\"")];
    let asked = ask(&it, request("GET", "/page", &[]), b"", minute());
    it.requests.next().await.answer(200, &fields, b"x");
    assert_eq!(read(asked).await.0, "fwd=uri-miss; fwd-status=200; stored");
    assert_eq!(read(ask(&it, request("GET", "/page", &[]), b"", minute())).await.0, "hit; ttl=60");
    it.advance(61);
    let asked = ask(&it, request("GET", "/page", &[]), b"", minute());
    it.requests.next().await.answer(304, &[], b"");
    assert_eq!(read(asked).await.0, "fwd=stale; fwd-status=304; stored");
    assert_eq!(read(ask(&it, request("GET", "/page", &[]), b"", minute())).await.0, "hit; ttl=60");
}

#[tokio::test]
async fn a_body_beyond_the_requests_own_limit_is_not_stored() {
    let mut it = setting();
    let mut options = FetchOptions::default();
    options.max_object = Some(3);
    for (path, content, how) in [("/a", &b"abc"[..], "; stored"), ("/b", b"abcd", "")] {
        let asked = ask(&it, request("GET", path, &[]), b"", options.clone());
        it.requests.next().await.answer(200, &[("cache-control", "max-age=60")], content);
        assert_eq!(read(asked).await.0, format!("fwd=uri-miss; fwd-status=200{how}"));
    }
}

fn question(content: &'static str) -> Request<Body> {
    let request = Request::post("http://example.com/search").header("content-type", "text/plain");
    request.body(Body::from(content)).expect("a request")
}

#[tokio::test]
async fn a_question_is_answered_again_and_changes_nothing() {
    let mut it = setting();
    let mut options = FetchOptions::default();
    options.body_in_key = true;
    let fields = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
    it.fetched("/search", &fields, b"a page").await;
    for text in ["one", "two"] {
        let asked = ask(&it, question(text), text.as_bytes(), options.clone());
        let mut arrived = it.requests.next().await;
        assert_eq!(arrived.request.method(), Method::POST);
        let sent = arrived.request.body_mut().chunk().await.expect("content").expect("whole");
        assert_eq!(sent, text, "what is asked reaches the origin");
        arrived.answer(200, &fields, text.as_bytes());
        assert_eq!(read(asked).await, ("fwd=uri-miss; fwd-status=200; stored".to_owned(), text.into()));
    }
    for text in ["one", "two"] {
        let again = read(ask(&it, question(text), text.as_bytes(), options.clone())).await;
        assert_eq!(again, ("hit; ttl=60".to_owned(), text.as_bytes().to_vec()));
    }
    assert_eq!(it.stored("/search").await.1, b"a page", "a question invalidates nothing (§4.4)");
    it.advance(61);
    let asked = ask(&it, question("one"), b"one", options.clone());
    let arrived = it.requests.next().await;
    assert!(!arrived.request.headers().contains_key("if-none-match"), "it would mean 412");
    arrived.answer(200, &fields, b"new");
    assert_eq!(read(asked).await.1, b"new");
}

#[tokio::test]
async fn modes_are_said_in_directives() {
    let mut it = setting();
    it.fetched("/", &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"x").await;
    let with = |mode: CacheMode| {
        let mut request = request("GET", "/", &[]);
        mode.apply(request.headers_mut());
        request
    };
    assert_eq!(read(it.send(with(CacheMode::OnlyIfCached))).await.0, "hit; ttl=60");
    let asked = it.send(with(CacheMode::Reload));
    it.requests.next().await.answer(304, &[], b"");
    assert_eq!(read(asked).await.0, "fwd=request; fwd-status=304; stored");
    it.advance(100);
    assert_eq!(read(it.send(with(CacheMode::PreferStale))).await.0, "hit; ttl=-40");
    assert_eq!(read(it.send(with(CacheMode::Offline))).await.0, "hit; ttl=-40");
    let status = it.send(with(CacheMode::OnlyIfCached)).await.expect("no panic").expect("an answer").status();
    assert_eq!(status, 504, "stale is not what was asked for");
    let asked = it.send(with(CacheMode::NoStore));
    it.requests.next().await.answer(200, &[("cache-control", "max-age=60")], b"y");
    assert_eq!(read(asked).await.0, "fwd=request; fwd-status=200; detail=request-no-store");
    assert!(it.requests.is_empty());
}

async fn by_errand(
    it: &Setting,
    mut act: impl FnMut(Request<Body>) -> Option<Result<Response<Body>, OriginError>>,
) -> Result<CacheResponse, FetchError> {
    let (origin, mut origin_requests) = local_origin(false);
    let fetching = it.cache.fetch(request("GET", "/origin_request", &[]), Arc::new(origin));
    tokio::pin!(fetching);
    loop {
        tokio::select! {
            biased;
            Some(origin_request) = origin_requests.next() => if let Some(answer) = act(origin_request.request.map(|_| Body::empty())) {
                origin_request.responder.send(answer);
            },
            answer = &mut fetching => return answer,
        }
    }
}

impl Setting {
    async fn errand_status(&self, status: u16, fields: &'static [(&str, &str)]) -> String {
        let answer = by_errand(self, |_| {
            let mut response = Response::builder().status(status);
            for (name, value) in fields {
                response = response.header(*name, *value);
            }
            Some(Ok(response.body(Body::from("x")).expect("a response")))
        });
        let answer = answer.await.expect("an answer");
        let how = answer.cache_status().to_string();
        assert_eq!(content(answer).await.expect("whole"), b"x");
        how
    }
}

/// Stale-while-revalidate would call an origin that is gone: it is asked first.
#[tokio::test]
async fn an_errand_is_done_while_its_request_lasts() {
    let it = setting();
    let fields = &[("cache-control", "max-age=60, stale-while-revalidate=60")];
    assert_eq!(it.errand_status(200, fields).await, "fwd=uri-miss; fwd-status=200; stored");
    assert_eq!(it.errand_status(200, fields).await, "hit; ttl=60");
    it.advance(61);
    assert_eq!(it.errand_status(200, fields).await, "fwd=stale; fwd-status=200; stored");
}

#[tokio::test]
async fn an_errand_that_is_dropped_is_an_error_and_no_hang() {
    let it = setting();
    let error = by_errand(&it, |_| None).await.expect_err("it was dropped");
    assert!(
        matches!(&error, FetchError::Origin(error) if error.kind() == OriginErrorKind::Closed),
        "{error:?}"
    );
}

/// A page that says `no-store` is asked for without ceremony, until it says otherwise.
#[tokio::test]
async fn what_refused_to_be_stored_may_be_asked_for_directly() {
    let mut it = setting();
    let target = TargetUri::from_uri(request("GET", "/", &[]).uri()).expect("a target");
    let key = CacheKey::new(&target);
    let cache = it.cache.clone();
    let direct = async |fields: &[(&str, &str)]| {
        let asked = request("GET", "/", fields);
        match cache.lookup(&key, &RequestHead::new(asked.method(), asked.headers())).await {
            Lookup::Miss(found) => Some(found),
            Lookup::Hit(_) => None,
        }
    };
    assert!(!direct(&[]).await.expect("nothing is stored").can_bypass(), "nothing is known of it");
    it.fetched("/", &[("cache-control", "no-store")], b"mine").await;
    let found = direct(&[]).await.expect("nothing is stored");
    assert!(found.can_bypass());
    assert!(direct(&[("cache-control", "only-if-cached")]).await.is_none(), "504, as before");
    let head = |value: &'static str| {
        http::HeaderMap::from_iter([(http::header::CACHE_CONTROL, http::HeaderValue::from_static(value))])
    };
    let status = cache.record_bypass(&found, http::StatusCode::OK, &head("private, no-store"));
    assert_eq!(status.to_string(), "fwd=uri-miss; fwd-status=200; detail=no-store");
    let found = direct(&[]).await.expect("nothing is stored");
    let status = cache.record_bypass(&found, http::StatusCode::OK, &head("max-age=60"));
    assert_eq!(status.to_string(), "fwd=uri-miss; fwd-status=200");
    assert!(!direct(&[]).await.expect("nothing is stored").can_bypass(), "it has changed its mind");
    it.fetched("/", &[("cache-control", "max-age=60")], b"ours").await;
    assert_eq!(it.stored("/").await.1, b"ours");
}

#[tokio::test(start_paused = true)]
async fn asking_directly_has_a_limit() {
    let it = setting();
    let error = it.cache.bypass(std::future::pending::<()>()).await.expect_err("it waits for ever");
    assert_eq!(it.cache.error_response(&error).status(), http::StatusCode::GATEWAY_TIMEOUT);
}
