//! The cost of many URLs at once: `fetch_all` with none, half and all of them cached, beside bare
//! reqwest.

mod setting;

use std::{sync::Arc, time::Duration};

use criterion::{Criterion, Throughput};
use futures_util::StreamExt as _;
use larder_memory::MemoryStore;
use larder_reqwest::CachedClient;
use setting::{criterion, origin, runtime};
use tokio::runtime::Runtime;

const URLS: usize = 512;
const AT_ONCE: usize = 32;

fn larder(criterion: &mut Criterion, runtime: &Runtime, base: &str) {
    let mut group = criterion.benchmark_group("batch/512 URLs");
    group
        .throughput(Throughput::Elements(URLS as u64))
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    for (name, cached) in [("none cached", 0), ("half cached", URLS / 2), ("all cached", URLS)] {
        let mut round = 0;
        group.bench_function(format!("larder, {name}"), |bencher| {
            let store = Arc::new(MemoryStore::with_capacity(1 << 30));
            let client = CachedClient::builder().no_proxy().store(store).build().expect("a client");
            bencher.iter_custom(|count| {
                let mut took = Duration::ZERO;
                for _ in 0..count {
                    round += 1;
                    let urls: Vec<String> = (0..URLS).map(|n| format!("{base}/{round}/{n}")).collect();
                    let fetch = async |urls: &[String]| {
                        let pages = client.fetch_all(urls.to_vec()).concurrency(AT_ONCE).per_host(AT_ONCE);
                        pages.for_each(async |page| assert!(page.result.is_ok())).await;
                    };
                    runtime.block_on(fetch(&urls[..cached]));
                    let begun = std::time::Instant::now();
                    runtime.block_on(fetch(&urls));
                    took += begun.elapsed();
                }
                took
            });
        });
    }
    group.bench_function("reqwest, no cache", |bencher| {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        bencher.to_async(runtime).iter(|| async {
            let get = |n| {
                let client = &client;
                async move { client.get(format!("{base}/{n}")).send().await?.bytes().await }
            };
            let pages = futures_util::stream::iter((0..URLS).map(get)).buffer_unordered(AT_ONCE);
            pages.for_each(async |page| assert!(page.is_ok())).await;
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = criterion();
    let origin = origin(1024);
    larder(&mut criterion, &runtime(64), &origin.url());
    criterion.final_summary();
}
