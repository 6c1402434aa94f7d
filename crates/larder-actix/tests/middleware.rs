//! Tests of the middleware in a real server, over real sockets.

mod server;

use std::{
    io::Read as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use actix_web::{HttpResponse, http::header, web};
use bytes::Bytes;
use larder_actix::CacheMiddleware;
use larder_memory::MemoryStore;
use larder_testkit::ManualClock;
use server::{content, get, open, send};
use tokio::sync::Notify;

/// How often the handlers ran, and the gate at which the slow ones wait.
#[derive(Clone, Default)]
struct Handlers {
    calls: Arc<AtomicUsize>,
    gate: Arc<Notify>,
}

fn fresh(body: impl Into<String>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "max-age=60")).body(body.into())
}

async fn page(handlers: web::Data<Handlers>) -> HttpResponse {
    let count = handlers.calls.fetch_add(1, Ordering::SeqCst) + 1;
    fresh(format!("page {count}"))
}

async fn slow(handlers: web::Data<Handlers>) -> HttpResponse {
    handlers.calls.fetch_add(1, Ordering::SeqCst);
    handlers.gate.notified().await;
    fresh("slow")
}

async fn user(path: web::Path<(String, u32)>, handlers: web::Data<Handlers>) -> HttpResponse {
    handlers.calls.fetch_add(1, Ordering::SeqCst);
    fresh(format!("{} {}", path.0, path.1))
}

async fn stream(handlers: web::Data<Handlers>) -> HttpResponse {
    let gate = Arc::clone(&handlers.gate);
    let chunks = futures_util::stream::unfold(0, move |step| {
        let gate = Arc::clone(&gate);
        async move {
            match step {
                0 => Some((Ok::<_, actix_web::Error>(Bytes::from_static(b"first ")), 1)),
                1 => {
                    gate.notified().await;
                    Some((Ok(Bytes::from_static(b"second")), 2))
                }
                _ => None,
            }
        }
    });
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "max-age=60")).streaming(chunks)
}

async fn fails(handlers: web::Data<Handlers>) -> Result<HttpResponse, actix_web::Error> {
    match handlers.calls.fetch_add(1, Ordering::SeqCst) {
        0 => Err(actix_web::error::ErrorImATeapot("not yet")),
        1 => panic!("a handler that panics (on purpose)"),
        _ => Ok(fresh("at last")),
    }
}

/// A handler that purges the responses of other handlers.
async fn purge_silent(cache: web::Data<larder_core::Cache>) -> HttpResponse {
    let group = larder_core::CacheGroup::new("http://example.com", "silent");
    match cache.purge(larder_core::Scope::Group(&group)).await {
        Ok(_) => HttpResponse::NoContent().finish(),
        Err(error) => HttpResponse::ServiceUnavailable().body(error.to_string()),
    }
}

async fn fresh_echo(body: String) -> HttpResponse {
    fresh(format!("for {body}"))
}

async fn echo(body: String) -> HttpResponse {
    HttpResponse::Ok().body(format!("got {body}"))
}

async fn silent(handlers: web::Data<Handlers>) -> HttpResponse {
    let count = handlers.calls.fetch_add(1, Ordering::SeqCst) + 1;
    HttpResponse::Ok().body(format!("silent {count}"))
}

/// Starts a server for one test; it ends with the process.
fn serve() -> (SocketAddr, Handlers) {
    serve_with(&ManualClock::at(1_700_000_000), CacheMiddleware::new)
}

fn serve_with(
    clock: &ManualClock,
    middleware: impl FnOnce(larder_core::Cache) -> CacheMiddleware,
) -> (SocketAddr, Handlers) {
    let handlers = Handlers::default();
    let data = web::Data::new(handlers.clone());
    let cache =
        larder_core::Cache::builder(Arc::new(MemoryStore::default())).clock(Arc::new(clock.clone())).build();
    let shared = cache.clone();
    let cache = middleware(cache);
    let routes = move |app: &mut web::ServiceConfig| {
        app.app_data(data.clone())
            .app_data(web::Data::new(shared.clone()))
            .route("/page", web::get().to(page))
            .route("/page", web::put().to(echo))
            .route("/echo", web::get().to(fresh_echo))
            .route("/silent", web::get().to(silent))
            .route("/silent", web::post().to(purge_silent))
            .route("/slow", web::get().to(slow))
            .route("/stream", web::get().to(stream))
            .route("/fails", web::get().to(fails))
            .service(web::scope("/teams").route("/{team}/users/{id}", web::get().to(user)));
    };
    (server::serve(cache, routes), handlers)
}

#[test]
fn a_handler_runs_once_for_a_storable_page() {
    let (address, handlers) = serve();
    let miss = get(address, "/page");
    assert!(miss.contains("cache-status: larder; fwd=uri-miss; fwd-status=200; stored"), "{miss}");
    let hit = get(address, "/page");
    assert_eq!(content(&hit), "page 1");
    assert!(hit.contains("age: 0") && hit.contains("cache-status: larder; hit"), "{hit}");
    let head = send(address, "HEAD", "/page", "\r\n");
    assert!(head.contains("content-length: 6") && content(&head).is_empty(), "{head}");
    let part = send(address, "GET", "/page", "Range: bytes=0-3\r\n\r\n");
    assert!(part.starts_with("HTTP/1.1 206") && content(&part) == "page", "{part}");
    assert_eq!(handlers.calls.load(Ordering::SeqCst), 1);
}

#[test]
fn an_unsafe_request_reaches_its_handler_with_its_content_and_invalidates_the_page() {
    let (address, _) = serve();
    assert_eq!(content(&get(address, "/page")), "page 1");
    let put = send(address, "PUT", "/page", "Content-Length: 5\r\n\r\nhello");
    assert_eq!(content(&put), "got hello");
    assert_eq!(content(&get(address, "/page")), "page 2");
}

/// Regression in another cache: its server layer broke the framework's path extraction.
#[test]
fn extractors_work_behind_it() {
    let (address, handlers) = serve();
    for _ in 0..2 {
        assert_eq!(content(&get(address, "/teams/red/users/42")), "red 42");
    }
    assert_eq!(content(&get(address, "/teams/blue/users/42")), "blue 42");
    assert_eq!(handlers.calls.load(Ordering::SeqCst), 2);
}

#[test]
fn requests_for_a_cold_page_run_its_handler_once() {
    let (address, handlers) = serve();
    let clients: Vec<_> = (0..50).map(|_| thread::spawn(move || get(address, "/slow"))).collect();
    while handlers.calls.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    handlers.gate.notify_one();
    for client in clients {
        assert_eq!(content(&client.join().expect("no panic")), "slow");
    }
    assert_eq!(handlers.calls.load(Ordering::SeqCst), 1);
}

/// A streamed response used to be collected first: a live stream arrived as a whole at its end.
#[test]
fn a_stream_is_passed_on_as_it_comes() {
    let (address, handlers) = serve();
    let mut stream = open(address, "GET", "/stream", "\r\n");
    let mut received = String::new();
    let mut buffer = [0; 1024];
    while !received.contains("first") {
        let read = stream.read(&mut buffer).expect("the first chunk arrives before the handler ends");
        received.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    assert!(!received.contains("second"));
    handlers.gate.notify_one();
    stream.read_to_string(&mut received).expect("the rest");
    assert!(received.contains("second"));
    assert!(content(&get(address, "/stream")).contains("first second"), "the response is stored");
}

#[test]
fn a_handler_that_fails_or_panics_stores_nothing() {
    let (address, _) = serve();
    let teapot = get(address, "/fails");
    assert!(teapot.starts_with("HTTP/1.1 418") && content(&teapot) == "not yet", "{teapot}");
    let mut panicked = String::new();
    let _ = open(address, "GET", "/fails", "\r\n").read_to_string(&mut panicked);
    assert_eq!(content(&get(address, "/fails")), "at last");
    assert!(get(address, "/missing").starts_with("HTTP/1.1 404"));
}

/// A stale page is served without waiting, and its handler runs in the background: also for a route
/// in a scope.
#[test]
fn a_stale_page_is_revalidated_in_the_background() {
    let clock = ManualClock::at(1_700_000_000);
    let (address, handlers) = serve_with(&clock, |cache| {
        CacheMiddleware::new(cache).stale_while_revalidate(Duration::from_secs(600))
    });
    assert_eq!(content(&get(address, "/page")), "page 1");
    assert_eq!(content(&get(address, "/teams/red/users/42")), "red 42");
    clock.advance(Duration::from_secs(61));
    let stale = get(address, "/page");
    assert!(content(&stale) == "page 1" && stale.contains("larder; hit; ttl=-1"), "{stale}");
    while content(&get(address, "/page")) == "page 1" {}
    assert!(get(address, "/page").contains("larder; hit; ttl=60"));
    let stale = get(address, "/teams/red/users/42");
    assert!(stale.contains("larder; hit; ttl=-1"), "{stale}");
    while !get(address, "/teams/red/users/42").contains("ttl=60") {}
    assert_eq!(handlers.calls.load(Ordering::SeqCst), 4, "each handler ran once more");
}

#[test]
fn options_supply_what_handlers_leave_open() {
    let clock = ManualClock::at(1_700_000_000);
    let (address, handlers) = serve_with(&clock, |cache| {
        CacheMiddleware::new(cache)
            .default_freshness(Duration::from_secs(10))
            .groups(|response| (response.uri.path() == "/silent").then_some("silent"))
            .key(|request| {
                let tenant = request.headers().get("x-tenant");
                tenant.map_or_else(Vec::new, |tenant| tenant.as_bytes().to_vec())
            })
            .ignore_query(["utm_*", "ref"])
            .unless(|request| request.path().starts_with("/teams"))
    });
    let silent = |query: &str, rest: &str| {
        let response = send(address, "GET", &format!("/silent{query}"), &format!("{rest}\r\n"));
        content(&response).to_owned()
    };
    assert_eq!(silent("", ""), "silent 1");
    assert_eq!(silent("?utm_source=a&ref=b", ""), "silent 1");
    assert_eq!(silent("?a=1&utm_medium=x", ""), "silent 2");
    assert_eq!(silent("?a=1", ""), "silent 2");
    assert_eq!(silent("", "x-tenant: blue\r\n"), "silent 3", "another tenant");
    assert_eq!(silent("", "x-tenant: blue\r\n"), "silent 3");
    assert!(send(address, "POST", "/silent", "Content-Length: 0\r\n\r\n").starts_with("HTTP/1.1 204"));
    assert_eq!(silent("", "x-tenant: blue\r\n"), "silent 4", "the group was purged");
    assert_eq!(silent("?a=1", ""), "silent 5");
    let bypassed = get(address, "/teams/red/users/1");
    assert!(!bypassed.contains("cache-status"), "{bypassed}");
    let explicit = get(address, "/page");
    assert!(explicit.contains("stored"), "{explicit}");
    assert!(get(address, "/page").contains("ttl=60"), "the lifetime of the handler takes precedence");
    assert_eq!(handlers.calls.load(Ordering::SeqCst), 7);
}

/// Responses without an entity tag get one: it is the same for the same content, and a request with
/// it is answered with 304 and no content.
#[test]
fn pages_get_entity_tags() {
    let (address, _) = serve();
    let tag_of = |response: &str| {
        let line = response.lines().find(|line| line.starts_with("etag: ")).expect("a tag");
        line.trim_start_matches("etag: ").to_owned()
    };
    let tag = tag_of(&get(address, "/teams/red/users/42"));
    assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
    assert_eq!(tag_of(&get(address, "/teams/red/users/42")), tag);
    assert_ne!(tag_of(&get(address, "/teams/red/users/43")), tag);
    let response = send(address, "GET", "/teams/red/users/42", &format!("If-None-Match: {tag}\r\n\r\n"));
    assert!(response.starts_with("HTTP/1.1 304") && content(&response).is_empty(), "{response}");
}

/// The content of a GET is not in the key, so its response must not be served to other requests.
#[test]
fn a_get_with_content_reaches_its_handler_and_is_not_stored() {
    let (address, _) = serve();
    let get_with_content = |sent: &str| {
        let rest = format!("Content-Length: {}\r\n\r\n{sent}", sent.len());
        content(&send(address, "GET", "/echo", &rest)).to_owned()
    };
    assert_eq!(get_with_content("the admin"), "for the admin");
    assert_eq!(content(&get(address, "/echo")), "for ");
    assert_eq!(get_with_content("a user"), "for a user");
}
