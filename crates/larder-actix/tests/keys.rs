//! What is part of the key beside the URL, and purges by URL: each test is named after what must
//! hold.

mod server;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use larder_actix::CacheMiddleware;
use larder_core::{
    Cache,
    adapter::{ContentInKey, KeyRules},
};
use larder_memory::MemoryStore;
use server::{content, send};

/// Answers with the number of the call and what the handler sees.
async fn numbered(request: HttpRequest, body: web::Bytes, calls: web::Data<AtomicUsize>) -> HttpResponse {
    let call = calls.fetch_add(1, Ordering::Relaxed);
    let host = request.headers().get("host").map_or("-", |host| host.to_str().expect("text"));
    let text = format!("{call} {host} {} {}", request.uri(), body.len());
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "public, max-age=60")).body(text)
}

/// Starts an application of which every path has that handler. Returns its middleware.
fn serve(configure: impl FnOnce(CacheMiddleware) -> CacheMiddleware) -> (SocketAddr, CacheMiddleware) {
    let cache = Cache::builder(Arc::new(MemoryStore::default())).build();
    let middleware = configure(CacheMiddleware::new(cache));
    let calls = web::Data::new(AtomicUsize::new(0));
    let routes = move |app: &mut web::ServiceConfig| {
        app.app_data(calls.clone())
            .app_data(web::PayloadConfig::new(1 << 20))
            .default_service(web::to(numbered));
    };
    (server::serve(middleware.clone(), routes), middleware)
}

/// Sends a request with these header lines and content, and returns the content of the response.
fn request(address: SocketAddr, method: &str, path: &str, lines: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    content(&send(address, method, path, &format!("{lines}{length}\r\n{body}"))).to_owned()
}

fn get(address: SocketAddr, path: &str, lines: &str) -> String {
    request(address, "GET", path, lines, "")
}

/// Two visitors with different currencies got the prices of the first one, and then a purge left
/// one of the pages.
#[tokio::test]
async fn headers_cookies_and_clients_have_pages_of_their_own() {
    let rules = KeyRules::default()
        .with_ignored_query(["utm_*"])
        .with_headers([http::HeaderName::from_static("x-country")])
        .with_cookies(["currency"]);
    let (address, middleware) = serve(|cache| {
        cache.key_rules(rules).partition(|request| Some(request.headers().get("x-user")?.as_bytes().to_vec()))
    });
    let forms = [
        "",
        "X-Country: de\r\n",
        "X-Country: \r\n",
        "Cookie: session=1; currency=EUR\r\n",
        "Cookie: currency=USD\r\n",
        "X-User: alice\r\n",
        "X-User: bob\r\n",
        "X-User: alice\r\nX-Country: de\r\n",
    ];
    let all = move || forms.map(|lines| get(address, "/shop", lines));
    let in_background = async || tokio::task::spawn_blocking(all).await.expect("no panic");
    let first = in_background().await;
    for (index, page) in first.iter().enumerate() {
        assert!(page.starts_with(&format!("{index} ")), "{page} is of another form");
    }
    assert_eq!(in_background().await, first, "all are hits");
    let other = move || get(address, "/shop", "Cookie: currency=EUR; session=2\r\n");
    assert_eq!(tokio::task::spawn_blocking(other).await.expect("no panic"), first[3], "another session");
    middleware.purge_url("HTTP://Example.com:80/%73hop?utm_source=mail").await.expect("purged");
    let second = in_background().await;
    assert!(first.iter().zip(&second).all(|(one, other)| one != other), "{second:?}");
    middleware.purge_prefix("http://example.com/shop").await.expect("purged");
    let third = in_background().await;
    assert!(second.iter().zip(&third).all(|(one, other)| one != other), "{third:?}");
}

/// A count was promised, and a purge of the wrong name reported success.
#[tokio::test]
async fn a_purge_says_how_many_entries_it_removed() {
    let (address, middleware) = serve(|cache| cache.ignore_query(["utm_*"]));
    let store = move || ["/a", "/a/b", "/c"].map(|path| get(address, path, ""));
    tokio::task::spawn_blocking(store).await.expect("no panic");
    let count = |purged: Result<larder_core::Purged, larder_core::adapter::PurgeError>| {
        purged.expect("purged").entries
    };
    assert_eq!(count(middleware.purge_url("http://example.com/none").await), Some(0));
    assert_eq!(count(middleware.soft_purge_url("http://example.com/c").await), Some(1));
    assert_eq!(count(middleware.purge_url("http://example.com/c?utm_x=1").await), Some(1));
    assert_eq!(count(middleware.soft_purge_prefix("http://example.com/a").await), Some(2));
    assert_eq!(count(middleware.purge_prefix("http://example.com/a").await), Some(2));
    assert_eq!(count(middleware.purge_prefix("http://example.com/a").await), Some(0));
    let error = middleware.purge_url("/a").await.expect_err("no absolute URL");
    assert!(format!("{error:?}").contains("scheme"), "{error:?}");
}

/// A search of 100 KB reached its handler without the part that had been read for the key.
#[test]
fn queries_are_stored_by_their_content_and_long_ones_pass_whole() {
    let content = ContentInKey::default().with_post(true).with_max_length(1000);
    let (address, _) = serve(|cache| cache.key_rules(KeyRules::default().with_content(content)));
    let typed = "Content-Type: text/plain\r\n";
    for (method, path) in [("QUERY", "/search"), ("POST", "/find")] {
        let one = request(address, method, path, typed, "one");
        assert!(one.ends_with(" 3"), "the handler reads the content: {one}");
        assert_eq!(request(address, method, path, typed, "one"), one);
        assert_ne!(request(address, method, path, typed, "two"), one);
        assert_ne!(request(address, method, path, "Content-Type: a/b\r\n", "one"), one);
        assert_eq!(request(address, method, path, typed, "one"), one, "nothing is invalidated");
        let chunked = format!("{typed}Transfer-Encoding: chunked\r\n");
        let chunks = send(address, method, path, &format!("{chunked}\r\n1\r\no\r\n2\r\nne\r\n0\r\n\r\n"));
        assert_eq!(server::content(&chunks), one, "the framing makes no difference");
        let long = "x".repeat(100_000);
        let passed = [(); 2].map(|()| request(address, method, path, typed, &long));
        assert!(passed.iter().all(|passed| passed.ends_with(" 100000")), "{passed:?}");
        assert_ne!(passed[0], passed[1], "they are not stored");
        assert_eq!(request(address, method, path, typed, "one"), one, "nothing is invalidated");
    }
    let page = get(address, "/search", "");
    assert_eq!(get(address, "/search", ""), page, "a page beside the queries");
}

#[test]
fn by_default_a_query_is_not_stored() {
    let (address, _) = serve(|cache| cache);
    let [one, two] = [(); 2].map(|()| request(address, "QUERY", "/search", "", "one"));
    assert!(one != two && one.ends_with(" 3"), "{one} {two}");
}

/// `Host: EXAMPLE.com:80` was in the links of everybody's page.
#[test]
fn a_handler_sees_the_host_that_is_in_the_key() {
    let (address, _) = serve(|cache| cache);
    for (number, host) in ["EXAMPLE.com:80", "example.com:"].into_iter().enumerate() {
        let path = format!("/{number}");
        let raw = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let response = server::send_raw(address, &raw);
        assert_eq!(server::content(&response), format!("{number} example.com {path} 0"), "{host}");
    }
}

/// What the key encodes, the handler sees as it was sent: its response is not stored.
#[test]
fn a_path_with_raw_characters_is_not_stored_under_another_path() {
    let (address, _) = serve(|cache| cache);
    let raw = get(address, "/a\"b", "");
    let encoded = get(address, "/a%22b", "");
    assert!(raw.ends_with("/a\"b 0") && encoded.ends_with("/a%22b 0"), "{raw} {encoded}");
    assert_eq!(get(address, "/a%22b", ""), encoded);
    assert_ne!(get(address, "/a\"b", ""), raw);
}
