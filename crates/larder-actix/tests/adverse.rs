//! The middleware when things go wrong: a store that is down, handlers that are slow, clients that leave, and those who mean harm.

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
use larder_core::{CacheStore, Limits, Rules, TargetUri};
use larder_memory::MemoryStore;
use larder_testkit::{Fault, FaultyStore};
use server::{content, get, open, send, serve};
use tokio::sync::Notify;

/// What the handlers share with their test.
#[derive(Clone, Default)]
struct Shared {
    ran: Arc<AtomicUsize>,
    version: Arc<AtomicUsize>,
    gate: Arc<Notify>,
}

async fn page(request: HttpRequest, shared: web::Data<Shared>) -> HttpResponse {
    shared.ran.fetch_add(1, Ordering::SeqCst);
    let version = shared.version.load(Ordering::SeqCst);
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "max-age=600"))
        .body(format!("{} {version}", request.uri()))
}

/// Not to be stored in its first version.
async fn moody(shared: web::Data<Shared>) -> HttpResponse {
    let count = shared.ran.fetch_add(1, Ordering::SeqCst);
    let says = if shared.version.load(Ordering::SeqCst) == 0 { "no-store" } else { "max-age=600" };
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, says)).body(count.to_string())
}

async fn slow(shared: web::Data<Shared>) -> HttpResponse {
    shared.ran.fetch_add(1, Ordering::SeqCst);
    shared.gate.notified().await;
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "max-age=600")).body("at last")
}

/// As many megabytes as the path says; from the second on, one for each turn of the gate.
async fn large(path: web::Path<u32>, shared: web::Data<Shared>) -> HttpResponse {
    shared.ran.fetch_add(1, Ordering::SeqCst);
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

/// Events without end, one for each turn of the gate; the count of handlers that still send goes down when one is dropped.
async fn events(shared: web::Data<Shared>) -> HttpResponse {
    struct Sending(Arc<AtomicUsize>);
    impl Drop for Sending {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    shared.ran.fetch_add(1, Ordering::SeqCst);
    let sending = Sending(Arc::clone(&shared.ran));
    let gate = Arc::clone(&shared.gate);
    let chunks = futures_util::stream::unfold((0, sending), move |(count, sending)| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            Some((Ok::<_, actix_web::Error>(Bytes::from(format!("data: {count}\n\n"))), (count + 1, sending)))
        }
    });
    HttpResponse::Ok().content_type("text/event-stream").streaming(chunks)
}

/// What becomes something else than HTTP.
async fn socket() -> HttpResponse {
    HttpResponse::SwitchingProtocols().upgrade("echo").streaming(futures_util::stream::iter([Ok::<
        _,
        actix_web::Error,
    >(
        Bytes::from_static(b"no HTTP any more"),
    )]))
}

async fn login(shared: web::Data<Shared>) -> HttpResponse {
    let session = shared.ran.fetch_add(1, Ordering::SeqCst);
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=600"))
        .insert_header((header::SET_COOKIE, format!("session={session}")))
        .body("welcome")
}

struct It {
    address: SocketAddr,
    shared: Shared,
    cache: larder_core::Cache,
}

fn on(store: Arc<dyn CacheStore>, limits: Limits, rules: Rules) -> It {
    let cache = larder_core::Cache::builder(store).limits(limits).rules(rules).build();
    let shared = Shared::default();
    let data = web::Data::new(shared.clone());
    let address = serve(CacheMiddleware::new(cache.clone()), move |app| {
        app.app_data(data.clone())
            .route("/page", web::get().to(page))
            .route("/hot", web::get().to(page))
            .route("/slow", web::get().to(slow))
            .route("/moody", web::get().to(moody))
            .route("/moody", web::head().to(moody))
            .route("/large/{megabytes}", web::get().to(large))
            .route("/events", web::get().to(events))
            .route("/socket", web::get().to(socket))
            .route("/login", web::get().to(login));
    });
    It { address, shared, cache }
}

fn it() -> It {
    on(Arc::new(MemoryStore::default()), Limits::default(), Rules::shared())
}

/// Not a request fails, whatever the store does, and it is used again as soon as it works.
#[test]
fn a_store_that_is_down() {
    let store = FaultyStore::new(Arc::new(MemoryStore::default()));
    store.set(Fault::Down);
    let mut limits = Limits::default();
    limits.lookup_timeout = Duration::from_millis(20);
    limits.store_timeout = Duration::from_millis(20);
    let it = on(Arc::new(store.clone()), limits, Rules::shared());
    for fault in [Fault::Down, Fault::Hangs, Fault::FailsAtCommit, Fault::FullAfter(1), Fault::Down] {
        store.set(fault);
        for _ in 0..5 {
            let answer = get(it.address, "/page");
            assert!(
                answer.starts_with("HTTP/1.1 200") && content(&answer) == "/page 0",
                "{fault:?}: {answer}"
            );
            assert!(!answer.contains("larder; hit"), "{fault:?}: {answer}");
        }
    }
    assert_eq!(it.shared.ran.load(Ordering::SeqCst), 25);
    store.set(Fault::None);
    while !get(it.address, "/page").contains("larder; hit") {}
}

/// A handler that hangs costs its client a 504 and nobody else anything.
#[test]
fn a_handler_that_is_slower_than_its_limit() {
    let mut limits = Limits::default();
    limits.origin_timeout = Duration::from_millis(100);
    let it = on(Arc::new(MemoryStore::default()), limits, Rules::shared());
    let waiting: Vec<_> = (0..5).map(|_| thread::spawn(move || get(it.address, "/slow"))).collect();
    for client in waiting {
        let answer = client.join().expect("no panic");
        assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    }
    assert_eq!(content(&get(it.address, "/page")), "/page 0");
    it.shared.gate.notify_one();
    assert!(get(it.address, "/slow").contains("at last"), "it is asked again");
}

/// What must not be stored goes the short way from the second request on, and is stored as soon as it may be.
#[test]
fn a_handler_that_changes_its_mind() {
    let it = it();
    let ask = |expected: &str| {
        let answer = get(it.address, "/moody");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let status = format!("cache-status: larder; {expected}\r\n");
        assert!(answer.to_lowercase().contains(&status), "{expected}: {answer}");
        assert_eq!(answer.to_lowercase().matches("cache-status").count(), 1);
        content(&answer).to_owned()
    };
    for n in 0..3 {
        assert_eq!(ask("fwd=uri-miss; fwd-status=200; detail=no-store"), n.to_string());
    }
    let head = send(it.address, "HEAD", "/moody", "\r\n");
    assert!(head.contains("content-length: 1") && content(&head).is_empty(), "{head}");
    it.shared.version.store(1, Ordering::SeqCst);
    assert_eq!(ask("fwd=uri-miss; fwd-status=200"), "4");
    assert_eq!(ask("fwd=uri-miss; fwd-status=200; stored"), "5");
    assert_eq!(ask("hit; ttl=600"), "5");
}

/// The one who asked has left: what its handler makes is stored all the same, and ready for the next.
#[test]
fn a_client_that_leaves_in_the_middle() {
    let it = it();
    let mut first = open(it.address, "GET", "/large/3", "\r\n");
    let mut some = [0; 64 * 1024];
    first.read_exact(&mut some).expect("the body begins");
    first.shutdown(Shutdown::Both).expect("it was open");
    drop(first);
    it.shared.gate.notify_one();
    let whole = get(it.address, "/large/3");
    let length = content(&whole).bytes().filter(|byte| *byte == b'x').count();
    assert_eq!((length, it.shared.ran.load(Ordering::SeqCst)), (3 << 20, 1));
    assert!(get(it.address, "/large/3").contains("content-length: 3145728"));
}

/// Events without end pass one by one, to each client its own, and end with their client.
#[test]
fn events_and_upgrades_pass_untouched() {
    let it = it();
    let mut clients: Vec<_> = (0..2).map(|_| open(it.address, "GET", "/events", "\r\n")).collect();
    for turn in 0..3 {
        for client in &mut clients {
            let mut seen = String::new();
            let mut some = [0; 1024];
            while !seen.contains(&format!("data: {turn}")) {
                it.shared.gate.notify_waiters();
                let _ = client.set_read_timeout(Some(Duration::from_millis(50)));
                let read = client.read(&mut some).unwrap_or(0);
                seen.push_str(&String::from_utf8_lossy(&some[..read]));
            }
        }
    }
    assert_eq!(it.shared.ran.load(Ordering::SeqCst), 2, "each has a handler of its own");
    drop(clients);
    while it.shared.ran.load(Ordering::SeqCst) > 0 {
        it.shared.gate.notify_waiters();
        thread::sleep(Duration::from_millis(5));
    }
    let upgraded = send(it.address, "GET", "/socket", "Upgrade: echo\r\n\r\n");
    assert!(upgraded.starts_with("HTTP/1.1 101") && upgraded.contains("no HTTP any more"), "{upgraded}");
    assert!(!upgraded.contains("cache-status"), "{upgraded}");
}

/// What is over the limit passes, whole, and is not stored.
#[test]
fn a_body_larger_than_the_limit() {
    let mut limits = Limits::default();
    limits.max_object = 2 << 20;
    let it = on(Arc::new(MemoryStore::default()), limits, Rules::shared());
    for ran in 1..3 {
        it.shared.gate.notify_one();
        let whole = get(it.address, "/large/4");
        assert_eq!(content(&whole).bytes().filter(|byte| *byte == b'x').count(), 4 << 20);
        assert_eq!(it.shared.ran.load(Ordering::SeqCst), ran);
    }
    it.shared.gate.notify_one();
    get(it.address, "/large/2");
    assert!(get(it.address, "/large/2").contains("larder; hit"));
}

/// Other query strings without end, ten for every request of the hot set: memory stays within its limit, and what is asked
/// for again and again stays, though each of it comes up less often than the store could remember all that comes between.
#[test]
fn ten_thousand_query_strings() {
    let store = MemoryStore::with_capacity(1 << 20);
    let it = on(Arc::new(store.clone()), Limits::default(), Rules::shared());
    let mut hits = Vec::new();
    for round in 0..20 {
        let mut requests = String::new();
        for n in 0..550 {
            // 50 of the hot set in each round, and what nobody asks for again.
            let path = if n % 11 == 0 { format!("/hot?{}", n / 11) } else { format!("/page?{round}.{n}") };
            let last = if n == 549 { "Connection: close\r\n" } else { "" };
            requests.push_str(&format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n{last}\r\n"));
        }
        let mut stream = TcpStream::connect(it.address).expect("it accepts");
        stream.write_all(requests.as_bytes()).expect("it listens");
        let mut answers = String::new();
        stream.read_to_string(&mut answers).expect("it answers");
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 550);
        assert!(store.weight() <= 1 << 20, "{} bytes", store.weight());
        hits.push(answers.matches("larder; hit").count());
    }
    let late: usize = hits[10..].iter().sum();
    assert!(late >= 450, "of 500 requests for the hot set {late} were hits: {hits:?}");
}

/// A session's cookie on a page marked public by mistake: nobody else gets it, unless the owner says so.
#[test]
fn a_cookie_on_a_public_page() {
    let it = it();
    let sessions: Vec<String> = (0..3).map(|_| get(it.address, "/login")).collect();
    for (n, answer) in sessions.iter().enumerate() {
        assert!(answer.contains(&format!("session={n}")) && !answer.contains("larder; hit"), "{answer}");
    }
    let mut rules = Rules::shared();
    rules.store_set_cookie = true;
    let it = on(Arc::new(MemoryStore::default()), Limits::default(), rules);
    get(it.address, "/login");
    let shared = get(it.address, "/login");
    assert!(shared.contains("session=0") && shared.contains("larder; hit"), "{shared}");
}

/// Purges without end, while the pages are asked for: no request fails, and none begun after a purge has returned gets what
/// was there before it.
#[test]
fn a_storm_of_purges() {
    let it = it();
    let done = Arc::new(AtomicBool::new(false));
    // The oldest version that a request begun now may be answered with.
    let oldest = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|n| {
            let (done, oldest, address) = (Arc::clone(&done), Arc::clone(&oldest), it.address);
            thread::spawn(move || {
                let mut seen: HashMap<bool, u32> = HashMap::new();
                while !done.load(Ordering::SeqCst) {
                    let at_least = oldest.load(Ordering::SeqCst);
                    let answer = get(address, &format!("/page?{}", n % 2));
                    let version: usize =
                        content(&answer).rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a version");
                    assert!(version >= at_least, "version {version} after {at_least} was purged for");
                    *seen.entry(answer.contains("larder; hit")).or_default() += 1;
                }
                seen
            })
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let targets = [0, 1].map(|n| {
        let url: http::Uri = format!("http://example.com/page?{n}").parse().expect("a URI");
        TargetUri::from_uri(&url).expect("a target")
    });
    for round in 1..=2000 {
        it.shared.version.store(round, Ordering::SeqCst);
        runtime.block_on(async {
            match round % 3 {
                0 => it.cache.purge_all().await.expect("it is gone"),
                _ => {
                    for target in &targets {
                        it.cache.purge(target).await.expect("it is gone");
                    }
                }
            }
        });
        oldest.store(round, Ordering::SeqCst);
        thread::sleep(Duration::from_micros(200));
    }
    done.store(true, Ordering::SeqCst);
    let seen: Mutex<HashMap<bool, u32>> = Mutex::default();
    for client in clients {
        for (hit, count) in client.join().expect("never an older page than was purged") {
            *seen.lock().expect("no panic").entry(hit).or_default() += count;
        }
    }
    let seen = seen.into_inner().expect("no panic");
    assert!(seen.contains_key(&true) && seen.contains_key(&false), "{seen:?}");
    let last = send(it.address, "GET", "/page?0", "\r\n");
    assert_eq!(content(&last), "/page?0 2000");
}
