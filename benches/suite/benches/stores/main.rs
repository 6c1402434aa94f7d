//! The cost of stores: Larder's four beside the maps, databases and managers of others. A hit read
//! to its end, a fill, a removal, a revalidation; from 1 KiB to 1 MiB; by one task and by 64.
//!
//! `cargo bench --bench stores -- 'store/hit/1KiB/1/disk'`, or any other part of a name, runs only
//! that.

#[path = "../setting/mod.rs"]
mod setting;

mod ours;
mod peers;
mod redis;

use std::{pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use criterion::{Criterion, Throughput};
use setting::{SIZES, body, criterion, runtime, timed};
use tokio::runtime::Runtime;

/// A store of heads and bodies.
#[async_trait]
trait Subject: Send + Sync {
    /// Reads the entry to its end and returns the length of its body.
    async fn get(&self, n: u64) -> usize;
    async fn put(&self, n: u64, body: Bytes);
    async fn remove(&self, n: u64);
    /// Replaces the head of the entry, where the store can do that.
    async fn freshen(&self, n: u64);
}

type Making = Pin<Box<dyn Future<Output = Arc<dyn Subject>>>>;
/// Creates a subject in a runtime.
type Make = fn() -> Making;

const SUBJECTS: [(&str, Make); 10] = [
    ("larder-memory", ours::memory),
    ("larder-disk", ours::disk),
    ("larder-redis", redis::larder),
    ("larder-tiered", redis::tiered),
    ("moka", peers::moka),
    ("quick_cache", peers::quick_cache),
    ("foyer", peers::foyer),
    ("redb", peers::redb),
    ("cacache", peers::cacache),
    ("http-cache (moka)", peers::http_cache),
];

/// Number of stored entries.
fn keys(length: usize) -> u64 {
    match length {
        0..10_000 => 500,
        10_000..1_000_000 => 100,
        _ => 8,
    }
}

/// A filled subject and its runtime.
fn filled(make: Make, length: usize, tasks: u64) -> (Runtime, Arc<dyn Subject>) {
    let runtime = runtime(tasks);
    let subject = runtime.block_on(make());
    let body = body(length);
    runtime.block_on(async {
        for n in 0..keys(length) {
            subject.put(n, body.clone()).await;
        }
    });
    (runtime, subject)
}

fn hits(criterion: &mut Criterion) {
    for ((size, length), tasks) in SIZES.into_iter().flat_map(|size| [(size, 1), (size, 64)]) {
        let mut group = criterion.benchmark_group(format!("store/hit/{size}/{tasks}"));
        group.throughput(Throughput::Elements(1));
        for (name, make) in SUBJECTS {
            group.bench_function(name, |bencher| {
                let (runtime, subject) = filled(make, length, tasks);
                bencher.iter_custom(|count| {
                    let subject = Arc::clone(&subject);
                    timed(&runtime, count, tasks, move |n| {
                        let subject = Arc::clone(&subject);
                        async move { assert_eq!(subject.get(n * 7 % keys(length)).await, length) }
                    })
                });
            });
        }
        group.finish();
    }
}

/// Replaces an entry, so that the number of entries does not grow.
fn fills(criterion: &mut Criterion) {
    for ((size, length), tasks) in SIZES.into_iter().flat_map(|size| [(size, 1), (size, 64)]) {
        let mut group = criterion.benchmark_group(format!("store/fill/{size}/{tasks}"));
        group.throughput(Throughput::Elements(1));
        for (name, make) in SUBJECTS {
            group.bench_function(name, |bencher| {
                let (runtime, subject) = filled(make, length, tasks);
                let body = body(length);
                bencher.iter_custom(|count| {
                    let (subject, body) = (Arc::clone(&subject), body.clone());
                    timed(&runtime, count, tasks, move |n| {
                        let (subject, body) = (Arc::clone(&subject), body.clone());
                        async move { subject.put(n * 7 % keys(length), body).await }
                    })
                });
            });
        }
        group.finish();
    }
}

/// Measures a freshened head and the removal of an entry.
fn heads(criterion: &mut Criterion) {
    let length = 1 << 10;
    let mut group = criterion.benchmark_group("store/freshen/1KiB/1");
    for (name, make) in &SUBJECTS[..4] {
        group.bench_function(*name, |bencher| {
            let (runtime, subject) = filled(*make, length, 1);
            bencher.iter_custom(|count| {
                let subject = Arc::clone(&subject);
                timed(&runtime, count, 1, move |n| {
                    let subject = Arc::clone(&subject);
                    async move { subject.freshen(n * 7 % keys(length)).await }
                })
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("store/remove/1KiB/1");
    for (name, make) in SUBJECTS {
        group.bench_function(name, |bencher| {
            let (runtime, subject) = filled(make, length, 1);
            let body = body(length);
            bencher.iter_custom(|count| {
                let mut took = Duration::ZERO;
                for n in 0..count {
                    runtime.block_on(subject.put(n % keys(length), body.clone()));
                    let subject = Arc::clone(&subject);
                    took += timed(&runtime, 1, 1, move |_| {
                        let subject = Arc::clone(&subject);
                        async move { subject.remove(n % keys(length)).await }
                    });
                }
                took
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = criterion();
    hits(&mut criterion);
    fills(&mut criterion);
    heads(&mut criterion);
    criterion.final_summary();
    redis::stop();
}
