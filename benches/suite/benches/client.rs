//! What does a client's fresh hit cost? `CachedClient` and the middleware, beside `http-cache-reqwest` and no cache at all.

mod setting;

use criterion::Throughput;
use http_cache_reqwest::{Cache as HttpCache, CacheMode, HttpCacheOptions, MokaManager};
use larder_core::Rules;
use larder_memory::MemoryStore;
use larder_reqwest::{CacheMiddleware, CachedClient};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use setting::{SIZES, criterion, origin, runtime, timed};

const KEYS: u64 = 64;

fn plain() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

fn middleware() -> ClientWithMiddleware {
    let store = std::sync::Arc::new(MemoryStore::with_capacity(1 << 30));
    let cache = larder_core::Cache::builder(store).rules(Rules::private()).build();
    ClientBuilder::new(plain()).with(CacheMiddleware::new(cache)).build()
}

fn http_cache() -> ClientWithMiddleware {
    let manager = MokaManager::new(moka::future::Cache::new(100_000));
    let options = HttpCacheOptions::default();
    let cache = http_cache_reqwest::HttpCache { mode: CacheMode::Default, manager, options };
    ClientBuilder::new(plain()).with(HttpCache(cache)).build()
}

fn main() {
    let mut criterion = criterion();
    for (size, length) in SIZES {
        let mut group = criterion.benchmark_group(format!("client/hit/{size}"));
        group.throughput(Throughput::Elements(1));
        let origin = origin(length);
        let url = origin.url();
        for tasks in [1, 64] {
            let (base, runtime) = (url.clone(), runtime(tasks));
            group.bench_function(format!("larder, CachedClient/{tasks}"), |bencher| {
                let store = std::sync::Arc::new(MemoryStore::with_capacity(1 << 30));
                let client = CachedClient::builder().no_proxy().store(store).build().expect("a client");
                bencher.iter_custom(|count| {
                    let (client, base) = (client.clone(), base.clone());
                    timed(&runtime, count, tasks, move |n| {
                        let (client, url) = (client.clone(), format!("{base}/{}", n % KEYS));
                        async move {
                            let page = client.get(&url).send().await.expect("a page");
                            assert_eq!(page.bytes().await.expect("its body").len(), length);
                        }
                    })
                });
            });
            for (name, make) in [
                ("larder, CacheMiddleware", middleware as fn() -> ClientWithMiddleware),
                ("http-cache-reqwest, moka", http_cache),
                ("reqwest, no cache", || ClientBuilder::new(plain()).build()),
            ] {
                group.bench_function(format!("{name}/{tasks}"), |bencher| {
                    let client = make();
                    bencher.iter_custom(|count| {
                        let (client, base) = (client.clone(), base.clone());
                        timed(&runtime, count, tasks, move |n| {
                            let (client, url) = (client.clone(), format!("{base}/{}", n % KEYS));
                            async move {
                                let page = client.get(&url).send().await.expect("a page");
                                assert_eq!(page.bytes().await.expect("its body").len(), length);
                            }
                        })
                    });
                });
            }
        }
        group.finish();
    }
    criterion.final_summary();
}
