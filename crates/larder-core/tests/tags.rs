//! Tags of responses: what the store and the clients get of them, and what a purge of one removes.

mod setting;

use std::sync::Arc;

use http::HeaderName;
use larder_core::{Cache, CacheGroup, Rules, Scope};
use setting::{Setting, read, request, response_of, setting};

const PAGE: &[(&str, &str)] =
    &[("cache-control", "max-age=60"), ("etag", "\"1\""), ("surrogate-key", "product-7 shelf-3")];

/// Creates a setting with a cache that reads tags in `Surrogate-Key`.
fn with_tags() -> Setting {
    let it = setting();
    let rules = Rules::shared().with_tag_fields([HeaderName::from_static("surrogate-key")]);
    let cache =
        Cache::builder(Arc::new(it.store.clone())).clock(Arc::new(it.clock.clone())).rules(rules).build();
    Setting { cache, ..it }
}

/// Removes what has this tag.
async fn purge(it: &Setting, tag: &str) {
    let group = CacheGroup::tag(tag);
    it.cache.purge(Scope::Group(&group)).await.expect("the store works");
}

#[tokio::test]
async fn a_purge_of_a_tag_removes_its_pages() {
    let mut it = with_tags();
    for path in ["/7", "/8"] {
        it.fetch_and_store(path, PAGE, b"x").await;
    }
    let other = [("cache-control", "max-age=60"), ("surrogate-key", "product-9")];
    it.fetch_and_store("/9", &other, b"x").await;
    purge(&it, "product-7").await;
    assert_eq!((it.stored("/7").await.len(), it.stored("/8").await.len()), (0, 0));
    assert_eq!(it.stored("/9").await.len(), 1);
}

#[tokio::test]
async fn no_client_gets_the_tags() {
    let mut it = with_tags();
    let uncacheable = [("cache-control", "no-store"), ("surrogate-key", "a")];
    for (path, method, fields) in [
        ("/", "GET", PAGE),
        ("/", "GET", PAGE),
        ("/once", "GET", &uncacheable),
        ("/once", "GET", &uncacheable),
        ("/", "POST", PAGE),
        ("/head", "HEAD", PAGE),
    ] {
        let fetch = it.send(request(method, path, &[]));
        if !(path == "/" && method == "GET" && it.stored("/").await.len() == 1) {
            it.requests.next().await.respond(200, fields, b"");
        }
        let response = response_of(fetch).await;
        assert!(!response.headers().contains_key("surrogate-key"), "{method} {path}");
    }
}

/// A page was validated by a 304 without tags. It left its groups, and the purge missed it.
#[tokio::test]
async fn a_304_without_tags_does_not_take_a_page_out_of_its_groups() {
    let mut it = with_tags();
    it.fetch_and_store("/", PAGE, b"x").await;
    it.advance(100);
    let fetch = it.get("/", &[]);
    let validation = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
    it.requests.next().await.respond(304, &validation, b"");
    assert_eq!(read(fetch).await.1, b"x");
    purge(&it, "shelf-3").await;
    assert_eq!(it.stored("/").await.len(), 0);
}
