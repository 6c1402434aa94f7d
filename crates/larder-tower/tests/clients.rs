//! What clients can do to a cache in front of a service: reloads, and values of headers that
//! select a response.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use larder_core::{Body, Cache, adapter::FieldNormalization, policy::ClientDirectives};
use larder_memory::MemoryStore;
use larder_testkit::ManualClock;
use larder_tower::CacheLayer;
use tower::ServiceExt as _;

/// Creates a router with one page, the counter of its handler's calls, and the clock of the cache.
fn router(layer: impl FnOnce(Cache) -> CacheLayer) -> (Router, Arc<AtomicUsize>, ManualClock) {
    let (calls, clock) = (Arc::new(AtomicUsize::new(0)), ManualClock::at(1_700_000_000));
    let cache = Cache::builder(Arc::new(MemoryStore::default())).clock(Arc::new(clock.clone())).build();
    let of_handler = Arc::clone(&calls);
    let handler = async move |headers: HeaderMap| {
        of_handler.fetch_add(1, Ordering::SeqCst);
        let text =
            |name: &str| headers.get(name).map_or("none", |value| value.to_str().expect("text")).to_owned();
        let page = format!("{} {}", text("accept-language"), text("x-device"));
        ([("cache-control", "max-age=600"), ("vary", "accept-language, x-device")], page)
    };
    (Router::new().route("/", get(handler)).layer(layer(cache)), calls, clock)
}

/// Sends a GET request and returns the content of the response.
async fn send(router: Router, fields: &[(&str, &str)]) -> String {
    let mut request = Request::get("/").header("host", "example.com");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a request").map(axum::body::Body::new);
    let response = router.oneshot(request).await.expect("a response");
    let content = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(content.to_vec()).expect("text")
}

const RELOAD: &[(&str, &str)] = &[("cache-control", "no-cache")];

/// Fifty visitors pressed reload, and the handler of a stored page ran fifty times.
#[tokio::test]
async fn reloads_do_not_reach_the_service_one_by_one() {
    let (router, calls, clock) = router(CacheLayer::new);
    send(router.clone(), &[]).await;
    clock.advance(Duration::from_secs(10));
    let reloads: Vec<_> = (0..50).map(|_| tokio::spawn(send(router.clone(), RELOAD))).collect();
    for reload in reloads {
        assert_eq!(reload.await.expect("no panic"), "none none");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2, "one for the page, one for all reloads");
}

#[tokio::test]
async fn the_option_decides_about_reloads() {
    for (directives, expected) in [(ClientDirectives::Honor, 4), (ClientDirectives::Ignore, 1)] {
        let (router, calls, _) = router(|cache| CacheLayer::new(cache).client_directives(directives));
        send(router.clone(), &[]).await;
        for _ in 0..3 {
            send(router.clone(), RELOAD).await;
        }
        assert_eq!(calls.load(Ordering::SeqCst), expected, "{directives}");
    }
}

/// Each visitor's browser had its own list of languages, and each got a page of its own.
#[tokio::test]
async fn spellings_of_a_language_are_one_page() {
    let (router, calls, _) = router(|cache| {
        let normalization = FieldNormalization::default().with_languages(["en", "de"]);
        let normalization = normalization.and_then(|it| it.with_values("X-Device", ["desktop", "mobile"]));
        CacheLayer::new(cache).normalize(normalization.expect("valid fields"))
    });
    for n in 0..50 {
        let languages = format!("fr-{n:02},de-CH;q=0.8,en;q=0.{n}");
        let device = n.to_string();
        let fields = [("accept-language", languages.as_str()), ("x-device", device.as_str())];
        let expected = if n == 9 { "en desktop" } else { "de desktop" };
        assert_eq!(send(router.clone(), &fields).await, expected, "{languages}");
    }
    assert_eq!(send(router.clone(), &[("x-device", "Mobile")]).await, "en mobile");
    assert_eq!(send(router.clone(), &[]).await, "en desktop", "no preference");
    assert_eq!(calls.load(Ordering::SeqCst), 3, "three combinations were requested");
}
