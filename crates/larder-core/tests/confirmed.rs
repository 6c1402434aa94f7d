//! What a scheduled refresh reads: a stored response whatever its age, and when it was confirmed.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method, Request, Response};
use larder_core::{
    Body, Cache, CacheKey, CacheResponse, Clock as _, FetchOptions, Lookup, OverrideFn, Overrides, Refreshes,
    RequestHead, TargetUri,
};
use larder_memory::MemoryStore;
use larder_testkit::{FnOrigin, ManualClock};

const URL: &str = "http://example.com/";

fn key() -> CacheKey {
    CacheKey::new(&TargetUri::parse(URL).expect("a target"))
}

/// Fetches the page, and waits until its response is stored.
async fn fetch(cache: &Cache, origin: &Arc<FnOrigin>, options: &FetchOptions) -> CacheResponse {
    let headers = HeaderMap::new();
    let request = Request::get(URL).body(Body::empty()).expect("a request");
    let mut response = match cache.lookup(&key(), &RequestHead::new(&Method::GET, &headers)).await {
        Lookup::Hit(response) => response,
        Lookup::Miss(miss) => {
            miss.fetch(request, Arc::clone(origin) as _, options).await.expect("a response")
        }
    };
    while let Some(chunk) = response.body_mut().chunk().await {
        chunk.expect("a chunk");
    }
    assert!(cache.drain(Duration::from_secs(5)).await);
    response
}

/// A page with `no-cache` is never served without the origin. To compare it, and to find out who
/// has confirmed it last, it is found nevertheless.
#[tokio::test]
async fn a_response_that_must_be_validated_is_found_with_the_time_of_its_confirmation() {
    let origin = FnOrigin::new(|_, request| {
        let response = Response::builder().header("cache-control", "no-cache").header("etag", "\"1\"");
        let response = match request.headers().contains_key("if-none-match") {
            true => response.status(304).body(Body::empty()),
            false => response.body(Body::from("page")),
        };
        Ok(response.expect("a response"))
    });
    let clock = ManualClock::at(1_700_000_000);
    let cache = Cache::builder(Arc::new(MemoryStore::default())).clock(Arc::new(clock.clone())).build();
    let headers = HeaderMap::new();
    let head = RequestHead::new(&Method::GET, &headers);
    assert!(Refreshes::new(&cache).confirmed(&key(), &head).await.is_none());
    for round in 1..=2 {
        fetch(&cache, &origin, &FetchOptions::default()).await;
        let confirmed_at = clock.now();
        clock.advance(Duration::from_secs(100));
        let found = Refreshes::new(&cache).confirmed(&key(), &head).await.expect("a stored response");
        assert_eq!((found.at, found.fresh_for), (confirmed_at, Duration::ZERO), "round {round}");
        let mut body = found.response.into_body();
        assert_eq!(&*body.chunk().await.expect("a chunk").expect("a body"), b"page");
    }
    assert_eq!(origin.count(), 2);
    assert!(!Refreshes::new(&cache).turn(&key()).await.is_exclusive(), "a store in memory has no leases");
}

#[tokio::test]
async fn the_lifetime_of_a_response_that_has_arrived_includes_overrides() {
    for (fields, seconds, expected) in [
        (&[("cache-control", "max-age=60"), ("age", "20")][..], None, Some(40)),
        (&[("cache-control", "no-store")], None, None),
        (&[("cache-control", "no-store")], Some(30), Some(30)),
        (&[("cache-control", "max-age=60")], Some(30), Some(30)),
    ] {
        let origin = FnOrigin::fixed(fields, b"page");
        let cache = Cache::builder(Arc::new(MemoryStore::default())).build();
        let mut options = FetchOptions::default();
        if let Some(seconds) = seconds {
            let overrides = Overrides::default().with_freshness(Duration::from_secs(seconds));
            options = options.with_overrides(OverrideFn::always(overrides));
        }
        let response = fetch(&cache, &origin, &options).await;
        let head = Request::get(URL).body(()).expect("a request");
        let fresh = Refreshes::new(&cache).fresh_for(&head, &response, &options);
        assert_eq!(fresh.map(|fresh| fresh.as_secs()), expected, "{fields:?} {seconds:?}");
    }
}
