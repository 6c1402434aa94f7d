//! A hit, and its pieces: the policy's decision, the key, the store, the whole engine, beside bare moka.
//!
//! Allocations are counted, too, and printed at the end: they do not depend on the machine's mood.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use criterion::{Criterion, criterion_group};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use larder_core::{Body, Cache, CacheKey, CacheStore, Lookup, RequestHead, Rules, Timestamp};
use larder_memory::MemoryStore;
use larder_testkit::{FnOrigin, head, key};

/// Counts what is allocated.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW: u64 = 1_700_000_010;
const KEYS: usize = 10_000;

const RESPONSE: [(&str, &str); 10] = [
    ("server", "origin/1.0"),
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "public, max-age=3600"),
    ("etag", "\"abcdef123456\""),
    ("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ("vary", "accept-encoding"),
    ("x-request-id", "8f14e45fceea167a5a36dedd4bea2543"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "sameorigin"),
    ("content-language", "en"),
];

fn request() -> HeaderMap {
    let fields = [
        ("host", "example.com"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-GB,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("connection", "keep-alive"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "none"),
        ("priority", "u=0, i"),
    ];
    fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn policy(criterion: &mut Criterion) {
    let (method, fields, rules) = (Method::GET, request(), Rules::shared());
    let stored = head(&RESPONSE, &[("accept-encoding", "gzip, deflate, br, zstd")]);
    let decide = || {
        let request = RequestHead::new(&method, &fields);
        rules.reuse(&request, [black_box(&stored)], Timestamp::from_secs(NOW))
    };
    criterion.bench_function("policy: fresh hit, 10 request fields", |bencher| bencher.iter(decide));
    criterion.bench_function("policy: key of a request", |bencher| {
        bencher.iter(|| {
            CacheKey::of_parts("http", black_box("example.com"), black_box("/articles/2026/larder?page=2"))
        });
    });
}

fn filled(length: usize) -> (Cache, MemoryStore, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let store = MemoryStore::with_capacity(1 << 30);
    runtime.block_on(async {
        let body = Bytes::from(vec![b'x'; length]);
        let kept = Arc::new(head(&RESPONSE, &[("accept-encoding", "gzip, deflate, br, zstd")]));
        for n in 0..if length > 100_000 { 100 } else { KEYS } {
            let mut writer = store
                .reserve(&key(&format!("/{n}")))
                .await
                .expect("it reserves")
                .begin(Arc::clone(&kept), None)
                .await
                .expect("it begins");
            writer.write(body.clone()).await.expect("it takes it");
            writer.commit().await.expect("it commits");
        }
    });
    let clock = larder_testkit::ManualClock::at(NOW);
    let cache = Cache::builder(Arc::new(store.clone())).clock(Arc::new(clock)).build();
    (cache, store, runtime)
}

/// What a hit is held against: a moka look-up, and a response of the same head and body.
fn bare(length: usize) -> moka::sync::Cache<String, (Arc<HeaderMap>, Bytes)> {
    let fields: HeaderMap = RESPONSE
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let cache = moka::sync::Cache::new(KEYS as u64 * 2);
    for n in 0..if length > 100_000 { 100 } else { KEYS } {
        let body = Bytes::from(vec![b'x'; length]);
        cache.insert(format!("http://example.com/{n}"), (Arc::new(fields.clone()), body));
    }
    cache
}

fn bare_hit(cache: &moka::sync::Cache<String, (Arc<HeaderMap>, Bytes)>, url: &str) -> Response<Bytes> {
    let (fields, body) = cache.get(url).expect("it is there");
    let mut response = Response::new(body);
    *response.headers_mut() = (*fields).clone();
    response
}

async fn hit(cache: &Cache, key: &CacheKey, method: &Method, fields: &HeaderMap) -> Response<Body> {
    match cache.lookup(key, &RequestHead::new(method, fields)).await {
        Lookup::Answered(answer) => cache.into_http(answer),
        Lookup::Forward(_) => panic!("it is there"),
    }
}

fn engine(criterion: &mut Criterion) {
    let (method, fields) = (Method::GET, request());
    let mut group = criterion.benchmark_group("hit");
    for (name, length) in [("1 KiB", 1024), ("64 KiB", 65_536), ("1 MiB", 1 << 20)] {
        let moka = bare(length);
        group.bench_function(format!("bare moka get and response, {name}"), |bencher| {
            bencher.iter(|| bare_hit(&moka, black_box("http://example.com/42")));
        });
        let (cache, _, runtime) = filled(length);
        let key = key("/42");
        group.bench_function(format!("engine on memory, response, {name}"), |bencher| {
            bencher.to_async(&runtime).iter(|| hit(&cache, &key, &method, &fields));
        });
        group.bench_function(format!("engine on memory, answer, {name}"), |bencher| {
            bencher
                .to_async(&runtime)
                .iter(|| async { cache.lookup(&key, &RequestHead::new(&method, &fields)).await });
        });
    }
    group.finish();
}

fn miss(criterion: &mut Criterion) {
    let (cache, _, runtime) = filled(1024);
    let origin = FnOrigin::fixed(&[("cache-control", "no-store")], &[b'x'; 1024]);
    criterion.bench_function("engine: a miss that is not stored", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let mut request = Request::get("http://example.com/miss").body(Body::empty()).expect("a request");
            *request.headers_mut() = self::request();
            cache.fetch(request, Arc::clone(&origin) as _).await
        });
    });
}

fn allocations() {
    let (method, fields, rules) = (Method::GET, request(), Rules::shared());
    let stored = head(&RESPONSE, &[("accept-encoding", "gzip, deflate, br, zstd")]);
    let (cache, _, runtime) = filled(1024);
    let key = key("/42");
    let moka = bare(1024);
    let count = |what: &str, run: &dyn Fn()| {
        run();
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..1000 {
            run();
        }
        let each = (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / 1000.0;
        println!("allocations: {what}: {each:.2}");
    };
    count("policy, fresh hit", &|| {
        let request = RequestHead::new(&method, &fields);
        let _ = black_box(rules.reuse(&request, [&stored], Timestamp::from_secs(NOW)));
    });
    count("bare moka get and response", &|| {
        black_box(bare_hit(&moka, "http://example.com/42"));
    });
    count("engine hit, answer", &|| {
        runtime.block_on(async { black_box(cache.lookup(&key, &RequestHead::new(&method, &fields)).await) });
    });
    count("engine hit, response", &|| {
        runtime.block_on(async { black_box(hit(&cache, &key, &method, &fields).await) });
    });
}

criterion_group!(benches, policy, engine, miss);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    allocations();
}
