//! A store that fails while a client reads a body from it.

use std::{convert::Infallible, sync::Arc};

use http::{Request, Response};
use larder_core::{Body, Cache, StoreErrorKind};
use larder_memory::MemoryStore;
use larder_testkit::{FaultyStore, ReadFailure};
use larder_tower::CacheLayer;
use tower::{Layer as _, ServiceExt as _};

const TEN: &str = "0123456789";

/// Serves ten bytes, or a range of them. Its requests have the path that the client has sent.
async fn ten(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    assert_eq!(request.uri(), "/ten");
    let response = Response::builder().header("cache-control", "max-age=60").header("etag", "\"a\"");
    let range = request.headers().get("range").map(|range| range.to_str().expect("text"));
    let response = match range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) {
        Some((first, last)) => {
            assert_eq!(request.headers()["if-range"], "\"a\"");
            assert_eq!(request.headers()["x-user"], "me");
            let (first, last): (usize, usize) = (first.parse().expect("first"), last.parse().expect("last"));
            let response = response.status(206).header("content-range", format!("bytes {first}-{last}/10"));
            response.body(Body::from(&TEN[first..=last]))
        }
        None => response.body(Body::from(TEN)),
    };
    Ok(response.expect("a response"))
}

#[tokio::test]
async fn a_hit_continues_with_the_service() {
    let store = FaultyStore::new(Arc::new(MemoryStore::default()));
    let layer = CacheLayer::new(Cache::builder(Arc::new(store.clone())).build());
    let service = layer.layer(tower::service_fn(ten));
    for expected in ["fwd=uri-miss", "hit"] {
        let request = Request::get("/ten").header("host", "example.com").header("x-user", "me");
        let response = service.clone().oneshot(request.body(Body::empty()).expect("a request")).await;
        let response = response.expect("a response");
        let cache_status = response.headers()["cache-status"].to_str().expect("text");
        assert!(cache_status.contains(expected), "{cache_status}");
        let body = response.into_body().into_bytes(1024).await.expect("the body is whole");
        assert_eq!(body, TEN);
        store.fail_reads(&[ReadFailure::new(6, StoreErrorKind::Corrupt)]);
    }
}
