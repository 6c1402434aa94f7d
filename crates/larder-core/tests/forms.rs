//! Tests the forms of one URL, with keys of their own: purges and unsafe requests reach all of
//! them.

mod setting;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, Request};
use larder_core::{
    Body, CacheKey, FetchOptions, Lookup, Origin, RequestHead,
    adapter::{ContentInKey, KeyParts, KeyRules, PurgePrefix, PurgeUrl},
};
use setting::{FetchTask, Setting, read, setting};

const PAGE: &str = "http://example.com/page";

fn rules() -> KeyRules {
    KeyRules::default()
        .with_headers([HeaderName::from_static("x-country")])
        .with_cookies(["currency"])
        .with_partitioned(true)
        .with_content(ContentInKey::default())
}

/// Returns the key of the page, and of the request.
fn keys(method: &Method, headers: &HeaderMap, content: &'static [u8]) -> (CacheKey, CacheKey) {
    let url = rules().key_of_url(PAGE).expect("a URL");
    let parts = KeyParts::new(headers);
    let parts = if rules().is_query(method) { parts.with_query(method, content) } else { parts };
    let key = rules().key_with(&url, &parts);
    (url, key)
}

/// Sends a request for the page as an adapter does.
fn send(it: &Setting, method: &str, fields: &[(&str, &str)], content: &'static str) -> FetchTask {
    let mut request = Request::builder().method(method).uri(PAGE);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(content)).expect("a request");
    let (cache, origin) = (it.cache.clone(), Arc::clone(&it.origin) as Arc<dyn Origin>);
    tokio::spawn(async move {
        let is_query = rules().is_query(request.method());
        let (url, key) = keys(request.method(), request.headers(), content.as_bytes());
        let options = FetchOptions::default().with_form_of(url).with_body_in_key(is_query);
        let method = if is_query { &Method::GET } else { request.method() };
        match cache.lookup(&key, &RequestHead::new(method, request.headers())).await {
            Lookup::Hit(response) => Ok(response),
            Lookup::Miss(miss) => miss.fetch(request, origin, &options).await,
        }
    })
}

/// A form of the page: a method, fields, and content.
type Form = (&'static str, &'static [(&'static str, &'static str)], &'static str);

/// The forms of the page that the tests store.
const FORMS: [Form; 5] = [
    ("GET", &[], ""),
    ("GET", &[("x-country", "de")], ""),
    ("GET", &[("cookie", "currency=EUR")], ""),
    ("QUERY", &[("content-type", "text/plain")], "one"),
    ("QUERY", &[("content-type", "text/plain")], "two"),
];

const BODIES: [&str; 5] = ["0", "1", "2", "3", "4"];

/// Stores all forms, and checks that each is a hit with its own body.
async fn store_all(it: &mut Setting) {
    for (index, (method, fields, content)) in FORMS.into_iter().enumerate() {
        let fetch = send(it, method, fields, content);
        let received = it.requests.next().await;
        assert_eq!(received.request.method(), method);
        received.respond(200, &[("cache-control", "max-age=60, public")], BODIES[index].as_bytes());
        assert_eq!(read(fetch).await.0, "fwd=uri-miss; fwd-status=200; stored", "{index}");
    }
    for (index, (method, fields, content)) in FORMS.into_iter().enumerate() {
        let (status, body) = read(send(it, method, fields, content)).await;
        assert_eq!((status.as_str(), &*body), ("hit; ttl=60", BODIES[index].as_bytes()));
    }
}

/// Checks that each form is fetched.
async fn expect_all_gone(it: &mut Setting) {
    for (index, (method, fields, content)) in FORMS.into_iter().enumerate() {
        let fetch = send(it, method, fields, content);
        it.requests.next().await.respond(200, &[("cache-control", "no-store")], b"new");
        assert_eq!(read(fetch).await.1, b"new", "form {index}");
    }
}

/// An editor purged a page, and the readers with a currency still got the old one.
#[tokio::test]
async fn a_purge_of_a_url_reaches_all_its_forms() {
    let mut it = setting();
    store_all(&mut it).await;
    PurgeUrl::parse(PAGE, &rules()).expect("a URL").purge(&it.cache).await.expect("it purges");
    expect_all_gone(&mut it).await;
}

#[tokio::test]
async fn a_purge_by_prefix_reaches_all_forms() {
    let mut it = setting();
    store_all(&mut it).await;
    let below = PurgePrefix::parse(PAGE).expect("a URL").and_forms();
    below.purge(&it.cache).await.expect("it purges");
    expect_all_gone(&mut it).await;
}

#[tokio::test]
async fn a_soft_purge_makes_all_forms_stale() {
    let mut it = setting();
    store_all(&mut it).await;
    it.advance(1);
    PurgeUrl::parse(PAGE, &rules()).expect("a URL").soft_purge(&it.cache).await.expect("it marks");
    expect_all_gone(&mut it).await;
}

/// A PUT without cookies replaced the page, and the form with a cookie stayed (RFC 9111 §4.4).
#[tokio::test]
async fn an_unsafe_request_invalidates_all_forms() {
    let mut it = setting();
    store_all(&mut it).await;
    let put = send(&it, "PUT", &[("x-country", "fr")], "new");
    it.requests.next().await.respond(204, &[], b"");
    read(put).await;
    expect_all_gone(&mut it).await;
}

/// The same if the client of the PUT is gone before the origin's response: it may have been carried
/// out.
#[tokio::test]
async fn an_unsafe_request_without_response_invalidates_all_forms() {
    let mut it = setting();
    store_all(&mut it).await;
    let put = send(&it, "PUT", &[("x-country", "fr")], "new");
    let _unanswered = it.requests.next().await;
    put.abort();
    assert!(put.await.is_err());
    expect_all_gone(&mut it).await;
}

#[tokio::test]
async fn other_urls_keep_their_forms() {
    let mut it = setting();
    store_all(&mut it).await;
    let other = PurgeUrl::parse("http://example.com/page2", &rules()).expect("a URL");
    other.purge(&it.cache).await.expect("it purges");
    for (method, fields, content) in FORMS {
        assert_eq!(read(send(&it, method, fields, content)).await.0, "hit; ttl=60");
    }
}
