//! The cost that the engine adds to its store: a hit as `CacheResponse` and as `http::Response`,
//! beside a bare map; and misses.

mod setting;

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use criterion::Criterion;
use http::{HeaderMap, Method, Request, Response};
use larder_core::{Body, Cache, CacheKey, Lookup, RequestHead};
use larder_memory::MemoryStore;
use larder_testkit::fixtures::{NOW, REQUEST, RESPONSE, fields, head, put};
use larder_testkit::{FnOrigin, ManualClock};
use setting::{SIZES, body, criterion, key, runtime};

fn keys(length: usize) -> u64 {
    if length > 100_000 { 100 } else { 10_000 }
}

fn filled(length: usize) -> Cache {
    let store = MemoryStore::with_capacity(1 << 30);
    runtime(1).block_on(async {
        let (head, body) = (head(), body(length));
        for n in 0..keys(length) {
            put(&store, &key(n), &head, body.clone()).await.expect("it is stored");
        }
    });
    Cache::builder(Arc::new(store)).clock(Arc::new(ManualClock::at(NOW))).build()
}

type Bare = moka::sync::Cache<String, (Arc<HeaderMap>, Bytes)>;

fn url(n: u64) -> String {
    format!("http://example.com/catalogue/items/{n}")
}

fn bare(length: usize) -> Bare {
    let cache = moka::sync::Cache::new(20_000);
    let (fields, body) = (Arc::new(fields(&RESPONSE)), body(length));
    for n in 0..keys(length) {
        cache.insert(url(n), (Arc::clone(&fields), body.clone()));
    }
    cache
}

fn bare_hit(cache: &Bare, url: &str) -> Response<Bytes> {
    let (fields, body) = cache.get(url).expect("it is there");
    let mut response = Response::new(body);
    *response.headers_mut() = (*fields).clone();
    response
}

async fn hit(cache: &Cache, key: &CacheKey, method: &Method, fields: &HeaderMap) -> Response<Body> {
    match cache.lookup(key, &RequestHead::new(method, fields)).await {
        Lookup::Hit(answer) => cache.into_http(answer),
        Lookup::Miss(_) => panic!("it is there"),
    }
}

fn hits(criterion: &mut Criterion) {
    let (method, fields) = (Method::GET, fields(&REQUEST));
    for (size, length) in SIZES {
        let mut group = criterion.benchmark_group(format!("engine/hit/{size}"));
        group.bench_function("bare moka get, and a response", |bencher| {
            let (moka, url) = (bare(length), url(42));
            bencher.iter(|| bare_hit(&moka, black_box(&url)));
        });
        group.bench_function("larder, its answer", |bencher| {
            let (cache, key, runtime) = (filled(length), key(42), runtime(1));
            let look_up = || async { cache.lookup(&key, &RequestHead::new(&method, &fields)).await };
            bencher.to_async(&runtime).iter(look_up);
        });
        group.bench_function("larder, a response", |bencher| {
            let (cache, key, runtime) = (filled(length), key(42), runtime(1));
            bencher.to_async(&runtime).iter(|| hit(&cache, &key, &method, &fields));
        });
        group.finish();
    }
}

fn misses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine/miss/1KiB");
    const REFUSES: &[(&str, &str)] = &[("cache-control", "no-store")];
    const ALLOWS: &[(&str, &str)] = &[("cache-control", "max-age=3600")];
    for (name, says) in [("not stored", REFUSES), ("stored", ALLOWS)] {
        group.bench_function(name, |bencher| {
            let (cache, runtime) = (filled(1024), runtime(1));
            let origin = FnOrigin::fixed(says, &[b'x'; 1024]);
            let mut n = 0;
            bencher.to_async(&runtime).iter(|| {
                n += 1;
                let mut request =
                    Request::get(format!("http://example.com/miss/{n}")).body(Body::empty()).expect("one");
                *request.headers_mut() = fields(&REQUEST);
                cache.fetch(request, Arc::clone(&origin) as _)
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = criterion();
    hits(&mut criterion);
    misses(&mut criterion);
    criterion.final_summary();
}
