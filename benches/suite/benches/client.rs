//! The cost of a fresh hit in a client: `CachedClient` and the middleware, beside
//! `http-cache-reqwest` and no cache.

mod setting;

use criterion::Throughput;
use http_cache_reqwest::{Cache as HttpCache, CacheMode, HttpCacheOptions, MokaManager};
use larder_core::Rules;
use larder_memory::MemoryStore;
use larder_reqwest::{CachedClient, CachingMiddleware};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use setting::{SIZES, criterion, origin, runtime, timed};

const KEYS: u64 = 64;

fn plain() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

fn middleware() -> ClientWithMiddleware {
    let store = std::sync::Arc::new(MemoryStore::with_capacity(1 << 30));
    let cache = larder_core::Cache::builder(store).rules(Rules::private()).build();
    ClientBuilder::new(plain()).with(CachingMiddleware::new(cache)).build()
}

fn http_cache() -> ClientWithMiddleware {
    let manager = MokaManager::new(moka::future::Cache::new(100_000));
    let options = HttpCacheOptions::default();
    let cache = http_cache_reqwest::HttpCache { mode: CacheMode::Default, manager, options };
    ClientBuilder::new(plain()).with(HttpCache(cache)).build()
}

/// One of the clients.
#[derive(Clone)]
enum Client {
    Cached(CachedClient),
    Stack(ClientWithMiddleware),
}

impl Client {
    /// Reads a page and returns its length.
    async fn read(&self, url: &str) -> usize {
        let body = match self {
            Self::Cached(client) => client.get(url).send().await.expect("a page").bytes().await.ok(),
            Self::Stack(client) => client.get(url).send().await.expect("a page").bytes().await.ok(),
        };
        body.expect("its body").len()
    }
}

fn cached() -> Client {
    let store = std::sync::Arc::new(MemoryStore::with_capacity(1 << 30));
    Client::Cached(CachedClient::builder().no_proxy().store(store).build().expect("a client"))
}

const CLIENTS: [(&str, fn() -> Client); 4] = [
    ("larder, CachedClient", cached),
    ("larder, CachingMiddleware", || Client::Stack(middleware())),
    ("http-cache-reqwest, moka", || Client::Stack(http_cache())),
    ("reqwest, no cache", || Client::Stack(ClientBuilder::new(plain()).build())),
];

fn main() {
    let mut criterion = criterion();
    for (size, length) in SIZES {
        let mut group = criterion.benchmark_group(format!("client/hit/{size}"));
        group.throughput(Throughput::Elements(1));
        let origin = origin(length);
        for tasks in [1, 64] {
            let runtime = runtime(tasks);
            for (name, make) in CLIENTS {
                group.bench_function(format!("{name}/{tasks}"), |bencher| {
                    let client = make();
                    bencher.iter_custom(|count| {
                        let (client, base) = (client.clone(), origin.url());
                        timed(&runtime, count, tasks, move |n| {
                            let (client, url) = (client.clone(), format!("{base}/{}", n % KEYS));
                            async move { assert_eq!(client.read(&url).await, length) }
                        })
                    });
                });
            }
        }
        group.finish();
    }
    criterion.final_summary();
}
