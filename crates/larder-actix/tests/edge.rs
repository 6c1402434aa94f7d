//! What strangers can make of an application behind the middleware: each test is named after what
//! must not happen.

mod server;

use std::{net::SocketAddr, sync::Arc};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use larder_actix::CacheMiddleware;
use larder_core::{Cache, Scope};
use larder_memory::MemoryStore;
use server::{content, send};

/// Answers with what the handler takes for its own address, and with its path and query.
async fn links(request: HttpRequest) -> HttpResponse {
    let connection = request.connection_info().clone();
    let text = format!("{}://{}{}", connection.scheme(), connection.host(), request.uri());
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "max-age=60")).body(text)
}

/// Starts an application of which every path has that handler.
fn serve(middleware: impl FnOnce(Cache) -> CacheMiddleware) -> (SocketAddr, Cache) {
    let cache = Cache::builder(Arc::new(MemoryStore::default())).build();
    let routes = |app: &mut web::ServiceConfig| {
        app.default_service(web::to(links));
    };
    (server::serve(middleware(cache.clone()), routes), cache)
}

/// Sends a GET request with these header lines, and returns the content of the response.
fn get(address: SocketAddr, path: &str, lines: &str) -> String {
    content(&send(address, "GET", path, &format!("{lines}\r\n"))).to_owned()
}

/// One request with another forwarded host made all visitors get links to that host.
#[test]
fn a_stranger_does_not_choose_the_host_of_everybodys_links() {
    let (address, _) = serve(CacheMiddleware::new);
    for (number, line) in [
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: https",
        "Forwarded: host=evil.example;proto=https",
        "X_Forwarded_Host: evil.example",
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{number}");
        let expected = format!("http://example.com{path}");
        assert_eq!(get(address, &path, &format!("{line}\r\n")), expected, "{line}");
        assert_eq!(get(address, &path, ""), expected, "{line}");
    }
}

/// An application behind a load balancer knew its pages by the name of the machine, so that a purge
/// of a public URL removed nothing and reported success.
#[tokio::test]
async fn a_purge_of_a_public_url_removes_the_page() {
    let (address, cache) =
        serve(|cache| CacheMiddleware::new(cache).trusted_proxies("127.0.0.0/8".parse().expect("a network")));
    let forwarded = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: www.example.com\r\n";
    let sent = tokio::task::spawn_blocking(move || get(address, "/page", forwarded)).await.expect("no panic");
    assert_eq!(sent, "https://www.example.com/page");
    let key = CacheMiddleware::new(cache.clone()).key_of_url("https://www.example.com/page").expect("a URL");
    assert_eq!(cache.purge(Scope::Key(&key)).await.expect("purged"), larder_core::Purged::from(1));
    assert_eq!(
        cache.purge(Scope::Key(&key)).await.expect("purged"),
        larder_core::Purged::from(0),
        "it is gone"
    );
}

/// A parameter that is not in the key reached the handler, which wrote it into the page of all.
#[test]
fn an_ignored_parameter_does_not_reach_the_handler() {
    let (address, _) = serve(|cache| CacheMiddleware::new(cache).ignore_query(["utm_*"]));
    assert_eq!(get(address, "/p?utm_source=%3Cscript%3E&a=1", ""), "http://example.com/p?a=1");
    assert_eq!(get(address, "/p?a=1", ""), "http://example.com/p?a=1");
}

/// A handler for every path sees the path as it was sent, and the key has its normal form.
#[test]
fn a_path_with_dot_segments_is_not_stored_under_another_path() {
    let (address, _) = serve(CacheMiddleware::new);
    assert_eq!(get(address, "/a/../b", ""), "http://example.com/a/../b");
    assert_eq!(get(address, "/b", ""), "http://example.com/b");
    assert_eq!(get(address, "/a/%2e%2e/c", ""), "http://example.com/a/%2e%2e/c");
    assert_eq!(get(address, "/c", ""), "http://example.com/c");
}

/// A request that names two hosts reaches its handler, which decides, and nothing is stored.
#[test]
fn a_request_with_two_hosts_is_not_stored() {
    let (address, _) = serve(CacheMiddleware::new);
    let response = send(address, "GET", "/", "Host: evil.example\r\n\r\n");
    assert!(!response.contains("cache-status"), "{response}");
    assert_eq!(get(address, "/", ""), "http://example.com/");
}
