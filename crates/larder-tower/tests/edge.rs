//! What strangers can make of a server behind the layer: each test is named after what must not
//! happen.

use std::{net::IpAddr, sync::Arc};

use axum::{Router, routing::get};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use larder_core::{Body, Cache, CacheKey, Scope, TargetUri};
use larder_memory::MemoryStore;
use larder_tower::CacheLayer;
use tower::ServiceExt as _;

const FRESH: [(&str, &str); 1] = [("cache-control", "max-age=60")];

/// A load balancer's address, as a server would record it.
#[derive(Clone, Copy)]
struct Peer(IpAddr);

fn cache() -> Cache {
    Cache::builder(Arc::new(MemoryStore::default())).build()
}

/// Sends a request and returns its `Cache-Status` and content.
async fn send(router: &Router, path: &str, fields: &[(&str, &str)], peer: &str) -> (String, String) {
    let mut request = Request::get(path).header("host", "example.com");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let peer = Peer(peer.parse().expect("an address"));
    let request = request.extension(peer).body(Body::empty()).expect("a request");
    let response = router.clone().oneshot(request.map(axum::body::Body::new)).await.expect("a response");
    let status =
        response.headers().get("cache-status").map_or("", |value| value.to_str().expect("text")).to_owned();
    let content = response.into_body().collect().await.expect("a whole body").to_bytes();
    (status, String::from_utf8(content.to_vec()).expect("text"))
}

/// Two routers were nested under different paths with layers on one cache. A request for the list
/// of salaries got the list of orders.
#[tokio::test]
async fn nested_routers_do_not_share_responses() {
    let cache = cache();
    let list = |content: &'static str| {
        let router = Router::new().route("/list", get(move || async move { (FRESH, content) }));
        router.layer(CacheLayer::new(cache.clone()))
    };
    let router = Router::new().nest("/orders", list("orders")).nest("/salaries", list("salaries"));
    for _ in 0..2 {
        assert_eq!(send(&router, "/orders/list", &[], "192.0.2.1").await.1, "orders");
        assert_eq!(send(&router, "/salaries/list", &[], "192.0.2.1").await.1, "salaries");
    }
    let url = TargetUri::parse("http://example.com/salaries/list").expect("a target");
    assert_eq!(
        cache.purge(Scope::Key(&CacheKey::new(&url))).await.expect("purged"),
        larder_core::Purged::from(1),
        "as clients know it"
    );
}

/// Creates a router with a handler that makes links from the forwarded host, as many frameworks do.
fn links(layer: CacheLayer) -> Router {
    let handler = async |headers: HeaderMap| {
        let text =
            |name: &str| headers.get(name).map_or("-", |value| value.to_str().expect("text")).to_owned();
        (
            FRESH,
            format!("{} {} {}", text("x-forwarded-proto"), text("x-forwarded-host"), text("x-original-url")),
        )
    };
    Router::new().route("/", get(handler)).layer(layer)
}

#[tokio::test]
async fn a_stranger_does_not_choose_the_host_of_everybodys_links() {
    let router = links(CacheLayer::new(cache()));
    for name in ["x-forwarded-host", "x_forwarded_host", "x-original-url", "forwarded"] {
        let (_, content) = send(&router, "/", &[(name, "evil.example")], "192.0.2.1").await;
        assert_eq!(content, "- - -", "{name}");
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_received_is_the_target() {
    let cache = cache();
    let layer = CacheLayer::new(cache.clone())
        .trusted_proxies("10.0.0.0/8".parse().expect("a network"), |extensions| {
            extensions.get::<Peer>().map(|peer| peer.0)
        });
    let router = links(layer);
    let forwarded = [("x-forwarded-proto", "https"), ("x-forwarded-host", "www.example.com")];
    assert_eq!(send(&router, "/", &forwarded, "10.0.0.1").await.1, "https www.example.com -");
    assert_eq!(send(&router, "/", &forwarded, "192.0.2.1").await.1, "- - -", "a stranger has another key");
    assert_eq!(send(&router, "/", &forwarded[..1], "10.0.0.1").await.1, "https example.com -");
    let (status, content) = send(&router, "/", &forwarded, "10.0.0.1").await;
    assert!(status.starts_with("larder; hit"), "{status}");
    assert_eq!(content, "https www.example.com -");
    let url = TargetUri::parse("https://www.example.com/").expect("a target");
    assert_eq!(
        cache.purge(Scope::Key(&CacheKey::new(&url))).await.expect("purged"),
        larder_core::Purged::from(1)
    );
}

/// A handler for every path sees the path as it was sent, and the key has its normal form.
#[tokio::test]
async fn a_path_with_dot_segments_is_not_stored_under_another_path() {
    let handler = async |uri: http::Uri| (FRESH, uri.path().to_owned());
    let router = Router::new().fallback(handler).layer(CacheLayer::new(cache()));
    assert_eq!(send(&router, "/a/../b", &[], "192.0.2.1").await.1, "/a/../b");
    assert_eq!(send(&router, "/b", &[], "192.0.2.1").await.1, "/b");
    assert_eq!(send(&router, "/a/%2e%2e/b", &[], "192.0.2.1").await.1, "/a/%2e%2e/b");
}
