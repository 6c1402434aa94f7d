//! The cost of growing numbers of entries, variants of one key, and groups. `cargo xtask bench
//! scaling` runs it.
//!
//! `scaling [--quick]`

use std::{
    fs,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Method};
use larder_core::{Scope, Cache, CacheGroup, CacheKey, CacheStore, Limits, Lookup, RequestHead, StoredHead};
use larder_memory::MemoryStore;
use larder_testkit::{ManualClock, head, key};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: u64 = 1_700_000_010;
const ROUNDS: usize = 15;
const LOOK_UPS: usize = 10_000;

fn main() -> anyhow::Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    entries(if quick { 1_000 } else { 10_000_000 })?;
    variants(if quick { 10 } else { 1_000 });
    groups(if quick { 10 } else { 10_000 });
    Ok(())
}

/// Returns 1, 10, 100 and so on.
fn powers(most: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(1), |n| Some(n * 10)).take_while(move |n| *n <= most)
}

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("memory waits for nothing")
}

fn put(store: &MemoryStore, key: &CacheKey, head: &Arc<StoredHead>) {
    let body = Bytes::from_static(&[b'x'; 100]);
    now(async {
        let reserved = store.reserve(key).await.expect("it reserves");
        let mut writer = reserved.begin(Arc::clone(head), Some(100), head.keep_until()).await.expect("it begins");
        writer.write(body).await.expect("it takes it");
        writer.commit().await.expect("it commits");
    });
}

fn cache(store: &MemoryStore) -> Cache {
    let limits = Limits::default().with_max_variants(2_000);
    let clock = Arc::new(ManualClock::at(NOW));
    Cache::builder(Arc::new(store.clone())).clock(clock).limits(limits).build()
}

/// Returns nanoseconds for a look-up, of the median round.
fn looked_up(cache: &Cache, keys: &[CacheKey], request: &RequestHead<'_>) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            for key in keys {
                assert!(matches!(black_box(now(cache.lookup(key, request))), Lookup::Hit(_)));
            }
            begun.elapsed().as_nanos() as f64 / keys.len() as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn entries(most: u64) -> anyhow::Result<()> {
    println!(
        "\n| entries in memory | hit on 100 of them, ns | on any, ns | memory, bytes an entry |\n|---|---|---|---|"
    );
    let (store, head, fields) =
        (MemoryStore::with_capacity(1 << 44), Arc::new(head(&[], &[])), HeaderMap::new());
    let (cache, request) = (cache(&store), RequestHead::new(&Method::GET, &fields));
    let before = resident()?;
    let mut there = 0;
    for count in powers(most) {
        for n in there..count {
            put(&store, &key(&format!("/{n}")), &head);
        }
        there = count;
        let _ = store.key_count();
        let mut random = fastrand::Rng::with_seed(7);
        let mut any = |of: usize| -> Vec<CacheKey> {
            (0..of).map(|_| key(&format!("/{}", random.u64(..count)))).collect()
        };
        let some: Vec<CacheKey> = any(100).into_iter().cycle().take(LOOK_UPS).collect();
        let few = looked_up(&cache, &some, &request);
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let keys = any(LOOK_UPS);
                let begun = Instant::now();
                for key in &keys {
                    black_box(now(cache.lookup(key, &request)));
                }
                begun.elapsed().as_nanos() as f64 / LOOK_UPS as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        let memory = resident()?.saturating_sub(before) as f64 / count as f64;
        let memory = if count < 1000 { "".to_owned() } else { format!("{memory:.0}") };
        println!("| {count} | {few:.0} | {:.0} | {memory} |", rounds[ROUNDS / 2]);
    }
    Ok(())
}

fn variants(most: u64) {
    println!("\n| variants of one key | hit on any of them, ns |\n|---|---|");
    for count in powers(most) {
        let store = MemoryStore::with_capacity(1 << 40);
        let name = |n: u64| format!("language-{n}");
        for n in 0..count {
            let head = head(&[("vary", "accept-language")], &[("accept-language", &name(n))]);
            put(&store, &key("/"), &Arc::new(head));
        }
        let cache = cache(&store);
        let requests: Vec<HeaderMap> = (0..count)
            .map(|n| {
                HeaderMap::from_iter([(http::header::ACCEPT_LANGUAGE, name(n).parse().expect("a value"))])
            })
            .collect();
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let begun = Instant::now();
                for n in 0..LOOK_UPS {
                    let fields = &requests[n * 7 % requests.len()];
                    let found = now(cache.lookup(&key("/"), &RequestHead::new(&Method::GET, fields)));
                    assert!(matches!(black_box(found), Lookup::Hit(_)));
                }
                begun.elapsed().as_nanos() as f64 / LOOK_UPS as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        println!("| {count} | {:.0} |", rounds[ROUNDS / 2]);
    }
}

fn groups(most: u64) {
    println!(
        "\n| groups that were removed before | hit on a response in four groups, ns | entries in a group | removing it, µs |\n|---|---|---|---|"
    );
    let fields = HeaderMap::new();
    let request = RequestHead::new(&Method::GET, &fields);
    for count in std::iter::once(0).chain(powers(most)) {
        let store = MemoryStore::with_capacity(1 << 40);
        for n in 0..count {
            now(store.remove(Scope::Group(&CacheGroup::new("http://example.com", &format!("group-{n}")))))
                .expect("it removes");
        }
        let grouped = |name: &str| Arc::new(head(&[("cache-groups", name)], &[]));
        put(&store, &key("/"), &grouped("\"a\", \"b\", \"c\", \"group-0\""));
        let hit = looked_up(&cache(&store), &vec![key("/"); LOOK_UPS], &request);
        let entries = count.max(1);
        let mut took = Duration::ZERO;
        for round in 0..ROUNDS as u32 {
            let head = grouped(&format!("\"mine-{round}\""));
            for n in 0..entries {
                put(&store, &key(&format!("/{n}")), &head);
            }
            let group = CacheGroup::new("http://example.com", &format!("mine-{round}"));
            let begun = Instant::now();
            now(store.remove(Scope::Group(&group))).expect("it removes");
            took += begun.elapsed();
        }
        println!(
            "| {count} | {hit:.0} | {entries} | {:.1} |",
            took.as_nanos() as f64 / 1000.0 / ROUNDS as f64
        );
    }
}

fn resident() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    Ok(text.split(' ').nth(1).unwrap_or("0").parse::<u64>()? * 4096)
}
