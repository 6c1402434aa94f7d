//! Tests of the middleware under failures: a store that is down, slow handlers, disconnecting
//! clients, hostile requests.

mod server;

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use bytes::Bytes;
use larder_actix::CacheMiddleware;
use larder_core::{CacheKey, CacheStore, Limits, Rules, Scope, TargetUri};
use larder_memory::MemoryStore;
use larder_testkit::{Fault, FaultyStore};
use server::{content, get, open, send, serve};
use tokio::sync::Notify;

/// State that the handlers share with their test.
#[derive(Clone, Default)]
struct Shared {
    /// Number of handler calls.
    calls: Arc<AtomicUsize>,
    version: Arc<AtomicUsize>,
    gate: Arc<Notify>,
}

async fn page(request: HttpRequest, shared: web::Data<Shared>) -> HttpResponse {
    shared.calls.fetch_add(1, Ordering::SeqCst);
    let version = shared.version.load(Ordering::SeqCst);
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "max-age=600"))
        .body(format!("{} {version}", request.uri()))
}

/// A page with `no-store` in version 0, storable in later versions.
async fn changing(shared: web::Data<Shared>) -> HttpResponse {
    let count = shared.calls.fetch_add(1, Ordering::SeqCst);
    let directive = if shared.version.load(Ordering::SeqCst) == 0 { "no-store" } else { "max-age=600" };
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, directive)).body(count.to_string())
}

async fn slow(shared: web::Data<Shared>) -> HttpResponse {
    shared.calls.fetch_add(1, Ordering::SeqCst);
    shared.gate.notified().await;
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "max-age=600")).body("at last")
}

/// Streams as many mebibytes as the path specifies, and waits at the gate after the first.
async fn large(path: web::Path<u32>, shared: web::Data<Shared>) -> HttpResponse {
    shared.calls.fetch_add(1, Ordering::SeqCst);
    let (gate, megabytes) = (Arc::clone(&shared.gate), path.into_inner());
    let chunks = futures_util::stream::unfold(0, move |sent| {
        let gate = Arc::clone(&gate);
        async move {
            if sent == megabytes {
                return None;
            }
            if sent == 1 {
                gate.notified().await;
            }
            Some((Ok::<_, actix_web::Error>(Bytes::from(vec![b'x'; 1 << 20])), sent + 1))
        }
    });
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "max-age=600")).streaming(chunks)
}

/// Sends an endless stream of events, one for each notification of the gate. `calls` counts the
/// streams that have not been dropped.
async fn events(shared: web::Data<Shared>) -> HttpResponse {
    struct OpenStream(Arc<AtomicUsize>);
    impl Drop for OpenStream {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    shared.calls.fetch_add(1, Ordering::SeqCst);
    let open_stream = OpenStream(Arc::clone(&shared.calls));
    let gate = Arc::clone(&shared.gate);
    let chunks = futures_util::stream::unfold((0, open_stream), move |(count, open_stream)| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            Some((
                Ok::<_, actix_web::Error>(Bytes::from(format!("data: {count}\n\n"))),
                (count + 1, open_stream),
            ))
        }
    });
    HttpResponse::Ok().content_type("text/event-stream").streaming(chunks)
}

/// Switches to another protocol.
async fn socket() -> HttpResponse {
    HttpResponse::SwitchingProtocols().upgrade("echo").streaming(futures_util::stream::iter([Ok::<
        _,
        actix_web::Error,
    >(
        Bytes::from_static(b"no HTTP any more"),
    )]))
}

async fn login(shared: web::Data<Shared>) -> HttpResponse {
    let session = shared.calls.fetch_add(1, Ordering::SeqCst);
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=600"))
        .insert_header((header::SET_COOKIE, format!("session={session}")))
        .body("welcome")
}

struct TestServer {
    address: SocketAddr,
    shared: Shared,
    cache: larder_core::Cache,
}

fn serve_with(store: Arc<dyn CacheStore>, limits: Limits, rules: Rules) -> TestServer {
    let cache = larder_core::Cache::builder(store).limits(limits).rules(rules).build();
    let shared = Shared::default();
    let data = web::Data::new(shared.clone());
    let address = serve(CacheMiddleware::new(cache.clone()), move |app| {
        app.app_data(data.clone())
            .route("/page", web::get().to(page))
            .route("/hot", web::get().to(page))
            .route("/slow", web::get().to(slow))
            .route("/changing", web::get().to(changing))
            .route("/changing", web::head().to(changing))
            .route("/large/{megabytes}", web::get().to(large))
            .route("/events", web::get().to(events))
            .route("/socket", web::get().to(socket))
            .route("/login", web::get().to(login));
    });
    TestServer { address, shared, cache }
}

fn serve_default() -> TestServer {
    serve_with(Arc::new(MemoryStore::default()), Limits::default(), Rules::shared())
}

/// No request fails when the store does, and the store is used again as soon as it works.
#[test]
fn a_store_that_is_down() {
    let store = FaultyStore::new(Arc::new(MemoryStore::default()));
    store.set(Fault::Down);
    let limits = Limits::default()
        .with_lookup_timeout(Duration::from_millis(20))
        .with_store_timeout(Duration::from_millis(20));
    let server = serve_with(Arc::new(store.clone()), limits, Rules::shared());
    for fault in [Fault::Down, Fault::Hangs, Fault::FailsAtCommit, Fault::FullAfter(1), Fault::Down] {
        store.set(fault);
        for _ in 0..5 {
            let response = get(server.address, "/page");
            assert!(
                response.starts_with("HTTP/1.1 200") && content(&response) == "/page 0",
                "{fault:?}: {response}"
            );
            assert!(!response.contains("larder; hit"), "{fault:?}: {response}");
        }
    }
    assert_eq!(server.shared.calls.load(Ordering::SeqCst), 25);
    store.set(Fault::None);
    while !get(server.address, "/page").contains("larder; hit") {}
}

/// A handler that hangs costs its clients a 504, and does not affect other requests.
#[test]
fn a_handler_that_exceeds_its_timeout() {
    let limits = Limits::default().with_origin_timeout(Duration::from_millis(100));
    let server = serve_with(Arc::new(MemoryStore::default()), limits, Rules::shared());
    let clients: Vec<_> = (0..5).map(|_| thread::spawn(move || get(server.address, "/slow"))).collect();
    for client in clients {
        let response = client.join().expect("no panic");
        assert!(response.starts_with("HTTP/1.1 504"), "{response}");
    }
    assert_eq!(content(&get(server.address, "/page")), "/page 0");
    server.shared.gate.notify_one();
    assert!(get(server.address, "/slow").contains("at last"), "the handler is called again");
}

/// A response with `no-store` bypasses the engine from the second request on, and is stored as soon
/// as it is storable.
#[test]
fn a_page_that_becomes_storable() {
    let server = serve_default();
    let get_expecting = |expected: &str| {
        let response = get(server.address, "/changing");
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        let status = format!("cache-status: larder; {expected}\r\n");
        assert!(response.to_lowercase().contains(&status), "{expected}: {response}");
        assert_eq!(response.to_lowercase().matches("cache-status").count(), 1);
        content(&response).to_owned()
    };
    for n in 0..3 {
        assert_eq!(get_expecting("fwd=uri-miss; fwd-status=200; detail=no-store"), n.to_string());
    }
    let head = send(server.address, "HEAD", "/changing", "\r\n");
    assert!(head.contains("content-length: 1") && content(&head).is_empty(), "{head}");
    server.shared.version.store(1, Ordering::SeqCst);
    assert_eq!(get_expecting("fwd=uri-miss; fwd-status=200"), "4");
    assert_eq!(get_expecting("fwd=uri-miss; fwd-status=200; stored"), "5");
    assert_eq!(get_expecting("hit; ttl=600"), "5");
}

/// The client disconnects within the body: the response is stored all the same, and serves the next
/// request.
#[test]
fn a_client_that_disconnects_within_the_body() {
    let server = serve_default();
    let mut first = open(server.address, "GET", "/large/3", "\r\n");
    let mut beginning = [0; 64 * 1024];
    first.read_exact(&mut beginning).expect("the body begins");
    first.shutdown(Shutdown::Both).expect("the connection is open");
    drop(first);
    server.shared.gate.notify_one();
    let whole = get(server.address, "/large/3");
    let length = content(&whole).bytes().filter(|byte| *byte == b'x').count();
    assert_eq!((length, server.shared.calls.load(Ordering::SeqCst)), (3 << 20, 1));
    assert!(get(server.address, "/large/3").contains("content-length: 3145728"));
}

/// Endless event streams are passed on event by event, one stream for each client, and end with
/// their client.
#[test]
fn events_and_upgrades_are_passed_on_unchanged() {
    let server = serve_default();
    let mut clients: Vec<_> = (0..2).map(|_| open(server.address, "GET", "/events", "\r\n")).collect();
    for turn in 0..3 {
        for client in &mut clients {
            let mut received = String::new();
            let mut buffer = [0; 1024];
            while !received.contains(&format!("data: {turn}")) {
                server.shared.gate.notify_waiters();
                let _ = client.set_read_timeout(Some(Duration::from_millis(50)));
                let read = client.read(&mut buffer).unwrap_or(0);
                received.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        }
    }
    assert_eq!(server.shared.calls.load(Ordering::SeqCst), 2, "one handler call for each client");
    drop(clients);
    while server.shared.calls.load(Ordering::SeqCst) > 0 {
        server.shared.gate.notify_waiters();
        thread::sleep(Duration::from_millis(5));
    }
    let upgraded = send(server.address, "GET", "/socket", "Upgrade: echo\r\n\r\n");
    assert!(upgraded.starts_with("HTTP/1.1 101") && upgraded.contains("no HTTP any more"), "{upgraded}");
    assert!(!upgraded.contains("cache-status"), "{upgraded}");
}

/// A body over the limit is passed on whole, and not stored.
#[test]
fn a_body_larger_than_the_limit() {
    let limits = Limits::default().with_max_object(2 << 20);
    let server = serve_with(Arc::new(MemoryStore::default()), limits, Rules::shared());
    for calls in 1..3 {
        server.shared.gate.notify_one();
        let whole = get(server.address, "/large/4");
        assert_eq!(content(&whole).bytes().filter(|byte| *byte == b'x').count(), 4 << 20);
        assert_eq!(server.shared.calls.load(Ordering::SeqCst), calls);
    }
    server.shared.gate.notify_one();
    get(server.address, "/large/2");
    assert!(get(server.address, "/large/2").contains("larder; hit"));
}

/// Ten requests with ever-new query strings for every request of the hot set: memory stays within
/// its limit, and the hot set stays stored, although more new pages arrive between two requests for
/// one of its pages than the store can hold.
#[test]
fn ten_thousand_query_strings() {
    let store = MemoryStore::with_capacity(1 << 20);
    let server = serve_with(Arc::new(store.clone()), Limits::default(), Rules::shared());
    let mut hits = Vec::new();
    for round in 0..20 {
        let mut requests = String::new();
        for n in 0..550 {
            // 50 pages of the hot set in each round; the others are requested once.
            let path = if n % 11 == 0 { format!("/hot?{}", n / 11) } else { format!("/page?{round}.{n}") };
            let last = if n == 549 { "Connection: close\r\n" } else { "" };
            requests.push_str(&format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n{last}\r\n"));
        }
        let mut stream = TcpStream::connect(server.address).expect("the server accepts");
        stream.write_all(requests.as_bytes()).expect("the server reads");
        let mut responses = String::new();
        stream.read_to_string(&mut responses).expect("responses");
        assert_eq!(responses.matches("HTTP/1.1 200").count(), 550);
        assert!(store.bytes_in_use() <= 1 << 20, "{} bytes", store.bytes_in_use());
        hits.push(responses.matches("larder; hit").count());
    }
    let late: usize = hits[10..].iter().sum();
    assert!(late >= 450, "of 500 requests for the hot set {late} were hits: {hits:?}");
}

/// A session cookie on a page that is marked public by mistake: no other client receives it, unless
/// the rules allow it.
#[test]
fn a_cookie_on_a_public_page() {
    let server = serve_default();
    let sessions: Vec<String> = (0..3).map(|_| get(server.address, "/login")).collect();
    for (n, response) in sessions.iter().enumerate() {
        assert!(
            response.contains(&format!("session={n}")) && !response.contains("larder; hit"),
            "{response}"
        );
    }
    let rules = Rules::shared().with_store_set_cookie(true);
    let server = serve_with(Arc::new(MemoryStore::default()), Limits::default(), rules);
    get(server.address, "/login");
    let shared = get(server.address, "/login");
    assert!(shared.contains("session=0") && shared.contains("larder; hit"), "{shared}");
}

/// Many purges while the pages are requested: no request fails, and no request that begins after a
/// purge has returned receives an older page.
#[test]
fn a_storm_of_purges() {
    let server = serve_default();
    let done = Arc::new(AtomicBool::new(false));
    // The oldest version that a request beginning now may receive.
    let oldest = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|n| {
            let (done, oldest, address) = (Arc::clone(&done), Arc::clone(&oldest), server.address);
            thread::spawn(move || {
                let mut counts: HashMap<bool, u32> = HashMap::new();
                while !done.load(Ordering::SeqCst) {
                    let at_least = oldest.load(Ordering::SeqCst);
                    let response = get(address, &format!("/page?{}", n % 2));
                    let version: usize = content(&response)
                        .rsplit(' ')
                        .next()
                        .and_then(|n| n.parse().ok())
                        .expect("a version");
                    assert!(
                        version >= at_least,
                        "received version {version}, but older than {at_least} was purged"
                    );
                    *counts.entry(response.contains("larder; hit")).or_default() += 1;
                }
                counts
            })
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let keys = [0, 1].map(|n| {
        let url: http::Uri = format!("http://example.com/page?{n}").parse().expect("a URI");
        CacheKey::new(&TargetUri::from_uri(&url).expect("a target"))
    });
    for round in 1..=2000 {
        server.shared.version.store(round, Ordering::SeqCst);
        runtime.block_on(async {
            match round % 3 {
                0 => {
                    server.cache.purge(Scope::All).await.expect("the purge succeeds");
                }
                _ => {
                    for key in &keys {
                        server.cache.purge(Scope::Key(key)).await.expect("the purge succeeds");
                    }
                }
            }
        });
        oldest.store(round, Ordering::SeqCst);
        thread::sleep(Duration::from_micros(200));
    }
    done.store(true, Ordering::SeqCst);
    let counts: Mutex<HashMap<bool, u32>> = Mutex::default();
    for client in clients {
        for (hit, count) in client.join().expect("no page older than the purge") {
            *counts.lock().expect("no panic").entry(hit).or_default() += count;
        }
    }
    let counts = counts.into_inner().expect("no panic");
    assert!(counts.contains_key(&true) && counts.contains_key(&false), "{counts:?}");
    let last = send(server.address, "GET", "/page?0", "\r\n");
    assert_eq!(content(&last), "/page?0 2000");
}
