//! What is part of the key beside the URL, and purges by URL: each test is named after what must
//! hold.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::Router;
use http::{HeaderMap, HeaderName, Request, Uri};
use http_body_util::BodyExt as _;
use larder_core::{
    Cache,
    adapter::{ContentInKey, KeyRules},
};
use larder_memory::MemoryStore;
use larder_tower::CacheLayer;
use tower::ServiceExt as _;

/// Creates a router of which every path answers with the number of the call and what it sees.
fn router(configure: impl FnOnce(CacheLayer) -> CacheLayer) -> (Router, CacheLayer) {
    let cache = Cache::builder(Arc::new(MemoryStore::default())).build();
    let layer = configure(CacheLayer::new(cache));
    let calls = Arc::new(AtomicUsize::new(0));
    let handler = move |uri: Uri, headers: HeaderMap, body: axum::body::Bytes| async move {
        let text =
            |name: &str| headers.get(name).map_or("-", |value| value.to_str().expect("text")).to_owned();
        let call = calls.fetch_add(1, Ordering::Relaxed);
        let seen = format!("{call} {} {uri} {} {}", text("host"), text("cookie"), body.len());
        ([("cache-control", "public, max-age=60")], seen)
    };
    (Router::new().fallback(handler).layer(layer.clone()), layer)
}

/// Sends a request and returns the content of the response.
async fn send(
    router: &Router,
    method: &str,
    uri: &str,
    fields: &[(&str, &str)],
    body: Vec<&'static str>,
) -> String {
    let mut request = Request::builder().method(method).uri(uri);
    if !fields.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "example.com");
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let body = if body.is_empty() {
        axum::body::Body::empty()
    } else {
        let chunks = body.into_iter().map(Ok::<_, std::io::Error>);
        axum::body::Body::from_stream(futures_util::stream::iter(chunks))
    };
    let request = request.body(body).expect("a request");
    let response = router.clone().oneshot(request).await.expect("a response");
    let content = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(content.to_vec()).expect("text")
}

async fn get(router: &Router, uri: &str, fields: &[(&str, &str)]) -> String {
    send(router, "GET", uri, fields, Vec::new()).await
}

#[tokio::test]
async fn headers_cookies_and_clients_have_pages_of_their_own() {
    let rules = KeyRules::default()
        .with_ignored_query(["utm_*"])
        .with_headers([HeaderName::from_static("x-country")])
        .with_cookies(["currency"]);
    let (router, layer) = router(|layer| {
        let layer = layer.key_rules(rules);
        layer.partition(|request| Some(request.headers.get("x-user")?.as_bytes().to_vec()))
    });
    const FORMS: [&[(&str, &str)]; 6] = [
        &[],
        &[("x-country", "de")],
        &[("cookie", "session=1; currency=EUR")],
        &[("cookie", "currency=USD")],
        &[("x-user", "alice")],
        &[("x-user", "bob")],
    ];
    let all = async || {
        let mut pages = Vec::new();
        for fields in FORMS {
            pages.push(get(&router, "/shop", fields).await);
        }
        pages
    };
    let first = all().await;
    for (index, page) in first.iter().enumerate() {
        assert!(page.starts_with(&format!("{index} ")), "{page} is of another form");
    }
    assert_eq!(all().await, first, "all are hits");
    layer.purge_url("HTTP://Example.com:80/%73hop?utm_source=mail").await.expect("purged");
    let second = all().await;
    assert!(first.iter().zip(&second).all(|(one, other)| one != other), "{second:?}");
    layer.soft_purge_prefix("http://example.com/shop").await.expect("purged");
    let third = all().await;
    assert!(second.iter().zip(&third).all(|(one, other)| one != other), "{third:?}");
}

#[tokio::test]
async fn a_purge_says_how_many_entries_it_removed() {
    let (router, layer) = router(|layer| layer.key_rules(KeyRules::default().with_ignored_query(["utm_*"])));
    for path in ["/a", "/a/b", "/c?utm_source=x"] {
        get(&router, path, &[]).await;
    }
    let count = |purged: Result<larder_core::Purged, larder_core::adapter::PurgeError>| {
        purged.expect("purged").entries
    };
    assert_eq!(count(layer.purge_url("http://example.com/none").await), Some(0));
    assert_eq!(count(layer.soft_purge_url("http://example.com/c").await), Some(1));
    assert_eq!(count(layer.purge_url("http://example.com/c?utm_y=1").await), Some(1));
    assert_eq!(count(layer.purge_prefix("http://example.com/a").await), Some(2));
    assert_eq!(count(layer.purge_prefix("http://example.com/a").await), Some(0));
}

#[tokio::test]
async fn queries_are_stored_by_their_content_and_long_ones_pass_whole() {
    let content = ContentInKey::default().with_post(true).with_max_length(1000);
    let (router, _) = router(|layer| layer.key_rules(KeyRules::default().with_content(content)));
    let query =
        async |method: &str, body| send(&router, method, "/search", &[("content-type", "a/b")], body).await;
    for method in ["QUERY", "POST"] {
        let one = query(method, vec!["one"]).await;
        assert!(one.ends_with(" 3"), "the handler reads the content: {one}");
        assert_eq!(query(method, vec!["o", "ne"]).await, one);
        assert_ne!(query(method, vec!["two"]).await, one);
        let long: &'static str = Box::leak("x".repeat(1001).into_boxed_str());
        let passed = [query(method, vec!["y", long]).await, query(method, vec!["y", long]).await];
        assert!(passed.iter().all(|passed| passed.ends_with(" 1002")), "{passed:?}");
        assert_ne!(passed[0], passed[1], "they are not stored");
        assert_eq!(query(method, vec!["one"]).await, one, "nothing is invalidated");
    }
}

/// `Host: SITE.test:80` was in the links of everybody's page, and three lines of cookies were read
/// as one cookie.
#[tokio::test]
async fn a_handler_sees_what_is_in_the_key() {
    let (router, _) = router(|layer| layer.key_rules(KeyRules::default().with_ignored_query(["utm_*"])));
    assert_eq!(get(&router, "/a", &[("host", "EXAMPLE.com:80")]).await, "0 example.com /a - 0");
    assert_eq!(get(&router, "/a", &[]).await, "0 example.com /a - 0");
    assert_eq!(get(&router, "/b?utm_a=1&c=2", &[("host", "example.com:")]).await, "1 example.com /b?c=2 - 0");
    let cookies = [("cookie", "a=1"), ("cookie", "b=2")];
    assert_eq!(get(&router, "/c", &cookies).await, "2 example.com /c a=1; b=2 0");
}

/// A router that is nested under a path does not get ignored parameters either.
#[tokio::test]
async fn nested_routers_see_no_ignored_parameters() {
    let (inner, layer) = router(|layer| layer.key_rules(KeyRules::default().with_ignored_query(["utm_*"])));
    let router = Router::new().nest("/shop", inner);
    let one = get(&router, "/shop/a?utm_a=1&b=2", &[]).await;
    assert_eq!(one, "0 example.com /a?b=2 - 0");
    assert_eq!(get(&router, "/shop/a?b=2", &[]).await, one);
    assert_eq!(
        layer.purge_url("http://example.com/shop/a?b=2&utm_b=3").await.expect("purged"),
        larder_core::Purged::from(1)
    );
}
